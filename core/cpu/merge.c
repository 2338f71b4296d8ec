/* merge.c - joining partial results of attention, and delta: everything that is one pass over rows.
 *
 * lse = log(exp lse1 + exp lse2), out = w1 out1 + w2 out2 with wi = exp(lsei - lse). A part without
 * keys (lsei = -infinity) has weight 0 and nothing of it is read; a NaN stays one. The loops walk
 * rows: an operand is a tensor without its last axis, whose stride waits in `column`. */
#include <math.h>

#include "cpu.h"
#include "kernel/loops.h"
#include "loop.h"

typedef struct {
    int64_t d, column[5]; /* of the operands that are vectors, in their order */
    bool has_dlse;        /* the last operand */
} rows;

#define NUMBER(operand, i) ((double *)(void *)(data[operand] + (i)*step[operand]))

/* lse of the union, and the shares of the two parts in it. */
typedef struct {
    double lse, first, second;
} weights;

static weights weights_of(double lse1, double lse2)
{
    if (lse1 == -INFINITY && lse2 == -INFINITY) return (weights){lse1, 0, 0};
    bool ahead = lse1 >= lse2;
    double less = exp(ahead ? lse2 - lse1 : lse1 - lse2),
           sum = 1 + less; /* of the greater one: 1 */
    double top = ahead ? lse1 : lse2, most = 1 / sum, rest = less / sum;
    return (weights){top + log(sum), ahead ? most : rest, ahead ? rest : most};
}

#define REAL float
#define NAME(x) x##_f32
#include "merge_rows.h"

#define REAL double
#define NAME(x) x##_f64
#include "merge_rows.h"

/* Runs over the rows of the operands; those with one dim more than lse_dims are vectors. */
static mosaic_status walk(const mosaic_tensor *const *tensors, int count, int lse_dims,
                          bool has_dlse, mosaic_loop_body single, mosaic_loop_body full)
{
    rows r = {.has_dlse = has_dlse};
    mosaic_tensor views[MOSAIC_LOOP_OPERANDS];
    const mosaic_tensor *operands[MOSAIC_LOOP_OPERANDS];
    int vectors = 0;
    for (int i = 0; i < count; i++) {
        views[i] = *tensors[i];
        operands[i] = &views[i];
        if (tensors[i]->ndim == lse_dims) continue;
        r.d = tensors[i]->size[lse_dims];
        r.column[vectors++] = tensors[i]->stride[lse_dims];
        views[i].ndim = lse_dims;
    }
    bool wide = tensors[0]->dtype == MOSAIC_DTYPE_F64;
    mosaic_loop(count, operands, wide ? full : single, &r);
    return MOSAIC_OK;
}

/* The walk is that of dout, which is d times as long as delta. */
mosaic_status mosaic_cpu_attention_delta(const mosaic_tensor *delta, const mosaic_tensor *dout,
                                         const mosaic_tensor *out, const mosaic_tensor *dlse)
{
    const mosaic_tensor *tensors[] = {dout, out, delta, dlse};
    return walk(tensors, dlse ? 4 : 3, delta->ndim, dlse != NULL, delta_f32, delta_f64);
}

mosaic_status mosaic_cpu_attention_merge(const mosaic_attention_parts *p)
{
    const mosaic_tensor *tensors[] = {&p->out, &p->lse, &p->out1, &p->lse1, &p->out2, &p->lse2};
    return walk(tensors, 6, p->lse.ndim, false, merge_f32, merge_f64);
}

mosaic_status mosaic_cpu_attention_merge_backward(const mosaic_attention_parts *p)
{
    bool has_dlse = p->dlse.storage != NULL;
    const mosaic_tensor *tensors[] = {&p->dout1, &p->dlse1, &p->dout2, &p->dlse2, &p->dout,
                                      &p->out1,  &p->lse1,  &p->out2,  &p->lse2,  &p->dlse};
    return walk(tensors, has_dlse ? 10 : 9, p->lse1.ndim, has_dlse, merge_backward_f32,
                merge_backward_f64);
}
