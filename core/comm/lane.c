/* lane.c - requests whose operands are on a device: the lane of their work.
 *
 * A lane does what arrives and the steps of a request, not the device's operations: those go on
 * meanwhile. The lane follows the operations up to the launch, which is where the operands are
 * ready and memory that others had is free; it does so only when it has something to do, so that
 * requests that began earlier need not wait for that point. Who waits for the request makes the
 * operations follow the lane. If nobody does, the operands are kept until the lane has passed. */
#include <stdlib.h>

#include "payload.h"

struct mosaic_kept {
    mosaic_kept *next;
    mosaic_storage *packed, *target;
};

static void forget(mosaic_request *r, mosaic_mark **mark)
{
    if (*mark) r->device->forget(r->device, *mark);
    *mark = NULL;
}

/* A step, and what arrives after it, may overwrite what was sent before. */
static mosaic_status wait_for_sent(mosaic_request *r)
{
    mosaic_mark *mark;
    if (!r->out_lane) return MOSAIC_OK;
    MOSAIC_TRY(r->device->mark(r->device, r->out_lane, &mark));
    mosaic_status status = r->device->follow(r->device, r->lane, mark);
    r->device->forget(r->device, mark);
    return status;
}

mosaic_status mosaic_lane_prepare(mosaic_request *r)
{
    forget(r, &r->after);
    return r->device->mark(r->device, r->lane_open ? r->lane : NULL, &r->after);
}

static void work_on(const mosaic_request *r, mosaic_lane *lane)
{
    if (!r->lane) return;
    r->device->work_on(r->device, lane);
    mosaic_trace_work_on(lane);
}

mosaic_status mosaic_lane_run(mosaic_request *r, mosaic_step step)
{
    MOSAIC_TRY(mosaic_lane_open(r));
    MOSAIC_TRY(wait_for_sent(r));
    work_on(r, r->lane);
    mosaic_status status = step(r);
    work_on(r, NULL);
    return status;
}

mosaic_status mosaic_lane_copy(mosaic_request *r, mosaic_tensor *out, const mosaic_tensor *a)
{
    MOSAIC_TRY(mosaic_lane_open(r));
    work_on(r, r->lane);
    mosaic_status status = mosaic_copy(out, a);
    work_on(r, NULL);
    return status;
}

mosaic_status mosaic_lane_end(mosaic_request *r)
{
    forget(r, &r->after);
    mosaic_lane *last = r->lane_open ? r->lane : r->out_lane;
    if (r->span >= 0 && last) mosaic_trace_follow(r->span, last);
    if (r->lane_open) MOSAIC_TRY(r->device->mark(r->device, r->lane, &r->ends[0]));
    return r->out_lane ? r->device->mark(r->device, r->out_lane, &r->ends[1]) : MOSAIC_OK;
}

mosaic_status mosaic_lane_join(mosaic_request *r)
{
    mosaic_status status = MOSAIC_OK;
    for (int i = 0; i < 2 && !status; i++) {
        if (r->ends[i]) status = r->device->follow(r->device, NULL, r->ends[i]);
        forget(r, &r->ends[i]);
    }
    return status;
}

/* A device that failed has nothing under way; what it says is for who waits for it. */
static bool passed(const mosaic_request *r, const mosaic_mark *mark)
{
    bool yes = true;
    return !mark || r->device->passed(r->device, mark, &yes) || yes;
}

bool mosaic_lane_passed(mosaic_request *r)
{
    return passed(r, r->ends[0]) && passed(r, r->ends[1]);
}

/* Without memory for the note the storages are lost: others must not get them too early. */
void mosaic_lane_keep(mosaic_request *r, mosaic_transfer *t)
{
    mosaic_kept *k = malloc(sizeof *k);
    if (k) *k = (mosaic_kept){r->kept, t->packed.storage, t->target.storage};
    if (k) r->kept = k;
    t->packed.storage = t->target.storage = NULL;
}

void mosaic_lane_clear(mosaic_request *r)
{
    for (mosaic_kept *k; (k = r->kept); free(k)) {
        r->kept = k->next;
        mosaic_storage_release(k->packed);
        mosaic_storage_release(k->target);
    }
    forget(r, &r->after);
    forget(r, &r->ends[0]);
    forget(r, &r->ends[1]);
}
