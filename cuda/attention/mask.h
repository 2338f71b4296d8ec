/* mask.h - which keys a query sees, what is added to a score, and what is dropped: pair by pair,
 * and for whole tiles. The pairs are those of core/cpu/attention.h, with the same bits of dropout.
 */
#ifndef MOSAIC_ATTENTION_MASK_H
#define MOSAIC_ATTENTION_MASK_H
#include <kernel.h>

#include "../inline.h"

#include "../../core/half.h"
#include "../../core/philox.h"
#include "../half.h"
#include "call.h"

/* One batch entry and head of a call. */
typedef struct {
    int64_t b0, b1, head, kv_head;
} mosaic_attention_place;

/* unit = (b0 * b1 + ..) * heads + head */
MOSAIC_DEVICE mosaic_attention_place place_of(const mosaic_attention_args &a, int64_t unit)
{
    mosaic_attention_place p;
    p.head = unit % a.heads;
    p.b1 = unit / a.heads % a.b1;
    p.b0 = unit / (a.heads * a.b1);
    p.kv_head = p.head / (a.heads / a.kv_heads);
    return p;
}

/* Element (row, column) of the view's part for this place, as an offset in elements. */
MOSAIC_DEVICE int64_t at(const mosaic_attention_view &v, const mosaic_attention_place &p,
                         int64_t row, int64_t column)
{
    return p.b0 * v.b0 + p.b1 * v.b1 + p.head * v.head + row * v.row + column * v.column;
}

/* The same of an operand that has key/value heads. */
MOSAIC_DEVICE int64_t kv_at(const mosaic_attention_view &v, const mosaic_attention_place &p,
                            int64_t row, int64_t column)
{
    return p.b0 * v.b0 + p.b1 * v.b1 + p.kv_head * v.head + row * v.row + column * v.column;
}

/* Element number i of a float dtype. */
template <class T> MOSAIC_DEVICE T number(const char *data, int64_t i, int dtype)
{
    switch (dtype) {
    case MOSAIC_ATTENTION_F32: return (T)((const float *)data)[i];
    case MOSAIC_ATTENTION_F64: return (T)((const double *)data)[i];
    case MOSAIC_ATTENTION_BF16: return (T)mosaic_bf16_to_f32(((const uint16_t *)data)[i]);
    default: return (T)mosaic_float_of_f16(((const uint16_t *)data)[i]);
    }
}

MOSAIC_DEVICE int64_t position(const mosaic_attention_positions_of &p, int64_t row)
{
    return p.data ? p.data[row * p.step] : row + 1;
}

MOSAIC_DEVICE int64_t document(const mosaic_attention_view &v, const mosaic_attention_place &p,
                               int64_t row)
{
    return ((const int64_t *)v.data)[p.b0 * v.b0 + p.b1 * v.b1 + row * v.row];
}

/* ---- tiles ---------------------------------------------------------------------------------- */

enum { MOSAIC_TILE_NONE, MOSAIC_TILE_SOME, MOSAIC_TILE_ALL };

MOSAIC_DEVICE mosaic_attention_span span_of(const mosaic_attention_span *spans, int64_t tiles,
                                            int64_t rows, int tile_rows, int64_t tile,
                                            int64_t entry)
{
    if (spans) return spans[entry * tiles + tile];
    mosaic_attention_span s = {tile * tile_rows + 1, (tile + 1) * tile_rows, 0, 0};
    if (s.position_high > rows) s.position_high = rows;
    return s;
}

/* What do the queries of tile i see of the keys of tile j? */
MOSAIC_DEVICE int tile_sees(const mosaic_attention_args &a, const mosaic_attention_place &p,
                            int64_t i, int64_t j)
{
    const unsigned hiding = MOSAIC_ATTENTION_LIMITS | MOSAIC_ATTENTION_DOCUMENTS |
                            MOSAIC_ATTENTION_KEEP | MOSAIC_ATTENTION_KEEP_IF;
    bool all = !(a.entries & (MOSAIC_ATTENTION_KEEP | MOSAIC_ATTENTION_KEEP_IF));
    if (a.extent.data) {
        int extent = a.extent.data[at(a.extent, p, i, j)];
        if (extent == MOSAIC_TILE_NONE) return MOSAIC_TILE_NONE;
        all = extent == MOSAIC_TILE_ALL;
    } else if (!(a.entries & hiding)) {
        return MOSAIC_TILE_ALL;
    }
    int64_t entry = p.b0 * a.b1 + p.b1;
    mosaic_attention_span q =
        span_of(a.q_span, (a.nq + a.q_tile - 1) / a.q_tile, a.nq, a.q_tile, i, entry);
    mosaic_attention_span k =
        span_of(a.k_span, (a.nk + a.k_tile - 1) / a.k_tile, a.nk, a.k_tile, j, entry);
    if (a.entries & MOSAIC_ATTENTION_LIMITS) {
        if (q.position_low - k.position_high > a.left ||
            k.position_low - q.position_high > a.right || k.position_low > a.prefix)
            return MOSAIC_TILE_NONE;
        all = all && q.position_high - k.position_low <= a.left &&
              k.position_high - q.position_low <= a.right && k.position_high <= a.prefix;
    }
    if (a.entries & MOSAIC_ATTENTION_DOCUMENTS) {
        if (q.document_high < k.document_low || k.document_high < q.document_low)
            return MOSAIC_TILE_NONE;
        all = all && q.document_low == q.document_high && k.document_low == k.document_high;
    }
    return all ? MOSAIC_TILE_ALL : MOSAIC_TILE_SOME;
}

/* ---- pairs ---------------------------------------------------------------------------------- */

/* Does the mask, programs apart, let query i see key j? */
MOSAIC_DEVICE bool sees(const mosaic_attention_args &a, const mosaic_attention_place &p, int64_t i,
                        int64_t j)
{
    if (a.entries & MOSAIC_ATTENTION_LIMITS) {
        int64_t s = position(a.q_position, i), t = position(a.k_position, j);
        if (s - t > a.left || t - s > a.right || t > a.prefix) return false;
    }
    if (a.entries & MOSAIC_ATTENTION_DOCUMENTS &&
        document(a.q_document, p, i) != document(a.k_document, p, j))
        return false;
    return !(a.entries & MOSAIC_ATTENTION_KEEP) || a.keep.data[at(a.keep, p, i, j)] != 0;
}

/* What bias and slope add to that score. */
template <class T>
MOSAIC_DEVICE T added(const mosaic_attention_args &a, const mosaic_attention_place &p, int64_t i,
                      int64_t j)
{
    T sum = 0;
    if (a.entries & MOSAIC_ATTENTION_ALIBI)
        sum -=
            (T)(a.slope[p.head] * (double)(position(a.q_position, i) - position(a.k_position, j)));
    if (a.entries & MOSAIC_ATTENTION_BIAS)
        sum += number<T>(a.bias.data, at(a.bias, p, i, j), a.bias_dtype);
    return sum;
}

/* ---- dropout -------------------------------------------------------------------------------- */

/* The number of a batch entry in the whole, from 0. */
MOSAIC_DEVICE int64_t batch_of(const mosaic_attention_args &a, const mosaic_attention_place &p)
{
    return (a.batch_from[0] + p.b0) * a.batch_total + a.batch_from[1] + p.b1;
}

/* The random words of the query at position s and four keys, at positions 4 group + 1, ... */
MOSAIC_DEVICE mosaic_philox dropout_words(const mosaic_attention_args &a,
                                          const mosaic_attention_place &p, int64_t s,
                                          uint64_t group)
{
    uint64_t stream = (uint32_t)batch_of(a, p) | (uint64_t)(a.head_from + p.head) << 32;
    return mosaic_philox_at(a.seed, stream, (uint32_t)(s - 1) | group << 32);
}

/* Is that probability dropped? The others are multiplied by a.kept. */
MOSAIC_DEVICE bool dropped(const mosaic_attention_args &a, const mosaic_attention_place &p,
                           int64_t i, int64_t j)
{
    if (!(a.entries & MOSAIC_ATTENTION_DROPOUT)) return false;
    uint64_t key = (uint64_t)position(a.k_position, j) - 1;
    mosaic_philox words = dropout_words(a, p, position(a.q_position, i), key / 4);
    uint32_t low = key & 1 ? words.word[1] : words.word[0]; /* an index would ask for memory */
    uint32_t high = key & 1 ? words.word[3] : words.word[2];
    return (key & 2 ? high : low) < a.below;
}

#endif
