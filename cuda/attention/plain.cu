/* plain.cu - the plain path: starts the kernels of plain_forward.h and plain_backward.h. */
#include <launch.h>

#include "attention.h"
#include "plain_backward.h"
#include "plain_forward.h"
#include "variants.h"

template <class T, int N>
static __global__ void __launch_bounds__(LANES *MOST_ROWS) forward(const mosaic_attention_args a)
{
    plain_forward<T, N>(a);
}

template <class T, int N>
static __global__ void __launch_bounds__(LANES *MOST_ROWS)
    backward_keys(const mosaic_attention_args a)
{
    plain_backward_keys<T, N>(a);
}

template <class T, int N>
static __global__ void __launch_bounds__(LANES *MOST_ROWS)
    backward_queries(const mosaic_attention_args a)
{
    plain_backward_queries<T, N>(a);
}

template <class T, int N>
static __global__ void __launch_bounds__(LANES *MOST_ROWS)
    backward_bias(const mosaic_attention_args a)
{
    plain_backward_bias<T>(a);
}

/* ---- starting them -------------------------------------------------------------------------- */

typedef enum { FORWARD, BACKWARD_KEYS, BACKWARD_QUERIES, BACKWARD_BIAS } pass;

typedef void (*kernel)(const mosaic_attention_args a);

template <class T, int N> static kernel kernel_of(pass which)
{
    const kernel all[] = {forward<T, N>, backward_keys<T, N>, backward_queries<T, N>,
                          backward_bias<T, 1>};
    return all[which];
}

template <class T> static kernel kernel_for(pass which, int d)
{
    return d <= 64    ? kernel_of<T, 64 / LANES>(which)
           : d <= 128 ? kernel_of<T, 128 / LANES>(which)
                      : kernel_of<T, 256 / LANES>(which);
}

static int64_t shared_of(pass which, const mosaic_attention_args &a, int rows)
{
    int64_t element = a.dtype == MOSAIC_ATTENTION_F64 ? 8 : 4;
    int64_t bytes =
        plain_shared(rows, a.d, which == FORWARD ? 3 : 4, which == FORWARD ? 1 : 2, element);
    return which == BACKWARD_BIAS ? bytes + 8 * rows * (rows + 1) : bytes;
}

/* As many as there is shared memory for, and no more than there are rows. */
static int rows_for(pass which, const mosaic_attention_job *job)
{
    const mosaic_attention_args &a = job->args;
    int64_t longest = a.nq > a.nk ? a.nq : a.nk;
    int rows = MOST_ROWS;
    while (rows > LANES &&
           (rows >= 2 * longest || shared_of(which, a, rows) > job->device->shared_limit))
        rows /= 2;
    return rows;
}

static int64_t blocks_for(pass which, const mosaic_attention_args &a, int rows)
{
    int64_t batch = a.b0 * a.b1, tiles_q = (a.nq + rows - 1) / rows,
            tiles_k = (a.nk + rows - 1) / rows;
    if (which == BACKWARD_BIAS) return count_of(bias_axes_of(a, rows).distinct);
    return which == BACKWARD_KEYS ? batch * a.kv_heads * tiles_k : batch * a.heads * tiles_q;
}

/* With programs: compiled for them. */
static mosaic_status start_variant(const mosaic_attention_job *job, pass which, int rows)
{
    static const char *const names[] = {"forward", "backward_keys", "backward_queries",
                                        "backward_bias"};
    const mosaic_attention_args &a = job->args;
    const mosaic_attention_options &o = job->call->options;
    bool wide = a.dtype == MOSAIC_ATTENTION_F64;
    mosaic_variant v = {which == FORWARD ? "plain_forward.cu" : "plain_backward.cu",
                        names[which],
                        a.d <= 64    ? 64
                        : a.d <= 128 ? 128
                                     : 256,
                        wide ? MOSAIC_ATTENTION_F64 : MOSAIC_ATTENTION_F32,
                        o.score,
                        o.keep_if};
    return mosaic_variant_launch(job->device, &v, blocks_for(which, a, rows), LANES * rows,
                                 shared_of(which, a, rows), &a);
}

static mosaic_status start(mosaic_attention_job *job, pass which)
{
    const mosaic_attention_args &a = job->args;
    int rows = rows_for(which, job);
    size_t shared = (size_t)shared_of(which, a, rows);
    MOSAIC_TRY(mosaic_attention_cut(job, rows, rows));
    if (blocks_for(which, a, rows) > INT32_MAX)
        return mosaic_cuda_core->fail(MOSAIC_ENOTSUP, "attention: q %s is too large for %s",
                                      mosaic_tensor_describe(&job->call->q), job->device->name);
    if (a.entries & (MOSAIC_ATTENTION_KEEP_IF | MOSAIC_ATTENTION_SCORE))
        return start_variant(job, which, rows);
    kernel k = a.dtype == MOSAIC_ATTENTION_F64 ? kernel_for<double>(which, a.d)
                                               : kernel_for<float>(which, a.d);
    MOSAIC_TRY(mosaic_allow_shared(job->device, "attention", k, shared));
    return mosaic_launch(job->device, "attention", k, (unsigned)blocks_for(which, a, rows),
                         (unsigned)(LANES * rows), shared, a);
}

bool mosaic_attention_plain_takes(const mosaic_attention_job *) { return true; }

mosaic_status mosaic_attention_plain_run(mosaic_attention_job *job)
{
    if (!job->backward) return start(job, FORWARD);
    MOSAIC_TRY(start(job, BACKWARD_KEYS));
    MOSAIC_TRY(start(job, BACKWARD_QUERIES));
    return job->args.dbias.data ? start(job, BACKWARD_BIAS) : MOSAIC_OK;
}
