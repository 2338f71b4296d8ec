/* schedule_free.c - the optimizer's step on a run of elements: each is read and written once, where
 * ten operations one after the other would do it twenty times. */
#include <math.h>

#include "../kernels.h"
#include "loops.h"

#define sqrt_f32 sqrtf
#define sqrt_f64 sqrt

#define STEP(T)                                                                                    \
    static void step_##T(int64_t count, T *y, T *z, T *square, const T *g,                         \
                         const mosaic_schedule_free_options *o)                                    \
    {                                                                                              \
        const T beta = (T)o->beta, rest = (T)(1 - o->beta), share = (T)o->share, lr = (T)o->lr;    \
        const T scale = (T)(1 / o->correction), eps = (T)o->eps, decay = (T)o->decay;              \
        const T ahead = (T)o->ahead;                                                               \
        INDEPENDENT for (int64_t i = 0; i < count; i++)                                            \
        {                                                                                          \
            const T at = y[i], slope = g[i], mean = beta * square[i] + rest * slope * slope;       \
            const T h = slope / (sqrt_##T(mean * scale) + eps) + decay * at;                       \
            square[i] = mean;                                                                      \
            y[i] = at + share * (z[i] - at) + ahead * h;                                           \
            z[i] -= lr * h;                                                                        \
        }                                                                                          \
    }
STEP(f32)
STEP(f64)

const mosaic_schedule_free_kernels MOSAIC_KERNELS(schedule_free) = {step_f32, step_f64};
