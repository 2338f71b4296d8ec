/* schedule_free.c - the optimizer's step on parameters that lie without gaps, in pieces for
 * threads. */
#include "../parallel.h"
#include "../tensor.h"
#include "cpu.h"
#include "kernels.h"

enum { GRAIN = 8192 }; /* elements: 5 us */

typedef struct {
    char *data[4]; /* of y, z, square, g */
    bool wide;     /* f64 */
    const mosaic_schedule_free_options *options;
} step;

static void run(void *context, int64_t from, int64_t to)
{
    const step *s = context;
    const mosaic_schedule_free_kernels *kernels = mosaic_cpu()->schedule_free;
    void *at[4];
    for (int i = 0; i < 4; i++) at[i] = s->data[i] + from * (s->wide ? 8 : 4);
    if (s->wide)
        kernels->step_f64(to - from, at[0], at[1], at[2], at[3], s->options);
    else
        kernels->step_f32(to - from, at[0], at[1], at[2], at[3], s->options);
}

/* Does every element lie in the same place of each operand, and in no other place of another? */
static bool fits(const mosaic_tensor *const *operands)
{
    int dtype = operands[0]->dtype;
    if (dtype != MOSAIC_DTYPE_F32 && dtype != MOSAIC_DTYPE_F64) return false;
    for (int i = 0; i < 4; i++) {
        if (operands[i]->dtype != dtype || !mosaic_tensor_is_contiguous(operands[i])) return false;
        for (int j = 0; j < i; j++)
            if (mosaic_overlaps(operands[i], operands[j])) return false;
    }
    return true;
}

mosaic_status mosaic_cpu_schedule_free(const mosaic_tensor *y, const mosaic_tensor *z,
                                       const mosaic_tensor *square, const mosaic_tensor *g,
                                       const mosaic_schedule_free_options *options, bool *done)
{
    const mosaic_tensor *operands[] = {y, z, square, g};
    *done = fits(operands);
    if (!*done) return MOSAIC_OK;
    step s = {.wide = y->dtype == MOSAIC_DTYPE_F64, .options = options};
    for (int i = 0; i < 4; i++) s.data[i] = mosaic_data(operands[i]);
    mosaic_parallel(mosaic_tensor_numel(y), GRAIN, run, &s);
    return MOSAIC_OK;
}
