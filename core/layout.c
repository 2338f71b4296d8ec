/* layout.c - sizes and strides: where a tensor's elements lie, and how that is printed. */
#include "layout.h"

#include <stdio.h>

#include "dtype.h"
#include "status.h"

/* ---- printing ------------------------------------------------------------------------------- */

int mosaic_sizes_print(char *text, size_t room, int ndim, const int64_t *size)
{
    int n = snprintf(text, room, "[");
    for (int i = 0; i < ndim; i++)
        n += snprintf(text + n, room - (size_t)n, i ? ",%lld" : "%lld", (long long)size[i]);
    return n + snprintf(text + n, room - (size_t)n, "]");
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

/* ---- one tensor ----------------------------------------------------------------------------- */

mosaic_status mosaic_lay_out(mosaic_tensor *t, const char *op, int dtype, int ndim,
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
        mosaic_sizes_print(text, sizeof text, ndim, size);
        return mosaic_fail(MOSAIC_ENOMEM, "%s: %s has more bytes than can be addressed", op, text);
    }
    *bytes = mosaic_tensor_numel(t) * mosaic_dtype_bytes((mosaic_dtype)dtype);
    return MOSAIC_OK;
}

void mosaic_byte_range(const mosaic_tensor *a, int64_t *from, int64_t *to)
{
    int64_t low = a->offset, high = a->offset, bytes = mosaic_dtype_bytes((mosaic_dtype)a->dtype);
    for (int i = 0; i < a->ndim; i++) {
        int64_t reach = (a->size[i] - 1) * a->stride[i];
        *(reach < 0 ? &low : &high) += reach;
    }
    *from = low * bytes;
    *to = (high + 1) * bytes;
}

/* ---- two ------------------------------------------------------------------------------------ */

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

bool mosaic_overlaps(const mosaic_tensor *a, const mosaic_tensor *b)
{
    if (!a->storage || a->storage != b->storage) return false;
    bool same = a->offset == b->offset && a->ndim == b->ndim && a->dtype == b->dtype;
    for (int i = 0; same && i < a->ndim; i++)
        same = a->size[i] == b->size[i] && (a->size[i] == 1 || a->stride[i] == b->stride[i]);
    if (same || !mosaic_tensor_numel(a) || !mosaic_tensor_numel(b)) return false;
    int64_t a_from, a_to, b_from, b_to;
    mosaic_byte_range(a, &a_from, &a_to);
    mosaic_byte_range(b, &b_from, &b_to);
    return a_from < b_to && b_from < a_to;
}
