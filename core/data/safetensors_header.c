/* safetensors_header.c - from the header's JSON to checked tensors: every rule of the format.
 *
 * What the parser promises: each name once; each shape times its element size is exactly the bytes
 * between its offsets; and the tensors, in order of their offsets, cover the data without a gap or
 * an overlap. A tensor without elements may sit at any border between two others. */
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "json.h"
#include "safetensors.h"

const safetensors_dtype safetensors_dtypes[] = {
    {"F32", 4, MOSAIC_DTYPE_F32},
    {"F64", 8, MOSAIC_DTYPE_F64},
    {"BF16", 2, MOSAIC_DTYPE_BF16},
    {"F16", 2, MOSAIC_DTYPE_F16},
    {"I32", 4, MOSAIC_DTYPE_I32},
    {"I64", 8, MOSAIC_DTYPE_I64},
    {"U8", 1, MOSAIC_DTYPE_U8},
    {"BOOL", 1, MOSAIC_DTYPE_U8},
    {"I8", 1, -1},
    {"I16", 2, -1},
    {"U16", 2, -1},
    {"U32", 4, -1},
    {"U64", 8, -1},
    {"F8_E4M3", 1, -1},
    {"F8_E5M2", 1, -1},
    {NULL, 0, -1},
};

static bool equals(mosaic_text text, const char *name)
{
    return text.bytes == (int64_t)strlen(name) && !memcmp(text.data, name, strlen(name));
}

int safetensors_compare(mosaic_text a, mosaic_text b)
{
    int64_t shorter = a.bytes < b.bytes ? a.bytes : b.bytes;
    int order = memcmp(a.data, b.data, (size_t)shorter);
    return order ? order : (a.bytes > b.bytes) - (a.bytes < b.bytes);
}

/* The length of a text for "%.*s": names in messages are cut at 200 bytes. */
static int shown(mosaic_text text) { return text.bytes < 200 ? (int)text.bytes : 200; }

/* ---- one tensor ----------------------------------------------------------------------------- */

static mosaic_status parse_dtype(mosaic_json *json, safetensors_item *item)
{
    mosaic_text name;
    MOSAIC_TRY(mosaic_json_string(json, &name));
    const safetensors_dtype *type = safetensors_dtypes;
    while (type->name && !equals(name, type->name)) type++;
    item->dtype = type;
    if (type->name) return MOSAIC_OK;
    return mosaic_fail(MOSAIC_EIO, "%s: byte %lld: unknown dtype '%.*s' of tensor '%.*s'",
                       json->path, (long long)(json->origin + json->at), shown(name), name.data,
                       shown(item->name), item->name.data);
}

static mosaic_status parse_shape(mosaic_json *json, safetensors_item *item)
{
    MOSAIC_TRY(mosaic_json_expect(json, '['));
    for (item->ndim = 0;; item->ndim++) {
        bool more;
        MOSAIC_TRY(mosaic_json_more(json, ']', item->ndim, &more));
        if (!more) return MOSAIC_OK;
        if (item->ndim == MOSAIC_MAX_DIMS)
            return mosaic_json_fail(json, "at most 8 sizes in a shape");
        MOSAIC_TRY(mosaic_json_natural(json, &item->size[item->ndim]));
    }
}

static mosaic_status parse_offsets(mosaic_json *json, safetensors_item *item)
{
    MOSAIC_TRY(mosaic_json_expect(json, '['));
    MOSAIC_TRY(mosaic_json_natural(json, &item->begin));
    MOSAIC_TRY(mosaic_json_expect(json, ','));
    MOSAIC_TRY(mosaic_json_natural(json, &item->end));
    return mosaic_json_expect(json, ']');
}

/* {"dtype": ..., "shape": ..., "data_offsets": ...}: each field once, in any order. */
static mosaic_status parse_item(mosaic_json *json, safetensors_item *item)
{
    static const char *const names[] = {"dtype", "shape", "data_offsets"};
    static mosaic_status (*const parsers[])(mosaic_json *, safetensors_item *) = {
        parse_dtype, parse_shape, parse_offsets};
    unsigned seen = 0;
    MOSAIC_TRY(mosaic_json_expect(json, '{'));
    for (int64_t i = 0;; i++) {
        bool more;
        mosaic_text key;
        int field = 0;
        MOSAIC_TRY(mosaic_json_more(json, '}', i, &more));
        if (!more) break;
        MOSAIC_TRY(mosaic_json_key(json, &key));
        while (field < 3 && !equals(key, names[field])) field++;
        if (field == 3 || seen >> field & 1u)
            return mosaic_json_fail(json, "dtype, shape and data_offsets, each once,");
        seen |= 1u << field;
        MOSAIC_TRY(parsers[field](json, item));
    }
    return seen == 7 ? MOSAIC_OK : mosaic_json_fail(json, "dtype, shape and data_offsets before");
}

/* ---- the header ----------------------------------------------------------------------------- */

static mosaic_status parse_metadata(mosaic_json *json, safetensors_header *header)
{
    MOSAIC_TRY(mosaic_json_expect(json, '{'));
    for (;; header->metadata_count++) {
        bool more;
        MOSAIC_TRY(mosaic_json_more(json, '}', header->metadata_count, &more));
        if (!more) return MOSAIC_OK;
        safetensors_pair *grown = mosaic_grow(header->metadata, &header->metadata_room,
                                              header->metadata_count + 1, sizeof *grown);
        if (!grown) return mosaic_fail_memory(json->path, json->bytes);
        header->metadata = grown;
        safetensors_pair *pair = &grown[header->metadata_count];
        MOSAIC_TRY(mosaic_json_key(json, &pair->key));
        MOSAIC_TRY(mosaic_json_string(json, &pair->value));
    }
}

static mosaic_status parse_tensor(mosaic_json *json, safetensors_header *header, mosaic_text name)
{
    safetensors_item *grown =
        mosaic_grow(header->items, &header->item_room, header->count + 1, sizeof *grown);
    if (!grown) return mosaic_fail_memory(json->path, json->bytes);
    header->items = grown;
    grown[header->count] = (safetensors_item){.name = name};
    return parse_item(json, &grown[header->count++]);
}

static mosaic_status parse_members(mosaic_json *json, safetensors_header *header)
{
    bool metadata_seen = false;
    MOSAIC_TRY(mosaic_json_expect(json, '{'));
    for (int64_t i = 0;; i++) {
        bool more;
        mosaic_text key;
        MOSAIC_TRY(mosaic_json_more(json, '}', i, &more));
        if (!more) return mosaic_json_end(json);
        MOSAIC_TRY(mosaic_json_key(json, &key));
        if (!equals(key, "__metadata__")) {
            MOSAIC_TRY(parse_tensor(json, header, key));
            continue;
        }
        if (metadata_seen) return mosaic_json_fail(json, "__metadata__ only once");
        metadata_seen = true;
        MOSAIC_TRY(parse_metadata(json, header));
    }
}

/* ---- rules over all tensors ----------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return safetensors_compare(((const safetensors_item *)a)->name,
                               ((const safetensors_item *)b)->name);
}

static int by_key(const void *a, const void *b)
{
    return safetensors_compare(((const safetensors_pair *)a)->key,
                               ((const safetensors_pair *)b)->key);
}

/* By begin, then end; equal (empty) ranges keep the order of their names, so every run agrees. */
static int by_offset(const void *a, const void *b)
{
    const safetensors_item *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return by_name(a, b);
}

static mosaic_status refuse_duplicates(safetensors_header *header, const char *path)
{
    if (header->count) qsort(header->items, (size_t)header->count, sizeof *header->items, by_name);
    if (header->metadata_count)
        qsort(header->metadata, (size_t)header->metadata_count, sizeof *header->metadata, by_key);
    for (int64_t i = 1; i < header->count; i++)
        if (by_name(&header->items[i - 1], &header->items[i]) == 0)
            return mosaic_fail(MOSAIC_EIO, "%s: tensor '%.*s' appears twice", path,
                               shown(header->items[i].name), header->items[i].name.data);
    for (int64_t i = 1; i < header->metadata_count; i++)
        if (by_key(&header->metadata[i - 1], &header->metadata[i]) == 0)
            return mosaic_fail(MOSAIC_EIO, "%s: metadata key '%.*s' appears twice", path,
                               shown(header->metadata[i].key), header->metadata[i].key.data);
    return MOSAIC_OK;
}

/* end - begin must be elements x size. Sizes multiply as if 0 were 1, so that strides fit too. */
static mosaic_status check_bytes(const safetensors_item *item, const char *path)
{
    int64_t bytes = item->dtype->bytes;
    bool fits = true, empty = false;
    for (int i = 0; i < item->ndim; i++) {
        empty = empty || item->size[i] == 0;
        fits = fits && !__builtin_mul_overflow(bytes, item->size[i] ? item->size[i] : 1, &bytes);
    }
    if (!fits)
        return mosaic_fail(MOSAIC_EIO, "%s: tensor '%.*s' has a shape of more than 2^63 bytes",
                           path, shown(item->name), item->name.data);
    bytes = empty ? 0 : bytes;
    if (item->begin <= item->end && item->end - item->begin == bytes) return MOSAIC_OK;
    return mosaic_fail(MOSAIC_EIO,
                       "%s: tensor '%.*s' has %lld bytes by its shape, but data_offsets "
                       "[%lld,%lld]",
                       path, shown(item->name), item->name.data, (long long)bytes,
                       (long long)item->begin, (long long)item->end);
}

static mosaic_status check_cover(safetensors_header *header, const char *path, int64_t data_bytes)
{
    int64_t end = 0;
    if (header->count)
        qsort(header->items, (size_t)header->count, sizeof *header->items, by_offset);
    for (int64_t i = 0; i < header->count; i++) {
        const safetensors_item *item = &header->items[i];
        MOSAIC_TRY(check_bytes(item, path));
        if (item->begin != end)
            return mosaic_fail(MOSAIC_EIO,
                               "%s: tensor '%.*s' begins at byte %lld of the data, where %lld "
                               "was expected: a gap or an overlap",
                               path, shown(item->name), item->name.data, (long long)item->begin,
                               (long long)end);
        end = item->end;
    }
    if (end == data_bytes) return MOSAIC_OK;
    return mosaic_fail(MOSAIC_EIO, "%s: the tensors take %lld bytes, the file has %lld of data",
                       path, (long long)end, (long long)data_bytes);
}

mosaic_status safetensors_parse(safetensors_header *header, const char *path, const char *text,
                                int64_t bytes, int64_t data_bytes)
{
    *header = (safetensors_header){.strings = malloc(bytes ? (size_t)bytes : 1)};
    if (!header->strings) return mosaic_fail_memory(path, bytes);
    mosaic_json json = {path, text, bytes, 0, 8, header->strings};
    MOSAIC_TRY(mosaic_json_check_utf8(&json));
    MOSAIC_TRY(parse_members(&json, header));
    MOSAIC_TRY(refuse_duplicates(header, path));
    return check_cover(header, path, data_bytes);
}

void safetensors_clear(safetensors_header *header)
{
    free(header->strings);
    free(header->items);
    free(header->metadata);
    *header = (safetensors_header){0};
}
