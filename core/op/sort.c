/* sort.c - order and running sums along an axis. */
#include "../tensor.h"

static mosaic_status check_axis(const char *op, const mosaic_tensor *a, int axis)
{
    MOSAIC_TRY(mosaic_check_operands(op, a, NULL));
    MOSAIC_REQUIRE(axis >= 0 && axis < a->ndim, "%s: axis %d is out of range for %s", op, axis + 1,
                   mosaic_tensor_describe(a));
    return MOSAIC_OK;
}

static mosaic_status sort(const char *op, mosaic_tensor *values, mosaic_tensor *indices,
                          const mosaic_tensor *a, int axis, int64_t count, bool descending)
{
    int64_t size[MOSAIC_MAX_DIMS];
    for (int i = 0; i < a->ndim; i++) size[i] = i == axis ? count : a->size[i];
    const mosaic_device *device = mosaic_device_of(a);
    MOSAIC_TRY(mosaic_output(values, op, a->dtype, a->ndim, size, device));
    MOSAIC_TRY(mosaic_output(indices, op, MOSAIC_DTYPE_I64, a->ndim, size, device));
    MOSAIC_REQUIRE(values->storage != a->storage && indices->storage != a->storage,
                   "%s: the outputs must not share the storage of %s", op,
                   mosaic_tensor_describe(a));
    mosaic_tensor_note_write(values);
    mosaic_tensor_note_write(indices);
    if (mosaic_tensor_numel(values) == 0) return MOSAIC_OK;
    MOSAIC_DEVICE_CALL(device, sort, values, indices, a, axis, descending);
    return MOSAIC_OK;
}

mosaic_status mosaic_sort(mosaic_tensor *values, mosaic_tensor *indices, const mosaic_tensor *a,
                          int axis, bool descending)
{
    MOSAIC_TRY(check_axis("sort", a, axis));
    return sort("sort", values, indices, a, axis, a->size[axis], descending);
}

mosaic_status mosaic_topk(mosaic_tensor *values, mosaic_tensor *indices, const mosaic_tensor *a,
                          int axis, int64_t count, bool largest)
{
    MOSAIC_TRY(check_axis("topk", a, axis));
    MOSAIC_REQUIRE(count >= 0 && count <= a->size[axis],
                   "topk: %lld elements asked for, axis %d of %s has %lld", (long long)count,
                   axis + 1, mosaic_tensor_describe(a), (long long)a->size[axis]);
    return sort("topk", values, indices, a, axis, count, largest);
}

mosaic_status mosaic_cumsum(mosaic_tensor *out, const mosaic_tensor *a, int axis, bool backwards)
{
    MOSAIC_TRY(check_axis("cumsum", a, axis));
    MOSAIC_TRY(mosaic_output(out, "cumsum", a->dtype, a->ndim, a->size, mosaic_device_of(a)));
    MOSAIC_REQUIRE(!mosaic_overlaps(out, a), "cumsum: the output %s overlaps the operand %s",
                   mosaic_tensor_describe(out), mosaic_tensor_describe(a));
    mosaic_tensor_note_write(out);
    if (mosaic_tensor_numel(out) == 0) return MOSAIC_OK;
    MOSAIC_DEVICE_CALL(mosaic_device_of(a), cumsum, out, a, axis, backwards);
    return MOSAIC_OK;
}
