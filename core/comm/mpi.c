/* mpi.c - the MPI transport: libmosaic_mpi.so, opened by plugin.c. Needs nothing but p2p messages.
 *
 * A message is an envelope with the payload behind it, in one MPI message when both fit INLINE (the
 * eager size of shared memory), else the payload follows by itself, without a copy, and in pieces
 * that an int can count. The receiver looks at the envelope before it takes the payload, so a
 * message of the wrong size is drained and reported instead of overrunning a buffer.
 *
 * A payload has a tag of its own, numbered by the sender and told in the envelope: envelopes that
 * arrived together may be opened in any order (two payloads under one tag were once swapped). Where
 * it travels apart (payload.h), the manifest has its place behind the envelope. */
#include <limits.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "comm.h"

typedef struct {
    mosaic_envelope envelope;
    int64_t number; /* of the payload among the sender's, or APART plus that */
    double left;    /* see mosaic_transfer */
    double sent;    /* by the sender's clock, */
    int64_t clock;  /* which is that of its machine: its lowest rank's */
} header;

enum { HEADER = sizeof(header), INLINE = 3880, APART = 1 << MOSAIC_NUMBER_BITS };

typedef struct message {
    struct message *next; /* in the list of spares */
    MPI_Request envelope;
    MPI_Request *pieces; /* of the payload; NULL before it is posted */
    int piece_count;
    char *sink; /* where an unwanted payload goes */
    char buffer[HEADER + INLINE];
} message;

static const mosaic_core *core;
static MPI_Comm job = MPI_COMM_NULL;
static message *spares;
static bool started_here;
static int first_here; /* the lowest rank on this machine */

static mosaic_status check(const char *what, int code)
{
    if (code == MPI_SUCCESS) return MOSAIC_OK;
    char text[MPI_MAX_ERROR_STRING] = "?";
    int length;
    MPI_Error_string(code, text, &length);
    return core->fail(MOSAIC_ECOMM, "mpi: %s: %s", what, text);
}

#define MPI_TRY(call) MOSAIC_TRY(check(#call, call))

/* ---- messages ------------------------------------------------------------------------------- */

static message *take_message(void)
{
    message *m = spares;
    if (m)
        spares = m->next;
    else if (!(m = malloc(sizeof *m)))
        return NULL;
    m->envelope = MPI_REQUEST_NULL;
    m->pieces = NULL;
    m->piece_count = 0;
    m->sink = NULL;
    return m;
}

static void give_message(message *m)
{
    free(m->pieces);
    free(m->sink);
    m->next = spares;
    spares = m;
}

/* Bytes per piece; MOSAIC_MPI_PIECE makes it smaller, so that specs can see many. */
static int64_t piece_bytes(void)
{
    static int64_t bytes;
    if (bytes) return bytes;
    const char *text = getenv("MOSAIC_MPI_PIECE");
    int64_t given = text ? atoll(text) : 0;
    return bytes = given > 0 && given < INT_MAX ? given : 1 << 30;
}

/* Sends or receives bytes, all pieces at once; they stay in order. */
static mosaic_status post_pieces(message *m, bool receives, char *data, int64_t bytes, int peer,
                                 int tag)
{
    int64_t piece = piece_bytes(), count = (bytes + piece - 1) / piece;
    m->pieces = malloc((size_t)count * sizeof *m->pieces);
    if (!m->pieces) return core->fail(MOSAIC_ENOMEM, "mpi: no memory for a message");
    for (int64_t at = 0; at < bytes; at += piece) {
        MPI_Request *r = &m->pieces[m->piece_count++];
        int length = (int)(bytes - at < piece ? bytes - at : piece);
        *r = MPI_REQUEST_NULL;
        if (receives)
            MPI_TRY(MPI_Irecv(data + at, length, MPI_BYTE, peer, tag, job, r));
        else
            MPI_TRY(MPI_Isend(data + at, length, MPI_BYTE, peer, tag, job, r));
    }
    return MOSAIC_OK;
}

static mosaic_status post_payload(mosaic_transfer *t, char *data, int64_t bytes, int64_t number)
{
    return post_pieces(t->native, t->receives, data, bytes, t->world_peer,
                       MOSAIC_TAG_PAYLOAD | (int)number);
}

static mosaic_status send_envelope(mosaic_transfer *t, message *m, const header *h,
                                   const void *behind, int64_t bytes)
{
    memcpy(m->buffer, h, HEADER);
    if (bytes) memcpy(m->buffer + HEADER, behind, (size_t)bytes);
    return check("MPI_Isend", MPI_Isend(m->buffer, HEADER + (int)bytes, MPI_BYTE, t->world_peer,
                                        t->tag, job, &m->envelope));
}

/* mosaic_now's clock: each machine has its own. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static mosaic_status start_send(mosaic_transfer *t, message *m)
{
    static int64_t sent;
    int64_t bytes = t->envelope.bytes;
    header h = {t->envelope, sent++ & (APART - 1), t->left, now(), first_here};
    if (t->apart) {
        t->manifest.number = h.number;
        h.number |= APART;
        return send_envelope(t, m, &h, &t->manifest, sizeof t->manifest);
    }
    const void *payload = bytes ? mosaic_data(&t->packed) : &h; /* of 0 bytes none is read */
    if (bytes <= INLINE) return send_envelope(t, m, &h, payload, bytes);
    MOSAIC_TRY(send_envelope(t, m, &h, payload, 0));
    return post_payload(t, mosaic_data(&t->packed), bytes, h.number);
}

static mosaic_status start(mosaic_transfer *t)
{
    message *m = take_message();
    if (!m) return core->fail(MOSAIC_ENOMEM, "mpi: no memory for a message");
    t->native = m;
    if (!t->receives) return start_send(t, m);
    return check("MPI_Irecv", MPI_Irecv(m->buffer, HEADER + INLINE, MPI_BYTE, t->world_peer, t->tag,
                                        job, &m->envelope));
}

/* The envelope of a receive has come: take the payload out of it, or go and get it. */
static mosaic_status open_envelope(mosaic_transfer *t, message *m)
{
    header h;
    memcpy(&h, m->buffer, HEADER);
    t->arrived = h.envelope;
    t->left = h.clock == first_here ? h.left : now() + h.left - h.sent;
    if (h.number & APART) {
        t->apart = true;
        memcpy(&t->manifest, m->buffer + HEADER, sizeof t->manifest);
        return MOSAIC_OK;
    }
    int64_t bytes = t->arrived.bytes;
    bool wanted = bytes == t->envelope.bytes &&
                  !memcmp(t->arrived.family, t->envelope.family, sizeof t->arrived.family);
    if (bytes <= INLINE) {
        if (wanted && bytes) memcpy(mosaic_data(&t->packed), m->buffer + HEADER, (size_t)bytes);
        return MOSAIC_OK;
    }
    t->met = true;
    if (!wanted && !(m->sink = malloc((size_t)bytes)))
        return core->fail(MOSAIC_ENOMEM, "mpi: no memory to drop %lld bytes", (long long)bytes);
    return post_payload(t, wanted ? mosaic_data(&t->packed) : m->sink, bytes, h.number);
}

static mosaic_status test(mosaic_transfer *t)
{
    message *m = t->native;
    int done = 0;
    if (m->envelope != MPI_REQUEST_NULL) {
        MPI_TRY(MPI_Test(&m->envelope, &done, MPI_STATUS_IGNORE));
        if (!done) return MOSAIC_OK;
        if (t->receives) MOSAIC_TRY(open_envelope(t, m));
    }
    done = 1;
    if (m->pieces) MPI_TRY(MPI_Testall(m->piece_count, m->pieces, &done, MPI_STATUSES_IGNORE));
    if (done) {
        give_message(m);
        t->native = NULL;
        t->done = true;
    }
    return MOSAIC_OK;
}

static mosaic_status post(void **posted, bool receives, void *data, int64_t bytes, int world_peer,
                          int tag)
{
    message *m = take_message();
    if (!m) return core->fail(MOSAIC_ENOMEM, "mpi: no memory for a message");
    *posted = m;
    return post_pieces(m, receives, data, bytes, world_peer, tag);
}

static mosaic_status posted(void *message_posted, bool *done)
{
    message *m = message_posted;
    int all = 0;
    MPI_TRY(MPI_Testall(m->piece_count, m->pieces, &all, MPI_STATUSES_IGNORE));
    *done = all;
    if (all) give_message(m);
    return MOSAIC_OK;
}

static mosaic_status probe(bool *come, int world_peer, int tag)
{
    int found = 0;
    MPI_TRY(MPI_Iprobe(world_peer, tag, job, &found, MPI_STATUS_IGNORE));
    *come = found;
    return MOSAIC_OK;
}

/* ---- the world ------------------------------------------------------------------------------ */

static void finish(void)
{
    if (started_here) MPI_Finalize();
}

static void abort_job(int code)
{
    fflush(NULL);
    MPI_Abort(MPI_COMM_WORLD, code);
    _Exit(code);
}

static int node(void) { return first_here; }

static const char *library(void)
{
    static char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length;
    MPI_Get_library_version(text, &length);
    text[strcspn(text, ",\n")] = 0;
    return text;
}

static void release(mosaic_endpoint *e) { (void)e; } /* lives as long as the process */

static const mosaic_transport transport = {
    .name = "mpi",
    .start = start,
    .test = test,
    .post = post,
    .posted = posted,
    .probe = probe,
    .release = release,
    .node = node,
    .library = library,
    .finish = finish,
    .abort = abort_job,
};

/* Over TCP a receiver asks for a large message, and what it asks waits behind what it sends itself:
 * two ranks that exchanged blocks took turns, the link idle one way. So it asks for 64 KiB at a
 * time, four times ahead. (3.1 MB each way at 0.5 Gbit/s: 103 ms, so 60, one way alone 52. Twice
 * ahead 56, but where TCP's congestion control is BBR a ring step took up to 110 instead of 66.
 * Without a limit on the rate 1.6 MB: 0.8 ms, so 1.0.) Who sets it has his way; between ranks of a
 * machine, and to other MPIs, it says nothing. */
static void ask_in_pieces(void) { setenv("OMPI_MCA_btl_tcp_rdma_pipeline_frag_size", "65536", 0); }

static mosaic_status start_mpi(void)
{
    int running = 0, provided, found = 0, *limit;
    MPI_TRY(MPI_Initialized(&running));
    if (!running) ask_in_pieces();
    if (!running) MPI_TRY(MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided));
    started_here = !running;
    MPI_TRY(MPI_Comm_dup(MPI_COMM_WORLD, &job));
    MPI_TRY(MPI_Comm_set_errhandler(job, MPI_ERRORS_RETURN));
    MPI_TRY(MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &limit, &found));
    if (found && *limit < MOSAIC_TAG_LIMIT - 1)
        return core->fail(MOSAIC_ENOTSUP, "mpi: %s has tags up to %d, Mosaic needs %d", library(),
                          *limit, MOSAIC_TAG_LIMIT - 1);
    return MOSAIC_OK;
}

/* Ranks that can share memory are on one machine. */
static mosaic_status find_node(void)
{
    MPI_Comm machine;
    MPI_TRY(MPI_Comm_rank(job, &first_here));
    MPI_TRY(MPI_Comm_split_type(job, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine));
    MPI_TRY(MPI_Bcast(&first_here, 1, MPI_INT, 0, machine));
    return check("MPI_Comm_free", MPI_Comm_free(&machine));
}

static mosaic_status open_world(mosaic_endpoint **e, const mosaic_core *functions)
{
    static mosaic_endpoint world = {.transport = &transport};
    core = functions;
    MOSAIC_TRY(start_mpi());
    MOSAIC_TRY(find_node());
    MPI_TRY(MPI_Comm_rank(job, &world.rank));
    MPI_TRY(MPI_Comm_size(job, &world.size));
    *e = &world;
    return MOSAIC_OK;
}

MOSAIC_API const mosaic_mpi_library mosaic_mpi_plugin;
const mosaic_mpi_library mosaic_mpi_plugin = {MOSAIC_PLUGIN_LAYOUT, open_world};
