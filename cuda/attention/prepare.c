/* prepare.c - makes numbers and addresses, which kernels get, of a call of attention. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "attention.h"

#define SAME(name) ((int)MOSAIC_ATTENTION_##name == (int)MOSAIC_DTYPE_##name)
_Static_assert(SAME(F32) && SAME(F64) && SAME(BF16) && SAME(F16), "kernels know them by numbers");

/* ---- scratch -------------------------------------------------------------------------------- */

/* A new tensor that lives as long as the job. */
static mosaic_status new_tensor(mosaic_attention_job *job, mosaic_tensor **tensor,
                                mosaic_dtype dtype, int64_t size)
{
    if (job->scratch_count == MOSAIC_ATTENTION_SCRATCH)
        return mosaic_cuda_core->fail(MOSAIC_EDEVICE, "attention: too many blocks of scratch");
    *tensor = &job->scratch[job->scratch_count];
    **tensor = (mosaic_tensor){0};
    MOSAIC_TRY(mosaic_tensor_new(*tensor, dtype, 1, &size, job->device->name));
    job->scratch_count++;
    return MOSAIC_OK;
}

mosaic_status mosaic_attention_scratch(mosaic_attention_job *job, void **data, int64_t bytes)
{
    mosaic_tensor *block = NULL;
    MOSAIC_TRY(new_tensor(job, &block, MOSAIC_DTYPE_U8, bytes));
    *data = mosaic_data(block);
    return MOSAIC_OK;
}

void mosaic_attention_release(mosaic_attention_job *job, int keep)
{
    while (job->scratch_count > keep) mosaic_tensor_clear(&job->scratch[--job->scratch_count]);
}

/* ---- operands ------------------------------------------------------------------------------- */

/* a (b0, b1, heads, rows, columns), or fewer of the last ones. */
static mosaic_attention_view view_of(const mosaic_tensor *a)
{
    if (!a || !a->storage) return (mosaic_attention_view){0};
    mosaic_attention_view v = {
        .data = mosaic_data(a), .b0 = a->stride[0], .b1 = a->stride[1], .head = a->stride[2]};
    if (a->ndim > 3) v.row = a->stride[3];
    if (a->ndim > 4) v.column = a->stride[4];
    return v;
}

/* documents (b0, b1, rows) */
static mosaic_attention_view documents_of(const mosaic_tensor *a)
{
    mosaic_attention_view v = view_of(a);
    v.row = v.head;
    v.head = 0;
    return v;
}

static mosaic_attention_positions_of positions_of(const mosaic_tensor *a)
{
    if (!a) return (mosaic_attention_positions_of){0};
    return (mosaic_attention_positions_of){mosaic_data(a), a->stride[0]};
}

static void read_operands(mosaic_attention_args *a, const mosaic_attention_call *c)
{
    const int64_t *size = c->q.size;
    a->dtype = c->q.dtype;
    a->b0 = size[0];
    a->b1 = size[1];
    a->heads = size[2];
    a->kv_heads = c->k.size[2];
    a->nq = size[3];
    a->nk = c->k.size[3];
    a->d = (int)size[4];
    a->scale = c->options.scale;
    a->q = view_of(&c->q);
    a->k = view_of(&c->k);
    a->v = view_of(&c->v);
    a->out = view_of(&c->out);
    a->lse = view_of(&c->lse);
    a->dout = view_of(&c->dout);
    a->delta = view_of(&c->delta);
    a->dq = view_of(&c->dq);
    a->dk = view_of(&c->dk);
    a->dv = view_of(&c->dv);
    a->dbias = view_of(&c->dbias);
    a->accumulate = c->accumulate;
}

/* ---- the mask ------------------------------------------------------------------------------- */

static int64_t limit_of(int64_t limit) { return limit >= 0 ? limit : INT64_MAX; }

static void read_limits(mosaic_attention_args *a, const mosaic_attention_options *o)
{
    a->left = limit_of(o->window_left);
    a->right = o->causal ? 0 : limit_of(o->window_right);
    a->prefix = limit_of(o->prefix);
    if (a->left != INT64_MAX || a->right != INT64_MAX || a->prefix != INT64_MAX)
        a->entries |= MOSAIC_ATTENTION_LIMITS;
}

static void read_mask(mosaic_attention_args *a, const mosaic_attention_options *o)
{
    read_limits(a, o);
    a->q_position = positions_of(o->q_positions);
    a->k_position = positions_of(o->k_positions);
    a->q_document = documents_of(o->q_documents);
    a->k_document = documents_of(o->k_documents);
    a->keep = view_of(o->keep);
    a->bias = view_of(o->bias);
    if (o->bias) a->bias_dtype = o->bias->dtype;
    if (o->q_documents) a->entries |= MOSAIC_ATTENTION_DOCUMENTS;
    if (o->keep) a->entries |= MOSAIC_ATTENTION_KEEP;
    if (o->keep_if) a->entries |= MOSAIC_ATTENTION_KEEP_IF;
    if (o->alibi) a->entries |= MOSAIC_ATTENTION_ALIBI;
    if (o->bias) a->entries |= MOSAIC_ATTENTION_BIAS;
    if (o->score) a->entries |= MOSAIC_ATTENTION_SCORE;
}

/* As core/cpu/attention.h has it: the same seed elsewhere must not give these words. */
static void read_dropout(mosaic_attention_args *a, const mosaic_attention_options *o)
{
    double below = o->dropout * 0x1p32 + 0.5;
    a->head_from = o->head_from;
    a->batch_from[0] = o->batch_from[0];
    a->batch_from[1] = o->batch_from[1];
    a->batch_total = o->batch_total;
    a->seed = o->dropout_seed ^ 0x7f4a7c1564726f70u;
    a->below = below < 0x1p32 ? (uint32_t)below : UINT32_MAX;
    a->kept = 1 / (1 - o->dropout);
    if (a->below) a->entries |= MOSAIC_ATTENTION_DROPOUT;
}

/* Slopes as contiguous f64. */
static mosaic_status read_slopes(mosaic_attention_job *job)
{
    const mosaic_tensor *alibi = job->call->options.alibi;
    mosaic_tensor *slopes = NULL;
    if (!alibi) return MOSAIC_OK;
    MOSAIC_TRY(new_tensor(job, &slopes, MOSAIC_DTYPE_F64, alibi->size[0]));
    job->args.slope = mosaic_data(slopes);
    return mosaic_cuda_copy(slopes, alibi);
}

/* ---- programs ------------------------------------------------------------------------------- */

/* Can a look-up that counts leave its table? */
static bool can_fail(const mosaic_program *p)
{
    if (!p || p->table_count == 0) return false;
    for (int i = p->value_count - 1; i >= 0; i--)
        if (p->steps[i].to == p->valid)
            return p->steps[i].op != MOSAIC_PROGRAM_CONSTANT || p->steps[i].value == 0;
    return true;
}

/* What the programs need on the device is one block there: */
typedef struct {
    mosaic_attention_fault *fault;
    mosaic_program_step *steps[2]; /* of score, of keep_if */
    const double **tables;
    int64_t *sizes;
} program_block;

static int64_t tables_of(const mosaic_program *p) { return p ? p->table_count : 0; }
static int64_t steps_of(const mosaic_program *p) { return p ? p->value_count : 0; }

/* Its parts from `base` on; returns its bytes. */
static int64_t lay_out(program_block *b, char *base, const mosaic_attention_options *o)
{
    int64_t tables = tables_of(o->score) + tables_of(o->keep_if);
    int64_t step = (int64_t)sizeof(mosaic_program_step);
    int64_t at = (int64_t)sizeof *b->fault;
    b->fault = (mosaic_attention_fault *)base;
    b->steps[0] = (mosaic_program_step *)(base + at);
    b->steps[1] = (mosaic_program_step *)(base + (at += step * steps_of(o->score)));
    b->tables = (const double **)(base + (at += step * steps_of(o->keep_if)));
    b->sizes = (int64_t *)(base + (at += 8 * tables));
    return at + 8 * tables;
}

static void fill_block(const program_block *b, const mosaic_attention_options *o)
{
    const mosaic_program *programs[] = {o->score, o->keep_if};
    *b->fault = (mosaic_attention_fault){0, {LLONG_MAX, LLONG_MAX, LLONG_MAX, LLONG_MAX}};
    for (int64_t n = 0, to = 0; n < 2; n++) {
        const mosaic_program *p = programs[n];
        if (p) memcpy(b->steps[n], p->steps, (size_t)p->value_count * sizeof *p->steps);
        for (int64_t i = 0; i < tables_of(p); i++, to++) {
            b->tables[to] = mosaic_data(p->tables[i]);
            b->sizes[to] = p->tables[i]->size[0];
        }
    }
}

static mosaic_status read_programs(mosaic_attention_job *job)
{
    const mosaic_attention_options *o = &job->call->options;
    if (!o->score && !o->keep_if) return MOSAIC_OK;
    program_block here, there;
    int64_t bytes = lay_out(&here, NULL, o);
    char *host = malloc((size_t)bytes), *block = NULL;
    if (!host) return mosaic_cuda_core->fail(MOSAIC_ENOMEM, "attention: no memory for programs");
    lay_out(&here, host, o);
    fill_block(&here, o);
    mosaic_status status = mosaic_attention_scratch(job, (void **)&block, bytes);
    if (!status) status = mosaic_cuda_from_host(&job->device->base, block, host, bytes);
    free(host);
    lay_out(&there, block, o);
    job->args.tables = (const double *const *)there.tables;
    job->args.table_sizes = there.sizes;
    if (o->score) job->score_steps = there.steps[0];
    if (o->keep_if) job->keep_steps = there.steps[1];
    if (can_fail(o->score) || can_fail(o->keep_if)) job->args.fault = there.fault;
    return status;
}

/* ---- all of it ------------------------------------------------------------------------------ */

mosaic_status mosaic_attention_prepare(mosaic_attention_job *job, const mosaic_attention_call *call,
                                       bool backward)
{
    const mosaic_cuda *device = mosaic_cuda_of(&call->q);
    *job = (mosaic_attention_job){.device = device, .call = call, .backward = backward};
    MOSAIC_TRY(mosaic_cuda_enter(device));
    read_operands(&job->args, call);
    read_mask(&job->args, &call->options);
    read_dropout(&job->args, &call->options);
    job->args.work = device->work + 4 * call->account + 2 * backward;
    MOSAIC_TRY(read_slopes(job));
    return read_programs(job);
}

static int64_t tiles_of(int64_t rows, int tile_rows) { return (rows + tile_rows - 1) / tile_rows; }

/* Spans of one operand's rows, where not everything is known from the rows' numbers. */
static mosaic_status cut_rows(mosaic_attention_job *job, const mosaic_attention_span **spans,
                              const mosaic_attention_positions_of *positions,
                              const mosaic_attention_view *documents, int64_t rows, int tile_rows)
{
    const mosaic_attention_args *a = &job->args;
    void *room;
    *spans = NULL;
    if ((!positions->data && !documents->data) || rows == 0) return MOSAIC_OK;
    MOSAIC_TRY(mosaic_attention_scratch(job, &room,
                                        a->b0 * a->b1 * tiles_of(rows, tile_rows) *
                                            (int64_t)sizeof(mosaic_attention_span)));
    *spans = room;
    return mosaic_attention_spans(job->device, room, positions, documents, a->b0, a->b1, rows,
                                  tile_rows);
}

/* Does the program's result go by that argument, or can it be minus infinity? */
static bool asks_for(const mosaic_program *p, int op)
{
    for (int i = 0; p && i < p->value_count; i++) {
        const mosaic_program_step *s = &p->steps[i];
        if (s->op != op) continue;
        if (op != MOSAIC_PROGRAM_CONSTANT || s->value == -INFINITY) return true;
    }
    return false;
}

enum { MOST_EXTENT_BYTES = 64 << 20 };

/* What keep and programs see of every tile, where that may be less than everything. */
static mosaic_status cut_extents(mosaic_attention_job *job, int64_t q_tiles, int64_t k_tiles)
{
    mosaic_attention_args *a = &job->args;
    const mosaic_attention_options *o = &job->call->options;
    bool batch =
        asks_for(o->score, MOSAIC_PROGRAM_BATCH) || asks_for(o->keep_if, MOSAIC_PROGRAM_BATCH);
    bool head =
        asks_for(o->score, MOSAIC_PROGRAM_HEAD) || asks_for(o->keep_if, MOSAIC_PROGRAM_HEAD);
    mosaic_attention_view e = {.row = k_tiles, .column = 1};
    int64_t bytes = q_tiles * k_tiles;
    a->extent = (mosaic_attention_view){0};
    if (bytes < 2 || !(a->keep.data || o->keep_if || asks_for(o->score, MOSAIC_PROGRAM_CONSTANT)))
        return MOSAIC_OK;
    if (head || a->keep.head) e.head = bytes, bytes *= a->heads;
    if (batch || a->keep.b1) e.b1 = bytes, bytes *= a->b1;
    if (batch || a->keep.b0) e.b0 = bytes, bytes *= a->b0;
    if (bytes > MOST_EXTENT_BYTES) return MOSAIC_OK;
    MOSAIC_TRY(mosaic_attention_scratch(job, (void **)&e.data, bytes));
    a->extent = e;
    return mosaic_attention_extents(job);
}

mosaic_status mosaic_attention_cut(mosaic_attention_job *job, int q_tile, int k_tile)
{
    mosaic_attention_args *a = &job->args;
    const unsigned asking = MOSAIC_ATTENTION_LIMITS | MOSAIC_ATTENTION_DOCUMENTS |
                            MOSAIC_ATTENTION_KEEP_IF | MOSAIC_ATTENTION_SCORE;
    a->q_tile = q_tile;
    a->k_tile = k_tile;
    if (a->entries & asking) {
        MOSAIC_TRY(cut_rows(job, &a->q_span, &a->q_position, &a->q_document, a->nq, q_tile));
        MOSAIC_TRY(cut_rows(job, &a->k_span, &a->k_position, &a->k_document, a->nk, k_tile));
    }
    return cut_extents(job, tiles_of(a->nq, q_tile), tiles_of(a->nk, k_tile));
}
