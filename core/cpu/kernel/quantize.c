/* quantize.c - rows as bytes with a scale, and back.
 *
 * Encoding what was decoded gives the same bytes, because decoded values are exact in the dtype
 * that they had: an int8 scale has 17 bits, so that its product with 7 more fits f32, and for rows
 * of bf16 and f16, as every fp8 scale, is a power of two (a mantissa of its own would not make an
 * fp8 number more precise). */
#include "../../row_format.h"
#include "../kernels.h"

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
