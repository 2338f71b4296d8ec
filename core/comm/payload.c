/* payload.c - ways for a payload that travels beside its envelope, and its receiver's answer. */
#include "payload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool mosaic_payload_apart(const mosaic_request *r)
{
    return r->device != &mosaic_cpu_device && !r->comm->endpoint->transport->devices;
}

/* ---- this rank's card ----------------------------------------------------------------------- */

static const mosaic_device *own_device;
static mosaic_card own;

static const mosaic_carrier *carrier_at(int i)
{
    const mosaic_carrier *const *known = own_device->carriers;
    for (int k = 0; known && k < i; k++)
        if (!known[k]) known = NULL;
    return known && i < MOSAIC_CARRIERS ? known[i] : NULL;
}

static mosaic_status read_wish(void)
{
    const char *wish = getenv("MOSAIC_TRANSPORT");
    if (!wish || !*wish || !strcmp(wish, "auto")) return MOSAIC_OK;
    bool known = !strcmp(wish, mosaic_staging.name);
    for (int i = 0; carrier_at(i); i++) known = known || !strcmp(wish, carrier_at(i)->name);
    MOSAIC_REQUIRE(known, "MOSAIC_TRANSPORT=%s: tensors on %s know no such way", wish,
                   own_device->name);
    snprintf(own.wish, sizeof own.wish, "%s", wish);
    return MOSAIC_OK;
}

static bool wanted(const mosaic_card *a, const mosaic_carrier *c)
{
    return !a->wish[0] || !strcmp(a->wish, c->name);
}

static mosaic_status fill_card(const mosaic_device *device, const mosaic_endpoint *e)
{
    own_device = device;
    own.node = e->transport->node();
    snprintf(own.address, sizeof own.address, "%s", device->address);
    mosaic_status status = read_wish();
    if (status) own_device = NULL;
    if (status) return status;
    for (int i = 0; carrier_at(i); i++)
        if (wanted(&own, carrier_at(i))) own.version[i] = carrier_at(i)->version(device);
    return MOSAIC_OK;
}

mosaic_status mosaic_payload_card(const mosaic_card **card, const mosaic_device *device,
                                  const mosaic_endpoint *e)
{
    *card = &own;
    if (!own_device) return fill_card(device, e);
    if (device == own_device) return MOSAIC_OK;
    return mosaic_fail(MOSAIC_ENOTSUP, "comm: rank %d sends and receives on %s, not on %s", e->rank,
                       own_device->name, device->name);
}

mosaic_status mosaic_payload_poll(void)
{
    return own_device && own_device->poll ? own_device->poll(own_device) : MOSAIC_OK;
}

/* ---- the best way --------------------------------------------------------------------------- */

static char obstacles[MOSAIC_CARRIERS][160]; /* the first that each one met */

static void note_obstacle(int i, const char *obstacle)
{
    if (!obstacles[i][0]) snprintf(obstacles[i], sizeof obstacles[i], "%s", obstacle);
}

static bool possible(int i, const mosaic_card *a, const mosaic_card *b)
{
    const char *obstacle = carrier_at(i)->obstacle(a, b, i);
    if (obstacle) note_obstacle(i, obstacle);
    return !obstacle;
}

/* Why none of the better ways: ": ranks share a device, one has no other way", or "". */
static const char *reasons(const mosaic_carrier *carrier)
{
    static char text[MOSAIC_CARRIERS * sizeof obstacles[0]];
    size_t n = 0;
    text[0] = 0;
    for (int i = 0; carrier_at(i) && carrier_at(i) != carrier; i++)
        if (obstacles[i][0])
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n ? ", " : ": ", obstacles[i]);
    return text;
}

static mosaic_status check_wishes(const mosaic_card *a, const mosaic_card *b)
{
    if (!strcmp(a->wish, b->wish)) return MOSAIC_OK;
    return mosaic_fail(MOSAIC_EINVAL, "MOSAIC_TRANSPORT differs between ranks: '%s' and '%s'",
                       a->wish, b->wish);
}

static mosaic_status not_as_wished(const mosaic_card *a)
{
    return mosaic_fail(MOSAIC_ENOTSUP, "MOSAIC_TRANSPORT=%s is not possible%s", a->wish,
                       reasons(NULL));
}

mosaic_status mosaic_payload_choose(const mosaic_carrier **carrier, const mosaic_card *a,
                                    const mosaic_card *b, bool collective)
{
    MOSAIC_TRY(check_wishes(a, b));
    *carrier = &mosaic_staging;
    for (int i = 0; carrier_at(i); i++) {
        if (!wanted(a, carrier_at(i)) || !possible(i, a, b)) continue;
        if (collective && carrier_at(i)->launch) continue; /* it cannot join all of them */
        *carrier = carrier_at(i);
        return MOSAIC_OK;
    }
    return wanted(a, *carrier) ? MOSAIC_OK : not_as_wished(a);
}

/* Does carrier i join any two of them? */
static bool joins_all(int i, const mosaic_card *cards, int count)
{
    for (int a = 0; a < count; a++)
        for (int b = 0; b < a; b++)
            if (!possible(i, &cards[a], &cards[b])) return false;
    return true;
}

mosaic_status mosaic_payload_choose_together(const mosaic_carrier **carrier,
                                             const mosaic_card *cards, int count)
{
    bool wished = false;
    *carrier = NULL;
    for (int r = 1; r < count; r++) MOSAIC_TRY(check_wishes(&cards[0], &cards[r]));
    for (int i = 0; carrier_at(i) && !*carrier; i++) {
        if (!carrier_at(i)->launch || !wanted(cards, carrier_at(i))) continue;
        wished = cards->wish[0];
        if (joins_all(i, cards, count)) *carrier = carrier_at(i);
    }
    return wished && !*carrier ? not_as_wished(cards) : MOSAIC_OK;
}

/* Where all meet, if there is such a place. */
mosaic_status mosaic_payload_invite(const mosaic_device *device, char *invitation)
{
    for (int i = 0; carrier_at(i); i++)
        if (carrier_at(i)->launch && own.version[i])
            return carrier_at(i)->invite(device, invitation);
    return MOSAIC_OK;
}

void mosaic_payload_tell(const mosaic_endpoint *e, const mosaic_carrier *carrier)
{
    static const mosaic_carrier *told[MOSAIC_CARRIERS + 1];
    int i = 0;
    while (told[i] && told[i] != carrier) i++;
    if (e->rank == 0 && !told[i])
        fprintf(stderr, "mosaic: tensors on %.*s travel %s%s\n",
                (int)strcspn(own_device->name, ":"), own_device->name, carrier->label,
                reasons(carrier));
    told[i] = carrier;
}

/* ---- a payload: asked for, answered, moved -------------------------------------------------- */

mosaic_status mosaic_payload_prepare(mosaic_request *r)
{
    r->answered = r->together = false;
    return mosaic_lane_prepare(r);
}

mosaic_status mosaic_payload_announce(mosaic_request *r, mosaic_transfer *t)
{
    const mosaic_card *card;
    MOSAIC_TRY(mosaic_payload_card(&card, r->device, t->owner));
    t->apart = true;
    t->manifest.piece = mosaic_staging_piece();
    t->manifest.card = *card;
    return MOSAIC_OK;
}

static mosaic_status new_cargo(mosaic_transfer *t)
{
    t->cargo = calloc(1, sizeof *t->cargo);
    return t->cargo ? MOSAIC_OK : mosaic_fail(MOSAIC_ENOMEM, "comm: no memory for a message");
}

static mosaic_status post_answer(mosaic_transfer *t)
{
    return t->owner->transport->post(&t->cargo->posted, !t->receives, &t->cargo->answer,
                                     sizeof t->cargo->answer, t->world_peer,
                                     MOSAIC_TAG_ANSWER | (int)t->manifest.number);
}

mosaic_status mosaic_payload_start(mosaic_transfer *t)
{
    MOSAIC_TRY(new_cargo(t));
    return post_answer(t);
}

mosaic_status mosaic_payload_reply(mosaic_transfer *t, const mosaic_answer *answer)
{
    if (!t->cargo) MOSAIC_TRY(new_cargo(t));
    t->cargo->answer = *answer;
    return post_answer(t);
}

mosaic_status mosaic_payload_answered(mosaic_transfer *t)
{
    if (t->cargo->answered) return MOSAIC_OK;
    MOSAIC_TRY(t->owner->transport->posted(t->cargo->posted, &t->cargo->answered));
    return MOSAIC_OK;
}

/* Both sides come to the same carrier. A rank's messages to itself stay in its memory. */
static mosaic_status choose(mosaic_request *r, mosaic_transfer *t, const mosaic_card *theirs)
{
    const mosaic_card *card;
    bool own_message = t->world_peer == t->owner->rank;
    MOSAIC_TRY(mosaic_payload_card(&card, r->device, t->owner));
    t->cargo->carrier = &mosaic_staging;
    if (own_message) return MOSAIC_OK;
    bool collective = r->kind > MOSAIC_COMM_SENDRECV;
    MOSAIC_TRY(mosaic_payload_choose(&t->cargo->carrier, card, theirs, collective));
    mosaic_payload_tell(t->owner, t->cargo->carrier);
    return MOSAIC_OK;
}

/* The envelope has been seen. */
static mosaic_status admit(mosaic_request *r, mosaic_transfer *t)
{
    const mosaic_card *card;
    mosaic_answer answer = {.fits = t->fits};
    if (!t->fits) return mosaic_payload_reply(t, &answer);
    MOSAIC_TRY(new_cargo(t));
    MOSAIC_TRY(mosaic_payload_card(&card, r->device, t->owner));
    MOSAIC_TRY(choose(r, t, &t->manifest.card));
    answer.card = *card;
    if (t->cargo->carrier->admit) MOSAIC_TRY(t->cargo->carrier->admit(r, t, &answer));
    MOSAIC_TRY(mosaic_payload_reply(t, &answer));
    return t->cargo->carrier->begin(r, t);
}

/* The answer has come. */
static mosaic_status load(mosaic_request *r, mosaic_transfer *t)
{
    if (!t->cargo->answer.fits) return MOSAIC_OK;
    MOSAIC_TRY(choose(r, t, &t->cargo->answer.card));
    return t->cargo->carrier->begin(r, t);
}

mosaic_status mosaic_payload_fall_back(mosaic_request *r, mosaic_transfer *t, const char *why)
{
    int i = 0;
    while (carrier_at(i) && carrier_at(i) != t->cargo->carrier) i++;
    note_obstacle(i, why);
    t->cargo->carrier = &mosaic_staging;
    mosaic_payload_tell(t->owner, &mosaic_staging);
    return mosaic_staging.begin(r, t);
}

mosaic_status mosaic_payload_advance(mosaic_request *r, mosaic_transfer *t, bool *moved)
{
    mosaic_cargo *c = t->cargo;
    *moved = false;
    if (r->grouped) return mosaic_group_moved(r, t, moved);
    if (!c) MOSAIC_TRY(admit(r, t));
    c = t->cargo;
    bool before = c->answered;
    MOSAIC_TRY(mosaic_payload_answered(t));
    if (!t->receives && !c->answered) return MOSAIC_OK;
    if (!t->receives && !before) MOSAIC_TRY(load(r, t));
    *moved = !c->carrier;
    if (c->carrier) MOSAIC_TRY(c->carrier->advance(r, t, moved));
    *moved = *moved && c->answered;
    return MOSAIC_OK;
}

/* After an error an answer may still be under way: it keeps its place. */
void mosaic_payload_clear(mosaic_transfer *t)
{
    mosaic_cargo *c = t->cargo;
    if (c && c->carrier) c->carrier->clear(t);
    if (c && c->answered) free(c);
    t->cargo = NULL;
}
