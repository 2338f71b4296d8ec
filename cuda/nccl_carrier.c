/* nccl_carrier.c - payloads by NCCL.
 *
 * NCCL has no tags: what two ranks exchange is paired by its order. So the receiver gives every
 * payload of a pair its turn, the sender keeps to it, and each direction between two ranks has a
 * communicator and a lane of its own: no payload waits behind one that goes elsewhere. Collectives
 * have one for the ranks of theirs, in which the payloads of a phase are one group. */
#include <stdio.h>
#include <stdlib.h>

#include "nccl.h"

static const mosaic_nccl_library *nccl; /* opened by version() */

static int32_t version(const mosaic_device *device)
{
    (void)device;
    nccl = mosaic_nccl();
    return nccl->version;
}

static const char *obstacle(const mosaic_card *a, const mosaic_card *b, int number)
{
    int32_t one = a->version[number], other = b->version[number];
    static char text[64];
    if (!one || !other) return nccl->missing[0] ? nccl->missing : "not every rank has NCCL";
    if (a->node == b->node && !strcmp(a->address, b->address)) return "ranks share a GPU";
    snprintf(text, sizeof text, "ranks have NCCL %d.%d.%d and %d.%d.%d", one / 10000,
             one / 100 % 100, one % 100, other / 10000, other / 100 % 100, other % 100);
    return one == other ? NULL : text;
}

/* ---- pairs ---------------------------------------------------------------------------------- */

typedef struct {
    mosaic_channel *channel;
    int64_t turn;
    bool launched;
} load;

/* The receiver is rank 0 of the two. */
static mosaic_status open_pair(mosaic_channel **channel, const mosaic_request *r,
                               const mosaic_transfer *t, const mosaic_nccl_id *id)
{
    int own = t->owner->rank;
    mosaic_channel wanted = {.device = (const mosaic_cuda *)r->device, .ranks = 2, .pair = true};
    wanted.id = *id;
    wanted.from = t->receives ? t->world_peer : own;
    wanted.to = t->receives ? own : t->world_peer;
    return mosaic_channel_open(channel, &wanted, t->receives ? 0 : 1);
}

static mosaic_status admit(mosaic_request *r, mosaic_transfer *t, mosaic_answer *answer)
{
    mosaic_channel *c = mosaic_channel_of_pair(t->world_peer, t->owner->rank);
    if (!c) {
        mosaic_nccl_id id;
        if (nccl->ncclGetUniqueId(&id) != NCCL_SUCCESS)
            return mosaic_cuda_core->fail(MOSAIC_ECOMM, "NCCL: no place to meet rank %d",
                                          t->world_peer);
        MOSAIC_TRY(open_pair(&c, r, t, &id));
    }
    answer->turn = c->given++;
    memcpy(answer->invitation, c->id.bytes, sizeof answer->invitation);
    return MOSAIC_OK;
}

static mosaic_status begin(mosaic_request *r, mosaic_transfer *t)
{
    const mosaic_answer *answer = &t->cargo->answer;
    int from = t->receives ? t->world_peer : t->owner->rank;
    int to = t->receives ? t->owner->rank : t->world_peer;
    load *l = t->cargo->own = calloc(1, sizeof *l);
    if (!l) return mosaic_cuda_core->fail(MOSAIC_ENOMEM, "NCCL: no memory for a message");
    l->turn = answer->turn;
    l->channel = mosaic_channel_of_pair(from, to);
    if (!l->channel)
        MOSAIC_TRY(open_pair(&l->channel, r, t, (const mosaic_nccl_id *)answer->invitation));
    *(t->receives ? &r->lane : &r->out_lane) = l->channel->lane;
    return MOSAIC_OK;
}

static int start(const mosaic_transfer *t, const mosaic_channel *c, int peer)
{
    size_t bytes = (size_t)t->envelope.bytes;
    void *data = mosaic_data(&t->packed);
    cudaStream_t stream = (cudaStream_t)c->lane;
    return t->receives ? nccl->ncclRecv(data, bytes, NCCL_BYTES, peer, c->comm, stream)
                       : nccl->ncclSend(data, bytes, NCCL_BYTES, peer, c->comm, stream);
}

static mosaic_status launch_pair(mosaic_request *r, mosaic_transfer *t, load *l)
{
    mosaic_channel *c = l->channel;
    MOSAIC_TRY(mosaic_cuda_enter(c->device));
    if (t->receives)
        MOSAIC_TRY(mosaic_lane_open(r));
    else
        MOSAIC_TRY(r->device->follow(r->device, c->lane, r->after));
    l->launched = true;
    mosaic_flight_describe(c->asked, r, "NCCL");
    return mosaic_channel_check(c, start(t, c, t->receives ? 1 : 0));
}

static mosaic_status advance(mosaic_request *r, mosaic_transfer *t, bool *moved)
{
    load *l = t->cargo->own;
    mosaic_channel *c = l->channel;
    bool ready;
    *moved = c->turn > l->turn;
    if (*moved) return MOSAIC_OK;
    MOSAIC_TRY(mosaic_channel_ready(c, &ready));
    if (!ready || c->turn < l->turn) return MOSAIC_OK;
    if (!l->launched) {
        MOSAIC_TRY(launch_pair(r, t, l));
        MOSAIC_TRY(mosaic_channel_ready(c, &ready));
        if (!ready) return MOSAIC_OK;
    }
    c->turn++;
    *moved = true;
    return mosaic_flight_begin(r, c->lane, &c->under_way, "NCCL");
}

static void clear(mosaic_transfer *t) { free(t->cargo->own); }

/* ---- groups --------------------------------------------------------------------------------- */

typedef struct {
    mosaic_channel *channel;
    const mosaic_request *launched; /* NCCL is at it */
} party;

static mosaic_status invite(const mosaic_device *device, char invitation[MOSAIC_INVITATION])
{
    (void)device;
    mosaic_nccl_id id;
    if (nccl->ncclGetUniqueId(&id) != NCCL_SUCCESS)
        return mosaic_cuda_core->fail(MOSAIC_ECOMM, "NCCL: no place to meet");
    memcpy(invitation, id.bytes, MOSAIC_INVITATION);
    return MOSAIC_OK;
}

static mosaic_status join(void **own, const mosaic_device *device, const mosaic_comm *c,
                          const char invitation[MOSAIC_INVITATION])
{
    party *p = *own = calloc(1, sizeof *p);
    if (!p) return mosaic_cuda_core->fail(MOSAIC_ENOMEM, "NCCL: no memory");
    mosaic_channel wanted = {.device = (const mosaic_cuda *)device, .ranks = c->size};
    memcpy(wanted.id.bytes, invitation, sizeof wanted.id.bytes);
    return mosaic_channel_open(&p->channel, &wanted, c->rank);
}

static void leave(void *own)
{
    party *p = own;
    if (p->channel) p->channel->unused = true;
    free(p);
}

/* An all_gather whose parts are equal and lie end to end on this rank. */
static bool whole(const mosaic_request *r)
{
    if (r->kind != MOSAIC_COMM_ALL_GATHER || !r->posted) return false;
    if (!mosaic_tensor_is_contiguous(&r->out)) return false;
    int64_t bytes = r->transfers[0].envelope.bytes;
    const char *base = mosaic_data(&r->out);
    for (int i = 0; i < r->posted; i++) {
        const mosaic_transfer *t = &r->transfers[i];
        if (t->envelope.bytes != bytes) return false;
        if (!t->receives) continue;
        if (t->target.storage || (char *)mosaic_data(&t->packed) != base + t->peer * bytes)
            return false;
    }
    return bytes > 0;
}

static int gather_whole(const mosaic_request *r, const mosaic_channel *c)
{
    const mosaic_transfer *t = r->transfers;
    while (t->receives) t++;
    return nccl->ncclAllGather(mosaic_data(&t->packed), mosaic_data(&r->out),
                               (size_t)t->envelope.bytes, NCCL_BYTES, c->comm,
                               (cudaStream_t)c->lane);
}

static bool accepted(int result) { return result == NCCL_SUCCESS || result == NCCL_IN_PROGRESS; }

static int exchange_parts(const mosaic_request *r, const mosaic_channel *c)
{
    int result = NCCL_SUCCESS;
    nccl->ncclGroupStart();
    for (int i = 0; i < r->posted; i++) {
        const mosaic_transfer *t = &r->transfers[i];
        if (mosaic_group_wants(t) && accepted(result)) result = start(t, c, t->peer);
    }
    int ended = nccl->ncclGroupEnd();
    return accepted(result) ? ended : result;
}

static bool nothing_to_do(const mosaic_request *r)
{
    int i = 0;
    while (i < r->posted && !mosaic_group_wants(&r->transfers[i])) i++;
    return i == r->posted;
}

static mosaic_status launch_group(mosaic_request *r, mosaic_channel *c, bool as_one)
{
    r->lane = c->lane;
    MOSAIC_TRY(mosaic_cuda_enter(c->device));
    MOSAIC_TRY(mosaic_lane_open(r));
    mosaic_flight_describe(c->asked, r, "NCCL");
    return mosaic_channel_check(c, as_one ? gather_whole(r, c) : exchange_parts(r, c));
}

static mosaic_status launch(mosaic_request *r, void *own, bool as_one, bool *launched)
{
    party *p = own;
    bool ready;
    MOSAIC_TRY(mosaic_channel_ready(p->channel, &ready));
    *launched = nothing_to_do(r);
    if (*launched || !ready) return MOSAIC_OK;
    if (p->launched != r) {
        p->launched = r;
        MOSAIC_TRY(launch_group(r, p->channel, as_one));
        MOSAIC_TRY(mosaic_channel_ready(p->channel, &ready));
        if (!ready) return MOSAIC_OK;
    }
    p->launched = NULL;
    *launched = true;
    return mosaic_flight_begin(r, p->channel->lane, &p->channel->under_way, "NCCL");
}

const mosaic_carrier mosaic_nccl_carrier = {
    .name = "nccl",
    .label = "by NCCL",
    .version = version,
    .obstacle = obstacle,
    .admit = admit,
    .begin = begin,
    .advance = advance,
    .clear = clear,
    .invite = invite,
    .join = join,
    .whole = whole,
    .launch = launch,
    .leave = leave,
};
