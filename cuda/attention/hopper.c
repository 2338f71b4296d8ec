/* hopper.c - which calls the Hopper kernels take, and how the forward one is started. */
#include <limits.h>

#include "hopper_map.h"
#include "tensor_path.h"

enum { ELEMENT_BYTES = 2, LEAST_ROWS = 64 };

static mosaic_variant variant_of(const mosaic_attention_job *job)
{
    return (mosaic_variant){.file = "hopper.cu",
                            .kernel = "hopper_forward",
                            .head = job->args.d,
                            .element = job->args.dtype};
}

static int64_t blocks_of(const mosaic_attention_args *a)
{
    const int queries = 64 * MOSAIC_HOPPER_CONSUMERS(a->d);
    return (a->nq + queries - 1) / queries * a->b0 * a->b1 * a->heads;
}

bool mosaic_hopper_is_usual(const mosaic_attention_job *job)
{
    const mosaic_attention_args *a = &job->args;
    const unsigned known = MOSAIC_ATTENTION_LIMITS | MOSAIC_ATTENTION_DOCUMENTS;
    bool half = a->dtype == MOSAIC_ATTENTION_BF16 || a->dtype == MOSAIC_ATTENTION_F16;
    if (job->device->capability != 90 || !half || a->d <= 16 || a->d > 128 || a->entries & ~known ||
        a->nq < LEAST_ROWS || a->nk < LEAST_ROWS || !((float)a->scale > 0))
        return false; /* scores are hidden, and their largest is found, before they are scaled */
    hopper_operand q = mosaic_hopper_operand(a, &a->q, a->nq, a->heads);
    hopper_operand k = mosaic_hopper_operand(a, &a->k, a->nk, a->kv_heads);
    hopper_operand v = mosaic_hopper_operand(a, &a->v, a->nk, a->kv_heads);
    return mosaic_hopper_can_map(&q) && mosaic_hopper_can_map(&k) && mosaic_hopper_can_map(&v);
}

bool mosaic_attention_hopper_takes(const mosaic_attention_job *job)
{
    mosaic_variant variant = variant_of(job);
    if (!mosaic_hopper_is_usual(job)) return false;
    if (job->backward) return mosaic_hopper_backward_takes(job);
    return blocks_of(&job->args) <= INT_MAX && mosaic_variant_possible(job->device, &variant) &&
           mosaic_attention_worthwhile(job, &variant);
}

static int64_t shared_bytes(int64_t d)
{
    const int64_t columns = MOSAIC_HOPPER_COLUMNS(d), parts = (d + columns - 1) / columns;
    const int64_t row = parts * columns * ELEMENT_BYTES, stages = MOSAIC_HOPPER_STAGES(d);
    return row * (64 * MOSAIC_HOPPER_CONSUMERS(d) + 2 * stages * MOSAIC_HOPPER_KEYS) +
           (4 * stages + 1) * (int64_t)sizeof(uint64_t);
}

mosaic_status mosaic_attention_hopper_run(mosaic_attention_job *job)
{
    mosaic_hopper_call c;
    mosaic_variant variant = variant_of(job);
    const mosaic_attention_args *a = &job->args;
    if (job->backward) return mosaic_hopper_backward_run(job);
    MOSAIC_TRY(mosaic_attention_cut(job, 64 * MOSAIC_HOPPER_CONSUMERS(a->d), MOSAIC_HOPPER_KEYS));
    MOSAIC_TRY(mosaic_hopper_map(&c.q, mosaic_hopper_operand(a, &a->q, a->nq, a->heads),
                                 MOSAIC_HOPPER_BOX));
    MOSAIC_TRY(mosaic_hopper_map(&c.k, mosaic_hopper_operand(a, &a->k, a->nk, a->kv_heads),
                                 MOSAIC_HOPPER_KEYS));
    MOSAIC_TRY(mosaic_hopper_map(&c.v, mosaic_hopper_operand(a, &a->v, a->nk, a->kv_heads),
                                 MOSAIC_HOPPER_KEYS));
    c.args = *a;
    return mosaic_variant_launch_with(job->device, &variant, blocks_of(a),
                                      128 * (MOSAIC_HOPPER_CONSUMERS(a->d) + 1), shared_bytes(a->d),
                                      &c, sizeof c);
}
