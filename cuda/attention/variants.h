/* variants.h - kernels compiled for one head size, one dtype and the programs of one mask.
 *
 * A variant is a file of cuda/attention/ with definitions: HEAD (the head size), ELEMENT (the
 * dtype's number in mosaic_dtype), and program.h, which is written for each mask (program.c). The
 * usual ones are compiled with the plug-in (Makefile, VARIANTS); others at first use by CUDA's
 * run-time compiler, libnvrtc, and kept on disk (MOSAIC_CACHE, default ~/.cache/mosaic). */
#ifndef MOSAIC_ATTENTION_VARIANTS_H
#define MOSAIC_ATTENTION_VARIANTS_H
#include "../cuda.h"
#include "call.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const char *file;   /* "forward.cu" */
    const char *kernel; /* extern "C", takes one struct: mosaic_attention_args, or more */
    int head, element;
    const mosaic_program *score, *keep_if; /* or NULL */
} mosaic_variant;

/* Is the variant compiled with the plug-in, or could it be compiled for this device? */
bool mosaic_variant_possible(const mosaic_cuda *device, const mosaic_variant *variant);

/* Is it there, without anything being compiled? */
bool mosaic_variant_ready(const mosaic_cuda *device, const mosaic_variant *variant);

/* Starts the kernel with that argument on the compute stream, compiling it before if need be. */
mosaic_status mosaic_variant_launch(const mosaic_cuda *device, const mosaic_variant *variant,
                                    int64_t blocks, int threads, int64_t shared_bytes,
                                    const mosaic_attention_args *args);
/* The same of a kernel that takes another struct, of so many bytes. */
mosaic_status mosaic_variant_launch_with(const mosaic_cuda *device, const mosaic_variant *variant,
                                         int64_t blocks, int threads, int64_t shared_bytes,
                                         const void *args, int64_t args_bytes);

/* For checks on machines without a GPU: does it compile for this architecture, and to how many
 * bytes? */
MOSAIC_API mosaic_status mosaic_cuda_compile(int64_t *bytes, const char *arch, const char *file,
                                             int head, int element, const mosaic_program *score,
                                             const mosaic_program *keep_if);

/* Text of program.h, malloc'ed; NULL: no memory. */
char *mosaic_program_text(const mosaic_program *score, const mosaic_program *keep_if);

#ifdef __cplusplus
}
#endif
#endif
