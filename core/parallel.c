/* parallel.c - a pool of threads that sleep between loops. */
#include "parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "poll.h"
#include "status.h"

enum { MAX_THREADS = 256 };

typedef struct {
    void (*body)(void *context, int64_t from, int64_t to);
    void *context;
    int64_t count, share; /* part i is [i*share, (i+1)*share) */
    int parts;
} loop;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER, done = PTHREAD_COND_INITIALIZER;
static loop current;
static int64_t generation; /* of `current` */
static int workers, unfinished, thread_count;
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

static void run_part(const loop *l, int part)
{
    int64_t from = part * l->share, to = from + l->share;
    inside = true;
    l->body(l->context, from, to < l->count ? to : l->count);
    inside = false;
}

static void *worker(void *argument)
{
    int part = (int)(intptr_t)argument; /* this worker's part of every loop; the caller's is 0 */
    int64_t seen = 0;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (generation == seen || part >= current.parts) {
            seen = generation;
            pthread_cond_wait(&work, &lock);
        }
        seen = generation;
        loop mine = current;
        pthread_mutex_unlock(&lock);
        run_part(&mine, part);
        pthread_mutex_lock(&lock);
        if (--unfinished == 0) pthread_cond_signal(&done);
    }
    return NULL;
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
    int64_t share = (grains + parts - 1) / parts * grain;
    parts = (int)((count + share - 1) / share);
    loop l = {body, context, count, share, parts};
    pthread_mutex_lock(&lock);
    current = l;
    unfinished = parts - 1;
    generation++;
    pthread_cond_broadcast(&work);
    pthread_mutex_unlock(&lock);
    run_part(&l, 0);
    pthread_mutex_lock(&lock);
    while (unfinished) pthread_cond_wait(&done, &lock);
    pthread_mutex_unlock(&lock);
}
