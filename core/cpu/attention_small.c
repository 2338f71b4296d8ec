/* attention_small.c - attention over a short axis of many problems, spread over threads. */
#include "attention_small.h"

#include "../parallel.h"
#include "attention_threads.h"
#include "attention_unit.h"
#include "cpu.h"
#include "kernels.h"

/* Up to so many pairs of a query row and a key the kernels for short axes are faster, measured for
 * head sizes 8 to 128 on every ISA; with few query rows, whatever the keys: tiles have lanes for
 * more. */
enum { SMALL_PAIRS = 640, FEW_ROWS = 8, FEW_ROWS_KEYS = 128 };

bool mosaic_attention_is_small(const mosaic_attention_call *c)
{
    const mosaic_attention_options *o = &c->options;
    const int64_t *q = c->q.size, *k = c->k.size, rows = q[2] / k[2] * q[3];
    bool few = rows <= FEW_ROWS ? k[3] <= FEW_ROWS_KEYS : rows * k[3] <= SMALL_PAIRS;
    return c->q.dtype != MOSAIC_DTYPE_F64 && few && k[3] > 0 &&
           k[0] * k[1] * k[2] >= mosaic_cpu()->attention_small->lanes &&
           !mosaic_attention_has_limits(o) && !o->alibi && !mosaic_attention_has_programs(o) &&
           !o->q_documents && !o->keep && !o->bias;
}

typedef struct {
    const mosaic_attention_call *call;
    mosaic_attention_threads threads;
} job;

static void run(void *context, int64_t from, int64_t to)
{
    job *j = context;
    const mosaic_attention_small_kernels *small = mosaic_cpu()->attention_small;
    void *scratch = mosaic_attention_take(&j->threads);
    if (scratch)
        (j->call->dout.storage ? small->backward : small->forward)(j->call, from, to, scratch);
    mosaic_attention_give(&j->threads, scratch);
}

mosaic_status mosaic_attention_small(const mosaic_attention_call *call)
{
    const mosaic_attention_small_kernels *small = mosaic_cpu()->attention_small;
    const int64_t *q = call->q.size, *k = call->k.size, problems = k[0] * k[1] * k[2];
    job j = {.call = call, .threads.scratch = small->scratch(call)};
    j.threads.work.visible = j.threads.work.computed = q[0] * q[1] * q[2] * q[3] * k[3];
    int64_t rows = q[2] / k[2] * q[3], moved = 16 * (rows + k[3]); /* about, beside the products */
    int64_t work = (rows * k[3] + moved) * q[4];
    int64_t grain = (MOSAIC_ATTENTION_WORK / work / small->lanes + 1) * small->lanes;
    mosaic_parallel(problems, grain, run, &j);
    return mosaic_attention_done(&j.threads, call);
}
