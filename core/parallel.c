/* parallel.c - a pool of threads that sleep between loops, but not at once.
 *
 * Every thread has a part of a loop, in a few pieces, and takes what others have not begun when it
 * is done: a core may be slow or busy, and tasks uneven. */
#include "parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "pause.h"
#include "poll.h"
#include "status.h"

enum {
    MAX_THREADS = 256,
    PIECES = 4,     /* of a part, at most: what a thread that is done takes from the others */
    SPINS = 512,    /* that a worker waits for the next loop before it sleeps, about 50 us ... */
    PATIENCE = 8192 /* ... and the caller for workers */
};

/* A thread's part of the loop, from which others take pieces, too. */
typedef struct {
    _Alignas(64) int64_t next;
    int64_t end;
} part;

typedef struct {
    void (*body)(void *context, int64_t from, int64_t to);
    void *context;
    int64_t piece;
    int parts;
} loop;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER, done = PTHREAD_COND_INITIALIZER;
static loop current;
static part parts_of_current[MAX_THREADS];
static int64_t generation; /* of `current` */
static bool open; /* to workers, who may be late: the caller does not wait for them to come */
static int workers, thread_count;
static int active;                /* workers that came to `current`; written under the lock */
static _Thread_local bool inside; /* a body, which may poll messages, whose sums are loops */

static int integer_from(const char *name, int fallback)
{
    const char *text = getenv(name);
    int value = text ? atoi(text) : 0;
    return value > 0 ? value : fallback;
}

static int default_threads(void)
{
    cpu_set_t set;
    int cores = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    int local_ranks = integer_from("OMPI_COMM_WORLD_LOCAL_SIZE", 1);
    return integer_from("MOSAIC_THREADS", cores > local_ranks ? cores / local_ranks : 1);
}

int mosaic_threads(void)
{
    if (!thread_count) {
        int count = default_threads();
        thread_count = count < MAX_THREADS ? count : MAX_THREADS;
    }
    return thread_count;
}

mosaic_status mosaic_set_threads(int count)
{
    MOSAIC_REQUIRE(count >= 1 && count <= MAX_THREADS, "threads: expected 1..%d, got %d",
                   MAX_THREADS, count);
    thread_count = count;
    return MOSAIC_OK;
}

/* All that is left, a thread's own part first. */
static void run_pieces(const loop *l, int own)
{
    inside = true;
    for (int i = 0; i < l->parts; i++) {
        part *p = &parts_of_current[(own + i) % l->parts];
        for (;;) {
            int64_t from = __atomic_fetch_add(&p->next, l->piece, __ATOMIC_RELAXED);
            if (from >= p->end) break;
            l->body(l->context, from, from + l->piece < p->end ? from + l->piece : p->end);
        }
    }
    inside = false;
}

/* Waits for a loop after number `seen`: a loop soon follows another, and to wake up takes longer
 * than many of them. */
static void await_loop(int64_t seen)
{
    for (int times = 0; times < SPINS; times++) {
        if (__atomic_load_n(&generation, __ATOMIC_RELAXED) != seen) break;
        mosaic_pause(times);
    }
    pthread_mutex_lock(&lock);
    while (generation == seen) pthread_cond_wait(&work, &lock);
}

static void *worker(void *argument)
{
    int own = (int)(intptr_t)argument; /* this worker's part of every loop; the caller's is 0 */
    for (int64_t seen = 0;;) {
        await_loop(seen);
        seen = generation;
        loop mine = current;
        bool comes = open && own < mine.parts;
        __atomic_store_n(&active, active + comes, __ATOMIC_RELAXED);
        pthread_mutex_unlock(&lock);
        if (!comes) continue;
        run_pieces(&mine, own);
        pthread_mutex_lock(&lock);
        __atomic_store_n(&active, active - 1, __ATOMIC_RELAXED);
        if (active == 0) pthread_cond_signal(&done);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

/* Nobody comes any more, and those who came are done. */
static void close_loop(void)
{
    pthread_mutex_lock(&lock);
    open = false;
    int left = active;
    pthread_mutex_unlock(&lock);
    for (int times = 0; left && times < PATIENCE; times++) {
        mosaic_pause(times);
        left = __atomic_load_n(&active, __ATOMIC_RELAXED);
    }
    pthread_mutex_lock(&lock);
    while (active) pthread_cond_wait(&done, &lock);
    pthread_mutex_unlock(&lock);
}

/* Starts workers up to `wanted`; returns how many there are. */
static int ensure_workers(int wanted)
{
    while (workers < wanted) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, worker, (void *)(intptr_t)(workers + 1))) break;
        pthread_detach(thread);
        workers++;
    }
    return workers;
}

void mosaic_parallel(int64_t count, int64_t grain,
                     void (*body)(void *context, int64_t from, int64_t to), void *context)
{
    if (count <= 0) return;
    mosaic_poll();
    int64_t grains = (count + grain - 1) / grain;
    int parts = inside ? 1 : mosaic_threads() < grains ? mosaic_threads() : (int)grains;
    if (parts > 1) {
        pthread_mutex_lock(&lock);
        int available = ensure_workers(parts - 1) + 1;
        if (parts > available) parts = available;
        pthread_mutex_unlock(&lock);
    }
    if (parts <= 1) {
        body(context, 0, count);
        return;
    }
    int64_t share = (grains + parts - 1) / parts, piece = (share + PIECES - 1) / PIECES * grain;
    for (int i = 0; i < parts; i++) {
        int64_t from = grains * i / parts * grain, end = grains * (i + 1) / parts * grain;
        parts_of_current[i] = (part){from, end < count ? end : count};
    }
    pthread_mutex_lock(&lock);
    current = (loop){body, context, piece, parts};
    open = true;
    __atomic_store_n(&generation, generation + 1, __ATOMIC_RELAXED);
    pthread_cond_broadcast(&work);
    pthread_mutex_unlock(&lock);
    run_pieces(&current, 0);
    close_loop();
}
