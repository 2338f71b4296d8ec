/* describe.c - requests in words, for reports of deadlocks, time-outs and mismatches. */
#include <stdio.h>
#include <string.h>

#include "payload.h"

const char *mosaic_comm_kind_name(mosaic_comm_kind kind)
{
    static const char *const names[] = {
        "send",       "recv",       "sendrecv",       "broadcast",  "reduce",
        "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "gather",
        "scatter",    "exscan",     "barrier",
    };
    return (unsigned)kind < MOSAIC_COMM_KINDS ? names[kind] : "?";
}

static const char *reduction_name(unsigned op)
{
    static const char *const names[] = {"sum", "prod", "min", "max"};
    return op <= MOSAIC_COMM_MAX ? names[op] : "?";
}

static bool reduces(int kind)
{
    return kind == MOSAIC_COMM_REDUCE || kind == MOSAIC_COMM_ALL_REDUCE ||
           kind == MOSAIC_COMM_REDUCE_SCATTER;
}

/* "[2,3]", "[2,3] axis 1", "[2,3] axis 1 to 2" */
static void describe_shape(char *text, size_t room, const mosaic_envelope *e)
{
    int n = snprintf(text, room, "[");
    for (int i = 0; i < e->ndim && i < MOSAIC_MAX_DIMS; i++)
        n += snprintf(text + n, room - (size_t)n, i ? ",%lld" : "%lld", (long long)e->size[i]);
    n += snprintf(text + n, room - (size_t)n, "]");
    if (e->axis) n += snprintf(text + n, room - (size_t)n, " axis %d", e->axis);
    if (e->join) snprintf(text + n, room - (size_t)n, " to %d", e->join);
}

/* "all_reduce f32 [8] sum", "broadcast f32 [2,4] root 2", "message f32 [8]", where asked for with
 * " on cpu" behind it. */
static void describe(char *text, size_t room, const mosaic_envelope *e, bool placed)
{
    bool p2p = e->kind == MOSAIC_COMM_SENDRECV, barrier = e->kind == MOSAIC_COMM_BARRIER;
    const char *kind = p2p ? "message" : mosaic_comm_kind_name((mosaic_comm_kind)e->kind);
    char root[24] = "", place[16] = "", shape[200];
    if (e->root >= 0) snprintf(root, sizeof root, " root %d", e->root);
    if (placed) snprintf(place, sizeof place, " on %.*s", MOSAIC_FAMILY_ROOM, e->family);
    describe_shape(shape, sizeof shape, e);
    if (barrier)
        snprintf(text, room, "%s", kind);
    else
        snprintf(text, room, "%s %s %s%s%s%s%s", kind, mosaic_dtype_name((mosaic_dtype)e->dtype),
                 shape, reduces(e->kind) ? " " : "", reduces(e->kind) ? reduction_name(e->op) : "",
                 root, place);
}

const char *mosaic_request_describe(const mosaic_request *r)
{
    static _Thread_local char text[208];
    char what[160], tail[40] = "";
    mosaic_envelope e = {.kind = (uint8_t)r->kind,
                         .dtype = (uint8_t)r->dtype,
                         .op = (uint8_t)r->op,
                         .root = r->root,
                         .ndim = 1,
                         .size = {r->count}};
    if (r->kind > MOSAIC_COMM_SENDRECV) {
        describe(what, sizeof what, &e, false);
        snprintf(tail, sizeof tail, " #%lld", (long long)r->sequence);
    } else {
        snprintf(what, sizeof what, "%s %s [%lld]", mosaic_comm_kind_name(r->kind),
                 mosaic_dtype_name((mosaic_dtype)r->dtype), (long long)r->count);
        if (r->tag) snprintf(tail, sizeof tail, " tag %d", r->tag);
    }
    snprintf(text, sizeof text, "%s%s", what, tail);
    return text;
}

const char *mosaic_request_peers(const mosaic_request *r)
{
    static _Thread_local char text[208];
    size_t room = sizeof text, n = 0;
    int receives = 0, sends = 0, named = 0;
    for (int i = 0; i < r->posted; i++)
        if (!r->transfers[i].settled) (*(r->transfers[i].receives ? &receives : &sends))++;
    int count = receives ? receives : sends;
    n += (size_t)snprintf(text, room, "%s rank%s", receives ? "from" : "to", count == 1 ? "" : "s");
    for (int i = 0; i < r->posted; i++) {
        const mosaic_transfer *t = &r->transfers[i];
        if (t->settled || t->receives != (receives > 0)) continue;
        if (named == 12) {
            snprintf(text + n, room - n, ", ...");
            break;
        }
        n += (size_t)snprintf(text + n, room - n, "%s%d", named++ ? ", " : " ", t->world_peer);
    }
    return text;
}

const char *mosaic_request_absent(const mosaic_request *r)
{
    static _Thread_local char text[80];
    int rank = r->grouped ? mosaic_group_absent(r->comm) : -1;
    if (rank < 0) return "";
    snprintf(text, sizeof text, "; rank %d has not come with a tensor on a device", rank);
    return text;
}

const char *mosaic_comm_oldest(const mosaic_comm *c)
{
    static _Thread_local char text[400];
    const mosaic_request *r = c->endpoint->active;
    while (r && r->status != MOSAIC_PENDING) r = r->next;
    if (!r) r = c->endpoint->active; /* complete, but what is left to the device */
    if (!r) return "";
    snprintf(text, sizeof text, "%s %s", mosaic_request_describe(r), mosaic_request_peers(r));
    return text;
}

mosaic_status mosaic_envelope_check(const mosaic_request *r, const mosaic_transfer *t)
{
    const mosaic_envelope *got = &t->arrived, *wanted = &t->envelope;
    mosaic_envelope unmarked = *got;
    unmarked.mark = wanted->mark;
    if (!memcmp(&unmarked, wanted, sizeof unmarked)) return MOSAIC_OK;
    char sent[280], expected[280];
    bool placed = memcmp(got->family, wanted->family, sizeof got->family) != 0;
    describe(sent, sizeof sent, got, placed);
    describe(expected, sizeof expected, wanted, placed);
    return mosaic_fail(MOSAIC_ECOMM,
                       "%s: rank %d sent %s (%lld bytes), rank %d expects %s (%lld bytes)",
                       mosaic_request_describe(r), t->world_peer, sent, (long long)got->bytes,
                       t->owner->rank, expected, (long long)wanted->bytes);
}
