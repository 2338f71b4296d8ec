/* softmax.c - softmax and log_softmax along any axis. */
#include "../tensor.h"

static mosaic_status check_axis(const char *op, const mosaic_tensor *a, int axis)
{
    MOSAIC_TRY(mosaic_check_operands(op, a, NULL));
    MOSAIC_REQUIRE(mosaic_dtype_is_float(a->dtype), "%s: expected a float tensor, got %s", op,
                   mosaic_tensor_describe(a));
    MOSAIC_REQUIRE(axis >= 0 && axis < a->ndim, "%s: axis %d is out of range for %s", op, axis + 1,
                   mosaic_tensor_describe(a));
    return MOSAIC_OK;
}

static mosaic_status check_apart(const char *op, const mosaic_tensor *out, const mosaic_tensor *a)
{
    MOSAIC_REQUIRE(!mosaic_overlaps(out, a), "%s: the output %s overlaps the operand %s", op,
                   mosaic_tensor_describe(out), mosaic_tensor_describe(a));
    return MOSAIC_OK;
}

static mosaic_status softmax(const char *op, mosaic_tensor *out, const mosaic_tensor *a, int axis,
                             bool log)
{
    MOSAIC_TRY(check_axis(op, a, axis));
    MOSAIC_TRY(mosaic_output(out, op, a->dtype, a->ndim, a->size, mosaic_device_of(a)));
    MOSAIC_TRY(check_apart(op, out, a));
    mosaic_tensor_note_write(out);
    if (mosaic_tensor_numel(out) == 0) return MOSAIC_OK;
    MOSAIC_DEVICE_CALL(mosaic_device_of(a), softmax, out, a, axis, log);
    return MOSAIC_OK;
}

mosaic_status mosaic_softmax(mosaic_tensor *out, const mosaic_tensor *a, int axis)
{
    return softmax("softmax", out, a, axis, false);
}

mosaic_status mosaic_log_softmax(mosaic_tensor *out, const mosaic_tensor *a, int axis)
{
    return softmax("log_softmax", out, a, axis, true);
}

static mosaic_status softmax_backward(const char *op, mosaic_tensor *dx, const mosaic_tensor *g,
                                      const mosaic_tensor *y, int axis, bool log)
{
    MOSAIC_TRY(check_axis(op, y, axis));
    MOSAIC_TRY(mosaic_check_operands(op, y, g));
    bool same = g->dtype == y->dtype && g->ndim == y->ndim;
    for (int i = 0; same && i < y->ndim; i++) same = g->size[i] == y->size[i];
    MOSAIC_REQUIRE(same, "%s: the gradient is %s, the result %s", op, mosaic_tensor_describe(g),
                   mosaic_tensor_describe(y));
    MOSAIC_TRY(mosaic_output(dx, op, y->dtype, y->ndim, y->size, mosaic_device_of(y)));
    MOSAIC_TRY(check_apart(op, dx, y));
    MOSAIC_TRY(check_apart(op, dx, g));
    mosaic_tensor_note_write(dx);
    if (mosaic_tensor_numel(y) == 0) return MOSAIC_OK;
    MOSAIC_DEVICE_CALL(mosaic_device_of(y), softmax_backward, dx, g, y, axis, log);
    return MOSAIC_OK;
}

mosaic_status mosaic_softmax_backward(mosaic_tensor *dx, const mosaic_tensor *g,
                                      const mosaic_tensor *y, int axis)
{
    return softmax_backward("softmax_backward", dx, g, y, axis, false);
}

mosaic_status mosaic_log_softmax_backward(mosaic_tensor *dx, const mosaic_tensor *g,
                                          const mosaic_tensor *y, int axis)
{
    return softmax_backward("log_softmax_backward", dx, g, y, axis, true);
}
