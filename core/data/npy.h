/* npy.h - the parsed header of a .npy file.
 *
 * The file is: "\x93NUMPY", version (2 bytes), header length (2 bytes, from version 2 on 4), the
 * header, the data. The header is a Python literal of one fixed shape:
 *     {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } */
#ifndef MOSAIC_NPY_H
#define MOSAIC_NPY_H
#include "../mosaic.h"

enum { NPY_HEADER_LIMIT = 65535 };

typedef struct {
    const char *name; /* "<f4" */
    int dtype;        /* mosaic_dtype */
} npy_dtype;

/* Ended by a NULL name. */
extern const npy_dtype npy_dtypes[];

typedef struct {
    const npy_dtype *dtype;
    bool fortran;
    int ndim;
    int64_t size[8];
    int64_t bytes; /* of the data */
} npy_header;

/* Parses and checks text, which starts at byte `origin` of the file. */
mosaic_status npy_parse(npy_header *header, const char *path, const char *text, int64_t bytes,
                        int64_t origin);

#endif
