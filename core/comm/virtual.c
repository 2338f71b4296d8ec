/* virtual.c - many ranks in one thread: a message goes from the sender's memory to the receiver's.
 *
 * Sending hangs the transfer into the receiver's inbox; the elements move when the receiver asks
 * (in a wait, never earlier), and only then is the send complete. So a program that would hang on
 * some MPI because it relies on buffering hangs here too, always, and is reported as a deadlock. */
#include <stdlib.h>
#include <string.h>

#include "comm.h"

typedef struct world world;

typedef struct {
    mosaic_endpoint base;
    world *world;
    mosaic_transfer *inbox; /* oldest first */
    mosaic_transfer **inbox_end;
} virtual_endpoint;

struct world {
    int live; /* endpoints that are still referenced */
    bool ended;
    int size;
    virtual_endpoint ranks[];
};

static world *world_of(const mosaic_endpoint *e) { return ((const virtual_endpoint *)e)->world; }

static mosaic_status start(mosaic_transfer *t)
{
    world *w = world_of(t->owner);
    if (w->ended) return mosaic_fail(MOSAIC_ECOMM, "comm: this virtual world has ended");
    if (t->receives) return MOSAIC_OK;
    virtual_endpoint *to = &w->ranks[t->world_peer];
    t->next = NULL;
    *to->inbox_end = t;
    to->inbox_end = &t->next;
    return MOSAIC_OK;
}

/* Ranks of one thread share the order of a device's work, so its copies need no waiting. */
static mosaic_status move(const mosaic_transfer *to, const mosaic_transfer *from)
{
    const mosaic_device *device = mosaic_device_of(&to->packed);
    const mosaic_device *other = mosaic_device_of(&from->packed);
    if (device == other)
        return device->move(device, NULL, mosaic_data(&to->packed), mosaic_data(&from->packed),
                            to->envelope.bytes);
    return mosaic_fail(MOSAIC_ENOTSUP,
                       "comm: virtual ranks share one device: rank %d sent %s on %s, rank %d "
                       "receives %s on %s",
                       from->owner->rank, mosaic_tensor_describe(&from->packed), other->name,
                       to->owner->rank, mosaic_tensor_describe(&to->packed), device->name);
}

/* Moves the payload, unless the receiver wants another one: then the envelope tells the story. */
static mosaic_status deliver(mosaic_transfer *to, mosaic_transfer *from)
{
    const mosaic_envelope *sent = &from->envelope, *wanted = &to->envelope;
    bool fits =
        sent->bytes == wanted->bytes && !memcmp(sent->family, wanted->family, sizeof sent->family);
    to->arrived = *sent;
    to->left = from->left;
    to->done = from->done = true;
    return fits && wanted->bytes > 0 ? move(to, from) : MOSAIC_OK;
}

static mosaic_status test(mosaic_transfer *t)
{
    if (!t->receives) return MOSAIC_OK; /* the receiver says when */
    virtual_endpoint *me = (virtual_endpoint *)t->owner;
    for (mosaic_transfer **at = &me->inbox, *m; (m = *at); at = &m->next) {
        if (m->owner->rank != t->world_peer || m->tag != t->tag) continue;
        *at = m->next;
        if (me->inbox_end == &m->next) me->inbox_end = at;
        return deliver(t, m);
    }
    return MOSAIC_OK;
}

static void cancel(mosaic_transfer *t)
{
    virtual_endpoint *to = &world_of(t->owner)->ranks[t->world_peer];
    for (mosaic_transfer **at = &to->inbox; *at && !t->receives; at = &(*at)->next) {
        if (*at != t) continue;
        *at = t->next;
        if (to->inbox_end == &t->next) to->inbox_end = at;
        return;
    }
}

/* Requests that are still under way fail; nobody will look at their transfers again. */
static void drop_requests(mosaic_endpoint *e)
{
    mosaic_request *r;
    while ((r = e->active)) {
        e->active = r->next;
        mosaic_request_drop(r, "this virtual world has ended");
    }
}

static void end_world(mosaic_endpoint *e)
{
    world *w = world_of(e);
    if (w->ended) return;
    w->ended = true;
    w->live++; /* dropping requests may release the last communicator */
    for (int i = 0; i < w->size; i++) w->ranks[i].inbox = NULL;
    for (int i = 0; i < w->size; i++) drop_requests(&w->ranks[i].base);
    if (--w->live == 0) free(w);
}

static void release(mosaic_endpoint *e)
{
    world *w = world_of(e);
    if (--w->live == 0) free(w);
}

static const mosaic_transport transport = {
    .name = "virtual",
    .start = start,
    .test = test,
    .cancel = cancel,
    .devices = true,
    .alone = true,
    .end_world = end_world,
    .release = release,
};

mosaic_status mosaic_comm_new_virtual(mosaic_comm **ranks, int size)
{
    MOSAIC_REQUIRE(size >= 1, "comm: a world needs at least one rank, got %d", size);
    world *w = calloc(1, sizeof *w + (size_t)size * sizeof w->ranks[0]);
    if (!w) return mosaic_fail(MOSAIC_ENOMEM, "comm: no memory for %d virtual ranks", size);
    w->size = w->live = size;
    mosaic_status status = MOSAIC_OK;
    for (int i = 0; i < size; i++) {
        virtual_endpoint *e = &w->ranks[i];
        e->base = (mosaic_endpoint){.transport = &transport, .rank = i, .size = size};
        e->world = w;
        e->inbox_end = &e->inbox;
        ranks[i] = NULL;
        if (!status) status = mosaic_comm_new(&ranks[i], &e->base, size, 0);
    }
    if (!status) return MOSAIC_OK;
    int made = 0;
    while (made < size && ranks[made]) made++;
    w->live = made ? made : 1;
    for (int i = 0; i < made; i++) mosaic_comm_release(ranks[i]);
    if (!made) free(w);
    return status;
}
