/* dtype.h - element types and the conversions between one element's bytes and a double. */
#ifndef MOSAIC_DTYPE_H
#define MOSAIC_DTYPE_H
#include "half.h"
#include "mosaic.h"

MOSAIC_INLINE bool mosaic_dtype_is_float(int dtype) { return dtype <= MOSAIC_DTYPE_F16; }
MOSAIC_INLINE bool mosaic_dtype_is_half(int dtype)
{
    return dtype == MOSAIC_DTYPE_BF16 || dtype == MOSAIC_DTYPE_F16;
}
/* The type that sums, scores and statistics of dtype are kept in: f64 for f64, f32 for the other
 * floats. */
MOSAIC_INLINE mosaic_dtype mosaic_dtype_accumulator(int dtype)
{
    return dtype == MOSAIC_DTYPE_F64 ? MOSAIC_DTYPE_F64 : MOSAIC_DTYPE_F32;
}

double mosaic_element_read(const void *data, int64_t index, int dtype);
void mosaic_element_write(void *data, int64_t index, int dtype, double value);

#endif
