/* convert.c - elements from one type to another: a kernel for each pair. */
#include "../../dtype.h"
#include "../kernels.h"
#include "loops.h"

typedef uint16_t bf16;
typedef uint16_t f16;
typedef int32_t i32;

/* Loading widens: halves to float, integers to i64. */
static inline float load_f32(f32 x) { return x; }
static inline double load_f64(f64 x) { return x; }
static inline float load_bf16(bf16 x) { return mosaic_bf16_to_f32(x); }
static inline float load_f16(f16 x) { return mosaic_f16_to_f32(x); }
static inline i64 load_i32(i32 x) { return x; }
static inline i64 load_i64(i64 x) { return x; }
static inline i64 load_u8(u8 x) { return x; }

/* Floats to integers truncate and saturate, NaN is 0; integers to narrower ones wrap around. */
static inline i32 i32_from_float(double x)
{
    x = x < 2147483647.0 ? x : x != x ? 0 : 2147483647.0;
    return (i32)(x > -2147483648.0 ? x : -2147483648.0);
}
static inline u8 u8_from_float(double x)
{
    x = x < 255.0 ? x : x != x ? 0 : 255.0;
    return (u8)(i32)(x > 0 ? x : 0);
}
static inline i32 i32_from_integer(i64 x) { return (i32)x; }
static inline i64 i64_from_integer(i64 x) { return x; }
static inline u8 u8_from_integer(i64 x) { return (u8)x; }

#define STORE_f32(x) ((f32)(x))
#define STORE_f64(x) ((f64)(x))
#define STORE_bf16(x) mosaic_f32_to_bf16((f32)(x))
#define STORE_f16(x) mosaic_f32_to_f16((f32)(x))
#define STORE_i32(x) _Generic((x), i64 : i32_from_integer, default : i32_from_float)(x)
#define STORE_i64(x) _Generic((x), i64 : i64_from_integer, default : param_i64)(x)
#define STORE_u8(x) _Generic((x), i64 : u8_from_integer, default : u8_from_float)(x)

/* Contiguous, from one value, or with any steps. */
#define LOOPS(TO, FROM, VALUE_OF)                                                                  \
    {                                                                                              \
        if (to_step == sizeof(TO) && from_step == sizeof(FROM)) {                                  \
            TO *restrict y = to;                                                                   \
            const FROM *restrict x = from;                                                         \
            for (int64_t i = 0; i < count; i++) y[i] = VALUE_OF(x[i]);                             \
        } else if (to_step == sizeof(TO) && from_step == 0) {                                      \
            TO *y = to, value = VALUE_OF(*(const FROM *)from);                                     \
            for (int64_t i = 0; i < count; i++) y[i] = value;                                      \
        } else {                                                                                   \
            char *y = to;                                                                          \
            const char *x = from;                                                                  \
            for (; count--; y += to_step, x += from_step)                                          \
                *(TO *)(void *)y = VALUE_OF(*(const FROM *)(const void *)x);                       \
        }                                                                                          \
    }

#define CONVERT(TO, FROM)                                                                          \
    static inline TO TO##_of_##FROM(FROM x) { return STORE_##TO(load_##FROM(x)); }                 \
    static void TO##_from_##FROM(int64_t count, void *to, int64_t to_step, const void *from,       \
                                 int64_t from_step) LOOPS(TO, FROM, TO##_of_##FROM)

/* The same type: bits move as they are. */
#define COPY(T)                                                                                    \
    static void T##_copy(int64_t count, void *to, int64_t to_step, const void *from,               \
                         int64_t from_step) LOOPS(T, T, )

COPY(f32)
COPY(f64)
COPY(bf16)
COPY(i32)
COPY(i64)
COPY(u8)

#define CONVERT_FLOAT(TO, OTHER, HALF, HALF2)                                                      \
    CONVERT(TO, OTHER)                                                                             \
    CONVERT(TO, HALF)                                                                              \
    CONVERT(TO, HALF2)                                                                             \
    CONVERT(TO, i32)                                                                               \
    CONVERT(TO, i64)                                                                               \
    CONVERT(TO, u8)
CONVERT_FLOAT(f32, f64, bf16, f16)
CONVERT_FLOAT(f64, f32, bf16, f16)
CONVERT_FLOAT(bf16, f32, f64, f16)
CONVERT_FLOAT(f16, f32, f64, bf16)

#define CONVERT_INTEGER(TO, OTHER, OTHER2)                                                         \
    CONVERT(TO, f32)                                                                               \
    CONVERT(TO, f64)                                                                               \
    CONVERT(TO, bf16)                                                                              \
    CONVERT(TO, f16)                                                                               \
    CONVERT(TO, OTHER)                                                                             \
    CONVERT(TO, OTHER2)
CONVERT_INTEGER(i32, i64, u8)
CONVERT_INTEGER(i64, i32, u8)
CONVERT_INTEGER(u8, i32, i64)

/* Columns in the order of mosaic_dtype: f32, f64, bf16, f16, i32, i64, u8. */
const mosaic_convert_kernels MOSAIC_KERNELS(convert) = {
    .of =
        {
            [MOSAIC_DTYPE_F32] = {f32_copy, f32_from_f64, f32_from_bf16, f32_from_f16, f32_from_i32,
                                  f32_from_i64, f32_from_u8},
            [MOSAIC_DTYPE_F64] = {f64_from_f32, f64_copy, f64_from_bf16, f64_from_f16, f64_from_i32,
                                  f64_from_i64, f64_from_u8},
            [MOSAIC_DTYPE_BF16] = {bf16_from_f32, bf16_from_f64, bf16_copy, bf16_from_f16,
                                   bf16_from_i32, bf16_from_i64, bf16_from_u8},
            [MOSAIC_DTYPE_F16] = {f16_from_f32, f16_from_f64, f16_from_bf16, bf16_copy,
                                  f16_from_i32, f16_from_i64, f16_from_u8},
            [MOSAIC_DTYPE_I32] = {i32_from_f32, i32_from_f64, i32_from_bf16, i32_from_f16, i32_copy,
                                  i32_from_i64, i32_from_u8},
            [MOSAIC_DTYPE_I64] = {i64_from_f32, i64_from_f64, i64_from_bf16, i64_from_f16,
                                  i64_from_i32, i64_copy, i64_from_u8},
            [MOSAIC_DTYPE_U8] = {u8_from_f32, u8_from_f64, u8_from_bf16, u8_from_f16, u8_from_i32,
                                 u8_from_i64, u8_copy},
        },
};
