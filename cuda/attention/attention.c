/* attention.c - which kernels do a call of attention; and where its programs fail. */
#include "attention.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- paths ---------------------------------------------------------------------------------- */

typedef struct {
    const char *name;
    bool (*takes)(const mosaic_attention_job *job);
    mosaic_status (*run)(mosaic_attention_job *job);
    const char *needs; /* what it takes, in words */
} route;

/* The first that takes a job gets it; the last takes all. */
static const route paths[] = {
    {"small", mosaic_attention_small_takes, mosaic_attention_small_run,
     "batch x heads of 1024 or more, at most 16 rows each, heads of 4, 8, ... 48, not f64, no "
     "mask, "
     "bias or dropout"},
    {"hopper", mosaic_attention_hopper_takes, mosaic_attention_hopper_run,
     "compute capability 9.0, bf16 or f16, heads of 17 to 128, 64 rows or more of queries and of "
     "keys, strides of whole 16 bytes, and of masks causal, window, prefix and documents only"},
    {"tensor", mosaic_attention_tensor_takes, mosaic_attention_tensor_run,
     "f32, bf16 or f16, heads that fit in shared memory, backward no gradient of a bias, and a "
     "kernel that is compiled already or worth it, with libnvrtc"},
    {"plain", mosaic_attention_plain_takes, mosaic_attention_plain_run, "anything"},
};
enum { PATHS = sizeof paths / sizeof *paths };

/* MOSAIC_ATTENTION, where it leaves no choice but one path; else NULL. */
static const char *wanted_path(void)
{
    const char *name = getenv("MOSAIC_ATTENTION");
    return name && *name && strcmp(name, "auto") != 0 && strcmp(name, "mosaic") != 0 ? name : NULL;
}

static mosaic_status refuse(const mosaic_attention_job *job, const char *wanted)
{
    char known[128] = "auto, mosaic";
    const char *needs = NULL;
    for (int i = 0; i < PATHS; i++) {
        size_t length = strlen(known);
        if (!strcmp(wanted, paths[i].name)) needs = paths[i].needs;
        snprintf(known + length, sizeof known - length, ", %s", paths[i].name);
    }
    if (!needs)
        return mosaic_cuda_core->fail(
            MOSAIC_EINVAL, "attention: MOSAIC_ATTENTION=%s is not one of %s", wanted, known);
    return mosaic_cuda_core->fail(
        MOSAIC_ENOTSUP,
        "attention: MOSAIC_ATTENTION=%s cannot do this %s: q %s, k %s on %s of "
        "compute capability %d.%d; it needs %s",
        wanted, job->backward ? "backward" : "forward", mosaic_tensor_describe(&job->call->q),
        mosaic_tensor_describe(&job->call->k), job->device->name, job->device->capability / 10,
        job->device->capability % 10, needs);
}

static mosaic_status find_path(const route **path, const mosaic_attention_job *job)
{
    const char *wanted = wanted_path();
    for (int i = 0; i < PATHS; i++)
        if ((!wanted || !strcmp(wanted, paths[i].name)) && paths[i].takes(job)) {
            *path = &paths[i];
            return MOSAIC_OK;
        }
    return refuse(job, wanted ? wanted : "auto"); /* without a wish the last one takes it */
}

/* ---- faults of programs --------------------------------------------------------------------- */

static mosaic_status explain(const mosaic_attention_args *a, const mosaic_attention_fault *f)
{
    int64_t entry = f->at[0] / a->heads, b0 = entry / a->b1, b1 = entry % a->b1;
    int64_t batch = (a->batch_from[0] + b0) * a->batch_total + a->batch_from[1] + b1 + 1;
    return mosaic_cuda_core->fail(
        MOSAIC_EINVAL,
        "attention: %s looks up an entry that its table does not have, for b, h, i, j = "
        "%lld, %lld, %lld, %lld",
        f->at[3] ? "mask.score" : "mask.keep", (long long)batch,
        (long long)(a->head_from + f->at[0] % a->heads + 1), f->at[1], f->at[2]);
}

/* Waits for the kernels; where a look-up has failed, they run again until its place is known.
 * Blocks of scratch after the first `kept` are the last run's. */
static mosaic_status find_fault(mosaic_attention_job *job, const route *path, int kept)
{
    mosaic_attention_fault f = {0}, *record = job->args.fault;
    for (int known = 0; record && known < 4; known++) {
        if (known > 0) {
            f.known = known;
            MOSAIC_TRY(mosaic_cuda_from_host(&job->device->base, record, &f, sizeof f));
            mosaic_attention_release(job, kept);
            MOSAIC_TRY(path->run(job));
        }
        MOSAIC_TRY(mosaic_cuda_to_host(&job->device->base, &f, record, sizeof f));
        if (f.at[0] == LLONG_MAX) return MOSAIC_OK;
    }
    return record ? explain(&job->args, &f) : MOSAIC_OK;
}

/* ---- calls ---------------------------------------------------------------------------------- */

static mosaic_status run(const mosaic_attention_call *call, bool backward)
{
    mosaic_attention_job job;
    const route *path = NULL;
    mosaic_status status = mosaic_attention_prepare(&job, call, backward);
    int kept = job.scratch_count;
    if (!status) status = find_path(&path, &job);
    if (!status) status = path->run(&job);
    if (!status) status = find_fault(&job, path, kept);
    mosaic_attention_release(&job, 0);
    return status;
}

mosaic_status mosaic_cuda_attention(const mosaic_attention_call *call) { return run(call, false); }

mosaic_status mosaic_cuda_attention_backward(const mosaic_attention_call *call)
{
    return run(call, true);
}

/* ---- work ----------------------------------------------------------------------------------- */

mosaic_status mosaic_cuda_attention_work(const mosaic_device *self, mosaic_attention_work *work,
                                         int account)
{
    int64_t counts[4];
    const mosaic_cuda *d = (const mosaic_cuda *)self;
    MOSAIC_TRY(mosaic_cuda_to_host(self, counts, d->work + 4 * account, sizeof counts));
    for (int i = 0; i < 2; i++) {
        work[i].visible += counts[2 * i];
        work[i].computed += counts[2 * i + 1];
    }
    return MOSAIC_OK;
}

mosaic_status mosaic_cuda_attention_work_reset(const mosaic_device *self, int account)
{
    const mosaic_cuda *d = (const mosaic_cuda *)self;
    MOSAIC_TRY(mosaic_cuda_enter(d));
    return mosaic_cuda_check(
        d, "attention", cudaMemsetAsync(d->work + 4 * account, 0, 4 * sizeof *d->work, d->compute));
}
