/* row_format.h - the scales of rows that are kept as bytes, and what an fp8 byte stands for. */
#ifndef MOSAIC_ROW_FORMAT_H
#define MOSAIC_ROW_FORMAT_H
#include <math.h>

#include "dtype.h"

#define MOSAIC_ROW_SMALLEST 0x1p-126 /* scale: products stay exact; rows below 2^-127 become 0 */

/* largest / 127, rounded up to so many bits. */
MOSAIC_INLINE float mosaic_int8_scale(double largest, int bits)
{
    int exponent;
    double fraction = frexp(largest / 127, &exponent);
    return (float)fmax(ldexp(ceil(ldexp(fraction, bits)), exponent - bits), MOSAIC_ROW_SMALLEST);
}

/* The smallest power of two that brings `largest`, rounded to 4 bits, to 448 = 14/16 2^9 or less.
 */
MOSAIC_INLINE float mosaic_fp8_scale(double largest)
{
    int exponent;
    double sixteenths = rint(frexp(fmax(largest, MOSAIC_ROW_SMALLEST), &exponent) * 16);
    return (float)fmax(ldexp(1.0, exponent - 9 + (sixteenths > 14)), MOSAIC_ROW_SMALLEST);
}

MOSAIC_INLINE float mosaic_fp8_value(uint8_t code)
{
    int32_t magnitude = code & 0x7f, bits = (magnitude << 20) + (120 << 23);
    float large, small = (float)magnitude * 0x1p-9f;
    memcpy(&large, &bits, sizeof large);
    float value = magnitude < 8 ? small : magnitude == 0x7f ? NAN : large;
    return code & 0x80 ? -value : value;
}

#endif
