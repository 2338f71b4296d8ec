/* request.c - operations under way: phases of transfers, progress, and checks of what arrived. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "payload.h"

/* ---- the hook ------------------------------------------------------------------------------- */

/* "sendrecv f32 [8] tag 0 from rank 1", "all_reduce f32 [8] sum #3" */
static mosaic_span trace(const mosaic_request *r)
{
    char text[256];
    bool p2p = r->kind <= MOSAIC_COMM_SENDRECV;
    snprintf(text, sizeof text, "%s%s%s", mosaic_request_describe(r), p2p ? " " : "",
             p2p ? mosaic_request_peers(r) : "");
    return mosaic_trace_message(r->device, mosaic_comm_kind_name(r->kind), text);
}

/* What wants to know of operations between ranks listens here and in end. */
static void begin(mosaic_request *r)
{
    r->comm->counters[r->kind].calls++;
    r->span = mosaic_tracing ? trace(r) : -1;
}

static void end(mosaic_request *r)
{
    bool alone = r->comm->endpoint->transport->alone; /* messages are operations of the device */
    if (r->span >= 0 && alone) mosaic_trace_follow(r->span, NULL);
    mosaic_span_end(r->span);
    r->span = -1;
}

/* ---- completing ----------------------------------------------------------------------------- */

static void clear_transfers(mosaic_request *r)
{
    for (int i = 0; i < r->posted; i++) {
        mosaic_transfer *t = &r->transfers[i];
        mosaic_payload_clear(t);
        if (t->apart) mosaic_lane_keep(r, t);
        mosaic_tensor_clear(&t->packed);
        mosaic_tensor_clear(&t->target);
    }
    r->posted = r->left = 0;
}

static void clear_operands(mosaic_request *r)
{
    mosaic_lane_clear(r);
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
    end(r);
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
    mosaic_status status = MOSAIC_OK;
    r->finished = true;
    bool stands_in = r->out.storage && r->flat.storage && r->flat.storage != r->out.storage;
    if (r->status == MOSAIC_PENDING && stands_in) status = mosaic_lane_copy(r, &r->out, &r->flat);
    if (!status) status = mosaic_lane_end(r);
    if (status)
        fail(r, status);
    else if (r->status == MOSAIC_PENDING)
        r->status = MOSAIC_OK;
}

static void count_message(const mosaic_transfer *t, mosaic_comm *c, mosaic_comm_kind kind)
{
    if (t->peer == c->rank) return;
    if (!t->receives) t->owner->bytes_sent += t->envelope.bytes;
    *(t->receives ? &c->counters[kind].bytes_received : &c->counters[kind].bytes_sent) +=
        t->envelope.bytes;
}

/* An envelope has come: is it the one that was expected? If not the request fails, and what comes
 * with it is dropped. */
static void open_envelope(mosaic_request *r, mosaic_transfer *t)
{
    mosaic_status status = mosaic_envelope_check(r, t);
    t->opened = true;
    t->fits = !status;
    if (status) {
        fail(r, status);
        return;
    }
    r->arrived |= t->arrived.mark;
    r->mark |= t->arrived.mark; /* trees pass it on */
}

/* The elements of what has come go where they belong. */
static mosaic_status place(mosaic_request *r, mosaic_transfer *t)
{
    if (!t->target.storage || !t->fits) return MOSAIC_OK;
    return mosaic_lane_copy(r, &t->target, &t->packed);
}

/* Does what can be done for a message. True when nothing of it is under way any more. */
static bool settle(mosaic_request *r, mosaic_transfer *t)
{
    mosaic_status status = t->done ? MOSAIC_OK : t->owner->transport->test(t);
    bool moved = true;
    if (!status && (mosaic_pace_holds(t) || !t->done)) return false;
    if (!status && t->receives && !t->opened) open_envelope(r, t);
    if (!status && t->apart) status = mosaic_payload_advance(r, t, &moved);
    if (!status && !moved) return false;
    if (!status) count_message(t, r->comm, r->kind);
    if (!status && t->receives) status = place(r, t);
    if (status) fail(r, status);
    return true;
}

static void poll_transfer(mosaic_request *r, mosaic_transfer *t)
{
    if (!settle(r, t)) return;
    t->done = t->settled = true;
    r->left--;
    t->owner->events++;
}

/* What is left to the device may still need the operands, unless its operations follow. */
static bool retire(mosaic_request *r)
{
    if (!mosaic_lane_passed(r)) return false;
    clear_operands(r);
    return true;
}

/* Is nothing of the phase under way any more? Payloads that go together are ended by an error. The
 * last one is not over before the ranks have met. */
static bool phase_over(mosaic_request *r)
{
    mosaic_status status = MOSAIC_OK;
    if (r->grouped && (r->left || mosaic_group_meets(r->comm))) status = mosaic_group_advance(r);
    if (status) fail(r, status);
    bool meets = r->grouped && mosaic_group_meets(r->comm);
    return status || (!r->left && (r->step || !meets));
}

/* Goes on until something is missing. True when nothing is under way any more. */
static bool advance(mosaic_request *r)
{
    while (!r->finished) {
        for (int i = 0; i < r->posted; i++)
            if (!r->transfers[i].settled) poll_transfer(r, &r->transfers[i]);
        if (!phase_over(r)) return false;
        clear_transfers(r);
        mosaic_step step = r->step;
        r->step = NULL;
        if (r->status == MOSAIC_PENDING && step) {
            mosaic_status status = mosaic_lane_run(r, step);
            if (status) clear_transfers(r), fail(r, status);
        } else {
            complete(r);
        }
    }
    return retire(r);
}

static void advance_all(mosaic_endpoint *e)
{
    for (mosaic_request **at = &e->active, *r; (r = *at);) {
        if (advance(r)) {
            end(r);
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
    if (e->advancing) return; /* a step waits for its device, which asks whether others go on */
    e->advancing = true;
    do {
        before = e->events;
        advance_all(e);
    } while (e->transport->alone && e->events != before);
    e->advancing = false;
    mosaic_poll_watch(e);
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
    r->grouped = mosaic_payload_apart(r) && r->kind > MOSAIC_COMM_SENDRECV && c->size > 1;
    c->grouped = c->grouped || r->grouped;
    if (r->kind > MOSAIC_COMM_SENDRECV) r->sequence = c->sequence++;
    begin(r);
    r->references++;
    mosaic_request **last = &c->endpoint->active;
    while (*last) last = &(*last)->next;
    *last = r;
    mosaic_poll_watch(c->endpoint);
}

static mosaic_status start(mosaic_request *r, mosaic_transfer *t, bool apart)
{
    if (apart) MOSAIC_TRY(mosaic_payload_announce(r, t));
    mosaic_pace_start(t);
    MOSAIC_TRY(t->owner->transport->start(t));
    return apart ? mosaic_payload_start(t) : MOSAIC_OK;
}

void mosaic_request_launch(mosaic_request *r, mosaic_step then)
{
    mosaic_endpoint *e = r->comm->endpoint;
    bool apart = mosaic_payload_apart(r);
    mosaic_status status = MOSAIC_OK;
    if (!r->launched) enter(r);
    r->step = then;
    r->left = r->posted;
    e->events++;
    if (apart && r->posted) status = mosaic_payload_prepare(r);
    for (int i = 0; i < r->posted; i++) {
        mosaic_transfer *t = &r->transfers[i];
        t->tag = tag_of(r);
        t->envelope.mark = (uint8_t)r->mark;
        if (!status) status = start(r, t, apart && !t->receives && t->envelope.bytes > 0);
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
            MOSAIC_TRY(mosaic_payload_poll());
        }
    }
    if (r->error) return mosaic_fail(r->status, "%s", r->error);
    if (r->status || !r->finished || r->device == &mosaic_cpu_device) return r->status;
    MOSAIC_TRY(mosaic_payload_poll());
    MOSAIC_TRY(mosaic_lane_join(r));
    clear_operands(r);
    return MOSAIC_OK;
}

int mosaic_request_marks(const mosaic_request *r) { return r->arrived; }
