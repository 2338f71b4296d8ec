/* support.h - what the fuzz targets share: the input as a file, and a device of plain malloc. */
#ifndef FUZZ_SUPPORT_H
#define FUZZ_SUPPORT_H
#include "../../core/device.h"

/* A path at which a file with these bytes lies until the next call. */
const char *fuzz_file(const uint8_t *data, size_t bytes);

/* Ends the process: the library broke a promise. */
void fuzz_fail(const char *text);

#endif
