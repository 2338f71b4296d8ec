/* backward.c - gradients on tensor cores: of which calls, and how they are started. */
#include "backward.h"

#include <limits.h>

#include "tensor_path.h"

static mosaic_variant variant_of(const mosaic_attention_job *job, const char *kernel)
{
    const mosaic_attention_options *o = &job->call->options;
    return (mosaic_variant){"backward.cu",   kernel,   job->args.d,
                            job->args.dtype, o->score, o->keep_if};
}

static int64_t tiles_of(int64_t rows, int tile) { return (rows + tile - 1) / tile; }

/* Kernels count tiles in int. */
static bool counts(const mosaic_attention_args *a)
{
    int stay = backward_stay(a->d, a->dtype), pass = backward_pass(a->d, a->dtype);
    int64_t batch = a->b0 * a->b1, most = INT_MAX / 2;
    return batch * a->kv_heads * tiles_of(a->nk, stay) <= most &&
           batch * a->heads * tiles_of(a->nq, stay) <= most &&
           a->heads / a->kv_heads * tiles_of(a->nq, pass) < most && tiles_of(a->nk, pass) < most;
}

enum { STATIC_BYTES = 1024 }; /* of shared memory, rounded up */

/* dbias is the plain path's, and so is what has no rows, and what needs more shared memory than a
 * block of this device may have: f32 takes 83 KB at d = 64, 157 KB at d = 128 and 299 KB at d =
 * 256, of the 163 KB of compute capability 8.0, 99 KB of 8.6 and 8.9, 227 KB of 9.0 and 10.0. */
bool mosaic_attention_backward_takes(const mosaic_attention_job *job)
{
    const mosaic_attention_args *a = &job->args;
    mosaic_variant v = variant_of(job, "backward_keys");
    return a->nq > 0 && a->nk > 0 && !a->dbias.data && counts(a) &&
           backward_shared_bytes(a->d, a->dtype) + STATIC_BYTES <= job->device->shared_limit &&
           mosaic_variant_possible(job->device, &v) && mosaic_attention_worthwhile(job, &v);
}

static mosaic_status start(mosaic_attention_job *job, const char *kernel, int64_t blocks)
{
    const mosaic_attention_args *a = &job->args;
    mosaic_variant v = variant_of(job, kernel);
    return mosaic_variant_launch(job->device, &v, blocks, TENSOR_THREADS,
                                 backward_shared_bytes(a->d, a->dtype), a);
}

static mosaic_status run_kernels(mosaic_attention_job *job)
{
    mosaic_attention_args *a = &job->args;
    int stay = backward_stay(a->d, a->dtype), pass = backward_pass(a->d, a->dtype);
    int64_t batch = a->b0 * a->b1, times = backward_splits(a->d) ? 2 : 1;
    MOSAIC_TRY(mosaic_attention_backward_pack(job));
    MOSAIC_TRY(mosaic_attention_cut(job, pass, stay));
    MOSAIC_TRY(start(job, "backward_keys", times * batch * a->kv_heads * tiles_of(a->nk, stay)));
    MOSAIC_TRY(mosaic_attention_cut(job, stay, pass));
    return start(job, "backward_queries", batch * a->heads * tiles_of(a->nq, stay));
}

/* The job is left as it was, for another run. */
mosaic_status mosaic_attention_backward_run(mosaic_attention_job *job)
{
    mosaic_attention_args before = job->args;
    mosaic_status status = run_kernels(job);
    job->args = before;
    return status;
}
