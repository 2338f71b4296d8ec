/* attention_unit.c - a call's masks as positions, and the units that it is cut into. */
#include "attention_unit.h"

#include <string.h>

#include "cpu.h"

/* ---- what the masks say about positions ----------------------------------------------------- */

static int64_t saturating_add(int64_t a, int64_t b)
{
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum)) return b > 0 ? INT64_MAX : INT64_MIN;
    return sum;
}

/* The positions that query i may see are low[i]..high[i]. */
static void read_limits(mosaic_attention_plan *p, const mosaic_attention_options *o, int64_t nq)
{
    for (int64_t i = 0; i < nq; i++) {
        int64_t at = p->q_position[i], low = INT64_MIN, high = INT64_MAX;
        if (o->window_left >= 0) low = saturating_add(at, -o->window_left);
        if (o->window_right >= 0) high = saturating_add(at, o->window_right);
        if (o->causal && at < high) high = at;
        if (o->prefix >= 0 && o->prefix < high) high = o->prefix;
        p->low[i] = low;
        p->high[i] = high;
    }
}

bool mosaic_attention_has_limits(const mosaic_attention_options *o)
{
    return o->causal || o->window_left >= 0 || o->window_right >= 0 || o->prefix >= 0;
}

bool mosaic_attention_has_programs(const mosaic_attention_options *o)
{
    return o->score || o->keep_if;
}

mosaic_status mosaic_attention_plan_make(mosaic_attention_plan *p,
                                         const mosaic_attention_call *call)
{
    const mosaic_attention_options *o = &call->options;
    int64_t nq = call->q.size[3], nk = call->k.size[3], heads = call->q.size[2];
    *p = (mosaic_attention_plan){0};
    if (!mosaic_attention_has_limits(o) && !o->alibi && o->dropout == 0 &&
        !mosaic_attention_has_programs(o))
        return MOSAIC_OK;
    int64_t bytes = (3 * nq + nk + heads) * 8;
    int64_t *room = mosaic_cpu_allocate(&mosaic_cpu_device, bytes);
    if (!room)
        return mosaic_fail(MOSAIC_ENOMEM, "attention: no memory for %lld bytes of positions",
                           (long long)bytes);
    p->bytes = bytes;
    p->q_position = room;
    p->k_position = room + 3 * nq;
    mosaic_attention_positions(p->q_position, o->q_positions, nq);
    mosaic_attention_positions(p->k_position, o->k_positions, nk);
    if (mosaic_attention_has_limits(o)) {
        p->low = room + nq;
        p->high = room + 2 * nq;
        read_limits(p, o, nq);
    }
    if (o->alibi) {
        p->slope = (double *)(room + 3 * nq + nk);
        for (int64_t h = 0; h < heads; h++)
            p->slope[h] = mosaic_element_read(mosaic_data(o->alibi), h * o->alibi->stride[0],
                                              o->alibi->dtype);
    }
    return MOSAIC_OK;
}

void mosaic_attention_plan_clear(mosaic_attention_plan *p)
{
    if (p->bytes) mosaic_cpu_release(&mosaic_cpu_device, p->q_position, p->bytes);
    p->bytes = 0;
}

/* ---- units ---------------------------------------------------------------------------------- */

/* The part of a (b0, b1, heads, rows, columns) that starts at head h of one batch entry. */
static mosaic_rows rows_of(const mosaic_tensor *a, int64_t b0, int64_t b1, int64_t h)
{
    if (!a || !a->storage) return (mosaic_rows){0};
    int64_t at = b0 * a->stride[0] + b1 * a->stride[1] + h * a->stride[2];
    return (mosaic_rows){.data = (char *)mosaic_data(a) +
                                 at * mosaic_dtype_bytes((mosaic_dtype)a->dtype),
                         .dtype = a->dtype,
                         .head = a->stride[2],
                         .row = a->stride[3],
                         .column = a->ndim > 4 ? a->stride[4] : 0};
}

static const int64_t *documents_of(const mosaic_tensor *a, int64_t b0, int64_t b1, int64_t *step)
{
    if (!a) return NULL;
    *step = a->stride[2];
    return (const int64_t *)mosaic_data(a) + b0 * a->stride[0] + b1 * a->stride[1];
}

mosaic_attention_unit mosaic_attention_unit_at(const mosaic_attention_call *c,
                                               const mosaic_attention_plan *p, int64_t b0,
                                               int64_t b1, int64_t kv_head)
{
    const mosaic_attention_options *o = &c->options;
    int64_t group = c->q.size[2] / c->k.size[2], h = kv_head * group;
    mosaic_attention_unit u = {.group = group,
                               .nq = c->q.size[3],
                               .nk = c->k.size[3],
                               .d = c->q.size[4],
                               .batch = mosaic_attention_batch(o, b0, b1),
                               .first_head = o->head_from + h,
                               .scale = o->scale,
                               .low = p->low,
                               .high = p->high,
                               .q_position = p->q_position,
                               .k_position = p->k_position,
                               .slope = p->slope ? p->slope + h : NULL,
                               .dropout = mosaic_attention_dropout_of(o),
                               .score = o->score,
                               .keep_if = o->keep_if,
                               .fault = p->fault,
                               .accumulate = c->accumulate};
    u.q = rows_of(&c->q, b0, b1, h);
    u.k = rows_of(&c->k, b0, b1, kv_head);
    u.v = rows_of(&c->v, b0, b1, kv_head);
    u.out = rows_of(&c->out, b0, b1, h);
    u.lse = rows_of(&c->lse, b0, b1, h);
    u.dout = rows_of(&c->dout, b0, b1, h);
    u.delta = rows_of(&c->delta, b0, b1, h);
    u.dq = rows_of(&c->dq, b0, b1, h);
    u.dk = rows_of(&c->dk, b0, b1, kv_head);
    u.dv = rows_of(&c->dv, b0, b1, kv_head);
    u.keep = rows_of(o->keep, b0, b1, h);
    u.bias = rows_of(o->bias, b0, b1, h);
    u.dbias = rows_of(&c->dbias, b0, b1, h);
    u.q_document = documents_of(o->q_documents, b0, b1, &u.q_document_step);
    u.k_document = documents_of(o->k_documents, b0, b1, &u.k_document_step);
    return u;
}

/* Of all that are reported the first one stays, whichever thread finds it. */
void mosaic_attention_report(const mosaic_attention_unit *u, const mosaic_program_run *run,
                             int64_t j)
{
    mosaic_attention_fault *fault = u->fault;
    const char *entry = run->program == u->score ? "mask.score" : "mask.keep";
    const int64_t at[] = {(int64_t)run->batch, (int64_t)run->head, (int64_t)run->query,
                          run->key[j]};
    while (__atomic_test_and_set(&fault->busy, __ATOMIC_ACQUIRE)) {
    }
    int axis = 0;
    while (axis < 3 && at[axis] == fault->at[axis]) axis++;
    if (!fault->entry || at[axis] < fault->at[axis]) {
        fault->entry = entry;
        memcpy(fault->at, at, sizeof at);
    }
    __atomic_clear(&fault->busy, __ATOMIC_RELEASE);
}
