/* memory.c - host memory for tensors, with a cache of freed blocks.
 *
 * Fresh pages cost more than most elementwise operations on them (0.25 us per 4 KiB page), and
 * aligned_alloc more than a small operation, so freed blocks wait in one list per size class, four
 * classes per power of two. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../lock.h"
#include "shared.h"

enum { CLASS_COUNT = MOSAIC_MEMORY_CLASSES, ALIGNMENT = 64, HUGE_PAGE = 1 << 21 };

typedef struct block {
    struct block *next;
} block;

static mosaic_lock lock;
static block *cache[CLASS_COUNT];
static int64_t cached_bytes;

/* Rounds bytes up to its class's size, at most 25 % more, and returns the class. */
static int size_class(int64_t *bytes)
{
    int power = *bytes > ALIGNMENT ? 57 - __builtin_clzll((uint64_t)*bytes) : 0;
    int64_t base = (int64_t)ALIGNMENT << power;
    int64_t quarter = base / 4, steps = *bytes > base ? (*bytes - base + quarter - 1) / quarter : 0;
    *bytes = base + steps * quarter;
    return power * 4 + (int)steps;
}

int64_t mosaic_cpu_total(const mosaic_device *self)
{
    (void)self;
    return (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
}

int64_t mosaic_cpu_available(const mosaic_device *self)
{
    (void)self;
    return (int64_t)sysconf(_SC_AVPHYS_PAGES) * sysconf(_SC_PAGESIZE);
}

static int64_t cache_limit(void)
{
    static int64_t limit;
    if (!limit) limit = mosaic_cpu_total(NULL) / 4;
    return limit;
}

int64_t mosaic_cpu_cached(const mosaic_device *self)
{
    (void)self;
    return __atomic_load_n(&cached_bytes, __ATOMIC_RELAXED);
}

/* The bytes of a class's blocks. */
static int64_t class_bytes(int class)
{
    int64_t base = (int64_t)ALIGNMENT << class / 4;
    return base + class % 4 * (base / 4);
}

void mosaic_cpu_trim(const mosaic_device *self)
{
    (void)self;
    block *all[CLASS_COUNT];
    mosaic_lock_take(&lock);
    memcpy(all, cache, sizeof cache);
    memset(cache, 0, sizeof cache);
    cached_bytes = 0;
    mosaic_lock_give(&lock);
    for (int i = 0; i < CLASS_COUNT; i++)
        for (block *b = all[i], *next; b; b = next) {
            next = b->next;
            if (!mosaic_shared_give(b, i, class_bytes(i), true)) free(b);
        }
}

/* Large blocks begin and end with huge pages: nearly every access to one of 4 KiB pages misses the
 * TLB, and in a virtual machine a miss walks two tables. Measured in one run in one (7200 x 96
 * times 96 x 288): 98 and 25 GF/s with small pages, 125 and 105 with huge ones. */
static void *fresh(int64_t bytes)
{
    int64_t alignment = bytes < HUGE_PAGE ? ALIGNMENT : HUGE_PAGE;
    int64_t whole = (bytes + alignment - 1) / alignment * alignment;
    void *data = aligned_alloc((size_t)alignment, (size_t)whole);
    if (data && alignment == HUGE_PAGE) madvise(data, (size_t)whole, MADV_HUGEPAGE);
    return data;
}

void *mosaic_cpu_allocate(const mosaic_device *self, int64_t bytes)
{
    (void)self;
    int class = size_class(&bytes);
    bool shared = mosaic_sharing && mosaic_shared_wanted(bytes);
    mosaic_lock_take(&lock);
    bool reuses = !mosaic_sharing || mosaic_shared_reuses(NULL, bytes);
    block *b = reuses ? cache[class] : NULL;
    if (b) {
        cache[class] = b->next;
        cached_bytes -= bytes;
    }
    mosaic_lock_give(&lock);
    if (b) return b;
    void *data = shared ? mosaic_shared_take(class, bytes) : NULL;
    return data ? data : fresh(bytes);
}

void mosaic_cpu_release(const mosaic_device *self, void *data, int64_t bytes)
{
    int class = size_class(&bytes);
    block *b = data;
    if (mosaic_sharing && mosaic_shared_give(data, class, bytes, false)) return;
    if (mosaic_sharing && !mosaic_shared_reuses(data, bytes)) {
        free(data);
        return;
    }
    mosaic_lock_take(&lock);
    b->next = cache[class];
    cache[class] = b;
    cached_bytes += bytes;
    bool full = cached_bytes > cache_limit();
    mosaic_lock_give(&lock);
    if (full) mosaic_cpu_trim(self);
}
