/* backward_mask.h - masks on the scores of a chunk, whatever stays: which pairs are seen, what is
 * added to scores, what is dropped. Pairs of a lane are bits of a word, pair (r, c) number r
 * SIDE_COLUMNS + c. */
#ifndef MOSAIC_ATTENTION_BACKWARD_MASK_H
#define MOSAIC_ATTENTION_BACKWARD_MASK_H
#include "backward_block.h"
#include "programs.h"

enum { LANE_PAIRS = SIDE_ROWS * SIDE_COLUMNS };

/* Row r of the lane, within the block; column c of it, within the chunk. */
MOSAIC_DEVICE int stay_of(int r)
{
    int x = opaque(threadIdx.x);
    return x / 32 * 16 * SIDE_TILES + r * 8 + x % 32 / 4;
}
MOSAIC_DEVICE int pass_of(int c) { return opaque(threadIdx.x) % 4 * 2 + c / 2 * 8 + c % 2; }

MOSAIC_DEVICE float &pair_at(backward_scores &s, int n)
{
    int r = n / SIDE_COLUMNS, c = n % SIDE_COLUMNS;
    return s[r / 2][c / 2][r % 2 * 2 + c % 2];
}

/* A chunk: one head's passing rows from `first` on. */
typedef struct {
    mosaic_attention_place p;
    int64_t first;
    bool all; /* pairs that there are are all seen */
} backward_chunk;

typedef struct {
    int64_t i, j;
} backward_pair;

/* Query and key of pair n, or the last ones. */
template <side S>
MOSAIC_DEVICE backward_pair pair_of(const mosaic_attention_args &a, const backward_block &b,
                                    const backward_chunk &chunk, int n)
{
    int64_t stay = b.first + stay_of(n / SIDE_COLUMNS),
            pass = chunk.first + pass_of(n % SIDE_COLUMNS);
    backward_pair pair = {min(S == KEYS_STAY ? pass : stay, a.nq - 1),
                          min(S == KEYS_STAY ? stay : pass, a.nk - 1)};
    return pair;
}

/* ---- who sees what -------------------------------------------------------------------------- */

MOSAIC_DEVICE int clamped(int64_t x) { return (int)max((int64_t)-CHUNK, min((int64_t)CHUNK, x)); }

/* Pairs of row r whose column is low .. high of the chunk. */
MOSAIC_DEVICE unsigned row_between(int r, int low, int high)
{
    unsigned bits = 0;
#pragma unroll
    for (int c = 0; c < SIDE_COLUMNS; c++)
        bits |= (unsigned)(pass_of(c) >= low && pass_of(c) <= high) << c;
    return bits << r * SIDE_COLUMNS;
}

/* The pairs that there are. */
template <side S>
MOSAIC_DEVICE unsigned pairs_of(const mosaic_attention_args &a, const backward_block &b,
                                const backward_chunk &chunk)
{
    unsigned there = 0;
    int high = clamped(rows_that_pass<S>(a) - chunk.first - 1);
#pragma unroll
    for (int r = 0; r < SIDE_ROWS; r++)
        if (b.first + stay_of(r) < rows_that_stay<S>(a)) there |= row_between(r, 0, high);
    return there;
}

/* Limits where what passes by has positions 1, 2, ...: column x of the chunk is at `first` + x + 1.
 */
template <side S>
MOSAIC_DEVICE unsigned pairs_in_limits(const mosaic_attention_args &a, const backward_block &b,
                                       const backward_chunk &chunk)
{
    unsigned seen = 0;
    const int64_t far = (int64_t)1 << 61, before = min(S == KEYS_STAY ? a.right : a.left, far),
                  after = min(S == KEYS_STAY ? a.left : a.right, far);
#pragma unroll
    for (int r = 0; r < SIDE_ROWS; r++) {
        int64_t row = min(b.first + stay_of(r), rows_that_stay<S>(a) - 1);
        int64_t x = position(S == KEYS_STAY ? a.k_position : a.q_position, row);
        int64_t high = x + after;
        if (S == KEYS_STAY && x > a.prefix) continue;
        if (S == QUERIES_STAY) high = min(high, a.prefix);
        seen |=
            row_between(r, clamped(x - before - chunk.first - 1), clamped(high - chunk.first - 1));
    }
    return seen;
}

/* The bits of pairs that are seen. */
template <side S>
MOSAIC_DEVICE unsigned find_seen(const mosaic_attention_args &a, const backward_block &b,
                                 const backward_chunk &chunk)
{
    const unsigned others =
        MOSAIC_ATTENTION_DOCUMENTS | MOSAIC_ATTENTION_KEEP | MOSAIC_ATTENTION_KEEP_IF;
    unsigned seen = pairs_of<S>(a, b, chunk);
    bool counts = !(S == KEYS_STAY ? a.q_position : a.k_position).data;
    if (chunk.all) return seen;
    if (a.entries & MOSAIC_ATTENTION_LIMITS && counts) seen &= pairs_in_limits<S>(a, b, chunk);
    if (!(a.entries & others) && counts) return seen;
#pragma unroll 1
    for (int n = 0; n < LANE_PAIRS; n++) {
        backward_pair x = pair_of<S>(a, b, chunk, n);
        if (seen >> n & 1 && !looks(a, chunk.p, x.i, x.j)) seen &= ~(1u << n);
    }
    return seen;
}

MOSAIC_DEVICE void hide(backward_scores &s, unsigned seen)
{
#pragma unroll
    for (int n = 0; n < LANE_PAIRS; n++) pair_at(s, n) = seen >> n & 1 ? pair_at(s, n) : -INFINITY;
}

/* ---- what is added to scores ---------------------------------------------------------------- */

/* Pairs by their numbers, in local memory, where a loop need not be unrolled. */
typedef float backward_staged[LANE_PAIRS];

MOSAIC_DEVICE bool adds(const mosaic_attention_args &a)
{
    return a.entries & (MOSAIC_ATTENTION_ALIBI | MOSAIC_ATTENTION_BIAS | MOSAIC_ATTENTION_SCORE);
}

/* Scores become natural ones, and rates[n] d score / d (scale q.k) where there is a program. */
template <side S>
MOSAIC_DEVICE void change(backward_scores &s, backward_staged &rates, unsigned seen,
                          const mosaic_attention_args &a, const backward_block &b,
                          const backward_chunk &chunk, const tensor_factor &unit)
{
    backward_staged staged;
#pragma unroll
    for (int n = 0; n < LANE_PAIRS; n++) staged[n] = times(pair_at(s, n), unit, 0);
#pragma unroll 1
    for (int n = 0; n < LANE_PAIRS; n++) {
        if (!(seen >> n & 1)) continue;
        backward_pair x = pair_of<S>(a, b, chunk, n);
        staged[n] += added<float>(a, chunk.p, x.i, x.j);
#if HAS_SCORE
        double rate;
        staged[n] = (float)rescored(a, chunk.p, x.i, x.j, (double)staged[n], &rate);
        rates[n] = staged[n] == -INFINITY ? 0 : (float)rate;
#endif
    }
#pragma unroll
    for (int n = 0; n < LANE_PAIRS; n++) pair_at(s, n) = staged[n];
}

/* ---- dropout -------------------------------------------------------------------------------- */

template <side S>
MOSAIC_DEVICE unsigned find_kept(const mosaic_attention_args &a, const backward_block &b,
                                 const backward_chunk &chunk)
{
    unsigned kept = 0;
#pragma unroll 1
    for (int n = 0; n < LANE_PAIRS; n++) {
        backward_pair x = pair_of<S>(a, b, chunk, n);
        kept |= (unsigned)!dropped(a, chunk.p, x.i, x.j) << n;
    }
    return kept;
}

#endif
