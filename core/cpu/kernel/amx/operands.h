/* operands.h - the operands of attention as faces, and their products.
 *
 * A face is a tile of each part of some numbers: (SIDE, DEPTH) of a left operand, (DEPTH, SIDE) of
 * a right one. */
#ifndef MOSAIC_CPU_AMX_OPERANDS_H
#define MOSAIC_CPU_AMX_OPERANDS_H
#include "../attention_pack.h"
#include "parts.h"

/* What tiles read exactly, as no part is subnormal, and multiply without overflow: 0, and 2^-100 <=
 * |x| < 2^60. Weights, ds and dout, which may be smaller, are multiplied by POWER before. */
VEC_INLINE __mmask16 unsound(vec x)
{
    const __m512i low = _mm512_set1_epi32(0x0d800000), reach = _mm512_set1_epi32(0x50000000);
    __m512i size = _mm512_and_si512((__m512i)x, _mm512_set1_epi32(0x7fffffff));
    return _mm512_mask_cmp_epu32_mask(_mm512_test_epi32_mask(size, size),
                                      _mm512_sub_epi32(size, low), reach, _MM_CMPINT_NLT);
}

/* Of queries, keys and values; everything else is f32. */
static inline int parts_of(const mosaic_attention_unit *u)
{
    return u->q.dtype == MOSAIC_DTYPE_BF16 ? 1 : PARTS;
}

static inline int64_t channels_of(const mosaic_attention_unit *u) { return round_up(u->d, DEPTH); }

/* Bytes of (rows, columns) in faces. */
static inline int64_t faces_bytes(int parts, int64_t rows, int64_t columns)
{
    return parts * rows * columns * 2;
}

/* ---- packing -------------------------------------------------------------------------------- */

/* Row i of a face: from + i row, and what is `second` floats further. */
VEC_INLINE void split_face(int parts, char *to, const float *from, int64_t row, int64_t second)
{
    for (int i = 0; i < SIDE; i++, from += row, to += LINE) {
        vec a = vec_load(from), b = vec_load(from + second);
        if (parts == 1)
            split_pair(1, to, a, b);
        else
            split_pair(PARTS, to, a, b);
    }
}

/* The same of weights: times POWER. */
VEC_INLINE void split_weights(char *to, const float *from, int64_t row, int64_t second)
{
    const vec power = vec_set(POWER);
    for (int i = 0; i < SIDE; i++, from += row, to += LINE)
        split_pair(PARTS, to, vec_load(from) * power, vec_load(from + second) * power);
}

/* Left: to (keys/SIDE, channels/DEPTH) <- rows first.. of keys or values, up to whole DEPTHs. */
static inline void pack_left_rows(char *to, const mosaic_attention_unit *u, const mosaic_rows *m,
                                  int64_t first, int64_t keys)
{
    const int parts = parts_of(u);
    const int64_t size = channels_of(u) / DEPTH * parts * TILE_BYTES;
    float buffer[BUFFER];
    for (int64_t j = 0; j < round_up(keys, DEPTH); j++) {
        const float *x = j < keys ? floats_at(m, 0, first + j, 0, u->d, buffer) : nothing;
        char *at = to + j / SIDE * size + j % SIDE * LINE;
        for (int64_t c = 0; c < u->d; c += DEPTH, at += parts * TILE_BYTES) {
            vec a = read_up_to(x + c, u->d - c), b = read_up_to(x + c + SIDE, u->d - c - SIDE);
            if (parts == 1)
                split_pair(1, at, a, b);
            else
                split_pair(PARTS, at, a, b);
        }
    }
}

/* Left: to (channels/SIDE, height/DEPTH) <- keys or values first.., transposed, up to whole DEPTHs.
 * room: (channels, keys) */
static inline void pack_left_columns(char *to, int64_t height, const mosaic_attention_unit *u,
                                     const mosaic_rows *m, int64_t first, int64_t keys, float *room)
{
    const int64_t channels = channels_of(u), whole = round_up(keys, DEPTH);
    const int parts = parts_of(u);
    float buffer[SIDE][BUFFER];
    for (int64_t j = 0; j < whole; j += SIDE) {
        const float *x[SIDE];
        for (int r = 0; r < SIDE; r++)
            x[r] = j + r < keys ? floats_at(m, 0, first + j + r, 0, u->d, buffer[r]) : nothing;
        columns_from_lanes(room + j, whole, x, u->d, vec_set(1));
    }
    memset(room + u->d * whole, 0, (size_t)((channels - u->d) * whole * 4));
    for (int64_t c = 0; c < channels; c += SIDE, to += height / DEPTH * parts * TILE_BYTES)
        for (int64_t j = 0; j < whole; j += DEPTH)
            split_face(parts, to + j / DEPTH * parts * TILE_BYTES, room + c * whole + j, whole,
                       SIDE);
}

/* Right: to (width/SIDE, channels/DEPTH) <- factor * queries first.. room: (channels, width) */
static inline void pack_right_lanes(int parts, char *to, int64_t width,
                                    const mosaic_attention_unit *u, const mosaic_rows *m,
                                    int64_t first, int64_t rows, float factor, float *room)
{
    const int64_t channels = channels_of(u);
    pack_lanes(room, width, u, m, first, rows, factor);
    memset(room + u->d * width, 0, (size_t)((channels - u->d) * width * 4));
    for (int64_t i = 0; i < width; i += SIDE)
        for (int64_t c = 0; c < channels; c += DEPTH, to += parts * TILE_BYTES)
            split_face(parts, to, room + c * width + i, width, SIDE * width);
}

/* Do so many rows and keys pay for splitting them? Measured for d = 8 to 256 and 1 to 4096 of each:
 * from about here on tiles are faster, in both directions, which have to agree on the scores. */
static inline bool pays(const mosaic_attention_unit *u)
{
    const int64_t least = min_i64(u->group * u->nq, u->nk), many = parts_of(u) == 1 ? 1 : 2;
    return least >= 64 * many && least * u->d >= 4096 * many && u->d >= 8 + 8 * many;
}

/* The largest size of factor times these, NaN the largest of all; INFINITY if one is unsound. */
static inline float reach(const mosaic_rows *m, int64_t heads, int64_t rows, int64_t d,
                          float factor, bool sound)
{
    const __m512i size = _mm512_set1_epi32(0x7fffffff);
    float buffer[BUFFER];
    __m512i most = _mm512_setzero_si512();
    __mmask16 bad = 0;
    for (int64_t h = 0; h < heads; h++)
        for (int64_t i = 0; i < rows; i++) {
            const float *from = floats_at(m, h, i, 0, d, buffer);
            for (int64_t c = 0; c < d; c += VEC_LANES) {
                vec x = vec_read(from + c, d - c) * vec_set(factor);
                most = _mm512_max_epu32(most, _mm512_and_si512((__m512i)x, size));
                bad |= unsound(x);
            }
        }
    if (sound && bad) return INFINITY;
    uint32_t bits = _mm512_reduce_max_epu32(most);
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    return largest;
}

typedef mosaic_attention_reaches reaches;

static void survey(const mosaic_attention_unit *u, reaches *r)
{
    *r = (reaches){.q = INFINITY};
    if (!pays(u)) return;
    r->q = reach(&u->q, u->group, u->nq, u->d, scaling_of(u->scale).power, true);
    r->k = reach(&u->k, 1, u->nk, u->d, 1, true);
    r->v = reach(&u->v, 1, u->nk, u->d, 1, true);
    if (!u->dout.data) return;
    r->dout = reach(&u->dout, u->group, u->nq, u->d, 1, false);
    r->delta = reach(&u->delta, u->group, u->nq, 1, 1, false);
}

/* Are scores made by tiles? Forward and backward have to agree to the bit, so nothing but q, k, v
 * and scale decides. */
static inline bool takes(const mosaic_attention_unit *u, reaches *r)
{
    if (u->reaches)
        *r = *u->reaches;
    else
        survey(u, r);
    return r->q < INFINITY && r->k < INFINITY && r->v < INFINITY;
}

/* What follows a message may be an operation that uses tiles, and releases them. */
static inline void poll_messages(void)
{
    const bool polls = mosaic_polling;
    mosaic_poll();
    if (polls) configure_tiles();
}

/* ---- products ------------------------------------------------------------------------------- */

/* Faces (rows/SIDE, steps): bytes to the next row of faces. */
typedef struct {
    const char *at;
    int64_t next;
} faces;

#define LOAD_LEFT(part)                                                                            \
    do {                                                                                           \
        _tile_loadd(4, x + (part)*TILE_BYTES, LINE);                                               \
        _tile_loadd(5, x + a.next + (part)*TILE_BYTES, LINE);                                      \
    } while (0)
#define LOAD_RIGHT(part)                                                                           \
    do {                                                                                           \
        _tile_loadd(6, y + (part)*TILE_BYTES, LINE);                                               \
        if (vectors > 1) _tile_loadd(7, y + b.next + (part)*TILE_BYTES, LINE);                     \
    } while (0)

/* Tiles 0..3 += the products of parts but the largest. */
VEC_INLINE void multiply_small(int vectors, int a_parts, int b_parts, faces a, faces b,
                               int64_t steps)
{
    const char *x = a.at, *y = b.at;
    for (int64_t t = 0; t < steps; t++, x += a_parts * TILE_BYTES, y += b_parts * TILE_BYTES) {
        if (a_parts == 1) LOAD_LEFT(0);
        if (a_parts == 3) LOAD_LEFT(2);
        if (b_parts == 1) LOAD_RIGHT(0);
        if (b_parts == 3) LOAD_RIGHT(a_parts == 3 ? 0 : 2);
        MULTIPLY_TILES(2, vectors);
        if (a_parts == 3) LOAD_LEFT(1);
        if (a_parts == 1) LOAD_RIGHT(1);
        MULTIPLY_TILES(2, vectors);
        if (a_parts == 1 || b_parts == 1) continue;
        LOAD_RIGHT(1);
        MULTIPLY_TILES(2, vectors);
        LOAD_LEFT(0);
        MULTIPLY_TILES(2, vectors);
        LOAD_RIGHT(2);
        MULTIPLY_TILES(2, vectors);
    }
}

/* to (2 SIDE, vectors SIDE), `row` floats apart, = or += a b. Small products first, so that only
 * the largest are rounded at the sum's full size. */
VEC_INLINE void multiply_faces(int vectors, int a_parts, int b_parts, float *to, int64_t row,
                               bool adds, faces a, faces b, int64_t steps)
{
    const char *x = a.at, *y = b.at;
    float *down = to + SIDE * row;
    SEE_MEMORY;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (adds) {
        _tile_loadd(0, to, row * 4);
        if (vectors > 1) _tile_loadd(1, to + SIDE, row * 4);
        _tile_loadd(2, down, row * 4);
        if (vectors > 1) _tile_loadd(3, down + SIDE, row * 4);
    }
    if (a_parts > 1 || b_parts > 1) multiply_small(vectors, a_parts, b_parts, a, b, steps);
    for (int64_t t = 0; t < steps; t++, x += a_parts * TILE_BYTES, y += b_parts * TILE_BYTES) {
        LOAD_LEFT(0);
        LOAD_RIGHT(0);
        MULTIPLY_TILES(2, vectors);
    }
    _tile_stored(0, to, row * 4);
    if (vectors > 1) _tile_stored(1, to + SIDE, row * 4);
    _tile_stored(2, down, row * 4);
    if (vectors > 1) _tile_stored(3, down + SIDE, row * 4);
    SEE_MEMORY;
}

/* The same where an operand has parts_of(u) parts: a, b or both. */
VEC_INLINE void multiply_parts(int vectors, int a_parts, int b_parts, float *to, int64_t row,
                               bool adds, faces a, faces b, int64_t steps)
{
    if (a_parts == 1 && b_parts == 1)
        multiply_faces(vectors, 1, 1, to, row, adds, a, b, steps);
    else if (a_parts == 1)
        multiply_faces(vectors, 1, PARTS, to, row, adds, a, b, steps);
    else if (b_parts == 1)
        multiply_faces(vectors, PARTS, 1, to, row, adds, a, b, steps);
    else
        multiply_faces(vectors, PARTS, PARTS, to, row, adds, a, b, steps);
}

#endif
