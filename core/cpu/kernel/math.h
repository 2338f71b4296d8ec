/* math.h - f32 functions without branches or calls, so that a loop over them vectorises.
 *
 * Errors, measured against float64 over the whole range, in ulps: exp 1, expm1 1.5, log 0.8, log2
 * 1.9, log1p 1.5, tanh 1.3, erf 1.4, sigmoid 2.2; gelu and its slope 4e-7 absolute. Infinities, NaN
 * and subnormals come out as in libm. The coefficients are minimax fits of our own (Remez, weighted
 * for relative error). */
#ifndef MOSAIC_KERNEL_MATH_H
#define MOSAIC_KERNEL_MATH_H
#include <math.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* e^x = 2^n e^r, |r| <= ln2 / 2. 2^n in two factors, so that subnormal results round once. */
static inline float exp_f32(float x)
{
    const float magic =
        0x1.8p23f;             /* adding it rounds to an integer, which the low bits then hold */
    x = x > 89.0f ? 89.0f : x; /* e^89 is infinite; NaN passes both */
    x = x < -104.0f ? -104.0f : x; /* e^-104 is 0 */
    float shifted = x * 0x1.715476p0f + magic;
    float n = shifted - magic;
    float r = x - n * 0x1.62e4p-1f; /* ln2 in two parts, the first with zeros at its end */
    r = r - n * 0x1.7f7d1cp-20f;
    float p = 0.001381432064f;
    p = p * r + 0.008368851065f;
    p = p * r + 0.04166840108f;
    p = p * r + 0.1666651952f;
    p = p * r + 0.4999999337f;
    p = p * (r * r) + r + 1.0f;
    uint32_t power = bits_of(shifted) - bits_of(magic);
    uint32_t half = (uint32_t)((int32_t)power >> 1), rest = power - half;
    return p * float_of((half + 127u) << 23) * float_of((rest + 127u) << 23);
}

/* e^x - 1 = 2^n (e^r - 1) + (2^n - 1), halved until the end so that 2^n stays finite. */
static inline float expm1_f32(float x)
{
    const float magic = 0x1.8p23f;
    x = x > 89.0f ? 89.0f : x;
    x = x < -30.0f ? -30.0f : x; /* -1 */
    float shifted = x * 0x1.715476p0f + magic;
    float n = shifted - magic;
    float r = x - n * 0x1.62e4p-1f;
    r = r - n * 0x1.7f7d1cp-20f;
    float p = 0.001381432064f;
    p = p * r + 0.008368851065f;
    p = p * r + 0.04166840108f;
    p = p * r + 0.1666651952f;
    p = p * r + 0.4999999337f;
    p = p * (r * r) + r;
    float half = float_of((bits_of(shifted) - bits_of(magic) + 126u) << 23);
    return (half * p + (half - 0.5f)) * 2.0f;
}

/* x = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2), for 0 < x < infinity. Returns f. */
static inline float log_split_f32(float x, float *e)
{
    float tiny = x < 0x1p-126f ? 0x1p24f : 1.0f;
    uint32_t bits = bits_of(x * tiny) - 0x3f3504f3u; /* sqrt(1/2) */
    *e = (float)((int32_t)bits >> 23) - (x < 0x1p-126f ? 24.0f : 0.0f);
    return float_of((bits & 0x7fffffu) + 0x3f3504f3u) - 1.0f;
}

/* log(1 + f) - f for such an f. */
static inline float log_tail_f32(float f)
{
    float p = 0.06746653225f;
    p = p * f - 0.1167564922f;
    p = p * f + 0.1188815477f;
    p = p * f - 0.1240558895f;
    p = p * f + 0.1421955349f;
    p = p * f - 0.1666799589f;
    p = p * f + 0.200021186f;
    p = p * f - 0.250000096f;
    p = p * f + 0.3333331261f;
    return f * f * (f * p - 0.5f);
}

/* What a logarithm y of x is outside of (0, infinity). */
static inline float log_edges_f32(float x, float y)
{
    y = x < INFINITY ? y : x; /* infinity and NaN stay */
    y = x == 0.0f ? -INFINITY : y;
    return x < 0.0f ? NAN : y;
}

/* The logarithm of 0 < x < infinity. */
static inline float log_inside_f32(float x)
{
    float e, f = log_split_f32(x, &e);
    float low = log_tail_f32(f) + e * 0x1.7f7d1cp-20f; /* ln2 in two parts, as above */
    return e * 0x1.62e4p-1f + (f + low);
}

static inline float log_f32(float x) { return log_edges_f32(x, log_inside_f32(x)); }

static inline float log2_f32(float x)
{
    float e, f = log_split_f32(x, &e), tail = log_tail_f32(f);
    /* log2(e) in two parts, the first with few bits, so that f times it loses little */
    float low = tail * 1.44269504f + f * (1.44269504f - 1.4375f);
    return log_edges_f32(x, e + (f * 1.4375f + low));
}

/* log(1 + x): log(u) with u = 1 + x as rounded, corrected for the rounding. */
static inline float log1p_f32(float x)
{
    float u = 1.0f + x, y = log_f32(u);
    float corrected = y + (x - (u - 1.0f)) / u;
    return ((u > 0.0f) & (u < INFINITY)) ? corrected : y;
}

/* sin x for half = 0, cos x for half = 1/2, |x| <= SINE_REACH: x = n pi + r with n a whole number
 * plus half, |r| <= pi / 2. In f64 and with pi in two parts, the first of which makes x - n pi
 * exact (fused: for any n), so that r is good to the last bit of f32 even where the sine is tiny.
 */
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define SINE_REACH 1e9f
static inline double less(double x, double n, double part) { return __builtin_fma(-n, part, x); }
#else
#define SINE_REACH 1e6f
static inline double less(double x, double n, double part) { return x - n * part; }
#endif
static inline float sine_f32(double x, double half)
{
    const double magic = 0x1.8p52; /* as in exp_f32 */
    double shifted = x * 0x1.45f306dc9c883p-2 - half + magic;
    double n = shifted - magic + half;
    double r = less(less(x, n, 0x1.921fb544p+1), n, 0x1.0b4611a626331p-33);
    double s = r * r;
    double p = 2.60575072576657534e-6;
    p = p * s - 1.98095901131846113e-4;
    p = p * s + 8.33306608281451356e-3;
    p = p * s - 0.166666595445724111;
    double y = p * s * r + r;
    uint64_t parity, bits;
    memcpy(&parity, &shifted, sizeof parity);
    memcpy(&bits, &y, sizeof bits);
    bits ^= (parity ^ (half > 0)) << 63; /* cos(n pi + pi / 2 + r) = -(-1)^n sin r */
    memcpy(&y, &bits, sizeof y);
    return (float)y;
}

static inline float sigmoid_f32(float x) { return 1.0f / (1.0f + exp_f32(-x)); }

static inline float tanh_f32(float x)
{
    float s = x * x, a = fabsf(x);
    float p = -0.00564831623f;
    p = p * s + 0.02058982633f;
    p = p * s - 0.05372512661f;
    p = p * s + 0.1333127443f;
    p = p * s - 0.3333327606f;
    float near = x + x * s * p;
    float far = copysignf(1.0f - 2.0f / (exp_f32(2.0f * a) + 1.0f), x);
    return a < 0.625f ? near : far;
}

/* exp(z^2) erfc(z) for z >= 0. */
static inline float erfcx_f32(float z)
{
    float u = 1.0f / (0.4f * z + 1.0f);
    float p = 0.05025418741f;
    p = p * u - 0.1828734673f;
    p = p * u + 0.1690457813f;
    p = p * u - 0.005578698283f;
    p = p * u + 0.1414200008f;
    p = p * u + 0.1685443936f;
    p = p * u + 0.2078424532f;
    p = p * u + 0.2256696076f;
    p = p * u + 0.2256758619f;
    return p * u;
}

static inline float erf_f32(float x)
{
    float s = x * x, a = fabsf(x);
    float p = 8.316776602e-5f;
    p = p * s - 0.0008130013097f;
    p = p * s + 0.005199906718f;
    p = p * s - 0.02685894154f;
    p = p * s + 0.1128368719f;
    p = p * s - 0.3761263319f;
    p = p * s + 0.128379167f;
    float near = p * x + x;
    float far = copysignf(1.0f - exp_f32(-s) * erfcx_f32(a), x);
    return a < 0.93f ? near : far;
}

/* The normal distribution function, and its density (without 1/sqrt(2 pi)), from one exp. */
static inline float phi_f32(float x, float *density)
{
    float z = fabsf(x) * 0x1.6a09e6p-1f;
    *density = exp_f32(-0.5f * x * x);
    float tail = 0.5f * *density * erfcx_f32(z);
    return x > 0.0f ? 1.0f - tail : tail;
}

/* The functions that f32 and f64 share, in terms of the above or of libm. */
static inline float gelu_f32(float x)
{
    float density;
    return x * phi_f32(x, &density);
}
static inline double gelu_f64(double x) { return 0.5 * x * erfc(-x * M_SQRT1_2); }

static inline float gelu_slope_f32(float x)
{
    float density, phi = phi_f32(x, &density);
    return phi + x * density * 0.3989422804f;
}
static inline double gelu_slope_f64(double x)
{
    return 0.5 * erfc(-x * M_SQRT1_2) + x * exp(-0.5 * x * x) * 0.39894228040143267794;
}

static inline double sigmoid_f64(double x) { return 1 / (1 + exp(-x)); }

/* 0.5 (1 + tanh t) = sigmoid(2 t); t = sqrt(2/pi) (x + 0.044715 x^3) */
static inline float gelu_tanh_f32(float x)
{
    return x * sigmoid_f32(1.595769122f * (x + 0.044715f * x * x * x));
}
static inline double gelu_tanh_f64(double x)
{
    return x * sigmoid_f64(1.59576912160573071176 * (x + 0.044715 * x * x * x));
}
static inline float gelu_tanh_slope_f32(float x)
{
    float s = sigmoid_f32(1.595769122f * (x + 0.044715f * x * x * x));
    return s + x * s * (1.0f - s) * 1.595769122f * (1.0f + 0.134145f * x * x);
}
static inline double gelu_tanh_slope_f64(double x)
{
    double s = sigmoid_f64(1.59576912160573071176 * (x + 0.044715 * x * x * x));
    return s + x * s * (1 - s) * 1.59576912160573071176 * (1 + 0.134145 * x * x);
}

static inline float silu_slope_f32(float x)
{
    float s = sigmoid_f32(x);
    return s * (1.0f + x * (1.0f - s));
}
static inline double silu_slope_f64(double x)
{
    double s = sigmoid_f64(x);
    return s * (1 + x * (1 - s));
}

/* max(x, 0) + log(1 + exp(-|x|)), corrected as in log1p; the argument is never at an edge. */
static inline float softplus_f32(float x)
{
    float small = exp_f32(-fabsf(x)), u = 1.0f + small;
    float y = log_inside_f32(u) + (small - (u - 1.0f)) / u; /* NaN by the last term */
    return (x > 0.0f ? x : 0.0f) + y;
}
static inline double softplus_f64(double x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }

#endif
