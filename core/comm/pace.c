/* pace.c - a slower wire than the real one, for tests and benchmarks.
 *
 * Every rank has one wire out and one in. A message leaves its sender's when those before it have
 * left, arrives latency later, and has the receiver's wire for itself, too. Where the transport
 * says that a payload waits for its receiver (met), it begins when that has seen the envelope: who
 * computes and does not look has it later, as with MPI. The elements themselves are moved by the
 * transport; here messages are held back, those on devices excepted. Machines have clocks of their
 * own: of another one's message it is known how long after its envelope it left (mpi.c). */
#include <stdio.h>
#include <stdlib.h>

#include "comm.h"

/* Seconds, seconds per byte; false where nothing is paced. (Lua has checked what it says.) */
static bool read_pace(double *latency, double *per_byte)
{
    static int known; /* 1: paced, -1: not */
    static double seconds, rate;
    if (!known) {
        const char *text = getenv("MOSAIC_PACE");
        double microseconds, gbit;
        bool given = text && sscanf(text, "%lf:%lf", &microseconds, &gbit) == 2 && gbit > 0;
        if (given) seconds = microseconds * 1e-6, rate = 8e-9 / gbit;
        known = given ? 1 : -1;
    }
    *latency = seconds;
    *per_byte = rate;
    return known > 0;
}

/* The wire is taken from `from` on, or when it is free. */
static double take(double *wire, double from, double seconds)
{
    return *wire = (*wire > from ? *wire : from) + seconds;
}

static bool paced(const mosaic_transfer *t) { return t->world_peer != t->owner->rank && !t->apart; }

void mosaic_pace_start(mosaic_transfer *t)
{
    double latency, per_byte;
    if (t->receives || !paced(t) || !read_pace(&latency, &per_byte)) return;
    double seconds = (double)t->envelope.bytes * per_byte;
    t->due = t->left = take(&t->owner->wire_out, mosaic_now(), seconds);
}

bool mosaic_pace_holds(mosaic_transfer *t)
{
    double latency, per_byte;
    if (!paced(t) || !read_pace(&latency, &per_byte)) return false;
    double now = mosaic_now();
    if (t->receives && t->due == 0 && (t->met || t->done)) {
        double seconds = (double)t->arrived.bytes * per_byte;
        double begins = t->left + latency - seconds;
        t->due = take(&t->owner->wire_in, t->met && now > begins ? now : begins, seconds);
    }
    return t->done && now < t->due;
}

bool mosaic_comm_paced(const mosaic_comm *c)
{
    const mosaic_request *r = c->endpoint->active;
    for (; r; r = r->next)
        for (int i = 0; i < r->posted; i++)
            if (r->transfers[i].done && !r->transfers[i].settled) return true;
    return false;
}
