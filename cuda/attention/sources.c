/* sources.c - see sources.h. The Makefile writes MOSAIC_SOURCE_LIST, a file of lines
 *
 *   SOURCE(1, "cuda/attention/mask.h")
 *   COMPILED(2, "forward-64-2", "build/cuda/attention/variants/forward-64-2.fatbin") */
#include "sources.h"

#include <stddef.h>

/* The file's bytes, and a 0. */
#define EMBED(symbol, path)                                                                        \
    extern const char symbol[], symbol##_end[];                                                    \
    __asm__(".section .rodata\n.balign 16\n" #symbol ":\n.incbin \"" path "\"\n" #symbol           \
            "_end:\n.byte 0\n.previous\n");

#define SOURCE(n, path) EMBED(mosaic_source_##n, path)
#define COMPILED(n, name, path) EMBED(mosaic_compiled_##n, path)
#include MOSAIC_SOURCE_LIST
#undef SOURCE
#undef COMPILED

#define COMPILED(n, name, path)
const mosaic_source mosaic_sources[] = {
#define SOURCE(n, path) {path, mosaic_source_##n},
#include MOSAIC_SOURCE_LIST
#undef SOURCE
    {NULL, NULL}};
#undef COMPILED

#define SOURCE(n, path)
const mosaic_compiled mosaic_compiled_variants[] = {
#define COMPILED(n, name, path) {name, mosaic_compiled_##n, mosaic_compiled_##n##_end},
#include MOSAIC_SOURCE_LIST
    {NULL, NULL, NULL}};
