/* npy_header.c - from a .npy header's text to sizes and dtype; nothing of it is evaluated. */
#include "npy.h"

#include <string.h>

#include "json.h"

const npy_dtype npy_dtypes[] = {
    {"<f4", MOSAIC_DTYPE_F32}, {"<f8", MOSAIC_DTYPE_F64},
    {"<f2", MOSAIC_DTYPE_F16}, {"<i4", MOSAIC_DTYPE_I32},
    {"<i8", MOSAIC_DTYPE_I64}, {"|u1", MOSAIC_DTYPE_U8},
    {"|b1", MOSAIC_DTYPE_U8},  {NULL, -1},
};

/* 'text' or "text", without escapes; returns what is between the quotes. */
static mosaic_status parse_string(mosaic_json *json, mosaic_text *out)
{
    char quote = mosaic_json_accept(json, "'") ? '\'' : '"';
    if (quote == '"') MOSAIC_TRY(mosaic_json_expect(json, '"'));
    const char *from = json->text + json->at;
    int64_t left = json->bytes - json->at, n = 0;
    while (n < left && from[n] != quote && from[n] != '\\') n++;
    json->at += n;
    if (n == left || from[n] != quote) return mosaic_json_fail(json, "the end of a plain string");
    json->at++;
    *out = (mosaic_text){from, n};
    return MOSAIC_OK;
}

static mosaic_status parse_descr(mosaic_json *json, npy_header *header)
{
    mosaic_text name = {0};
    MOSAIC_TRY(parse_string(json, &name));
    const npy_dtype *type = npy_dtypes;
    while (type->name && (name.bytes != 3 || memcmp(name.data, type->name, 3))) type++;
    header->dtype = type;
    if (type->name) return MOSAIC_OK;
    return mosaic_fail(MOSAIC_EIO,
                       "%s: byte %lld: dtype '%.*s' is not one of <f2 <f4 <f8 <i4 <i8 |u1 |b1",
                       json->path, (long long)(json->origin + json->at),
                       name.bytes < 20 ? (int)name.bytes : 20, name.data);
}

static mosaic_status parse_order(mosaic_json *json, npy_header *header)
{
    header->fortran = mosaic_json_accept(json, "True");
    if (header->fortran || mosaic_json_accept(json, "False")) return MOSAIC_OK;
    return mosaic_json_fail(json, "True or False");
}

/* (), (3,), (3, 4) or (3, 4,) */
static mosaic_status parse_shape(mosaic_json *json, npy_header *header)
{
    MOSAIC_TRY(mosaic_json_expect(json, '('));
    for (header->ndim = 0; !mosaic_json_accept(json, ")");) {
        if (header->ndim == MOSAIC_MAX_DIMS) return mosaic_json_fail(json, "at most 8 sizes");
        MOSAIC_TRY(mosaic_json_natural(json, &header->size[header->ndim++]));
        if (mosaic_json_accept(json, ",")) continue;
        if (header->ndim == 1) return mosaic_json_fail(json, "',' after the only size");
        return mosaic_json_expect(json, ')');
    }
    return MOSAIC_OK;
}

static mosaic_status parse_member(mosaic_json *json, npy_header *header, unsigned *seen)
{
    static const char *const names[] = {"descr", "fortran_order", "shape"};
    static mosaic_status (*const parsers[])(mosaic_json *,
                                            npy_header *) = {parse_descr, parse_order, parse_shape};
    mosaic_text key = {0};
    int field = 0;
    MOSAIC_TRY(parse_string(json, &key));
    while (field < 3 && (key.bytes != (int64_t)strlen(names[field]) ||
                         memcmp(key.data, names[field], (size_t)key.bytes)))
        field++;
    if (field == 3 || *seen >> field & 1u)
        return mosaic_json_fail(json, "descr, fortran_order and shape, each once,");
    *seen |= 1u << field;
    MOSAIC_TRY(mosaic_json_expect(json, ':'));
    return parsers[field](json, header);
}

static mosaic_status parse_dict(mosaic_json *json, npy_header *header)
{
    unsigned seen = 0;
    MOSAIC_TRY(mosaic_json_expect(json, '{'));
    while (!mosaic_json_accept(json, "}")) {
        MOSAIC_TRY(parse_member(json, header, &seen));
        if (mosaic_json_accept(json, ",")) continue;
        MOSAIC_TRY(mosaic_json_expect(json, '}'));
        break;
    }
    if (seen != 7) return mosaic_json_fail(json, "descr, fortran_order and shape before");
    return mosaic_json_end(json);
}

mosaic_status npy_parse(npy_header *header, const char *path, const char *text, int64_t bytes,
                        int64_t origin)
{
    mosaic_json json = {path, text, bytes, 0, origin, NULL};
    *header = (npy_header){0};
    MOSAIC_TRY(parse_dict(&json, header));
    header->bytes = mosaic_dtype_bytes((mosaic_dtype)header->dtype->dtype);
    bool fits = true, empty = false;
    for (int i = 0; i < header->ndim; i++) {
        int64_t size = header->size[i];
        empty = empty || size == 0;
        fits = fits && !__builtin_mul_overflow(header->bytes, size ? size : 1, &header->bytes);
    }
    if (!fits) return mosaic_fail(MOSAIC_EIO, "%s: a shape of more than 2^63 bytes", path);
    if (empty) header->bytes = 0;
    return MOSAIC_OK;
}
