/* storage.c - counted blocks, and the account of how much they hold. */
#include "storage.h"

#include <stdlib.h>

#include "lock.h"

static mosaic_lock lock;
static mosaic_storage *spare; /* released ones, linked by `data`: a tensor costs no malloc */
static int64_t live_bytes;    /* on all devices */
static struct {
    int64_t live, peak;
} shares[MOSAIC_MEMORY_ACCOUNTS]; /* of the accounts within the process */
static _Thread_local int open_account;

/* Unless it is set, a device's limit is all that it has. */
static int64_t memory_limit(const mosaic_device *device)
{
    mosaic_memory_stats *m = device->memory;
    if (!m->limit_bytes) {
        const char *text = device == &mosaic_cpu_device ? getenv("MOSAIC_MEMORY_LIMIT") : NULL;
        int64_t bytes = text ? strtoll(text, NULL, 10) : 0;
        m->limit_bytes = bytes > 0 ? bytes : device->total(device);
    }
    return m->limit_bytes;
}

int64_t mosaic_memory_live(void) { return __atomic_load_n(&live_bytes, __ATOMIC_RELAXED); }

static mosaic_memory_stats read_memory(const mosaic_device *device)
{
    mosaic_lock_take(&lock);
    memory_limit(device);
    mosaic_memory_stats stats = *device->memory;
    mosaic_lock_give(&lock);
    stats.cached_bytes = device->cached(device);
    stats.free_bytes = device->available(device);
    return stats;
}

mosaic_status mosaic_memory_read(mosaic_memory_stats *stats, const char *device)
{
    const mosaic_device *found;
    MOSAIC_TRY(mosaic_device_find(&found, device));
    *stats = read_memory(found);
    return MOSAIC_OK;
}

void mosaic_memory_trim(void)
{
    const mosaic_device *device;
    for (int i = 0; (device = mosaic_device_at(i)); i++) device->trim(device);
    mosaic_lock_take(&lock);
    mosaic_storage *s = spare;
    spare = NULL;
    mosaic_lock_give(&lock);
    for (mosaic_storage *next; s; s = next) {
        next = s->data;
        free(s);
    }
}

mosaic_status mosaic_memory_reset_peak(const char *device)
{
    const mosaic_device *found;
    MOSAIC_TRY(mosaic_device_find(&found, device));
    mosaic_lock_take(&lock);
    found->memory->peak_bytes = found->memory->live_bytes;
    mosaic_lock_give(&lock);
    return MOSAIC_OK;
}

mosaic_status mosaic_memory_set_limit(int64_t bytes, const char *device)
{
    const mosaic_device *found;
    MOSAIC_TRY(mosaic_device_find(&found, device));
    MOSAIC_REQUIRE(bytes > 0, "memory limit: expected a positive number of bytes, got %lld",
                   (long long)bytes);
    mosaic_lock_take(&lock);
    found->memory->limit_bytes = bytes;
    mosaic_lock_give(&lock);
    return MOSAIC_OK;
}

/* ---- accounts within the process ------------------------------------------------------------ */

int mosaic_memory_known_account(int number)
{
    return number > 0 && number < MOSAIC_MEMORY_ACCOUNTS ? number : 0;
}

void mosaic_memory_open_account(int number) { open_account = mosaic_memory_known_account(number); }

int mosaic_memory_account(void) { return open_account; }

int64_t mosaic_memory_account_live(int number)
{
    return __atomic_load_n(&shares[mosaic_memory_known_account(number)].live, __ATOMIC_RELAXED);
}

int64_t mosaic_memory_account_peak(int number)
{
    return __atomic_load_n(&shares[mosaic_memory_known_account(number)].peak, __ATOMIC_RELAXED);
}

void mosaic_memory_account_reset_peak(int number)
{
    mosaic_lock_take(&lock);
    shares[mosaic_memory_known_account(number)].peak =
        shares[mosaic_memory_known_account(number)].live;
    mosaic_lock_give(&lock);
}

/* bytes may be negative; the lock is held. */
static void charge(mosaic_memory_stats *m, int number, int64_t bytes)
{
    m->live_bytes += bytes;
    if (m->live_bytes > m->peak_bytes) m->peak_bytes = m->live_bytes;
    __atomic_store_n(&live_bytes, live_bytes + bytes, __ATOMIC_RELAXED); /* read without the lock */
    shares[number].live += bytes;
    if (shares[number].live > shares[number].peak) shares[number].peak = shares[number].live;
}

/* ---- storages ------------------------------------------------------------------------------- */

/* Books bytes as live unless that would exceed the limit; *s is a spare storage or NULL. */
static bool book(mosaic_storage **s, const mosaic_device *device, int64_t bytes)
{
    mosaic_lock_take(&lock);
    bool fits = bytes <= memory_limit(device) - device->memory->live_bytes;
    if (fits) {
        charge(device->memory, open_account, bytes);
        device->memory->allocations++;
        *s = spare;
        if (spare) spare = spare->data;
    }
    mosaic_lock_give(&lock);
    return fits;
}

static void unbook(mosaic_storage *s, const mosaic_device *device, int number, int64_t bytes)
{
    mosaic_lock_take(&lock);
    charge(device->memory, number, -bytes);
    if (s) {
        s->data = spare;
        spare = s;
    }
    mosaic_lock_give(&lock);
}

static mosaic_status out_of_memory(int64_t bytes, const mosaic_device *device)
{
    mosaic_memory_stats now = read_memory(device);
    return mosaic_fail(MOSAIC_ENOMEM,
                       "out of memory on %s: asked for %lld bytes, %lld in use, limit %lld, %lld "
                       "cached, %lld free",
                       device->name, (long long)bytes, (long long)now.live_bytes,
                       (long long)now.limit_bytes, (long long)now.cached_bytes,
                       (long long)now.free_bytes);
}

mosaic_status mosaic_storage_new(mosaic_storage **storage, int64_t bytes,
                                 const mosaic_device *device)
{
    mosaic_storage *s;
    if (!book(&s, device, bytes)) return out_of_memory(bytes, device);
    if (!s) s = malloc(sizeof *s);
    void *data = s ? device->allocate(device, bytes) : NULL;
    if (!data) {
        unbook(s, device, open_account, bytes);
        return out_of_memory(bytes, device);
    }
    *s = (mosaic_storage){data, bytes, device, 1, 0, open_account, false};
    *storage = s;
    return MOSAIC_OK;
}

mosaic_status mosaic_storage_borrow(mosaic_storage **storage, void *data, int64_t bytes,
                                    const mosaic_device *device)
{
    mosaic_storage *s = malloc(sizeof *s);
    if (!s) return mosaic_fail(MOSAIC_ENOMEM, "out of memory for a borrowed tensor");
    *s = (mosaic_storage){data, bytes, device, 1, 0, 0, true};
    *storage = s;
    return MOSAIC_OK;
}

mosaic_storage *mosaic_storage_retain(mosaic_storage *s)
{
    __atomic_add_fetch(&s->references, 1, __ATOMIC_RELAXED);
    return s;
}

void mosaic_storage_release(mosaic_storage *s)
{
    if (!s) return;
    bool last = __atomic_load_n(&s->references, __ATOMIC_ACQUIRE) == 1; /* nobody else can retain */
    if (!last && __atomic_sub_fetch(&s->references, 1, __ATOMIC_ACQ_REL)) return;
    if (s->borrowed) {
        free(s);
        return;
    }
    s->device->release(s->device, s->data, s->bytes);
    unbook(s, s->device, s->account, s->bytes);
}
