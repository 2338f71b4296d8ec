/* tensor_mask.h - masks on scores as the lanes of a warp hold them.
 *
 * Of a part of a tile lane 4g + t has the rows 16m + 8h + g of its warp, number r = 2m + h, and the
 * keys 8n + 2t + e, number k = 2n + e. What hides or drops pairs is found as bits, bit k of word r,
 * in loops that are not unrolled; then it is applied to all of them at once. */
#ifndef MOSAIC_ATTENTION_TENSOR_MASK_H
#define MOSAIC_ATTENTION_TENSOR_MASK_H
#include "programs.h"
#include "tensor_load.h"

enum { KEY_TILES = PART / 8, LANE_ROWS = 2 * ROW_TILES, LANE_KEYS = PART / 4 };

typedef float tensor_scores[ROW_TILES][KEY_TILES][4];

/* A row of the block, a key of the part. */
MOSAIC_DEVICE int row_of(int r)
{
    int x = opaque(threadIdx.x);
    return x / 32 * 16 * ROW_TILES + r * 8 + x % 32 / 4;
}
MOSAIC_DEVICE int key_of(int k) { return opaque(threadIdx.x) % 4 * 2 + k / 2 * 8 + k % 2; }

MOSAIC_DEVICE float &score_at(tensor_scores &s, int r, int k)
{
    return s[r / 2][k / 2][r % 2 * 2 + k % 2];
}

/* The pairs' bits as one word, pair n at bit n. */
MOSAIC_DEVICE uint64_t joined(const unsigned (&bits)[LANE_ROWS])
{
    uint64_t all = 0;
#pragma unroll
    for (int r = 0; r < LANE_ROWS; r++) all |= (uint64_t)bits[r] << r * LANE_KEYS;
    return all;
}

MOSAIC_DEVICE void disjoin(unsigned (&bits)[LANE_ROWS], uint64_t all)
{
#pragma unroll
    for (int r = 0; r < LANE_ROWS; r++)
        bits[r] = (unsigned)(all >> r * LANE_KEYS) & (unsigned)((1ull << LANE_KEYS) - 1);
}

/* ---- who sees what -------------------------------------------------------------------------- */

/* How many of this lane's keys are below x? */
MOSAIC_DEVICE int keys_below(int64_t x)
{
    int n = (int)max((int64_t)0, min((int64_t)PART, x)) - (int)threadIdx.x % 4 * 2;
    return n <= 0 ? 0 : n / 8 * 2 + min(n % 8, 2);
}

/* Keys from .. to - 1 of the part. */
MOSAIC_DEVICE unsigned keys_between(int64_t from, int64_t to)
{
    return ((1u << keys_below(to)) - 1) & ~((1u << keys_below(from)) - 1);
}

/* Key j of the call that number k of this lane is, or the last one. */
MOSAIC_DEVICE int64_t key_at(const mosaic_attention_args &a, int64_t first, int k)
{
    return min(first + key_of(k), a.nk - 1);
}

/* The positions that a query at s sees are low .. high. */
MOSAIC_DEVICE int64_t low_of(const mosaic_attention_args &a, int64_t s)
{
    return s < 0 && a.left > s - INT64_MIN ? INT64_MIN : s - a.left;
}
MOSAIC_DEVICE int64_t high_of(const mosaic_attention_args &a, int64_t s)
{
    return min(s > 0 && a.right > INT64_MAX - s ? INT64_MAX : s + a.right, a.prefix);
}

MOSAIC_DEVICE void look_at_limits(unsigned (&seen)[LANE_ROWS], const mosaic_attention_args &a,
                                  const tensor_block &b, int64_t first)
{
    int64_t low[LANE_ROWS], high[LANE_ROWS];
#pragma unroll
    for (int r = 0; r < LANE_ROWS; r++) {
        mosaic_attention_place p;
        int64_t s = position(a.q_position, query_of(b, row_of(r), p));
        low[r] = low_of(a, s);
        high[r] = high_of(a, s);
        if (!a.k_position.data) /* key j is at j + 1 */
            seen[r] &=
                keys_between(max(low[r], (int64_t)0) - 1 - first, min(high[r], a.nk) - first);
    }
#pragma unroll 4
    for (int k = 0; a.k_position.data && k < LANE_KEYS; k++) {
        int64_t t = position(a.k_position, key_at(a, first, k));
#pragma unroll
        for (int r = 0; r < LANE_ROWS; r++)
            if (t < low[r] || t > high[r]) seen[r] &= ~(1u << k);
    }
}

MOSAIC_DEVICE void look_at_documents(unsigned (&seen)[LANE_ROWS], const mosaic_attention_args &a,
                                     const tensor_block &b, int64_t first)
{
    int64_t own[LANE_ROWS];
#pragma unroll
    for (int r = 0; r < LANE_ROWS; r++) {
        mosaic_attention_place p;
        int64_t i = query_of(b, row_of(r), p);
        own[r] = document(a.q_document, p, i);
    }
#pragma unroll 4
    for (int k = 0; k < LANE_KEYS; k++) {
        int64_t id = document(a.k_document, b.p, key_at(a, first, k));
#pragma unroll
        for (int r = 0; r < LANE_ROWS; r++)
            if (id != own[r]) seen[r] &= ~(1u << k);
    }
}

MOSAIC_DEVICE void look_at_keep(unsigned (&seen)[LANE_ROWS], const mosaic_attention_args &a,
                                const tensor_block &b, int64_t first)
{
#pragma unroll
    for (int r = 0; r < LANE_ROWS; r++) {
        mosaic_attention_place p;
        int64_t i = query_of(b, row_of(r), p);
        const char *keep = a.keep.data + at(a.keep, p, i, 0);
#pragma unroll 4
        for (int k = 0; k < LANE_KEYS; k++)
            if (!keep[key_at(a, first, k) * a.keep.column]) seen[r] &= ~(1u << k);
    }
}

/* One pair after the other, so that a program is compiled once. */
MOSAIC_DEVICE void look_by_program(unsigned (&seen)[LANE_ROWS], const mosaic_attention_args &a,
                                   const tensor_block &b, int64_t first)
{
    uint64_t all = joined(seen);
#pragma unroll 1
    for (int n = 0; n < LANE_ROWS * LANE_KEYS; n++) {
        mosaic_attention_place p;
        int64_t i = query_of(b, row_of(n / LANE_KEYS), p);
        if (all >> n & 1 && !looks(a, p, i, key_at(a, first, n % LANE_KEYS)))
            all &= ~((uint64_t)1 << n);
    }
    disjoin(seen, all);
}

/* The pairs that there are of this lane's rows and the part whose first key is `first`; unless
 * `all`, those that the mask lets through. Returns how many it hides. */
MOSAIC_DEVICE int look(unsigned (&seen)[LANE_ROWS], const mosaic_attention_args &a,
                       const tensor_block &b, int64_t first, bool all)
{
    int hidden = 0;
#pragma unroll
    for (int r = 0; r < LANE_ROWS; r++) {
        seen[r] = row_of(r) < b.rows ? keys_between(0, a.nk - first) : 0;
        hidden += __popc(seen[r]);
    }
    if (all) return 0;
    if (a.entries & MOSAIC_ATTENTION_LIMITS) look_at_limits(seen, a, b, first);
    if (a.entries & MOSAIC_ATTENTION_DOCUMENTS) look_at_documents(seen, a, b, first);
    if (a.entries & MOSAIC_ATTENTION_KEEP) look_at_keep(seen, a, b, first);
    if (HAS_KEEP) look_by_program(seen, a, b, first);
#pragma unroll
    for (int r = 0; r < LANE_ROWS; r++) hidden -= __popc(seen[r]);
    return hidden;
}

MOSAIC_DEVICE void hide(tensor_scores &s, const unsigned (&seen)[LANE_ROWS])
{
#pragma unroll
    for (int r = 0; r < LANE_ROWS; r++)
#pragma unroll
        for (int k = 0; k < LANE_KEYS; k++)
            score_at(s, r, k) = seen[r] >> k & 1 ? score_at(s, r, k) : -INFINITY;
}

/* ---- what is added to scores ---------------------------------------------------------------- */

/* slope (s - t) is taken off, where keys are at 1, 2, ... */
MOSAIC_DEVICE void subtract_slopes(tensor_scores &s, const mosaic_attention_args &a,
                                   const tensor_block &b, int64_t first)
{
#pragma unroll
    for (int r = 0; r < LANE_ROWS; r++) {
        mosaic_attention_place p;
        int64_t at_row = position(a.q_position, query_of(b, row_of(r), p));
        float slope = (float)a.slope[p.head], distance = (float)(at_row - first - 1 - key_of(0));
#pragma unroll
        for (int k = 0; k < LANE_KEYS; k++)
            score_at(s, r, k) -= slope * (distance - (float)(k / 2 * 8 + k % 2));
    }
}

/* What else there is goes by local memory, where a loop finds a pair without being unrolled: pair
 * number r LANE_KEYS + k of this lane. */
typedef float tensor_staged[LANE_ROWS * LANE_KEYS];

MOSAIC_DEVICE void subtract_slopes_anywhere(tensor_staged &staged, const mosaic_attention_args &a,
                                            const tensor_block &b, int64_t first)
{
#pragma unroll 1
    for (int r = 0; r < LANE_ROWS; r++) {
        mosaic_attention_place p;
        int64_t s = position(a.q_position, query_of(b, row_of(r), p));
        float slope = (float)a.slope[p.head];
#pragma unroll 4
        for (int k = 0; k < LANE_KEYS; k++) {
            int64_t t = position(a.k_position, key_at(a, first, k));
            staged[r * LANE_KEYS + k] -= slope * (float)(s - t);
        }
    }
}

template <class T, class Value>
MOSAIC_DEVICE void add_bias_of(tensor_staged &staged, const mosaic_attention_args &a,
                               const tensor_block &b, int64_t first, Value value)
{
#pragma unroll 1
    for (int r = 0; r < LANE_ROWS; r++) {
        mosaic_attention_place p;
        int64_t i = query_of(b, row_of(r), p);
        const T *bias = (const T *)a.bias.data + at(a.bias, p, i, 0);
#pragma unroll 4
        for (int k = 0; k < LANE_KEYS; k++)
            staged[r * LANE_KEYS + k] += value(bias[key_at(a, first, k) * a.bias.column]);
    }
}

MOSAIC_DEVICE void add_bias(tensor_staged &s, const mosaic_attention_args &a, const tensor_block &b,
                            int64_t first)
{
    switch (a.bias_dtype) {
    case MOSAIC_ATTENTION_F32: return add_bias_of<float>(s, a, b, first, [](float x) { return x; });
    case MOSAIC_ATTENTION_F64:
        return add_bias_of<double>(s, a, b, first, [](double x) { return (float)x; });
    case MOSAIC_ATTENTION_BF16:
        return add_bias_of<uint16_t>(s, a, b, first, [](uint16_t x) { return bf16_to_float(x); });
    default:
        return add_bias_of<uint16_t>(s, a, b, first, [](uint16_t x) { return f16_to_float(x); });
    }
}

#if HAS_SCORE
MOSAIC_DEVICE void rescore(tensor_staged &staged, uint64_t seen, const mosaic_attention_args &a,
                           const tensor_block &b, int64_t first)
{
#pragma unroll 1
    for (int n = 0; n < LANE_ROWS * LANE_KEYS; n++) {
        mosaic_attention_place p;
        double slope;
        int64_t i = query_of(b, row_of(n / LANE_KEYS), p);
        if (seen >> n & 1)
            staged[n] =
                (float)rescored(a, p, i, key_at(a, first, n % LANE_KEYS), staged[n], &slope);
    }
}
#else
MOSAIC_DEVICE void rescore(tensor_staged &, uint64_t, const mosaic_attention_args &,
                           const tensor_block &, int64_t)
{
}
#endif

/* What changes scores, which are in natural units from then on. */
MOSAIC_DEVICE bool changes_scores(const mosaic_attention_args &a)
{
    return a.entries & (MOSAIC_ATTENTION_ALIBI | MOSAIC_ATTENTION_BIAS | MOSAIC_ATTENTION_SCORE) ||
           !(a.scale > 0);
}

MOSAIC_DEVICE void change_scores(tensor_scores &s, const unsigned (&seen)[LANE_ROWS],
                                 const mosaic_attention_args &a, const tensor_block &b,
                                 int64_t first, const tensor_factor &natural)
{
    enum { PAIRS = LANE_ROWS * LANE_KEYS };
    tensor_staged staged;
    bool slopes = a.entries & MOSAIC_ATTENTION_ALIBI, anywhere = slopes && a.k_position.data;
#pragma unroll
    for (int n = 0; n < PAIRS; n++) {
        float &x = score_at(s, n / LANE_KEYS, n % LANE_KEYS);
        x = times(x, natural, 0);
    }
    if (slopes && !anywhere) subtract_slopes(s, a, b, first);
    if (!anywhere && !(a.entries & MOSAIC_ATTENTION_BIAS) && !HAS_SCORE) return;
#pragma unroll
    for (int n = 0; n < PAIRS; n++) staged[n] = score_at(s, n / LANE_KEYS, n % LANE_KEYS);
    if (anywhere) subtract_slopes_anywhere(staged, a, b, first);
    if (a.entries & MOSAIC_ATTENTION_BIAS) add_bias(staged, a, b, first);
    rescore(staged, joined(seen), a, b, first);
#pragma unroll
    for (int n = 0; n < PAIRS; n++) score_at(s, n / LANE_KEYS, n % LANE_KEYS) = staged[n];
}

/* ---- dropout -------------------------------------------------------------------------------- */

/* The bits of pairs that stay. Four keys share four words. */
MOSAIC_DEVICE void find_kept(unsigned (&kept)[LANE_ROWS], const mosaic_attention_args &a,
                             const tensor_block &b, int64_t first)
{
    uint64_t all = 0;
#pragma unroll 1
    for (int n = 0; n < LANE_ROWS * LANE_KEYS; n += 2) {
        mosaic_attention_place p;
        mosaic_philox words;
        int64_t s = position(a.q_position, query_of(b, row_of(n / LANE_KEYS), p));
        uint64_t group = ~(uint64_t)0;
        for (int e = 0; e < 2; e++) {
            uint64_t key =
                (uint64_t)position(a.k_position, key_at(a, first, n % LANE_KEYS + e)) - 1;
            if (key / 4 != group) words = dropout_words(a, p, s, group = key / 4);
            uint32_t low = key & 1 ? words.word[1] : words.word[0];
            uint32_t high = key & 1 ? words.word[3] : words.word[2];
            all |= (uint64_t)((key & 2 ? high : low) >= a.below) << (n + e);
        }
    }
    disjoin(kept, all);
}

#endif
