/* comm.c - communicators: making, splitting, counting. */
#include "payload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

mosaic_status mosaic_comm_new(mosaic_comm **comm, mosaic_endpoint *e, int size, int context)
{
    mosaic_comm *c = calloc(1, sizeof *c);
    int *ranks = malloc(sizeof(int) * (size_t)(size > 0 ? size : 1));
    if (!c || !ranks) {
        free(c);
        free(ranks);
        return mosaic_fail(MOSAIC_ENOMEM, "comm: no memory for a communicator of %d ranks", size);
    }
    for (int i = 0; i < size; i++) ranks[i] = i;
    *c = (mosaic_comm){.endpoint = e,
                       .rank = e->rank,
                       .size = size,
                       .references = 1,
                       .context = context,
                       .ranks = ranks};
    e->references++;
    e->contexts[context / 64] |= (uint64_t)1 << context % 64;
    *comm = c;
    return MOSAIC_OK;
}

void mosaic_comm_release(mosaic_comm *c)
{
    if (!c || --c->references) return;
    mosaic_endpoint *e = c->endpoint;
    if (mosaic_group_release(c)) e->contexts[c->context / 64] &= ~((uint64_t)1 << c->context % 64);
    free(c->ranks);
    free(c);
    if (--e->references == 0) e->transport->release(e);
}

void mosaic_comm_end_world(mosaic_comm *c)
{
    if (c->endpoint->transport->end_world) c->endpoint->transport->end_world(c->endpoint);
}

/* ---- asking --------------------------------------------------------------------------------- */

int mosaic_comm_rank(const mosaic_comm *c) { return c->rank; }
int mosaic_comm_size(const mosaic_comm *c) { return c->size; }
const char *mosaic_comm_transport(const mosaic_comm *c) { return c->endpoint->transport->name; }
int64_t mosaic_comm_events(const mosaic_comm *c) { return c->endpoint->events; }
int64_t mosaic_comm_bytes_sent(const mosaic_comm *c) { return c->endpoint->bytes_sent; }

int mosaic_comm_node(const mosaic_comm *c)
{
    if (!c) return -1;
    const mosaic_transport *transport = c->endpoint->transport;
    return transport->node ? transport->node() : 0;
}

int mosaic_comm_world_rank(const mosaic_comm *c, int rank)
{
    return c && rank >= 0 && rank < c->size ? c->ranks[rank] : -1;
}

int mosaic_comm_poll(mosaic_comm *c)
{
    int count = 0;
    mosaic_progress(c->endpoint);
    for (const mosaic_request *r = c->endpoint->active; r; r = r->next)
        count += r->status == MOSAIC_PENDING;
    return count;
}

const char *mosaic_process_name(void)
{
    static _Thread_local char text[100];
    char host[64] = "?";
    gethostname(host, sizeof host - 1);
    snprintf(text, sizeof text, "%s pid %d", host, (int)getpid());
    return text;
}

void mosaic_comm_counters_read(mosaic_comm_counters *counters, const mosaic_comm *c,
                               mosaic_comm_kind kind)
{
    *counters =
        (unsigned)kind < MOSAIC_COMM_KINDS ? c->counters[kind] : (mosaic_comm_counters){0, 0, 0};
}

void mosaic_comm_count_lent(mosaic_comm *c, int64_t bytes)
{
    c->counters[MOSAIC_COMM_SENDRECV].bytes_sent += bytes;
    c->endpoint->bytes_sent += bytes;
}

void mosaic_comm_counters_reset(mosaic_comm *c) { memset(c->counters, 0, sizeof c->counters); }

/* ---- splitting ------------------------------------------------------------------------------ */

/* A row of the table: color, key, and the contexts that are in use on that rank. */
enum { COLOR, KEY, CONTEXTS, ROW = CONTEXTS + MOSAIC_CONTEXT_WORDS };

mosaic_status mosaic_comm_split_start(mosaic_request **request, mosaic_comm *c,
                                      mosaic_tensor *table, int64_t color, int64_t key)
{
    mosaic_tensor own = {0};
    MOSAIC_TRY(mosaic_tensor_new(&own, MOSAIC_DTYPE_I64, 2, (int64_t[]){1, ROW}, NULL));
    int64_t *row = mosaic_data(&own), *sizes = malloc(sizeof(int64_t) * (size_t)c->size);
    row[COLOR] = color;
    row[KEY] = key;
    memcpy(row + CONTEXTS, c->endpoint->contexts, sizeof c->endpoint->contexts);
    mosaic_status status = MOSAIC_OK;
    if (!sizes) status = mosaic_fail(MOSAIC_ENOMEM, "split: no memory for %d ranks", c->size);
    for (int i = 0; !status && i < c->size; i++) sizes[i] = 1;
    if (!status) status = mosaic_comm_all_gather(request, c, table, &own, 0, sizes, 0);
    free(sizes);
    mosaic_tensor_clear(&own);
    return status;
}

typedef struct {
    int64_t key;
    int rank; /* in the parent */
} member;

static int by_key(const void *a, const void *b)
{
    const member *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

/* The members of this rank's color in their new order, and the contexts that any of them uses. */
static int gather_members(member *members, uint64_t *used, const mosaic_comm *c,
                          const int64_t *table)
{
    int count = 0;
    memset(used, 0, sizeof(uint64_t) * MOSAIC_CONTEXT_WORDS);
    for (int r = 0; r < c->size; r++) {
        const int64_t *row = table + (int64_t)r * ROW;
        if (row[COLOR] != table[(int64_t)c->rank * ROW + COLOR]) continue;
        members[count++] = (member){row[KEY], r};
        for (int w = 0; w < MOSAIC_CONTEXT_WORDS; w++) used[w] |= (uint64_t)row[CONTEXTS + w];
    }
    qsort(members, (size_t)count, sizeof *members, by_key);
    return count;
}

/* The lowest context that is free on all members: they all find the same one. */
static int free_context(const uint64_t *used)
{
    for (int i = 0; i < MOSAIC_CONTEXTS; i++)
        if (!(used[i / 64] >> i % 64 & 1)) return i;
    return -1;
}

static mosaic_status make_part(mosaic_comm **out, const mosaic_comm *c, const member *members,
                               int count, const uint64_t *used)
{
    int context = free_context(used);
    MOSAIC_REQUIRE(context >= 0, "split: more than %d live communicators", MOSAIC_CONTEXTS);
    MOSAIC_TRY(mosaic_comm_new(out, c->endpoint, count, context));
    for (int i = 0; i < count; i++) {
        (*out)->ranks[i] = c->ranks[members[i].rank];
        if (members[i].rank == c->rank) (*out)->rank = i;
    }
    return MOSAIC_OK;
}

mosaic_status mosaic_comm_split_finish(mosaic_comm **out, mosaic_comm *c, const mosaic_tensor *t)
{
    const int64_t *table = mosaic_data(t);
    *out = NULL;
    if (table[(int64_t)c->rank * ROW + COLOR] < 0) return MOSAIC_OK;
    uint64_t used[MOSAIC_CONTEXT_WORDS];
    member *members = malloc(sizeof *members * (size_t)c->size);
    if (!members) return mosaic_fail(MOSAIC_ENOMEM, "split: no memory for %d ranks", c->size);
    int count = gather_members(members, used, c, table);
    mosaic_status status = make_part(out, c, members, count, used);
    free(members);
    return status;
}
