/* payload.h - what is on a device travels between processes beside its envelope.
 *
 * Envelopes go at once, as for host tensors, so that messages keep their order and mismatches are
 * found first. The receiver answers: a payload moves only when both sides want it to. It does so in
 * the best way (carrier) that both have; the copies are work of lanes beside the device's
 * operations, so the host waits only where the user does.
 *
 *   payload.c   ways for a payload, and its receiver's answer
 *   group.c     collectives whose payloads go together, in a way for all ranks of a communicator
 *   staging.c   the way that there always is: pinned host memory
 *   pinned.c    of which there is a bounded amount
 *   lane.c      requests and the lanes of their device */
#ifndef MOSAIC_PAYLOAD_H
#define MOSAIC_PAYLOAD_H
#include "comm.h"

enum { MOSAIC_INVITATION = 128 };

/* What the receiver says when it has seen the envelope. */
typedef struct {
    int32_t fits;  /* the payload may come */
    int32_t whole; /* and the collective may be done as one, see mosaic_carrier */
    int64_t turn;  /* its place among what this receiver lets this sender send */
    mosaic_card card;
    char invitation[MOSAIC_INVITATION];
} mosaic_answer;

struct mosaic_cargo {
    const mosaic_carrier *carrier; /* once both want it */
    void *own;                     /* the carrier's */
    mosaic_answer answer;
    void *posted;  /* the answer, under way */
    bool answered; /* it has gone, or come */
};

/* A way for payloads. */
struct mosaic_carrier {
    const char *name;
    const char *label;                               /* in words: "by copies" */
    int32_t (*version)(const mosaic_device *device); /* must be equal; 0: cannot be used here */
    /* Why there is no such way between two ranks; NULL: there is. `number`: of this carrier. */
    const char *(*obstacle)(const mosaic_card *a, const mosaic_card *b, int number);

    /* One payload. The receiver admits it (the answer will say so), then both begin and go on until
     * it has moved: what remains is work of the device, in r->lane for what arrives and r->out_lane
     * for what is sent. */
    mosaic_status (*admit)(mosaic_request *r, mosaic_transfer *t, mosaic_answer *answer);
    mosaic_status (*begin)(mosaic_request *r, mosaic_transfer *t);
    mosaic_status (*advance)(mosaic_request *r, mosaic_transfer *t, bool *moved);
    void (*clear)(mosaic_transfer *t);

    /* All payloads of a phase of a collective; NULL slots: they go one by one. Rank 0 of the
     * communicator makes the invitation. Phases are launched in the same order on all ranks, with
     * those transfers that both sides want (mosaic_group_wants); `whole`: r could be done as one
     * on every rank. */
    mosaic_status (*invite)(const mosaic_device *device, char invitation[MOSAIC_INVITATION]);
    mosaic_status (*join)(void **own, const mosaic_device *device, const mosaic_comm *c,
                          const char invitation[MOSAIC_INVITATION]);
    bool (*whole)(const mosaic_request *r);
    mosaic_status (*launch)(mosaic_request *r, void *own, bool whole, bool *launched);
    void (*leave)(void *own);
};

/* ---- payload.c ------------------------------------------------------------------------------ */

/* Does r's payload travel apart? */
bool mosaic_payload_apart(const mosaic_request *r);
/* Before the messages of a phase start; before and after one that is sent does. */
mosaic_status mosaic_payload_prepare(mosaic_request *r);
mosaic_status mosaic_payload_announce(mosaic_request *r, mosaic_transfer *t);
mosaic_status mosaic_payload_start(mosaic_transfer *t);
mosaic_status mosaic_payload_advance(mosaic_request *r, mosaic_transfer *t, bool *moved);
void mosaic_payload_clear(mosaic_transfer *t);
/* Looks after payloads that are left to the device. Fails once one of them has failed. */
mosaic_status mosaic_payload_poll(void);

/* This process's card. Payloads are on one device. */
mosaic_status mosaic_payload_card(const mosaic_card **card, const mosaic_device *device,
                                  const mosaic_endpoint *e);
/* The best way between two ranks, and between any two of them together (NULL: there is none). Fails
 * where MOSAIC_TRANSPORT asks for another one. */
mosaic_status mosaic_payload_choose(const mosaic_carrier **carrier, const mosaic_card *a,
                                    const mosaic_card *b, bool collective);
mosaic_status mosaic_payload_choose_together(const mosaic_carrier **carrier,
                                             const mosaic_card *cards, int count);
mosaic_status mosaic_payload_invite(const mosaic_device *device, char *invitation);
/* Rank 0 of the world says once how payloads travel, and why not better. */
void mosaic_payload_tell(const mosaic_endpoint *e, const mosaic_carrier *carrier);
/* A carrier that has begun, on both sides, and cannot go on: through host memory instead. */
mosaic_status mosaic_payload_fall_back(mosaic_request *r, mosaic_transfer *t, const char *why);
/* A receiver's answer; has it gone, or come? */
mosaic_status mosaic_payload_reply(mosaic_transfer *t, const mosaic_answer *answer);
mosaic_status mosaic_payload_answered(mosaic_transfer *t);

/* ---- group.c -------------------------------------------------------------------------------- */

/* Takes the phase of a grouped request on; r is not grouped any more where payloads have to go one
 * by one. */
mosaic_status mosaic_group_advance(mosaic_request *r);
mosaic_status mosaic_group_moved(const mosaic_request *r, mosaic_transfer *t, bool *moved);
static inline bool mosaic_group_wants(const mosaic_transfer *t)
{
    return t->apart && (t->receives ? t->fits : t->cargo->answer.fits);
}
/* Will r, a collective that is being prepared, bring its communicator's ranks together? */
bool mosaic_group_begins(const mosaic_request *r);
/* Have its ranks still to find out how theirs go? */
bool mosaic_group_meets(const mosaic_comm *c);
/* A rank of the world that has not come, or -1. */
int mosaic_group_absent(const mosaic_comm *c);
/* False: messages of the meeting are still under way, others must not have their tag. */
bool mosaic_group_release(mosaic_comm *c);

/* ---- staging.c ------------------------------------------------------------------------------ */

extern const mosaic_carrier mosaic_staging;
int64_t mosaic_staging_piece(void);
/* The lane of a device in which pieces leave it (out), or come. */
mosaic_status mosaic_staging_lane(mosaic_lane **lane, const mosaic_device *device, bool out);

/* ---- pinned.c ------------------------------------------------------------------------------- */

enum { MOSAIC_PIECE = 2 << 20 }; /* bytes of the largest pieces */

typedef struct mosaic_pinned {
    struct mosaic_pinned *next;
    const mosaic_device *device; /* that can read and write it */
    mosaic_mark *busy;           /* until then it does */
    int64_t bytes, last;         /* it was the so many-th that was taken */
    bool out;
    void *data;
} mosaic_pinned;

/* Memory for a piece that leaves the device, or comes. NULL: it has to wait. */
mosaic_status mosaic_pinned_take(mosaic_pinned **p, const mosaic_device *device, int64_t bytes,
                                 bool leaves);
/* It is free, after `busy`, which it takes over (NULL: now). */
void mosaic_pinned_give(mosaic_pinned *p, mosaic_mark *busy);
/* After an error a message may still be under way there: nobody may have it any more. */
void mosaic_pinned_lose(mosaic_pinned *p);

/* ---- lane.c --------------------------------------------------------------------------------- */

/* Notes where the operands of the next phase are ready: r->after. */
mosaic_status mosaic_lane_prepare(mosaic_request *r);
/* r->lane has something to do: it waits for that point. */
static inline mosaic_status mosaic_lane_open(mosaic_request *r)
{
    if (!r->lane || r->lane_open) return MOSAIC_OK;
    r->lane_open = true;
    return r->device->follow(r->device, r->lane, r->after);
}
/* A step, and a copy, as work of the request's lane. */
mosaic_status mosaic_lane_run(mosaic_request *r, mosaic_step step);
mosaic_status mosaic_lane_copy(mosaic_request *r, mosaic_tensor *out, const mosaic_tensor *a);
/* The last step has run; the device's operations wait for it; has it passed? */
mosaic_status mosaic_lane_end(mosaic_request *r);
mosaic_status mosaic_lane_join(mosaic_request *r);
bool mosaic_lane_passed(mosaic_request *r);
/* Takes over what t holds, until the lane has passed or is followed. */
void mosaic_lane_keep(mosaic_request *r, mosaic_transfer *t);
void mosaic_lane_clear(mosaic_request *r);

#endif
