/* stream.c - streams: queues of work that has not run yet, and the events that tie them. */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "inside.h"

typedef struct work {
    struct work *next;
    void (*run)(void *context);
    bool (*run_until)(void *context); /* again and again, until it says true */
    void *context;
    cudaEvent_t records; /* instead of running */
    bool waits;          /* for this: */
    mosaic_emulated_point point;
} work;

struct CUstream_st {
    struct CUstream_st *next;
    work *first, **end;
    int64_t asked, done; /* works so far */
};

static struct CUstream_st legacy; /* stream 0 */
static cudaStream_t streams = &legacy;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void prepare(void) { legacy.end = &legacy.first; }

static cudaStream_t known(cudaStream_t stream)
{
    pthread_once(&once, prepare);
    return stream ? stream : &legacy;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void append(cudaStream_t stream, work w)
{
    work *own = malloc(sizeof *own);
    if (!own) abort();
    *own = w;
    own->next = NULL;
    stream->asked++;
    *stream->end = own;
    stream->end = &own->next;
}

cudaError_t mosaic_emulated_enqueue(cudaStream_t stream, void (*run)(void *context), void *context)
{
    if (lost) return say(cudaErrorIllegalAddress);
    append(known(stream), (work){.run = run, .context = context});
    return cudaSuccess;
}

cudaError_t mosaic_emulated_enqueue_until(cudaStream_t stream, bool (*run)(void *context),
                                          void *context)
{
    if (lost) return say(cudaErrorIllegalAddress);
    append(known(stream), (work){.run_until = run, .context = context});
    return cudaSuccess;
}

static bool passed(const mosaic_emulated_point *p)
{
    if (p->stream) return p->stream->done >= p->number;
    return !p->shared || __atomic_load_n(&p->shared->done, __ATOMIC_ACQUIRE) >= p->number;
}

static void record(cudaEvent_t event)
{
    event->at = now();
    if (event->shared) __atomic_add_fetch(&event->shared->done, 1, __ATOMIC_RELEASE);
}

/* Does the stream's oldest work, or some that it waits for. False: there is none, or only another
 * process can help. */
static bool step(cudaStream_t stream)
{
    work *w = stream->first;
    if (!w) return false;
    if (w->waits && !passed(&w->point)) return w->point.stream && step(w->point.stream);
    if (w->run_until && !lost && !w->run_until(w->context)) return false;
    stream->first = w->next;
    if (!stream->first) stream->end = &stream->first;
    if (w->records) record(w->records);
    if (w->run && !lost) w->run(w->context);
    stream->done++;
    free(w->context);
    free(w);
    return true;
}

void (*mosaic_emulated_meanwhile)(void);

static void let_others_go_on(void)
{
    if (mosaic_emulated_meanwhile) mosaic_emulated_meanwhile();
}

/* Who waits in vain lets the other streams do something: a device would. */
static void wait_for_others(void)
{
    bool any = false;
    let_others_go_on();
    for (cudaStream_t s = streams; s; s = s->next) any = step(s) || any;
    if (!any) usleep(20);
}

static cudaError_t run_all(cudaStream_t stream)
{
    while (stream->first)
        if (!step(stream)) wait_for_others();
    return lost ? say(cudaErrorIllegalAddress) : cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void)
{
    known(NULL);
    let_others_go_on();
    for (cudaStream_t s = streams; s; s = s->next) run_all(s);
    return lost ? say(cudaErrorIllegalAddress) : cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    (void)flags;
    known(NULL);
    *stream = calloc(1, sizeof **stream);
    if (!*stream) return say(cudaErrorMemoryAllocation);
    (*stream)->end = &(*stream)->first;
    (*stream)->next = legacy.next;
    legacy.next = *stream;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority)
{
    (void)priority;
    return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    cudaError_t error = run_all(stream);
    cudaStream_t *at = &streams;
    while (*at != stream) at = &(*at)->next;
    *at = stream->next;
    free(stream);
    return error;
}

/* Asking makes a little progress, as time would. */
cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    stream = known(stream);
    step(stream);
    if (lost) return say(cudaErrorIllegalAddress);
    return stream->first ? cudaErrorNotReady : cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return run_all(known(stream)); }

/* ---- events --------------------------------------------------------------------------------- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    bool shared = flags & cudaEventInterprocess;
    cudaEvent_t e = *event = calloc(1, sizeof *e);
    if (e && shared) e->shared = mosaic_emulated_share(sizeof *e->shared);
    return e && (e->shared || !shared) ? cudaSuccess : say(cudaErrorMemoryAllocation);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    cudaError_t error = cudaDeviceSynchronize(); /* it may be recorded still */
    if (event->shared) mosaic_emulated_unshare(event->shared);
    free(event);
    return error;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    stream = known(stream);
    append(stream, (work){.records = event});
    event->last = (mosaic_emulated_point){.stream = stream, .number = stream->asked};
    if (event->shared) __atomic_add_fetch(&event->shared->asked, 1, __ATOMIC_RELEASE);
    return lost ? say(cudaErrorIllegalAddress) : cudaSuccess;
}

/* Of its last recording, here or in the process that it belongs to. */
static mosaic_emulated_point point_of(cudaEvent_t event)
{
    if (event->last.stream || !event->shared) return event->last;
    int64_t asked = __atomic_load_n(&event->shared->asked, __ATOMIC_ACQUIRE);
    return (mosaic_emulated_point){.shared = event->shared, .number = asked};
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    (void)flags;
    append(known(stream), (work){.waits = true, .point = point_of(event)});
    return lost ? say(cudaErrorIllegalAddress) : cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    mosaic_emulated_point point = point_of(event);
    if (!passed(&point) && point.stream) step(point.stream);
    if (lost) return say(cudaErrorIllegalAddress);
    return passed(&point) ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    mosaic_emulated_point point = point_of(event);
    while (!lost && !passed(&point))
        if (!point.stream || !step(point.stream)) wait_for_others();
    return lost ? say(cudaErrorIllegalAddress) : cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to)
{
    *milliseconds = (float)((to->at - from->at) * 1e3);
    return cudaSuccess;
}

/* ---- work ----------------------------------------------------------------------------------- */

typedef struct {
    void *to;
    const void *from;
    int value;
    size_t bytes;
} movement;

static void move(void *context)
{
    const movement *m = context;
    memcpy(m->to, m->from, m->bytes);
}

static void set(void *context)
{
    const movement *m = context;
    memset(m->to, m->value, m->bytes);
}

static cudaError_t enqueue_movement(cudaStream_t stream, void (*run)(void *), movement m)
{
    movement *own = malloc(sizeof *own);
    if (!own) return say(cudaErrorMemoryAllocation);
    *own = m;
    return mosaic_emulated_enqueue(stream, run, own);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    (void)kind;
    return enqueue_movement(stream, move, (movement){to, from, 0, bytes});
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    return enqueue_movement(stream, set, (movement){to, NULL, value, bytes});
}
