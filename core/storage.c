/* storage.c - counted blocks, and the account of how much they hold. */
#include "storage.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static mosaic_memory_stats account; /* its cached_bytes is the device's to tell */
static struct {
    int64_t live, peak;
} shares[MOSAIC_MEMORY_ACCOUNTS]; /* of the accounts within the process */
static _Thread_local int open_account;

static int64_t memory_limit(void)
{
    if (!account.limit_bytes) {
        const char *text = getenv("MOSAIC_MEMORY_LIMIT");
        int64_t bytes = text ? strtoll(text, NULL, 10) : 0;
        account.limit_bytes =
            bytes > 0 ? bytes : (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    }
    return account.limit_bytes;
}

int64_t mosaic_memory_live(void) { return __atomic_load_n(&account.live_bytes, __ATOMIC_RELAXED); }

void mosaic_memory_read(mosaic_memory_stats *stats)
{
    pthread_mutex_lock(&lock);
    memory_limit();
    *stats = account;
    pthread_mutex_unlock(&lock);
    stats->cached_bytes = mosaic_cpu_device.cached(&mosaic_cpu_device);
}

void mosaic_memory_trim(void) { mosaic_cpu_device.trim(&mosaic_cpu_device); }

void mosaic_memory_reset_peak(void)
{
    pthread_mutex_lock(&lock);
    account.peak_bytes = account.live_bytes;
    pthread_mutex_unlock(&lock);
}

mosaic_status mosaic_memory_set_limit(int64_t bytes)
{
    MOSAIC_REQUIRE(bytes > 0, "memory limit: expected a positive number of bytes, got %lld",
                   (long long)bytes);
    pthread_mutex_lock(&lock);
    account.limit_bytes = bytes;
    pthread_mutex_unlock(&lock);
    return MOSAIC_OK;
}

/* ---- accounts within the process ------------------------------------------------------------ */

static int known_account(int number)
{
    return number > 0 && number < MOSAIC_MEMORY_ACCOUNTS ? number : 0;
}

void mosaic_memory_open_account(int number) { open_account = known_account(number); }

int64_t mosaic_memory_account_live(int number)
{
    return __atomic_load_n(&shares[known_account(number)].live, __ATOMIC_RELAXED);
}

int64_t mosaic_memory_account_peak(int number)
{
    return __atomic_load_n(&shares[known_account(number)].peak, __ATOMIC_RELAXED);
}

void mosaic_memory_account_reset_peak(int number)
{
    pthread_mutex_lock(&lock);
    shares[known_account(number)].peak = shares[known_account(number)].live;
    pthread_mutex_unlock(&lock);
}

/* bytes may be negative; the lock is held. */
static void charge(int number, int64_t bytes)
{
    account.live_bytes += bytes;
    shares[number].live += bytes;
    if (account.live_bytes > account.peak_bytes) account.peak_bytes = account.live_bytes;
    if (shares[number].live > shares[number].peak) shares[number].peak = shares[number].live;
}

/* ---- storages ------------------------------------------------------------------------------- */

/* Books bytes as live unless that would exceed the limit. */
static bool book(int64_t bytes)
{
    pthread_mutex_lock(&lock);
    bool fits = bytes <= memory_limit() - account.live_bytes;
    if (fits) {
        charge(open_account, bytes);
        account.allocations++;
    }
    pthread_mutex_unlock(&lock);
    return fits;
}

static void unbook(int number, int64_t bytes)
{
    pthread_mutex_lock(&lock);
    charge(number, -bytes);
    pthread_mutex_unlock(&lock);
}

static mosaic_status out_of_memory(int64_t bytes, const mosaic_device *device)
{
    mosaic_memory_stats now;
    mosaic_memory_read(&now);
    return mosaic_fail(
        MOSAIC_ENOMEM, "out of memory on %s: asked for %lld bytes, %lld in use, limit %lld",
        device->name, (long long)bytes, (long long)now.live_bytes, (long long)now.limit_bytes);
}

mosaic_status mosaic_storage_new(mosaic_storage **storage, int64_t bytes,
                                 const mosaic_device *device)
{
    if (!book(bytes)) return out_of_memory(bytes, device);
    mosaic_storage *s = malloc(sizeof *s);
    void *data = s ? device->allocate(device, bytes) : NULL;
    if (!data) {
        free(s);
        unbook(open_account, bytes);
        return out_of_memory(bytes, device);
    }
    *s = (mosaic_storage){data, bytes, device, 1, 0, open_account};
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
    if (!s || __atomic_sub_fetch(&s->references, 1, __ATOMIC_ACQ_REL)) return;
    s->device->release(s->device, s->data, s->bytes);
    unbook(s->account, s->bytes);
    free(s);
}
