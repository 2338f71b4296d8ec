/* functions.h - the elementwise operations of mosaic.h on one element, in float, double or int64_t.
 *
 * Which one is a switch that all threads take alike: memory is what these kernels wait for. */
#ifndef MOSAIC_CUDA_FUNCTIONS_H
#define MOSAIC_CUDA_FUNCTIONS_H
#include "cuda.h"

/* Integers wrap around. */
MOSAIC_INLINE int64_t mosaic_add(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + b); }
MOSAIC_INLINE int64_t mosaic_sub(int64_t a, int64_t b) { return (int64_t)((uint64_t)a - b); }
MOSAIC_INLINE int64_t mosaic_mul(int64_t a, int64_t b) { return (int64_t)((uint64_t)a * b); }

/* ---- floats --------------------------------------------------------------------------------- */

template <class T> MOSAIC_INLINE T sigmoid(T x) { return 1 / (1 + exp(-x)); }
/* Phi(x), by the function that is accurate in both tails */
template <class T> MOSAIC_INLINE T normal_cdf(T x)
{
    return T(0.5) * erfc(-x * T(0.70710678118654752));
}

template <class T> MOSAIC_INLINE T gelu_slope(T x)
{
    return normal_cdf(x) + x * T(0.39894228040143268) * exp(T(-0.5) * x * x);
}

/* sqrt(2/pi) (x + 0.044715 x^3), twice */
template <class T> MOSAIC_INLINE T gelu_tanh_inner(T x)
{
    return T(1.59576912160573071176) * (x + T(0.044715) * x * x * x);
}

template <class T> MOSAIC_INLINE T gelu_tanh_slope(T x)
{
    T s = sigmoid(gelu_tanh_inner(x));
    T slope = s * (1 - s);
    /* far out s is 1 or 0 and the cube may be infinite */
    return s +
           (slope == 0 ? 0 : x * slope * T(1.59576912160573071176) * (1 + 3 * T(0.044715) * x * x));
}

template <class T> MOSAIC_INLINE T silu_slope(T x)
{
    T s = sigmoid(x);
    return s == 0 ? 0 : s * (1 + x * (1 - s));
}

template <class T> MOSAIC_INLINE T softplus(T x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }

/* Lua's %: the divisor's sign. */
template <class T> MOSAIC_INLINE T float_remainder(T a, T b)
{
    T r = fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

template <class T> MOSAIC_INLINE T mosaic_unary_of(int op, T x, T alpha, T beta)
{
    switch (op) {
    case MOSAIC_UNARY_NEG: return -x;
    case MOSAIC_UNARY_ABS: return fabs(x);
    case MOSAIC_UNARY_SIGN: return x != x ? x : T((x > 0) - (x < 0));
    case MOSAIC_UNARY_SQUARE: return x * x;
    case MOSAIC_UNARY_RELU: return x < 0 ? 0 : x;
    case MOSAIC_UNARY_CLAMP: return x < alpha ? alpha : x > beta ? beta : x;
    case MOSAIC_UNARY_FLOOR: return floor(x);
    case MOSAIC_UNARY_CEIL: return ceil(x);
    case MOSAIC_UNARY_ROUND: return rint(x);
    case MOSAIC_UNARY_RECIPROCAL: return 1 / x;
    case MOSAIC_UNARY_SQRT: return sqrt(x);
    case MOSAIC_UNARY_RSQRT: return 1 / sqrt(x);
    case MOSAIC_UNARY_EXP: return exp(x);
    case MOSAIC_UNARY_EXPM1: return expm1(x);
    case MOSAIC_UNARY_LOG: return log(x);
    case MOSAIC_UNARY_LOG2: return log2(x);
    case MOSAIC_UNARY_LOG1P: return log1p(x);
    case MOSAIC_UNARY_SIN: return sin(x);
    case MOSAIC_UNARY_COS: return cos(x);
    case MOSAIC_UNARY_TANH: return tanh(x);
    case MOSAIC_UNARY_SIGMOID: return sigmoid(x);
    case MOSAIC_UNARY_ERF: return erf(x);
    case MOSAIC_UNARY_GELU: return x * normal_cdf(x);
    case MOSAIC_UNARY_GELU_TANH: return x * sigmoid(gelu_tanh_inner(x));
    case MOSAIC_UNARY_SILU: return x * sigmoid(x);
    case MOSAIC_UNARY_SOFTPLUS: return softplus(alpha * x) / alpha;
    case MOSAIC_UNARY_ELU: return beta * (x > 0 ? x : alpha * expm1(x));
    case MOSAIC_UNARY_LEAKY_RELU: return x > 0 ? x : alpha * x;
    case MOSAIC_UNARY_ISNAN: return x != x;
    case MOSAIC_UNARY_ISFINITE: return x - x == 0;
    default: return x == 0; /* logical_not */
    }
}

template <class T> MOSAIC_INLINE T mosaic_binary_of(int op, T a, T b, T alpha, T beta)
{
    switch (op) {
    case MOSAIC_BINARY_ADD: return a + alpha * b;
    case MOSAIC_BINARY_SUB: return a - alpha * b;
    case MOSAIC_BINARY_MUL: return a * b;
    case MOSAIC_BINARY_DIV: return a / b;
    case MOSAIC_BINARY_POW: return pow(a, b);
    case MOSAIC_BINARY_MAXIMUM: return a > b || a != a ? a : b;
    case MOSAIC_BINARY_MINIMUM: return a < b || a != a ? a : b;
    case MOSAIC_BINARY_FLOOR_DIVIDE: return floor(a / b);
    case MOSAIC_BINARY_REMAINDER: return float_remainder(a, b);
    case MOSAIC_BINARY_TANH_GRAD: return a * (1 - b * b);
    case MOSAIC_BINARY_SIGMOID_GRAD: return a * b * (1 - b);
    case MOSAIC_BINARY_RELU_GRAD: return b > 0 ? a : 0;
    case MOSAIC_BINARY_CLAMP_GRAD: return b >= alpha && b <= beta ? a : 0;
    case MOSAIC_BINARY_GELU_GRAD: return a * gelu_slope(b);
    case MOSAIC_BINARY_GELU_TANH_GRAD: return a * gelu_tanh_slope(b);
    case MOSAIC_BINARY_SILU_GRAD: return a * silu_slope(b);
    case MOSAIC_BINARY_SOFTPLUS_GRAD: return a * sigmoid(alpha * b);
    case MOSAIC_BINARY_ELU_GRAD: return a * beta * (b > 0 ? 1 : alpha * exp(b));
    case MOSAIC_BINARY_LEAKY_RELU_GRAD: return b > 0 ? a : alpha * a;
    case MOSAIC_BINARY_EQ: return a == b;
    case MOSAIC_BINARY_NE: return a != b;
    case MOSAIC_BINARY_LT: return a < b;
    case MOSAIC_BINARY_LE: return a <= b;
    case MOSAIC_BINARY_GT: return a > b;
    case MOSAIC_BINARY_GE: return a >= b;
    case MOSAIC_BINARY_LOGICAL_AND: return a != 0 && b != 0;
    case MOSAIC_BINARY_LOGICAL_OR: return a != 0 || b != 0;
    default: return (a != 0) != (b != 0); /* logical_xor */
    }
}

template <class T> MOSAIC_INLINE T mosaic_ternary_of(int op, T a, T b, T c, T alpha)
{
    switch (op) {
    case MOSAIC_TERNARY_WHERE: return a != 0 ? b : c;
    case MOSAIC_TERNARY_LERP: /* from the nearer end, so that both ends come out exactly */
        return c < T(0.5) ? a + c * (b - a) : b - (1 - c) * (b - a);
    case MOSAIC_TERNARY_ADDCMUL: return a + alpha * b * c;
    default: return a + alpha * b / c; /* addcdiv */
    }
}

/* ---- integers ------------------------------------------------------------------------------- */

MOSAIC_INLINE int64_t floor_divide(int64_t a, int64_t b)
{
    if (b == 0) return 0;
    if (b == -1) return mosaic_sub(0, a);
    return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}

/* By squaring; a negative exponent leaves the whole part of the reciprocal (0^-n is 0). */
MOSAIC_INLINE int64_t whole_power(int64_t a, int64_t b)
{
    if (b < 0) return a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;
    int64_t power = 1;
    for (; b; b >>= 1, a = mosaic_mul(a, a))
        if (b & 1) power = mosaic_mul(power, a);
    return power;
}

template <>
__host__ __device__ inline int64_t mosaic_unary_of(int op, int64_t x, int64_t alpha, int64_t beta)
{
    switch (op) {
    case MOSAIC_UNARY_NEG: return mosaic_sub(0, x);
    case MOSAIC_UNARY_ABS: return x < 0 ? mosaic_sub(0, x) : x;
    case MOSAIC_UNARY_SIGN: return (x > 0) - (x < 0);
    case MOSAIC_UNARY_SQUARE: return mosaic_mul(x, x);
    case MOSAIC_UNARY_RELU: return x < 0 ? 0 : x;
    case MOSAIC_UNARY_CLAMP: return x < alpha ? alpha : x > beta ? beta : x;
    case MOSAIC_UNARY_ISNAN: return 0;
    case MOSAIC_UNARY_ISFINITE: return 1;
    case MOSAIC_UNARY_LOGICAL_NOT: return x == 0;
    default: return x; /* floor, ceil, round */
    }
}

template <>
__host__ __device__ inline int64_t mosaic_binary_of(int op, int64_t a, int64_t b, int64_t alpha,
                                                    int64_t)
{
    switch (op) {
    case MOSAIC_BINARY_ADD: return mosaic_add(a, mosaic_mul(alpha, b));
    case MOSAIC_BINARY_SUB: return mosaic_sub(a, mosaic_mul(alpha, b));
    case MOSAIC_BINARY_MUL: return mosaic_mul(a, b);
    case MOSAIC_BINARY_POW: return whole_power(a, b);
    case MOSAIC_BINARY_MAXIMUM: return a > b ? a : b;
    case MOSAIC_BINARY_MINIMUM: return a < b ? a : b;
    case MOSAIC_BINARY_FLOOR_DIVIDE: return floor_divide(a, b);
    case MOSAIC_BINARY_REMAINDER:
        return b == 0 ? a : mosaic_sub(a, mosaic_mul(floor_divide(a, b), b));
    case MOSAIC_BINARY_EQ: return a == b;
    case MOSAIC_BINARY_NE: return a != b;
    case MOSAIC_BINARY_LT: return a < b;
    case MOSAIC_BINARY_LE: return a <= b;
    case MOSAIC_BINARY_GT: return a > b;
    case MOSAIC_BINARY_GE: return a >= b;
    case MOSAIC_BINARY_LOGICAL_AND: return a != 0 && b != 0;
    case MOSAIC_BINARY_LOGICAL_OR: return a != 0 || b != 0;
    default: return (a != 0) != (b != 0); /* logical_xor */
    }
}

template <>
__host__ __device__ inline int64_t mosaic_ternary_of(int, int64_t a, int64_t b, int64_t c, int64_t)
{
    return a != 0 ? b : c; /* where */
}

#endif
