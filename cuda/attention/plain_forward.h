/* plain_forward.h - out and lse of a tile of queries: see plain.h. */
#ifndef MOSAIC_ATTENTION_PLAIN_FORWARD_H
#define MOSAIC_ATTENTION_PLAIN_FORWARD_H
#include "plain.h"

/* What a row knows so far; out is in units of exp(-top). */
template <class T, int N> struct plain_row {
    T top;
    double sum; /* this lane's part */
    T out[N];
};

/* The products q.k (R, R + 1) of a tile become scores; returns the row's largest so far. */
template <class T>
MOSAIC_DEVICE T score_tile(T *scores, const mosaic_attention_args &a, const plain_block &b,
                           int64_t keys, bool all, T top, unsigned *seen)
{
    T *own = scores + row_of(b), slope;
    for (int j = b.lane; j < b.rows; j += LANES) {
        own[j] = score_of(a, b.p, b.first + b.row, keys + j, all, own[j], &slope, seen);
        top = larger(top, own[j]);
    }
    return most_of_lanes(top);
}

/* The scores become their exponentials, dropped ones 0, and the row is in units of exp(-top). */
template <class T, int N>
MOSAIC_DEVICE void weigh_tile(plain_row<T, N> &r, T *scores, const mosaic_attention_args &a,
                              const plain_block &b, int64_t keys, T top)
{
    T *own = scores + row_of(b), sum = 0;
    T factor = top == minus_infinity<T>() ? (T)1 : exp(r.top - top);
    for (int j = b.lane; j < b.rows; j += LANES) {
        T weight = own[j] == minus_infinity<T>() ? (T)0 : exp(own[j] - top);
        sum += weight;
        if (weight != 0 && a.below)
            weight *= dropped(a, b.p, b.first + b.row, keys + j) ? (T)0 : (T)a.kept;
        own[j] = weight;
    }
    r.top = top;
    r.sum = r.sum * (double)factor + (double)sum;
#pragma unroll
    for (int n = 0; n < N; n++) r.out[n] *= factor;
}

template <class T, int N>
MOSAIC_DEVICE void write_out(const mosaic_attention_args &a, const plain_block &b,
                             const plain_row<T, N> &r)
{
    int64_t i = b.first + b.row;
    double sum = sum_of_lanes(r.sum);
    bool seen = r.top != minus_infinity<T>();
    if (i >= a.nq) return;
    T *out = (T *)a.out.data + at(a.out, b.p, i, 0);
#pragma unroll
    for (int n = 0; n < N; n++) {
        int c = b.lane + n * LANES;
        if (c < a.d) out[c * a.out.column] = seen ? (T)(r.out[n] / (T)sum) : (T)0;
    }
    if (b.lane == 0)
        ((double *)a.lse.data)[at(a.lse, b.p, i, 0)] =
            seen ? (double)r.top + log(sum) : minus_infinity<double>();
}

/* A block per tile of queries: Q, K, V (R, d) and weights (R, R) in shared memory. */
template <class T, int N> MOSAIC_DEVICE void plain_forward(const mosaic_attention_args &a)
{
    MOSAIC_DYNAMIC_SHARED(shared);
    int64_t units = a.b0 * a.b1 * a.heads;
    plain_block b = open_block(a, units, tiles_of(a.nq, a.q_tile), shared);
    T *q = take<T>(b, b.rows * b.stride), *k = take<T>(b, b.rows * b.stride);
    T *v = take<T>(b, b.rows * b.stride), *weights = take<T>(b, b.rows * (b.rows + 1));
    plain_row<T, N> r = {minus_infinity<T>(), 0, {}};
    unsigned seen = 0;
    int64_t computed = 0;
    load_tile(q, b, a.q, at(a.q, b.p, 0, 0), b.first, a.nq, a.d, a.dtype);
    for (int64_t tile = 0; tile < tiles_of(a.nk, b.rows); tile++) {
        int extent = tile_sees(a, b.p, b.tile, tile);
        if (extent == MOSAIC_TILE_NONE) continue;
        int64_t keys = tile * b.rows;
        __syncthreads();
        load_tile(k, b, a.k, kv_at(a.k, b.p, 0, 0), keys, a.nk, a.d, a.dtype);
        load_tile(v, b, a.v, kv_at(a.v, b.p, 0, 0), keys, a.nk, a.d, a.dtype);
        __syncthreads();
        multiply(weights, q, k, b);
        T top = score_tile(weights, a, b, keys, extent == MOSAIC_TILE_ALL, r.top, &seen);
        weigh_tile(r, weights, a, b, keys, top);
        __syncwarp(); /* a row is one warp's */
        add_rows(r.out, weights, v, b);
        computed += pairs_of(a, b.tile, tile, b.rows);
    }
    write_out(a, b, r);
    count_work(a, seen, computed);
}

#endif
