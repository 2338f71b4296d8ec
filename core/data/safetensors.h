/* safetensors.h - the parsed header of a safetensors file.
 *
 * The file is: 8 bytes little-endian header length, the header (JSON), the data. The header maps
 * names to {"dtype": "F32", "shape": [2,3], "data_offsets": [begin, end]}, with offsets counted
 * from the first byte of data, and "__metadata__" to an object of strings. */
#ifndef MOSAIC_SAFETENSORS_H
#define MOSAIC_SAFETENSORS_H
#include "../mosaic.h"

enum { SAFETENSORS_HEADER_LIMIT = 100000000 };

typedef struct {
    const char *name; /* "F32" */
    int bytes;
    int dtype; /* mosaic_dtype, -1 where Mosaic has none */
} safetensors_dtype;

/* The format's element types, ended by a NULL name. */
extern const safetensors_dtype safetensors_dtypes[];

typedef struct {
    mosaic_text name;
    const safetensors_dtype *dtype;
    int ndim;
    int64_t size[8];
    int64_t begin, end; /* bytes from the first byte of data */
} safetensors_item;

typedef struct {
    mosaic_text key, value;
} safetensors_pair;

typedef struct {
    char *strings; /* what the names, keys and values point into */
    safetensors_item *items;
    int64_t count, item_room;
    safetensors_pair *metadata;
    int64_t metadata_count, metadata_room;
} safetensors_header;

/* Parses and checks text; items end up in order of their data, metadata in order of their keys.
 * data_bytes is what follows the header in the file. The header must be cleared, also after an
 * error. */
mosaic_status safetensors_parse(safetensors_header *header, const char *path, const char *text,
                                int64_t bytes, int64_t data_bytes);
void safetensors_clear(safetensors_header *header);

/* Byte order, then length. */
int safetensors_compare(mosaic_text a, mosaic_text b);

#endif
