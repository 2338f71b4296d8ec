/* binary.c - two elements in, one out; derivatives too. A kernel per operation and type. */
#include "../kernels.h"
#include "loops.h"
#include "math.h"

/* y[i] = expression of a, b, alpha, beta; a or b may be one value for all. */
#define BINARY(name, T, R, expression)                                                             \
    static void name##_##T##_map(int64_t count, void *out, const void *const *in,                  \
                                 const int64_t *step, const double *param)                         \
    {                                                                                              \
        const T *left = in[0], *right = in[1];                                                     \
        const T alpha = param_##T(param[0]), beta = param_##T(param[1]);                           \
        R *to = out;                                                                               \
        (void)alpha, (void)beta;                                                                   \
        if (step[0] && step[1]) {                                                                  \
            INDEPENDENT for (int64_t i = 0; i < count; i++)                                        \
            {                                                                                      \
                const T a = left[i], b = right[i];                                                 \
                to[i] = (R)(expression);                                                           \
            }                                                                                      \
        } else if (step[0]) {                                                                      \
            const T b = *right;                                                                    \
            INDEPENDENT for (int64_t i = 0; i < count; i++)                                        \
            {                                                                                      \
                const T a = left[i];                                                               \
                to[i] = (R)(expression);                                                           \
            }                                                                                      \
        } else {                                                                                   \
            const T a = *left;                                                                     \
            INDEPENDENT for (int64_t i = 0; i < count; i++)                                        \
            {                                                                                      \
                const T b = right[i];                                                              \
                to[i] = (R)(expression);                                                           \
            }                                                                                      \
        }                                                                                          \
    }

#define FLOATS(name, for_f32, for_f64)                                                             \
    BINARY(name, f32, f32, for_f32)                                                                \
    BINARY(name, f64, f64, for_f64)

#define PREDICATE(name, expression)                                                                \
    BINARY(name, f32, u8, expression)                                                              \
    BINARY(name, f64, u8, expression)                                                              \
    BINARY(name, i64, u8, expression)

/* The quotient rounded down; the divisor's sign for the remainder, as in Lua. */
static inline i64 floor_divide_i64(i64 a, i64 b)
{
    if (b == 0) return 0;
    if (b == -1) return sub_i64(0, a);
    return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}
static inline i64 remainder_i64(i64 a, i64 b)
{
    return b == 0 ? a : sub_i64(a, mul_i64(floor_divide_i64(a, b), b));
}
static inline f32 remainder_f32(f32 a, f32 b)
{
    f32 r = fmodf(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
static inline f64 remainder_f64(f64 a, f64 b)
{
    f64 r = fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

/* By squaring; a negative exponent leaves the whole part of the reciprocal (0^-n is 0). */
static inline i64 pow_i64(i64 a, i64 b)
{
    if (b < 0) return a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;
    i64 power = 1;
    for (; b; b >>= 1, a = mul_i64(a, a))
        if (b & 1) power = mul_i64(power, a);
    return power;
}

FLOATS(add, a + alpha * b, a + alpha * b)
BINARY(add, i64, i64, add_i64(a, mul_i64(alpha, b)))
FLOATS(sub, a - alpha * b, a - alpha * b)
BINARY(sub, i64, i64, sub_i64(a, mul_i64(alpha, b)))
FLOATS(mul, a *b, a *b)
BINARY(mul, i64, i64, mul_i64(a, b))
FLOATS(div, a / b, a / b)
FLOATS(pow, powf(a, b), pow(a, b))
BINARY(pow, i64, i64, pow_i64(a, b))
FLOATS(maximum, a > b || a != a ? a : b, a > b || a != a ? a : b)
BINARY(maximum, i64, i64, a > b ? a : b)
FLOATS(minimum, a < b || a != a ? a : b, a < b || a != a ? a : b)
BINARY(minimum, i64, i64, a < b ? a : b)
FLOATS(floor_divide, floorf(a / b), floor(a / b))
BINARY(floor_divide, i64, i64, floor_divide_i64(a, b))
FLOATS(remainder, remainder_f32(a, b), remainder_f64(a, b))
BINARY(remainder, i64, i64, remainder_i64(a, b))

/* a is the gradient, b the function's result ... */
FLOATS(tanh_grad, a *(1 - b * b), a *(1 - b * b))
FLOATS(sigmoid_grad, a *b *(1 - b), a *b *(1 - b))
FLOATS(relu_grad, b > 0 ? a : 0, b > 0 ? a : 0)
/* ... or its argument. */
FLOATS(clamp_grad, b >= alpha && b <= beta ? a : 0, b >= alpha && b <= beta ? a : 0)
FLOATS(gelu_grad, a *gelu_slope_f32(b), a *gelu_slope_f64(b))
FLOATS(gelu_tanh_grad, a *gelu_tanh_slope_f32(b), a *gelu_tanh_slope_f64(b))
FLOATS(silu_grad, a *silu_slope_f32(b), a *silu_slope_f64(b))
FLOATS(softplus_grad, a *sigmoid_f32(alpha *b), a *sigmoid_f64(alpha *b))
FLOATS(elu_grad, a *beta *(b > 0 ? 1 : alpha * exp_f32(b)), a *beta *(b > 0 ? 1 : alpha * exp(b)))
FLOATS(leaky_relu_grad, b > 0 ? a : alpha * a, b > 0 ? a : alpha * a)

PREDICATE(eq, a == b)
PREDICATE(ne, a != b)
PREDICATE(lt, a < b)
PREDICATE(le, a <= b)
PREDICATE(gt, a > b)
PREDICATE(ge, a >= b)
PREDICATE(logical_and, (a != 0) & (b != 0))
PREDICATE(logical_or, (a != 0) | (b != 0))
PREDICATE(logical_xor, (a != 0) != (b != 0))

#define ROW(name)                                                                                  \
    {                                                                                              \
        name##_f32_map, name##_f64_map, NULL                                                       \
    }
#define ROW_ALL(name)                                                                              \
    {                                                                                              \
        name##_f32_map, name##_f64_map, name##_i64_map                                             \
    }

const mosaic_binary_kernels MOSAIC_KERNELS(binary) = {
    .of =
        {
            [MOSAIC_BINARY_ADD] = ROW_ALL(add),
            [MOSAIC_BINARY_SUB] = ROW_ALL(sub),
            [MOSAIC_BINARY_MUL] = ROW_ALL(mul),
            [MOSAIC_BINARY_DIV] = ROW(div),
            [MOSAIC_BINARY_POW] = ROW_ALL(pow),
            [MOSAIC_BINARY_MAXIMUM] = ROW_ALL(maximum),
            [MOSAIC_BINARY_MINIMUM] = ROW_ALL(minimum),
            [MOSAIC_BINARY_FLOOR_DIVIDE] = ROW_ALL(floor_divide),
            [MOSAIC_BINARY_REMAINDER] = ROW_ALL(remainder),
            [MOSAIC_BINARY_TANH_GRAD] = ROW(tanh_grad),
            [MOSAIC_BINARY_SIGMOID_GRAD] = ROW(sigmoid_grad),
            [MOSAIC_BINARY_RELU_GRAD] = ROW(relu_grad),
            [MOSAIC_BINARY_CLAMP_GRAD] = ROW(clamp_grad),
            [MOSAIC_BINARY_GELU_GRAD] = ROW(gelu_grad),
            [MOSAIC_BINARY_GELU_TANH_GRAD] = ROW(gelu_tanh_grad),
            [MOSAIC_BINARY_SILU_GRAD] = ROW(silu_grad),
            [MOSAIC_BINARY_SOFTPLUS_GRAD] = ROW(softplus_grad),
            [MOSAIC_BINARY_ELU_GRAD] = ROW(elu_grad),
            [MOSAIC_BINARY_LEAKY_RELU_GRAD] = ROW(leaky_relu_grad),
            [MOSAIC_BINARY_EQ] = ROW_ALL(eq),
            [MOSAIC_BINARY_NE] = ROW_ALL(ne),
            [MOSAIC_BINARY_LT] = ROW_ALL(lt),
            [MOSAIC_BINARY_LE] = ROW_ALL(le),
            [MOSAIC_BINARY_GT] = ROW_ALL(gt),
            [MOSAIC_BINARY_GE] = ROW_ALL(ge),
            [MOSAIC_BINARY_LOGICAL_AND] = ROW_ALL(logical_and),
            [MOSAIC_BINARY_LOGICAL_OR] = ROW_ALL(logical_or),
            [MOSAIC_BINARY_LOGICAL_XOR] = ROW_ALL(logical_xor),
        },
};
