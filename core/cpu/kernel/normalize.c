/* normalize.c - rows of layer_norm and rms_norm. Each row is read from memory once; the passes
 * after the first find it in the nearest cache. */
#include "../kernels.h"

#define REAL float
#define BITS int32_t
#define NAME(x) x##_f32
#define root_f32 sqrtf
#include "normalize_rows.h"
#undef REAL
#undef BITS
#undef NAME

#define REAL double
#define BITS int64_t
#define NAME(x) x##_f64
#define root_f64 sqrt
#include "normalize_rows.h"

const mosaic_normalize_kernels MOSAIC_KERNELS(normalize) = {
    .forward_f32 = forward_f32,
    .forward_f64 = forward_f64,
    .add_forward_f32 = add_forward_f32,
    .add_forward_f64 = add_forward_f64,
    .backward_f32 = backward_f32,
    .backward_f64 = backward_f64,
};
