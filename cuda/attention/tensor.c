/* tensor.c - the path by tensor cores: which calls take it, and how they are started; gradients by
 * backward.c. */
#include "tensor.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "tensor_path.h"

static int64_t blocks_of(const mosaic_attention_args *a)
{
    int queries = tensor_queries(a->d, a->dtype);
    bool packs = tensor_packs(a, queries);
    int64_t units = a->b0 * a->b1 * (packs ? a->kv_heads : a->heads);
    int64_t rows = packs ? a->heads / a->kv_heads * a->nq : a->nq;
    return units * ((rows + queries - 1) / queries);
}

static mosaic_variant variant_of(const mosaic_attention_job *job)
{
    const mosaic_attention_options *o = &job->call->options;
    return (mosaic_variant){"forward.cu", "attention_forward", job->args.d, job->args.dtype,
                            o->score,     o->keep_if};
}

/* Products of numbers from which on it is worth to compile a kernel, which takes seconds: the plain
 * path does smaller calls in a few milliseconds. */
enum { WORTH_COMPILING = 1 << 30 };

bool mosaic_attention_worthwhile(const mosaic_attention_job *job, const mosaic_variant *variant)
{
    const mosaic_attention_args *a = &job->args;
    const char *wanted = getenv("MOSAIC_ATTENTION");
    double products = (double)(a->b0 * a->b1 * a->heads) * (double)a->nq * (double)a->nk * a->d;
    return mosaic_variant_ready(job->device, variant) || products >= WORTH_COMPILING ||
           (wanted &&
            (!strcmp(wanted, "tensor") || !strcmp(wanted, "hopper") || !strcmp(wanted, "small")));
}

bool mosaic_attention_tensor_takes(const mosaic_attention_job *job)
{
    const mosaic_attention_args *a = &job->args;
    if (a->dtype == MOSAIC_ATTENTION_F64) return false;
    if (job->backward) return mosaic_attention_backward_takes(job);
    mosaic_variant variant = variant_of(job);
    int64_t tiles = (a->nk + tensor_keys(a->d, a->dtype) - 1) / tensor_keys(a->d, a->dtype);
    int64_t shared = tensor_shared_bytes(a->d, a->dtype) + TENSOR_STATIC_BYTES;
    return shared <= job->device->shared_limit && blocks_of(a) <= INT_MAX &&
           a->b0 * a->b1 * a->kv_heads * tiles <= INT_MAX &&
           mosaic_variant_possible(job->device, &variant) &&
           mosaic_attention_worthwhile(job, &variant);
}

/* What comes instead of keys, or values, of f32. */
static mosaic_status split(mosaic_attention_job *job, mosaic_attention_view *view)
{
    const mosaic_attention_args *a = &job->args;
    int keys = tensor_keys(a->d, a->dtype);
    int64_t tiles = (a->nk + keys - 1) / keys;
    mosaic_attention_view planes = {0};
    if (tiles == 0) return MOSAIC_OK;
    MOSAIC_TRY(
        mosaic_attention_scratch(job, (void **)&planes.data,
                                 a->b0 * a->b1 * a->kv_heads * tiles * tensor_split_bytes(a->d)));
    MOSAIC_TRY(mosaic_attention_split(job->device, a, view, planes.data));
    *view = planes;
    return MOSAIC_OK;
}

mosaic_status mosaic_attention_tensor_run(mosaic_attention_job *job)
{
    if (job->backward) return mosaic_attention_backward_run(job);
    mosaic_variant variant = variant_of(job);
    mosaic_attention_args *a = &job->args, kept = *a;
    MOSAIC_TRY(
        mosaic_attention_cut(job, tensor_queries(a->d, a->dtype), tensor_keys(a->d, a->dtype)));
    if (a->dtype == MOSAIC_ATTENTION_F32) {
        MOSAIC_TRY(split(job, &a->k));
        MOSAIC_TRY(split(job, &a->v));
    }
    mosaic_status status =
        mosaic_variant_launch(job->device, &variant, blocks_of(a), TENSOR_THREADS,
                              tensor_shared_bytes(a->d, a->dtype), a);
    a->k = kept.k; /* a run may be repeated */
    a->v = kept.v;
    return status;
}
