/* small.c - which calls the kernels for short axes take, and their grid. */
#include "tensor_path.h"

enum { ROWS = 16, THREADS = 128, VECTOR = 4, MAX_HEAD = 48 /* more spills */, PROBLEMS = 1024 };

/* From so many problems on a kernel that has not come compiled is: a second, once for a machine,
 * which keeps it on disk. By estimate, for nothing has been timed: the plain path has a block of
 * 128 threads for each problem, which waits 3 us for memory, 12 of them at a time on each of 132
 * multiprocessors, and so takes 30 us for 16 K problems of 5 rows with d = 24, where small.cu moves
 * 31 MB, in 10 us. That second comes back after 50 000 calls, 4000 steps of a model with 6 layers,
 * and sooner the more problems there are. With fewer, calls take little more than their launch. */
enum { WORTH_COMPILING = 16 * PROBLEMS };

static mosaic_variant variant_of(const mosaic_attention_job *job)
{
    return (mosaic_variant){.file = "small.cu",
                            .kernel = job->backward ? "small_backward" : "small_forward",
                            .head = job->args.d,
                            .element = job->args.dtype};
}

bool mosaic_attention_small_takes(const mosaic_attention_job *job)
{
    const mosaic_attention_args *a = &job->args;
    mosaic_variant variant = variant_of(job);
    int64_t problems = a->b0 * a->b1 * a->heads;
    return a->dtype != MOSAIC_DTYPE_F64 && a->nq <= ROWS && a->nk <= ROWS && a->nk > 0 &&
           a->d % VECTOR == 0 && a->d <= MAX_HEAD && !a->entries && problems >= PROBLEMS &&
           (!job->backward || (a->heads == a->kv_heads && !a->dbias.data)) &&
           mosaic_variant_possible(job->device, &variant) &&
           (problems >= WORTH_COMPILING || mosaic_attention_worthwhile(job, &variant));
}

mosaic_status mosaic_attention_small_run(mosaic_attention_job *job)
{
    const mosaic_attention_args *a = &job->args;
    int64_t rows = a->nq > a->nk ? a->nq : a->nk, per_block = THREADS / rows;
    int64_t problems = a->b0 * a->b1 * a->heads;
    int64_t shared = job->backward ? 2 * per_block * a->nq * a->nk * (int64_t)sizeof(float) : 0;
    mosaic_variant variant = variant_of(job);
    return mosaic_variant_launch(job->device, &variant, (problems + per_block - 1) / per_block,
                                 THREADS, shared, a);
}
