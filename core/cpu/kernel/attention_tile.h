/* attention_tile.h - what the attention kernels are made of: tiles of queries, blocks of keys.
 *
 * Lanes are queries. A tile is up to three vectors of queries, kept transposed, q (d, width);
 * scores and probabilities of a block of keys are (keys, width). So maxima and sums over keys are
 * plain vector operations, any head size works without padding, and one element of K or V,
 * broadcast, serves the whole tile. K is packed in panels of STEP keys, (keys/STEP, d, STEP), V in
 * panels of STEP head channels: STEP x 3 sums stay in registers.
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

enum {
    VECTORS = 3,                        /* in a tile, at most */
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

/* ---- packing -------------------------------------------------------------------------------- */

enum { BUFFER = 256 }; /* floats of one row: a head, or the keys of a block */

/* buffer <- `count` elements from `at` on, which are not simply floats in a row. */
__attribute__((noinline, unused)) static const float *
convert_floats(const mosaic_rows *m, int64_t at, int64_t count, float *buffer)
{
    if (m->dtype == MOSAIC_DTYPE_F32) {
        const float *from = (const float *)(const void *)m->data + at;
        for (int64_t c = 0; c < count; c++) buffer[c] = from[c * m->column];
    } else if (m->dtype == MOSAIC_DTYPE_BF16) {
        const uint16_t *from = (const uint16_t *)(const void *)m->data + at;
        for (int64_t c = 0; c < count; c++) buffer[c] = mosaic_bf16_to_f32(from[c * m->column]);
    } else {
        for (int64_t c = 0; c < count; c++)
            buffer[c] = (float)mosaic_element_read(m->data, at + c * m->column, m->dtype);
    }
    return buffer;
}

/* `count` elements from (head, row, column) on as floats: in place, or converted into buffer. */
VEC_INLINE const float *floats_at(const mosaic_rows *m, int64_t head, int64_t row, int64_t column,
                                  int64_t count, float *buffer)
{
    int64_t at = mosaic_rows_at(m, head, row, column);
    if (m->dtype == MOSAIC_DTYPE_F32 && m->column == 1)
        return (const float *)(const void *)m->data + at;
    return convert_floats(m, at, count, buffer);
}

/* (head, row) <- factor * from (d), or added to it. */
static inline void write_floats(const mosaic_rows *to, int64_t head, int64_t row, const float *from,
                                int64_t d, float factor, bool add)
{
    float *x = (float *)(void *)to->data + mosaic_rows_at(to, head, row, 0);
    for (int64_t c = 0; c < d; c++)
        x[c * to->column] = from[c] * factor + (add ? x[c * to->column] : 0);
}

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

static const float nothing[BUFFER]; /* the row of a lane or key that is not there */

/* Four rows become columns of to, whose rows are `step` long, and back. */
VEC_INLINE void columns_from_rows(float *to, int64_t step, const float *const from[4],
                                  int64_t count)
{
    int64_t c = 0;
    for (; c + 4 <= count; c += 4, to += 4 * step)
        vec_transpose4((float *[]){to, to + step, to + 2 * step, to + 3 * step},
                       (const float *[]){from[0] + c, from[1] + c, from[2] + c, from[3] + c});
    for (; c < count; c++, to += step)
        for (int r = 0; r < 4; r++) to[r] = from[r][c];
}

VEC_INLINE void rows_from_columns(float *const to[4], const float *from, int64_t step,
                                  int64_t count)
{
    int64_t c = 0;
    for (; c + 4 <= count; c += 4, from += 4 * step)
        vec_transpose4((float *[]){to[0] + c, to[1] + c, to[2] + c, to[3] + c},
                       (const float *[]){from, from + step, from + 2 * step, from + 3 * step});
    for (; c < count; c++, from += step)
        for (int r = 0; r < 4; r++) to[r][c] = from[r];
}

/* x (count vectors) <- factor * x */
VEC_INLINE void scale_vectors(float *x, int64_t count, vec factor)
{
    for (int64_t i = 0; i < count * VEC_LANES; i += VEC_LANES)
        vec_store(x + i, vec_load(x + i) * factor);
}

/* to (d, width) <- rows first.. of the group, transposed; lanes beyond them are 0. */
static inline void pack_lanes(float *to, int64_t width, const mosaic_attention_unit *u,
                              const mosaic_rows *from, int64_t first, int64_t rows)
{
    float buffer[4][BUFFER];
    place p = place_of(u, first);
    for (int64_t lane = 0; lane < width; lane += 4) {
        const float *x[4] = {nothing, nothing, nothing, nothing};
        for (int r = 0; r < 4 && lane + r < rows; r++, p = next_place(u, p))
            x[r] = floats_at(from, p.head, p.query, 0, u->d, buffer[r]);
        columns_from_rows(to + lane, width, x, u->d);
    }
}

/* Rows first.. of the group <- from (d, width), transposed, or added to them. */
static inline void unpack_lanes(const mosaic_rows *to, const mosaic_attention_unit *u,
                                int64_t first, int64_t rows, const float *from, int64_t width,
                                bool add)
{
    float buffer[4][BUFFER];
    const bool direct = to->column == 1 && !add;
    place p = place_of(u, first);
    for (int64_t lane = 0; lane < rows; lane += 4) {
        place at[4];
        float *x[4] = {buffer[0], buffer[1], buffer[2], buffer[3]};
        for (int r = 0; r < 4 && lane + r < rows; r++, p = next_place(u, p)) {
            at[r] = p;
            if (direct) x[r] = (float *)(void *)to->data + mosaic_rows_at(to, p.head, p.query, 0);
        }
        rows_from_columns(x, from + lane, width, u->d);
        for (int r = 0; !direct && r < 4 && lane + r < rows; r++)
            write_floats(to, at[r].head, at[r].query, buffer[r], u->d, 1, add);
    }
}

/* to (rows, columns) <- rows first.. of the group; columns beyond d are 0. */
static inline void pack_rows(float *to, int64_t columns, const mosaic_attention_unit *u,
                             const mosaic_rows *from, int64_t first, int64_t rows)
{
    float buffer[BUFFER];
    place p = place_of(u, first);
    for (int64_t r = 0; r < rows; r++, p = next_place(u, p), to += columns) {
        const float *x = floats_at(from, p.head, p.query, 0, u->d, buffer);
        for (int64_t c = 0; c < u->d; c++) to[c] = x[c];
        for (int64_t c = u->d; c < columns; c++) to[c] = 0;
    }
}

/* to (keys/STEP, d, STEP) <- keys first.., transposed by panels; what is beyond them is 0. */
static inline void pack_keys(float *to, const mosaic_attention_unit *u, const mosaic_rows *from,
                             int64_t first, int64_t keys)
{
    float buffer[4][BUFFER];
    for (int64_t j = 0; j < round_up(keys, STEP); j += 4) {
        const float *x[4] = {nothing, nothing, nothing, nothing};
        for (int r = 0; r < 4 && j + r < keys; r++)
            x[r] = floats_at(from, 0, first + j + r, 0, u->d, buffer[r]);
        columns_from_rows(to + j / STEP * STEP * u->d + j % STEP, STEP, x, u->d);
    }
}

/* to (d/STEP, height, STEP) <- keys first.., by panels of channels; channels beyond d are 0. */
static inline void pack_channels(float *to, int64_t height, const mosaic_attention_unit *u,
                                 const mosaic_rows *from, int64_t first, int64_t keys)
{
    float buffer[BUFFER];
    int64_t whole = u->d / STEP * STEP;
    for (int64_t j = 0; j < keys; j++) {
        const float *x = floats_at(from, 0, first + j, 0, u->d, buffer);
        float *at = to + j * STEP;
        for (int64_t c = 0; c < whole; c += STEP, at += height * STEP)
            for (int r = 0; r < STEP; r++) at[r] = x[c + r];
        for (int r = 0; whole < u->d && r < STEP; r++) at[r] = whole + r < u->d ? x[whole + r] : 0;
    }
}

#endif
