/* normalize.c - layer_norm and rms_norm: every row of the last axis brought to mean 0 (layer_norm)
 * and mean square 1, then scaled and shifted. */
#include "../tensor.h"

static mosaic_status check_vector(const char *op, const char *what, const mosaic_tensor *x,
                                  const mosaic_tensor *v)
{
    if (!v) return MOSAIC_OK;
    MOSAIC_TRY(mosaic_check_operands(op, x, v));
    int64_t n = x->size[x->ndim - 1];
    MOSAIC_REQUIRE(v->ndim == 1 && v->size[0] == n && v->dtype == x->dtype,
                   "%s: the %s must be %s [%lld] for the input %s, got %s", op, what,
                   mosaic_dtype_name((mosaic_dtype)x->dtype), (long long)n,
                   mosaic_tensor_describe(x), mosaic_tensor_describe(v));
    return MOSAIC_OK;
}

static mosaic_status check_rows(const char *op, const mosaic_tensor *x)
{
    MOSAIC_TRY(mosaic_check_operands(op, x, NULL));
    MOSAIC_REQUIRE(mosaic_dtype_is_float(x->dtype) && x->ndim > 0,
                   "%s: expected a float tensor with at least 1 dim, got %s", op,
                   mosaic_tensor_describe(x));
    return MOSAIC_OK;
}

static mosaic_status check_apart(const char *op, const mosaic_tensor *out, const mosaic_tensor *a)
{
    MOSAIC_REQUIRE(!mosaic_overlaps(out, a), "%s: the output %s overlaps the operand %s", op,
                   mosaic_tensor_describe(out), mosaic_tensor_describe(a));
    return MOSAIC_OK;
}

/* The sizes of x with 2 in place of the last. */
static void stats_sizes(int64_t *size, const mosaic_tensor *x)
{
    for (int i = 0; i < x->ndim; i++) size[i] = x->size[i];
    size[x->ndim - 1] = 2;
}

static mosaic_status normalize(const char *op, mosaic_tensor *out, mosaic_tensor *stats,
                               const mosaic_tensor *x, const mosaic_tensor *weight,
                               const mosaic_tensor *bias, double eps, bool centered)
{
    MOSAIC_TRY(check_rows(op, x));
    MOSAIC_TRY(check_vector(op, "weight", x, weight));
    MOSAIC_TRY(check_vector(op, "bias", x, bias));
    MOSAIC_REQUIRE(!stats->storage, "%s: the statistics must be a new tensor, got %s", op,
                   mosaic_tensor_describe(stats));
    const mosaic_device *device = mosaic_device_of(x);
    int64_t size[MOSAIC_MAX_DIMS];
    stats_sizes(size, x);
    MOSAIC_TRY(mosaic_output(out, op, x->dtype, x->ndim, x->size, device));
    MOSAIC_TRY(check_apart(op, out, x));
    MOSAIC_TRY(mosaic_output(stats, op, mosaic_dtype_accumulator(x->dtype), x->ndim, size, device));
    mosaic_tensor_note_write(out);
    if (mosaic_tensor_numel(out) == 0) return MOSAIC_OK;
    MOSAIC_DEVICE_CALL(device, normalize, out, stats, x, weight, bias, eps, centered);
    return MOSAIC_OK;
}

static mosaic_status check_alike(const char *op, const mosaic_tensor *x, const mosaic_tensor *y)
{
    MOSAIC_TRY(mosaic_check_operands(op, x, y));
    bool alike = x->ndim == y->ndim && x->dtype == y->dtype;
    for (int i = 0; alike && i < x->ndim; i++) alike = x->size[i] == y->size[i];
    MOSAIC_REQUIRE(alike, "%s: %s cannot be added to %s: expected the same sizes and dtype", op,
                   mosaic_tensor_describe(y), mosaic_tensor_describe(x));
    return MOSAIC_OK;
}

mosaic_status mosaic_add_layer_norm(mosaic_tensor *out, mosaic_tensor *sum, mosaic_tensor *stats,
                                    const mosaic_tensor *x, const mosaic_tensor *y,
                                    const mosaic_tensor *weight, const mosaic_tensor *bias,
                                    double eps)
{
    const char *op = "add_layer_norm";
    MOSAIC_TRY(check_rows(op, x));
    MOSAIC_TRY(check_alike(op, x, y));
    MOSAIC_REQUIRE(!out->storage && !sum->storage && !stats->storage,
                   "%s: the results must be new tensors", op);
    const mosaic_device *device = mosaic_device_of(x);
    if (!device->add_normalize || mosaic_tensor_numel(x) == 0) {
        MOSAIC_TRY(mosaic_binary(sum, x, y, MOSAIC_BINARY_ADD, 1, 0));
        return normalize(op, out, stats, sum, weight, bias, eps, true);
    }
    int64_t size[MOSAIC_MAX_DIMS];
    stats_sizes(size, x);
    MOSAIC_TRY(check_vector(op, "weight", x, weight));
    MOSAIC_TRY(check_vector(op, "bias", x, bias));
    MOSAIC_TRY(mosaic_output(out, op, x->dtype, x->ndim, x->size, device));
    MOSAIC_TRY(mosaic_output(sum, op, x->dtype, x->ndim, x->size, device));
    MOSAIC_TRY(mosaic_output(stats, op, mosaic_dtype_accumulator(x->dtype), x->ndim, size, device));
    MOSAIC_DEVICE_CALL(device, add_normalize, out, sum, stats, x, y, weight, bias, eps, true);
    return MOSAIC_OK;
}

mosaic_status mosaic_layer_norm(mosaic_tensor *out, mosaic_tensor *stats, const mosaic_tensor *x,
                                const mosaic_tensor *weight, const mosaic_tensor *bias, double eps)
{
    return normalize("layer_norm", out, stats, x, weight, bias, eps, true);
}

mosaic_status mosaic_rms_norm(mosaic_tensor *out, mosaic_tensor *stats, const mosaic_tensor *x,
                              const mosaic_tensor *weight, double eps)
{
    return normalize("rms_norm", out, stats, x, weight, NULL, eps, false);
}

/* ---- backward ------------------------------------------------------------------------------- */

static mosaic_status check_backward(const char *op, const mosaic_tensor *g, const mosaic_tensor *x,
                                    const mosaic_tensor *weight, const mosaic_tensor *stats)
{
    MOSAIC_TRY(check_rows(op, x));
    MOSAIC_TRY(mosaic_check_operands(op, x, g));
    MOSAIC_TRY(mosaic_check_operands(op, x, stats));
    MOSAIC_TRY(check_vector(op, "weight", x, weight));
    bool fits = g->dtype == x->dtype && g->ndim == x->ndim && stats->ndim == x->ndim &&
                stats->dtype == (int)mosaic_dtype_accumulator(x->dtype) &&
                mosaic_tensor_is_contiguous(stats) && stats->size[x->ndim - 1] == 2;
    for (int i = 0; fits && i < x->ndim; i++)
        fits = g->size[i] == x->size[i] && (i == x->ndim - 1 || stats->size[i] == x->size[i]);
    MOSAIC_REQUIRE(fits, "%s: the gradient %s and the statistics %s do not belong to the input %s",
                   op, mosaic_tensor_describe(g), mosaic_tensor_describe(stats),
                   mosaic_tensor_describe(x));
    return MOSAIC_OK;
}

/* A gradient that is wanted gets its storage, and zeros where x has no rows. */
static mosaic_status prepare(const char *op, mosaic_tensor *out, int ndim, const int64_t *size,
                             const mosaic_tensor *x)
{
    if (!out) return MOSAIC_OK;
    MOSAIC_TRY(mosaic_output(out, op, x->dtype, ndim, size, mosaic_device_of(x)));
    MOSAIC_TRY(check_apart(op, out, x));
    return mosaic_tensor_numel(x) ? MOSAIC_OK : mosaic_fill(out, 0);
}

static mosaic_status normalize_backward(const char *op, mosaic_tensor *dx, mosaic_tensor *dweight,
                                        mosaic_tensor *dbias, const mosaic_tensor *g,
                                        const mosaic_tensor *x, const mosaic_tensor *weight,
                                        const mosaic_tensor *stats, bool centered)
{
    MOSAIC_TRY(check_backward(op, g, x, weight, stats));
    const int64_t *n = &x->size[x->ndim - 1];
    MOSAIC_TRY(prepare(op, dx, x->ndim, x->size, x));
    MOSAIC_TRY(prepare(op, dweight, 1, n, x));
    MOSAIC_TRY(prepare(op, dbias, 1, n, x));
    if (mosaic_tensor_numel(x) == 0) return MOSAIC_OK;
    MOSAIC_DEVICE_CALL(mosaic_device_of(x), normalize_backward, dx, dweight, dbias, g, x, weight,
                       stats, centered);
    return MOSAIC_OK;
}

mosaic_status mosaic_layer_norm_backward(mosaic_tensor *dx, mosaic_tensor *dweight,
                                         mosaic_tensor *dbias, const mosaic_tensor *g,
                                         const mosaic_tensor *x, const mosaic_tensor *weight,
                                         const mosaic_tensor *stats)
{
    return normalize_backward("layer_norm_backward", dx, dweight, dbias, g, x, weight, stats, true);
}

mosaic_status mosaic_rms_norm_backward(mosaic_tensor *dx, mosaic_tensor *dweight,
                                       const mosaic_tensor *g, const mosaic_tensor *x,
                                       const mosaic_tensor *weight, const mosaic_tensor *stats)
{
    return normalize_backward("rms_norm_backward", dx, dweight, NULL, g, x, weight, stats, false);
}
