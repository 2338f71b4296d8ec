/* copy.c - moving values: between views, element types and devices. */
#include <stdlib.h>

#include "../tensor.h"

/* Same device and sizes, no bytes shared. */
static mosaic_status copy_apart(mosaic_tensor *out, const mosaic_tensor *a)
{
    mosaic_tensor from = mosaic_expanded(a, out->ndim, out->size);
    if (mosaic_tensor_numel(out) == 0) return MOSAIC_OK;
    MOSAIC_DEVICE_CALL(mosaic_device_of(out), copy, out, &from);
    return MOSAIC_OK;
}

static mosaic_status copy_across(mosaic_tensor *out, const mosaic_tensor *a)
{
    mosaic_tensor moved = {0};
    MOSAIC_TRY(mosaic_convert(&moved, a, (mosaic_dtype)a->dtype, mosaic_tensor_device(out)));
    mosaic_status status = mosaic_copy(out, &moved);
    mosaic_tensor_clear(&moved);
    return status;
}

mosaic_status mosaic_copy(mosaic_tensor *out, const mosaic_tensor *a)
{
    MOSAIC_TRY(mosaic_check_operands("copy", out, NULL));
    MOSAIC_TRY(mosaic_check_operands("copy", a, NULL));
    if (mosaic_device_of(out) != mosaic_device_of(a)) return copy_across(out, a);
    int ndim;
    int64_t size[MOSAIC_MAX_DIMS];
    MOSAIC_TRY(mosaic_broadcast("copy", &ndim, size, a, out));
    MOSAIC_TRY(mosaic_output(out, "copy", out->dtype, ndim, size, mosaic_device_of(a)));
    mosaic_tensor_note_write(out);
    if (!mosaic_overlaps(out, a)) return copy_apart(out, a);

    mosaic_tensor apart = {0};
    MOSAIC_TRY(mosaic_convert(&apart, a, (mosaic_dtype)a->dtype, NULL));
    mosaic_status status = copy_apart(out, &apart);
    mosaic_tensor_clear(&apart);
    return status;
}

/* From one device to another one, neither being the CPU. */
static mosaic_status by_way_of_host(const mosaic_tensor *out, const mosaic_tensor *a, int64_t bytes)
{
    const mosaic_device *from = mosaic_device_of(a), *to = mosaic_device_of(out);
    void *host = malloc((size_t)bytes);
    if (!host)
        return mosaic_fail(MOSAIC_ENOMEM, "copy: no host memory for %lld bytes", (long long)bytes);
    mosaic_status status = mosaic_device_to_host(from, host, mosaic_data(a), bytes);
    if (!status) status = mosaic_device_from_host(to, mosaic_data(out), host, bytes);
    free(host);
    return status;
}

static mosaic_status transfer_packed(mosaic_tensor *out, const mosaic_tensor *a,
                                     const mosaic_device *to)
{
    const mosaic_device *from = mosaic_device_of(a), *cpu = &mosaic_cpu_device;
    int64_t bytes = mosaic_tensor_numel(a) * mosaic_dtype_bytes((mosaic_dtype)a->dtype);
    MOSAIC_TRY(mosaic_output(out, "copy", a->dtype, a->ndim, a->size, to));
    if (bytes == 0) return MOSAIC_OK;
    if (to == cpu) return mosaic_device_to_host(from, mosaic_data(out), mosaic_data(a), bytes);
    if (from == cpu) return mosaic_device_from_host(to, mosaic_data(out), mosaic_data(a), bytes);
    return by_way_of_host(out, a, bytes);
}

/* a's elements, contiguous, on another device. */
static mosaic_status transfer(mosaic_tensor *out, const mosaic_tensor *a,
                              const mosaic_device *device)
{
    if (mosaic_tensor_is_contiguous(a)) return transfer_packed(out, a, device);
    mosaic_tensor packed = {0};
    MOSAIC_TRY(mosaic_convert(&packed, a, (mosaic_dtype)a->dtype, NULL));
    mosaic_status status = transfer_packed(out, &packed, device);
    mosaic_tensor_clear(&packed);
    return status;
}

mosaic_status mosaic_convert(mosaic_tensor *out, const mosaic_tensor *a, mosaic_dtype dtype,
                             const char *device_name)
{
    MOSAIC_TRY(mosaic_check_operands("convert", a, NULL));
    const mosaic_device *device = mosaic_device_of(a);
    if (device_name) MOSAIC_TRY(mosaic_device_find(&device, device_name));
    MOSAIC_REQUIRE(!out->storage, "convert: the output must be new, got %s",
                   mosaic_tensor_describe(out));
    if (device == mosaic_device_of(a)) {
        MOSAIC_TRY(mosaic_output(out, "convert", dtype, a->ndim, a->size, device));
        return copy_apart(out, a);
    }
    if (dtype == (mosaic_dtype)a->dtype) return transfer(out, a, device);
    mosaic_tensor moved = {0};
    MOSAIC_TRY(transfer(&moved, a, device));
    mosaic_status status = mosaic_convert(out, &moved, dtype, NULL);
    mosaic_tensor_clear(&moved);
    return status;
}

mosaic_status mosaic_fill(mosaic_tensor *out, double value)
{
    MOSAIC_TRY(mosaic_check_operands("fill", out, NULL));
    mosaic_tensor_note_write(out);
    if (mosaic_tensor_numel(out) == 0) return MOSAIC_OK;
    MOSAIC_DEVICE_CALL(mosaic_device_of(out), fill, out, value);
    return MOSAIC_OK;
}
