/* element.h - elements of any dtype as float, double or int64_t, and back. */
#ifndef MOSAIC_CUDA_ELEMENT_H
#define MOSAIC_CUDA_ELEMENT_H
#include "cuda.h"
#include "half.h"

template <class T> MOSAIC_INLINE T mosaic_load(const char *at, int dtype)
{
    switch (dtype) {
    case MOSAIC_DTYPE_F32: return (T) * (const float *)at;
    case MOSAIC_DTYPE_F64: return (T) * (const double *)at;
    case MOSAIC_DTYPE_BF16: return (T)mosaic_bf16_to_f32(*(const uint16_t *)at);
    case MOSAIC_DTYPE_F16: return (T)mosaic_float_of_f16(*(const uint16_t *)at);
    case MOSAIC_DTYPE_I32: return (T) * (const int32_t *)at;
    case MOSAIC_DTYPE_I64: return (T) * (const int64_t *)at;
    default: return (T) * (const uint8_t *)at;
    }
}

template <class T, class E, int N>
MOSAIC_INLINE void mosaic_load_plain(T (&x)[N], const char *const (&at)[N])
{
    for (int k = 0; k < N; k++) x[k] = (T) * (const E *)at[k];
}

/* Many elements at once: what they are is asked once, so all loads are on their way together. */
template <class T, int N>
MOSAIC_INLINE void mosaic_load_each(T (&x)[N], const char *const (&at)[N], int dtype)
{
    switch (dtype) {
    case MOSAIC_DTYPE_F32: mosaic_load_plain<T, float>(x, at); break;
    case MOSAIC_DTYPE_F64: mosaic_load_plain<T, double>(x, at); break;
    case MOSAIC_DTYPE_BF16:
        for (int k = 0; k < N; k++) x[k] = (T)mosaic_bf16_to_f32(*(const uint16_t *)at[k]);
        break;
    case MOSAIC_DTYPE_F16:
        for (int k = 0; k < N; k++) x[k] = (T)mosaic_float_of_f16(*(const uint16_t *)at[k]);
        break;
    case MOSAIC_DTYPE_I32: mosaic_load_plain<T, int32_t>(x, at); break;
    case MOSAIC_DTYPE_I64: mosaic_load_plain<T, int64_t>(x, at); break;
    default: mosaic_load_plain<T, uint8_t>(x, at); break;
    }
}

/* Floats to integers truncate and saturate, NaN is 0; integers to narrower ones wrap around. */
template <class T> MOSAIC_INLINE int64_t mosaic_whole(T x, double low, double high)
{
    double wide = (double)x;
    if (wide != wide) return 0;
    if (wide >= high) return high >= 0x1p63 ? INT64_MAX : (int64_t)high;
    return wide <= low ? (int64_t)low : (int64_t)wide;
}
template <> __host__ __device__ inline int64_t mosaic_whole(int64_t x, double, double) { return x; }

template <class T> MOSAIC_INLINE void mosaic_store(char *at, int dtype, T x)
{
    switch (dtype) {
    case MOSAIC_DTYPE_F32: *(float *)at = (float)x; break;
    case MOSAIC_DTYPE_F64: *(double *)at = (double)x; break;
    case MOSAIC_DTYPE_BF16: *(uint16_t *)at = mosaic_bf16_of((float)x); break;
    case MOSAIC_DTYPE_F16: *(uint16_t *)at = mosaic_f16_of((float)x); break;
    case MOSAIC_DTYPE_I32:
        *(int32_t *)at = (int32_t)mosaic_whole<T>(x, -2147483648.0, 2147483647.0);
        break;
    case MOSAIC_DTYPE_I64: *(int64_t *)at = mosaic_whole<T>(x, -0x1p63, 0x1p63); break;
    default: *(uint8_t *)at = (uint8_t)mosaic_whole<T>(x, 0, 255); break;
    }
}

/* The widest that a thread moves at once. */
struct __align__(16) mosaic_bits_128 { uint64_t half[2]; };

/* An element of so many bytes as it is, NaN's payload too. */
MOSAIC_INLINE void mosaic_copy_bits(char *to, const char *from, int64_t bytes)
{
    switch (bytes) {
    case 8: *(uint64_t *)to = *(const uint64_t *)from; break;
    case 4: *(uint32_t *)to = *(const uint32_t *)from; break;
    case 2: *(uint16_t *)to = *(const uint16_t *)from; break;
    default: *to = *from; break;
    }
}

#endif
