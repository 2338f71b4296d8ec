/* pinned.c - pinned host memory for the pieces of payloads: a bounded amount in each direction.
 *
 * A piece that finds no room waits for its turn, so nothing that has some may wait for a piece that
 * has none: senders take memory once the receiver wants the payload, receivers once a piece is
 * there (staging.c). What is not in use is kept: a quarter for ever, more as long as it is used now
 * and then. */
#include <stdlib.h>

#include "payload.h"

enum { SMALL = 64 << 10, LIMIT = 64 << 20, OLD = 1000 /* pieces since it was used */ };

typedef struct {
    mosaic_pinned *spares; /* the last one used first */
    int64_t held;          /* bytes that pieces have, and the device after them */
    int64_t taken;         /* so often */
} pool;

static pool pools[2]; /* of pieces that come, and leave */
static mosaic_pinned *lost;

/* Bytes in each direction; MOSAIC_STAGING_LIMIT makes it smaller, so that specs can see pieces
 * wait. */
static int64_t limit(void)
{
    const char *text = getenv("MOSAIC_STAGING_LIMIT");
    int64_t given = text ? atoll(text) : 0;
    return given > 0 && given < LIMIT ? given : LIMIT;
}

/* What the device is done with (or failed at) is free. */
static void look_after(pool *p)
{
    for (mosaic_pinned *b = p->spares; b; b = b->next) {
        bool passed;
        if (!b->busy || (!b->device->passed(b->device, b->busy, &passed) && !passed)) continue;
        b->device->forget(b->device, b->busy);
        b->busy = NULL;
        p->held -= b->bytes;
    }
}

/* Spares beyond `keep` bytes that have not been used for so many pieces. */
static void give_back(pool *p, int64_t keep, int64_t age)
{
    int64_t kept = 0;
    for (mosaic_pinned **at = &p->spares, *b; (b = *at);) {
        bool old = !b->busy && p->taken - b->last >= age && kept + b->bytes > keep;
        if (old && b->device->unpin(b->device, b->data)) {
            *at = b->next;
            free(b);
        } else {
            kept += b->bytes;
            at = &b->next;
        }
    }
}

static mosaic_pinned *take_spare(pool *p, const mosaic_device *device, int64_t bytes)
{
    mosaic_pinned **at = &p->spares, *b;
    while ((b = *at) && (b->busy || b->device != device || b->bytes != bytes)) at = &b->next;
    if (b) *at = b->next;
    return b;
}

/* Where there is no memory, it may be in spares of another size. */
static void *pin(const mosaic_device *device, int64_t bytes)
{
    void *data = device->pin(device, bytes);
    if (data) return data;
    for (int i = 0; i < 2; i++) give_back(&pools[i], 0, 0);
    return device->pin(device, bytes);
}

static mosaic_pinned *new_one(const mosaic_device *device, int64_t bytes, bool out)
{
    mosaic_pinned *b = calloc(1, sizeof *b);
    void *data = b ? pin(device, bytes) : NULL;
    if (data) *b = (mosaic_pinned){.device = device, .bytes = bytes, .out = out, .data = data};
    if (data) return b;
    free(b);
    return NULL;
}

mosaic_status mosaic_pinned_take(mosaic_pinned **out, const mosaic_device *device, int64_t bytes,
                                 bool leaves)
{
    pool *p = &pools[leaves];
    bytes = bytes <= SMALL ? SMALL : bytes <= MOSAIC_PIECE ? MOSAIC_PIECE : bytes;
    *out = NULL;
    look_after(p);
    if (p->held && p->held + bytes > limit()) return MOSAIC_OK;
    mosaic_pinned *b = take_spare(p, device, bytes);
    if (!b) b = new_one(device, bytes, leaves);
    if (!b && p->held) return MOSAIC_OK;
    if (!b)
        return mosaic_fail(MOSAIC_ENOMEM, "comm: no pinned memory for %lld bytes of a message",
                           (long long)bytes);
    p->held += bytes;
    b->last = ++p->taken;
    if (p->taken % OLD == 0) give_back(p, limit() / 4, OLD);
    *out = b;
    return MOSAIC_OK;
}

void mosaic_pinned_give(mosaic_pinned *b, mosaic_mark *busy)
{
    pool *p = &pools[b->out];
    b->busy = busy;
    if (!busy) p->held -= b->bytes;
    b->next = p->spares;
    p->spares = b;
}

void mosaic_pinned_lose(mosaic_pinned *b)
{
    pools[b->out].held -= b->bytes;
    b->next = lost;
    lost = b;
}
