/* backward_pack.cu - what backward.cu wants of a call beforehand: rows of 16-bit elements, of the
 * scales that f16 needs, and lse and delta as its terms.
 *
 *   (b0, b1, head, row, d), any strides  ->  (b0, b1, head, row, plane, channel)
 *
 * Channels are filled up to eights with 0. These rows pass by many blocks, which copy them as they
 * are (cp.async); q, k and v of 16 bits are read where they lie. Scales are of a group of heads, so
 * that sums need not care: all bits of f16 for what is 2^-29 of the largest dout, and slants are
 * kept below 2^15 by what |dout|, |v|, |delta| and d allow at most. Queries that see nothing do not
 * count. */
#include <launch.h>

#include "backward.h"
#include "planes.h"
#include "tensor_path.h"

enum { THREADS = 256, MOST_BLOCKS = 4096 };

/* An operand (b0, b1, heads, rows, d) */
typedef struct {
    mosaic_attention_view v;
    int64_t b1, heads, rows, units;
    int d, dtype;
} operand;

static __device__ float element_of(const operand &o, int64_t unit, int64_t row, int c)
{
    int64_t head = unit % o.heads, b1 = unit / o.heads % o.b1, b0 = unit / (o.heads * o.b1);
    if (c >= o.d) return 0;
    return number<float>(
        o.v.data, b0 * o.v.b0 + b1 * o.v.b1 + head * o.v.head + row * o.v.row + c * o.v.column,
        o.dtype);
}

/* lse has the operand's rows, of f64. */
static __device__ double lse_of(const operand &o, const mosaic_attention_view &lse, int64_t unit,
                                int64_t row)
{
    int64_t head = unit % o.heads, b1 = unit / o.heads % o.b1, b0 = unit / (o.heads * o.b1);
    return ((const double *)lse.data)[b0 * lse.b0 + b1 * lse.b1 + head * lse.head + row * lse.row];
}

/* ---- scales --------------------------------------------------------------------------------- */

/* The largest finite |element| of a group of heads, as bits. */
typedef struct {
    unsigned v, dout, delta;
} extremes;

enum { PART = 1 << 14 }; /* elements that a block looks at */

/* A block per head and PART. Maxima do not depend on their order. `lse`: of rows that have one;
 * `largest`: of the first group, `group` heads each, whose next one is after so many words. */
__global__ void find_largest(const operand o, const mosaic_attention_view lse, int64_t group,
                             unsigned *largest)
{
    float most = 0;
    int64_t count = o.rows * o.d, parts = (count + PART - 1) / PART, unit = blockIdx.x / parts;
    int64_t first = blockIdx.x % parts * PART, end = min(first + PART, count);
    for (int64_t n = first + threadIdx.x; n < end; n += THREADS) {
        float x = fabsf(element_of(o, unit, n / o.d, (int)(n % o.d)));
        if (lse.data && lse_of(o, lse, unit, n / o.d) == -INFINITY) continue;
        most = fmaxf(most, x < INFINITY ? x : 0);
    }
    for (int by = 16; by; by /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, by));
    if (threadIdx.x % 32 == 0 && most > 0)
        atomicMax(largest + unit / group * (sizeof(extremes) / 4), __float_as_uint(most));
}

/* What numbers up to `largest` are divided by, to be below 2^15: 2^k. */
static __device__ int exponent_of(float largest)
{
    return max(-100, (__float_as_int(fminf(largest, 3e38f)) >> 23) - 126 - 15);
}

/* Slants are at most kept dout.v - delta. */
__global__ void choose_scales(mosaic_attention_scales *scales, const extremes *most, int64_t units,
                              float kept)
{
    int64_t n = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (n >= units) return;
    float dout = __uint_as_float(most[n].dout), v = __uint_as_float(most[n].v);
    mosaic_attention_scales s = {exponent_of(dout),
                                 exponent_of(kept * dout * v + __uint_as_float(most[n].delta))};
    scales[n] = s;
}

/* ---- rows ----------------------------------------------------------------------------------- */

typedef struct {
    operand from;
    unsigned *to;
    const mosaic_attention_scales *scales; /* of dout in f16, or NULL */
    int64_t group;                         /* heads that share one */
    int channels, element;
} packing;

/* What no scale can bring below 2^15 belongs to queries that see nothing: it must not be infinite.
 */
static __device__ unsigned pack_scaled(const packing &p, int64_t unit, float x, float y)
{
    float inverse = power_of_two(-p.scales[unit / p.group].dout);
    if (fabsf(x) < INFINITY) x = fmaxf(-65504, fminf(65504, x * inverse));
    if (fabsf(y) < INFINITY) y = fmaxf(-65504, fminf(65504, y * inverse));
    return pack_f16(x, y);
}

/* Two channels a thread. */
__global__ void pack_rows(const packing p)
{
    const int pairs = p.channels / 2, planes = tensor_planes(p.element);
    int64_t count = p.from.units * p.from.rows * pairs, step = (int64_t)gridDim.x * THREADS;
    for (int64_t n = (int64_t)blockIdx.x * THREADS + threadIdx.x; n < count; n += step) {
        int64_t row = n / pairs, unit = row / p.from.rows;
        int c = (int)(n % pairs);
        float x = element_of(p.from, unit, row % p.from.rows, 2 * c),
              y = element_of(p.from, unit, row % p.from.rows, 2 * c + 1);
        unsigned *to = p.to + row * planes * pairs + c;
        if (planes == 3)
            split_pair(x, y, to[0], to[pairs], to[2 * pairs]);
        else
            *to = p.scales ? pack_scaled(p, unit, x, y) : pack_bf16(x, y);
    }
}

__global__ void make_terms(backward_terms *terms, const mosaic_attention_args a)
{
    int64_t n = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (n >= a.b0 * a.b1 * a.heads * a.nq) return;
    mosaic_attention_place p = place_of(a, n / a.nq);
    int offset = backward_offset(a.dtype);
    double lse = ((const double *)a.lse.data)[at(a.lse, p, n % a.nq, 0)];
    double shift = lse * 1.4426950408889634 - offset;
    float delta = ((const float *)a.delta.data)[at(a.delta, p, n % a.nq, 0)];
    backward_terms t = {(float)shift, 0, 0, 0};
    if (lse == -INFINITY) t.shift = INFINITY;
    if (fabsf(t.shift) < INFINITY) t.rest = (float)(shift - (double)t.shift);
    t.delta = delta * power_of_two(-scales_of(a, p).slant - offset);
    terms[n] = t;
}

/* ---- starting them -------------------------------------------------------------------------- */

static unsigned blocks_of(int64_t threads)
{
    int64_t blocks = (threads + THREADS - 1) / THREADS;
    return (unsigned)min(blocks, (int64_t)MOST_BLOCKS);
}

static operand operand_of(const mosaic_attention_args &a, const mosaic_attention_view &v,
                          int64_t heads, int64_t rows, int dtype)
{
    operand o = {v, a.b1, heads, rows, a.b0 * a.b1 * heads, a.d, dtype};
    return o;
}

/* largest <- that of the groups' heads; `lse`: see find_largest. */
static mosaic_status find(const mosaic_attention_job *job, unsigned *largest, const operand &o,
                          int64_t group, const mosaic_attention_view &lse)
{
    int64_t parts = (o.rows * o.d + PART - 1) / PART;
    return mosaic_launch(job->device, "attention", find_largest, (unsigned)(o.units * parts),
                         THREADS, 0, o, lse, group, largest);
}

/* Of f16; else they are 0. */
static mosaic_status make_scales(mosaic_attention_job *job)
{
    mosaic_attention_args &a = job->args;
    const int64_t units = a.b0 * a.b1 * a.kv_heads, group = a.heads / a.kv_heads;
    const mosaic_attention_view any = {};
    void *room, *most;
    operand delta = operand_of(a, a.delta, a.heads, a.nq, MOSAIC_ATTENTION_F32);
    delta.d = 1;
    MOSAIC_TRY(mosaic_attention_scratch(job, &room, units * (int64_t)sizeof *a.scales));
    a.scales = (const mosaic_attention_scales *)room;
    MOSAIC_TRY(mosaic_cuda_check(
        job->device, "attention",
        cudaMemsetAsync(room, 0, units * sizeof *a.scales, job->device->compute)));
    if (a.dtype != MOSAIC_ATTENTION_F16) return MOSAIC_OK;
    MOSAIC_TRY(mosaic_attention_scratch(job, &most, units * (int64_t)sizeof(extremes)));
    MOSAIC_TRY(mosaic_cuda_check(
        job->device, "attention",
        cudaMemsetAsync(most, 0, units * sizeof(extremes), job->device->compute)));
    extremes *first = (extremes *)most;
    MOSAIC_TRY(find(job, &first->v, operand_of(a, a.v, a.kv_heads, a.nk, a.dtype), 1, any));
    MOSAIC_TRY(find(job, &first->dout, operand_of(a, a.dout, a.heads, a.nq, MOSAIC_ATTENTION_F32),
                    group, a.lse));
    MOSAIC_TRY(find(job, &first->delta, delta, group, a.lse));
    return mosaic_launch(job->device, "attention", choose_scales,
                         (unsigned)((units + THREADS - 1) / THREADS), THREADS, 0,
                         (mosaic_attention_scales *)room, first, units, (float)a.d * (float)a.kept);
}

/* view <- packed rows */
static mosaic_status pack(mosaic_attention_job *job, mosaic_attention_view *view, int64_t heads,
                          int64_t rows, int dtype)
{
    const mosaic_attention_args &a = job->args;
    void *room;
    int channels = tensor_channels(a.d), row = tensor_planes(a.dtype) * channels;
    int64_t all = a.b0 * a.b1 * heads * rows;
    MOSAIC_TRY(mosaic_attention_scratch(job, &room, 2 * all * row));
    packing p = {operand_of(a, *view, heads, rows, dtype),
                 (unsigned *)room,
                 a.dtype == MOSAIC_ATTENTION_F16 ? a.scales : NULL,
                 heads / a.kv_heads,
                 channels,
                 a.dtype};
    *view = {(char *)room, a.b1 * heads * rows * row, heads * rows * row, rows * row, row, 1};
    return mosaic_launch(job->device, "attention", pack_rows, blocks_of(all * channels / 2),
                         THREADS, 0, p);
}

mosaic_status mosaic_attention_backward_pack(mosaic_attention_job *job)
{
    mosaic_attention_args &a = job->args;
    const bool f32 = a.dtype == MOSAIC_ATTENTION_F32;
    void *terms;
    int64_t queries = a.b0 * a.b1 * a.heads * a.nq;
    MOSAIC_TRY(make_scales(job));
    MOSAIC_TRY(mosaic_attention_scratch(job, &terms, queries * (int64_t)sizeof(backward_terms)));
    MOSAIC_TRY(mosaic_launch(job->device, "attention", make_terms,
                             (unsigned)((queries + THREADS - 1) / THREADS), THREADS, 0,
                             (backward_terms *)terms, a));
    a.delta = {(char *)terms, a.b1 * a.heads * a.nq, a.heads * a.nq, a.nq, 1, 0};
    MOSAIC_TRY(pack(job, &a.dout, a.heads, a.nq, MOSAIC_ATTENTION_F32));
    if (!f32) return MOSAIC_OK;
    MOSAIC_TRY(pack(job, &a.q, a.heads, a.nq, a.dtype));
    MOSAIC_TRY(pack(job, &a.k, a.kv_heads, a.nk, a.dtype));
    return pack(job, &a.v, a.kv_heads, a.nk, a.dtype);
}
