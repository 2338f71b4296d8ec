/* dtype.h - element types and the conversions between one element's bytes and a double. */
#ifndef MOSAIC_DTYPE_H
#define MOSAIC_DTYPE_H
#include <string.h>

#include "mosaic.h"

static inline bool mosaic_dtype_is_float(int dtype) { return dtype <= MOSAIC_DTYPE_F16; }
static inline bool mosaic_dtype_is_half(int dtype)
{
    return dtype == MOSAIC_DTYPE_BF16 || dtype == MOSAIC_DTYPE_F16;
}
/* The type that sums, scores and statistics of dtype are kept in: f64 for f64, f32 for the other
 * floats. */
static inline mosaic_dtype mosaic_dtype_accumulator(int dtype)
{
    return dtype == MOSAIC_DTYPE_F64 ? MOSAIC_DTYPE_F64 : MOSAIC_DTYPE_F32;
}

static inline float mosaic_bf16_to_f32(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Rounds to nearest even; NaN stays NaN. */
static inline uint16_t mosaic_f32_to_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    uint32_t quiet = (bits >> 16) | 0x40u;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

static inline float mosaic_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, magnitude = h & 0x7fffu, bits;
    float x;
    if (magnitude >= 0x7c00u) { /* infinity, NaN */
        bits = sign | 0x7f800000u | (magnitude & 0x3ffu) << 13;
        memcpy(&x, &bits, sizeof x);
        return x;
    }
    bits = magnitude << 13; /* a number 2^112 too small, subnormals included */
    memcpy(&x, &bits, sizeof x);
    x *= 0x1p112f;
    return sign ? -x : x;
}

/* Rounds to nearest even; beyond 65504 is infinity; NaN stays NaN. */
static inline uint16_t mosaic_f32_to_f16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { /* subnormal: let the FPU align and round to 2^-24 */
        float aligned;
        memcpy(&aligned, &magnitude, sizeof aligned);
        aligned += 0.5f;
        memcpy(&magnitude, &aligned, sizeof magnitude);
        return (uint16_t)(sign | (magnitude - 0x3f000000u));
    }
    magnitude += 0xfffu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | ((magnitude - 0x38000000u) >> 13));
}

double mosaic_element_read(const void *data, int64_t index, int dtype);
void mosaic_element_write(void *data, int64_t index, int dtype, double value);

#endif
