/* attention.c - attention forward by multiply-adds: K in panels of STEP keys, (keys/STEP, d, STEP),
 * V in panels of STEP channels, (d/STEP, BLOCK, STEP), of which each number is broadcast to a tile
 * of queries (d, width). */
#include "attention_dropout.h"
#include "attention_fetch.h"
#include "attention_mask.h"

enum {
    BLOCK = SEEN, /* keys: K, V and scores of a block stay in the caches */
    LEAD = 0,
    WEIGHT_EXPONENT = 0
};

static int64_t queries_bytes(const mosaic_attention_unit *u) { return u->d * TILE * 4; }
static int64_t keys_bytes(const mosaic_attention_unit *u) { return BLOCK * u->d * 4; }
static int64_t values_bytes(const mosaic_attention_unit *u)
{
    return BLOCK * round_up(u->d, STEP) * 4;
}
static int64_t products_bytes(const mosaic_attention_unit *u)
{
    (void)u;
    return 0;
}

static void pack_queries(float *to, int64_t width, const mosaic_attention_unit *u, int64_t first,
                         int64_t rows, void *room)
{
    (void)room;
    pack_lanes(to, width, u, &u->q, first, rows, scaling_of(u->scale).power);
}

static void pack_block(float *k, float *v, const mosaic_attention_unit *u, int64_t from,
                       int64_t keys, void *room)
{
    (void)room;
    pack_keys(k, u, &u->k, from, keys);
    pack_channels(v, BLOCK, u, &u->v, from, keys);
}

/* scores (keys, width) = K q + mask for keys from number `key` of the block on; raises top to the
 * largest. */
VEC_INLINE void make_scores(int vectors, const mosaic_attention_unit *u, float *scores, vec *top,
                            const float *k, int64_t key, const float *q, const float *mask,
                            int64_t keys, fetcher *fetch)
{
    const int64_t width = vectors * VEC_LANES, d = u->d;
    k += key * d;
    for (int64_t j = 0; j < keys; j += STEP, scores += STEP * width) {
        sums s;
        fetch_some(fetch);
        sums_clear(vectors, s);
        multiply(vectors, s, k + j * d, 1, STEP, q, width, d);
        if (mask) sums_add(vectors, s, mask + j * width, width);
        sums_store(vectors, s, scores, width);
        sums_raise(vectors, s, top, min_i64(keys - j, STEP));
    }
}

/* out (d, width) <- factor out + V^T weights */
VEC_INLINE void add_values(int vectors, const mosaic_attention_unit *u, float *out,
                           const vec *factor, const float *v, int64_t key, const float *weights,
                           int64_t keys, void *room)
{
    const int64_t width = vectors * VEC_LANES, d = u->d;
    (void)room;
    v += key * STEP;
    for (int64_t c = 0; c < d; c += STEP, v += BLOCK * STEP, out += STEP * width) {
        sums s;
        sums_load(vectors, s, out, width);
        for (int r = 0; r < STEP; r++)
            for (int w = 0; w < vectors; w++) s[r][w] *= factor[w];
        multiply(vectors, s, v, 1, STEP, weights, width, keys);
        sums_store(vectors, s, out, width);
    }
}

#define poll_messages mosaic_poll
#include "attention_forward.h"

static void forward(const mosaic_attention_unit *u, int64_t from, int64_t to, void *scratch,
                    mosaic_attention_work *work)
{
    attend_rows(u, from, to, scratch, work);
}

const mosaic_attention_kernels MOSAIC_KERNELS(attention) = {.scratch = scratch_bytes,
                                                            .run = forward};
