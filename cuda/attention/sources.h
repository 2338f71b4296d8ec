/* sources.h - what the plug-in carries of its own sources, for variants that are compiled later,
 * and the variants that were compiled with it. The Makefile lists both. */
#ifndef MOSAIC_ATTENTION_SOURCES_H
#define MOSAIC_ATTENTION_SOURCES_H
#include <stdint.h>

typedef struct {
    const char *path; /* "cuda/attention/mask.h"; NULL ends the list */
    const char *text;
} mosaic_source;

extern const mosaic_source mosaic_sources[];

/* Masks without programs, for all architectures that the plug-in is built for. */
typedef struct {
    const char *name; /* "forward-64-2": file, HEAD, ELEMENT; NULL ends the list */
    const char *data, *end;
} mosaic_compiled;

extern const mosaic_compiled mosaic_compiled_variants[];

#endif
