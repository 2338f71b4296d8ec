/* attention_tile.h - what the attention kernels are made of: tiles of queries, blocks of keys.
 *
 * By multiply-adds (AMX tiles: amx/operands.h) lanes are queries. A tile is up to three vectors of
 * queries, kept transposed, q (d, width); scores and probabilities of a block of keys are (keys,
 * width). So maxima and sums over keys are plain vector operations, any head size works without
 * padding, and one element of K or V, broadcast, serves the whole tile. K is packed in panels of
 * STEP keys, (keys/STEP, d, STEP), V in panels of STEP head channels: STEP x 3 sums stay in
 * registers.
 *
 * Tried: lanes over d (head size 24 wastes a quarter, and every score is a sum across lanes); one
 * pass with a running maximum (1-2 % faster, falls to a third on growing maxima). */
#ifndef MOSAIC_CPU_ATTENTION_TILE_H
#define MOSAIC_CPU_ATTENTION_TILE_H
#include <float.h>
#include <math.h>

#include "../../poll.h"
#include "../attention.h"
#include "../kernels.h"
#include "../vec.h"

#ifndef ATTENTION_VECTORS
#define ATTENTION_VECTORS 3
#endif

enum {
    VECTORS = ATTENTION_VECTORS,        /* in a tile, at most */
    TILE = VECTORS * VEC_LANES,         /* queries in it */
    STEP = VEC_REGISTERS == 32 ? 8 : 4, /* rows of sums that fit the registers */
};

#define LOG2E 1.4426950408889634
#define LN2 0.6931471805599453

static inline int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }
static inline int64_t min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max_i64(int64_t a, int64_t b) { return a > b ? a : b; }

/* scale = power * unit: q is multiplied by the power of two, exactly, and scores are kept in units
 * of `unit`, base = unit log2 e, 1/2 <= base < 1, until something has been subtracted from them.
 * Scaled by all of scale and log2 e at once, a score of 100 would lose up to half a bit of its
 * natural precision. */
typedef struct {
    float power, base;
    double unit;
} scaling;

static inline scaling scaling_of(double scale)
{
    int exponent;
    double base = frexp(fabs(scale) * LOG2E, &exponent);
    if (base == 0) return (scaling){0, 1, LN2};
    return (scaling){(float)ldexp(scale < 0 ? -1 : 1, exponent), (float)base,
                     ldexp(fabs(scale), -exponent)};
}

/* ---- the one inner loop --------------------------------------------------------------------- */

typedef vec sums[STEP][VECTORS];

/* sum[r][w] += a(r, t) b(t, w) over t < depth: a(r, t) at a[r a_row + t a_step] is broadcast, b(t)
 * is `vectors` vectors at b + t b_step. */
VEC_INLINE void multiply(int vectors, sums sum, const float *a, int64_t a_row, int64_t a_step,
                         const float *b, int64_t b_step, int64_t depth)
{
    for (int64_t t = 0; t < depth; t++, a += a_step, b += b_step) {
        vec x[VECTORS];
        for (int w = 0; w < vectors; w++) x[w] = vec_load(b + w * VEC_LANES);
        for (int r = 0; r < STEP; r++) {
            vec y = vec_set(a[r * a_row]);
            for (int w = 0; w < vectors; w++) sum[r][w] = vec_fma(y, x[w], sum[r][w]);
        }
    }
}

VEC_INLINE void sums_clear(int vectors, sums sum)
{
    for (int r = 0; r < STEP; r++)
        for (int w = 0; w < vectors; w++) sum[r][w] = vec_set(0);
}

VEC_INLINE void sums_load(int vectors, sums sum, const float *from, int64_t row)
{
    for (int r = 0; r < STEP; r++)
        for (int w = 0; w < vectors; w++) sum[r][w] = vec_load(from + r * row + w * VEC_LANES);
}

VEC_INLINE void sums_store(int vectors, sums sum, float *to, int64_t row)
{
    for (int r = 0; r < STEP; r++)
        for (int w = 0; w < vectors; w++) vec_store(to + r * row + w * VEC_LANES, sum[r][w]);
}

VEC_INLINE void sums_add(int vectors, sums sum, const float *from, int64_t row)
{
    for (int r = 0; r < STEP; r++)
        for (int w = 0; w < vectors; w++) sum[r][w] += vec_load(from + r * row + w * VEC_LANES);
}

/* most <- the largest of it and the first rows */
VEC_INLINE void sums_raise(int vectors, sums sum, vec *most, int64_t rows)
{
    for (int r = 0; r < STEP; r++)
        for (int w = 0; w < vectors && (rows >= STEP || r < rows); w++)
            most[w] = vec_max(sum[r][w], most[w]);
}

/* ---- scratch -------------------------------------------------------------------------------- */

/* Takes count elements of `size` bytes from *at, 64-aligned. With *at starting from NULL this only
 * measures. */
static inline void *take(char **at, int64_t count, int64_t size)
{
    char *mine = *at;
    *at = (char *)((uintptr_t)mine + (uintptr_t)round_up(count * size, 64));
    return mine;
}

/* x (count vectors) <- factor * x */
VEC_INLINE void scale_vectors(float *x, int64_t count, vec factor)
{
    for (int64_t i = 0; i < count * VEC_LANES; i += VEC_LANES)
        vec_store(x + i, vec_load(x + i) * factor);
}

/* ---- gradients and messages ------------------------------------------------------------------ */

/* Powers of two keep what products read in range: what delta is multiplied by before, and dbias,
 * dq, dk, dv, with what is still missing of scale, after. */
typedef struct {
    float delta, dbias, dq, dk, dv;
} gains;

/* ---- rows of the group ----------------------------------------------------------------------- */

/* A row of the group is a query of one of its heads. */
typedef struct {
    int64_t head, query;
} place;

static inline place place_of(const mosaic_attention_unit *u, int64_t row)
{
    return (place){row / u->nq, row % u->nq};
}
static inline place next_place(const mosaic_attention_unit *u, place p)
{
    return p.query + 1 < u->nq ? (place){p.head, p.query + 1} : (place){p.head + 1, 0};
}

/* Rows of the next tile where `rows` are left: two of two vectors rather than three and one, which
 * leaves most of the registers for sums empty. */
static inline int64_t tile_rows(int64_t rows)
{
    bool splits = rows > TILE && rows <= TILE + VEC_LANES;
    return min_i64(rows, splits ? 2 * VEC_LANES : TILE);
}

/* Where tile i of `rows` rows starts, if each is cut from what the ones before have left. */
static inline int64_t tile_start(int64_t rows, int64_t i)
{
    int64_t left = rows - (i - 1) * TILE;
    return i == 0 ? 0 : rows - left + tile_rows(left);
}

#endif
