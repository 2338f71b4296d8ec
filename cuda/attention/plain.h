/* plain.h - attention in plain form: tiles in shared memory, every product a loop over them.
 *
 * A block has 8 threads for each of R rows, R = 8, 16 or 32: queries forward and for dq, keys for
 * dk and dv. It goes through the other operand R rows at a time. Thread (row, lane) computes the
 * scores of its row with rows lane, lane + 8, ... of the other tile, and of results that are as
 * wide as a head the columns lane, lane + 8, ...: N of them at most. T is double for f64 and float
 * else. All sums have a fixed order. */
#ifndef MOSAIC_ATTENTION_PLAIN_H
#define MOSAIC_ATTENTION_PLAIN_H
#include "programs.h"

enum { LANES = 8, MOST_ROWS = 32, EACH = MOST_ROWS / LANES };

/* Bytes of shared memory: so many tiles (R, d) of operands and (R, R) of scores, and R numbers. */
#ifndef __CUDACC_RTC__
static inline int64_t plain_shared(int rows, int d, int operands, int scores, int64_t element)
{
    int64_t wide = (d + LANES - 1) / LANES * LANES + 1;
    return element * rows * (operands * wide + scores * (rows + 1)) + 2 * rows * 8;
}
#endif

/* A block's place, and the thread's in it. */
typedef struct {
    mosaic_attention_place p;
    int rows, row, lane;
    int64_t first;      /* row of the block's tile */
    int64_t tile;       /* its number */
    int wide, stride;   /* columns, rounded up to lanes; elements from row to row */
    unsigned char *end; /* of the shared memory that is given out */
} plain_block;

/* Block number blockIdx.x of tiles times units, late tiles first: causal ones have more to do. */
MOSAIC_DEVICE plain_block open_block(const mosaic_attention_args &a, int64_t units, int64_t tiles,
                                     unsigned char *shared)
{
    plain_block b;
    b.rows = (int)blockDim.x / LANES;
    b.row = (int)threadIdx.x / LANES;
    b.lane = (int)threadIdx.x % LANES;
    b.tile = tiles - 1 - (int64_t)blockIdx.x / units;
    b.first = b.tile * b.rows;
    b.p = place_of(a, (int64_t)blockIdx.x % units);
    b.wide = (a.d + LANES - 1) / LANES * LANES;
    b.stride = b.wide + 1; /* rows start in different banks */
    b.end = shared;
    return b;
}

MOSAIC_DEVICE int64_t tiles_of(int64_t rows, int tile_rows)
{
    return (rows + tile_rows - 1) / tile_rows;
}

template <class T> MOSAIC_DEVICE T *take(plain_block &b, int count)
{
    T *room = (T *)b.end;
    b.end += count * sizeof(T);
    return room;
}

/* to (rows, stride) <- rows `first`.. of one head; 0 where there are none. `base` is its element
 * (0, 0). */
template <class T>
MOSAIC_DEVICE void load_tile(T *to, const plain_block &b, const mosaic_attention_view &v,
                             int64_t base, int64_t first, int64_t count, int d, int dtype)
{
    int64_t row = first + b.row;
    for (int c = b.lane; c < b.wide; c += LANES)
        to[b.row * b.stride + c] = row < count && c < d
                                       ? number<T>(v.data, base + row * v.row + c * v.column, dtype)
                                       : (T)0;
}

/* Where a matrix (R, R + 1) has the thread's row. */
MOSAIC_DEVICE int row_of(const plain_block &b) { return b.row * (b.rows + 1); }

/* to (R, R + 1) <- x y transposed, of which every thread makes its own elements. */
template <class T> MOSAIC_DEVICE void multiply(T *to, const T *x, const T *y, const plain_block &b)
{
    T sum[EACH] = {};
    x += b.row * b.stride;
    y += b.lane * b.stride;
    for (int c = 0; c < b.wide; c++) {
        T own = x[c];
#pragma unroll
        for (int m = 0; m < EACH; m++)
            if (m * LANES < b.rows) sum[m] += own * y[m * LANES * b.stride + c];
    }
#pragma unroll
    for (int m = 0; m < EACH; m++)
        if (m * LANES < b.rows) to[row_of(b) + b.lane + m * LANES] = sum[m];
}

/* sum[n] += over rows j of y: weight[row][j] y[j][lane + 8 n] */
template <class T, int N>
MOSAIC_DEVICE void add_rows(T (&sum)[N], const T *weight, const T *y, const plain_block &b)
{
    weight += row_of(b);
    y += b.lane;
    for (int j = 0; j < b.rows; j++, y += b.stride) {
        T w = weight[j];
#pragma unroll
        for (int n = 0; n < N; n++)
            if (n * LANES < b.wide) sum[n] += w * y[n * LANES];
    }
}

/* Over the lanes of a row. */
template <class T> MOSAIC_DEVICE T sum_of_lanes(T x)
{
    for (int by = 1; by < LANES; by *= 2) x += __shfl_xor_sync(0xffffffffu, x, by);
    return x;
}

/* The larger one; NaN if one is. */
template <class T> MOSAIC_DEVICE T larger(T a, T b) { return a >= b || a != a ? a : b; }

template <class T> MOSAIC_DEVICE T most_of_lanes(T x)
{
    for (int by = 1; by < LANES; by *= 2) x = larger(x, __shfl_xor_sync(0xffffffffu, x, by));
    return x;
}

template <class T> MOSAIC_DEVICE T minus_infinity() { return (T)-INFINITY; }

/* The score of a pair whose product q.k is given, -infinity where it is hidden, and its derivative
 * by scale q.k; counts it where the mask lets it through. */
template <class T>
MOSAIC_DEVICE T score_of(const mosaic_attention_args &a, const mosaic_attention_place &p, int64_t i,
                         int64_t j, bool all, T product, T *slope, unsigned *seen)
{
    *slope = 1;
    if (i >= a.nq || j >= a.nk || (!all && !looks(a, p, i, j))) return minus_infinity<T>();
    ++*seen;
    T score = (T)a.scale * product;
    if (a.entries & (MOSAIC_ATTENTION_ALIBI | MOSAIC_ATTENTION_BIAS)) score += added<T>(a, p, i, j);
#if HAS_SCORE
    double rate;
    score = (T)rescored(a, p, i, j, (double)score, &rate);
    *slope = (T)rate;
#endif
    return score;
}

/* Adds what the block has seen, and computed, to the counts. */
MOSAIC_DEVICE void count_work(const mosaic_attention_args &a, unsigned seen, int64_t computed)
{
    uint64_t all = seen;
    for (int by = 16; by; by /= 2) all += __shfl_xor_sync(0xffffffffu, all, by);
    if (threadIdx.x % 32 == 0 && all) atomicAdd(&a.work[0], (unsigned long long)all);
    if (threadIdx.x == 0 && computed) atomicAdd(&a.work[1], (unsigned long long)computed);
}

/* Pairs of two tiles. */
MOSAIC_DEVICE int64_t pairs_of(const mosaic_attention_args &a, int64_t i, int64_t j, int rows)
{
    int64_t queries = min((int64_t)rows, a.nq - i * rows),
            keys = min((int64_t)rows, a.nk - j * rows);
    return queries * keys;
}

#endif
