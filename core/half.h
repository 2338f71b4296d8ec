/* half.h - bf16 and f16 as bits: conversions from and to float. */
#ifndef MOSAIC_HALF_H
#define MOSAIC_HALF_H
#include <stdint.h>
#include <string.h>

#ifndef MOSAIC_INLINE /* devices with kernels of their own say more */
#define MOSAIC_INLINE static inline
#endif

MOSAIC_INLINE float mosaic_bf16_to_f32(uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Rounds to nearest even; NaN stays NaN. */
MOSAIC_INLINE uint16_t mosaic_f32_to_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    uint32_t quiet = (bits >> 16) | 0x40u;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

MOSAIC_INLINE float mosaic_f16_to_f32(uint16_t h)
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
MOSAIC_INLINE uint16_t mosaic_f32_to_f16(float x)
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

#endif
