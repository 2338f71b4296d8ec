/* access.c - a tensor's elements as numbers or bytes on the host. */
#include <math.h>

#include "tensor.h"

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
