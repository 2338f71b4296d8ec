/* ternary.c - three elements in, one out. */
#include "../kernels.h"
#include "loops.h"

/* y[i] = expression of a (of type A), b, c, alpha */
#define TERNARY(name, A, T, expression)                                                            \
    static void name##_##T##_map(int64_t count, void *out, const void *const *in,                  \
                                 const int64_t *step, const double *param)                         \
    {                                                                                              \
        const A *first = in[0];                                                                    \
        const T *second = in[1], *third = in[2], alpha = param_##T(param[0]);                      \
        T *to = out;                                                                               \
        (void)step, (void)alpha;                                                                   \
        INDEPENDENT for (int64_t i = 0; i < count; i++)                                            \
        {                                                                                          \
            const A a = first[i];                                                                  \
            const T b = second[i], c = third[i];                                                   \
            to[i] = (expression);                                                                  \
        }                                                                                          \
    }

#define FLOATS(name, expression)                                                                   \
    TERNARY(name, f32, f32, expression)                                                            \
    TERNARY(name, f64, f64, expression)

TERNARY(where, u8, f32, a ? b : c)
TERNARY(where, u8, f64, a ? b : c)
TERNARY(where, u8, i64, a ? b : c)
/* From the nearer end, so that both ends come out exactly. */
FLOATS(lerp, c < (f32)0.5 ? a + c * (b - a) : b - (1 - c) * (b - a))
FLOATS(addcmul, a + alpha * b * c)
FLOATS(addcdiv, a + alpha * b / c)

#define ROW(name)                                                                                  \
    {                                                                                              \
        name##_f32_map, name##_f64_map, NULL                                                       \
    }

const mosaic_ternary_kernels MOSAIC_KERNELS(ternary) = {
    .of =
        {
            [MOSAIC_TERNARY_WHERE] = {where_f32_map, where_f64_map, where_i64_map},
            [MOSAIC_TERNARY_LERP] = ROW(lerp),
            [MOSAIC_TERNARY_ADDCMUL] = ROW(addcmul),
            [MOSAIC_TERNARY_ADDCDIV] = ROW(addcdiv),
        },
};
