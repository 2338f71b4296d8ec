/* softmax.c - softmax and log_softmax, row by row along any axis. */
#include "cpu.h"
#include "kernels.h"
#include "rows.h"

typedef struct {
    const mosaic_softmax_kernels *kernels;
    int64_t n;
    bool log, wide; /* wide: f64 */
} softmax;

static softmax make_softmax(const mosaic_tensor *a, bool log)
{
    int64_t n = a->ndim ? a->size[a->ndim - 1] : 1;
    return (softmax){mosaic_cpu()->softmax, n, log, a->dtype == MOSAIC_DTYPE_F64};
}

static mosaic_status walk(int operands, mosaic_tensor *views, mosaic_rows_body body, softmax *s)
{
    const mosaic_tensor *tensors[MOSAIC_ROWS_OPERANDS];
    for (int i = 0; i < operands; i++) tensors[i] = &views[i];
    int64_t rows = mosaic_tensor_numel(&views[0]) / (s->n ? s->n : 1);
    return mosaic_rows(operands, 1, tensors, mosaic_rows_grain(rows, s->n), body, s);
}

static void forward_rows(void *context, int64_t first, int64_t rows, char *const *data,
                         const int64_t *step)
{
    const softmax *s = context;
    (void)first;
    for (int64_t r = 0; r < rows; r++)
        if (s->wide)
            s->kernels->forward_f64(s->n, (double *)data[0] + r * step[0],
                                    (const double *)data[1] + r * step[1], s->log);
        else
            s->kernels->forward_f32(s->n, (float *)data[0] + r * step[0],
                                    (const float *)data[1] + r * step[1], s->log);
}

mosaic_status mosaic_cpu_softmax(const mosaic_tensor *out, const mosaic_tensor *a, int axis,
                                 bool log)
{
    mosaic_tensor views[] = {mosaic_axis_last(out, axis), mosaic_axis_last(a, axis)};
    softmax s = make_softmax(&views[0], log);
    return walk(2, views, forward_rows, &s);
}

static void backward_rows(void *context, int64_t first, int64_t rows, char *const *data,
                          const int64_t *step)
{
    const softmax *s = context;
    (void)first;
    for (int64_t r = 0; r < rows; r++)
        if (s->wide)
            s->kernels->backward_f64(s->n, (double *)data[0] + r * step[0],
                                     (const double *)data[1] + r * step[1],
                                     (const double *)data[2] + r * step[2], s->log);
        else
            s->kernels->backward_f32(s->n, (float *)data[0] + r * step[0],
                                     (const float *)data[1] + r * step[1],
                                     (const float *)data[2] + r * step[2], s->log);
}

mosaic_status mosaic_cpu_softmax_backward(const mosaic_tensor *dx, const mosaic_tensor *g,
                                          const mosaic_tensor *y, int axis, bool log)
{
    mosaic_tensor views[] = {mosaic_axis_last(dx, axis), mosaic_axis_last(g, axis),
                             mosaic_axis_last(y, axis)};
    softmax s = make_softmax(&views[0], log);
    return walk(3, views, backward_rows, &s);
}
