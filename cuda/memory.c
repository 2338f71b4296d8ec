/* memory.c - device memory in a cache of freed blocks, and copies between host and device.
 *
 * Blocks come from the driver's stream-ordered pool and, once freed, wait in one list per size
 * class, four classes per power of two: taking one costs no call of the driver. A block goes from
 * one operation to the next in the order of the compute stream, so nobody has to wait for it.
 * Releasing never calls CUDA: finalizers may do it at any time.
 *
 * MOSAIC_CUDA_CACHE=0 takes and gives exact blocks, for memory checkers. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cuda.h"

enum { CLASSES = 256, SMALLEST = 512, PINNED = 4 << 20 };

typedef struct block {
    struct block *next;
    void *data;
} block;

typedef struct {
    block *lists[CLASSES];
    block *spare; /* list nodes without data */
    int64_t cached;
    char *pinned[2]; /* halves of the way between pageable host memory and the device */
    cudaEvent_t passed[2];
    size_t filled; /* bytes of a half that may be on their way to the device */
    int half;      /* which one */
} cache;

static cache caches[MOSAIC_CUDA_DEVICES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const mosaic_cuda *cuda_of(const mosaic_device *self) { return (const mosaic_cuda *)self; }
static cache *cache_of(const mosaic_device *self) { return &caches[cuda_of(self)->index]; }

/* ---- blocks --------------------------------------------------------------------------------- */

static bool caching(void)
{
    static int yes = -1;
    const char *text = getenv("MOSAIC_CUDA_CACHE");
    if (yes < 0) yes = !text || strcmp(text, "0") != 0;
    return yes;
}

/* Rounds bytes up to its class's size, at most 25 % more, and returns the class. */
static int size_class(int64_t *bytes)
{
    int64_t base = SMALLEST;
    int power = 0;
    while (base * 2 <= *bytes) base *= 2, power++;
    int64_t quarter = base / 4, steps = *bytes > base ? (*bytes - base + quarter - 1) / quarter : 0;
    *bytes = base + steps * quarter;
    return power * 4 + (int)steps;
}

static void *take_cached(cache *c, int class, int64_t bytes)
{
    void *data = NULL;
    pthread_mutex_lock(&lock);
    block *b = c->lists[class];
    if (b) {
        data = b->data;
        c->lists[class] = b->next;
        b->next = c->spare;
        c->spare = b;
        c->cached -= bytes;
    }
    pthread_mutex_unlock(&lock);
    return data;
}

static void *take_fresh(const mosaic_cuda *d, int64_t bytes)
{
    void *data = NULL;
    if (mosaic_cuda_enter(d)) return NULL;
    if (cudaMallocAsync(&data, (size_t)bytes, d->main) == cudaSuccess) return data;
    cudaGetLastError();
    return NULL;
}

void *mosaic_cuda_allocate(const mosaic_device *self, int64_t bytes)
{
    const mosaic_cuda *d = cuda_of(self);
    if (!caching()) return take_fresh(d, bytes ? bytes : 1);
    int class = size_class(&bytes);
    void *data = take_cached(cache_of(self), class, bytes);
    if (!data) data = take_fresh(d, bytes);
    if (data) return data;
    mosaic_cuda_trim(self); /* other sizes may hold what is missing */
    return take_fresh(d, bytes);
}

void mosaic_cuda_release(const mosaic_device *self, void *data, int64_t bytes)
{
    if (!caching()) {
        cudaFreeAsync(data, cuda_of(self)->main);
        return;
    }
    int class = size_class(&bytes);
    cache *c = cache_of(self);
    pthread_mutex_lock(&lock);
    block *b = c->spare;
    if (b)
        c->spare = b->next;
    else
        b = malloc(sizeof *b);
    if (b) { /* else the block is lost, with a process that has no memory */
        *b = (block){c->lists[class], data};
        c->lists[class] = b;
        c->cached += bytes;
    }
    pthread_mutex_unlock(&lock);
}

int64_t mosaic_cuda_cached(const mosaic_device *self)
{
    return __atomic_load_n(&cache_of(self)->cached, __ATOMIC_RELAXED);
}

void mosaic_cuda_trim(const mosaic_device *self)
{
    const mosaic_cuda *d = cuda_of(self);
    cache *c = cache_of(self);
    cudaMemPool_t pool;
    if (mosaic_cuda_enter(d)) return;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < CLASSES; i++)
        for (block *b; (b = c->lists[i]);) {
            c->lists[i] = b->next;
            cudaFreeAsync(b->data, d->main);
            free(b);
        }
    c->cached = 0;
    pthread_mutex_unlock(&lock);
    if (mosaic_cuda_synchronize(self) == MOSAIC_OK &&
        cudaDeviceGetDefaultMemPool(&pool, d->index) == cudaSuccess)
        cudaMemPoolTrimTo(pool, 0);
}

int64_t mosaic_cuda_total(const mosaic_device *self) { return cuda_of(self)->total; }

int64_t mosaic_cuda_available(const mosaic_device *self)
{
    size_t available = 0, total = 0;
    if (!mosaic_cuda_enter(cuda_of(self))) cudaMemGetInfo(&available, &total);
    return (int64_t)available;
}

mosaic_status mosaic_cuda_scratch(mosaic_tensor *scratch, const mosaic_cuda *device,
                                  mosaic_dtype dtype, int64_t count)
{
    return mosaic_tensor_new(scratch, dtype, 1, &count, device->base.name);
}

/* ---- host ----------------------------------------------------------------------------------- */

mosaic_status mosaic_cuda_synchronize(const mosaic_device *self)
{
    const mosaic_cuda *d = cuda_of(self);
    MOSAIC_TRY(mosaic_cuda_enter(d));
    mosaic_mark *mark;
    MOSAIC_TRY(mosaic_cuda_mark(self, NULL, &mark));
    mosaic_status status = mosaic_cuda_wait_for(d, "waiting for the device", mark);
    mosaic_cuda_forget(self, mark);
    return status;
}

/* The two halves of the staging buffer. */
static mosaic_status open_staging(const mosaic_cuda *d, cache *c)
{
    MOSAIC_TRY(mosaic_cuda_enter(d));
    for (int i = 0; i < 2 && !c->pinned[i]; i++) {
        MOSAIC_CUDA_TRY(d, "staging",
                        cudaEventCreateWithFlags(&c->passed[i], cudaEventDisableTiming));
        MOSAIC_CUDA_TRY(d, "staging",
                        cudaHostAlloc((void **)&c->pinned[i], PINNED, cudaHostAllocDefault));
    }
    return MOSAIC_OK;
}

static size_t piece_at(int64_t at, int64_t bytes)
{
    return (size_t)(bytes - at < PINNED ? bytes - at : PINNED);
}

/* Room for a piece on its way to the device: pieces fill one half, then the other one, so that a
 * small one need not wait until the device has come to those before it. */
static mosaic_status make_room(char **room, const mosaic_cuda *d, cache *c, size_t piece)
{
    if (c->filled + piece > PINNED) {
        MOSAIC_CUDA_TRY(d, "copying to the device", cudaEventRecord(c->passed[c->half], d->main));
        c->half = !c->half;
        c->filled = 0;
        MOSAIC_TRY(mosaic_cuda_wait(d, "copying to the device", c->passed[c->half]));
    }
    *room = c->pinned[c->half] + c->filled;
    c->filled += (piece + 63) / 64 * 64;
    return MOSAIC_OK;
}

/* Pageable memory is not the device's to read at leisure: it goes by way of the pinned halves. */
mosaic_status mosaic_cuda_from_host(const mosaic_device *self, void *data, const void *host,
                                    int64_t bytes)
{
    const mosaic_cuda *d = cuda_of(self);
    cache *c = cache_of(self);
    MOSAIC_TRY(open_staging(d, c));
    for (int64_t at = 0; at < bytes; at += PINNED) {
        size_t piece = piece_at(at, bytes);
        char *room;
        MOSAIC_TRY(make_room(&room, d, c, piece));
        memcpy(room, (const char *)host + at, piece);
        MOSAIC_CUDA_TRY(
            d, "copying to the device",
            cudaMemcpyAsync((char *)data + at, room, piece, cudaMemcpyHostToDevice, d->main));
    }
    return MOSAIC_OK;
}

static mosaic_status fetch(const mosaic_cuda *d, cache *c, int half, const char *data, size_t piece)
{
    MOSAIC_CUDA_TRY(d, "copying from the device",
                    cudaMemcpyAsync(c->pinned[half], data, piece, cudaMemcpyDeviceToHost, d->main));
    return mosaic_cuda_check(d, "copying from the device",
                             cudaEventRecord(c->passed[half], d->main));
}

mosaic_status mosaic_cuda_to_host(const mosaic_device *self, void *host, const void *data,
                                  int64_t bytes)
{
    const mosaic_cuda *d = cuda_of(self);
    cache *c = cache_of(self);
    MOSAIC_TRY(open_staging(d, c));
    if (bytes > 0) MOSAIC_TRY(fetch(d, c, 0, data, piece_at(0, bytes)));
    for (int64_t at = 0, i = 0; at < bytes; at += PINNED, i = !i) {
        int64_t next = at + PINNED;
        if (next < bytes)
            MOSAIC_TRY(fetch(d, c, !i, (const char *)data + next, piece_at(next, bytes)));
        MOSAIC_TRY(mosaic_cuda_wait(d, "copying from the device", c->passed[i]));
        memcpy((char *)host + at, c->pinned[i], piece_at(at, bytes));
    }
    return MOSAIC_OK;
}
