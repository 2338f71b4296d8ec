/* tensor.c - tensors: asking, making, views. */
#include "tensor.h"

#include <stdio.h>

/* ---- asking --------------------------------------------------------------------------------- */

const char *mosaic_tensor_device(const mosaic_tensor *a)
{
    return a->storage ? a->storage->device->name : "none";
}

int64_t mosaic_tensor_numel(const mosaic_tensor *a)
{
    int64_t count = 1;
    for (int i = 0; i < a->ndim; i++) count *= a->size[i];
    return count;
}

bool mosaic_tensor_is_contiguous(const mosaic_tensor *a)
{
    int64_t expected = 1;
    for (int i = a->ndim - 1; i >= 0; i--) {
        if (a->size[i] == 0) return true;
        if (a->size[i] != 1 && a->stride[i] != expected) return false;
        expected *= a->size[i];
    }
    return true;
}

const char *mosaic_tensor_describe(const mosaic_tensor *a)
{
    static _Thread_local char texts[4][240];
    static _Thread_local unsigned next;
    char *text = texts[next++ % 4];
    if (!a->storage) return "no tensor";
    int n = snprintf(text, sizeof texts[0], "%s ", mosaic_dtype_name((mosaic_dtype)a->dtype));
    mosaic_sizes_print(text + n, sizeof texts[0] - (size_t)n, a->ndim, a->size);
    return text;
}

/* -1: it holds nothing any more. */
int64_t mosaic_tensor_writes(const mosaic_tensor *a)
{
    return a->storage ? a->storage->writes : -1;
}
void mosaic_tensor_note_write(const mosaic_tensor *a) { a->storage->writes++; }

/* ---- making --------------------------------------------------------------------------------- */

static mosaic_status make(mosaic_tensor *out, const char *op, int dtype, int ndim,
                          const int64_t *size, const mosaic_device *device)
{
    mosaic_tensor t;
    int64_t bytes = 0;
    MOSAIC_TRY(mosaic_lay_out(&t, op, dtype, ndim, size, &bytes));
    MOSAIC_TRY(mosaic_storage_new(&t.storage, bytes, device));
    *out = t;
    return MOSAIC_OK;
}

mosaic_status mosaic_tensor_new(mosaic_tensor *out, mosaic_dtype dtype, int ndim,
                                const int64_t *size, const char *device_name)
{
    const mosaic_device *device;
    MOSAIC_TRY(mosaic_device_find(&device, device_name));
    return make(out, "tensor", dtype, ndim, size, device);
}

void mosaic_tensor_clear(mosaic_tensor *t)
{
    mosaic_storage_release(t->storage);
    t->storage = NULL;
}

mosaic_status mosaic_output(mosaic_tensor *out, const char *op, int dtype, int ndim,
                            const int64_t *size, const mosaic_device *device)
{
    if (!out->storage) return make(out, op, dtype, ndim, size, device);
    for (int i = 0; i < out->ndim; i++)
        MOSAIC_REQUIRE(out->stride[i] || out->size[i] <= 1,
                       "%s: cannot write to %s, whose axis %d is expanded; clone it first", op,
                       mosaic_tensor_describe(out), i + 1);
    bool same = out->dtype == dtype && out->ndim == ndim && mosaic_device_of(out) == device;
    for (int i = 0; same && i < ndim; i++) same = out->size[i] == size[i];
    if (same) return MOSAIC_OK;
    char wanted[200];
    mosaic_sizes_print(wanted, sizeof wanted, ndim, size);
    return mosaic_fail(MOSAIC_EINVAL, "%s: the output must be %s %s on %s, got %s on %s", op,
                       mosaic_dtype_name((mosaic_dtype)dtype), wanted, device->name,
                       mosaic_tensor_describe(out), mosaic_tensor_device(out));
}

mosaic_status mosaic_check_operands(const char *op, const mosaic_tensor *a, const mosaic_tensor *b)
{
    MOSAIC_REQUIRE(a && a->storage && (!b || b->storage),
                   "%s: an operand is not a tensor, or was freed", op);
    if (b && mosaic_device_of(a) != mosaic_device_of(b))
        return mosaic_fail(MOSAIC_EINVAL, "%s: operands on different devices: %s on %s, %s on %s",
                           op, mosaic_tensor_describe(a), mosaic_tensor_device(a),
                           mosaic_tensor_describe(b), mosaic_tensor_device(b));
    return MOSAIC_OK;
}

/* ---- views ---------------------------------------------------------------------------------- */

/* out becomes `view` of a's storage; out may be a itself. */
static mosaic_status share(mosaic_tensor *out, const mosaic_tensor *a, mosaic_tensor view)
{
    view.storage = mosaic_storage_retain(a->storage);
    mosaic_storage_release(out->storage);
    *out = view;
    return MOSAIC_OK;
}

mosaic_status mosaic_alias(mosaic_tensor *out, const mosaic_tensor *a)
{
    MOSAIC_TRY(mosaic_check_operands("alias", a, NULL));
    return share(out, a, *a);
}

mosaic_status mosaic_as_strided(mosaic_tensor *out, const mosaic_tensor *a, int ndim,
                                const int64_t *size, const int64_t *stride, int64_t offset)
{
    MOSAIC_TRY(mosaic_check_operands("as_strided", a, NULL));
    mosaic_tensor view;
    int64_t bytes, from, to;
    MOSAIC_TRY(mosaic_lay_out(&view, "as_strided", a->dtype, ndim, size, &bytes));
    for (int i = 0; i < ndim; i++) view.stride[i] = stride[i];
    view.offset = offset;
    mosaic_byte_range(&view, &from, &to);
    MOSAIC_REQUIRE(!bytes || (from >= 0 && to <= a->storage->bytes),
                   "as_strided: bytes %lld..%lld are outside the storage of %lld bytes",
                   (long long)from, (long long)to, (long long)a->storage->bytes);
    return share(out, a, view);
}

mosaic_status mosaic_expand(mosaic_tensor *out, const mosaic_tensor *a, int ndim,
                            const int64_t *size)
{
    MOSAIC_TRY(mosaic_check_operands("expand", a, NULL));
    bool fits = ndim >= a->ndim && ndim <= MOSAIC_MAX_DIMS;
    for (int i = 0; fits && i < a->ndim; i++) {
        int64_t wanted = size[ndim - a->ndim + i];
        fits = wanted >= 0 && (a->size[i] == wanted || a->size[i] == 1);
    }
    if (!fits) {
        char wanted[200] = "too many dims";
        if (ndim <= MOSAIC_MAX_DIMS) mosaic_sizes_print(wanted, sizeof wanted, ndim, size);
        return mosaic_fail(MOSAIC_EINVAL, "expand: %s does not expand to %s",
                           mosaic_tensor_describe(a), wanted);
    }
    mosaic_tensor whole; /* whose elements must be few enough to be counted */
    int64_t bytes;
    MOSAIC_TRY(mosaic_lay_out(&whole, "expand", a->dtype, ndim, size, &bytes));
    return share(out, a, mosaic_expanded(a, ndim, size));
}

/* Replaces a -1 in size by what a's element count asks for. */
static mosaic_status infer_size(int64_t *inferred, const mosaic_tensor *a, int ndim,
                                const int64_t *size)
{
    int64_t known = 1;
    int unknown = -1;
    char text[200];
    MOSAIC_REQUIRE(ndim >= 0 && ndim <= MOSAIC_MAX_DIMS, "view: %d dims, at most %d are possible",
                   ndim, MOSAIC_MAX_DIMS);
    mosaic_sizes_print(text, sizeof text, ndim, size);
    for (int i = 0; i < ndim; i++) {
        MOSAIC_REQUIRE(size[i] >= 0 || (size[i] == -1 && unknown < 0),
                       "view: %s: sizes are >= 0, with one -1 at most", text);
        inferred[i] = size[i];
        if (size[i] < 0)
            unknown = i;
        else
            known *= size[i];
    }
    int64_t count = mosaic_tensor_numel(a);
    if (unknown >= 0 && known > 0) inferred[unknown] = count / known, known *= inferred[unknown];
    MOSAIC_REQUIRE(known == count && (unknown < 0 || inferred[unknown] >= 0),
                   "view: %s has %lld elements, which %s does not", mosaic_tensor_describe(a),
                   (long long)count, text);
    return MOSAIC_OK;
}

mosaic_status mosaic_view(mosaic_tensor *out, const mosaic_tensor *a, int ndim, const int64_t *size)
{
    MOSAIC_TRY(mosaic_check_operands("view", a, NULL));
    int64_t wanted[MOSAIC_MAX_DIMS], bytes;
    MOSAIC_TRY(infer_size(wanted, a, ndim, size));
    mosaic_tensor view;
    MOSAIC_TRY(mosaic_lay_out(&view, "view", a->dtype, ndim, wanted, &bytes));
    view.offset = a->offset;
    if (mosaic_tensor_numel(a) == 0) return share(out, a, view);

    /* Drop a's axes of size 1 (their strides mean nothing), then walk both shapes from the last
     * axis. A run of axes that lies evenly in memory can be cut into new axes anywhere; between
     * runs the cuts must agree. */
    int64_t sizes[MOSAIC_MAX_DIMS], strides[MOSAIC_MAX_DIMS];
    int axes = 0;
    for (int i = 0; i < a->ndim; i++)
        if (a->size[i] != 1) sizes[axes] = a->size[i], strides[axes++] = a->stride[i];
    int to = ndim - 1;
    int64_t run = 1, cut = 1, base = axes ? strides[axes - 1] : 1;
    for (int from = axes - 1; from >= 0; from--) {
        run *= sizes[from];
        if (from > 0 && strides[from - 1] == run * base) continue;
        for (; to >= 0 && cut < run; to--) {
            view.stride[to] = cut * base;
            cut *= wanted[to];
        }
        MOSAIC_REQUIRE(cut == run,
                       "view: the strides of %s do not allow it; use reshape or contiguous",
                       mosaic_tensor_describe(a));
        if (from > 0) base = strides[from - 1], run = cut = 1;
    }
    return share(out, a, view);
}

mosaic_status mosaic_permute(mosaic_tensor *out, const mosaic_tensor *a, int ndim, const int *axes)
{
    MOSAIC_TRY(mosaic_check_operands("permute", a, NULL));
    MOSAIC_REQUIRE(ndim == a->ndim, "permute: %d axes given, %s has %d", ndim,
                   mosaic_tensor_describe(a), a->ndim);
    mosaic_tensor view = *a;
    unsigned seen = 0;
    for (int i = 0; i < ndim; i++) {
        MOSAIC_REQUIRE(axes[i] >= 0 && axes[i] < ndim && !(seen >> axes[i] & 1u),
                       "permute: axis %d is out of range or repeated for %s", axes[i] + 1,
                       mosaic_tensor_describe(a));
        seen |= 1u << axes[i];
        view.size[i] = a->size[axes[i]];
        view.stride[i] = a->stride[axes[i]];
    }
    return share(out, a, view);
}

static mosaic_status check_axis(const char *op, const mosaic_tensor *a, int axis)
{
    MOSAIC_TRY(mosaic_check_operands(op, a, NULL));
    MOSAIC_REQUIRE(axis >= 0 && axis < a->ndim, "%s: axis %d is out of range for %s", op, axis + 1,
                   mosaic_tensor_describe(a));
    return MOSAIC_OK;
}

mosaic_status mosaic_slice(mosaic_tensor *out, const mosaic_tensor *a, int axis, int64_t start,
                           int64_t length, int64_t step)
{
    MOSAIC_TRY(check_axis("slice", a, axis));
    int64_t last = start + (length - 1) * step;
    MOSAIC_REQUIRE(start >= 0 && length >= 0 && step >= 1 &&
                       (length ? last < a->size[axis] : start <= a->size[axis]),
                   "slice: elements %lld..%lld of axis %d are not in %s", (long long)start + 1,
                   (long long)last + 1, axis + 1, mosaic_tensor_describe(a));
    mosaic_tensor view = *a;
    view.offset += length ? start * a->stride[axis] : 0;
    view.size[axis] = length;
    view.stride[axis] *= step;
    return share(out, a, view);
}

mosaic_status mosaic_select(mosaic_tensor *out, const mosaic_tensor *a, int axis, int64_t index)
{
    MOSAIC_TRY(check_axis("select", a, axis));
    MOSAIC_REQUIRE(index >= 0 && index < a->size[axis],
                   "select: index %lld of axis %d is not in %s", (long long)index + 1, axis + 1,
                   mosaic_tensor_describe(a));
    mosaic_tensor view = *a;
    view.offset += index * a->stride[axis];
    view.ndim--;
    for (int i = axis; i < view.ndim; i++) {
        view.size[i] = a->size[i + 1];
        view.stride[i] = a->stride[i + 1];
    }
    return share(out, a, view);
}
