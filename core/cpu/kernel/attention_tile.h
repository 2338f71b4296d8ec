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
 * of `unit`, 1/2 <= unit < 1, until something has been subtracted from them. Scaled by all of scale
 * and log2 e at once, a score of 100 would lose up to half a bit of its natural precision. */
typedef struct {
    float power;
    double unit;
} scaling;

static inline scaling scaling_of(double scale)
{
    int exponent;
    double unit = frexp(fabs(scale), &exponent);
    if (unit == 0) return (scaling){0, 1};
    return (scaling){(float)ldexp(scale < 0 ? -1 : 1, exponent), unit};
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

/* (head, row) <- factor * from, or added to it; d floats, `step` apart in from. */
static inline void write_floats(const mosaic_rows *to, int64_t head, int64_t row, const float *from,
                                int64_t step, int64_t d, float factor, bool add)
{
    float *x = (float *)(void *)to->data + mosaic_rows_at(to, head, row, 0);
    for (int64_t c = 0; c < d; c++)
        x[c * to->column] = from[c * step] * factor + (add ? x[c * to->column] : 0);
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

/* to (d, width) <- factor times rows first.. of the group, transposed; lanes beyond them are 0. */
static inline void pack_lanes(float *to, int64_t width, const mosaic_attention_unit *u,
                              const mosaic_rows *from, int64_t first, int64_t rows, float factor)
{
    float buffer[BUFFER];
    place p = place_of(u, first);
    for (int64_t lane = 0; lane < rows; lane++, p = next_place(u, p)) {
        const float *x = floats_at(from, p.head, p.query, 0, u->d, buffer);
        for (int64_t c = 0; c < u->d; c++) to[c * width + lane] = x[c] * factor;
    }
    for (int64_t c = 0; rows < width && c < u->d; c++)
        for (int64_t lane = rows; lane < width; lane++) to[c * width + lane] = 0;
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
    float buffer[BUFFER];
    for (int64_t j = 0; j < keys; j += STEP) {
        for (int64_t r = 0; r < STEP; r++) {
            float *panel = to + j * u->d + r;
            if (j + r >= keys) {
                for (int64_t c = 0; c < u->d; c++) panel[c * STEP] = 0;
                continue;
            }
            const float *x = floats_at(from, 0, first + j + r, 0, u->d, buffer);
            for (int64_t c = 0; c < u->d; c++) panel[c * STEP] = x[c];
        }
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

/* ---- who sees what -------------------------------------------------------------------------- */

/* What the queries of a tile may see: each from low to high, and its own document. Of several
 * queries: the narrowest and the widest. Unused where the unit has no such mask. */
typedef struct {
    int64_t low_min, low_max, high_min, high_max, document_min, document_max;
} limits;

/* Positions and documents of some keys. */
typedef struct {
    int64_t position_min, position_max, document_min, document_max;
} extent;

/* Keys from..to - 1, all of them that the tile can see and few others. */
typedef struct {
    int64_t from, to;
    bool masked; /* not every query sees every key, or something is added to scores */
} span;

static inline limits limits_of(const mosaic_attention_unit *u, int64_t first, int64_t rows)
{
    limits l = {INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN};
    place p = place_of(u, first);
    for (int64_t r = 0; r < rows; r++, p = next_place(u, p)) {
        if (u->low) {
            l.low_min = min_i64(l.low_min, u->low[p.query]);
            l.low_max = max_i64(l.low_max, u->low[p.query]);
            l.high_min = min_i64(l.high_min, u->high[p.query]);
            l.high_max = max_i64(l.high_max, u->high[p.query]);
        }
        if (u->q_document) {
            int64_t id = u->q_document[p.query * u->q_document_step];
            l.document_min = min_i64(l.document_min, id);
            l.document_max = max_i64(l.document_max, id);
        }
    }
    return l;
}

static inline extent extent_of(const mosaic_attention_unit *u, int64_t from, int64_t to)
{
    extent e = {INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN};
    for (int64_t j = from; u->low && j < to; j++) {
        e.position_min = min_i64(e.position_min, u->k_position[j]);
        e.position_max = max_i64(e.position_max, u->k_position[j]);
    }
    for (int64_t j = from; u->q_document && j < to; j++) {
        e.document_min = min_i64(e.document_min, u->k_document[j * u->k_document_step]);
        e.document_max = max_i64(e.document_max, u->k_document[j * u->k_document_step]);
    }
    return e;
}

/* Can any of these queries see any of these keys? */
static inline bool any_seen(const mosaic_attention_unit *u, const limits *l, const extent *e)
{
    if (u->low && (e->position_max < l->low_min || e->position_min > l->high_max)) return false;
    return !u->q_document ||
           (e->document_max >= l->document_min && e->document_min <= l->document_max);
}

/* Does every one of these queries see every one of these keys? */
static inline bool all_seen(const mosaic_attention_unit *u, const limits *l, const extent *e)
{
    if (u->low && (e->position_min < l->low_max || e->position_max > l->high_min)) return false;
    return !u->q_document ||
           (l->document_min == l->document_max && e->document_min == l->document_min &&
            e->document_max == l->document_min);
}

static inline bool key_seen(const mosaic_attention_unit *u, const limits *l, int64_t key)
{
    extent e = extent_of(u, key, key + 1);
    return any_seen(u, l, &e);
}

/* What of keys from..to - 1, whose extent is e, a tile has to work on. Starts at a whole STEP. */
static inline span visible(const mosaic_attention_unit *u, const limits *l, const extent *e,
                           int64_t from, int64_t to)
{
    span s = {from, to, u->keep.data || u->bias.data || u->slope};
    if (!any_seen(u, l, e)) return (span){from, from, false};
    if (all_seen(u, l, e)) return s;
    while (s.to > from && !key_seen(u, l, s.to - 1)) s.to--;
    while (s.from < s.to && !key_seen(u, l, s.from)) s.from++;
    s.from = from + (s.from - from) / STEP * STEP;
    extent rest = extent_of(u, s.from, s.to);
    s.masked = s.masked || !all_seen(u, l, &rest);
    return s;
}

/* ---- masks ---------------------------------------------------------------------------------- */

/* What is added to the scores, by lane: bias and slope. */
static inline void add_extras(const mosaic_attention_unit *u, place p, int64_t from, int64_t keys,
                              float *mask, int64_t width)
{
    float buffer[BUFFER];
    double per_unit = 1 / scaling_of(u->scale).unit;
    if (u->bias.data) {
        const float *x = floats_at(&u->bias, p.head, p.query, from, keys, buffer);
        for (int64_t j = 0; j < keys; j++) mask[j * width] = (float)(x[j] * per_unit);
    }
    if (u->slope) {
        double slope = u->slope[p.head] * per_unit;
        const int64_t *position = u->k_position + from;
        for (int64_t j = 0; j < keys; j++)
            mask[j * width] -= (float)(slope * (double)(u->q_position[p.query] - position[j]));
    }
}

/* -infinity where this query does not see the key. */
static inline void hide(const mosaic_attention_unit *u, place p, int64_t from, int64_t keys,
                        float *mask, int64_t width)
{
    if (u->low) {
        int64_t low = u->low[p.query], high = u->high[p.query];
        const int64_t *position = u->k_position + from;
        for (int64_t j = 0; j < keys; j++)
            if (position[j] < low || position[j] > high) mask[j * width] = -INFINITY;
    }
    if (u->q_document) {
        int64_t id = u->q_document[p.query * u->q_document_step];
        const int64_t *ids = u->k_document + from * u->k_document_step;
        for (int64_t j = 0; j < keys; j++)
            if (ids[j * u->k_document_step] != id) mask[j * width] = -INFINITY;
    }
    if (u->keep.data) {
        const char *keep = u->keep.data + mosaic_rows_at(&u->keep, p.head, p.query, from);
        for (int64_t j = 0; j < keys; j++)
            if (!keep[j * u->keep.column]) mask[j * width] = -INFINITY;
    }
}

/* mask (keys, width) for rows first.. of the group and keys from..; there is room for whole STEPs,
 * and what is beyond rows and keys is 0. */
static inline void make_mask(const mosaic_attention_unit *u, int64_t first, int64_t rows,
                             int64_t from, int64_t keys, float *mask, int64_t width)
{
    for (int64_t i = 0; i < round_up(keys, STEP) * width; i++) mask[i] = 0;
    place p = place_of(u, first);
    for (int64_t lane = 0; lane < rows; lane++, p = next_place(u, p)) {
        add_extras(u, p, from, keys, mask + lane, width);
        hide(u, p, from, keys, mask + lane, width);
    }
}

#endif
