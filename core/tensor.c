/* tensor.c - strided views: making, describing, viewing. */
#include "tensor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

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

/* "[4,5,6]" */
static int print_sizes(char *text, size_t room, int ndim, const int64_t *size)
{
    int n = snprintf(text, room, "[");
    for (int i = 0; i < ndim; i++)
        n += snprintf(text + n, room - (size_t)n, i ? ",%lld" : "%lld", (long long)size[i]);
    return n + snprintf(text + n, room - (size_t)n, "]");
}

const char *mosaic_tensor_describe(const mosaic_tensor *a)
{
    static _Thread_local char texts[4][240];
    static _Thread_local unsigned next;
    char *text = texts[next++ % 4];
    if (!a->storage) return "no tensor";
    int n = snprintf(text, sizeof texts[0], "%s ", mosaic_dtype_name((mosaic_dtype)a->dtype));
    print_sizes(text + n, sizeof texts[0] - (size_t)n, a->ndim, a->size);
    return text;
}

/* -1: it holds nothing any more. */
int64_t mosaic_tensor_writes(const mosaic_tensor *a)
{
    return a->storage ? a->storage->writes : -1;
}
void mosaic_tensor_note_write(const mosaic_tensor *a) { a->storage->writes++; }

/* ---- making --------------------------------------------------------------------------------- */

/* Row-major strides; fails on a negative size or when the bytes do not fit an int64_t. */
static mosaic_status lay_out(mosaic_tensor *t, const char *op, int dtype, int ndim,
                             const int64_t *size, int64_t *bytes)
{
    MOSAIC_REQUIRE((unsigned)dtype < MOSAIC_DTYPE_COUNT, "%s: no dtype %d", op, dtype);
    MOSAIC_REQUIRE(ndim >= 0 && ndim <= MOSAIC_MAX_DIMS, "%s: %d dims, at most %d are possible", op,
                   ndim, MOSAIC_MAX_DIMS);
    *t = (mosaic_tensor){.dtype = dtype, .ndim = ndim};
    int64_t stride = 1, total = mosaic_dtype_bytes((mosaic_dtype)dtype);
    bool fits = true;
    for (int i = ndim - 1; i >= 0; i--) {
        MOSAIC_REQUIRE(size[i] >= 0, "%s: size %lld of axis %d is negative", op, (long long)size[i],
                       i + 1);
        t->size[i] = size[i];
        t->stride[i] = stride;
        int64_t factor = size[i] ? size[i] : 1;
        fits = fits && !__builtin_mul_overflow(stride, factor, &stride) &&
               !__builtin_mul_overflow(total, factor, &total);
    }
    if (!fits) {
        char text[200];
        print_sizes(text, sizeof text, ndim, size);
        return mosaic_fail(MOSAIC_ENOMEM, "%s: %s has more bytes than can be addressed", op, text);
    }
    *bytes = mosaic_tensor_numel(t) * mosaic_dtype_bytes((mosaic_dtype)dtype);
    return MOSAIC_OK;
}

static mosaic_status make(mosaic_tensor *out, const char *op, int dtype, int ndim,
                          const int64_t *size, const mosaic_device *device)
{
    mosaic_tensor t;
    int64_t bytes = 0;
    MOSAIC_TRY(lay_out(&t, op, dtype, ndim, size, &bytes));
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

/* out becomes `view` of a's storage; out may be a itself. */
static mosaic_status share(mosaic_tensor *out, const mosaic_tensor *a, mosaic_tensor view)
{
    view.storage = mosaic_storage_retain(a->storage);
    mosaic_storage_release(out->storage);
    *out = view;
    return MOSAIC_OK;
}

void mosaic_place_print(char *text, int ndim, const int64_t *size, int64_t at)
{
    int64_t place[MOSAIC_MAX_DIMS] = {0};
    size_t room = MOSAIC_PLACE_ROOM;
    for (int i = ndim - 1; i >= 0; i--) {
        place[i] = at % size[i] + 1;
        at /= size[i];
    }
    int n = snprintf(text, room, ndim == 1 ? "" : "[");
    for (int i = 0; i < ndim; i++)
        n += snprintf(text + n, room - (size_t)n, i ? ",%lld" : "%lld", (long long)place[i]);
    if (ndim != 1) snprintf(text + n, room - (size_t)n, "]");
}

mosaic_status mosaic_output(mosaic_tensor *out, const char *op, int dtype, int ndim,
                            const int64_t *size, const mosaic_device *device)
{
    if (!out->storage) return make(out, op, dtype, ndim, size, device);
    bool same = out->dtype == dtype && out->ndim == ndim && mosaic_device_of(out) == device;
    for (int i = 0; same && i < ndim; i++) same = out->size[i] == size[i];
    if (same) return MOSAIC_OK;
    char wanted[200];
    print_sizes(wanted, sizeof wanted, ndim, size);
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

/* ---- broadcasting --------------------------------------------------------------------------- */

mosaic_status mosaic_broadcast(const char *op, int *ndim, int64_t *size, const mosaic_tensor *a,
                               const mosaic_tensor *b)
{
    *ndim = a->ndim > b->ndim ? a->ndim : b->ndim;
    for (int i = 0; i < *ndim; i++) { /* i counts from the last axis */
        int64_t x = i < a->ndim ? a->size[a->ndim - 1 - i] : 1;
        int64_t y = i < b->ndim ? b->size[b->ndim - 1 - i] : 1;
        MOSAIC_REQUIRE(x == y || x == 1 || y == 1, "%s: %s and %s do not broadcast", op,
                       mosaic_tensor_describe(a), mosaic_tensor_describe(b));
        size[*ndim - 1 - i] = x == 1 ? y : x;
    }
    return MOSAIC_OK;
}

mosaic_tensor mosaic_expanded(const mosaic_tensor *a, int ndim, const int64_t *size)
{
    mosaic_tensor view = *a;
    view.ndim = ndim;
    for (int i = 0; i < ndim; i++) {
        int from = i - (ndim - a->ndim);
        bool repeats = from < 0 || a->size[from] != size[i];
        view.size[i] = size[i];
        view.stride[i] = repeats ? 0 : a->stride[from];
    }
    return view;
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
        if (ndim <= MOSAIC_MAX_DIMS) print_sizes(wanted, sizeof wanted, ndim, size);
        return mosaic_fail(MOSAIC_EINVAL, "expand: %s does not expand to %s",
                           mosaic_tensor_describe(a), wanted);
    }
    return share(out, a, mosaic_expanded(a, ndim, size));
}

/* Lowest and highest element that a touches, as byte addresses [from, to). */
static void byte_range(const mosaic_tensor *a, int64_t *from, int64_t *to)
{
    int64_t low = a->offset, high = a->offset, bytes = mosaic_dtype_bytes((mosaic_dtype)a->dtype);
    for (int i = 0; i < a->ndim; i++) {
        int64_t reach = (a->size[i] - 1) * a->stride[i];
        *(reach < 0 ? &low : &high) += reach;
    }
    *from = low * bytes;
    *to = (high + 1) * bytes;
}

bool mosaic_overlaps(const mosaic_tensor *a, const mosaic_tensor *b)
{
    if (!a->storage || a->storage != b->storage) return false;
    bool same = a->offset == b->offset && a->ndim == b->ndim && a->dtype == b->dtype;
    for (int i = 0; same && i < a->ndim; i++)
        same = a->size[i] == b->size[i] && (a->size[i] == 1 || a->stride[i] == b->stride[i]);
    if (same || !mosaic_tensor_numel(a) || !mosaic_tensor_numel(b)) return false;
    int64_t a_from, a_to, b_from, b_to;
    byte_range(a, &a_from, &a_to);
    byte_range(b, &b_from, &b_to);
    return a_from < b_to && b_from < a_to;
}

/* ---- views ---------------------------------------------------------------------------------- */

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
    MOSAIC_TRY(lay_out(&view, "as_strided", a->dtype, ndim, size, &bytes));
    for (int i = 0; i < ndim; i++) view.stride[i] = stride[i];
    view.offset = offset;
    byte_range(&view, &from, &to);
    MOSAIC_REQUIRE(!bytes || (from >= 0 && to <= a->storage->bytes),
                   "as_strided: bytes %lld..%lld are outside the storage of %lld bytes",
                   (long long)from, (long long)to, (long long)a->storage->bytes);
    return share(out, a, view);
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
    print_sizes(text, sizeof text, ndim, size);
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
    MOSAIC_TRY(lay_out(&view, "view", a->dtype, ndim, wanted, &bytes));
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

/* ---- host access ---------------------------------------------------------------------------- */

static mosaic_status element(const mosaic_tensor *a, const int64_t *index, int64_t *at)
{
    MOSAIC_TRY(mosaic_check_operands("element", a, NULL));
    *at = a->offset;
    for (int i = 0; i < a->ndim; i++) {
        MOSAIC_REQUIRE(index[i] >= 0 && index[i] < a->size[i],
                       "element: index %lld of axis %d is not in %s", (long long)index[i] + 1,
                       i + 1, mosaic_tensor_describe(a));
        *at += index[i] * a->stride[i];
    }
    return MOSAIC_OK;
}

/* LuaJIT tells its values apart by the bits of NaNs: it must never see others than the usual one,
 * or a file's numbers become pointers. */
static double canonical(double x) { return x == x ? x : NAN; }

mosaic_status mosaic_tensor_get(double *value, const mosaic_tensor *a, const int64_t *index)
{
    int64_t at, bytes = mosaic_dtype_bytes((mosaic_dtype)a->dtype), cell = 0;
    MOSAIC_TRY(element(a, index, &at));
    const mosaic_device *device = mosaic_device_of(a);
    MOSAIC_TRY(mosaic_device_to_host(device, &cell, (char *)a->storage->data + at * bytes, bytes));
    *value = canonical(mosaic_element_read(&cell, 0, a->dtype));
    return MOSAIC_OK;
}

mosaic_status mosaic_tensor_set(const mosaic_tensor *a, const int64_t *index, double value)
{
    int64_t at, bytes = mosaic_dtype_bytes((mosaic_dtype)a->dtype), cell = 0;
    MOSAIC_TRY(element(a, index, &at));
    const mosaic_device *device = mosaic_device_of(a);
    mosaic_element_write(&cell, 0, a->dtype, value);
    mosaic_tensor_note_write(a);
    return mosaic_device_from_host(device, (char *)a->storage->data + at * bytes, &cell, bytes);
}

/* A contiguous f64 tensor of a's sizes on a's device. */
static mosaic_status staging(mosaic_tensor *out, const char *op, const mosaic_tensor *a,
                             int64_t count)
{
    MOSAIC_TRY(mosaic_check_operands(op, a, NULL));
    MOSAIC_REQUIRE(count == mosaic_tensor_numel(a), "%s: %lld values for %s", op, (long long)count,
                   mosaic_tensor_describe(a));
    *out = (mosaic_tensor){0};
    return mosaic_output(out, op, MOSAIC_DTYPE_F64, a->ndim, a->size, mosaic_device_of(a));
}

mosaic_status mosaic_tensor_read_f64(double *values, const mosaic_tensor *a, int64_t count)
{
    mosaic_tensor wide;
    MOSAIC_TRY(staging(&wide, "read", a, count));
    const mosaic_device *device = mosaic_device_of(a);
    mosaic_status status = mosaic_copy(&wide, a);
    if (!status) status = mosaic_device_to_host(device, values, mosaic_data(&wide), count * 8);
    for (int64_t i = 0; !status && i < count; i++) values[i] = canonical(values[i]);
    mosaic_tensor_clear(&wide);
    return status;
}

mosaic_status mosaic_tensor_write_f64(const mosaic_tensor *a, const double *values, int64_t count)
{
    mosaic_tensor wide, out = *a;
    MOSAIC_TRY(staging(&wide, "write", a, count));
    const mosaic_device *device = mosaic_device_of(a);
    mosaic_status status = mosaic_device_from_host(device, mosaic_data(&wide), values, count * 8);
    if (!status) status = mosaic_copy(&out, &wide);
    mosaic_tensor_clear(&wide);
    return status;
}

static mosaic_status check_bytes(const char *op, const mosaic_tensor *a, int64_t bytes)
{
    MOSAIC_TRY(mosaic_check_operands(op, a, NULL));
    MOSAIC_REQUIRE(mosaic_tensor_is_contiguous(a), "%s: %s is not contiguous", op,
                   mosaic_tensor_describe(a));
    int64_t own = mosaic_tensor_numel(a) * mosaic_dtype_bytes((mosaic_dtype)a->dtype);
    MOSAIC_REQUIRE(bytes == own, "%s: %s has %lld bytes, not %lld", op, mosaic_tensor_describe(a),
                   (long long)own, (long long)bytes);
    return MOSAIC_OK;
}

mosaic_status mosaic_tensor_read_bytes(void *to, const mosaic_tensor *a, int64_t bytes)
{
    MOSAIC_TRY(check_bytes("read_bytes", a, bytes));
    const mosaic_device *device = mosaic_device_of(a);
    return bytes ? mosaic_device_to_host(device, to, mosaic_data(a), bytes) : MOSAIC_OK;
}

mosaic_status mosaic_tensor_write_bytes(const mosaic_tensor *a, const void *from, int64_t bytes)
{
    MOSAIC_TRY(check_bytes("write_bytes", a, bytes));
    const mosaic_device *device = mosaic_device_of(a);
    mosaic_tensor_note_write(a);
    return bytes ? mosaic_device_from_host(device, mosaic_data(a), from, bytes) : MOSAIC_OK;
}
