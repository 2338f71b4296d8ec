/* request.c - operations under way: phases of transfers, progress, and checks of what arrived. */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "comm.h"

/* ---- preparing ------------------------------------------------------------------------------ */

mosaic_tensor mosaic_flat_range(const mosaic_tensor *a, int64_t start, int64_t length)
{
    return (mosaic_tensor){.storage = a->storage,
                           .offset = a->offset + (length ? start : 0),
                           .dtype = a->dtype,
                           .ndim = 1,
                           .size = {length},
                           .stride = {1}};
}

mosaic_status mosaic_request_new(mosaic_request **out, mosaic_comm *c, mosaic_comm_kind kind,
                                 const mosaic_tensor *a, int capacity, int mark)
{
    const char *name = mosaic_comm_kind_name(kind);
    if (a) {
        MOSAIC_TRY(mosaic_check_operands(name, a, NULL));
        MOSAIC_REQUIRE(mosaic_device_of(a) == &mosaic_cpu_device,
                       "%s: %s communicators move host tensors, got %s on %s", name,
                       c->endpoint->transport->name, mosaic_tensor_describe(a),
                       mosaic_tensor_device(a));
    }
    mosaic_request *r =
        calloc(1, sizeof *r + (size_t)(capacity > 0 ? capacity : 1) * sizeof r->transfers[0]);
    if (!r) return mosaic_fail(MOSAIC_ENOMEM, "%s: no memory for %d messages", name, capacity);
    r->comm = c;
    c->references++;
    r->references = 1;
    r->kind = kind;
    r->dtype = a ? a->dtype : MOSAIC_DTYPE_U8;
    r->root = -1;
    r->sequence = -1;
    r->count = a ? mosaic_tensor_numel(a) : 0;
    r->mark = mark;
    r->capacity = capacity;
    r->status = MOSAIC_PENDING;
    *out = r;
    return a ? mosaic_alias(&r->in, a) : MOSAIC_OK;
}

mosaic_status mosaic_request_output(mosaic_request *r, mosaic_tensor *out, int ndim,
                                    const int64_t *size)
{
    const char *name = mosaic_comm_kind_name(r->kind);
    MOSAIC_TRY(mosaic_output(out, name, r->dtype, ndim, size, &mosaic_cpu_device));
    mosaic_tensor_note_write(out);
    MOSAIC_TRY(mosaic_alias(&r->out, out));
    if (mosaic_tensor_is_contiguous(out)) return mosaic_alias(&r->flat, out);
    return mosaic_output(&r->flat, name, r->dtype, ndim, size, &mosaic_cpu_device);
}

static void set_shape(mosaic_envelope *e, int ndim, const int64_t *size)
{
    e->ndim = ndim;
    for (int i = 0; i < ndim; i++) e->size[i] = size[i];
}

/* The next free transfer. Operations ask for as many as they use. */
static mosaic_transfer *prepare(mosaic_request *r, int peer, const mosaic_tensor *view)
{
    mosaic_transfer *t = &r->transfers[r->posted++];
    int64_t count = mosaic_tensor_numel(view);
    *t = (mosaic_transfer){.peer = peer, .world_peer = r->comm->ranks[peer]};
    t->owner = r->comm->endpoint;
    /* Both halves of point to point are one kind: a sendrecv may receive what a send sent. */
    bool p2p = r->kind <= MOSAIC_COMM_SENDRECV;
    t->envelope = (mosaic_envelope){
        .kind = p2p ? MOSAIC_COMM_SENDRECV : (uint8_t)r->kind,
        .dtype = (uint8_t)r->dtype,
        .op = (uint8_t)r->op,
        .root = r->root,
        .axis = (int16_t)r->axis,
        .join = (int16_t)r->join,
        .bytes = count * mosaic_dtype_bytes((mosaic_dtype)r->dtype),
    };
    const mosaic_tensor *shape = r->uniform ? &r->in : view;
    set_shape(&t->envelope, shape->ndim, shape->size);
    return t;
}

mosaic_status mosaic_request_send(mosaic_request *r, int peer, const mosaic_tensor *view)
{
    mosaic_transfer *t = prepare(r, peer, view);
    if (mosaic_tensor_is_contiguous(view)) return mosaic_alias(&t->packed, view);
    return mosaic_convert(&t->packed, view, (mosaic_dtype)view->dtype, NULL);
}

mosaic_status mosaic_request_recv(mosaic_request *r, int peer, const mosaic_tensor *view)
{
    mosaic_transfer *t = prepare(r, peer, view);
    t->receives = true;
    if (mosaic_tensor_is_contiguous(view)) return mosaic_alias(&t->packed, view);
    MOSAIC_TRY(mosaic_alias(&t->target, view));
    return mosaic_output(&t->packed, mosaic_comm_kind_name(r->kind), view->dtype, view->ndim,
                         view->size, &mosaic_cpu_device);
}

/* ---- completing ----------------------------------------------------------------------------- */

static void clear_transfers(mosaic_request *r)
{
    for (int i = 0; i < r->posted; i++) {
        mosaic_tensor_clear(&r->transfers[i].packed);
        mosaic_tensor_clear(&r->transfers[i].target);
    }
    r->posted = r->left = 0;
}

static void clear_operands(mosaic_request *r)
{
    mosaic_tensor_clear(&r->in);
    mosaic_tensor_clear(&r->out);
    mosaic_tensor_clear(&r->flat);
    mosaic_tensor_clear(&r->rows);
}

void mosaic_request_release(mosaic_request *r)
{
    if (!r || --r->references) return;
    clear_transfers(r);
    clear_operands(r);
    mosaic_comm_release(r->comm);
    free(r->error);
    free(r);
}

/* Keeps the first error and its text. Messages that are under way still come and go. */
static void fail(mosaic_request *r, mosaic_status status)
{
    if (r->status != MOSAIC_PENDING) return;
    r->status = status;
    r->error = strdup(mosaic_last_error());
}

void mosaic_request_drop(mosaic_request *r, const char *reason)
{
    if (r->status == MOSAIC_PENDING)
        fail(r, mosaic_fail(MOSAIC_ECOMM, "%s: %s", mosaic_request_describe(r), reason));
    clear_transfers(r);
    clear_operands(r);
    mosaic_request_release(r);
}

void mosaic_request_cancel(mosaic_request *r)
{
    mosaic_endpoint *e = r->comm->endpoint;
    mosaic_request **at = &e->active;
    while (*at && *at != r) at = &(*at)->next;
    if (!*at || !e->transport->cancel) return;
    *at = r->next;
    for (int i = 0; i < r->posted; i++)
        if (!r->transfers[i].done) e->transport->cancel(&r->transfers[i]);
    mosaic_request_drop(r, "cancelled");
}

static void complete(mosaic_request *r)
{
    if (r->status != MOSAIC_PENDING) return;
    mosaic_status status = MOSAIC_OK;
    if (r->out.storage && r->flat.storage != r->out.storage)
        status = mosaic_copy(&r->out, &r->flat);
    if (status)
        fail(r, status);
    else
        r->status = MOSAIC_OK;
}

static void count_message(const mosaic_transfer *t, mosaic_comm *c, mosaic_comm_kind kind)
{
    if (t->peer == c->rank) return;
    if (!t->receives) t->owner->bytes_sent += t->envelope.bytes;
    *(t->receives ? &c->counters[kind].bytes_received : &c->counters[kind].bytes_sent) +=
        t->envelope.bytes;
}

/* A message has come: is it the one that was expected? Then its elements go where they belong. */
static mosaic_status accept(mosaic_request *r, mosaic_transfer *t)
{
    MOSAIC_TRY(mosaic_envelope_check(r, t));
    r->arrived |= t->arrived.mark;
    r->mark |= t->arrived.mark; /* trees pass it on */
    return t->target.storage ? mosaic_copy(&t->target, &t->packed) : MOSAIC_OK;
}

static void poll_transfer(mosaic_request *r, mosaic_transfer *t)
{
    mosaic_status status = t->done ? MOSAIC_OK : t->owner->transport->test(t);
    if (!t->done && !status) return;
    t->done = t->settled = true;
    r->left--;
    t->owner->events++;
    if (!status) {
        count_message(t, r->comm, r->kind);
        if (t->receives) status = accept(r, t);
    }
    if (status) fail(r, status);
}

/* Goes on until something is missing. True when nothing is under way any more. */
static bool advance(mosaic_request *r)
{
    for (;;) {
        for (int i = 0; i < r->posted; i++)
            if (!r->transfers[i].settled) poll_transfer(r, &r->transfers[i]);
        if (r->left) return false;
        clear_transfers(r);
        mosaic_step step = r->step;
        r->step = NULL;
        if (r->status != MOSAIC_PENDING || !step) break;
        mosaic_status status = step(r);
        if (status) clear_transfers(r), fail(r, status);
    }
    complete(r);
    clear_operands(r);
    return true;
}

static void advance_all(mosaic_endpoint *e)
{
    for (mosaic_request **at = &e->active, *r; (r = *at);) {
        if (advance(r)) {
            e->events++;
            *at = r->next;
            mosaic_request_release(r);
        } else {
            at = &r->next;
        }
    }
}

/* In a world of one thread a receive completes the sender's side too, which may be this rank's. */
void mosaic_progress(mosaic_endpoint *e)
{
    int64_t before;
    do {
        before = e->events;
        advance_all(e);
    } while (e->transport->alone && e->events != before);
}

/* ---- launching ------------------------------------------------------------------------------ */

/* The 27 bits that both sides agree upon: communicator, collective or not, which one. */
static int tag_of(const mosaic_request *r)
{
    int low = r->sequence >= 0 ? 1 << 16 | (int)(r->sequence & 0xffff) : r->tag;
    return r->comm->context << 17 | low;
}

/* The request takes its place among the operations of its communicator. */
static void enter(mosaic_request *r)
{
    mosaic_comm *c = r->comm;
    r->launched = true;
    if (r->kind > MOSAIC_COMM_SENDRECV) r->sequence = c->sequence++;
    c->counters[r->kind].calls++;
    r->references++;
    mosaic_request **last = &c->endpoint->active;
    while (*last) last = &(*last)->next;
    *last = r;
}

void mosaic_request_launch(mosaic_request *r, mosaic_step then)
{
    mosaic_endpoint *e = r->comm->endpoint;
    bool taken = false;
    mosaic_status status = MOSAIC_OK;
    if (!r->launched) {
        enter(r);
        if (e->transport->collective) status = e->transport->collective(r, &taken);
    }
    r->step = then;
    r->left = r->posted;
    e->events++;
    for (int i = 0; i < r->posted && !taken; i++) {
        mosaic_transfer *t = &r->transfers[i];
        t->tag = tag_of(r);
        t->envelope.mark = (uint8_t)r->mark;
        if (!status) status = e->transport->start(t);
        if (status) t->done = t->settled = true, r->left--;
    }
    if (status) fail(r, status);
}

mosaic_status mosaic_request_begin(mosaic_request **out, mosaic_request *r, mosaic_status prepared,
                                   mosaic_step then)
{
    if (prepared) {
        mosaic_request_release(r);
        return prepared;
    }
    mosaic_request_launch(r, then);
    *out = r;
    return MOSAIC_OK;
}

/* ---- waiting -------------------------------------------------------------------------------- */

double mosaic_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* The longer nothing has come, the more the core is left to others: more ranks than cores is usual
 * on a laptop. (MPI yields by itself while we spin when its launcher knows of that.) A nap takes
 * 0.1 ms, so it is taken only when that is 1 % of the wait. */
static void idle(double waited)
{
    if (waited > 10e-3)
        usleep(50);
    else if (waited > 50e-6)
        sched_yield();
}

mosaic_status mosaic_request_wait(mosaic_request *r, double seconds)
{
    mosaic_endpoint *e = r->comm->endpoint;
    if (r->status != MOSAIC_OK) mosaic_progress(e);
    if (r->status == MOSAIC_PENDING && seconds > 0 && !e->transport->alone) {
        double start = mosaic_now(), waited = 0;
        while (r->status == MOSAIC_PENDING && (waited = mosaic_now() - start) < seconds) {
            idle(waited);
            mosaic_progress(e);
        }
    }
    if (r->error) return mosaic_fail(r->status, "%s", r->error);
    return r->status;
}

int mosaic_request_marks(const mosaic_request *r) { return r->arrived; }
