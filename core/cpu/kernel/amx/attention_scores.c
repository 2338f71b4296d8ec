/* attention_scores.c - attention backward where tiles make the scores, as forward does, to the bit,
 * and multiply-adds all else: for dout, or what it is multiplied by, so large that tiles could
 * overflow, and not finite. That is rare: its speed does not matter. */
#include "../attention_dropout.h"
#include "../attention_fetch.h"
#include "../attention_mask.h"
#include "operands.h"

enum { ALIGN = DEPTH, LEAST_VECTORS = VECTORS };

/* ---- scores --------------------------------------------------------------------------------- */

/* (keys/SIDE, channels/DEPTH) */
static int64_t score_keys_bytes(const mosaic_attention_unit *u, int64_t keys)
{
    return faces_bytes(parts_of(u), keys, channels_of(u));
}

/* (TILE/SIDE, channels/DEPTH), and as floats before */
static int64_t score_queries_bytes(const mosaic_attention_unit *u)
{
    return faces_bytes(parts_of(u), TILE, channels_of(u)) + channels_of(u) * TILE * 4;
}

static void pack_score_keys(char *to, const mosaic_attention_unit *u, int64_t from, int64_t keys)
{
    pack_left_rows(to, u, &u->k, from, keys);
}

static void pack_score_queries(char *to, int64_t width, const mosaic_attention_unit *u,
                               int64_t first, int64_t rows)
{
    char *room = to + faces_bytes(parts_of(u), TILE, channels_of(u));
    pack_right_lanes(parts_of(u), to, width, u, &u->q, first, rows, scaling_of(u->scale).power,
                     (float *)(void *)room);
}

/* weights <- scores + mask of keys j..j + STEP - 1 of those from `key` on; the first ones of a
 * DEPTH make the scores of all of it. */
VEC_INLINE void make_scores(int vectors, const mosaic_attention_unit *u, float *weights,
                            const char *k, int64_t key, int64_t j, const char *q, const float *mask)
{
    const int parts = parts_of(u);
    const int64_t steps = channels_of(u) / DEPTH, next = steps * parts * TILE_BYTES;
    const int64_t lead = (key + j) % DEPTH, at = (key + j - lead) / SIDE * next;
    for (int i = 0; i < vectors && (j == 0 || lead == 0); i++)
        multiply_parts(1, parts, parts, weights + (j - lead) * TILE + i * SIDE, TILE, false,
                       (faces){k + at, next}, (faces){q + i * next, next}, steps);
    for (int64_t i = j * TILE; mask && i < (j + STEP) * TILE; i += VEC_LANES)
        vec_store(weights + i, vec_load(weights + i) + vec_load(mask + i));
}

#include "../attention_products.h"

#include "../attention_backward.h"

static void backward(const mosaic_attention_unit *u, const mosaic_attention_part *part,
                     void *scratch, mosaic_attention_work *work)
{
    configure_tiles();
    work_part(u, part, scratch, work);
    _tile_release();
}

const mosaic_attention_backward_kernels mosaic_cpu_attention_scores_amx = {
    .keys = chunk_keys, .scratch = scratch_bytes, .run = backward};
