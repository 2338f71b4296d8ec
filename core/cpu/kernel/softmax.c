/* softmax.c - rows of softmax, log_softmax and cross_entropy. NaN in a row, or a row of nothing
 * but -inf, gives a row of NaN, as 0/0 must. */
#include "../kernels.h"

#define REAL float
#define BITS int32_t
#define NAME(x) x##_f32
#define log_f32 logf
#include "lanes.h"

/* 2^n e^r with n = round(x log2 e), |r| <= log(2)/2 and a polynomial for e^r, about 1 ulp; below
 * -87 it is 0. Adding 1.5 * 2^23 rounds, and leaves n in the low bits. */
static inline lanes_f32 exp_lanes_f32(lanes_f32 x)
{
    const float magic = 12582912.0f;
    lanes_f32 shifted = x * 1.44269504f + magic, n = shifted - magic;
    lanes_f32 r = x - n * 0.693359375f + n * 2.12194440e-4f;
    lanes_f32 p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    typedef uint32_t words __attribute__((vector_size(LANES_BYTES)));
    words scale = ((words)shifted << 23) + 0x3f800000u;
    return select_f32(x < -87.0f, repeat_f32(0), p * (lanes_f32)scale);
}

#include "softmax_rows.h"
#undef REAL
#undef BITS
#undef NAME

#define REAL double
#define BITS int64_t
#define NAME(x) x##_f64
#define log_f64 log
#include "lanes.h"

static inline lanes_f64 exp_lanes_f64(lanes_f64 x)
{
    for (int64_t i = 0; i < LANES; i++) x[i] = exp(x[i]);
    return x;
}

#include "softmax_rows.h"

const mosaic_softmax_kernels MOSAIC_KERNELS(softmax) = {
    .forward_f32 = forward_f32,
    .forward_f64 = forward_f64,
    .backward_f32 = backward_f32,
    .backward_f64 = backward_f64,
    .logsumexp_f32 = logsumexp_f32,
    .logsumexp_f64 = logsumexp_f64,
    .weigh_f32 = weigh_f32,
    .weigh_f64 = weigh_f64,
};
