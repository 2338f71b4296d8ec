/* attention.c - cuts attention into units and spreads them over threads.
 *
 * A unit is the group of query heads that share one key/value head of one batch entry. Forward, the
 * queries of a unit are cut further; backward, its keys are, because all its queries add to the
 * same dk and dv, and chunks of keys add to dq in order. Units whose dbias is the same memory are
 * worked through in order, too. On the number of threads depends how rows are cut and who does
 * what, but no bit of a result. */
#include "attention_unit.h"

#include <stdlib.h>
#include <string.h>

#include "../parallel.h"
#include "../pause.h"
#include "attention_small.h"
#include "attention_threads.h"
#include "cpu.h"
#include "kernels.h"

/* ---- work ----------------------------------------------------------------------------------- */

typedef struct {
    const mosaic_attention_call *call;
    const mosaic_attention_kernels *forward;
    const mosaic_attention_backward_kernels *backward;
    mosaic_attention_plan positions;
    int64_t units, rows;           /* rows of a unit */
    int64_t row_chunk, row_chunks; /* rows of a task, at most; tasks of a unit */
    int64_t keys, key_chunks;      /* backward: of a chunk; chunks of a unit */
    int64_t taken, *passed;        /* chunks; (units, chunks): mosaic_attention_part */
    int64_t outer[3], shared[3];   /* (b0, b1, kv_heads): spread over threads; done in turn */
    mosaic_attention_survey survey;
    mosaic_attention_reaches *reaches; /* (units), or NULL */
    mosaic_attention_threads threads;
    mosaic_attention_fault fault;
} job;

static mosaic_attention_unit unit_of(const job *j, int64_t index)
{
    const int64_t *size = j->call->k.size;
    mosaic_attention_unit u =
        mosaic_attention_unit_at(j->call, &j->positions, index / (size[1] * size[2]),
                                 index / size[2] % size[1], index % size[2]);
    if (j->reaches) u.reaches = &j->reaches[index];
    return u;
}

/* Unit i + 1, in `room`, where that is before `to`. */
static const mosaic_attention_unit *unit_after(const job *j, int64_t i, int64_t to,
                                               mosaic_attention_unit *room)
{
    if (i + 1 >= to) return NULL;
    *room = unit_of(j, i + 1);
    return room;
}

enum { ROW_STEP = 96 /* whole tiles on every ISA */ };

/* The more rows, the less often keys are packed for them; but their queries and results have to
 * stay in the second-level cache, and threads want several tasks each, as many as each other. */
static int64_t tasks_of_unit(const job *j)
{
    enum { CACHED = 36864 /* elements */, LEAST = 384 };
    int64_t threads = mosaic_threads(), cached = CACHED / j->call->q.size[4];
    if (cached < 2 * LEAST) cached = 2 * LEAST;
    int64_t tasks = (j->rows + cached - 1) / cached, most = j->rows / LEAST;
    /* of a thread: pairs of them, where folded makes pairs that take as long as each other */
    int64_t each = mosaic_attention_has_limits(&j->call->options) ? 4 : 3;
    if (threads > 1 && j->units * tasks < each * threads) {
        int64_t fair = (each * threads + j->units - 1) / j->units;
        if (fair > most) fair = most > threads ? most / threads * threads : most;
        if (fair > tasks) tasks = fair;
    }
    return tasks > 1 ? tasks : 1;
}

/* Where task i of a unit starts. */
static int64_t row_of(const job *j, int64_t i)
{
    return i < j->row_chunks ? j->rows / ROW_STEP * i / j->row_chunks * ROW_STEP : j->rows;
}

static mosaic_status open_job(job *j, const mosaic_attention_call *call)
{
    bool wide = call->q.dtype == MOSAIC_DTYPE_F64;
    *j = (job){.call = call, .units = call->k.size[0] * call->k.size[1] * call->k.size[2]};
    j->forward = wide ? &mosaic_attention_plain : mosaic_cpu()->attention;
    j->backward = wide ? &mosaic_attention_backward_plain : mosaic_cpu()->attention_backward;
    j->rows = call->q.size[2] / call->k.size[2] * call->q.size[3];
    j->row_chunks = tasks_of_unit(j);
    for (int64_t i = 0; i < j->row_chunks; i++) {
        int64_t rows = row_of(j, i + 1) - row_of(j, i);
        if (rows > j->row_chunk) j->row_chunk = rows;
    }
    for (int axis = 0; axis < 3; axis++) {
        bool shares = call->dbias.storage && call->dbias.stride[axis] == 0;
        j->outer[axis] = shares ? 1 : call->k.size[axis];
        j->shared[axis] = shares ? call->k.size[axis] : 1;
    }
    MOSAIC_TRY(mosaic_attention_plan_make(&j->positions, call));
    j->positions.fault = &j->fault;
    return MOSAIC_OK;
}

static int64_t reaches_bytes(const job *j) { return j->units * (int64_t)sizeof *j->reaches; }

static mosaic_status close_job(job *j)
{
    const mosaic_attention_fault *fault = &j->fault;
    mosaic_attention_plan_clear(&j->positions);
    if (j->reaches) mosaic_cpu_release(&mosaic_cpu_device, j->reaches, reaches_bytes(j));
    MOSAIC_REQUIRE(!fault->entry,
                   "attention: %s looks up an entry that its table does not have, for b, h, i, j = "
                   "%lld, %lld, %lld, %lld",
                   fault->entry, (long long)fault->at[0], (long long)fault->at[1],
                   (long long)fault->at[2], (long long)fault->at[3]);
    return mosaic_attention_done(&j->threads, j->call);
}

/* Spreads `count` pieces over threads, several at a time where they are small. */
static void spread(job *j, int64_t count, void (*body)(void *context, int64_t from, int64_t to))
{
    int64_t work = mosaic_tensor_numel(&j->call->q) * j->call->k.size[3] / count;
    mosaic_parallel(count, work < MOSAIC_ATTENTION_WORK ? MOSAIC_ATTENTION_WORK / (work + 1) : 1,
                    body, j);
}

static void survey_units(void *context, int64_t from, int64_t to)
{
    job *j = context;
    for (int64_t i = from; i < to; i++) {
        const mosaic_attention_unit u = unit_of(j, i);
        j->survey(&u, &j->reaches[i]);
    }
}

/* Units of several parts are looked at once, not by each of these. Measured, N = 4096, d = 24 to
 * 128: in bf16 forward takes 4-5 % less time, backward 3-8 %, in f32 up to 5 %. Where there
 * is no memory for it, parts look for themselves. */
static void look_at_units(job *j, mosaic_attention_survey survey, int64_t parts)
{
    if (!survey || parts == 1) return;
    j->survey = survey;
    j->reaches = mosaic_cpu_allocate(&mosaic_cpu_device, reaches_bytes(j));
    if (j->reaches) mosaic_parallel(j->units, 1, survey_units, j);
}

/* Chunks in the order 0, n-1, 1, n-2, ...: any stretch of it has early and late ones, so that
 * threads share the work of a causal mask evenly. */
static int64_t folded(int64_t i, int64_t n) { return i % 2 ? n - 1 - i / 2 : i / 2; }

static int64_t end_of(int64_t from, int64_t length, int64_t limit)
{
    return from + length < limit ? from + length : limit;
}

/* ---- forward -------------------------------------------------------------------------------- */

static void forward_chunks(void *context, int64_t from, int64_t to)
{
    job *j = context;
    mosaic_attention_work work = {0};
    void *scratch = mosaic_attention_take(&j->threads);
    for (int64_t i = from; scratch && i < to; i++) {
        mosaic_attention_unit u = unit_of(j, i / j->row_chunks), next;
        if (j->row_chunks == 1) u.next = unit_after(j, i, to, &next);
        int64_t task = folded(i % j->row_chunks, j->row_chunks);
        j->forward->run(&u, row_of(j, task), row_of(j, task + 1), scratch, &work);
    }
    mosaic_attention_count(&j->threads, &work);
    mosaic_attention_give(&j->threads, scratch);
}

mosaic_status mosaic_cpu_attention(const mosaic_attention_call *call)
{
    if (mosaic_attention_is_small(call)) return mosaic_attention_small(call);
    job j;
    MOSAIC_TRY(open_job(&j, call));
    mosaic_attention_unit u = unit_of(&j, 0);
    j.threads.scratch = j.forward->scratch(&u, j.row_chunk);
    look_at_units(&j, j.forward->survey, j.row_chunks);
    spread(&j, j.units * j.row_chunks, forward_chunks);
    return close_job(&j);
}

/* ---- backward ------------------------------------------------------------------------------- */

enum { SHARED_BELOW = 8 }; /* units of a thread: with more of them, sharing evens out nothing */

void mosaic_attention_wait(const mosaic_attention_part *part, int64_t tile)
{
    for (int64_t c = 0; part->passed && c < part->chunk; c++)
        for (int times = 0; __atomic_load_n(&part->passed[c], __ATOMIC_ACQUIRE) <= tile; times++)
            mosaic_pause(times);
}

/* These chunks of the units that are number i of those spread over threads, one after the other. */
static void backward_chunks(const job *j, int64_t i, int64_t from, int64_t to,
                            const mosaic_attention_unit *next, void *scratch,
                            mosaic_attention_work *work)
{
    const int64_t *s = j->shared, *o = j->outer, *size = j->call->k.size;
    for (int64_t t = 0; t < s[0] * s[1] * s[2]; t++) {
        int64_t b0 = i / (o[1] * o[2]) + t / (s[1] * s[2]);
        int64_t b1 = i / o[2] % o[1] + t / s[2] % s[1], head = i % o[2] + t % s[2];
        int64_t unit = (b0 * size[1] + b1) * size[2] + head;
        mosaic_attention_unit u = unit_of(j, unit);
        u.next = next;
        for (int64_t c = from; c < to; c++) {
            int64_t key = c * j->keys;
            mosaic_attention_part part = {c, key, end_of(key, j->keys, u.nk),
                                          j->passed ? j->passed + unit * j->key_chunks : NULL};
            j->backward->run(&u, &part, scratch, work);
        }
    }
}

static void backward_units(void *context, int64_t from, int64_t to)
{
    job *j = context;
    mosaic_attention_work work = {0};
    void *scratch = mosaic_attention_take(&j->threads);
    bool alone = j->shared[0] * j->shared[1] * j->shared[2] == 1;
    for (int64_t i = from; scratch && i < to; i++) {
        mosaic_attention_unit next;
        backward_chunks(j, i, 0, j->key_chunks, alone ? unit_after(j, i, to, &next) : NULL, scratch,
                        &work);
    }
    mosaic_attention_count(&j->threads, &work);
    mosaic_attention_give(&j->threads, scratch);
}

/* Chunk by chunk, the next one for whoever is free: who waits does so for chunks that others have
 * taken before, of which the first waits for nobody. */
static void backward_shared(void *context, int64_t from, int64_t to)
{
    job *j = context;
    const int64_t count = j->outer[0] * j->outer[1] * j->outer[2] * j->key_chunks;
    mosaic_attention_work work = {0};
    void *scratch = mosaic_attention_take(&j->threads);
    (void)from, (void)to;
    while (scratch) {
        int64_t i = __atomic_fetch_add(&j->taken, 1, __ATOMIC_RELAXED), c = i % j->key_chunks;
        if (i >= count) break;
        backward_chunks(j, i / j->key_chunks, c, c + 1, NULL, scratch, &work);
    }
    mosaic_attention_count(&j->threads, &work);
    mosaic_attention_give(&j->threads, scratch);
}

/* Do several threads share the chunks of a unit? A dbias that was broadcast along keys is the same
 * element for all chunks. */
static bool shares_units(const job *j)
{
    int64_t threads = mosaic_threads(), units = j->outer[0] * j->outer[1] * j->outer[2];
    return threads > 1 && units < SHARED_BELOW * threads && j->key_chunks > 1 &&
           !(j->call->dbias.storage && j->call->dbias.stride[4] == 0) &&
           mosaic_tensor_numel(&j->call->q) * j->call->k.size[3] >= 2 * MOSAIC_ATTENTION_WORK;
}

mosaic_status mosaic_cpu_attention_backward(const mosaic_attention_call *call)
{
    if (mosaic_attention_is_small(call)) return mosaic_attention_small(call);
    job j;
    MOSAIC_TRY(open_job(&j, call));
    mosaic_attention_unit u = unit_of(&j, 0);
    j.threads.scratch = j.backward->scratch(&u);
    j.keys = j.backward->keys(&u);
    j.key_chunks = (u.nk + j.keys - 1) / j.keys;
    look_at_units(&j, j.backward->survey, j.key_chunks);
    if (!shares_units(&j)) {
        spread(&j, j.outer[0] * j.outer[1] * j.outer[2], backward_units);
        return close_job(&j);
    }
    j.passed = calloc((size_t)(j.units * j.key_chunks), 8);
    j.threads.failed = !j.passed;
    if (j.passed) mosaic_parallel(mosaic_threads(), 1, backward_shared, &j);
    free(j.passed);
    return close_job(&j);
}
