/* quantize.cu - rows encoded as bytes with a scale, and decoded: the CPU's bytes.
 *
 * nvcc compiles this file without fused multiply-adds. */
#include <launch.h>

#include "../core/row_format.h"
#include "element.h"
#include "walk.h"

#define REAL float
#define BITS int32_t
#define MANTISSA 23
#define NAME(x) x
#include "../core/row_words.h"
#undef REAL
#undef BITS
#undef MANTISSA

#define REAL double
#define BITS int64_t
#define MANTISSA 52
#include "../core/row_words.h"

enum { THREADS = 256, EACH = 8 };

typedef struct {
    mosaic_walk rows;       /* of the floats, the payload */
    int64_t n, step, apart; /* floats of a row; bytes from one to the next, and in the payload */
    mosaic_row_format format;
    int lanes;    /* of a row, a power of 2 */
    int bits;     /* of an int8 scale */
    double limit; /* of the magnitudes: what they become is finite */
} coding;

/* This thread's row (perhaps beyond the last one), and its lane there. */
MOSAIC_DEVICE int64_t row_here(const coding &c, int *lane)
{
    *lane = threadIdx.x % c.lanes;
    return (int64_t)blockIdx.x * (THREADS / c.lanes) + threadIdx.x / c.lanes;
}

/* ---- encoding ------------------------------------------------------------------------------- */

/* The bits of the largest magnitude that this lane sees; a NaN counts as more than infinity. */
template <class T> MOSAIC_DEVICE auto lane_largest(const coding &c, const char *x, int lane)
{
    decltype(bits_of(T(0))) most = 0;
    for (int64_t i = lane; i < c.n; i += EACH * c.lanes) {
        const char *at[EACH];
        T value[EACH];
        for (int k = 0; k < EACH; k++)
            at[k] = x + (i + k * c.lanes < c.n ? i + k * c.lanes : i) * c.step;
        mosaic_load_each(value, at, c.rows.operand[0].dtype);
        for (int k = 0; k < EACH; k++) most = max(most, magnitude(value[k]));
    }
    return most;
}

template <class T> MOSAIC_DEVICE uint8_t encoded(const coding &c, T x, float scale)
{
    if (c.format == MOSAIC_ROW_INT8) return (uint8_t)(int32_t)whole(x, (T)scale);
    return (uint8_t)fp8(x * (1 / (T)scale));
}

/* *wrong becomes the first row that does not fit, where that is less. */
template <class T>
__global__ void __launch_bounds__(THREADS) encode(const coding c, unsigned long long *wrong)
{
    __shared__ decltype(bits_of(T(0))) share[THREADS];
    int lane;
    const int64_t row = row_here(c, &lane);
    char *at[2];
    share[threadIdx.x] = 0;
    if (row < c.rows.count) {
        mosaic_walk_at(c.rows, row, at);
        share[threadIdx.x] = lane_largest<T>(c, at[0], lane);
    }
    for (int half = c.lanes / 2; half; half /= 2) {
        __syncthreads();
        if (lane < half) share[threadIdx.x] = max(share[threadIdx.x], share[threadIdx.x + half]);
    }
    __syncthreads();
    if (row >= c.rows.count) return;
    const T largest = real_of(share[threadIdx.x - lane]);
    if (!(largest <= c.limit)) {
        if (lane == 0) atomicMin(wrong, (unsigned long long)row);
        return;
    }
    const float scale = c.format == MOSAIC_ROW_INT8 ? mosaic_int8_scale(largest, c.bits)
                                                    : mosaic_fp8_scale(largest);
    for (int64_t i = lane; i < c.n; i += c.lanes)
        at[1][i * c.apart] =
            (char)encoded(c, mosaic_load<T>(at[0] + i * c.step, c.rows.operand[0].dtype), scale);
    uint8_t bytes[MOSAIC_ROW_SCALE_BYTES];
    memcpy(bytes, &scale, sizeof bytes);
    for (int b = 0; lane == 0 && b < MOSAIC_ROW_SCALE_BYTES; b++)
        at[1][(c.n + b) * c.apart] = (char)bytes[b];
}

/* ---- decoding ------------------------------------------------------------------------------- */

template <class T> __global__ void __launch_bounds__(THREADS) decode(const coding c)
{
    int lane;
    const int64_t row = row_here(c, &lane);
    if (row >= c.rows.count) return;
    char *at[2];
    mosaic_walk_at(c.rows, row, at);
    uint8_t bytes[MOSAIC_ROW_SCALE_BYTES];
    float scale;
    for (int b = 0; b < MOSAIC_ROW_SCALE_BYTES; b++) bytes[b] = (uint8_t)at[1][(c.n + b) * c.apart];
    memcpy(&scale, bytes, sizeof scale);
    for (int64_t i = lane; i < c.n; i += c.lanes) {
        uint8_t code = (uint8_t)at[1][i * c.apart];
        T value = c.format == MOSAIC_ROW_INT8 ? (T)(int8_t)code : (T)mosaic_fp8_value(code);
        mosaic_store<T>(at[0] + i * c.step, c.rows.operand[0].dtype, value * scale);
    }
}

/* ---- launches ------------------------------------------------------------------------------- */

/* Above 15/16 2^16 the nearest value can be 2^16, which f16 does not have. */
static coding make_coding(const mosaic_tensor *floats, const mosaic_tensor *payload,
                          mosaic_row_format format)
{
    int last = floats->ndim - 1;
    mosaic_tensor x = *floats, bytes = *payload;
    x.ndim = bytes.ndim = last;
    const mosaic_tensor *operands[] = {&x, &bytes};
    coding c = {};
    c.rows = mosaic_walk_of(2, operands);
    c.n = floats->size[last];
    c.step = floats->stride[last] * c.rows.operand[0].bytes;
    c.apart = payload->stride[last];
    c.format = format;
    c.bits = mosaic_dtype_is_half(floats->dtype) ? 1 : 17;
    c.limit = floats->dtype == MOSAIC_DTYPE_F16 ? 61440 : 0x1p127;
    for (c.lanes = 1; c.lanes < THREADS && c.lanes * EACH < c.n;) c.lanes *= 2;
    return c;
}

static unsigned blocks_of(const coding &c)
{
    int rows = THREADS / c.lanes;
    return (unsigned)((c.rows.count + rows - 1) / rows);
}

/* The largest or smallest number of a row. */
static mosaic_status extreme(double *value, const mosaic_tensor *row, mosaic_reduce_op op)
{
    const mosaic_cuda *device = mosaic_cuda_of(row);
    mosaic_tensor result = {};
    MOSAIC_TRY(mosaic_cuda_scratch(&result, device, MOSAIC_DTYPE_F64, 1));
    mosaic_status status = mosaic_cuda_reduce(&result, row, op, 0);
    if (!status) status = mosaic_cuda_to_host(&device->base, value, mosaic_data(&result), 8);
    mosaic_tensor_clear(&result);
    return status;
}

static mosaic_status refuse(const mosaic_tensor *x, const coding &c, int64_t wrong)
{
    int last = x->ndim - 1;
    char place[MOSAIC_PLACE_ROOM];
    double low = 0, high = 0;
    mosaic_tensor row = *x;
    row.ndim = 1;
    row.size[0] = x->size[last], row.stride[0] = x->stride[last];
    row.offset += mosaic_walk_offset(c.rows, 0, wrong) / c.rows.operand[0].bytes;
    MOSAIC_TRY(extreme(&low, &row, MOSAIC_REDUCE_MIN));
    MOSAIC_TRY(extreme(&high, &row, MOSAIC_REDUCE_MAX));
    mosaic_cuda_core->print_place(place, last, x->size, wrong);
    return mosaic_cuda_core->fail(
        MOSAIC_EINVAL, "quantize: row %s of %s holds %g, %s carries numbers up to %g", place,
        mosaic_tensor_describe(x), fabs(high > -low || high != high ? high : -low),
        c.format == MOSAIC_ROW_INT8 ? "int8" : "fp8", c.limit);
}

static mosaic_status run_encode(int64_t *wrong, const mosaic_tensor *x, const coding &c)
{
    const mosaic_cuda *device = mosaic_cuda_of(x);
    mosaic_tensor first = {};
    MOSAIC_TRY(mosaic_cuda_scratch(&first, device, MOSAIC_DTYPE_I64, 1));
    void *data = mosaic_data(&first);
    mosaic_status status =
        mosaic_cuda_check(device, "quantize", cudaMemsetAsync(data, 0xff, 8, device->compute));
    if (!status)
        status = mosaic_launch(device, "quantize",
                               x->dtype == MOSAIC_DTYPE_F64 ? encode<double> : encode<float>,
                               blocks_of(c), THREADS, 0, c, data);
    if (!status) status = mosaic_cuda_to_host(&device->base, wrong, data, 8);
    mosaic_tensor_clear(&first);
    return status;
}

mosaic_status mosaic_cuda_quantize(const mosaic_tensor *payload, const mosaic_tensor *x,
                                   mosaic_row_format format)
{
    coding c = make_coding(x, payload, format);
    int64_t wrong = -1;
    MOSAIC_TRY(mosaic_cuda_enter(mosaic_cuda_of(x)));
    MOSAIC_TRY(run_encode(&wrong, x, c));
    return wrong < 0 ? MOSAIC_OK : refuse(x, c, wrong);
}

mosaic_status mosaic_cuda_dequantize(const mosaic_tensor *out, const mosaic_tensor *payload,
                                     mosaic_row_format format)
{
    coding c = make_coding(out, payload, format);
    const mosaic_cuda *device = mosaic_cuda_of(out);
    MOSAIC_TRY(mosaic_cuda_enter(device));
    return mosaic_launch(device, "dequantize",
                         out->dtype == MOSAIC_DTYPE_F64 ? decode<double> : decode<float>,
                         blocks_of(c), THREADS, 0, c);
}
