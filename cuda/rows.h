/* rows.h - several operands walked row by row, each row by a team of threads.
 *
 * Rows that lie one element after the other are a warp's, or a part of a warp's when they are
 * short, or a block's when they are long, and are moved 16 bytes at a time where they are aligned.
 * Where it is the rows that are neighbours (softmax along an axis that is not the last), lanes take
 * rows, and warps share their elements. Which of these it is depends on sizes and strides only. */
#ifndef MOSAIC_CUDA_ROWS_H
#define MOSAIC_CUDA_ROWS_H
#include "walk.h"

enum { MOSAIC_ROWS_WARPS = 8, MOSAIC_ROWS_THREADS = 32 * MOSAIC_ROWS_WARPS };

typedef struct {
    mosaic_walk rows;                      /* where each row begins */
    int64_t element[MOSAIC_WALK_OPERANDS]; /* bytes between elements of a row */
    int64_t n;                             /* elements of a row */
    int vector;                            /* elements moved at once */
    int lanes, warps;                      /* a team: so many lanes in one warp or in all */
    bool again; /* a row is more than its team holds: a second pass must load it again */
} mosaic_rows;

/* Pieces of V elements that a thread has in flight, or holds. */
#define MOSAIC_ROWS_PIECES(V) ((V) == 8 ? 2 : 4)

#ifdef __cplusplus
extern "C" {
#endif
/* Operands with axes + 1 dims have one dtype, and rows along their last axis; those with `axes`
 * dims have one element a row. tensors[0] is there, another one may be NULL. */
mosaic_rows mosaic_rows_of(int operands, const mosaic_tensor *const *tensors, int axes);

/* Borrowed views: a with `axis` moved to the end; v (n) as the same row for every row of x. */
mosaic_tensor mosaic_axis_last(const mosaic_tensor *a, int axis);
mosaic_tensor mosaic_row_repeated(const mosaic_tensor *v, const mosaic_tensor *x);
#ifdef __cplusplus
}

#include "element.h"

/* Every row has a team: a grid is large enough for all rows that fit into memory. */
static inline unsigned mosaic_rows_blocks(const mosaic_rows &r)
{
    int64_t teams = MOSAIC_ROWS_THREADS / (r.lanes * r.warps);
    return (unsigned)((r.rows.count + teams - 1) / teams);
}

/* The instance of kernel<T, V> for these rows; T is double where `wide`. The first is for operands
 * that are never bf16 or f16. */
#define MOSAIC_ROWS_PARTIAL_KERNEL(kernel, r, wide)                                                \
    ((wide) ? ((r).vector == 2 ? kernel<double, 2> : kernel<double, 1>)                            \
            : ((r).vector == 4 ? kernel<float, 4> : kernel<float, 1>))
#define MOSAIC_ROWS_KERNEL(kernel, r, wide)                                                        \
    ((r).vector == 8 ? kernel<float, 8> : MOSAIC_ROWS_PARTIAL_KERNEL(kernel, r, wide))

/* ---- teams ---------------------------------------------------------------------------------- */

/* A thread's place: its pieces of V elements are those from element member * V on, and so on every
 * members * V. */
typedef struct {
    int lanes, warps, member, members;
    int64_t row;
    bool works; /* there is such a row; its threads meet the others in any case */
} mosaic_team;

MOSAIC_DEVICE mosaic_team mosaic_team_of(const mosaic_rows &r)
{
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, teams = 32 / r.lanes;
    int member = lane % r.lanes, index = lane / r.lanes;
    if (r.warps > 1)
        member += warp * r.lanes;
    else
        index += warp * teams, teams *= MOSAIC_ROWS_WARPS;
    int64_t row = (int64_t)blockIdx.x * teams + index;
    return mosaic_team{r.lanes, r.warps, member, r.lanes * r.warps, row, row < r.rows.count};
}

/* The whole block, for a row of its own. */
MOSAIC_DEVICE mosaic_team mosaic_team_block()
{
    return mosaic_team{32,  MOSAIC_ROWS_WARPS, (int)threadIdx.x, MOSAIC_ROWS_THREADS, blockIdx.x,
                       true};
}

/* at[0..N): where the team's row begins in the first N operands. Returns its elements: none where
 * there is no such row. */
template <int N>
MOSAIC_DEVICE int64_t mosaic_team_row(const mosaic_rows &r, const mosaic_team &t, char *(&at)[N])
{
    mosaic_walk_at(r.rows, t.works ? t.row : 0, at);
    return t.works ? r.n : 0;
}

/* Threads wait until their team, or all, have come so far. */
MOSAIC_DEVICE void mosaic_team_wait(const mosaic_team &t)
{
    if (t.warps > 1)
        __syncthreads();
    else
        __syncwarp();
}

template <bool LARGEST, class T> MOSAIC_DEVICE T mosaic_team_fold(const mosaic_team &t, T x)
{
    for (int far = t.lanes / 2; far; far /= 2) {
        T other = __shfl_xor_sync(0xffffffffu, x, far);
        x = LARGEST ? (other > x ? other : x) : x + other;
    }
    if (t.warps == 1) return x;
    __shared__ T each[MOSAIC_ROWS_THREADS];
    __syncthreads(); /* what was there before has been read */
    each[threadIdx.x] = x;
    __syncthreads();
    x = each[threadIdx.x % 32];
    for (int warp = 1; warp < MOSAIC_ROWS_WARPS; warp++) {
        T other = each[warp * 32 + threadIdx.x % 32];
        x = LARGEST ? (other > x ? other : x) : x + other;
    }
    return x;
}

/* What all members of a team have, added up in a fixed order; all of them get the same bits. */
template <class T> MOSAIC_DEVICE T mosaic_team_sum(const mosaic_team &t, T x)
{
    return mosaic_team_fold<false>(t, x);
}

/* The largest; no member has a NaN. */
template <class T> MOSAIC_DEVICE T mosaic_team_largest(const mosaic_team &t, T x)
{
    return mosaic_team_fold<true>(t, x);
}

/* ---- elements ------------------------------------------------------------------------------- */

/* A thread's part of a row of n elements, batch by batch of E pieces: `first` is where a batch's
 * first piece begins. */
#define MOSAIC_TEAM_BATCHES(t, n, V, E, first)                                                     \
    _Pragma("unroll 1") /* or it would divide to know how often */                                 \
        for (int64_t first = (t).member * (V); first < (n);                                        \
             first += (int64_t)(t).members * (V) * (E))

/* The pieces of a batch: number u begins at element j. */
#define MOSAIC_TEAM_PIECES(t, n, V, E, first, u, j)                                                \
    _Pragma("unroll") for (int u = 0; u < (E); u++) /* */                                          \
        if (const int64_t j = (first) + u * (t).members * (V); j < (n))

/* Elements j to j + V of a row of operand k, which begins at `row`. V > 1 is 16 aligned bytes: f32
 * or f64 by T, 8 elements of bf16 or f16. */
template <class T, int V>
MOSAIC_DEVICE void mosaic_row_load(T (&x)[V], const mosaic_rows &r, int k, const char *row,
                                   int64_t j)
{
    const char *at = row + j * r.element[k];
    const int dtype = r.rows.operand[k].dtype;
    if constexpr (V == 1) {
        x[0] = mosaic_load<T>(at, dtype);
    } else if constexpr (V == 8) {
        const uint4 v = *(const uint4 *)at;
        const unsigned pairs[4] = {v.x, v.y, v.z, v.w};
        for (int i = 0; i < V; i++) {
            uint16_t half = (uint16_t)(pairs[i / 2] >> i % 2 * 16);
            x[i] = dtype == MOSAIC_DTYPE_BF16 ? mosaic_bf16_to_f32(half) : mosaic_f16_to_f32(half);
        }
    } else if constexpr (V == 4) {
        const float4 v = *(const float4 *)at;
        x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
    } else {
        const double2 v = *(const double2 *)at;
        x[0] = v.x, x[1] = v.y;
    }
}

/* A batch, all of it on its way before any of it is used. */
template <class T, int V, int E>
MOSAIC_DEVICE void mosaic_batch_load(T (&x)[E][V], const mosaic_rows &r, int k, const char *row,
                                     const mosaic_team &t, int64_t n, int64_t first)
{
    MOSAIC_TEAM_PIECES (t, n, V, E, first, u, j) mosaic_row_load(x[u], r, k, row, j);
}

template <class T, int V>
MOSAIC_DEVICE void mosaic_row_store(const T (&x)[V], const mosaic_rows &r, int k, char *row,
                                    int64_t j)
{
    char *at = row + j * r.element[k];
    const int dtype = r.rows.operand[k].dtype;
    if constexpr (V == 1) {
        mosaic_store<T>(at, dtype, x[0]);
    } else if constexpr (V == 8) {
        unsigned pairs[4] = {0};
        for (int i = 0; i < V; i++) {
            uint16_t half =
                dtype == MOSAIC_DTYPE_BF16 ? mosaic_f32_to_bf16(x[i]) : mosaic_f32_to_f16(x[i]);
            pairs[i / 2] |= (unsigned)half << i % 2 * 16;
        }
        *(uint4 *)at = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
    } else if constexpr (V == 4) {
        *(float4 *)at = make_float4(x[0], x[1], x[2], x[3]);
    } else {
        *(double2 *)at = make_double2(x[0], x[1]);
    }
}
#endif
#endif
