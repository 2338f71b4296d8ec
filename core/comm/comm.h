/* comm.h - the inside of communicators: what a transport offers, what a request is made of.
 *
 * A transport moves single messages between the ranks of a world and nothing else. Collectives are
 * schedules of such messages (collective.c), so all transports share one order of reduction and one
 * count of bytes. A request is a sequence of phases: a set of transfers, then a local step that may
 * prepare the next set.
 *
 *   comm.c       communicators: making, splitting, counting
 *   prepare.c    requests: operands and messages
 *   request.c    phases, progress, waiting
 *   describe.c   requests in words; is what arrived what was expected?
 *   p2p.c, collective.c, reduction.c   the operations
 *   poll.c       progress while kernels compute (../poll.h)
 *   pace.c       a slower wire than the real one, for tests and benchmarks
 *   payload.c, group.c, staging.c, pinned.c, lane.c   between processes: what is on a device
 *                (payload.h)
 *   virtual.c, mpi.c (a plug-in, opened by plugin.c)   the transports */
#ifndef MOSAIC_COMM_H
#define MOSAIC_COMM_H
#include "../tensor.h"

typedef struct mosaic_endpoint mosaic_endpoint;
typedef struct mosaic_transfer mosaic_transfer;
typedef struct mosaic_cargo mosaic_cargo;
typedef struct mosaic_kept mosaic_kept;
typedef struct mosaic_group mosaic_group;
typedef struct mosaic_carrier mosaic_carrier;

enum { MOSAIC_FAMILY_ROOM = 8 };

/* Travels with every message. The shape is what both sides must agree upon: that of the whole
 * operand where all ranks have the same (all_reduce, broadcast, ...), else of the message. No
 * padding: it is compared as bytes. */
typedef struct {
    uint8_t kind, dtype, op, mark;
    char family[MOSAIC_FAMILY_ROOM]; /* of the device that the operand is on: "cpu" */
    int32_t root;
    int32_t ndim;
    int16_t axis, join;            /* cut along, joined along; from 1, 0: neither */
    int64_t size[MOSAIC_MAX_DIMS]; /* 0 beyond ndim */
    int64_t bytes;                 /* of this message's payload */
} mosaic_envelope;

enum { MOSAIC_CARRIERS = 4, MOSAIC_ADDRESS_ROOM = 32 };

/* What a rank tells of the device that its payloads are on, so that two find a way for them. */
typedef struct {
    int32_t node;                      /* whose lowest world rank this is */
    int32_t version[MOSAIC_CARRIERS];  /* of each of the device's carriers; 0: not here */
    char address[MOSAIC_ADDRESS_ROOM]; /* equal on one node: the same device */
    char wish[8];                      /* MOSAIC_TRANSPORT, or "" */
} mosaic_card;

/* Goes with the envelope of a payload that travels by itself. */
typedef struct {
    int64_t number; /* of this payload among its sender's, 25 bits */
    int64_t piece;  /* bytes of the pieces that it may come in */
    mosaic_card card;
} mosaic_manifest;

/* One message, from either side. */
struct mosaic_transfer {
    bool receives;
    bool done;    /* has gone or come; set by the transport, for virtual ranks by the peer's */
    bool apart;   /* that was the envelope: the payload, on a device, travels by itself */
    bool opened;  /* receives: the envelope has been looked at */
    bool fits;    /* and is the one expected */
    bool met;     /* receives: the envelope is here and the payload is on its way */
    bool settled; /* nothing of it is under way any more */
    int peer, world_peer;     /* the other rank, in the communicator and in the world */
    int tag;                  /* 27 bits */
    mosaic_envelope envelope; /* sent, or expected */
    mosaic_envelope arrived;  /* receives: the sender's */
    mosaic_tensor packed;     /* the contiguous elements that travel */
    mosaic_tensor target;     /* receives: where they belong, if not there already */
    mosaic_manifest manifest; /* of what travels apart: sent, or arrived */
    double left;              /* when it left the sender's paced wire; receives: its sender's */
    double due;               /* paced: when it is complete; 0: not known yet */
    mosaic_cargo *cargo;
    mosaic_endpoint *owner;
    mosaic_transfer *next; /* the transport's, as is native */
    void *native;
};

/* Tags: of envelopes, 27 bits; above them of bytes that two processes expect of each other. */
enum {
    MOSAIC_NUMBER_BITS = 25,
    MOSAIC_TAG_PAYLOAD = 4 << MOSAIC_NUMBER_BITS, /* plus the payload's number, as the next two */
    MOSAIC_TAG_ANSWER = 5 << MOSAIC_NUMBER_BITS,  /* from the receiver: may it come? */
    MOSAIC_TAG_TAKEN = 6 << MOSAIC_NUMBER_BITS,   /* and what it says to pieces */
    MOSAIC_TAG_MEETING = 7 << MOSAIC_NUMBER_BITS, /* plus the communicator's context */
    MOSAIC_TAG_LIMIT = 8 << MOSAIC_NUMBER_BITS,
};

typedef struct {
    const char *name;
    /* Starts t, whose owner is set. Where t is apart only the envelope goes, with the manifest, to
     * which the transport adds the number. */
    mosaic_status (*start)(mosaic_transfer *t);
    /* Sets t->done, and for a receive t->arrived, when the message has gone or come. A payload of
     * another size than expected is taken and dropped. */
    mosaic_status (*test)(mosaic_transfer *t);
    /* Sends or receives bytes without an envelope; what is posted is freed when it is `done`. NULL
     * where ranks share a process. */
    mosaic_status (*post)(void **posted, bool receives, void *data, int64_t bytes, int world_peer,
                          int tag);
    mosaic_status (*posted)(void *posted, bool *done);
    /* Has something come for a receive that is still to be posted? */
    mosaic_status (*probe)(bool *come, int world_peer, int tag);
    void (*cancel)(mosaic_transfer *t); /* as if it had never started; NULL: cannot */
    bool devices;                       /* moves what is on devices, too */
    bool alone; /* nothing happens while this thread waits: waiting is the scheduler's business */
    void (*end_world)(mosaic_endpoint *e); /* NULL where a world cannot end early */
    void (*release)(mosaic_endpoint *e);
    int (*node)(void); /* the lowest world rank on this rank's machine; NULL: 0, all share one */
    const char *(*library)(void); /* name and version of what is underneath */
    void (*finish)(void);         /* a clean end of the process */
    void (*abort)(int code);      /* does not return */
} mosaic_transport;

enum { MOSAIC_CONTEXT_WORDS = 16, MOSAIC_CONTEXTS = 64 * MOSAIC_CONTEXT_WORDS };

/* One rank's end of a world, shared by all communicators split off it. */
struct mosaic_endpoint {
    const mosaic_transport *transport;
    int rank, size, references;
    int64_t events;
    bool advancing;     /* mosaic_progress is at it */
    double wire_out;    /* paced: until then its wire is taken, */
    double wire_in;     /* in either direction */
    int64_t bytes_sent; /* payload that went to other ranks, in all communicators */
    uint64_t contexts[MOSAIC_CONTEXT_WORDS]; /* bit set: a live communicator has this context */
    mosaic_request *active;                  /* under way, oldest first */
};

struct mosaic_comm {
    mosaic_endpoint *endpoint;
    int rank, size, references;
    int context; /* keeps its messages apart from those of other communicators */
    int64_t sequence;
    int *ranks; /* world rank of each member */
    mosaic_group *group;
    bool grouped; /* some collective of it has been, see mosaic_request */
    mosaic_comm_counters counters[MOSAIC_COMM_KINDS];
};

/* What follows when all transfers of a phase are done. It may prepare more and launch again. */
typedef mosaic_status (*mosaic_step)(mosaic_request *r);

struct mosaic_request {
    mosaic_request *next; /* in endpoint->active, which holds a reference */
    mosaic_comm *comm;
    int references;
    mosaic_comm_kind kind;
    const mosaic_device *device; /* of all operands */
    int dtype, op, root, tag;
    int mark, arrived;    /* bits that go out with the next messages; that came */
    int64_t count;        /* elements of the operand */
    bool uniform;         /* whose shape all ranks must agree upon (see mosaic_envelope) */
    int axis, join;       /* see mosaic_envelope */
    int64_t sequence;     /* of the collective in its communicator; -1 for point to point */
    mosaic_status status; /* MOSAIC_PENDING until complete */
    char *error;
    bool launched;
    bool finished; /* all is done but what is left to the device */
    mosaic_step step;
    int distance;             /* barrier: of this round */
    mosaic_tensor in, out;    /* retained operands; see mosaic_request_output */
    mosaic_tensor flat, rows; /* out, contiguous; the operands of a reduction, one row per rank */
    mosaic_span span;         /* in a trace */
    /* Operands on a device, see payload.h: */
    mosaic_lane *lane;     /* what arrives, and the steps, are its work */
    mosaic_lane *out_lane; /* what is sent is work of this one; NULL: gone when it is settled */
    mosaic_mark *after;    /* where the operands are ready */
    mosaic_mark *ends[2];  /* of both lanes */
    bool lane_open;        /* it has something to do */
    mosaic_kept *kept;
    bool grouped;  /* the payloads of each phase go together (group.c); in this phase: */
    bool answered; /* who sends to this rank has been told if it may */
    bool together; /* all payloads are the device's work */
    int posted, capacity, left;
    mosaic_transfer transfers[];
};

mosaic_status mosaic_comm_new(mosaic_comm **comm, mosaic_endpoint *e, int size, int context);

/* Making a request. Until it is launched nothing has been sent and mosaic_request_begin can take
 * everything back, so that a caller may free memory and try again. capacity: transfers per phase.
 */
mosaic_status mosaic_request_new(mosaic_request **r, mosaic_comm *c, mosaic_comm_kind kind,
                                 const mosaic_tensor *a, int capacity, int mark);
/* Allocates or checks the caller's out and keeps r->out. Also r->flat: that is out or a contiguous
 * stand-in, which is copied to it at the end. */
mosaic_status mosaic_request_output(mosaic_request *r, mosaic_tensor *out, int ndim,
                                    const int64_t *size);
mosaic_status mosaic_request_flat_output(mosaic_request *r, mosaic_tensor *out, int ndim,
                                         const int64_t *size);
/* Prepares one message; the view may be strided. */
mosaic_status mosaic_request_send(mosaic_request *r, int peer, const mosaic_tensor *view);
mosaic_status mosaic_request_recv(mosaic_request *r, int peer, const mosaic_tensor *view);
/* Starts what was prepared; `then` follows (NULL: the request is complete). */
void mosaic_request_launch(mosaic_request *r, mosaic_step then);
/* Launches a prepared request and hands it out, or frees it when preparing it failed. */
mosaic_status mosaic_request_begin(mosaic_request **out, mosaic_request *r, mosaic_status prepared,
                                   mosaic_step then);
/* A step: the root, who has heard from all, tells everyone in an empty message the marks of all. */
mosaic_status mosaic_request_answer(mosaic_request *r);
void mosaic_progress(mosaic_endpoint *e);

/* MOSAIC_PACE=latency:gbit (microseconds, Gbit/s): messages between ranks take latency + bytes /
 * bandwidth at least, one after the other out of a rank and into it (pace.c). */
void mosaic_pace_start(mosaic_transfer *t);
/* Is it, paced, still under way? */
bool mosaic_pace_holds(mosaic_transfer *t);
/* e->active has changed: kernels poll (../poll.h) while it has requests. */
void mosaic_poll_watch(const mosaic_endpoint *e);
/* Fails a request that is off the list already, and gives up the list's reference. */
void mosaic_request_drop(mosaic_request *r, const char *reason);
/* Fails, naming both sides, unless what arrived is what t expects. */
mosaic_status mosaic_envelope_check(const mosaic_request *r, const mosaic_transfer *t);

/* Fails unless axis is one of a's and sizes (one per rank) are >= 0; *total is their sum. */
mosaic_status mosaic_check_sizes(int64_t *total, const char *op, const mosaic_comm *c,
                                 const mosaic_tensor *a, int axis, const int64_t *sizes);
/* Borrowed views, no reference is taken: rank's part of a, which is cut along axis into sizes; and
 * a range of the elements of a contiguous tensor. */
mosaic_tensor mosaic_block(const mosaic_tensor *a, int axis, const int64_t *sizes, int rank);
mosaic_tensor mosaic_flat_range(const mosaic_tensor *contiguous, int64_t start, int64_t length);

/* The symbol of libmosaic_mpi.so: mosaic_mpi_plugin. */
typedef struct {
    int64_t layout; /* MOSAIC_PLUGIN_LAYOUT */
    mosaic_status (*open)(mosaic_endpoint **e, const mosaic_core *core);
} mosaic_mpi_library;

/* The world of processes, if it has been asked for: see mosaic_core. */
bool mosaic_world_progress(void);
double mosaic_world_timeout(void);
void mosaic_world_give_up(const char *what, double seconds);
/* Something else has been opened that may end with the process: the world does so before it. */
void mosaic_world_end_first(void);

#endif
