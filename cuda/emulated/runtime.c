/* runtime.c - devices and memory without a GPU. See cuda_runtime.h. */
#include <stdio.h>
#include <stdlib.h>

#include "inside.h"

/* ---- errors --------------------------------------------------------------------------------- */

static cudaError_t last;
bool mosaic_emulated_lost;

cudaError_t mosaic_emulated_say(cudaError_t error)
{
    if (error != cudaSuccess && error != cudaErrorNotReady) last = error;
    return error;
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = last;
    last = lost ? cudaErrorIllegalAddress : cudaSuccess;
    return error;
}

static const struct {
    cudaError_t error;
    const char *name, *text;
} errors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress",
     "an illegal memory access was encountered"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
};
enum { ERRORS = sizeof errors / sizeof *errors };

const char *cudaGetErrorString(cudaError_t error)
{
    for (int i = 0; i < ERRORS; i++)
        if (errors[i].error == error) return errors[i].text;
    return "unrecognized error code";
}

const char *cudaGetErrorName(cudaError_t error)
{
    for (int i = 0; i < ERRORS; i++)
        if (errors[i].error == error) return errors[i].name;
    return "unrecognized error code";
}

/* ---- devices -------------------------------------------------------------------------------- */

int64_t mosaic_emulated_setting(const char *name, int64_t fallback)
{
    const char *text = getenv(name);
    return text && *text ? atoll(text) : fallback;
}

/* Is the driver what the setting says? */
static bool driver_is(const char *word)
{
    const char *text = getenv("MOSAIC_EMULATED_DRIVER");
    return text && !strcmp(text, word);
}

static int device_count(void) { return (int)mosaic_emulated_setting("MOSAIC_EMULATED_DEVICES", 1); }

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = driver_is("none") ? 0 : driver_is("old") ? 10020 : CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

/* CUDA ends with the process, at the place where it was first used. */
static void end_device(void) { lost = true; }

cudaError_t cudaGetDeviceCount(int *count)
{
    static bool used;
    if (!used) used = !atexit(end_device);
    if (driver_is("none") || driver_is("old")) return say(cudaErrorInsufficientDriver);
    if (driver_is("empty")) return say(cudaErrorNoDevice);
    *count = device_count();
    return cudaSuccess;
}

enum { DEVICES = 16 };
static _Thread_local int device;
static size_t in_use[DEVICES];

cudaError_t cudaGetDevice(int *number)
{
    *number = device;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int number)
{
    if (number < 0 || number >= device_count()) return say(cudaErrorInvalidDevice);
    device = number;
    return cudaSuccess;
}

/* Of shared memory for a block, by compute capability. */
static int shared_kilobytes(int capability)
{
    bool small = capability == 86 || capability == 89 || capability >= 120;
    return small ? 99 : capability < 90 ? 163 : 227;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int number)
{
    int capability = (int)mosaic_emulated_setting("MOSAIC_EMULATED_CAPABILITY", 80);
    (void)number;
    switch (attribute) {
    case cudaDevAttrMultiProcessorCount: *value = 4; break;
    case cudaDevAttrComputeCapabilityMajor: *value = capability / 10; break;
    case cudaDevAttrComputeCapabilityMinor: *value = capability % 10; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = shared_kilobytes(capability) << 10;
        break;
    }
    return cudaSuccess;
}

static size_t memory_size(void)
{
    return (size_t)mosaic_emulated_setting("MOSAIC_EMULATED_MEMORY", 1 << 30);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int number)
{
    if (number < 0 || number >= device_count()) return say(cudaErrorInvalidDevice);
    memset(properties, 0, sizeof *properties);
    snprintf(properties->name, sizeof properties->name, "emulated device");
    properties->totalGlobalMem = memory_size();
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *id, int room, int number)
{
    snprintf(id, (size_t)room, "0000:%02x:00.0", number);
    return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = *greatest = 0;
    return cudaSuccess;
}

/* ---- memory --------------------------------------------------------------------------------- */

typedef struct {
    size_t bytes;
    int device;
    bool shared;
    char padding[256 - sizeof(size_t) - 2 * sizeof(int)];
} heading; /* before the data, which are aligned as CUDA's are */

cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    *total = memory_size();
    *available = *total - in_use[device];
    return cudaSuccess;
}

/* Is there room? What is on its way to be freed is waited for. */
static bool fits(size_t bytes)
{
    if (bytes > memory_size() - in_use[device]) cudaDeviceSynchronize();
    return bytes <= memory_size() - in_use[device];
}

static void *take(heading *h, size_t bytes, bool shared)
{
    *h = (heading){.bytes = bytes, .device = device, .shared = shared};
    in_use[device] += bytes;
    memset(h + 1, 0xff, bytes); /* NaN, for who reads what nobody wrote */
    return h + 1;
}

cudaError_t cudaMallocAsync(void **data, size_t bytes, cudaStream_t stream)
{
    (void)stream;
    heading *h = NULL;
    if (lost) return say(cudaErrorIllegalAddress);
    if (!fits(bytes) || posix_memalign((void **)&h, 256, sizeof *h + bytes))
        return say(cudaErrorMemoryAllocation);
    *data = take(h, bytes, false);
    return cudaSuccess;
}

/* Other processes may come to share it: see ipc.c. */
cudaError_t cudaMalloc(void **data, size_t bytes)
{
    if (lost) return say(cudaErrorIllegalAddress);
    heading *h = fits(bytes) ? mosaic_emulated_share(sizeof *h + bytes) : NULL;
    if (!h) return say(cudaErrorMemoryAllocation);
    *data = take(h, bytes, true);
    return cudaSuccess;
}

static void free_block(void *data)
{
    heading *h = (heading *)data - 1;
    in_use[h->device] -= h->bytes;
    if (h->shared)
        mosaic_emulated_unshare(h);
    else
        free(h);
}

cudaError_t cudaFree(void *data)
{
    if (!data) return cudaSuccess;
    cudaError_t error = cudaDeviceSynchronize();
    free_block(data);
    return error;
}

static void free_later(void *context) { free_block(*(void **)context); }

cudaError_t cudaFreeAsync(void *data, cudaStream_t stream)
{
    void **own = malloc(sizeof *own);
    if (!own) return say(cudaErrorMemoryAllocation);
    *own = data;
    return mosaic_emulated_enqueue(stream, free_later, own);
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int number)
{
    (void)number;
    *pool = NULL;
    return cudaSuccess;
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, enum cudaMemPoolAttr attribute, void *value)
{
    (void)pool, (void)attribute, (void)value;
    return cudaSuccess;
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t keep)
{
    (void)pool, (void)keep;
    return cudaSuccess;
}

/* Its bytes are noted before it. MOSAIC_EMULATED_PINNED=report: tells how many there were. */
enum { NOTE = 64 };
static int64_t pinned, pinned_most;

static void report_pinned(void)
{
    fprintf(stderr, "emulated CUDA: %lld bytes were pinned, at most %lld\n", (long long)pinned,
            (long long)pinned_most);
}

cudaError_t cudaHostAlloc(void **data, size_t bytes, unsigned flags)
{
    (void)flags;
    char *block = malloc(NOTE + bytes);
    if (!block) return say(cudaErrorMemoryAllocation);
    if (!pinned_most && getenv("MOSAIC_EMULATED_PINNED")) atexit(report_pinned);
    *(int64_t *)block = (int64_t)bytes;
    pinned += (int64_t)bytes;
    if (pinned > pinned_most) pinned_most = pinned;
    *data = block + NOTE;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *data)
{
    char *block = (char *)data - NOTE;
    cudaError_t error = cudaDeviceSynchronize();
    pinned -= *(int64_t *)block;
    free(block);
    return error;
}

bool mosaic_emulated_survives(void)
{
    static int64_t kernels;
    int64_t fatal = mosaic_emulated_setting("MOSAIC_EMULATED_LOST", 0);
    if (fatal && ++kernels >= fatal) lost = true;
    return !lost;
}
