/* comm.h - the inside of communicators: what a transport offers, what a request is made of.
 *
 * A transport moves single messages between the ranks of a world and nothing else. Collectives are
 * schedules of such messages (collective.c), so all transports share one order of reduction and one
 * count of bytes. A request is a sequence of phases: a set of transfers, then a local step that may
 * prepare the next set.
 *
 *   comm.c       communicators: making, splitting, counting
 *   request.c    requests: phases, progress, waiting
 *   describe.c   requests in words; is what arrived what was expected?
 *   p2p.c, collective.c, reduction.c   the operations
 *   rows.c       arithmetic of reductions
 *   virtual.c, mpi.c (a plug-in, opened by plugin.c)   the transports */
#ifndef MOSAIC_COMM_H
#define MOSAIC_COMM_H
#include "../tensor.h"

typedef struct mosaic_endpoint mosaic_endpoint;
typedef struct mosaic_transfer mosaic_transfer;

/* Travels with every message. The shape is what both sides must agree upon: that of the whole
 * operand where all ranks have the same (all_reduce, broadcast, ...), else of the message. No
 * padding: it is compared as bytes. */
typedef struct {
    uint8_t kind, dtype, op, mark;
    int32_t root;
    int32_t ndim;
    int16_t axis, join;            /* cut along, joined along; from 1, 0: neither */
    int64_t size[MOSAIC_MAX_DIMS]; /* 0 beyond ndim */
    int64_t bytes;                 /* of this message's payload */
} mosaic_envelope;

/* One message, from either side. */
struct mosaic_transfer {
    bool receives;
    bool done;    /* has gone or come; set by the transport, for virtual ranks by the peer's */
    bool settled; /* and has been counted and checked */
    int peer, world_peer;     /* the other rank, in the communicator and in the world */
    int tag;                  /* 27 bits */
    mosaic_envelope envelope; /* sent, or expected */
    mosaic_envelope arrived;  /* receives: the sender's */
    mosaic_tensor packed;     /* the contiguous elements that travel */
    mosaic_tensor target;     /* receives: where they belong, if not there already */
    mosaic_endpoint *owner;
    mosaic_transfer *next; /* the transport's, as is native */
    void *native;
};

typedef struct {
    const char *name;
    /* Starts t, whose owner is set. */
    mosaic_status (*start)(mosaic_transfer *t);
    /* Sets t->done, and for a receive t->arrived, when the message has gone or come. A payload of
     * another size than expected is taken and dropped. */
    mosaic_status (*test)(mosaic_transfer *t);
    void (*cancel)(mosaic_transfer *t); /* as if it had never started; NULL: cannot */
    /* NULL, or: takes over a request that it can do as a whole (NCCL), and completes it. */
    mosaic_status (*collective)(mosaic_request *r, bool *taken);
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
    mosaic_comm_counters counters[MOSAIC_COMM_KINDS];
};

/* What follows when all transfers of a phase are done. It may prepare more and launch again. */
typedef mosaic_status (*mosaic_step)(mosaic_request *r);

struct mosaic_request {
    mosaic_request *next; /* in endpoint->active, which holds a reference */
    mosaic_comm *comm;
    int references;
    mosaic_comm_kind kind;
    int dtype, op, root, tag;
    int mark, arrived;    /* bits that go out with the next messages; that came */
    int64_t count;        /* elements of the operand */
    bool uniform;         /* whose shape all ranks must agree upon (see mosaic_envelope) */
    int axis, join;       /* see mosaic_envelope */
    int64_t sequence;     /* of the collective in its communicator; -1 for point to point */
    mosaic_status status; /* MOSAIC_PENDING until complete */
    char *error;
    bool launched;
    mosaic_step step;
    int distance;             /* barrier: of this round */
    mosaic_tensor in, out;    /* retained operands; see mosaic_request_output */
    mosaic_tensor flat, rows; /* out, contiguous; the operands of a reduction, one row per rank */
    int posted, capacity, left;
    mosaic_transfer transfers[];
};

mosaic_status mosaic_comm_new(mosaic_comm **comm, mosaic_endpoint *e, int size, int context);

/* Making a request. Until it is launched nothing has been sent and mosaic_request_begin can take
 * everything back, so that a caller may free memory and try again. capacity: transfers per phase.
 */
mosaic_status mosaic_request_new(mosaic_request **r, mosaic_comm *c, mosaic_comm_kind kind,
                                 const mosaic_tensor *a, int capacity, int mark);
/* Allocates or checks the caller's out and keeps r->out; r->flat is out or a contiguous stand-in
 * that is copied to it at the end. */
mosaic_status mosaic_request_output(mosaic_request *r, mosaic_tensor *out, int ndim,
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
/* Fails a request that is off the list already, and gives up the list's reference. */
void mosaic_request_drop(mosaic_request *r, const char *reason);
/* Fails, naming both sides, unless what arrived is what t expects. */
mosaic_status mosaic_envelope_check(const mosaic_request *r, const mosaic_transfer *t);
double mosaic_now(void); /* seconds, monotonic */

/* Fails unless axis is one of a's and sizes (one per rank) are >= 0; *total is their sum. */
mosaic_status mosaic_check_sizes(int64_t *total, const char *op, const mosaic_comm *c,
                                 const mosaic_tensor *a, int axis, const int64_t *sizes);
/* Borrowed views, no reference is taken: rank's part of a, which is cut along axis into sizes; and
 * a range of the elements of a contiguous tensor. */
mosaic_tensor mosaic_block(const mosaic_tensor *a, int axis, const int64_t *sizes, int rank);
mosaic_tensor mosaic_flat_range(const mosaic_tensor *contiguous, int64_t start, int64_t length);

/* out[i] <- rows[0][i] op rows[1][i] op ...; rows are `stride` elements apart. count >= 0, rows
 * >= 1. */
void mosaic_reduce_rows(void *out, const void *rows, int row_count, int64_t stride, int64_t count,
                        int dtype, mosaic_comm_reduction op);

/* What the MPI plug-in needs of the core, which it is not linked against. */
typedef struct {
    mosaic_status (*fail)(mosaic_status status, const char *format, ...);
} mosaic_core;
typedef mosaic_status (*mosaic_mpi_open_function)(mosaic_endpoint **e, const mosaic_core *core);

#endif
