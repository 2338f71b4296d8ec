/* matmul.c - products of matrices: operands made fit for gemm, and what else is done to the result.
 */
#include "../tensor.h"
#include "cpu.h"
#include "products.h"

enum { MERGE_FROM = 64 /* rows below which packing a beats one gemm per matrix */ };

/* ---- operands ------------------------------------------------------------------------------- */

static bool fits(const mosaic_tensor *a)
{
    int i = a->ndim - 2;
    return !mosaic_dtype_is_half(a->dtype) &&
           mosaic_gemm_fits(a->dtype, a->size[i], a->size[i + 1], a->stride[i], a->stride[i + 1]);
}

/* Results are never written transposed. */
static bool fits_result(const mosaic_tensor *c)
{
    return fits(c) && (c->stride[c->ndim - 1] == 1 || c->size[c->ndim - 1] == 1);
}

/* Replaces view by a contiguous copy (in *room) in the type that gemm computes in. Axes that
 * repeat stay repeated. */
static mosaic_status pack(mosaic_tensor *room, mosaic_tensor *view)
{
    mosaic_tensor once = *view;
    int dtype = mosaic_dtype_is_half(view->dtype) ? MOSAIC_DTYPE_F32 : view->dtype;
    for (int i = 0; i < once.ndim - 2; i++)
        if (once.stride[i] == 0) once.size[i] = 1;
    MOSAIC_TRY(mosaic_output(room, "matmul", dtype, once.ndim, once.size, mosaic_device_of(view)));
    if (mosaic_tensor_numel(&once)) MOSAIC_TRY(mosaic_cpu_copy(room, &once));
    *view = mosaic_expanded(room, view->ndim, view->size);
    return MOSAIC_OK;
}

/* Do the rows of a lie evenly over all its leading axes? */
static bool even_rows(const mosaic_tensor *a)
{
    int64_t rows = a->size[a->ndim - 2], step = a->stride[a->ndim - 2];
    for (int i = a->ndim - 3; i >= 0; i--) {
        if (a->size[i] == 1) continue;
        if (rows == 1) step = a->stride[i];
        if (a->stride[i] != rows * step) return false;
        rows *= a->size[i];
    }
    return true;
}

static bool is_shared(const mosaic_tensor *a)
{
    for (int i = 0; i < a->ndim - 2; i++)
        if (a->stride[i] != 0 && a->size[i] != 1) return false;
    return true;
}

/* Few scattered rows times one matrix: packed, they become a single product. */
static bool better_packed(const mosaic_tensor *a, const mosaic_tensor *b)
{
    return a->size[a->ndim - 2] < MERGE_FROM && is_shared(b) && !is_shared(a) && !even_rows(a);
}

/* ---- what else is wanted ------------------------------------------------------------------- */

/* Room for the copies of operands that gemm cannot take as they are, or takes faster. */
typedef struct {
    mosaic_tensor c, a, b, bias, sums, packed;
} copies;

/* What else is wanted: bias (n) or add (as c) is added, activated is the GELU of the result, or the
 * result is multiplied by the derivative of something at factor; sums are those of a's rows. NULL:
 * not wanted. */
typedef struct {
    const mosaic_tensor *bias, *add, *activated, *factor, *sums;
    mosaic_unary_op gelu;
    mosaic_binary_op derivative;
} extras;

static bool lies_as(const mosaic_tensor *a, const mosaic_tensor *b)
{
    bool same = a->dtype == b->dtype;
    for (int i = 0; i < b->ndim; i++) same &= b->size[i] == 1 || a->stride[i] == b->stride[i];
    return same;
}

/* Makes the extras part of the tasks, where out, the tensors and the type allow. */
static bool fuse(mosaic_products *s, const mosaic_tensor *out, const extras *e)
{
    int type = out->dtype == MOSAIC_DTYPE_F64 ? MOSAIC_CPU_F64 : MOSAIC_CPU_F32;
    if (!fits_result(out) || !mosaic_dtype_is_float(out->dtype) || s->chunks > 1) return false;
    if (e->add && !lies_as(e->add, out)) return false;
    if (e->activated && !lies_as(e->activated, out)) return false;
    if (e->factor && !lies_as(e->factor, out)) return false;
    if (e->add) s->whole.add = mosaic_data(e->add);
    if (e->activated) s->to = mosaic_data(e->activated);
    if (e->activated) s->after = mosaic_cpu()->unary->of[e->gelu][type];
    if (e->factor) s->to = mosaic_data(out), s->factor = mosaic_data(e->factor);
    if (e->factor) s->after = mosaic_cpu()->binary->of[e->derivative][type];
    return true;
}

/* What could not be part of the tasks; c is the product. */
static mosaic_status finish(const mosaic_tensor *out, const mosaic_tensor *c, const extras *e)
{
    bool whole = !mosaic_dtype_is_float(out->dtype);
    mosaic_dtype compute = whole ? MOSAIC_DTYPE_I64 : mosaic_dtype_accumulator(out->dtype);
    mosaic_elementwise sum = {MOSAIC_BINARY, MOSAIC_BINARY_ADD, compute, 1, 0, 0, {c, e->add}};
    mosaic_elementwise gelu = {MOSAIC_UNARY, (int)e->gelu, compute, 0, 0, 0, {out}};
    mosaic_elementwise times = {MOSAIC_BINARY, (int)e->derivative, compute, 0, 0, 0,
                                {c, e->factor}};
    if (e->add)
        MOSAIC_TRY(mosaic_cpu_elementwise(out, &sum));
    else if (e->factor)
        MOSAIC_TRY(mosaic_cpu_elementwise(out, &times));
    else if (mosaic_data(out) != mosaic_data(c))
        MOSAIC_TRY(mosaic_cpu_copy(out, c));
    return e->activated ? mosaic_cpu_elementwise(e->activated, &gelu) : MOSAIC_OK;
}

/* Room for the sums of every chunk, all 0. */
static mosaic_status begin_sums(mosaic_tensor *room, mosaic_products *s)
{
    int64_t size[2] = {s->chunks, s->whole.m};
    MOSAIC_TRY(mosaic_output(room, "matmul", MOSAIC_DTYPE_F64, 2, size, &mosaic_cpu_device));
    s->whole.sums = mosaic_data(room);
    return mosaic_cpu_fill(room, 0);
}

/* sums <- those of all chunks, which become the first one's. */
static mosaic_status end_sums(const mosaic_tensor *sums, const mosaic_products *s,
                              const mosaic_tensor *room)
{
    mosaic_tensor first = *room;
    double *sum = s->whole.sums;
    int64_t m = s->whole.m;
    for (int64_t chunk = 1; chunk < s->chunks; chunk++)
        for (int64_t i = 0; i < m; i++) sum[i] += sum[chunk * m + i];
    first.ndim = 1, first.size[0] = m, first.stride[0] = 1;
    return mosaic_cpu_copy(sums, &first);
}

static mosaic_status multiply(copies *room, const mosaic_tensor *out, mosaic_tensor a,
                              mosaic_tensor b, const extras *e)
{
    mosaic_tensor c = *out;
    int dtype = mosaic_dtype_is_half(c.dtype) ? MOSAIC_DTYPE_F32 : c.dtype;
    if (!fits(&a) || better_packed(&a, &b)) MOSAIC_TRY(pack(&room->a, &a));
    if (!fits(&b)) MOSAIC_TRY(pack(&room->b, &b));
    mosaic_products s = mosaic_products_of(&c, &a, &b);
    bool fused = fuse(&s, out, e);
    if (!fits_result(&c) || (e->add && !fused)) {
        MOSAIC_TRY(mosaic_output(&room->c, "matmul", dtype, c.ndim, c.size, mosaic_device_of(&c)));
        c = room->c, s = mosaic_products_of(&c, &a, &b);
    }
    if (e->bias) {
        const int64_t *n = e->bias->size;
        MOSAIC_TRY(mosaic_output(&room->bias, "matmul", dtype, 1, n, mosaic_device_of(&c)));
        MOSAIC_TRY(mosaic_cpu_copy(&room->bias, e->bias));
        s.whole.bias = mosaic_data(&room->bias);
    }
    if (e->sums) MOSAIC_TRY(begin_sums(&room->sums, &s));
    MOSAIC_TRY(mosaic_products_run(&s, &room->packed));
    if (e->sums) MOSAIC_TRY(end_sums(e->sums, &s, &room->sums));
    return fused ? MOSAIC_OK : finish(out, &c, e);
}

static mosaic_status multiply_with(const mosaic_tensor *out, const mosaic_tensor *a,
                                   const mosaic_tensor *b, extras e)
{
    copies room = {0};
    mosaic_status status = multiply(&room, out, *a, *b, &e);
    mosaic_tensor_clear(&room.c);
    mosaic_tensor_clear(&room.a);
    mosaic_tensor_clear(&room.b);
    mosaic_tensor_clear(&room.bias);
    mosaic_tensor_clear(&room.sums);
    mosaic_tensor_clear(&room.packed);
    return status;
}

mosaic_status mosaic_cpu_matmul(const mosaic_tensor *out, const mosaic_tensor *a,
                                const mosaic_tensor *b, const mosaic_tensor *bias)
{
    return multiply_with(out, a, b, (extras){.bias = bias});
}

mosaic_status mosaic_cpu_matmul_add(const mosaic_tensor *out, const mosaic_tensor *a,
                                    const mosaic_tensor *b, const mosaic_tensor *add)
{
    return multiply_with(out, a, b, (extras){.add = add});
}

mosaic_status mosaic_cpu_matmul_gelu(const mosaic_tensor *out, const mosaic_tensor *product,
                                     const mosaic_tensor *a, const mosaic_tensor *b,
                                     const mosaic_tensor *bias, mosaic_unary_op gelu, bool *done)
{
    *done = true;
    return multiply_with(product, a, b, (extras){.bias = bias, .activated = out, .gelu = gelu});
}

mosaic_status mosaic_cpu_matmul_times(const mosaic_tensor *out, const mosaic_tensor *a,
                                      const mosaic_tensor *b, const mosaic_tensor *factor,
                                      mosaic_binary_op derivative)
{
    return multiply_with(out, a, b, (extras){.factor = factor, .derivative = derivative});
}

mosaic_status mosaic_cpu_matmul_sums(const mosaic_tensor *out, const mosaic_tensor *sums,
                                     const mosaic_tensor *a, const mosaic_tensor *b)
{
    return multiply_with(out, a, b, (extras){.sums = sums});
}
