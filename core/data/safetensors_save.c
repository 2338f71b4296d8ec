/* safetensors_save.c - replacing a safetensors file.
 *
 * Order of the data: large elements first, so that everything is aligned, then by name. The header
 * lists the tensors in that order and is padded with spaces to a multiple of 8 bytes. */
#include <stdlib.h>
#include <string.h>

#include "../tensor.h"
#include "file.h"
#include "json.h"
#include "safetensors.h"

typedef struct {
    mosaic_text name;
    const mosaic_tensor *tensor; /* NULL: name and value are metadata */
    mosaic_text value;
} entry;

static int64_t element_bytes(const entry *e)
{
    return e->tensor ? mosaic_dtype_bytes((mosaic_dtype)e->tensor->dtype) : 0;
}

static int by_place(const void *a, const void *b)
{
    int64_t x = element_bytes(a), y = element_bytes(b);
    if (x != y) return x > y ? -1 : 1;
    return safetensors_compare(((const entry *)a)->name, ((const entry *)b)->name);
}

static int by_name(const void *a, const void *b)
{
    return safetensors_compare(((const entry *)a)->name, ((const entry *)b)->name);
}

static mosaic_status check_utf8(const char *path, mosaic_text text)
{
    int64_t valid = mosaic_utf8_prefix(text.data, text.bytes);
    MOSAIC_REQUIRE(valid == text.bytes, "%s: byte %lld of a name or metadata is not UTF-8", path,
                   (long long)valid + 1);
    return MOSAIC_OK;
}

/* Names must be UTF-8 and differ. Leaves the entries sorted by name. */
static mosaic_status check_entries(entry *entries, int64_t count, const char *path)
{
    for (int64_t i = 0; i < count; i++) {
        MOSAIC_TRY(check_utf8(path, entries[i].name));
        if (!entries[i].tensor) {
            MOSAIC_TRY(check_utf8(path, entries[i].value));
            continue;
        }
        MOSAIC_TRY(mosaic_check_operands("save", entries[i].tensor, NULL));
        MOSAIC_REQUIRE(entries[i].name.bytes != 12 ||
                           memcmp(entries[i].name.data, "__metadata__", 12),
                       "%s: a tensor cannot be called __metadata__", path);
    }
    if (count) qsort(entries, (size_t)count, sizeof *entries, by_name);
    for (int64_t i = 1; i < count; i++)
        MOSAIC_REQUIRE(by_name(&entries[i - 1], &entries[i]), "%s: '%.*s' is given twice", path,
                       entries[i].name.bytes < 200 ? (int)entries[i].name.bytes : 200,
                       entries[i].name.data);
    return MOSAIC_OK;
}

/* ---- the header ----------------------------------------------------------------------------- */

static void write_metadata(FILE *out, const entry *metadata, int64_t count)
{
    fputs("\"__metadata__\":{", out);
    for (int64_t i = 0; i < count; i++) {
        if (i) fputc(',', out);
        mosaic_json_quote(out, metadata[i].name);
        fputc(':', out);
        mosaic_json_quote(out, metadata[i].value);
    }
    fputc('}', out);
}

static const char *dtype_name(int dtype)
{
    const safetensors_dtype *type = safetensors_dtypes;
    while (type->dtype != dtype) type++;
    return type->name;
}

static void write_item(FILE *out, const entry *e, int64_t *end)
{
    int64_t begin = *end;
    *end += mosaic_tensor_numel(e->tensor) * element_bytes(e);
    mosaic_json_quote(out, e->name);
    fprintf(out, ":{\"dtype\":\"%s\",\"shape\":[", dtype_name(e->tensor->dtype));
    for (int i = 0; i < e->tensor->ndim; i++)
        fprintf(out, i ? ",%lld" : "%lld", (long long)e->tensor->size[i]);
    fprintf(out, "],\"data_offsets\":[%lld,%lld]}", (long long)begin, (long long)*end);
}

/* The first 8 + N bytes of the file, in a block that the caller frees. */
static mosaic_status write_header(char **text, size_t *bytes, const char *path,
                                  const entry *tensors, int64_t count, const entry *metadata,
                                  int64_t metadata_count)
{
    *text = NULL;
    FILE *out = open_memstream(text, bytes);
    if (!out) return mosaic_fail_memory(path, 64);
    int64_t end = 0;
    fwrite("\0\0\0\0\0\0\0", 1, 8, out);
    fputc('{', out);
    if (metadata_count) write_metadata(out, metadata, metadata_count);
    for (int64_t i = 0; i < count; i++) {
        if (i || metadata_count) fputc(',', out);
        write_item(out, &tensors[i], &end);
    }
    fputc('}', out);
    fflush(out);
    while (*bytes % 8 && !ferror(out)) {
        fputc(' ', out);
        fflush(out);
    }
    int failed = ferror(out), not_closed = fclose(out);
    if (failed || not_closed) return mosaic_fail_memory(path, (int64_t)*bytes);
    uint64_t length = *bytes - 8;
    memcpy(*text, &length, 8);
    if (length > SAFETENSORS_HEADER_LIMIT)
        return mosaic_fail(MOSAIC_EINVAL, "%s: a header of %llu bytes; at most %d are allowed",
                           path, (unsigned long long)length, SAFETENSORS_HEADER_LIMIT);
    return MOSAIC_OK;
}

/* ---- the file ------------------------------------------------------------------------------- */

static mosaic_status append_tensor(mosaic_file *file, const mosaic_tensor *a)
{
    mosaic_tensor packed = {0};
    int64_t bytes = mosaic_tensor_numel(a) * mosaic_dtype_bytes((mosaic_dtype)a->dtype);
    if (mosaic_device_of(a) == &mosaic_cpu_device && mosaic_tensor_is_contiguous(a))
        return mosaic_file_append(file, mosaic_data(a), bytes);
    MOSAIC_TRY(mosaic_convert(&packed, a, (mosaic_dtype)a->dtype, "cpu"));
    mosaic_status status = mosaic_file_append(file, mosaic_data(&packed), bytes);
    mosaic_tensor_clear(&packed);
    return status;
}

static mosaic_status write_file(const char *path, const char *header, size_t header_bytes,
                                const entry *tensors, int64_t count)
{
    mosaic_file *file;
    MOSAIC_TRY(mosaic_file_new(&file, path));
    mosaic_status status = mosaic_file_append(file, header, (int64_t)header_bytes);
    for (int64_t i = 0; !status && i < count; i++) status = append_tensor(file, tensors[i].tensor);
    if (!status) status = mosaic_file_commit(file);
    mosaic_file_release(file);
    return status;
}

static mosaic_status save(const char *path, entry *tensors, int64_t count, entry *metadata,
                          int64_t metadata_count)
{
    char *header;
    size_t header_bytes;
    MOSAIC_TRY(check_entries(tensors, count, path));
    MOSAIC_TRY(check_entries(metadata, metadata_count, path));
    if (count) qsort(tensors, (size_t)count, sizeof *tensors, by_place);
    mosaic_status status =
        write_header(&header, &header_bytes, path, tensors, count, metadata, metadata_count);
    if (!status) status = write_file(path, header, header_bytes, tensors, count);
    free(header);
    return status;
}

mosaic_status mosaic_safetensors_save(const char *path, int64_t count, const mosaic_text *names,
                                      const mosaic_tensor *const *tensors, int64_t metadata_count,
                                      const mosaic_text *keys, const mosaic_text *values)
{
    MOSAIC_REQUIRE(count >= 0 && metadata_count >= 0, "%s: %lld tensors, %lld metadata", path,
                   (long long)count, (long long)metadata_count);
    entry *entries = calloc((size_t)count + (size_t)metadata_count + 1, sizeof *entries);
    if (!entries) return mosaic_fail_memory(path, count + metadata_count);
    entry *metadata = entries + count;
    static const mosaic_tensor nothing; /* for a missing tensor: check_entries refuses it */
    for (int64_t i = 0; i < count; i++)
        entries[i] = (entry){.name = names[i], .tensor = tensors[i] ? tensors[i] : &nothing};
    for (int64_t i = 0; i < metadata_count; i++)
        metadata[i] = (entry){.name = keys[i], .value = values[i]};
    mosaic_status status = save(path, entries, count, metadata, metadata_count);
    free(entries);
    return status;
}
