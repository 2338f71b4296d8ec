/* join.c - tensors laid side by side along an axis. */
#include "../tensor.h"

/* Do a and b differ in the size of `axis` at most? */
static mosaic_status check_part(const mosaic_tensor *a, const mosaic_tensor *b, int axis)
{
    MOSAIC_TRY(mosaic_check_operands("cat", a, b));
    bool fits = a->ndim == b->ndim && a->dtype == b->dtype;
    for (int i = 0; fits && i < a->ndim; i++) fits = i == axis || a->size[i] == b->size[i];
    MOSAIC_REQUIRE(fits, "cat: %s and %s cannot be joined along axis %d", mosaic_tensor_describe(a),
                   mosaic_tensor_describe(b), axis + 1);
    return MOSAIC_OK;
}

static mosaic_status prepare(mosaic_tensor *out, int count, const mosaic_tensor *const *parts,
                             int axis)
{
    MOSAIC_REQUIRE(count > 0, "cat: there is nothing to join");
    MOSAIC_TRY(mosaic_check_operands("cat", parts[0], NULL));
    const mosaic_tensor *first = parts[0];
    MOSAIC_REQUIRE(axis >= 0 && axis < first->ndim, "cat: axis %d is out of range for %s", axis + 1,
                   mosaic_tensor_describe(first));
    int64_t size[MOSAIC_MAX_DIMS];
    for (int i = 0; i < first->ndim; i++) size[i] = first->size[i];
    for (int p = 1; p < count; p++) {
        MOSAIC_TRY(check_part(first, parts[p], axis));
        size[axis] += parts[p]->size[axis];
    }
    return mosaic_output(out, "cat", first->dtype, first->ndim, size, mosaic_device_of(first));
}

mosaic_status mosaic_cat(mosaic_tensor *out, int count, const mosaic_tensor *const *parts, int axis)
{
    MOSAIC_TRY(prepare(out, count, parts, axis));
    for (int p = 0; p < count; p++)
        MOSAIC_REQUIRE(out->storage != parts[p]->storage,
                       "cat: the output %s shares its storage with part %d, %s",
                       mosaic_tensor_describe(out), p + 1, mosaic_tensor_describe(parts[p]));
    mosaic_tensor_note_write(out);
    mosaic_tensor place = *out; /* borrowed: the next part's place in out */
    for (int p = 0; p < count; p++) {
        place.size[axis] = parts[p]->size[axis];
        if (mosaic_tensor_numel(&place))
            MOSAIC_DEVICE_CALL(mosaic_device_of(out), copy, &place, parts[p]);
        place.offset += place.size[axis] * place.stride[axis];
    }
    return MOSAIC_OK;
}
