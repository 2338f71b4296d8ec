/* reduce.c - many elements to one, over any set of axes. */
#include <math.h>

#include "../tensor.h"

static const char *const names[] = {
    [MOSAIC_REDUCE_SUM] = "sum",   [MOSAIC_REDUCE_PROD] = "prod",
    [MOSAIC_REDUCE_MIN] = "min",   [MOSAIC_REDUCE_MAX] = "max",
    [MOSAIC_REDUCE_ANY] = "any",   [MOSAIC_REDUCE_ALL] = "all",
    [MOSAIC_REDUCE_MEAN] = "mean", [MOSAIC_REDUCE_VAR] = "var",
    [MOSAIC_REDUCE_NORM] = "norm", [MOSAIC_REDUCE_LOGSUMEXP] = "logsumexp",
};

/* What a reduction over no elements gives; min and max have nothing to give. */
static const double of_nothing[] = {
    [MOSAIC_REDUCE_SUM] = 0,    [MOSAIC_REDUCE_PROD] = 1,
    [MOSAIC_REDUCE_ANY] = 0,    [MOSAIC_REDUCE_ALL] = 1,
    [MOSAIC_REDUCE_MEAN] = NAN, [MOSAIC_REDUCE_VAR] = NAN,
    [MOSAIC_REDUCE_NORM] = 0,   [MOSAIC_REDUCE_LOGSUMEXP] = -INFINITY,
};

static mosaic_dtype result_type(const mosaic_tensor *a, mosaic_reduce_op op)
{
    if (op == MOSAIC_REDUCE_ANY || op == MOSAIC_REDUCE_ALL) return MOSAIC_DTYPE_U8;
    bool keeps = op == MOSAIC_REDUCE_MIN || op == MOSAIC_REDUCE_MAX;
    if (keeps || mosaic_dtype_is_float(a->dtype)) return (mosaic_dtype)a->dtype;
    return op >= MOSAIC_REDUCE_MEAN ? MOSAIC_DTYPE_F32 : MOSAIC_DTYPE_I64;
}

static mosaic_status run(mosaic_tensor *kept, const mosaic_tensor *a, mosaic_reduce_op op,
                         double correction)
{
    if (mosaic_tensor_numel(kept) == 0) return MOSAIC_OK;
    if (mosaic_tensor_numel(a) == 0) return mosaic_fill(kept, of_nothing[op]);
    MOSAIC_DEVICE_CALL_NAMED(names[op], mosaic_device_of(a), reduce, kept, a, op, correction);
    return MOSAIC_OK;
}

mosaic_status mosaic_reduce(mosaic_tensor *out, const mosaic_tensor *a, mosaic_reduce_op op,
                            unsigned axes, bool keepdim, double correction)
{
    MOSAIC_REQUIRE((unsigned)op < MOSAIC_REDUCE_COUNT, "reduce: no operation %d", (int)op);
    const char *name = names[op];
    MOSAIC_TRY(mosaic_check_operands(name, a, NULL));
    MOSAIC_REQUIRE(!(axes >> a->ndim), "%s: axes %#x are out of range for %s", name, axes,
                   mosaic_tensor_describe(a));
    MOSAIC_REQUIRE(!mosaic_overlaps(out, a) && (!out->storage || out->storage != a->storage),
                   "%s: the output shares memory with the operand", name);
    mosaic_tensor kept = *a; /* the result with size 1 in the reduced axes */
    int64_t size[MOSAIC_MAX_DIMS];
    int ndim = 0;
    for (int i = 0; i < a->ndim; i++) {
        bool reduced = axes >> i & 1u;
        bool possible =
            !reduced || a->size[i] || (op != MOSAIC_REDUCE_MIN && op != MOSAIC_REDUCE_MAX);
        MOSAIC_REQUIRE(possible, "%s: axis %d of %s has no elements", name, i + 1,
                       mosaic_tensor_describe(a));
        if (reduced) kept.size[i] = 1;
        if (!reduced || keepdim) size[ndim++] = kept.size[i];
    }
    MOSAIC_TRY(mosaic_output(out, name, result_type(a, op), ndim, size, mosaic_device_of(a)));
    mosaic_tensor_note_write(out);
    kept.storage = out->storage;
    kept.offset = out->offset;
    kept.dtype = out->dtype;
    for (int i = 0, from = 0; i < a->ndim; i++)
        kept.stride[i] = axes >> i & 1u ? from += keepdim, 0 : out->stride[from++];
    return run(&kept, a, op, correction);
}

mosaic_status mosaic_arg_reduce(mosaic_tensor *values, mosaic_tensor *indices,
                                const mosaic_tensor *a, bool largest, int axis, bool keepdim)
{
    const char *name = largest ? "argmax" : "argmin";
    MOSAIC_TRY(mosaic_check_operands(name, a, NULL));
    MOSAIC_REQUIRE(axis >= 0 && axis < a->ndim && a->size[axis] > 0,
                   "%s: axis %d of %s has no elements", name, axis + 1, mosaic_tensor_describe(a));
    MOSAIC_REQUIRE(!indices->storage && (!values || !values->storage),
                   "%s: the outputs must be new", name);
    const mosaic_device *device = mosaic_device_of(a);
    int64_t size[MOSAIC_MAX_DIMS];
    for (int i = 0; i < a->ndim; i++) size[i] = i == axis ? 1 : a->size[i];
    MOSAIC_TRY(mosaic_output(indices, name, MOSAIC_DTYPE_I64, a->ndim, size, device));
    if (values) MOSAIC_TRY(mosaic_output(values, name, a->dtype, a->ndim, size, device));
    if (mosaic_tensor_numel(indices))
        MOSAIC_DEVICE_CALL(device, arg_reduce, values, indices, a, largest, axis);
    if (keepdim) return MOSAIC_OK;
    if (values) MOSAIC_TRY(mosaic_select(values, values, axis, 0));
    return mosaic_select(indices, indices, axis, 0);
}
