/* safetensors.c - reading tensors out of a safetensors file, and replacing one. */
#include "safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "../tensor.h"
#include "file.h"
#include "json.h"

struct mosaic_safetensors {
    mosaic_input input;
    safetensors_header header;
    int64_t data_offset; /* of the first byte of data in the file */
};

/* ---- opening -------------------------------------------------------------------------------- */

/* The header's length, checked against the limit and the file. */
static mosaic_status header_bytes(int64_t *bytes, const mosaic_input *in)
{
    uint64_t length = 0;
    if (in->bytes < 8)
        return mosaic_fail(MOSAIC_EIO, "%s: %lld bytes are too few for a safetensors file",
                           in->path, (long long)in->bytes);
    MOSAIC_TRY(mosaic_input_read(in, &length, 0, 8));
    if (length > SAFETENSORS_HEADER_LIMIT)
        return mosaic_fail(
            MOSAIC_EIO,
            "%s: not a safetensors file: a header of %llu bytes; at most %d are allowed", in->path,
            (unsigned long long)length, SAFETENSORS_HEADER_LIMIT);
    if ((int64_t)length > in->bytes - 8)
        return mosaic_fail(MOSAIC_EIO,
                           "%s: not a safetensors file: a header of %lld bytes in a file of %lld",
                           in->path, (long long)length, (long long)in->bytes);
    *bytes = (int64_t)length;
    return MOSAIC_OK;
}

static mosaic_status open_header(mosaic_safetensors *file)
{
    const mosaic_input *in = &file->input;
    int64_t bytes = 0;
    MOSAIC_TRY(header_bytes(&bytes, in));
    char *text = malloc(bytes ? (size_t)bytes : 1);
    if (!text) return mosaic_fail_memory(in->path, bytes);
    file->data_offset = 8 + bytes;
    mosaic_status status = mosaic_input_read(in, text, 8, bytes);
    if (!status)
        status =
            safetensors_parse(&file->header, in->path, text, bytes, in->bytes - file->data_offset);
    free(text);
    return status;
}

mosaic_status mosaic_safetensors_open(mosaic_safetensors **out, const char *path)
{
    mosaic_safetensors *file = calloc(1, sizeof *file);
    if (!file) return mosaic_fail_memory(path, sizeof *file);
    mosaic_status status = mosaic_input_open(&file->input, path);
    if (!status) status = open_header(file);
    if (status)
        mosaic_safetensors_release(file);
    else
        *out = file;
    return status;
}

void mosaic_safetensors_release(mosaic_safetensors *file)
{
    if (!file) return;
    safetensors_clear(&file->header);
    mosaic_input_close(&file->input);
    free(file);
}

/* ---- asking --------------------------------------------------------------------------------- */

int64_t mosaic_safetensors_count(const mosaic_safetensors *file) { return file->header.count; }

int64_t mosaic_safetensors_metadata_count(const mosaic_safetensors *file)
{
    return file->header.metadata_count;
}

static mosaic_status check_index(const mosaic_safetensors *file, int64_t i, int64_t count)
{
    MOSAIC_REQUIRE(i >= 0 && i < count, "%s: entry %lld of %lld", file->input.path,
                   (long long)i + 1, (long long)count);
    return MOSAIC_OK;
}

mosaic_status mosaic_safetensors_describe(mosaic_safetensors_info *info,
                                          const mosaic_safetensors *file, int64_t i)
{
    MOSAIC_TRY(check_index(file, i, file->header.count));
    const safetensors_item *item = &file->header.items[i];
    *info = (mosaic_safetensors_info){item->name, item->dtype->name, item->ndim, {0}};
    memcpy(info->size, item->size, sizeof info->size);
    return MOSAIC_OK;
}

mosaic_status mosaic_safetensors_metadata(mosaic_text *key, mosaic_text *value,
                                          const mosaic_safetensors *file, int64_t i)
{
    MOSAIC_TRY(check_index(file, i, file->header.metadata_count));
    *key = file->header.metadata[i].key;
    *value = file->header.metadata[i].value;
    return MOSAIC_OK;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Cuts rows [first, first + rows) (rows < 0: all from first on) out of the item: its size and byte
 * range. */
static mosaic_status cut_rows(safetensors_item *item, const char *path, int64_t first, int64_t rows)
{
    int name_bytes = item->name.bytes < 200 ? (int)item->name.bytes : 200;
    MOSAIC_REQUIRE(item->ndim > 0, "%s: tensor '%.*s' is a scalar and has no rows", path,
                   name_bytes, item->name.data);
    if (rows < 0 && first <= item->size[0]) rows = item->size[0] - first;
    MOSAIC_REQUIRE(
        first >= 0 && first <= item->size[0] && rows >= 0 && rows <= item->size[0] - first,
        "%s: rows %lld..%lld of tensor '%.*s', which has %lld", path, (long long)first + 1,
        (long long)(first + rows), name_bytes, item->name.data, (long long)item->size[0]);
    int64_t row_bytes = item->size[0] ? (item->end - item->begin) / item->size[0] : 0;
    item->begin += first * row_bytes;
    item->end = item->begin + rows * row_bytes;
    item->size[0] = rows;
    return MOSAIC_OK;
}

static mosaic_status read_item(mosaic_tensor *out, const mosaic_safetensors *file,
                               const safetensors_item *item)
{
    int64_t offset = file->data_offset + item->begin, bytes = item->end - item->begin;
    MOSAIC_TRY(
        mosaic_tensor_new(out, (mosaic_dtype)item->dtype->dtype, item->ndim, item->size, NULL));
    mosaic_status status = mosaic_input_read(&file->input, mosaic_data(out), offset, bytes);
    if (!status && !strcmp(item->dtype->name, "BOOL"))
        status = mosaic_check_truth(file->input.path, mosaic_data(out), bytes, offset);
    if (status) mosaic_tensor_clear(out);
    return status;
}

mosaic_status mosaic_safetensors_read(mosaic_tensor *out, const mosaic_safetensors *file, int64_t i,
                                      int64_t first, int64_t rows)
{
    MOSAIC_TRY(check_index(file, i, file->header.count));
    safetensors_item item = file->header.items[i];
    MOSAIC_REQUIRE(!out->storage, "%s: the output must be new, got %s", file->input.path,
                   mosaic_tensor_describe(out));
    if (item.dtype->dtype < 0)
        return mosaic_fail(MOSAIC_ENOTSUP, "%s: tensor '%.*s' is of dtype %s, which Mosaic lacks",
                           file->input.path, item.name.bytes < 200 ? (int)item.name.bytes : 200,
                           item.name.data, item.dtype->name);
    if (rows >= 0 || first != 0) MOSAIC_TRY(cut_rows(&item, file->input.path, first, rows));
    return read_item(out, file, &item);
}
