/* ipc.c - payloads between processes of one machine, through device memory that both have mapped.
 *
 * A sender has a mailbox of a few slots for each receiver. It copies a piece into a slot and tells
 * the receiver, who copies it out and says so; both copies are work of the devices, tied by events
 * that the processes share, so no host waits for them. The first payload brings an offer of the
 * mailbox with it. Where it cannot be opened (containers, no access from device to device) payloads
 * go through host memory. */
#include <stdio.h>
#include <stdlib.h>

#include "flight.h"

enum { SLOTS = 4, SLOT_BYTES = 4 << 20 };

/* What senders say to receivers. */
typedef struct {
    enum { OFFER, PIECE, FALL_BACK } kind;
    int32_t slot;
    int32_t no_room; /* why it falls back: none for the mailbox */
    int64_t slot_bytes;
    cudaIpcMemHandle_t memory;
    cudaIpcEventHandle_t written[SLOTS];
} note;

/* And receivers to senders: an offer is accepted, a piece has been taken. */
typedef struct {
    int32_t yes;
    cudaIpcEventHandle_t read[SLOTS];
} reply;

/* From this rank to another. */
typedef struct mailbox {
    struct mailbox *next;
    int to;
    enum { NEW, OFFERED, OPEN, REFUSED } state;
    char *memory;
    int64_t slot_bytes;
    cudaEvent_t written[SLOTS], read[SLOTS];
    bool busy[SLOTS], used[SLOTS];
    bool no_room; /* for it: why it is REFUSED */
} mailbox;

/* And from another one to this. */
typedef struct opened {
    struct opened *next;
    int from;
    char *memory;
    int64_t slot_bytes;
    cudaEvent_t written[SLOTS], read[SLOTS];
} opened;

static mailbox *mailboxes;
static opened *others;

/* ---- mailboxes ------------------------------------------------------------------------------ */

/* Bytes of a slot; MOSAIC_IPC_SLOT makes it smaller, so that specs can see many pieces. */
static int64_t slot_bytes(void)
{
    const char *text = getenv("MOSAIC_IPC_SLOT");
    int64_t given = text ? atoll(text) : 0;
    return given > 0 && given < SLOT_BYTES ? given : SLOT_BYTES;
}

static mailbox *mailbox_to(int rank)
{
    mailbox *m = mailboxes;
    while (m && m->to != rank) m = m->next;
    if (m || !(m = calloc(1, sizeof *m))) return m;
    *m = (mailbox){.next = mailboxes, .to = rank};
    return mailboxes = m;
}

static bool new_event(cudaEvent_t *event, cudaIpcEventHandle_t *handle)
{
    return cudaEventCreateWithFlags(event, cudaEventDisableTiming | cudaEventInterprocess) ==
               cudaSuccess &&
           cudaIpcGetEventHandle(handle, *event) == cudaSuccess;
}

/* False where memory cannot be shared. */
static bool make_offer(mailbox *m, note *n)
{
    m->slot_bytes = slot_bytes();
    *n = (note){.kind = OFFER, .slot_bytes = m->slot_bytes};
    cudaError_t got = cudaMalloc((void **)&m->memory, (size_t)(SLOTS * m->slot_bytes));
    m->no_room = got == cudaErrorMemoryAllocation;
    bool fine = got == cudaSuccess && cudaIpcGetMemHandle(&n->memory, m->memory) == cudaSuccess;
    for (int i = 0; fine && i < SLOTS; i++) fine = new_event(&m->written[i], &n->written[i]);
    if (!fine) cudaGetLastError();
    return fine;
}

static bool open_offer(int from, const note *n, reply *answer)
{
    opened *o = calloc(1, sizeof *o);
    if (!o) return false;
    *o = (opened){.next = others, .from = from, .slot_bytes = n->slot_bytes};
    bool fine = cudaIpcOpenMemHandle((void **)&o->memory, n->memory,
                                     cudaIpcMemLazyEnablePeerAccess) == cudaSuccess;
    for (int i = 0; fine && i < SLOTS; i++)
        fine = cudaIpcOpenEventHandle(&o->written[i], n->written[i]) == cudaSuccess &&
               new_event(&o->read[i], &answer->read[i]);
    if (fine)
        others = o;
    else
        free(o), cudaGetLastError();
    return fine;
}

static bool open_reply(mailbox *m, const reply *answer)
{
    bool fine = answer->yes;
    for (int i = 0; fine && i < SLOTS; i++)
        fine = cudaIpcOpenEventHandle(&m->read[i], answer->read[i]) == cudaSuccess;
    if (!fine) cudaGetLastError();
    return fine;
}

static opened *opened_from(int rank)
{
    opened *o = others;
    while (o && o->from != rank) o = o->next;
    return o;
}

/* ---- what is said --------------------------------------------------------------------------- */

typedef struct {
    void *posted;
    bool over;
} message;

typedef struct {
    note note;
    reply reply;
    message told, heard;
    int64_t bytes;
} piece;

typedef struct {
    mosaic_lane *lane;
    int64_t at, done; /* bytes asked for, and taken */
    bool offering, fallen_back, in_flight;
    piece pieces[SLOTS]; /* sender: of each slot; receiver: the first is the one being spoken of */
} load;

static mosaic_status post(const mosaic_transfer *t, message *m, bool receives, void *data,
                          int64_t bytes, int tag)
{
    m->over = false;
    return t->owner->transport->post(&m->posted, receives, data, bytes, t->world_peer,
                                     tag | (int)t->manifest.number);
}

static mosaic_status look(const mosaic_transfer *t, message *m)
{
    return m->over ? MOSAIC_OK : t->owner->transport->posted(m->posted, &m->over);
}

/* Senders tell notes and hear replies, receivers the other way round. */
static mosaic_status post_note(const mosaic_transfer *t, piece *p)
{
    return post(t, t->receives ? &p->heard : &p->told, t->receives, &p->note, sizeof p->note,
                MOSAIC_TAG_PAYLOAD);
}

static mosaic_status post_reply(const mosaic_transfer *t, piece *p)
{
    return post(t, t->receives ? &p->told : &p->heard, !t->receives, &p->reply, sizeof p->reply,
                MOSAIC_TAG_TAKEN);
}

static mosaic_status said(const mosaic_transfer *t, piece *p, bool *over)
{
    MOSAIC_TRY(look(t, &p->told));
    MOSAIC_TRY(look(t, &p->heard));
    *over = p->told.over && p->heard.over;
    return MOSAIC_OK;
}

/* ---- sending -------------------------------------------------------------------------------- */

static mosaic_status check(const mosaic_request *r, cudaError_t error)
{
    return mosaic_cuda_check((const mosaic_cuda *)r->device, mosaic_request_describe(r), error);
}

static mosaic_status send_piece(mosaic_request *r, mosaic_transfer *t, mailbox *m, int slot)
{
    load *l = t->cargo->own;
    piece *p = &l->pieces[slot];
    cudaStream_t stream = (cudaStream_t)l->lane;
    int64_t left = t->envelope.bytes - l->at;
    p->bytes = left < m->slot_bytes ? left : m->slot_bytes;
    p->note = (note){.kind = PIECE, .slot = slot};
    if (m->used[slot]) MOSAIC_TRY(check(r, cudaStreamWaitEvent(stream, m->read[slot], 0)));
    MOSAIC_TRY(check(r, cudaMemcpyAsync(m->memory + slot * m->slot_bytes,
                                        (char *)mosaic_data(&t->packed) + l->at, (size_t)p->bytes,
                                        cudaMemcpyDeviceToDevice, stream)));
    MOSAIC_TRY(check(r, cudaEventRecord(m->written[slot], stream)));
    m->busy[slot] = m->used[slot] = true;
    l->at += p->bytes;
    MOSAIC_TRY(post_note(t, p));
    return post_reply(t, p);
}

static mosaic_status send_pieces(mosaic_request *r, mosaic_transfer *t, mailbox *m)
{
    load *l = t->cargo->own;
    for (int i = 0; i < SLOTS; i++) {
        piece *p = &l->pieces[i];
        bool over = false;
        if (p->bytes) MOSAIC_TRY(said(t, p, &over));
        if (over) m->busy[i] = false, l->done += p->bytes, p->bytes = 0;
        if (!m->busy[i] && l->at < t->envelope.bytes) MOSAIC_TRY(send_piece(r, t, m, i));
    }
    return MOSAIC_OK;
}

static mosaic_status offer(mosaic_transfer *t, mailbox *m)
{
    load *l = t->cargo->own;
    m->state = make_offer(m, &l->pieces[0].note) ? OFFERED : REFUSED;
    l->offering = m->state == OFFERED;
    if (!l->offering) return MOSAIC_OK;
    MOSAIC_TRY(post_note(t, &l->pieces[0]));
    return post_reply(t, &l->pieces[0]);
}

static mosaic_status hear(mosaic_transfer *t, mailbox *m)
{
    load *l = t->cargo->own;
    bool over = false;
    if (!l->offering) return MOSAIC_OK; /* another payload brought the offer */
    MOSAIC_TRY(said(t, &l->pieces[0], &over));
    if (over) m->state = open_reply(m, &l->pieces[0].reply) ? OPEN : REFUSED;
    l->offering = !over;
    return MOSAIC_OK;
}

/* Another carrier does it. */
static mosaic_status change_carrier(mosaic_request *r, mosaic_transfer *t, bool no_room)
{
    free(t->cargo->own);
    t->cargo->own = NULL;
    return mosaic_cuda_core->fall_back(r, t,
                                       no_room ? "no memory on the device for a mailbox"
                                               : "no access to another process's memory");
}

static mosaic_status fall_back(mosaic_request *r, mosaic_transfer *t, const mailbox *m)
{
    load *l = t->cargo->own;
    piece *p = &l->pieces[0];
    if (t->manifest.card.wish[0])
        return mosaic_cuda_core->fail(MOSAIC_ENOTSUP,
                                      "MOSAIC_TRANSPORT=ipc: rank %d cannot open memory of rank %d",
                                      t->world_peer, t->owner->rank);
    if (!l->fallen_back) {
        p->note = (note){.kind = FALL_BACK, .no_room = m->no_room};
        l->fallen_back = true;
        MOSAIC_TRY(post_note(t, p));
    }
    MOSAIC_TRY(look(t, &p->told));
    return p->told.over ? change_carrier(r, t, m->no_room) : MOSAIC_OK;
}

static mosaic_status send_on(mosaic_request *r, mosaic_transfer *t)
{
    mailbox *m = mailbox_to(t->world_peer);
    if (!m) return mosaic_cuda_core->fail(MOSAIC_ENOMEM, "comm: no memory for a message");
    if (m->state == NEW) MOSAIC_TRY(offer(t, m));
    if (m->state == OFFERED) MOSAIC_TRY(hear(t, m));
    if (m->state == REFUSED) return fall_back(r, t, m);
    return m->state == OPEN ? send_pieces(r, t, m) : MOSAIC_OK;
}

/* ---- receiving ------------------------------------------------------------------------------ */

static mosaic_status take_piece(mosaic_request *r, mosaic_transfer *t, const note *n)
{
    load *l = t->cargo->own;
    const opened *o = opened_from(t->world_peer);
    cudaStream_t stream = (cudaStream_t)l->lane;
    int64_t left = t->envelope.bytes - l->done;
    int64_t bytes = left < o->slot_bytes ? left : o->slot_bytes;
    MOSAIC_TRY(mosaic_lane_open(r));
    MOSAIC_TRY(check(r, cudaStreamWaitEvent(stream, o->written[n->slot], 0)));
    MOSAIC_TRY(check(r, cudaMemcpyAsync((char *)mosaic_data(&t->packed) + l->done,
                                        o->memory + n->slot * o->slot_bytes, (size_t)bytes,
                                        cudaMemcpyDefault, stream)));
    MOSAIC_TRY(check(r, cudaEventRecord(o->read[n->slot], stream)));
    l->done += bytes;
    return MOSAIC_OK;
}

/* Deals with what the sender said, and hears more. */
static mosaic_status receive_on(mosaic_request *r, mosaic_transfer *t)
{
    load *l = t->cargo->own;
    piece *p = &l->pieces[0];
    bool over;
    for (;;) {
        MOSAIC_TRY(said(t, p, &over));
        if (!over || l->done == t->envelope.bytes) return MOSAIC_OK;
        if (p->note.kind == FALL_BACK) return change_carrier(r, t, p->note.no_room);
        if (p->note.kind == OFFER) p->reply.yes = open_offer(t->world_peer, &p->note, &p->reply);
        if (p->note.kind == PIECE) MOSAIC_TRY(take_piece(r, t, &p->note));
        MOSAIC_TRY(post_reply(t, p));
        if (l->done < t->envelope.bytes) MOSAIC_TRY(post_note(t, p));
    }
}

/* ---- the carrier ---------------------------------------------------------------------------- */

/* Can memory of this device be offered to others? */
static int32_t version(const mosaic_device *device)
{
    void *memory = NULL;
    cudaIpcMemHandle_t handle;
    if (mosaic_cuda_enter((const mosaic_cuda *)device)) return 0;
    bool yes = cudaMalloc(&memory, 1) == cudaSuccess &&
               cudaIpcGetMemHandle(&handle, memory) == cudaSuccess;
    cudaFree(memory);
    cudaGetLastError();
    return yes;
}

static const char *obstacle(const mosaic_card *a, const mosaic_card *b, int number)
{
    if (a->node != b->node) return "ranks are on several machines";
    return a->version[number] && b->version[number] ? NULL : "no CUDA IPC";
}

static mosaic_status begin(mosaic_request *r, mosaic_transfer *t)
{
    load *l = t->cargo->own = calloc(1, sizeof *l);
    if (!l) return mosaic_cuda_core->fail(MOSAIC_ENOMEM, "comm: no memory for a message");
    for (int i = 0; i < SLOTS; i++) l->pieces[i].told.over = l->pieces[i].heard.over = true;
    MOSAIC_TRY(mosaic_cuda_core->exchange_lane(&l->lane, r->device, !t->receives));
    *(t->receives ? &r->lane : &r->out_lane) = l->lane;
    if (t->receives) return post_note(t, &l->pieces[0]);
    return r->device->follow(r->device, l->lane, r->after);
}

static mosaic_status advance(mosaic_request *r, mosaic_transfer *t, bool *moved)
{
    const mosaic_carrier *carrier = t->cargo->carrier;
    MOSAIC_TRY(mosaic_cuda_enter((const mosaic_cuda *)r->device));
    MOSAIC_TRY(t->receives ? receive_on(r, t) : send_on(r, t));
    if (t->cargo->carrier != carrier) return MOSAIC_OK;
    load *l = t->cargo->own;
    *moved = l->done == t->envelope.bytes && l->pieces[0].told.over;
    if (!*moved || l->in_flight) return MOSAIC_OK;
    l->in_flight = true;
    return mosaic_flight_begin(r, l->lane, NULL, "CUDA IPC");
}

/* After an error messages may still be under way: they keep their places. */
static void clear(mosaic_transfer *t)
{
    load *l = t->cargo->own;
    bool over = true;
    for (int i = 0; l && i < SLOTS; i++)
        over = over && l->pieces[i].told.over && l->pieces[i].heard.over;
    if (over) free(l);
}

const mosaic_carrier mosaic_ipc_carrier = {
    .name = "ipc",
    .label = "by CUDA IPC",
    .version = version,
    .obstacle = obstacle,
    .begin = begin,
    .advance = advance,
    .clear = clear,
};
