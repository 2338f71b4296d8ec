/* normalize.c - layer_norm and rms_norm over the last axis. */
#include "../parallel.h"
#include "cpu.h"
#include "kernels.h"
#include "rows.h"

enum { ROWS_PER_SUM = 64 /* at least, before dweight and dbias start another partial sum */ };

/* A contiguous copy of v (n) in the type that is computed in; of `value` where v is NULL. */
static mosaic_status vector(mosaic_tensor *out, const mosaic_tensor *v, int dtype, int64_t n,
                            double value)
{
    MOSAIC_TRY(mosaic_output(out, "normalize", dtype, 1, &n, &mosaic_cpu_device));
    return v ? mosaic_cpu_copy(out, v) : mosaic_cpu_fill(out, value);
}

static int64_t row_length(const mosaic_tensor *x) { return x->size[x->ndim - 1]; }

/* ---- forward -------------------------------------------------------------------------------- */

static void forward_rows_f32(void *context, int64_t first, int64_t rows, char *const *data,
                             const int64_t *step)
{
    (void)first;
    mosaic_cpu()->normalize->forward_f32(context, rows, (float *)data[0], step[0], (float *)data[1],
                                         (const float *)data[2], step[2]);
}

static void forward_rows_f64(void *context, int64_t first, int64_t rows, char *const *data,
                             const int64_t *step)
{
    (void)first;
    mosaic_cpu()->normalize->forward_f64(context, rows, (double *)data[0], step[0],
                                         (double *)data[1], (const double *)data[2], step[2]);
}

/* Operands: out, sum, stats, x, y. */
static void add_forward_rows_f32(void *context, int64_t first, int64_t rows, char *const *data,
                                 const int64_t *step)
{
    (void)first;
    float *to[] = {(float *)data[0], (float *)data[1], (float *)data[2]};
    const float *from[] = {(const float *)data[3], (const float *)data[4]};
    mosaic_cpu()->normalize->add_forward_f32(context, rows, to, step, from, step + 3);
}

static void add_forward_rows_f64(void *context, int64_t first, int64_t rows, char *const *data,
                                 const int64_t *step)
{
    (void)first;
    double *to[] = {(double *)data[0], (double *)data[1], (double *)data[2]};
    const double *from[] = {(const double *)data[3], (const double *)data[4]};
    mosaic_cpu()->normalize->add_forward_f64(context, rows, to, step, from, step + 3);
}

mosaic_status mosaic_cpu_normalize(const mosaic_tensor *out, const mosaic_tensor *stats,
                                   const mosaic_tensor *x, const mosaic_tensor *weight,
                                   const mosaic_tensor *bias, double eps, bool centered)
{
    return mosaic_cpu_add_normalize(out, NULL, stats, x, NULL, weight, bias, eps, centered);
}

/* y NULL: of x itself. */
mosaic_status mosaic_cpu_add_normalize(const mosaic_tensor *out, const mosaic_tensor *sum,
                                       const mosaic_tensor *stats, const mosaic_tensor *x,
                                       const mosaic_tensor *y, const mosaic_tensor *weight,
                                       const mosaic_tensor *bias, double eps, bool centered)
{
    mosaic_tensor w = {0}, b = {0};
    const mosaic_tensor *alone[] = {out, stats, x}, *both[] = {out, sum, stats, x, y};
    int64_t n = row_length(x), grain = mosaic_rows_grain(mosaic_tensor_numel(x) / n, n);
    mosaic_status status = vector(&w, weight, stats->dtype, n, 1);
    if (!status) status = vector(&b, bias, stats->dtype, n, 0);
    if (!status) {
        mosaic_normalize_forward c = {n, mosaic_data(&w), mosaic_data(&b), eps, centered};
        bool wide = stats->dtype == MOSAIC_DTYPE_F64;
        status =
            y ? mosaic_rows(5, 3, both, grain, wide ? add_forward_rows_f64 : add_forward_rows_f32,
                            &c)
              : mosaic_rows(3, 2, alone, grain, wide ? forward_rows_f64 : forward_rows_f32, &c);
    }
    mosaic_tensor_clear(&w);
    mosaic_tensor_clear(&b);
    return status;
}

/* ---- backward ------------------------------------------------------------------------------- */

typedef struct {
    mosaic_normalize_backward c;
    int64_t grain;
    char *partial; /* (parts, 2, n): one part per `grain` rows */
} backward;

static void backward_rows_f32(void *context, int64_t first, int64_t rows, char *const *data,
                              const int64_t *step)
{
    const backward *b = context;
    float *partial = (float *)b->partial + first / b->grain * 2 * b->c.n;
    mosaic_cpu()->normalize->backward_f32(&b->c, rows, (float *)data[0], step[0],
                                          (const float *)data[1], step[1], (const float *)data[2],
                                          step[2], (const float *)data[3], partial);
}

static void backward_rows_f64(void *context, int64_t first, int64_t rows, char *const *data,
                              const int64_t *step)
{
    const backward *b = context;
    double *partial = (double *)b->partial + first / b->grain * 2 * b->c.n;
    mosaic_cpu()->normalize->backward_f64(&b->c, rows, (double *)data[0], step[0],
                                          (const double *)data[1], step[1], (const double *)data[2],
                                          step[2], (const double *)data[3], partial);
}

/* Adds all parts to the first, in order. */
#define DEFINE_ADD_PARTS(name, type)                                                               \
    static void name(char *partial, int64_t parts, int64_t length)                                 \
    {                                                                                              \
        type *sum = (type *)partial;                                                               \
        for (int64_t p = 1; p < parts; p++)                                                        \
            for (int64_t j = 0; j < length; j++) sum[j] += sum[p * length + j];                    \
    }
DEFINE_ADD_PARTS(add_parts_f32, float)
DEFINE_ADD_PARTS(add_parts_f64, double)

/* Row `row` of the summed parts, converted, to a gradient that is wanted. */
static mosaic_status deliver(const mosaic_tensor *to, const mosaic_tensor *partial, int64_t row)
{
    if (!to) return MOSAIC_OK;
    mosaic_tensor view = *partial;
    view.ndim = 1;
    view.size[0] = partial->size[2], view.stride[0] = 1;
    view.offset += row * partial->size[2];
    return mosaic_cpu_copy(to, &view);
}

static mosaic_status run_backward(const mosaic_tensor *dx, const mosaic_tensor *g,
                                  const mosaic_tensor *x, const mosaic_tensor *stats, backward *b,
                                  const mosaic_tensor *partial)
{
    const mosaic_tensor *tensors[] = {dx, g, x, stats};
    int64_t parts = partial->size[0], n = b->c.n;
    bool wide = stats->dtype == MOSAIC_DTYPE_F64;
    MOSAIC_TRY(mosaic_cpu_fill(partial, 0));
    MOSAIC_TRY(
        mosaic_rows(4, 1, tensors, b->grain, wide ? backward_rows_f64 : backward_rows_f32, b));
    (wide ? add_parts_f64 : add_parts_f32)(b->partial, parts, 2 * n);
    return MOSAIC_OK;
}

mosaic_status mosaic_cpu_normalize_backward(const mosaic_tensor *dx, const mosaic_tensor *dweight,
                                            const mosaic_tensor *dbias, const mosaic_tensor *g,
                                            const mosaic_tensor *x, const mosaic_tensor *weight,
                                            const mosaic_tensor *stats, bool centered)
{
    int64_t n = row_length(x), rows = mosaic_tensor_numel(x) / n;
    int64_t grain = mosaic_rows_grain(rows, n);
    if (grain < ROWS_PER_SUM) grain = ROWS_PER_SUM;
    int64_t size[3] = {(rows + grain - 1) / grain, 2, n};
    mosaic_tensor w = {0}, partial = {0};
    mosaic_status status = vector(&w, weight, stats->dtype, n, 1);
    if (!status)
        status = mosaic_output(&partial, "normalize", stats->dtype, 3, size, &mosaic_cpu_device);
    if (!status) {
        backward b = {{n, mosaic_data(&w), centered}, grain, mosaic_data(&partial)};
        status = run_backward(dx, g, x, stats, &b, &partial);
    }
    if (!status) status = deliver(dweight, &partial, 0);
    if (!status) status = deliver(dbias, &partial, 1);
    mosaic_tensor_clear(&w);
    mosaic_tensor_clear(&partial);
    return status;
}
