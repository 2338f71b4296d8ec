/* unary.c - one element in, one out. A kernel per operation and type; compiled once per ISA. */
#include "../kernels.h"
#include "loops.h"
#include "math.h"

/* y[i] = expression of x, alpha, beta */
#define UNARY(name, T, R, expression)                                                              \
    static void name##_##T##_map(int64_t count, void *out, const void *const *in,                  \
                                 const int64_t *step, const double *param)                         \
    {                                                                                              \
        const T *from = in[0], alpha = param_##T(param[0]), beta = param_##T(param[1]);            \
        R *to = out;                                                                               \
        (void)step, (void)alpha, (void)beta;                                                       \
        INDEPENDENT for (int64_t i = 0; i < count; i++)                                            \
        {                                                                                          \
            const T x = from[i];                                                                   \
            (void)x;                                                                               \
            to[i] = (R)(expression);                                                               \
        }                                                                                          \
    }

#define FLOATS(name, for_f32, for_f64)                                                             \
    UNARY(name, f32, f32, for_f32)                                                                 \
    UNARY(name, f64, f64, for_f64)

/* The same expression in every type. */
#define NUMBERS(name, expression)                                                                  \
    FLOATS(name, expression, expression)                                                           \
    UNARY(name, i64, i64, expression)

#define PREDICATE(name, for_floats, for_i64)                                                       \
    UNARY(name, f32, u8, for_floats)                                                               \
    UNARY(name, f64, u8, for_floats)                                                               \
    UNARY(name, i64, u8, for_i64)

FLOATS(neg, -x, -x)
UNARY(neg, i64, i64, sub_i64(0, x))
FLOATS(abs, fabsf(x), fabs(x))
UNARY(abs, i64, i64, x < 0 ? sub_i64(0, x) : x)
FLOATS(sign, x != x ? x : (f32)((x > 0) - (x < 0)), x != x ? x : (f64)((x > 0) - (x < 0)))
UNARY(sign, i64, i64, (x > 0) - (x < 0))
FLOATS(square, x *x, x *x)
UNARY(square, i64, i64, mul_i64(x, x))
NUMBERS(relu, x < 0 ? 0 : x)
NUMBERS(clamp, x<alpha ? alpha : x> beta ? beta : x)
FLOATS(floor, floorf(x), floor(x))
FLOATS(ceil, ceilf(x), ceil(x))
FLOATS(round, rintf(x), rint(x))
UNARY(same, i64, i64, x)

FLOATS(reciprocal, 1.0f / x, 1.0 / x)
FLOATS(sqrt, sqrtf(x), sqrt(x))
FLOATS(rsqrt, 1.0f / sqrtf(x), 1.0 / sqrt(x))
FLOATS(exp, exp_f32(x), exp(x))
FLOATS(expm1, expm1_f32(x), expm1(x))
FLOATS(log, log_f32(x), log(x))
FLOATS(log2, log2_f32(x), log2(x))
FLOATS(log1p, log1p_f32(x), log1p(x))
/* The loop that vectorises, unless an argument is out of its reach. */
#define SINES(name, half)                                                                          \
    UNARY(name##_near, f32, f32, sine_f32(x, half))                                                \
    UNARY(name##_far, f32, f32, name##f(x))                                                        \
    UNARY(name, f64, f64, name(x))                                                                 \
    static void name##_f32_map(int64_t count, void *out, const void *const *in,                    \
                               const int64_t *step, const double *param)                           \
    {                                                                                              \
        const f32 *x = in[0];                                                                      \
        int far = 0;                                                                               \
        for (int64_t i = 0; i < count; i++) far |= !(fabsf(x[i]) <= SINE_REACH);                   \
        (far ? name##_far_f32_map : name##_near_f32_map)(count, out, in, step, param);             \
    }

SINES(sin, 0)
SINES(cos, 0.5)
FLOATS(tanh, tanh_f32(x), tanh(x))
FLOATS(sigmoid, sigmoid_f32(x), sigmoid_f64(x))
FLOATS(erf, erf_f32(x), erf(x))
FLOATS(gelu, gelu_f32(x), gelu_f64(x))
FLOATS(gelu_tanh, gelu_tanh_f32(x), gelu_tanh_f64(x))
FLOATS(silu, x *sigmoid_f32(x), x *sigmoid_f64(x))
FLOATS(softplus, softplus_f32(alpha *x) / alpha, softplus_f64(alpha *x) / alpha)
FLOATS(elu, beta *(x > 0 ? x : alpha * expm1_f32(x)), beta *(x > 0 ? x : alpha * expm1(x)))
FLOATS(leaky_relu, x > 0 ? x : alpha * x, x > 0 ? x : alpha * x)

PREDICATE(isnan, x != x, 0)
PREDICATE(isfinite, x - x == 0, 1)
PREDICATE(logical_not, x == 0, x == 0)

#define ROW(name)                                                                                  \
    {                                                                                              \
        name##_f32_map, name##_f64_map, NULL                                                       \
    }
#define ROW_ALL(name)                                                                              \
    {                                                                                              \
        name##_f32_map, name##_f64_map, name##_i64_map                                             \
    }
#define ROW_WHOLE(name)                                                                            \
    {                                                                                              \
        name##_f32_map, name##_f64_map, same_i64_map                                               \
    }

const mosaic_unary_kernels MOSAIC_KERNELS(unary) = {
    .of =
        {
            [MOSAIC_UNARY_NEG] = ROW_ALL(neg),
            [MOSAIC_UNARY_ABS] = ROW_ALL(abs),
            [MOSAIC_UNARY_SIGN] = ROW_ALL(sign),
            [MOSAIC_UNARY_SQUARE] = ROW_ALL(square),
            [MOSAIC_UNARY_RELU] = ROW_ALL(relu),
            [MOSAIC_UNARY_CLAMP] = ROW_ALL(clamp),
            [MOSAIC_UNARY_FLOOR] = ROW_WHOLE(floor),
            [MOSAIC_UNARY_CEIL] = ROW_WHOLE(ceil),
            [MOSAIC_UNARY_ROUND] = ROW_WHOLE(round),
            [MOSAIC_UNARY_RECIPROCAL] = ROW(reciprocal),
            [MOSAIC_UNARY_SQRT] = ROW(sqrt),
            [MOSAIC_UNARY_RSQRT] = ROW(rsqrt),
            [MOSAIC_UNARY_EXP] = ROW(exp),
            [MOSAIC_UNARY_EXPM1] = ROW(expm1),
            [MOSAIC_UNARY_LOG] = ROW(log),
            [MOSAIC_UNARY_LOG2] = ROW(log2),
            [MOSAIC_UNARY_LOG1P] = ROW(log1p),
            [MOSAIC_UNARY_SIN] = ROW(sin),
            [MOSAIC_UNARY_COS] = ROW(cos),
            [MOSAIC_UNARY_TANH] = ROW(tanh),
            [MOSAIC_UNARY_SIGMOID] = ROW(sigmoid),
            [MOSAIC_UNARY_ERF] = ROW(erf),
            [MOSAIC_UNARY_GELU] = ROW(gelu),
            [MOSAIC_UNARY_GELU_TANH] = ROW(gelu_tanh),
            [MOSAIC_UNARY_SILU] = ROW(silu),
            [MOSAIC_UNARY_SOFTPLUS] = ROW(softplus),
            [MOSAIC_UNARY_ELU] = ROW(elu),
            [MOSAIC_UNARY_LEAKY_RELU] = ROW(leaky_relu),
            [MOSAIC_UNARY_ISNAN] = ROW_ALL(isnan),
            [MOSAIC_UNARY_ISFINITE] = ROW_ALL(isfinite),
            [MOSAIC_UNARY_LOGICAL_NOT] = ROW_ALL(logical_not),
        },
};
