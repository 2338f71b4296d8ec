/* tensor_path.h - what tensor.c, which starts kernels forward, and the files that start backward
 * ones know of each other. */
#ifndef MOSAIC_ATTENTION_TENSOR_PATH_H
#define MOSAIC_ATTENTION_TENSOR_PATH_H
#include "attention.h"
#include "variants.h"

#ifdef __cplusplus
extern "C" {
#endif

/* tensor.c: is the variant there, or is the call large enough to compile it? */
bool mosaic_attention_worthwhile(const mosaic_attention_job *job, const mosaic_variant *variant);

/* backward.c: all gradients but that of a bias. */
bool mosaic_attention_backward_takes(const mosaic_attention_job *job);
mosaic_status mosaic_attention_backward_run(mosaic_attention_job *job);

/* backward_pack.cu: enqueues the packing, and has the job's operands be what was packed. */
mosaic_status mosaic_attention_backward_pack(mosaic_attention_job *job);

#ifdef __cplusplus
}
#endif
#endif
