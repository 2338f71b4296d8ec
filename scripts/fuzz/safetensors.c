/* safetensors.c - fuzz target: any bytes are a file of tensors or an error. The tensors of a file
 * that is accepted cover its data, and a range of rows equals the whole's. */
#include <string.h>

#include "../../core/tensor.h"
#include "support.h"

static int64_t data_bytes(const mosaic_tensor *a)
{
    return mosaic_tensor_numel(a) * mosaic_dtype_bytes((mosaic_dtype)a->dtype);
}

static void check_rows(const mosaic_safetensors *file, int64_t i, const mosaic_tensor *whole)
{
    mosaic_tensor part = {0};
    int64_t first = whole->size[0] / 3, rows = (whole->size[0] - first) / 2;
    if (mosaic_safetensors_read(&part, file, i, first, rows)) fuzz_fail(mosaic_last_error());
    int64_t skipped = whole->size[0] ? data_bytes(whole) / whole->size[0] * first : 0;
    if (memcmp(mosaic_data(&part), (char *)mosaic_data(whole) + skipped, (size_t)data_bytes(&part)))
        fuzz_fail("other rows");
    mosaic_tensor_clear(&part);
}

/* Returns the bytes read; 0 for a tensor that is refused. */
static int64_t check_tensor(const mosaic_safetensors *file, int64_t i)
{
    mosaic_tensor whole = {0};
    mosaic_safetensors_info info;
    if (mosaic_safetensors_describe(&info, file, i)) fuzz_fail("describe");
    if (mosaic_safetensors_read(&whole, file, i, 0, -1)) return 0;
    int64_t bytes = data_bytes(&whole);
    if (whole.ndim) check_rows(file, i, &whole);
    mosaic_tensor_clear(&whole);
    return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    mosaic_safetensors *file = NULL;
    if (mosaic_safetensors_open(&file, fuzz_file(data, bytes))) return 0;
    int64_t total = 0;
    for (int64_t i = 0; i < mosaic_safetensors_count(file); i++) total += check_tensor(file, i);
    if (total > (int64_t)bytes) fuzz_fail("more data than bytes");
    for (int64_t i = 0; i < mosaic_safetensors_metadata_count(file); i++) {
        mosaic_text key, value;
        if (mosaic_safetensors_metadata(&key, &value, file, i)) fuzz_fail("metadata");
    }
    mosaic_safetensors_release(file);
    return 0;
}
