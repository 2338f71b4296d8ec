/* softmax.c - rows of softmax, log_softmax and cross_entropy. NaN in a row, or a row of nothing
 * but -inf, gives a row of NaN, as 0/0 must. */
#include "../kernels.h"
#include "math.h"

#define REAL float
#define BITS int32_t
#define NAME(x) x##_f32
#include "softmax_rows.h"
#undef REAL
#undef BITS
#undef NAME

#define REAL double
#define BITS int64_t
#define NAME(x) x##_f64
#define exp_f64 exp
#define log_f64 log
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
