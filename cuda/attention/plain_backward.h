/* plain_backward.h - gradients of a tile: see plain.h.
 *
 * p = exp(s - lse), ds = p (kept dout.v - delta) slope; dv += kept p dout, dk += ds q, dq += ds k,
 * dbias += ds. Every gradient has a pass of its own, whose blocks own what they write. */
#ifndef MOSAIC_ATTENTION_PLAIN_BACKWARD_H
#define MOSAIC_ATTENTION_PLAIN_BACKWARD_H
#include "plain.h"

/* Tiles (R, d) of the queries, their keys, and gradients; lse and delta (R). */
template <class T> struct plain_tiles {
    double *lse;
    T *delta, *q, *dout, *k, *v;
};

template <class T> MOSAIC_DEVICE plain_tiles<T> take_tiles(plain_block &b)
{
    plain_tiles<T> t;
    t.lse = take<double>(b, b.rows);
    t.q = take<T>(b, b.rows * b.stride);
    t.dout = take<T>(b, b.rows * b.stride);
    t.k = take<T>(b, b.rows * b.stride);
    t.v = take<T>(b, b.rows * b.stride);
    t.delta = take<T>(b, b.rows);
    return t;
}

template <class T>
MOSAIC_DEVICE void load_queries(const plain_tiles<T> &t, const mosaic_attention_args &a,
                                const plain_block &b, int64_t first)
{
    const int result = sizeof(T) == 8 ? MOSAIC_ATTENTION_F64 : MOSAIC_ATTENTION_F32;
    int64_t i = first + b.row;
    load_tile(t.q, b, a.q, at(a.q, b.p, 0, 0), first, a.nq, a.d, a.dtype);
    load_tile(t.dout, b, a.dout, at(a.dout, b.p, 0, 0), first, a.nq, a.d, result);
    if (b.lane != 0 || i >= a.nq) return;
    t.lse[b.row] = ((const double *)a.lse.data)[at(a.lse, b.p, i, 0)];
    t.delta[b.row] = ((const T *)a.delta.data)[at(a.delta, b.p, i, 0)];
}

template <class T>
MOSAIC_DEVICE void load_keys(const plain_tiles<T> &t, const mosaic_attention_args &a,
                             const plain_block &b, int64_t first)
{
    load_tile(t.k, b, a.k, kv_at(a.k, b.p, 0, 0), first, a.nk, a.d, a.dtype);
    load_tile(t.v, b, a.v, kv_at(a.v, b.p, 0, 0), first, a.nk, a.d, a.dtype);
}

/* A pair's products q.k and dout.v become what dv gets of dout, and ds. */
template <class T>
MOSAIC_DEVICE void make_slant(T *weight, T *slant, const mosaic_attention_args &a,
                              const mosaic_attention_place &p, int64_t i, int64_t j, bool all,
                              double lse, T delta, unsigned *seen)
{
    T slope, score = score_of(a, p, i, j, all, *weight, &slope, seen), dp = *slant;
    *weight = *slant = 0;
    if (score == minus_infinity<T>()) return;
    T own = exp((T)((double)score - lse));
    T kept = !a.below ? (T)1 : dropped(a, p, i, j) ? (T)0 : (T)a.kept;
    *weight = own * kept;
    *slant = own * (kept * dp - delta) * slope;
}

template <class T, int N>
MOSAIC_DEVICE void write_gradient(const mosaic_attention_args &a, const plain_block &b,
                                  const mosaic_attention_view &v, int64_t base, const T (&sum)[N],
                                  double factor)
{
    T *to = (T *)v.data + base;
#pragma unroll
    for (int n = 0; n < N; n++) {
        int c = b.lane + n * LANES;
        if (c >= a.d) continue;
        T value = sum[n] * (T)factor;
        to[c * v.column] = a.accumulate ? to[c * v.column] + value : value;
    }
}

/* A block per tile of keys, for all query heads that share them: dk and dv. */
template <class T, int N> MOSAIC_DEVICE void plain_backward_keys(const mosaic_attention_args &a)
{
    MOSAIC_DYNAMIC_SHARED(shared);
    int64_t units = a.b0 * a.b1 * a.kv_heads, group = a.heads / a.kv_heads, computed = 0;
    plain_block b = open_block(a, units, tiles_of(a.nk, a.k_tile), shared);
    plain_tiles<T> t = take_tiles<T>(b);
    T *weights = take<T>(b, b.rows * (b.rows + 1)), *slants = take<T>(b, b.rows * (b.rows + 1));
    T dk[N] = {}, dv[N] = {};
    unsigned seen = 0;
    int64_t kv = (int64_t)blockIdx.x % units, j = b.first + b.row;
    int64_t first_head = kv / a.kv_heads * a.heads + kv % a.kv_heads * group;
    b.p = place_of(a, first_head);
    load_keys(t, a, b, b.first);
    for (int64_t head = 0; head < group; head++) {
        b.p = place_of(a, first_head + head);
        for (int64_t tile = 0; tile < tiles_of(a.nq, b.rows); tile++) {
            int extent = tile_sees(a, b.p, tile, b.tile);
            if (extent == MOSAIC_TILE_NONE) continue;
            __syncthreads();
            load_queries(t, a, b, tile * b.rows);
            __syncthreads();
            multiply(weights, t.k, t.q, b);
            multiply(slants, t.v, t.dout, b);
            for (int other = b.lane; other < b.rows; other += LANES)
                make_slant(&weights[row_of(b) + other], &slants[row_of(b) + other], a, b.p,
                           tile * b.rows + other, j, extent == MOSAIC_TILE_ALL, t.lse[other],
                           t.delta[other], &seen);
            __syncwarp(); /* a row is one warp's */
            add_rows(dv, weights, t.dout, b);
            add_rows(dk, slants, t.q, b);
            computed += pairs_of(a, tile, b.tile, b.rows);
        }
    }
    count_work(a, seen, computed);
    if (j >= a.nk) return;
    write_gradient(a, b, a.dk, kv_at(a.dk, b.p, j, 0), dk, a.scale);
    write_gradient(a, b, a.dv, kv_at(a.dv, b.p, j, 0), dv, 1);
}

/* A block per tile of queries: dq. */
template <class T, int N> MOSAIC_DEVICE void plain_backward_queries(const mosaic_attention_args &a)
{
    MOSAIC_DYNAMIC_SHARED(shared);
    int64_t units = a.b0 * a.b1 * a.heads;
    plain_block b = open_block(a, units, tiles_of(a.nq, a.q_tile), shared);
    plain_tiles<T> t = take_tiles<T>(b);
    T *weights = take<T>(b, b.rows * (b.rows + 1)), *slants = take<T>(b, b.rows * (b.rows + 1));
    T dq[N] = {};
    unsigned seen = 0; /* counted by plain_backward_keys */
    int64_t i = b.first + b.row;
    load_queries(t, a, b, b.first);
    for (int64_t tile = 0; tile < tiles_of(a.nk, b.rows); tile++) {
        int extent = tile_sees(a, b.p, b.tile, tile);
        if (extent == MOSAIC_TILE_NONE) continue;
        __syncthreads();
        load_keys(t, a, b, tile * b.rows);
        __syncthreads();
        multiply(weights, t.q, t.k, b);
        multiply(slants, t.dout, t.v, b);
        for (int other = b.lane; other < b.rows; other += LANES)
            make_slant(&weights[row_of(b) + other], &slants[row_of(b) + other], a, b.p, i,
                       tile * b.rows + other, extent == MOSAIC_TILE_ALL, t.lse[b.row],
                       t.delta[b.row], &seen);
        __syncwarp();
        add_rows(dq, slants, t.k, b);
    }
    if (i < a.nq) write_gradient(a, b, a.dq, at(a.dq, b.p, i, 0), dq, a.scale);
}

/* ---- dbias ---------------------------------------------------------------------------------- */

/* Axes (b0, b1, head, tile of queries, tile of keys) of the elements of dbias, one block for each,
 * and of the tiles that each of them is a sum of: where dbias repeats, its stride is 0. */
enum { BIAS_AXES = 5 };
typedef struct {
    int64_t distinct[BIAS_AXES], repeated[BIAS_AXES];
} bias_axes;

MOSAIC_INLINE bias_axes bias_axes_of(const mosaic_attention_args &a, int rows)
{
    const int64_t stride[] = {a.dbias.b0, a.dbias.b1, a.dbias.head, a.dbias.row, a.dbias.column};
    const int64_t size[] = {a.b0, a.b1, a.heads, (a.nq + rows - 1) / rows,
                            (a.nk + rows - 1) / rows};
    bias_axes axes;
    for (int n = 0; n < BIAS_AXES; n++) {
        axes.distinct[n] = stride[n] ? size[n] : 1;
        axes.repeated[n] = stride[n] ? 1 : size[n];
    }
    return axes;
}

MOSAIC_INLINE int64_t count_of(const int64_t (&size)[BIAS_AXES])
{
    int64_t count = 1;
    for (int axis = 0; axis < BIAS_AXES; axis++) count *= size[axis];
    return count;
}

MOSAIC_DEVICE void add_index(int64_t (&index)[BIAS_AXES], const int64_t (&size)[BIAS_AXES],
                             int64_t n)
{
    for (int axis = BIAS_AXES - 1; axis >= 0; n /= size[axis], axis--)
        index[axis] += n % size[axis];
}

/* sums (R, R + 1) += ds of one tile */
template <class T>
MOSAIC_DEVICE void add_slants(double *sums, T *weights, T *slants, const plain_tiles<T> &t,
                              const mosaic_attention_args &a, plain_block &b,
                              const int64_t (&index)[BIAS_AXES])
{
    b.p = place_of(a, (index[0] * a.b1 + index[1]) * a.heads + index[2]);
    int64_t queries = index[3] * b.rows, keys = index[4] * b.rows;
    int extent = tile_sees(a, b.p, index[3], index[4]);
    unsigned seen = 0; /* counted by plain_backward_keys */
    if (extent == MOSAIC_TILE_NONE) return;
    __syncthreads();
    load_queries(t, a, b, queries);
    load_keys(t, a, b, keys);
    __syncthreads();
    multiply(weights, t.q, t.k, b);
    multiply(slants, t.dout, t.v, b);
    for (int other = b.lane; other < b.rows; other += LANES) {
        int at = row_of(b) + other;
        make_slant(&weights[at], &slants[at], a, b.p, queries + b.row, keys + other,
                   extent == MOSAIC_TILE_ALL, t.lse[b.row], t.delta[b.row], &seen);
        sums[at] += (double)slants[at];
    }
}

/* The elements of dbias that a block owns += sums (R, R + 1), added along axes that repeat. */
template <class T>
MOSAIC_DEVICE void write_bias(const mosaic_attention_args &a, const plain_block &b,
                              const double *sums, int64_t queries, int64_t keys)
{
    int rows = a.dbias.row ? 1 : b.rows, columns = a.dbias.column ? 1 : b.rows;
    int64_t i = queries + b.row;
    for (int other = b.lane; other < b.rows; other += LANES) {
        int64_t j = keys + other;
        bool own_row = rows == 1 ? i < a.nq : b.row == 0;
        bool own_column = columns == 1 ? j < a.nk : other == 0;
        if (!own_row || !own_column) continue;
        double sum = 0;
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < columns; c++) sum += sums[(b.row + r) * (b.rows + 1) + other + c];
        T *to = (T *)a.dbias.data + at(a.dbias, b.p, i, j);
        *to = (T)((double)*to + sum);
    }
}

template <class T> MOSAIC_DEVICE void plain_backward_bias(const mosaic_attention_args &a)
{
    MOSAIC_DYNAMIC_SHARED(shared);
    plain_block b = open_block(a, 1, 1, shared);
    double *sums = take<double>(b, b.rows * (b.rows + 1));
    plain_tiles<T> t = take_tiles<T>(b);
    T *weights = take<T>(b, b.rows * (b.rows + 1)), *slants = take<T>(b, b.rows * (b.rows + 1));
    bias_axes axes = bias_axes_of(a, b.rows);
    int64_t first[BIAS_AXES] = {}, repeats = count_of(axes.repeated);
    add_index(first, axes.distinct, blockIdx.x);
    for (int other = b.lane; other < b.rows; other += LANES) sums[row_of(b) + other] = 0;
    for (int64_t n = 0; n < repeats; n++) {
        int64_t index[BIAS_AXES] = {first[0], first[1], first[2], first[3], first[4]};
        add_index(index, axes.repeated, n);
        add_slants(sums, weights, slants, t, a, b, index);
    }
    __syncthreads();
    b.p = place_of(a, (first[0] * a.b1 + first[1]) * a.heads + first[2]);
    write_bias<T>(a, b, sums, first[3] * b.rows, first[4] * b.rows);
}

#endif
