/* staging.c - payloads of device tensors by way of pinned host memory.
 *
 * A payload goes in pieces, some of them under way at a time: from the device to pinned memory,
 * from there as a message to the other process, and up to its device. The next leg of a piece
 * begins when somebody looks after it (mosaic_progress) and finds that the last one is over.
 *
 * Pinned memory is bounded, so a piece may have to wait for some. A sender that has it waits for
 * its receiver; the receiver takes some only when the piece has arrived, and then for a copy alone:
 * so whatever the ranks send each other, who has memory gets on and gives it back. */
#include <stdlib.h>

#include "payload.h"

enum { WINDOW = 4 };

/* ---- lanes: one a direction ----------------------------------------------------------------- */

mosaic_status mosaic_staging_lane(mosaic_lane **lane, const mosaic_device *device, bool out)
{
    enum { DEVICES = 64 };
    static struct {
        const mosaic_device *device;
        mosaic_lane *lanes[2];
    } known[DEVICES];
    int i = 0;
    while (i < DEVICES && known[i].device && known[i].device != device) i++;
    if (i == DEVICES) return mosaic_fail(MOSAIC_ENOTSUP, "comm: more than %d devices", DEVICES);
    known[i].device = device;
    if (!known[i].lanes[out]) MOSAIC_TRY(device->lane_new(device, &known[i].lanes[out]));
    *lane = known[i].lanes[out];
    return MOSAIC_OK;
}

/* ---- pieces: two legs each, a message and the device's copy ---------------------------------- */

typedef struct {
    mosaic_pinned *buffer;
    void *posted;        /* the message under way */
    mosaic_mark *copied; /* behind the copy under way */
} piece;

typedef struct {
    const mosaic_device *device;
    mosaic_lane *lane;
    char *data;
    int64_t bytes, each;
    int64_t first, turned, next; /* numbers: from `first` on the second leg, from `turned` on the
                                    first one, from `next` on still to come */
    piece window[WINDOW];
} journey;

static piece *piece_at(journey *j, int64_t number) { return &j->window[number % WINDOW]; }

static int64_t bytes_of(const journey *j, int64_t number)
{
    int64_t left = j->bytes - number * j->each;
    return left < j->each ? left : j->each;
}

static mosaic_status copy(mosaic_request *r, journey *j, int64_t number, bool in)
{
    piece *p = piece_at(j, number);
    char *there = j->data + number * j->each, *here = p->buffer->data;
    if (in) MOSAIC_TRY(mosaic_lane_open(r));
    MOSAIC_TRY(j->device->move(j->device, j->lane, in ? there : here, in ? here : there,
                               bytes_of(j, number)));
    return j->device->mark(j->device, j->lane, &p->copied);
}

static int tag_of(const mosaic_transfer *t) { return MOSAIC_TAG_PAYLOAD | (int)t->manifest.number; }

static mosaic_status post(const mosaic_transfer *t, journey *j, int64_t number)
{
    piece *p = piece_at(j, number);
    return t->owner->transport->post(&p->posted, t->receives, p->buffer->data, bytes_of(j, number),
                                     t->world_peer, tag_of(t));
}

/* Sends copy first, receives last. */
static mosaic_status start_leg(mosaic_request *r, const mosaic_transfer *t, journey *j,
                               int64_t number, bool second)
{
    return second == t->receives ? copy(r, j, number, t->receives) : post(t, j, number);
}

static mosaic_status leg_over(const mosaic_transfer *t, journey *j, int64_t number, bool *over)
{
    piece *p = piece_at(j, number);
    *over = true;
    if (p->posted) {
        MOSAIC_TRY(t->owner->transport->posted(p->posted, over));
        if (*over) p->posted = NULL;
    } else if (p->copied) {
        MOSAIC_TRY(j->device->passed(j->device, p->copied, over));
        if (*over) j->device->forget(j->device, p->copied), p->copied = NULL;
    }
    return MOSAIC_OK;
}

/* The next piece, if it is there and there is memory for it. */
static mosaic_status begin_piece(mosaic_request *r, const mosaic_transfer *t, journey *j,
                                 bool *begun)
{
    piece *p = piece_at(j, j->next);
    *begun = true;
    if (t->receives) MOSAIC_TRY(t->owner->transport->probe(begun, t->world_peer, tag_of(t)));
    if (!*begun) return MOSAIC_OK;
    *p = (piece){0};
    MOSAIC_TRY(mosaic_pinned_take(&p->buffer, j->device, bytes_of(j, j->next), !t->receives));
    *begun = p->buffer != NULL;
    return *begun ? start_leg(r, t, j, j->next++, false) : MOSAIC_OK;
}

/* Moves all pieces on as far as they go. */
static mosaic_status drive(mosaic_request *r, const mosaic_transfer *t, journey *j)
{
    bool over = true;
    while (j->turned < j->next) {
        MOSAIC_TRY(leg_over(t, j, j->turned, &over));
        if (!over) break;
        MOSAIC_TRY(start_leg(r, t, j, j->turned++, true));
    }
    while (j->first < j->turned) {
        MOSAIC_TRY(leg_over(t, j, j->first, &over));
        if (!over) break;
        mosaic_pinned_give(piece_at(j, j->first++)->buffer, NULL);
    }
    over = true;
    while (over && j->next - j->first < WINDOW && j->next * j->each < j->bytes)
        MOSAIC_TRY(begin_piece(r, t, j, &over));
    return MOSAIC_OK;
}

/* ---- the carrier ---------------------------------------------------------------------------- */

/* Bytes of a piece; MOSAIC_STAGING_PIECE makes it smaller, so that specs can see many. */
int64_t mosaic_staging_piece(void)
{
    const char *text = getenv("MOSAIC_STAGING_PIECE");
    int64_t given = text ? atoll(text) : 0;
    return given > 0 && given < MOSAIC_PIECE ? given : MOSAIC_PIECE;
}

static mosaic_status begin(mosaic_request *r, mosaic_transfer *t)
{
    journey *j = t->cargo->own = calloc(1, sizeof *j);
    if (!j) return mosaic_fail(MOSAIC_ENOMEM, "comm: no memory for a message");
    MOSAIC_TRY(mosaic_staging_lane(&j->lane, r->device, !t->receives));
    j->device = r->device;
    j->data = mosaic_data(&t->packed);
    j->bytes = t->envelope.bytes;
    j->each = t->manifest.piece;
    if (t->receives)
        r->lane = j->lane;
    else
        MOSAIC_TRY(r->device->follow(r->device, j->lane, r->after));
    return drive(r, t, j);
}

/* Sent is what has left its buffer; what is received may still be on the way up. */
static mosaic_status advance(mosaic_request *r, mosaic_transfer *t, bool *moved)
{
    journey *j = t->cargo->own;
    MOSAIC_TRY(drive(r, t, j));
    *moved = (t->receives ? j->turned : j->first) * j->each >= j->bytes;
    while (*moved && j->first < j->turned) {
        piece *p = piece_at(j, j->first++);
        mosaic_pinned_give(p->buffer, p->copied);
    }
    return MOSAIC_OK;
}

/* Where it failed in the middle, pieces are still under way. */
static void clear(mosaic_transfer *t)
{
    journey *j = t->cargo->own;
    for (; j && j->first < j->next; j->first++) {
        piece *p = piece_at(j, j->first);
        if (p->posted)
            mosaic_pinned_lose(p->buffer);
        else
            mosaic_pinned_give(p->buffer, p->copied);
    }
    free(j);
}

const mosaic_carrier mosaic_staging = {
    .name = "staged",
    .label = "through pinned host memory",
    .begin = begin,
    .advance = advance,
    .clear = clear,
};
