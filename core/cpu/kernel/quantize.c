/* quantize.c - rows as bytes with a scale, and back.
 *
 * Encoding what was decoded gives the same bytes, because decoded values are exact in the dtype
 * that they had: an int8 scale has 17 bits, so that its product with 7 more fits f32, and for rows
 * of bf16 and f16, as every fp8 scale, is a power of two (a mantissa of its own would not make an
 * fp8 number more precise). */
#include <math.h>
#include <string.h>

#include "../kernels.h"

#define SMALLEST 0x1p-126 /* scale: products stay exact; rows below 2^-127 become 0 */

/* largest / 127, rounded up to so many bits. */
static float int8_scale(double largest, int bits)
{
    int exponent;
    double fraction = frexp(largest / 127, &exponent);
    return (float)fmax(ldexp(ceil(ldexp(fraction, bits)), exponent - bits), SMALLEST);
}

/* The smallest power of two that brings `largest`, rounded to 4 bits, to 448 = 14/16 2^9 or less.
 */
static float fp8_scale(double largest)
{
    int exponent;
    double sixteenths = rint(frexp(fmax(largest, SMALLEST), &exponent) * 16);
    return (float)fmax(ldexp(1, exponent - 9 + (sixteenths > 14)), SMALLEST);
}

static inline float fp8_value(uint8_t code)
{
    int32_t magnitude = code & 0x7f, bits = (magnitude << 20) + (120 << 23);
    float large, small = (float)magnitude * 0x1p-9f;
    memcpy(&large, &bits, sizeof large);
    float value = magnitude < 8 ? small : magnitude == 0x7f ? NAN : large;
    return code & 0x80 ? -value : value;
}

#define REAL float
#define BITS int32_t
#define MANTISSA 23
#define NAME(x) x##_f32
#include "quantize_rows.h"
#undef REAL
#undef BITS
#undef MANTISSA
#undef NAME

#define REAL double
#define BITS int64_t
#define MANTISSA 52
#define NAME(x) x##_f64
#include "quantize_rows.h"

const mosaic_quantize_kernels MOSAIC_KERNELS(quantize) = {
    .encode_f32 = encode_f32,
    .encode_f64 = encode_f64,
    .decode_f32 = decode_f32,
    .decode_f64 = decode_f64,
};
