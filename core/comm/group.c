/* group.c - collectives whose payloads go together.
 *
 * The ranks of a communicator meet at its first collective with tensors on a device: each tells all
 * others what it can do, and all come to the same answer. If they share a carrier for groups, all
 * payloads of a phase are launched as one. No rank ends the collective before that, though it may
 * have nothing to send or receive. A phase is launched when those of earlier collectives have been
 * (so all ranks launch in the same order), all its envelopes have come and all receivers have
 * answered: nothing starts that somebody would wait for in vain. */
#include <stdlib.h>

#include "payload.h"

typedef struct {
    mosaic_card card;
    char invitation[MOSAIC_INVITATION]; /* of rank 0 */
} greeting;

struct mosaic_group {
    bool decided, failed;
    const mosaic_carrier *carrier; /* NULL: payloads go one by one */
    void *own;                     /* the carrier's */
    greeting *greetings;           /* of each rank, until decided */
    void **posted;                 /* theirs, then ours */
    int left;
};

/* ---- the meeting ---------------------------------------------------------------------------- */

static mosaic_status post_greetings(mosaic_comm *c, mosaic_group *g)
{
    const mosaic_transport *transport = c->endpoint->transport;
    int tag = MOSAIC_TAG_MEETING | c->context;
    for (int r = 0; r < c->size; r++) {
        if (r == c->rank) continue;
        MOSAIC_TRY(transport->post(&g->posted[r], true, &g->greetings[r], sizeof(greeting),
                                   c->ranks[r], tag));
        g->left++;
        MOSAIC_TRY(transport->post(&g->posted[c->size + r], false, &g->greetings[c->rank],
                                   sizeof(greeting), c->ranks[r], tag));
        g->left++;
    }
    return MOSAIC_OK;
}

static void free_group(mosaic_group *g)
{
    if (g) free(g->greetings), free(g->posted);
    free(g);
}

static mosaic_group *new_group(int size)
{
    mosaic_group *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    g->greetings = calloc((size_t)size, sizeof *g->greetings);
    g->posted = calloc(2 * (size_t)size, sizeof *g->posted);
    if (g->greetings && g->posted) return g;
    free_group(g);
    return NULL;
}

static mosaic_status open_meeting(mosaic_comm *c, const mosaic_device *device)
{
    const mosaic_card *card;
    MOSAIC_TRY(mosaic_payload_card(&card, device, c->endpoint));
    mosaic_group *g = new_group(c->size);
    if (!g) return mosaic_fail(MOSAIC_ENOMEM, "comm: no memory for %d ranks", c->size);
    g->greetings[c->rank].card = *card;
    mosaic_status status = MOSAIC_OK;
    if (c->rank == 0) status = mosaic_payload_invite(device, g->greetings[0].invitation);
    if (status)
        free_group(g);
    else
        c->group = g;
    return status ? status : post_greetings(c, g);
}

static mosaic_status decide(mosaic_comm *c, const mosaic_device *device)
{
    mosaic_group *g = c->group;
    mosaic_card *cards = malloc((size_t)c->size * sizeof *cards);
    if (!cards) return mosaic_fail(MOSAIC_ENOMEM, "comm: no memory for %d ranks", c->size);
    for (int r = 0; r < c->size; r++) cards[r] = g->greetings[r].card;
    mosaic_status status = mosaic_payload_choose_together(&g->carrier, cards, c->size);
    free(cards);
    if (status || !g->carrier) return status;
    mosaic_payload_tell(c->endpoint, g->carrier);
    return g->carrier->join(&g->own, device, c, g->greetings[0].invitation);
}

static mosaic_status greet(const mosaic_comm *c, mosaic_group *g)
{
    for (int i = 0; g->left && i < 2 * c->size; i++) {
        bool done = false;
        if (!g->posted[i]) continue;
        MOSAIC_TRY(c->endpoint->transport->posted(g->posted[i], &done));
        if (done) g->posted[i] = NULL, g->left--;
    }
    return MOSAIC_OK;
}

static mosaic_status go_on(mosaic_comm *c, const mosaic_device *device)
{
    if (!c->group) MOSAIC_TRY(open_meeting(c, device));
    mosaic_group *g = c->group;
    if (!g->decided) MOSAIC_TRY(greet(c, g));
    if (g->left || g->decided) return MOSAIC_OK;
    MOSAIC_TRY(decide(c, device));
    g->decided = true;
    free(g->greetings);
    free(g->posted);
    g->greetings = NULL;
    g->posted = NULL;
    return MOSAIC_OK;
}

/* What others have heard cannot be taken back: a meeting fails for ever. */
static mosaic_status meet(mosaic_comm *c, const mosaic_device *device)
{
    if (c->group && c->group->failed)
        return mosaic_fail(MOSAIC_ECOMM, "comm: the meeting of these %d ranks has failed", c->size);
    mosaic_status status = go_on(c, device);
    if (status && c->group) c->group->failed = true;
    return status;
}

bool mosaic_group_begins(const mosaic_request *r)
{
    return !r->comm->grouped && r->comm->size > 1 && mosaic_payload_apart(r);
}

bool mosaic_group_meets(const mosaic_comm *c) { return !c->group || !c->group->decided; }

int mosaic_group_absent(const mosaic_comm *c)
{
    const mosaic_group *g = c->group;
    for (int r = 0; g && g->posted && r < c->size; r++)
        if (g->posted[r]) return c->ranks[r];
    return -1;
}

/* Greetings that are under way keep their place. */
bool mosaic_group_release(mosaic_comm *c)
{
    mosaic_group *g = c->group;
    if (g && g->own) g->carrier->leave(g->own);
    if (g && g->left) return false;
    free_group(g);
    return true;
}

/* ---- phases --------------------------------------------------------------------------------- */

/* An answer whose buffer is still in use holds its transfer back. */
mosaic_status mosaic_group_moved(const mosaic_request *r, mosaic_transfer *t, bool *moved)
{
    if (!r->together) return MOSAIC_OK;
    MOSAIC_TRY(mosaic_payload_answered(t));
    *moved = t->cargo->answered;
    return MOSAIC_OK;
}

static bool all_opened(const mosaic_request *r)
{
    for (int i = 0; i < r->posted; i++)
        if (r->transfers[i].receives && !r->transfers[i].opened) return false;
    return true;
}

static mosaic_status answer(mosaic_request *r)
{
    mosaic_answer a = {.whole = r->comm->group->carrier->whole(r)};
    for (int i = 0; i < r->posted; i++)
        if (r->transfers[i].receives && !r->transfers[i].fits) a.whole = false;
    for (int i = 0; i < r->posted; i++) {
        mosaic_transfer *t = &r->transfers[i];
        if (!t->receives || !t->apart) continue;
        a.fits = t->fits;
        MOSAIC_TRY(mosaic_payload_reply(t, &a));
    }
    r->answered = true;
    return MOSAIC_OK;
}

/* Have all receivers answered? Then also: could the request be done as one on every rank? */
static mosaic_status hear(mosaic_request *r, bool *all, bool *whole)
{
    *all = true;
    *whole = r->comm->group->carrier->whole(r);
    for (int i = 0; i < r->posted; i++) {
        mosaic_transfer *t = &r->transfers[i];
        if (t->receives && !t->fits) *whole = false;
        if (t->receives || !t->apart) continue;
        MOSAIC_TRY(mosaic_payload_answered(t));
        *all = *all && t->cargo->answered;
        *whole = *whole && t->cargo->answer.whole;
    }
    return MOSAIC_OK;
}

/* Collectives of a communicator take turns, with all their phases. */
static bool is_first(const mosaic_request *r)
{
    const mosaic_request *q = r->comm->endpoint->active;
    while (q != r && (q->comm != r->comm || !q->grouped || q->finished)) q = q->next;
    return q == r;
}

mosaic_status mosaic_group_advance(mosaic_request *r)
{
    bool all, whole;
    if (r->together) return MOSAIC_OK;
    MOSAIC_TRY(meet(r->comm, r->device));
    const mosaic_group *g = r->comm->group;
    r->grouped = !g->decided || g->carrier;
    if (!g->decided || !g->carrier || !all_opened(r)) return MOSAIC_OK;
    if (!r->answered) MOSAIC_TRY(answer(r));
    MOSAIC_TRY(hear(r, &all, &whole));
    if (!all || !is_first(r)) return MOSAIC_OK;
    return g->carrier->launch(r, g->own, whole, &r->together);
}
