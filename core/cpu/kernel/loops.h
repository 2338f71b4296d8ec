/* loops.h - what the elementwise kernels are written with. */
#ifndef MOSAIC_KERNEL_LOOPS_H
#define MOSAIC_KERNEL_LOOPS_H
#include <stdint.h>

typedef float f32;
typedef double f64;
typedef int64_t i64;
typedef uint8_t u8;

/* Before a loop: elements do not depend on one another. Results may stand where an operand stood
 * (in-place forms), so the pointers cannot be `restrict`. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#pragma clang diagnostic ignored "-Wpass-failed" /* some loops call libm and stay as they are */
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

/* A parameter in the kernel's type. Integers saturate; NaN is 0. */
static inline f32 param_f32(double x) { return (f32)x; }
static inline f64 param_f64(double x) { return x; }
static inline i64 param_i64(double x)
{
    if (x >= 0x1p63) return INT64_MAX;
    return x >= -0x1p63 ? (i64)x : x < 0 ? INT64_MIN : 0;
}

/* Integer arithmetic wraps around. */
static inline i64 add_i64(i64 a, i64 b) { return (i64)((uint64_t)a + (uint64_t)b); }
static inline i64 sub_i64(i64 a, i64 b) { return (i64)((uint64_t)a - (uint64_t)b); }
static inline i64 mul_i64(i64 a, i64 b) { return (i64)((uint64_t)a * (uint64_t)b); }

#endif
