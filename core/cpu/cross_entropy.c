/* cross_entropy.c - the loss of each row of logits, and its derivative, in one pass each. */
#include "cpu.h"
#include "kernels.h"
#include "rows.h"

typedef struct {
    const mosaic_softmax_kernels *kernels;
    int64_t k, ignore;
    double scale; /* of every row's gradient */
} call;

/* t as operand of mosaic_rows beside the logits: its last axis is its row. */
static mosaic_tensor with_axis(const mosaic_tensor *t)
{
    mosaic_tensor view = *t;
    view.size[view.ndim] = 1;
    view.stride[view.ndim++] = 1;
    return view;
}

static bool is_wide(const mosaic_tensor *stats) { return stats->dtype == MOSAIC_DTYPE_F64; }

/* A contiguous copy of g, the same for all rows where it is a scalar. */
static mosaic_status spread(mosaic_tensor *out, const mosaic_tensor *g,
                            const mosaic_tensor *targets, int dtype)
{
    mosaic_tensor each = mosaic_expanded(g, targets->ndim, targets->size);
    MOSAIC_TRY(mosaic_output(out, "cross_entropy", dtype, targets->ndim, targets->size,
                             &mosaic_cpu_device));
    return mosaic_cpu_copy(out, &each);
}

/* ---- forward -------------------------------------------------------------------------------- */

/* data: loss, stats (max, log of the sum of exp(x - max)), logits, targets. */
#define DEFINE_FORWARD(type, suffix)                                                               \
    static void forward_rows_##suffix(void *context, int64_t first, int64_t rows,                  \
                                      char *const *data, const int64_t *step)                      \
    {                                                                                              \
        const call *c = context;                                                                   \
        (void)first;                                                                               \
        for (int64_t r = 0; r < rows; r++) {                                                       \
            type *loss = (type *)data[0] + r * step[0], *stats = (type *)data[1] + r * step[1];    \
            const type *logits = (const type *)data[2] + r * step[2];                              \
            int64_t target = ((const int64_t *)data[3])[r * step[3]];                              \
            stats[1] = c->kernels->logsumexp_##suffix(c->k, logits, stats);                        \
            *loss = target == c->ignore ? 0 : stats[1] + (stats[0] - logits[target - 1]);          \
        }                                                                                          \
    }
DEFINE_FORWARD(float, f32)
DEFINE_FORWARD(double, f64)

static int64_t kept_rows(const mosaic_tensor *targets, int64_t ignore)
{
    int64_t kept = mosaic_tensor_numel(targets);
    const int64_t *t = mosaic_data(targets);
    for (int64_t i = 0, count = kept; i < count; i++) kept -= t[i] == ignore;
    return kept;
}

static double total(const mosaic_tensor *losses)
{
    double sum = 0;
    int64_t count = mosaic_tensor_numel(losses);
    for (int64_t i = 0; i < count; i++)
        sum += mosaic_element_read(mosaic_data(losses), i, losses->dtype);
    return sum;
}

static mosaic_status forward(const mosaic_tensor *losses, const mosaic_tensor *stats,
                             const mosaic_tensor *logits, const mosaic_tensor *targets, call *c)
{
    mosaic_tensor loss = with_axis(losses), target = with_axis(targets);
    const mosaic_tensor *tensors[] = {&loss, stats, logits, &target};
    int64_t grain = mosaic_rows_grain(mosaic_tensor_numel(targets), c->k);
    return mosaic_rows(4, 2, tensors, grain, is_wide(stats) ? forward_rows_f64 : forward_rows_f32,
                       c);
}

mosaic_status mosaic_cpu_cross_entropy(const mosaic_tensor *loss, const mosaic_tensor *stats,
                                       const mosaic_tensor *logits, const mosaic_tensor *targets,
                                       mosaic_reduction reduction, int64_t ignore)
{
    call c = {mosaic_cpu()->softmax, logits->size[logits->ndim - 1], ignore, 1};
    if (reduction == MOSAIC_REDUCTION_NONE) return forward(loss, stats, logits, targets, &c);
    mosaic_tensor losses = {0}, packed = {0};
    mosaic_status status = mosaic_output(&losses, "cross_entropy", stats->dtype, targets->ndim,
                                         targets->size, &mosaic_cpu_device);
    if (!status) status = spread(&packed, targets, targets, MOSAIC_DTYPE_I64);
    if (!status) status = forward(&losses, stats, logits, &packed, &c);
    if (!status) {
        double sum = total(&losses), kept = (double)kept_rows(&packed, ignore);
        mosaic_element_write(mosaic_data(loss), 0, loss->dtype,
                             reduction == MOSAIC_REDUCTION_MEAN ? sum / kept : sum);
    }
    mosaic_tensor_clear(&losses);
    mosaic_tensor_clear(&packed);
    return status;
}

/* ---- backward ------------------------------------------------------------------------------- */

/* data: dlogits, logits, g, stats, targets. */
#define DEFINE_BACKWARD(type, suffix)                                                              \
    static void backward_rows_##suffix(void *context, int64_t first, int64_t rows,                 \
                                       char *const *data, const int64_t *step)                     \
    {                                                                                              \
        const call *c = context;                                                                   \
        (void)first;                                                                               \
        for (int64_t r = 0; r < rows; r++) {                                                       \
            type *dlogits = (type *)data[0] + r * step[0];                                         \
            const type *logits = (const type *)data[1] + r * step[1];                              \
            const type *stats = (const type *)data[3] + r * step[3];                               \
            int64_t target = ((const int64_t *)data[4])[r * step[4]];                              \
            type g = (type)c->scale * ((const type *)data[2])[r * step[2]];                        \
            if (target == c->ignore) {                                                             \
                memset(dlogits, 0, (size_t)c->k * sizeof *dlogits);                                \
                continue;                                                                          \
            }                                                                                      \
            c->kernels->weigh_##suffix(c->k, dlogits, logits, stats[0], stats[1], g);              \
            dlogits[target - 1] -= g;                                                              \
        }                                                                                          \
    }
DEFINE_BACKWARD(float, f32)
DEFINE_BACKWARD(double, f64)

mosaic_status mosaic_cpu_cross_entropy_backward(const mosaic_tensor *dlogits,
                                                const mosaic_tensor *g, const mosaic_tensor *logits,
                                                const mosaic_tensor *targets,
                                                const mosaic_tensor *stats,
                                                mosaic_reduction reduction, int64_t ignore)
{
    call c = {mosaic_cpu()->softmax, logits->size[logits->ndim - 1], ignore, 1};
    mosaic_tensor each = {0}, packed = {0};
    mosaic_status status = spread(&each, g, targets, stats->dtype);
    if (!status) status = spread(&packed, targets, targets, MOSAIC_DTYPE_I64);
    if (!status) {
        if (reduction == MOSAIC_REDUCTION_MEAN) c.scale = 1.0 / (double)kept_rows(&packed, ignore);
        mosaic_tensor row_g = with_axis(&each), target = with_axis(&packed);
        const mosaic_tensor *tensors[] = {dlogits, logits, &row_g, stats, &target};
        status = mosaic_rows(5, 1, tensors, mosaic_rows_grain(mosaic_tensor_numel(targets), c.k),
                             is_wide(stats) ? backward_rows_f64 : backward_rows_f32, &c);
    }
    mosaic_tensor_clear(&each);
    mosaic_tensor_clear(&packed);
    return status;
}
