/* steps.h - what the operations of a mask's program do: as core/cpu/kernel/program.c, each rounded
 * by itself. exp, log, tanh, sin, cos and pow are CUDA's and may differ in the last bits. */
#ifndef MOSAIC_ATTENTION_STEPS_H
#define MOSAIC_ATTENTION_STEPS_H
#include "mask.h"

#define MOSAIC_STEP(name, parameters, result)                                                      \
    MOSAIC_DEVICE double step_##name parameters { return result; }

MOSAIC_STEP(neg, (double a), -a)
MOSAIC_STEP(abs, (double a), fabs(a))
MOSAIC_STEP(floor, (double a), floor(a))
MOSAIC_STEP(ceil, (double a), ceil(a))
MOSAIC_STEP(sqrt, (double a), sqrt(a))
MOSAIC_STEP(exp, (double a), exp(a))
MOSAIC_STEP(log, (double a), log(a))
MOSAIC_STEP(tanh, (double a), tanh(a))
MOSAIC_STEP(sin, (double a), sin(a))
MOSAIC_STEP(cos, (double a), cos(a))
MOSAIC_STEP(not_, (double a), a == 0)
MOSAIC_STEP(within, (double a, double b), a >= 1 && a <= b && a == floor(a))
MOSAIC_STEP(add, (double a, double b), __dadd_rn(a, b))
MOSAIC_STEP(sub, (double a, double b), __dsub_rn(a, b))
MOSAIC_STEP(mul, (double a, double b), __dmul_rn(a, b))
MOSAIC_STEP(div, (double a, double b), a / b)
MOSAIC_STEP(mod, (double a, double b), __dsub_rn(a, __dmul_rn(floor(a / b), b)))
MOSAIC_STEP(pow, (double a, double b), pow(a, b))
MOSAIC_STEP(min, (double a, double b), a < b ? a : b)
MOSAIC_STEP(max, (double a, double b), a > b ? a : b)
MOSAIC_STEP(lt, (double a, double b), a < b)
MOSAIC_STEP(le, (double a, double b), a <= b)
MOSAIC_STEP(eq, (double a, double b), a == b)
MOSAIC_STEP(and_, (double a, double b), a != 0 && b != 0)
MOSAIC_STEP(or_, (double a, double b), a != 0 || b != 0)
MOSAIC_STEP(select, (double a, double b, double c), a != 0 ? b : c)

/* Element `index` of a table, from 1; any where there is none. */
MOSAIC_DEVICE double step_lookup(const double *table, int64_t size, double index)
{
    double last = (double)size;
    index = index >= 1 ? index : 1; /* NaN too */
    return table[(int64_t)(index < last ? index : last) - 1];
}

#endif
