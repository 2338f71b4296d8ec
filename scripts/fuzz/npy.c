/* npy.c - fuzz target: any bytes are an array or an error; a range of rows equals the whole's. */
#include <string.h>

#include "../../core/tensor.h"
#include "support.h"

/* The bytes of element `at` (row-major number) of a. */
static const char *element(const mosaic_tensor *a, int64_t at)
{
    int64_t offset = a->offset;
    for (int i = a->ndim - 1; i >= 0; i--) {
        offset += at % a->size[i] * a->stride[i];
        at /= a->size[i];
    }
    return (char *)a->storage->data + offset * mosaic_dtype_bytes((mosaic_dtype)a->dtype);
}

static void compare(const mosaic_tensor *whole, const mosaic_tensor *part, int64_t first)
{
    int64_t count = mosaic_tensor_numel(part);
    int64_t skipped = count ? count / part->size[0] * first : 0;
    size_t bytes = (size_t)mosaic_dtype_bytes((mosaic_dtype)whole->dtype);
    for (int64_t i = 0; i < count; i++)
        if (memcmp(element(whole, skipped + i), element(part, i), bytes)) fuzz_fail("other rows");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    mosaic_tensor whole = {0}, part = {0};
    const char *path = fuzz_file(data, bytes);
    if (mosaic_npy_read(&whole, path, 0, -1)) return 0;
    if (whole.ndim) {
        int64_t first = whole.size[0] / 3, rows = (whole.size[0] - first) / 2;
        if (mosaic_npy_read(&part, path, first, rows)) fuzz_fail(mosaic_last_error());
        compare(&whole, &part, first);
        mosaic_tensor_clear(&part);
    }
    mosaic_tensor_clear(&whole);
    return 0;
}
