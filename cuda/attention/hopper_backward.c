/* hopper_backward.c - gradients by warpgroups: of which calls, and how they are started. */
#include <limits.h>

#include "backward.h"
#include "hopper_map.h"
#include "tensor_path.h"

enum { ELEMENT_BYTES = 2, TERMS = sizeof(backward_terms) / sizeof(float) };

static mosaic_variant variant_of(const mosaic_attention_job *job, const char *kernel)
{
    return (mosaic_variant){.file = "hopper_backward.cu",
                            .kernel = kernel,
                            .head = job->args.d,
                            .element = job->args.dtype};
}

static int stay_of(const mosaic_attention_args *a) { return 64 * MOSAIC_HOPPER_CONSUMERS(a->d); }

static int64_t blocks_of(const mosaic_attention_args *a, int64_t heads, int64_t rows)
{
    return (rows + stay_of(a) - 1) / stay_of(a) * a->b0 * a->b1 * heads;
}

bool mosaic_hopper_backward_takes(const mosaic_attention_job *job)
{
    const mosaic_attention_args *a = &job->args;
    mosaic_variant variant = variant_of(job, "");
    return !a->dbias.data && blocks_of(a, a->heads, a->nq) <= INT_MAX &&
           blocks_of(a, a->kv_heads, a->nk) <= INT_MAX &&
           mosaic_variant_possible(job->device, &variant) &&
           mosaic_attention_worthwhile(job, &variant);
}

static int64_t shared_bytes(int64_t d)
{
    const int64_t columns = MOSAIC_HOPPER_COLUMNS(d), parts = (d + columns - 1) / columns;
    const int64_t row = parts * columns * ELEMENT_BYTES, stages = MOSAIC_HOPPER_PASSING(d);
    return 2 * row * 64 * MOSAIC_HOPPER_CONSUMERS(d) +
           stages * MOSAIC_HOPPER_BOX * (2 * row + (int64_t)sizeof(backward_terms)) +
           MOSAIC_HOPPER_BACKWARD_CONTROL;
}

/* Terms are 4 numbers of f32, and their strides count terms. */
static hopper_operand terms_of(const mosaic_attention_args *a)
{
    hopper_operand o = mosaic_hopper_operand(a, &a->delta, a->nq, a->heads);
    o.dtype = MOSAIC_ATTENTION_F32;
    o.size[0] = TERMS;
    o.stride[0] = 1;
    for (int axis = 1; axis < HOPPER_AXES; axis++) o.stride[axis] *= TERMS;
    return o;
}

static mosaic_status make_maps(mosaic_hopper_backward_call *c, const mosaic_attention_args *a)
{
    const struct {
        mosaic_tile_map *map;
        hopper_operand operand;
    } all[] = {
        {&c->q, mosaic_hopper_operand(a, &a->q, a->nq, a->heads)},
        {&c->k, mosaic_hopper_operand(a, &a->k, a->nk, a->kv_heads)},
        {&c->v, mosaic_hopper_operand(a, &a->v, a->nk, a->kv_heads)},
        {&c->dout, mosaic_hopper_operand(a, &a->dout, a->nq, a->heads)},
        {&c->terms, terms_of(a)},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        MOSAIC_TRY(mosaic_hopper_map(all[i].map, all[i].operand, MOSAIC_HOPPER_BOX));
    return MOSAIC_OK;
}

static mosaic_status start(mosaic_attention_job *job, mosaic_hopper_backward_call *c,
                           const char *kernel, int64_t blocks)
{
    const mosaic_attention_args *a = &job->args;
    mosaic_variant variant = variant_of(job, kernel);
    c->args = *a;
    return mosaic_variant_launch_with(job->device, &variant, blocks,
                                      128 * (MOSAIC_HOPPER_CONSUMERS(a->d) + 1), shared_bytes(a->d),
                                      c, sizeof *c);
}

static mosaic_status run_kernels(mosaic_attention_job *job)
{
    mosaic_hopper_backward_call c;
    const mosaic_attention_args *a = &job->args;
    MOSAIC_TRY(mosaic_attention_backward_pack(job));
    MOSAIC_TRY(make_maps(&c, a));
    MOSAIC_TRY(mosaic_attention_cut(job, MOSAIC_HOPPER_BOX, stay_of(a)));
    MOSAIC_TRY(start(job, &c, "hopper_backward_keys", blocks_of(a, a->kv_heads, a->nk)));
    MOSAIC_TRY(mosaic_attention_cut(job, stay_of(a), MOSAIC_HOPPER_BOX));
    return start(job, &c, "hopper_backward_queries", blocks_of(a, a->heads, a->nq));
}

/* The job is left as it was, for another run. */
mosaic_status mosaic_hopper_backward_run(mosaic_attention_job *job)
{
    mosaic_attention_args before = job->args;
    mosaic_status status = run_kernels(job);
    job->args = before;
    return status;
}
