/* small.cu - many short problems: 5 features in each of 150,000 rows. A thread has one query (and,
 * backward, one key too); the threads of a problem are neighbours.
 *
 *   forward    s_j = scale q . k_j;  p_j = exp(s_j - max) / sum;  out = sum p_j v_j
 *   backward   as a query: p_j and ds_j = scale p_j (dout . v_j - delta); dq = sum ds_j k_j
 *              as a key: dk = sum ds_i q_i, dv = sum p_i dout_i, with p and ds of the others
 *
 * There are 4 n^2 d operations on 16 n d bytes, about one per byte: memory is what it waits for.
 * The rows of k and v are read by each of the problem's queries, all but the first time from the
 * first-level cache. Problems are numbered with heads first, as they lie in memory: what
 * neighbours read at a time is close together. */
#include <mma.h>

#include "mask.h"

enum { THREADS = 128, VECTOR = 4, F32 = 0, BF16 = 2 /* of mosaic_dtype */ };

/* ---- rows ----------------------------------------------------------------------------------- */

MOSAIC_DEVICE constexpr int bytes_of(int dtype) { return dtype == F32 ? 4 : 2; }

template <int DTYPE> MOSAIC_DEVICE float load(const char *data, int64_t i)
{
    if (DTYPE == F32) return ((const float *)data)[i];
    unsigned short x = ((const unsigned short *)data)[i];
    return DTYPE == BF16 ? bf16_to_float(x) : f16_to_float(x);
}

template <int DTYPE> MOSAIC_DEVICE void load4(float *x, const char *data, int64_t i)
{
    if (DTYPE == F32) {
        float4 v = *(const float4 *)((const float *)data + i);
        x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
        return;
    }
    uint2 v = *(const uint2 *)((const unsigned short *)data + i);
    unsigned words[2] = {v.x, v.y};
    for (int e = 0; e < VECTOR; e++) {
        unsigned short half = (unsigned short)(words[e / 2] >> e % 2 * 16);
        x[e] = DTYPE == BF16 ? bf16_to_float(half) : f16_to_float(half);
    }
}

/* Can rows of the view be read as vectors? */
MOSAIC_DEVICE bool is_packed(const mosaic_attention_view &v, int dtype)
{
    int64_t strides = v.b0 | v.b1 | v.head | v.row;
    return v.column == 1 && strides % VECTOR == 0 &&
           (uint64_t)v.data % (VECTOR * bytes_of(dtype)) == 0;
}

/* x (HEAD) <- the row that starts at element `offset` */
template <int DTYPE>
MOSAIC_DEVICE void load_row(float (&x)[HEAD], const mosaic_attention_view &v, int64_t offset,
                            bool packed)
{
#pragma unroll
    for (int c = 0; c < HEAD; c += VECTOR)
        if (packed)
            load4<DTYPE>(x + c, v.data, offset + c);
        else
#pragma unroll
            for (int e = c; e < c + VECTOR; e++) x[e] = load<DTYPE>(v.data, offset + e * v.column);
}

MOSAIC_DEVICE float dot(const float (&x)[HEAD], const float (&y)[HEAD])
{
    float sum = 0;
#pragma unroll
    for (int c = 0; c < HEAD; c++) sum += x[c] * y[c];
    return sum;
}

/* to += factor x */
MOSAIC_DEVICE void add(float (&to)[HEAD], float factor, const float (&x)[HEAD])
{
#pragma unroll
    for (int c = 0; c < HEAD; c++) to[c] += factor * x[c];
}

MOSAIC_DEVICE void clear(float (&x)[HEAD])
{
#pragma unroll
    for (int c = 0; c < HEAD; c++) x[c] = 0;
}

/* The view's row <- factor x, or += */
MOSAIC_DEVICE void store_row(const mosaic_attention_view &v, int64_t offset, const float (&x)[HEAD],
                             bool accumulate)
{
    float *to = (float *)v.data + offset;
    bool packed = is_packed(v, F32) && !accumulate;
#pragma unroll
    for (int c = 0; c < HEAD; c += VECTOR)
        if (packed)
            *(float4 *)(to + c) = make_float4(x[c], x[c + 1], x[c + 2], x[c + 3]);
        else
#pragma unroll
            for (int e = c; e < c + VECTOR; e++)
                to[e * v.column] = x[e] + (accumulate ? to[e * v.column] : 0);
}

/* ---- problems ------------------------------------------------------------------------------- */

/* A thread's problem and its row there. */
typedef struct {
    mosaic_attention_place place;
    int slot, row; /* number of the problem in the block; of the query and the key */
    bool live;     /* is there such a problem? */
} part;

MOSAIC_DEVICE part part_of(const mosaic_attention_args &a)
{
    int rows = (int)(a.nq > a.nk ? a.nq : a.nk), per_block = THREADS / rows;
    part t;
    t.slot = (int)threadIdx.x / rows;
    t.row = (int)threadIdx.x % rows;
    int64_t problem = (int64_t)blockIdx.x * per_block + t.slot;
    t.live = t.slot < per_block && problem < a.b0 * a.b1 * a.heads;
    t.place = place_of(a, t.live ? problem : 0);
    return t;
}

/* All pairs are visible: one thread of the grid says so. */
MOSAIC_DEVICE void count_work(const mosaic_attention_args &a)
{
    if (!a.work || blockIdx.x || threadIdx.x) return;
    unsigned long long pairs = (unsigned long long)(a.b0 * a.b1 * a.heads * a.nq * a.nk);
    atomicAdd(a.work, pairs);
    atomicAdd(a.work + 1, pairs);
}

extern "C" __global__ void __launch_bounds__(THREADS) small_forward(const mosaic_attention_args a)
{
    part t = part_of(a);
    count_work(a);
    if (!t.live || t.row >= a.nq) return;
    bool k_packed = is_packed(a.k, ELEMENT), v_packed = is_packed(a.v, ELEMENT);
    float q[HEAD], row[HEAD], out[HEAD], top = -INFINITY, sum = 0;
    load_row<ELEMENT>(q, a.q, at(a.q, t.place, t.row, 0), is_packed(a.q, ELEMENT));
    clear(out);
    for (int j = 0; j < a.nk; j++) {
        load_row<ELEMENT>(row, a.k, kv_at(a.k, t.place, j, 0), k_packed);
        float s = dot(q, row) * (float)a.scale;
        if (s > top || s != s) { /* what is there so far shrinks; NaN stays */
            float shrink = top == -INFINITY ? 0 : expf(top - s);
            sum *= shrink;
            for (int c = 0; c < HEAD; c++) out[c] *= shrink;
            top = s;
        }
        float p = expf(s - (top == -INFINITY ? 0 : top));
        sum += p;
        load_row<ELEMENT>(row, a.v, kv_at(a.v, t.place, j, 0), v_packed);
        add(out, p, row);
    }
    for (int c = 0; c < HEAD; c++) out[c] = sum == 0 ? 0 : out[c] / sum; /* all were -infinity */
    store_row(a.out, at(a.out, t.place, t.row, 0), out, false);
    ((double *)a.lse.data)[at(a.lse, t.place, t.row, 0)] = (double)top + log((double)sum);
}

/* p and ds (both slots, queries, keys) of the block's problems. */
typedef struct {
    float *p, *ds;
    int queries, keys;
} exchange;

MOSAIC_DEVICE int pair_at(const exchange &x, const part &t, int query, int key)
{
    return (t.slot * x.queries + query) * x.keys + key;
}

MOSAIC_DEVICE void backward_query(const mosaic_attention_args &a, const part &t, const exchange &x)
{
    bool k_packed = is_packed(a.k, ELEMENT), v_packed = is_packed(a.v, ELEMENT);
    float q[HEAD], dout[HEAD], dq[HEAD], row[HEAD];
    int64_t stat = at(a.lse, t.place, t.row, 0);
    double lse = ((const double *)a.lse.data)[stat];
    float delta = ((const float *)a.delta.data)[at(a.delta, t.place, t.row, 0)];
    load_row<ELEMENT>(q, a.q, at(a.q, t.place, t.row, 0), is_packed(a.q, ELEMENT));
    load_row<F32>(dout, a.dout, at(a.dout, t.place, t.row, 0), is_packed(a.dout, F32));
    clear(dq);
    for (int j = 0; j < a.nk; j++) {
        load_row<ELEMENT>(row, a.v, kv_at(a.v, t.place, j, 0), v_packed);
        float slant = dot(dout, row) - delta;
        load_row<ELEMENT>(row, a.k, kv_at(a.k, t.place, j, 0), k_packed);
        float s = dot(q, row) * (float)a.scale;
        float p = lse == -INFINITY ? 0 : expf((float)((double)s - lse));
        float ds = p * slant * (float)a.scale;
        add(dq, ds, row);
        x.p[pair_at(x, t, t.row, j)] = p;
        x.ds[pair_at(x, t, t.row, j)] = ds;
    }
    store_row(a.dq, at(a.dq, t.place, t.row, 0), dq, a.accumulate);
}

MOSAIC_DEVICE void backward_key(const mosaic_attention_args &a, const part &t, const exchange &x)
{
    bool q_packed = is_packed(a.q, ELEMENT), dout_packed = is_packed(a.dout, F32);
    float dk[HEAD], dv[HEAD], row[HEAD];
    clear(dk);
    clear(dv);
    for (int i = 0; i < a.nq; i++) {
        load_row<ELEMENT>(row, a.q, at(a.q, t.place, i, 0), q_packed);
        add(dk, x.ds[pair_at(x, t, i, t.row)], row);
        load_row<F32>(row, a.dout, at(a.dout, t.place, i, 0), dout_packed);
        add(dv, x.p[pair_at(x, t, i, t.row)], row);
    }
    store_row(a.dk, kv_at(a.dk, t.place, t.row, 0), dk, a.accumulate);
    store_row(a.dv, kv_at(a.dv, t.place, t.row, 0), dv, a.accumulate);
}

extern "C" __global__ void __launch_bounds__(THREADS) small_backward(const mosaic_attention_args a)
{
    MOSAIC_DYNAMIC_SHARED(shared);
    part t = part_of(a);
    exchange x = {(float *)shared, NULL, (int)a.nq, (int)a.nk};
    x.ds = x.p + THREADS / (x.queries > x.keys ? x.queries : x.keys) * x.queries * x.keys;
    count_work(a);
    if (t.live && t.row < a.nq) backward_query(a, t, x);
    __syncthreads();
    if (t.live && t.row < a.nk) backward_key(a, t, x);
}
