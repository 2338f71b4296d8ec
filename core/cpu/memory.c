/* memory.c - host memory for tensors, with a cache of freed blocks.
 *
 * Fresh pages cost more than most elementwise operations on them (0.25 us per 4 KiB page), and
 * aligned_alloc more than a small operation, so freed blocks wait in one list per size class, four
 * classes per power of two.
 *
 * Large blocks have huge pages: nearly every access to one of 4 KiB pages misses the TLB, and in a
 * virtual machine a miss walks two tables. Measured in one run in one (7200 x 96 times 96 x 288):
 * 98 and 25 GF/s with small pages, 125 and 105 with huge ones. Those of less than a huge page are
 * cut from greater pieces: a training step on tensors of 1.4 MB takes 3 % less time. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../lock.h"
#include "shared.h"

enum {
    CLASS_COUNT = MOSAIC_MEMORY_CLASSES,
    ALIGNMENT = 64,
    HUGE_PAGE = 1 << 21,
#ifdef __SANITIZE_ADDRESS__
    SMALLEST_CUT = HUGE_PAGE, /* none: it would not see one block run into the next */
#else
    SMALLEST_CUT = 1 << 18,
#endif
    PIECE = 1 << 25
};

typedef struct block {
    struct block *next;
} block;

static mosaic_lock lock;
static block *cache[CLASS_COUNT];
static int64_t cached_bytes;
static char *piece, *piece_end;   /* what blocks are cut from next */
static block *holes[CLASS_COUNT]; /* cut ones without pages */

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
    return __atomic_load_n(&cached_bytes, __ATOMIC_RELAXED) + mosaic_shared_cached();
}

/* The bytes of a class's blocks. (No block is of the last classes, whose sizes wrap around.) */
static int64_t class_bytes(int class)
{
    uint64_t base = (uint64_t)ALIGNMENT << class / 4;
    return (int64_t)(base + (uint64_t) class % 4 * (base / 4));
}

/* Begins and ends with huge pages. */
static void *huge(int64_t bytes)
{
    int64_t whole = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    void *data = aligned_alloc(HUGE_PAGE, (size_t)whole);
    if (data) madvise(data, (size_t)whole, MADV_HUGEPAGE);
    return data;
}

/* ---- blocks cut from pieces ------------------------------------------------------------------ */

static bool is_cut(int64_t bytes) { return bytes >= SMALLEST_CUT && bytes < HUGE_PAGE; }

/* The lock is held. NULL: a piece is missing. */
static void *cut(int class, int64_t bytes)
{
    block *b = holes[class];
    if (b) {
        holes[class] = b->next;
        return b;
    }
    if (piece_end - piece < bytes) return NULL;
    piece += bytes;
    return piece - bytes;
}

/* As cut, after a piece has been got without the lock, unless another thread brought one meanwhile.
 * What is left of a piece that is too small was never touched. */
static void *cut_new(int class, int64_t bytes)
{
    char *new = huge(PIECE);
    mosaic_lock_take(&lock);
    void *data = cut(class, bytes);
    if (!data && new) {
        piece = new;
        piece_end = new + PIECE;
        new = NULL;
        data = cut(class, bytes);
    }
    mosaic_lock_give(&lock);
    free(new);
    return data;
}

/* All pages of the block but the first, which links it, go back to the system. Blocks begin at
 * multiples of 64 KiB, the largest pages there are but for huge ones. */
static void put_away(block *b, int class, int64_t bytes)
{
    int64_t page = sysconf(_SC_PAGESIZE);
    madvise((char *)b + page, (size_t)(bytes - page), MADV_DONTNEED);
    mosaic_lock_take(&lock);
    b->next = holes[class];
    holes[class] = b;
    mosaic_lock_give(&lock);
}

static void *fresh(int class, int64_t bytes)
{
    if (bytes >= HUGE_PAGE) return huge(bytes);
    int64_t whole = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (!is_cut(bytes)) return aligned_alloc(ALIGNMENT, (size_t)whole);
    mosaic_lock_take(&lock);
    void *data = cut(class, bytes);
    mosaic_lock_give(&lock);
    return data ? data : cut_new(class, bytes);
}

static void give_back(block *b, int class, int64_t bytes)
{
    if (is_cut(bytes))
        put_away(b, class, bytes);
    else
        free(b);
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
    for (int i = 0; i < CLASS_COUNT; i++) {
        int64_t bytes = class_bytes(i);
        for (block *b = all[i], *next; b; b = next) {
            next = b->next;
            if (!mosaic_shared_give(b, i, bytes, true)) give_back(b, i, bytes);
        }
        if (mosaic_sharing) mosaic_shared_trim(i, bytes);
    }
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
    return data ? data : fresh(class, bytes);
}

static void bound_cache(const mosaic_device *self)
{
    if (mosaic_cpu_cached(self) > cache_limit()) mosaic_cpu_trim(self);
}

void mosaic_cpu_release(const mosaic_device *self, void *data, int64_t bytes)
{
    int class = size_class(&bytes);
    block *b = data;
    if (mosaic_sharing && mosaic_shared_give(data, class, bytes, false)) {
        bound_cache(self);
        return;
    }
    if (mosaic_sharing && !mosaic_shared_reuses(data, bytes)) {
        give_back(data, class, bytes);
        return;
    }
    mosaic_lock_take(&lock);
    b->next = cache[class];
    cache[class] = b;
    cached_bytes += bytes;
    mosaic_lock_give(&lock);
    bound_cache(self);
}
