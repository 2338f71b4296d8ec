/* attention_backward.c - attention backward by multiply-adds. */
#include "attention_dropout.h"
#include "attention_fetch.h"
#include "attention_mask.h"

enum { ALIGN = STEP, LEAST_VECTORS = 1 };

/* ---- scores --------------------------------------------------------------------------------- */

static int64_t score_keys_bytes(const mosaic_attention_unit *u, int64_t keys)
{
    return keys * u->d * 4;
}
static int64_t score_queries_bytes(const mosaic_attention_unit *u) { return u->d * TILE * 4; }

/* to (keys/STEP, d, STEP) */
static void pack_score_keys(float *to, const mosaic_attention_unit *u, int64_t from, int64_t keys)
{
    pack_keys(to, u, &u->k, from, keys);
}

/* to (d, width) */
static void pack_score_queries(float *to, int64_t width, const mosaic_attention_unit *u,
                               int64_t first, int64_t rows)
{
    pack_lanes(to, width, u, &u->q, first, rows, scaling_of(u->scale).power);
}

/* weights <- scores + mask of keys j..j + STEP - 1 of those from `key` on */
VEC_INLINE void make_scores(int vectors, const mosaic_attention_unit *u, float *weights,
                            const float *k, int64_t key, int64_t j, const float *q,
                            const float *mask)
{
    const int64_t width = vectors * VEC_LANES;
    sums s;
    sums_clear(vectors, s);
    multiply(vectors, s, k + (key + j) * u->d, 1, STEP, q, width, u->d);
    if (mask) sums_add(vectors, s, mask + j * width, width);
    sums_store(vectors, s, weights + j * TILE, TILE);
}

#define poll_messages mosaic_poll
#include "attention_products.h"

#include "attention_backward.h"

const mosaic_attention_backward_kernels MOSAIC_KERNELS(attention_backward) = {
    .keys = chunk_keys, .scratch = scratch_bytes, .run = work_part};
