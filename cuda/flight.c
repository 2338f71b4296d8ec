/* flight.c - exchanges between processes that the device has been asked for and has not ended.
 *
 * The host runs ahead of them, so a partner that never comes shows where somebody waits for the
 * device: there they are looked after, and after MOSAIC_TIMEOUT the job ends with the oldest one's
 * name. Its turn must have come: what is before it, operations and other exchanges, takes its time.
 *
 * The thread that waits is the one that counts. Where it stays in the driver instead, as in a
 * launch when a queue is full of what such a partner holds up, nothing ends this rank but the
 * others: they wait for it, or for the same partner, and their time-outs end the job. A job whose
 * ranks all stay in the driver has to be ended from outside. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "nccl.h"

void mosaic_flight_describe(char text[MOSAIC_FLIGHT], const mosaic_request *r, const char *way)
{
    snprintf(text, MOSAIC_FLIGHT, "%s %s by %s on %s", mosaic_request_describe(r),
             mosaic_request_peers(r), way, r->device->name);
}

typedef struct flight {
    struct flight *next;
    const mosaic_device *device;
    mosaic_mark *before, *mark; /* of the operations so far (NULL: they are done); after it */
    int *count;                 /* of those of its channel */
    char what[MOSAIC_FLIGHT];
} flight;

static flight *first, **end = &first;
static double since; /* as far as is known, nothing but the first one's partner is missing */

mosaic_status mosaic_flight_begin(const mosaic_request *r, mosaic_lane *lane, int *count,
                                  const char *way)
{
    flight *f = calloc(1, sizeof *f);
    if (!f) return mosaic_cuda_core->fail(MOSAIC_ENOMEM, "comm: no memory for a message");
    mosaic_status status = r->device->mark(r->device, lane, &f->mark);
    if (!status && (status = r->device->mark(r->device, NULL, &f->before)))
        r->device->forget(r->device, f->mark);
    if (status) {
        free(f);
        return status;
    }
    mosaic_flight_describe(f->what, r, way);
    f->device = r->device;
    f->count = count;
    if (count) ++*count;
    if (!first) since = mosaic_trace_clock();
    *end = f;
    end = &f->next;
    return MOSAIC_OK;
}

static bool passed(const flight *f, const mosaic_mark *mark)
{
    bool yes = true;
    return f->device->passed(f->device, mark, &yes) || yes;
}

static void forget(const flight *f, mosaic_mark *mark)
{
    if (mark) f->device->forget(f->device, mark);
}

/* Those before it are over: has its turn come? */
static void look_before_first(void)
{
    if (!first || !first->before) return;
    since = mosaic_trace_clock();
    if (!passed(first, first->before)) return;
    forget(first, first->before);
    first->before = NULL;
}

bool mosaic_flights_poll(void)
{
    for (flight **at = &first, *f; (f = *at);) {
        if (!passed(f, f->mark)) {
            at = &f->next;
            continue;
        }
        forget(f, f->mark);
        forget(f, f->before);
        if (f == first) since = mosaic_trace_clock();
        if (f->count) --*f->count;
        *at = f->next;
        if (end == &f->next) end = at;
        free(f);
    }
    look_before_first();
    return first != NULL;
}

const char *mosaic_flight_oldest(const int *count)
{
    const flight *f = first;
    while (f && f->count != count) f = f->next;
    return f ? f->what : NULL;
}

mosaic_status mosaic_cuda_poll(const mosaic_device *self)
{
    (void)self;
    mosaic_flights_poll();
    return mosaic_channels_poll();
}

/* Somebody has waited for the device for so long. */
static void lose_patience(double waited)
{
    double limit = mosaic_cuda_core->timeout();
    double age = first ? mosaic_trace_clock() - since : 0;
    if (!first || waited < limit || age < limit) return;
    mosaic_cuda_core->give_up(first->what, age);
}

static void idle(double waited)
{
    if (waited > 1e-3)
        usleep(20);
    else
        sched_yield();
}

mosaic_status mosaic_cuda_wait(const mosaic_cuda *device, const char *what, cudaEvent_t event)
{
    double start = mosaic_trace_clock(), waited = 0;
    cudaError_t error;
    while ((error = cudaEventQuery(event)) == cudaErrorNotReady) {
        bool others = mosaic_cuda_core->progress();
        if (!mosaic_flights_poll() && !others) {
            error = cudaEventSynchronize(event);
            break;
        }
        MOSAIC_TRY(mosaic_channels_poll());
        lose_patience(waited = mosaic_trace_clock() - start);
        idle(waited);
    }
    MOSAIC_TRY(mosaic_cuda_check(device, what, error));
    return mosaic_channels_poll(); /* what it waited for may have been aborted */
}

mosaic_status mosaic_cuda_wait_for_exchanges(void)
{
    double start = mosaic_trace_clock(), waited = 0;
    for (const char *busy;; idle(waited)) {
        MOSAIC_TRY(mosaic_channels_poll());
        mosaic_cuda_core->progress(); /* what NCCL has started is a flight now */
        busy = mosaic_channels_busy();
        if (!mosaic_flights_poll() && !busy) return MOSAIC_OK;
        lose_patience(waited = mosaic_trace_clock() - start);
        if (!first && waited >= mosaic_cuda_core->timeout())
            mosaic_cuda_core->give_up(busy, waited);
    }
}
