/* planes.h - f32 numbers as high + middle + low, three numbers of bf16 with 8 bits each: all 24
 * bits, and the exponents of f32, so that no number costs another one its bits. */
#ifndef MOSAIC_ATTENTION_PLANES_H
#define MOSAIC_ATTENTION_PLANES_H
#include <mma.h>

#include "mask.h"

/* 2^k, as near as normal numbers come. */
MOSAIC_DEVICE float power_of_two(int k)
{
    return __int_as_float((127 + max(-126, min(127, k))) << 23);
}

/* What high leaves of x: 16 bits. Of infinity nothing. */
MOSAIC_DEVICE float below_high(float x)
{
    float high = __uint_as_float(__float_as_uint(x) & 0xffff0000u);
    return fabsf(x) == INFINITY ? 0 : x - high;
}

/* The words of the planes for two neighbours. High is cut off, for rounding would make infinity of
 * the largest numbers; a NaN shows in middle, too, where its bits may all be low ones. */
MOSAIC_DEVICE void split_pair(float x, float y, unsigned &high, unsigned &middle, unsigned &low)
{
    float dx = below_high(x), dy = below_high(y);
    high = __float_as_uint(x) >> 16 | (__float_as_uint(y) & 0xffff0000u);
    middle = pack_bf16(dx, dy);
    low = pack_bf16(dx - bf16_to_float((unsigned short)middle),
                    dy - bf16_to_float((unsigned short)(middle >> 16)));
}

#endif
