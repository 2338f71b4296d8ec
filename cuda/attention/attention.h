/* attention.h - a call of attention on its way to a kernel.
 *
 * attention.c makes a job of a call and gives it to the first of several paths that takes it:
 * PATH_takes says whether it can, PATH_run decides on tiles, has mosaic_attention_cut find out what
 * they see, and launches. A run may be repeated, to find where a program fails. */
#ifndef MOSAIC_CUDA_ATTENTION_H
#define MOSAIC_CUDA_ATTENTION_H
#include "../cuda.h"
#include "call.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { MOSAIC_ATTENTION_SCRATCH = 16 };

typedef struct {
    const mosaic_cuda *device;
    const mosaic_attention_call *call; /* its options have the programs */
    bool backward;
    mosaic_attention_args args;
    const mosaic_program_step *score_steps, *keep_steps; /* on the device, or NULL */
    mosaic_tensor scratch[MOSAIC_ATTENTION_SCRATCH];     /* blocks taken so far */
    int scratch_count;
} mosaic_attention_job;

/* Everything of the call but the tiles. */
mosaic_status mosaic_attention_prepare(mosaic_attention_job *job, const mosaic_attention_call *call,
                                       bool backward);
/* Decides on tiles of so many rows, and enqueues the kernels that fill the args' spans and extent
 * for them. May be called again, for other tiles. */
mosaic_status mosaic_attention_cut(mosaic_attention_job *job, int q_tile, int k_tile);
/* Device memory until it is released, which may be as soon as all is launched. */
mosaic_status mosaic_attention_scratch(mosaic_attention_job *job, void **data, int64_t bytes);
/* All but the first `keep` blocks. */
void mosaic_attention_release(mosaic_attention_job *job, int keep);

/* Many short problems without masks. */
bool mosaic_attention_small_takes(const mosaic_attention_job *job);
mosaic_status mosaic_attention_small_run(mosaic_attention_job *job);
/* Forward in bf16 and f16 on compute capability 9.0. */
bool mosaic_attention_hopper_takes(const mosaic_attention_job *job);
mosaic_status mosaic_attention_hopper_run(mosaic_attention_job *job);
/* Forward in f32, bf16 and f16 on tensor cores. */
bool mosaic_attention_tensor_takes(const mosaic_attention_job *job);
mosaic_status mosaic_attention_tensor_run(mosaic_attention_job *job);
/* Any call: double precision for f64, f32 else; where others are not at home. */
bool mosaic_attention_plain_takes(const mosaic_attention_job *job);
mosaic_status mosaic_attention_plain_run(mosaic_attention_job *job);

/* ---- spans.cu, extents.cu, split.cu --------------------------------------------------------- */

/* spans (b0, b1, tile) <- what positions (rows) and documents (b0, b1, rows) there are; documents
 * may have no data. */
mosaic_status mosaic_attention_spans(const mosaic_cuda *device, mosaic_attention_span *spans,
                                     const mosaic_attention_positions_of *positions,
                                     const mosaic_attention_view *documents, int64_t b0, int64_t b1,
                                     int64_t rows, int tile_rows);
/* args.extent <- what keep and the programs let through, tile by tile; its strides are given. */
mosaic_status mosaic_attention_extents(const mosaic_attention_job *job);
/* `to` <- planes of k or v in f32, (b0, b1, head, tile) of tensor_split_bytes. */
mosaic_status mosaic_attention_split(const mosaic_cuda *device, const mosaic_attention_args *a,
                                     const mosaic_attention_view *from, void *to);

#ifdef __cplusplus
}
#endif
#endif
