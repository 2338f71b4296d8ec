/* npy.c - reading and replacing .npy files. */
#include "npy.h"

#include <stdio.h>
#include <string.h>

#include "../tensor.h"
#include "file.h"

static const char magic[] = "\x93NUMPY";

/* ---- reading -------------------------------------------------------------------------------- */

/* Version and length of the header: the header's text is bytes [from, from + *bytes). */
static mosaic_status read_prefix(const mosaic_input *in, int64_t *from, int64_t *bytes)
{
    uint8_t prefix[12] = {0};
    int64_t available = in->bytes < 12 ? in->bytes : 12;
    MOSAIC_TRY(mosaic_input_read(in, prefix, 0, available));
    if (available < 10 || memcmp(prefix, magic, 6))
        return mosaic_fail(MOSAIC_EIO, "%s: not a .npy file", in->path);
    if (prefix[6] < 1 || prefix[6] > 3 || prefix[7])
        return mosaic_fail(MOSAIC_EIO, "%s: version %d.%d; 1.0, 2.0 and 3.0 are known", in->path,
                           prefix[6], prefix[7]);
    *from = prefix[6] == 1 ? 10 : 12;
    *bytes = prefix[8] | prefix[9] << 8;
    if (*from == 12) *bytes |= (int64_t)prefix[10] << 16 | (int64_t)prefix[11] << 24;
    if (*bytes > NPY_HEADER_LIMIT || *bytes > in->bytes - *from)
        return mosaic_fail(MOSAIC_EIO, "%s: a header of %lld bytes in a file of %lld; at most %d",
                           in->path, (long long)*bytes, (long long)in->bytes, NPY_HEADER_LIMIT);
    return MOSAIC_OK;
}

static mosaic_status read_header(const mosaic_input *in, npy_header *header, int64_t *data_offset)
{
    char text[NPY_HEADER_LIMIT];
    int64_t from = 0, bytes = 0;
    MOSAIC_TRY(read_prefix(in, &from, &bytes));
    MOSAIC_TRY(mosaic_input_read(in, text, from, bytes));
    MOSAIC_TRY(npy_parse(header, in->path, text, bytes, from));
    *data_offset = from + bytes;
    if (in->bytes - *data_offset == header->bytes) return MOSAIC_OK;
    return mosaic_fail(MOSAIC_EIO, "%s: the array takes %lld bytes, the file has %lld of data",
                       in->path, (long long)header->bytes, (long long)(in->bytes - *data_offset));
}

/* Cuts the header down to rows [first, first + rows); rows < 0: all from first on. */
static mosaic_status cut_rows(npy_header *header, const char *path, int64_t first, int64_t rows)
{
    MOSAIC_REQUIRE(header->ndim > 0, "%s: a scalar has no rows", path);
    if (rows < 0 && first <= header->size[0]) rows = header->size[0] - first;
    MOSAIC_REQUIRE(first <= header->size[0] && rows >= 0 && rows <= header->size[0] - first,
                   "%s: rows %lld..%lld of an array of %lld", path, (long long)first + 1,
                   (long long)(first + rows), (long long)header->size[0]);
    header->bytes = header->size[0] ? header->bytes / header->size[0] * rows : 0;
    header->size[0] = rows;
    return MOSAIC_OK;
}

/* The bytes of rows [first, first + part->size[0]) of an array of total_rows rows. In C's order
 * they are one piece, in Fortran's one piece per column. */
static mosaic_status read_data(const mosaic_input *in, char *to, const npy_header *part,
                               int64_t offset, int64_t first, int64_t total_rows)
{
    int64_t rows = part->ndim ? part->size[0] : 1;
    if (part->bytes == 0) return MOSAIC_OK;
    int64_t element = mosaic_dtype_bytes((mosaic_dtype)part->dtype->dtype);
    int64_t pieces = part->fortran ? part->bytes / element / rows : 1;
    int64_t piece = part->bytes / pieces;
    int64_t step = part->fortran ? total_rows * element : part->bytes;
    offset += first * (part->fortran ? element : part->bytes / rows);
    bool truth = !strcmp(part->dtype->name, "|b1");
    for (int64_t i = 0; i < pieces; i++, to += piece, offset += step) {
        MOSAIC_TRY(mosaic_input_read(in, to, offset, piece));
        if (truth) MOSAIC_TRY(mosaic_check_truth(in->path, (uint8_t *)to, piece, offset));
    }
    return MOSAIC_OK;
}

/* A new tensor for the data: in Fortran's order its memory has the axes reversed. */
static mosaic_status make_tensor(mosaic_tensor *out, const npy_header *header)
{
    int64_t size[MOSAIC_MAX_DIMS];
    int reversed[MOSAIC_MAX_DIMS], n = header->ndim;
    for (int i = 0; i < n; i++) {
        reversed[i] = n - 1 - i;
        size[i] = header->size[header->fortran ? n - 1 - i : i];
    }
    MOSAIC_TRY(mosaic_tensor_new(out, (mosaic_dtype)header->dtype->dtype, n, size, NULL));
    if (!header->fortran) return MOSAIC_OK;
    return mosaic_permute(out, out, n, reversed);
}

static mosaic_status read_array(mosaic_tensor *out, const mosaic_input *in, int64_t first,
                                int64_t rows)
{
    npy_header header;
    int64_t offset = 0;
    MOSAIC_TRY(read_header(in, &header, &offset));
    int64_t total_rows = header.ndim ? header.size[0] : 1;
    if (rows >= 0 || first > 0) MOSAIC_TRY(cut_rows(&header, in->path, first, rows));
    MOSAIC_TRY(make_tensor(out, &header));
    mosaic_status status = read_data(in, mosaic_data(out), &header, offset, first, total_rows);
    if (status) mosaic_tensor_clear(out);
    return status;
}

mosaic_status mosaic_npy_read(mosaic_tensor *out, const char *path, int64_t first, int64_t rows)
{
    mosaic_input in;
    MOSAIC_REQUIRE(!out->storage, "%s: the output must be new, got %s", path,
                   mosaic_tensor_describe(out));
    MOSAIC_REQUIRE(first >= 0, "%s: row %lld", path, (long long)first + 1);
    MOSAIC_TRY(mosaic_input_open(&in, path));
    mosaic_status status = read_array(out, &in, first, rows);
    mosaic_input_close(&in);
    return status;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Version 1.0, padded with spaces to a multiple of 64 bytes; returns the length. */
static int write_header(char *text, size_t room, const char *dtype, const mosaic_tensor *a)
{
    int n = 10 + snprintf(text + 10, room - 10,
                          "{'descr': '%s', 'fortran_order': False, 'shape': (", dtype);
    for (int i = 0; i < a->ndim; i++)
        n += snprintf(text + n, room - (size_t)n, i ? " %lld," : "%lld,", (long long)a->size[i]);
    if (a->ndim > 1) n--; /* the last comma stays only in a list of one */
    n += snprintf(text + n, room - (size_t)n, "), }");
    while ((n + 1) % 64) text[n++] = ' ';
    text[n++] = '\n';
    memcpy(text, magic, 6);
    text[6] = 1, text[7] = 0;
    text[8] = (char)((n - 10) & 255), text[9] = (char)((n - 10) >> 8);
    return n;
}

static mosaic_status write_file(const char *path, const char *header, int header_bytes,
                                const mosaic_tensor *packed)
{
    mosaic_file *file;
    int64_t bytes = mosaic_tensor_numel(packed) * mosaic_dtype_bytes((mosaic_dtype)packed->dtype);
    MOSAIC_TRY(mosaic_file_new(&file, path));
    mosaic_status status = mosaic_file_append(file, header, header_bytes);
    if (!status) status = mosaic_file_append(file, mosaic_data(packed), bytes);
    if (!status) status = mosaic_file_commit(file);
    mosaic_file_release(file);
    return status;
}

mosaic_status mosaic_npy_save(const char *path, const mosaic_tensor *a)
{
    char header[512];
    mosaic_tensor packed = {0};
    const npy_dtype *type = npy_dtypes;
    MOSAIC_TRY(mosaic_check_operands("npy", a, NULL));
    while (type->name && type->dtype != a->dtype) type++;
    if (!type->name)
        return mosaic_fail(MOSAIC_ENOTSUP, "%s: .npy has no dtype for %s: convert it first", path,
                           mosaic_tensor_describe(a));
    MOSAIC_TRY(mosaic_convert(&packed, a, (mosaic_dtype)a->dtype, "cpu"));
    mosaic_status status =
        write_file(path, header, write_header(header, sizeof header, type->name, a), &packed);
    mosaic_tensor_clear(&packed);
    return status;
}
