/* attention_pack.h - operands of any type and strides into what the kernels read, and back. */
#ifndef MOSAIC_CPU_ATTENTION_PACK_H
#define MOSAIC_CPU_ATTENTION_PACK_H
#include "attention_tile.h"

/* ---- rows as floats ------------------------------------------------------------------------- */

enum { BUFFER = 256 }; /* floats of one row: a head, or the keys of a block */

/* buffer <- at least VEC_LANES halves in a row; the last ones may be widened twice. (One by one f16
 * made a call of 1024 queries and keys take 1.4 to 3.9 times as long, bf16 1.00 to 1.03.) */
VEC_INLINE void widen_row(float *buffer, const uint16_t *from, int64_t count, bool bf16)
{
    const int64_t last = count - VEC_LANES;
    for (int64_t c = 0; c < last; c += VEC_LANES)
        vec_write(buffer + c, vec_widen(from + c, bf16), VEC_LANES);
    vec_write(buffer + last, vec_widen(from + last, bf16), VEC_LANES);
}

/* buffer <- `count` elements from `at` on, which are not simply floats in a row. */
__attribute__((noinline, unused)) static const float *
convert_floats(const mosaic_rows *m, int64_t at, int64_t count, float *buffer)
{
    const bool bf16 = m->dtype == MOSAIC_DTYPE_BF16, half = bf16 || m->dtype == MOSAIC_DTYPE_F16;
    if (half && m->column == 1 && count >= VEC_LANES) {
        const uint16_t *from = (const uint16_t *)(const void *)m->data + at;
        if (bf16)
            widen_row(buffer, from, count, true);
        else
            widen_row(buffer, from, count, false);
    } else if (m->dtype == MOSAIC_DTYPE_F32) {
        const float *from = (const float *)(const void *)m->data + at;
        for (int64_t c = 0; c < count; c++) buffer[c] = from[c * m->column];
    } else if (bf16) {
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
    if (to->column != 1) {
        for (int64_t c = 0; c < d; c++)
            x[c * to->column] = from[c] * factor + (add ? x[c * to->column] : 0);
        return;
    }
    for (int64_t c = 0; c < d; c += VEC_LANES) {
        vec sum = vec_read(from + c, d - c) * factor;
        if (add) sum += vec_read(x + c, d - c);
        vec_write(x + c, sum, d - c);
    }
}

/* ---- transposed ------------------------------------------------------------------------------ */

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

/* VEC_LANES rows become columns of to, whose rows are `step` long, times factor; and back. */
VEC_INLINE void columns_from_lanes(float *to, int64_t step, const float *const from[VEC_LANES],
                                   int64_t count, vec factor)
{
    enum { QUARTERS = VEC_LANES / 4 };
    int64_t c = 0;
    for (; c + 4 <= count; c += 4, to += 4 * step) {
        vec x[4];
        for (int i = 0; i < 4; i++) {
            const float *four[QUARTERS];
            for (int j = 0; j < QUARTERS; j++) four[j] = from[4 * j + i] + c;
            x[i] = vec_join(four);
        }
        vec_transpose(x);
        for (int i = 0; i < 4; i++) vec_store(to + i * step, x[i] * factor);
    }
    for (; c < count; c++, to += step) {
        for (int r = 0; r < VEC_LANES; r++) to[r] = from[r][c];
        scale_vectors(to, 1, factor);
    }
}

VEC_INLINE void rows_from_lanes(float *const to[VEC_LANES], const float *from, int64_t step,
                                int64_t count, vec factor)
{
    enum { QUARTERS = VEC_LANES / 4 };
    int64_t c = 0;
    for (; c + 4 <= count; c += 4, from += 4 * step) {
        vec x[4];
        for (int i = 0; i < 4; i++) x[i] = vec_load(from + i * step) * factor;
        vec_transpose(x);
        for (int i = 0; i < 4; i++) {
            float *four[QUARTERS];
            for (int j = 0; j < QUARTERS; j++) four[j] = to[4 * j + i] + c;
            vec_split(four, x[i]);
        }
    }
    for (; c < count; c++, from += step) {
        vec x = vec_load(from) * factor;
        for (int r = 0; r < VEC_LANES; r++) to[r][c] = x[r];
    }
}

/* to (d, width) <- factor * rows first.. of the group, transposed; lanes beyond them are 0. */
static inline void pack_lanes(float *to, int64_t width, const mosaic_attention_unit *u,
                              const mosaic_rows *from, int64_t first, int64_t rows, float factor)
{
    float buffer[VEC_LANES][BUFFER];
    place p = place_of(u, first);
    for (int64_t lane = 0; lane < width; lane += VEC_LANES) {
        const float *x[VEC_LANES];
        for (int r = 0; r < VEC_LANES; r++) {
            x[r] = nothing;
            if (lane + r >= rows) continue;
            x[r] = floats_at(from, p.head, p.query, 0, u->d, buffer[r]);
            p = next_place(u, p);
        }
        columns_from_lanes(to + lane, width, x, u->d, vec_set(factor));
    }
}

/* Rows first.. of the group <- from (d, width) times factor (width), transposed, or added to them.
 */
static inline void unpack_lanes(const mosaic_rows *to, const mosaic_attention_unit *u,
                                int64_t first, int64_t rows, const float *from, int64_t width,
                                const vec *factor, bool add)
{
    float buffer[VEC_LANES][BUFFER];
    const bool direct = to->column == 1 && !add;
    place p = place_of(u, first);
    for (int64_t lane = 0; lane < rows; lane += VEC_LANES) {
        place at[VEC_LANES];
        float *x[VEC_LANES];
        for (int r = 0; r < VEC_LANES; r++) {
            x[r] = buffer[r];
            at[r] = p;
            if (lane + r >= rows) continue;
            if (direct) x[r] = (float *)(void *)to->data + mosaic_rows_at(to, p.head, p.query, 0);
            p = next_place(u, p);
        }
        rows_from_lanes(x, from + lane, width, u->d, factor[lane / VEC_LANES]);
        for (int r = 0; !direct && r < VEC_LANES && lane + r < rows; r++)
            write_floats(to, at[r].head, at[r].query, buffer[r], u->d, 1, add);
    }
}

/* As vec_read, of fewer than one, too. */
VEC_INLINE vec read_up_to(const float *p, int64_t count)
{
    return count > 0 ? vec_read(p, count) : vec_set(0);
}

/* to (rows, columns) <- rows first.. of the group; columns beyond d are 0. */
static inline void pack_rows(float *to, int64_t columns, const mosaic_attention_unit *u,
                             const mosaic_rows *from, int64_t first, int64_t rows)
{
    float buffer[BUFFER];
    place p = place_of(u, first);
    for (int64_t r = 0; r < rows; r++, p = next_place(u, p), to += columns) {
        const float *x = floats_at(from, p.head, p.query, 0, u->d, buffer);
        for (int64_t c = 0; c < columns; c += VEC_LANES)
            vec_store(to + c, read_up_to(x + c, u->d - c));
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
        for (int64_t c = 0; c < whole; c += STEP, at += height * STEP) memcpy(at, x + c, STEP * 4);
        for (int r = 0; whole < u->d && r < STEP; r++) at[r] = whole + r < u->d ? x[whole + r] : 0;
    }
}

#endif
