/* hopper_rows.h - what Hopper's kernels share: how rows lie in shared memory, stages of tiles, and
 * products of them.
 *
 * Columns beyond HEAD are zeros that the copy engine fills in: a row takes 64 bytes of shared
 * memory up to 32 columns, else 128 per 64 columns, as the swizzles of wgmma want it; nothing of
 * that is read from memory. */
#ifndef MOSAIC_ATTENTION_HOPPER_ROWS_H
#define MOSAIC_ATTENTION_HOPPER_ROWS_H
#include "hopper_call.h"
#include "mask.h"
#include "matrix.h"
#include <hopper.h>
#include <mma.h>

enum {
    COLUMNS = MOSAIC_HOPPER_COLUMNS(HEAD), /* of a row in shared memory, */
    PARTS = (HEAD + COLUMNS - 1) / COLUMNS,
    ROW = 2 * COLUMNS, /* bytes */
    GROUP = 8 * ROW,
    STEPS = (HEAD + 15) / 16,                        /* of products over HEAD columns, */
    WIDTH = HEAD <= 24 ? 24 : (HEAD + 15) / 16 * 16, /* and columns of those into them */
    CONSUMERS = MOSAIC_HOPPER_CONSUMERS(HEAD),
};

/* Goes through the stages; the parity changes each time round. */
typedef struct {
    int stage, parity;
} turn;

template <int STAGES> MOSAIC_DEVICE void next(turn &t)
{
    if (++t.stage == STAGES) {
        t.stage = 0;
        t.parity ^= 1;
    }
}

/* The warp is done with the tile. No warp speaks for another: that its own products have ended
 * says nothing of when theirs do. */
enum { RELEASES = 4 * CONSUMERS };
MOSAIC_DEVICE void release(barrier *free)
{
    __syncwarp();
    if (threadIdx.x % 32 == 0) barrier_arrive(free);
}

/* ---- products ------------------------------------------------------------------------------- */

/* s (64, N) = 64 of M rows times N rows, begun; part by part these are so many rows apart. */
template <int M, int N> MOSAIC_DEVICE void begin_scores(float (&s)[N / 2], uint32_t a, uint32_t b)
{
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
        const int part = step * 16 / COLUMNS, byte = step * 16 % COLUMNS * 2;
        wgmma_ss<N, 0, 0>(s, matrix(a + part * M * ROW + byte, ROW, GROUP, 0),
                          matrix(b + part * N * ROW + byte, ROW, GROUP, 0), step > 0);
    }
    wgmma_commit();
}

/* sums (64, WIDTH) += w (64, N) times N rows, begun; w holds pairs of elements. */
template <int N>
MOSAIC_DEVICE void begin_sums(float (&sums)[WIDTH / 2], uint32_t (&w)[N / 4], uint32_t rows)
{
    wgmma_hold(sums);
    wgmma_hold(w);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < N / 16; step++)
        wgmma_rs<WIDTH, 1>(sums, w[4 * step], w[4 * step + 1], w[4 * step + 2], w[4 * step + 3],
                           matrix(rows + step * 2 * GROUP, ROW, GROUP, N * ROW), 1);
    wgmma_commit();
}

/* ---- masks ---------------------------------------------------------------------------------- */

MOSAIC_DEVICE float across(float x, int by) { return __shfl_xor_sync(0xffffffffu, x, by); }

/* What rows of scores are. */
typedef enum { KEYS_STAY, QUERIES_STAY } side;

/* Of scores of a thread (see wgmma_ss) with rows `row` and `row` + 8 and columns from `first` on,
 * those of pairs that are not visible become -infinity; how many are visible. */
template <side S, int COUNT>
MOSAIC_DEVICE int hide(float (&s)[COUNT], const mosaic_attention_args &a,
                       const mosaic_attention_place &p, int row, int column, int first)
{
    const bool keys = S == KEYS_STAY, limits = a.entries & MOSAIC_ATTENTION_LIMITS,
               documents = a.entries & MOSAIC_ATTENTION_DOCUMENTS;
    const int rows = (int)(keys ? a.nk : a.nq), columns = (int)(keys ? a.nq : a.nk);
    const mosaic_attention_positions_of &own = keys ? a.k_position : a.q_position,
                                        &other = keys ? a.q_position : a.k_position;
    const mosaic_attention_view &own_document = keys ? a.k_document : a.q_document,
                                &other_document = keys ? a.q_document : a.k_document;
    bool live[2];
    int64_t at_position[2] = {0, 0}, in_document[2] = {0, 0};
    int visible = 0;
    for (int h = 0; h < 2; h++) {
        live[h] = row + 8 * h < rows;
        if (live[h] && limits) at_position[h] = position(own, row + 8 * h);
        if (live[h] && documents) in_document[h] = document(own_document, p, row + 8 * h);
    }
#pragma unroll
    for (int c = 0; c < COUNT / 2; c++) { /* columns of this thread, each in both rows */
        const int n = first + c / 2 * 8 + column + c % 2;
        const bool there = n < columns;
        const int64_t x = there && limits ? position(other, n) : 0;
        const int64_t id = there && documents ? document(other_document, p, n) : 0;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int64_t q = keys ? x : at_position[h], k = keys ? at_position[h] : x;
            bool yes = there && live[h] && (!documents || id == in_document[h]);
            if (limits) yes = yes && q - k <= a.left && k - q <= a.right && k <= a.prefix;
            float &score = s[c / 2 * 4 + 2 * h + c % 2];
            score = yes ? score : -INFINITY;
            visible += yes;
        }
    }
    return visible;
}

/* The same where `all` are visible of rows that there are. */
template <side S, int COUNT>
MOSAIC_DEVICE int hide_some(float (&s)[COUNT], const mosaic_attention_args &a,
                            const mosaic_attention_place &p, int row, int column, int first,
                            bool all)
{
    const int rows = (int)(S == KEYS_STAY ? a.nk : a.nq);
    return all ? COUNT / 2 * ((row < rows) + (row + 8 < rows))
               : hide<S>(s, a, p, row, column, first);
}

/* Pairs of numbers as elements, where the next product wants them. */
template <int COUNT> MOSAIC_DEVICE void pack_all(uint32_t (&p)[COUNT / 2], const float (&s)[COUNT])
{
#pragma unroll
    for (int e = 0; e < COUNT / 2; e++)
        p[e] = ELEMENT == MOSAIC_ATTENTION_BF16 ? pack_bf16(s[2 * e], s[2 * e + 1])
                                                : pack_f16(s[2 * e], s[2 * e + 1]);
}

MOSAIC_DEVICE void count_work(const mosaic_attention_args &a, uint64_t visible, uint64_t computed)
{
    if (!a.work) return;
    for (int by = 16; by > 0; by /= 2) {
        visible += __shfl_xor_sync(0xffffffffu, visible, by);
        computed += __shfl_xor_sync(0xffffffffu, computed, by);
    }
    if (threadIdx.x % 32) return;
    atomicAdd(a.work, (unsigned long long)visible);
    atomicAdd(a.work + 1, (unsigned long long)computed);
}

#endif
