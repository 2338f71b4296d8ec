/* nccl.c - libnccl.so.2 without GPUs: ranks move real bytes through memory that they share, as work
 * of emulated streams.
 *
 * What matters of NCCL is here: there are no tags, what two ranks exchange is paired by its order;
 * a send is over when its receive is; nothing in a stream goes on before; operations of a group go
 * on together; a rank has a GPU of its own. Calls return at once. NCCL has a thread that does what
 * they ask for; here that begins when ncclCommGetAsyncError has been asked a few times, or while
 * the caller waits in the runtime, so that runs repeat. What would be undefined in NCCL (a send of
 * other bytes than the receive expects) ends the process.
 *
 *   MOSAIC_EMULATED_NCCL=id:0        rank 0 finds no place for the others to meet
 *   MOSAIC_EMULATED_NCCL=init:1      rank 1 cannot make communicators
 *   MOSAIC_EMULATED_NCCL=error:1:5   rank 1's fifth operation fails, when its turn comes
 *   MOSAIC_EMULATED_NCCL=hang:1:5    or never ends */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../nccl_api.h"

#define PUBLIC __attribute__((visibility("default")))
enum { CHUNK = 64 << 10, RANKS = 64, OPERATIONS = 1024, PATIENCE = 2 };

#define DECLARE(result, name, parameters) PUBLIC result name parameters;
MOSAIC_NCCL_FUNCTIONS(DECLARE)

/* ---- faults --------------------------------------------------------------------------------- */

/* Is it this rank's turn to fail like that? `count`: of operations; 0: it does not matter. */
static bool fault(const char *kind, int count)
{
    const char *text = getenv("MOSAIC_EMULATED_NCCL"), *own = getenv("OMPI_COMM_WORLD_RANK");
    char name[16] = "";
    int rank = -1, number = 0;
    if (!text || sscanf(text, "%15[a-z]:%d:%d", name, &rank, &number) < 2) return false;
    return !strcmp(name, kind) && rank == (own ? atoi(own) : 0) && (!count || number == count);
}

/* ---- the end -------------------------------------------------------------------------------- */

static bool ended;

static void end_library(void) { ended = true; }

/* As libraries in C++ do. */
__attribute__((constructor)) static void begin_library(void) { atexit(end_library); }

static void check_that_it_lives(void)
{
    if (!ended) return;
    fprintf(stderr, "emulated NCCL: used after its end\n");
    abort();
}

/* ---- communicators -------------------------------------------------------------------------- */

/* From one rank to another: a chunk is there when more were sent than taken. */
typedef struct {
    int64_t sent, taken, bytes; /* of the whole message */
    char chunk[CHUNK];
} box;

typedef struct {
    int joined, finalized;
    char address[RANKS][32]; /* of each rank's GPU */
    box boxes[];             /* from, to */
} segment;

struct ncclComm {
    mosaic_nccl_comm next;
    segment *shared;
    int size, rank;
    int patience; /* questions until what was asked last is done */
    int error;    /* asynchronous */
    bool aborted, finalizing;
    struct group *pending;
};

static mosaic_nccl_comm comms; /* all that were not destroyed */

static size_t segment_bytes(int ranks)
{
    return sizeof(segment) + (size_t)(ranks * ranks) * sizeof(box);
}

int ncclGetVersion(int *version)
{
    *version = 22809;
    return NCCL_SUCCESS;
}

const char *ncclGetErrorString(int result)
{
    return result == NCCL_REMOTE_ERROR    ? "remote process exited or there was a network error"
           : result == NCCL_INVALID_USAGE ? "invalid usage"
           : result == NCCL_IN_PROGRESS   ? "NCCL operation in progress"
                                          : "no error";
}

static char last_error[128];
const char *ncclGetLastError(mosaic_nccl_comm comm)
{
    (void)comm;
    return last_error;
}

/* A file in memory, which goes with the last process that has it. */
int ncclGetUniqueId(mosaic_nccl_id *id)
{
    if (fault("id", 0)) return NCCL_INVALID_USAGE;
    int file = memfd_create("mosaic-nccl", MFD_CLOEXEC);
    snprintf(id->bytes, sizeof id->bytes, "/proc/%d/fd/%d", (int)getpid(), file);
    return file >= 0 ? NCCL_SUCCESS : NCCL_INVALID_USAGE;
}

static segment *open_segment(const char *path, int ranks)
{
    size_t bytes = segment_bytes(ranks);
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0 || ftruncate(file, (off_t)bytes)) return NULL;
    segment *s = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    return s == MAP_FAILED ? NULL : s;
}

static void launch(struct ncclComm *c);

static void launch_all(void)
{
    for (mosaic_nccl_comm c = comms; c; c = c->next) launch(c);
}

int ncclCommInitRankConfig(mosaic_nccl_comm *comm, int ranks, mosaic_nccl_id id, int rank,
                           mosaic_nccl_config *config)
{
    int device = 0;
    if (config->size != sizeof *config || config->magic != 0xcafebeef || config->version != 21800)
        return NCCL_INVALID_USAGE;
    if (config->blocking || ranks > RANKS) return NCCL_INVALID_USAGE;
    if (fault("init", 0)) {
        snprintf(last_error, sizeof last_error, "rank %s was told to fail",
                 getenv("OMPI_COMM_WORLD_RANK"));
        return NCCL_INVALID_USAGE;
    }
    mosaic_nccl_comm c = malloc(sizeof *c);
    segment *shared = open_segment(id.bytes, ranks);
    if (!c || !shared) abort();
    *c = (struct ncclComm){.next = comms, .shared = shared, .size = ranks, .rank = rank};
    comms = c;
    mosaic_emulated_meanwhile = launch_all;
    cudaGetDevice(&device);
    cudaDeviceGetPCIBusId(c->shared->address[rank], 32, device);
    __atomic_add_fetch(&c->shared->joined, 1, __ATOMIC_ACQ_REL);
    c->patience = PATIENCE;
    *comm = c;
    return NCCL_IN_PROGRESS;
}

static bool shares_gpu(const struct ncclComm *c)
{
    for (int r = 0; r < c->size; r++)
        if (r != c->rank && !strcmp(c->shared->address[r], c->shared->address[c->rank]))
            return true;
    return false;
}

int ncclCommGetAsyncError(mosaic_nccl_comm c, int *result)
{
    check_that_it_lives();
    bool complete = __atomic_load_n(&c->shared->joined, __ATOMIC_ACQUIRE) == c->size;
    if (c->finalizing)
        complete = __atomic_load_n(&c->shared->finalized, __ATOMIC_ACQUIRE) == c->size;
    if (complete && shares_gpu(c)) {
        snprintf(last_error, sizeof last_error, "Duplicate GPU detected : rank %d", c->rank);
        c->error = NCCL_INVALID_USAGE;
    }
    if (complete && c->patience && --c->patience == 0) launch(c);
    *result = c->error ? c->error : complete && !c->patience ? NCCL_SUCCESS : NCCL_IN_PROGRESS;
    return NCCL_SUCCESS;
}

int ncclCommFinalize(mosaic_nccl_comm c)
{
    c->finalizing = true;
    c->patience = PATIENCE;
    __atomic_add_fetch(&c->shared->finalized, 1, __ATOMIC_ACQ_REL);
    return NCCL_IN_PROGRESS;
}

int ncclCommDestroy(mosaic_nccl_comm c)
{
    mosaic_nccl_comm *at = &comms;
    while (*at != c) at = &(*at)->next;
    *at = c->next;
    munmap(c->shared, segment_bytes(c->size));
    free(c);
    return NCCL_SUCCESS;
}

/* Work that is under way ends when it sees that; so the communicator stays. */
int ncclCommAbort(mosaic_nccl_comm c)
{
    fprintf(stderr, "emulated NCCL: rank %d of %d aborts\n", c->rank, c->size);
    c->aborted = true;
    return NCCL_SUCCESS;
}

/* ---- operations ----------------------------------------------------------------------------- */

typedef struct {
    struct ncclComm *comm;
    cudaStream_t stream;
    int peer;
    bool receives, hangs, fails;
    char *data;
    int64_t bytes, at;
    bool over;
} operation;

typedef struct group {
    int count;
    operation operations[];
} group;

static operation collected[OPERATIONS];
static int depth, collected_count;

static box *box_of(const operation *o)
{
    const struct ncclComm *c = o->comm;
    int from = o->receives ? o->peer : c->rank, to = o->receives ? c->rank : o->peer;
    return &c->shared->boxes[from * c->size + to];
}

static int64_t piece(const operation *o)
{
    return o->bytes - o->at < CHUNK ? o->bytes - o->at : CHUNK;
}

static void send_chunk(operation *o, box *b)
{
    if (__atomic_load_n(&b->taken, __ATOMIC_ACQUIRE) < b->sent) return;
    o->over = o->at == o->bytes;
    if (o->over) return;
    b->bytes = o->bytes;
    memcpy(b->chunk, o->data + o->at, (size_t)piece(o));
    o->at += piece(o);
    __atomic_store_n(&b->sent, b->sent + 1, __ATOMIC_RELEASE);
}

static void take_chunk(operation *o, box *b)
{
    if (__atomic_load_n(&b->sent, __ATOMIC_ACQUIRE) == b->taken) return;
    if (b->bytes != o->bytes) {
        fprintf(stderr, "emulated NCCL: rank %d sent %lld bytes, rank %d receives %lld\n", o->peer,
                (long long)b->bytes, o->comm->rank, (long long)o->bytes);
        abort();
    }
    memcpy(o->data + o->at, b->chunk, (size_t)piece(o));
    o->at += piece(o);
    __atomic_store_n(&b->taken, b->taken + 1, __ATOMIC_RELEASE);
    o->over = o->at == o->bytes;
}

/* Is an earlier operation of the group with the same peer under way? */
static bool waits(const group *g, int i)
{
    for (int k = 0; k < i; k++) {
        const operation *o = &g->operations[k], *own = &g->operations[i];
        if (!o->over && o->peer == own->peer && o->receives == own->receives) return true;
    }
    return false;
}

static void go_on(operation *o)
{
    if (o->fails) o->comm->error = NCCL_REMOTE_ERROR;
    if (o->fails || o->hangs) return;
    (o->receives ? take_chunk : send_chunk)(o, box_of(o));
}

/* True when all of the group is over. */
static bool run_group(void *context)
{
    group *g = context;
    bool over = true;
    for (int i = 0; i < g->count; i++) {
        operation *o = &g->operations[i];
        if (o->comm->aborted) return true;
        if (!o->over && !waits(g, i)) go_on(o);
        over = over && o->over;
    }
    return over;
}

/* What was asked for becomes work of its stream. */
static void launch(struct ncclComm *c)
{
    group *g = c->pending;
    c->pending = NULL;
    if (g) mosaic_emulated_enqueue_until(g->operations[0].stream, run_group, g);
}

int ncclGroupStart(void)
{
    depth++;
    return NCCL_SUCCESS;
}

/* All operations of a group are of one communicator and stream: Mosaic needs no more. */
int ncclGroupEnd(void)
{
    if (--depth || !collected_count) return NCCL_SUCCESS;
    struct ncclComm *c = collected[0].comm;
    size_t bytes = (size_t)collected_count * sizeof(operation);
    group *g = malloc(sizeof *g + bytes);
    if (!g || c->pending) abort(); /* the last call was still in progress */
    g->count = collected_count;
    memcpy(g->operations, collected, bytes);
    collected_count = 0;
    c->pending = g;
    c->patience = PATIENCE;
    return NCCL_IN_PROGRESS;
}

static int add(operation o)
{
    static int count;
    if (o.comm->patience || collected_count == OPERATIONS) abort();
    count++;
    o.hangs = fault("hang", count);
    o.fails = fault("error", count);
    ncclGroupStart();
    collected[collected_count++] = o;
    return ncclGroupEnd();
}

int ncclSend(const void *from, size_t count, int type, int peer, mosaic_nccl_comm comm,
             cudaStream_t stream)
{
    (void)type;
    return add(
        (operation){comm, stream, peer, false, .data = (char *)from, .bytes = (int64_t)count});
}

int ncclRecv(void *to, size_t count, int type, int peer, mosaic_nccl_comm comm, cudaStream_t stream)
{
    (void)type;
    return add((operation){comm, stream, peer, true, .data = to, .bytes = (int64_t)count});
}

int ncclAllGather(const void *from, void *to, size_t count, int type, mosaic_nccl_comm comm,
                  cudaStream_t stream)
{
    ncclGroupStart();
    for (int r = 0; r < comm->size; r++) {
        if (r == comm->rank) continue;
        ncclSend(from, count, type, r, comm, stream);
        ncclRecv((char *)to + (size_t)r * count, count, type, r, comm, stream);
    }
    char *own = (char *)to + (size_t)comm->rank * count;
    if (own != from) cudaMemcpyAsync(own, from, count, cudaMemcpyDeviceToDevice, stream);
    return ncclGroupEnd();
}
