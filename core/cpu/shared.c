/* shared.c - host memory that other processes of the machine read in place.
 *
 * One arena a process: a file without a name (nothing is left behind, however the process ends),
 * sparse, mapped once. Others open it through /proc and map it to read. Blocks are taken from its
 * end; freed ones wait in two lists per size class: with their pages, to be used again soon, and,
 * once trimmed, without pages but for the first, which links them. A child that forks does not
 * inherit it: both would write to the same pages.
 *
 * Once somebody lends, all large tensors come from the arena, so that what is lent need not be
 * copied; but not where the system gives such files small pages only, which slow whole kernels down
 * (memory.c): there only copies for lending lie here.
 *
 * Measured, ring of 4 ranks, n = 4096, E = 96: peak of a rank 9.3 n E b by messages, 7.3 with
 * copies, 5.3 without. Time is the same within 2 %: a copy is 0.5 % of the attention. */
#include "shared.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../tensor.h"
#include "../trace.h"

enum { HUGE_PAGE = 1 << 21, PAGE = 4096, LARGE = 64 << 10, SPACES = 4 };

typedef struct hole {
    struct hole *next;
} hole;

typedef struct {
    int64_t process, file, mark; /* mark: in its first bytes, too */
    char *base;
    int64_t size;
} mapping;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static mapping own;
static int64_t used; /* of the arena */
bool mosaic_sharing;
static bool all;
static _Thread_local bool asked; /* for the tensor being made */
static hole *filled[MOSAIC_MEMORY_CLASSES], *holes[MOSAIC_MEMORY_CLASSES];
static int64_t filled_bytes;
static mapping *others;
static int other_count;

/* ---- the arena ------------------------------------------------------------------------------ */

/* Is all large memory to be lent in place? MOSAIC_SHARE says all or copies; else where the system
 * gives shared memory huge pages when asked: "always within_size [advise] never" */
static bool lends_all(void)
{
    const char *wish = getenv("MOSAIC_SHARE");
    if (wish && !strcmp(wish, "all")) return true;
    if (wish && !strcmp(wish, "copies")) return false;
    char text[128] = "";
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "r");
    bool read = file && fgets(text, sizeof text, file);
    if (file) fclose(file);
    return read && strchr(text, '[') && !strstr(text, "[never]") && !strstr(text, "[deny]");
}

static mosaic_status unavailable(const char *what)
{
    return mosaic_fail(MOSAIC_ENOTSUP, "share: %s: %m", what);
}

/* The addresses are many times what the machine has: they cost nothing, and freed ones are used
 * again only for blocks of equal size. */
static mosaic_status open_arena(void)
{
    int64_t size = SPACES * mosaic_cpu_total(NULL) / HUGE_PAGE * HUGE_PAGE;
    int file = memfd_create("mosaic", MFD_CLOEXEC);
    if (file < 0) return unavailable("memfd_create");
    void *base = MAP_FAILED;
    if (!ftruncate(file, size))
        base =
            mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
    if (base == MAP_FAILED) {
        mosaic_status status = unavailable("mapping a file in memory");
        close(file);
        return status;
    }
    madvise(base, (size_t)size, MADV_HUGEPAGE);
    madvise(base, (size_t)size, MADV_DONTFORK);
    int64_t mark = ((int64_t)(mosaic_now() * 1e9) ^ (int64_t)getpid() << 32) & ((1LL << 53) - 1);
    memcpy(base, &mark, sizeof mark);
    own = (mapping){getpid(), file, mark, base, size};
    used = HUGE_PAGE;
    return MOSAIC_OK;
}

mosaic_status mosaic_share_open(int64_t *process, int64_t *file, int64_t *mark)
{
    mosaic_status status = MOSAIC_OK;
    pthread_mutex_lock(&lock);
    if (!own.base) status = open_arena();
    pthread_mutex_unlock(&lock);
    *process = own.process;
    *file = own.file;
    *mark = own.mark;
    return status;
}

static bool is_own(const void *data)
{
    return own.base && (const char *)data >= own.base && (const char *)data < own.base + own.size;
}

bool mosaic_shared_wanted(int64_t bytes) { return asked || (all && bytes >= LARGE); }

bool mosaic_shared_reuses(const void *block, int64_t bytes)
{
    return !mosaic_shared_wanted(bytes) || (all && bytes >= LARGE && (!block || is_own(block)));
}

/* Large blocks begin with a huge page, as in memory.c. */
static void *take_new(int64_t bytes)
{
    int64_t alignment = bytes >= HUGE_PAGE ? HUGE_PAGE : PAGE;
    int64_t from = (used + alignment - 1) / alignment * alignment;
    if (from + bytes > own.size) return NULL;
    used = from + bytes;
    return own.base + from;
}

static hole *pop(hole **list)
{
    hole *h = *list;
    if (h) *list = h->next;
    return h;
}

void *mosaic_shared_take(int class, int64_t bytes)
{
    pthread_mutex_lock(&lock);
    void *block = pop(&filled[class]);
    if (block) filled_bytes -= bytes;
    if (!block) block = pop(&holes[class]);
    if (!block) block = take_new(bytes);
    pthread_mutex_unlock(&lock);
    return block;
}

/* Its pages but the first go back to the system. */
static void empty(const void *block, int64_t bytes)
{
    int64_t from = (const char *)block - own.base + PAGE, length = bytes - PAGE;
    if (length > 0) fallocate(own.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, length);
}

bool mosaic_shared_give(void *block, int class, int64_t bytes, bool trims)
{
    if (!is_own(block) || (all && !trims)) return false;
    if (trims) empty(block, bytes);
    pthread_mutex_lock(&lock);
    hole *h = block, **list = trims ? &holes[class] : &filled[class];
    h->next = *list;
    *list = h;
    if (!trims) filled_bytes += bytes;
    pthread_mutex_unlock(&lock);
    return true;
}

int64_t mosaic_shared_cached(void) { return __atomic_load_n(&filled_bytes, __ATOMIC_RELAXED); }

void mosaic_shared_trim(int class, int64_t bytes)
{
    pthread_mutex_lock(&lock);
    for (hole *h; (h = pop(&filled[class]));) {
        filled_bytes -= bytes;
        empty(h, bytes);
        h->next = holes[class];
        holes[class] = h;
    }
    pthread_mutex_unlock(&lock);
}

/* ---- lending -------------------------------------------------------------------------------- */

static void begin_lending(void)
{
    mosaic_sharing = true;
    all = lends_all();
    if (all) mosaic_cpu_trim(NULL); /* or blocks from elsewhere would be used again */
}

static mosaic_status fill(mosaic_tensor *out, const mosaic_tensor *a)
{
    MOSAIC_REQUIRE(is_own(out->storage->data), "share: no address space is left");
    return mosaic_copy(out, a);
}

mosaic_status mosaic_share_lend(mosaic_tensor *out, int64_t *place, const mosaic_tensor *a)
{
    MOSAIC_TRY(mosaic_check_operands("share", a, NULL));
    MOSAIC_REQUIRE(own.base, "share: lending begins with mosaic_share_open");
    if (!mosaic_sharing) begin_lending();
    if (is_own(a->storage->data)) {
        MOSAIC_TRY(mosaic_alias(out, a));
    } else {
        asked = true;
        mosaic_status status =
            mosaic_tensor_new(out, (mosaic_dtype)a->dtype, a->ndim, a->size, "cpu");
        asked = false;
        if (status == MOSAIC_OK) status = fill(out, a);
        if (status) mosaic_tensor_clear(out);
        MOSAIC_TRY(status);
    }
    place[0] = (char *)out->storage->data - own.base;
    place[1] = out->storage->bytes;
    return MOSAIC_OK;
}

/* ---- borrowing ------------------------------------------------------------------------------ */

static mosaic_status map_other(mapping *m)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%lld/fd/%lld", (long long)m->process, (long long)m->file);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return unavailable(path);
    struct stat about;
    void *base = MAP_FAILED;
    if (!fstat(file, &about) && about.st_size >= HUGE_PAGE)
        base = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_SHARED | MAP_NORESERVE, file, 0);
    close(file);
    if (base == MAP_FAILED) return unavailable(path);
    if (memcmp(base, &m->mark, sizeof m->mark)) { /* in another name space: another process */
        munmap(base, (size_t)about.st_size);
        return mosaic_fail(MOSAIC_ENOTSUP, "share: %s is not the memory that was meant", path);
    }
    madvise(base, (size_t)about.st_size, MADV_HUGEPAGE);
    m->base = base;
    m->size = about.st_size;
    return MOSAIC_OK;
}

mosaic_status mosaic_share_map(int *number, int64_t process, int64_t file, int64_t mark)
{
    for (*number = 0; *number < other_count; ++*number)
        if (others[*number].process == process && others[*number].mark == mark) return MOSAIC_OK;
    mapping m = {.process = process, .file = file, .mark = mark};
    mapping *grown = realloc(others, sizeof *others * (size_t)(other_count + 1));
    if (!grown)
        return mosaic_fail(MOSAIC_ENOMEM, "share: no memory to note process %lld",
                           (long long)process);
    others = grown;
    MOSAIC_TRY(map_other(&m));
    others[other_count++] = m;
    return MOSAIC_OK;
}

mosaic_status mosaic_share_borrow(mosaic_tensor *out, int number, const int64_t *place,
                                  mosaic_dtype dtype)
{
    MOSAIC_REQUIRE(number >= 0 && number < other_count, "share: nothing is mapped as number %d",
                   number);
    const mapping *m = &others[number];
    int64_t from = place[0], bytes = place[1];
    MOSAIC_REQUIRE(from >= HUGE_PAGE && bytes >= 0 && from + bytes <= m->size,
                   "share: bytes %lld..%lld are outside of what was lent", (long long)from,
                   (long long)(from + bytes));
    *out = (mosaic_tensor){.dtype = (int)dtype, .ndim = 1, .stride = {1}};
    out->size[0] = bytes / mosaic_dtype_bytes(dtype);
    return mosaic_storage_borrow(&out->storage, m->base + from, bytes, &mosaic_cpu_device);
}
