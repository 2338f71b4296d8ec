/* compiler.h - compiles one variant when it is asked for: by NVRTC (cuda/gpu/compiler.c), or by the
 * host's C++ compiler where devices are emulated (cuda/emulated/compiler.c). */
#ifndef MOSAIC_ATTENTION_COMPILER_H
#define MOSAIC_ATTENTION_COMPILER_H
#include "sources.h"
#include "variants.h"

/* Compiled code, malloc'ed unless it is part of the plug-in. */
typedef struct {
    void *data;
    int64_t bytes;
} mosaic_image;

/* What a variant is compiled from, besides the sources: text of program.h, an architecture. */
typedef struct {
    const mosaic_variant *variant;
    const char *program;
    char arch[16]; /* "sm_90a" */
} mosaic_compiler_job;

void mosaic_compiler_arch(char arch[16], const mosaic_cuda *device);
/* NULL: it can compile for this architecture; else why not. */
const char *mosaic_compiler_missing(const char *arch);
/* Where compiled code is kept unless MOSAIC_CACHE says; NULL: among the user's files. */
const char *mosaic_compiler_folder(void);
/* Compiler and options in words: other words, other code. */
void mosaic_compiler_describe(char *text, size_t room);
mosaic_status mosaic_compiler_run(mosaic_image *image, const mosaic_compiler_job *job);

/* What an image holds, for good, and one of its kernels. */
mosaic_status mosaic_library_load(void **library, const mosaic_cuda *device,
                                  const mosaic_image *image);
mosaic_status mosaic_library_kernel(void **kernel, const mosaic_cuda *device, void *library,
                                    const char *name);
mosaic_status mosaic_kernel_launch(const mosaic_cuda *device, void *kernel, int64_t blocks,
                                   int threads, int64_t shared_bytes, const void *args,
                                   int64_t args_bytes);

#endif
