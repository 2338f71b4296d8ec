/* tensor.h - what every operation needs to know about its operands. */
#ifndef MOSAIC_TENSOR_H
#define MOSAIC_TENSOR_H
#include "dtype.h"
#include "layout.h"
#include "storage.h"

static inline const mosaic_device *mosaic_device_of(const mosaic_tensor *a)
{
    return a->storage->device;
}

/* Address of the element at offset. */
static inline void *mosaic_data(const mosaic_tensor *a)
{
    return (char *)a->storage->data + a->offset * mosaic_dtype_bytes((mosaic_dtype)a->dtype);
}

/* Allocates out contiguous on device, or, when out already has a storage, checks that it has this
 * dtype, these sizes and this device. `op` names the caller in the message. */
mosaic_status mosaic_output(mosaic_tensor *out, const char *op, int dtype, int ndim,
                            const int64_t *size, const mosaic_device *device);

/* Fails unless a is a tensor and (where given) b is one on the same device. */
mosaic_status mosaic_check_operands(const char *op, const mosaic_tensor *a, const mosaic_tensor *b);

#endif
