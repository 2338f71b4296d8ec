/* dtype.c - names, sizes, and single elements as doubles. */
#include "dtype.h"

const char *mosaic_dtype_name(mosaic_dtype dtype)
{
    static const char *const names[] = {"f32", "f64", "bf16", "f16", "i32", "i64", "u8"};
    return (unsigned)dtype < MOSAIC_DTYPE_COUNT ? names[dtype] : "?";
}

int64_t mosaic_dtype_bytes(mosaic_dtype dtype)
{
    static const int64_t bytes[] = {4, 8, 2, 2, 4, 8, 1};
    return (unsigned)dtype < MOSAIC_DTYPE_COUNT ? bytes[dtype] : 0;
}

double mosaic_element_read(const void *data, int64_t i, int dtype)
{
    switch ((mosaic_dtype)dtype) {
    case MOSAIC_DTYPE_F32: return ((const float *)data)[i];
    case MOSAIC_DTYPE_F64: return ((const double *)data)[i];
    case MOSAIC_DTYPE_BF16: return mosaic_bf16_to_f32(((const uint16_t *)data)[i]);
    case MOSAIC_DTYPE_F16: return mosaic_f16_to_f32(((const uint16_t *)data)[i]);
    case MOSAIC_DTYPE_I32: return ((const int32_t *)data)[i];
    case MOSAIC_DTYPE_I64: return (double)((const int64_t *)data)[i];
    case MOSAIC_DTYPE_U8: return ((const uint8_t *)data)[i];
    case MOSAIC_DTYPE_COUNT: break;
    }
    return 0;
}

void mosaic_element_write(void *data, int64_t i, int dtype, double value)
{
    switch ((mosaic_dtype)dtype) {
    case MOSAIC_DTYPE_F32: ((float *)data)[i] = (float)value; break;
    case MOSAIC_DTYPE_F64: ((double *)data)[i] = value; break;
    case MOSAIC_DTYPE_BF16: ((uint16_t *)data)[i] = mosaic_f32_to_bf16((float)value); break;
    case MOSAIC_DTYPE_F16: ((uint16_t *)data)[i] = mosaic_f32_to_f16((float)value); break;
    case MOSAIC_DTYPE_I32: ((int32_t *)data)[i] = (int32_t)value; break;
    case MOSAIC_DTYPE_I64: ((int64_t *)data)[i] = (int64_t)value; break;
    case MOSAIC_DTYPE_U8: ((uint8_t *)data)[i] = (uint8_t)value; break;
    case MOSAIC_DTYPE_COUNT: break;
    }
}
