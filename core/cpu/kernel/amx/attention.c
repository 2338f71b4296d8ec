/* attention.c - attention forward by AMX tiles: 16 x 16 sums of products of bf16 pairs, at 15 times
 * the rate of f32 multiply-adds.
 *
 * Tiles hold 32 queries. Operands are faces of bf16 parts (parts.h): queries (width/SIDE,
 * channels/DEPTH), keys (BLOCK/SIDE, channels/DEPTH), values (channels/SIDE, BLOCK/DEPTH), weights
 * (width/SIDE, keys/DEPTH). What is f32, weights always, is three parts. Two by two faces are
 * multiplied at a time, so that each one loaded serves two products and most serve four.
 *
 * Tiles take what is subnormal as 0: a call with numbers so small, or too large, is left to
 * multiply-adds, and one whose axes are too short to pay for the splitting (operands.h), too.
 *
 * Measured, N = 4096, d = 24, 64, 128: 1.0, 1.35, 1.35 times as fast as multiply-adds in f32, 1.45,
 * 2.2, 2.6 times in bf16.
 *
 * Tried: vdpbf16ps (half as fast as f32 multiply-adds where there is AMX); 48 queries, faces three
 * by two (twice the loads, from the second-level cache: f32 slower than multiply-adds at d = 24 and
 * 128); blocks of 32 and 128 keys (6 % and 15 % slower at d = 64); stream loads of keys and values
 * (no difference); weights of a tile between the products of the next one (d = 64 and 128 5-9 %
 * faster, 24 and bf16 2-5 % slower: calls of a few rows cost what they hide); two parts of weights
 * (10 times the error of f32). */
#define ATTENTION_VECTORS 2
#include "../attention_dropout.h"
#include "../attention_fetch.h"
#include "../attention_mask.h"
#include "operands.h"

enum { BLOCK = 64, LEAD = DEPTH, WEIGHT_EXPONENT = 24 /* POWER */ };

/* ---- packing -------------------------------------------------------------------------------- */

static int64_t queries_bytes(const mosaic_attention_unit *u)
{
    return faces_bytes(parts_of(u), channels_of(u), TILE);
}
static int64_t keys_bytes(const mosaic_attention_unit *u)
{
    return faces_bytes(parts_of(u), channels_of(u), BLOCK);
}
static int64_t values_bytes(const mosaic_attention_unit *u) { return keys_bytes(u); }

/* Floats before they are packed; weights in parts and sums of products. */
static int64_t products_bytes(const mosaic_attention_unit *u)
{
    return max_i64(channels_of(u) * BLOCK * 4, faces_bytes(PARTS, BLOCK, TILE) + DEPTH * TILE * 4);
}

static void pack_queries(char *to, int64_t width, const mosaic_attention_unit *u, int64_t first,
                         int64_t rows, float *room)
{
    pack_right_lanes(parts_of(u), to, width, u, &u->q, first, rows, scaling_of(u->scale).power,
                     room);
}

static void pack_block(char *k, char *v, const mosaic_attention_unit *u, int64_t from, int64_t keys,
                       float *room)
{
    pack_left_rows(k, u, &u->k, from, keys);
    pack_left_columns(v, BLOCK, u, &u->v, from, keys, room);
}

/* ---- products ------------------------------------------------------------------------------- */

/* scores (keys, width) = K q + mask for keys from number `key` of the block on; raises top to the
 * largest. Whole steps of DEPTH keys are written. */
VEC_INLINE void make_scores(int vectors, const mosaic_attention_unit *u, float *scores, vec *top,
                            const char *k, int64_t key, const char *q, const float *mask,
                            int64_t keys, fetcher *fetch)
{
    const int parts = parts_of(u);
    const int64_t width = vectors * SIDE, steps = channels_of(u) / DEPTH, lead = key % DEPTH;
    const int64_t next = steps * parts * TILE_BYTES;
    faces a = {k + (key - lead) / SIDE * next, next}, b = {q, next};
    for (int64_t j = -lead; j < keys; j += DEPTH, a.at += 2 * next)
        multiply_parts(vectors, parts, parts, scores + j * width, width, false, a, b, steps);
    for (int64_t j = 0; j < keys; j++) {
        if (j % FETCH_KEYS == 0) fetch_some(fetch);
        for (int w = 0; w < vectors; w++, scores += VEC_LANES) {
            vec score = vec_load(scores);
            if (mask) vec_store(scores, score += vec_load(mask + (j * vectors + w) * VEC_LANES));
            top[w] = vec_max(score, top[w]);
        }
    }
}

/* to: parts of rows from..to - 1 of weights (keys, width), whole steps of DEPTH, of which only keys
 * 0..keys - 1 are not 0. Tiles take subnormal parts as 0; to make them takes 100 cycles each, and
 * logits of +-300 have many: 0.63 of the speed. */
VEC_INLINE void pack_weights(int vectors, char *to, float *weights, int64_t from, int64_t end,
                             int64_t keys)
{
    const int64_t width = vectors * SIDE;
    for (int64_t i = from * width; i < 0; i += VEC_LANES) vec_store(weights + i, vec_set(0));
    for (int64_t i = keys * width; i < end * width; i += VEC_LANES)
        vec_store(weights + i, vec_set(0));
    unsigned saved = vec_flush();
    for (int w = 0; w < vectors; w++)
        for (int64_t j = from; j < end; j += DEPTH, to += PARTS * TILE_BYTES)
            split_face(PARTS, to, weights + j * width + w * SIDE, width, SIDE * width);
    vec_unflush(saved);
}

/* out (d, width) <- factor out + V^T weights */
VEC_INLINE void add_values(int vectors, const mosaic_attention_unit *u, float *out,
                           const vec *factor, const char *v, int64_t key, float *weights,
                           int64_t keys, char *room)
{
    const int parts = parts_of(u);
    const int64_t width = vectors * SIDE, lead = key % DEPTH;
    const int64_t steps = (lead + keys + DEPTH - 1) / DEPTH;
    float *total = (float *)(void *)(room + faces_bytes(PARTS, BLOCK, TILE));
    pack_weights(vectors, room, weights, -lead, steps * DEPTH - lead, keys);
    faces a = {v + (key - lead) / DEPTH * parts * TILE_BYTES, BLOCK / DEPTH * parts * TILE_BYTES};
    faces b = {room, steps * PARTS * TILE_BYTES};
    for (int64_t c = 0; c < u->d; c += DEPTH, a.at += 2 * a.next) {
        multiply_parts(vectors, parts, PARTS, total, width, false, a, b, steps);
        const float *sum = total;
        for (int64_t r = 0; r < min_i64(DEPTH, u->d - c); r++)
            for (int w = 0; w < vectors; w++, out += VEC_LANES, sum += VEC_LANES)
                vec_store(out, vec_fma(vec_load(out), factor[w], vec_load(sum)));
    }
}

#include "../attention_forward.h"

/* ---- the kernel ----------------------------------------------------------------------------- */

static int64_t most_scratch_bytes(const mosaic_attention_unit *u, int64_t rows)
{
    return max_i64(scratch_bytes(u, rows), mosaic_cpu_attention_avx512.scratch(u, rows));
}

static void forward(const mosaic_attention_unit *u, int64_t from, int64_t to, void *scratch,
                    mosaic_attention_work *work)
{
    reaches r;
    if (!takes(u, &r)) {
        mosaic_cpu_attention_avx512.run(u, from, to, scratch, work);
        return;
    }
    configure_tiles();
    attend_rows(u, from, to, scratch, work);
    _tile_release();
}

const mosaic_attention_kernels mosaic_cpu_attention_amx = {most_scratch_bytes, forward, survey};
