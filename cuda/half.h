/* half.h - bf16 and f16 converted by the device's instructions, one for what takes the host ten.
 * After core/half.h. */
#ifndef MOSAIC_CUDA_HALF_H
#define MOSAIC_CUDA_HALF_H

MOSAIC_INLINE float mosaic_float_of_f16(uint16_t h)
{
#ifdef __CUDA_ARCH__
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
    return x;
#else
    return mosaic_f16_to_f32(h);
#endif
}

MOSAIC_INLINE uint16_t mosaic_f16_of(float x)
{
#ifdef __CUDA_ARCH__
    uint16_t h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
    return h;
#else
    return mosaic_f32_to_f16(x);
#endif
}

MOSAIC_INLINE uint16_t mosaic_bf16_of(float x)
{
#ifdef __CUDA_ARCH__
    uint16_t h;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(x));
    return h;
#else
    return mosaic_f32_to_bf16(x);
#endif
}

#endif
