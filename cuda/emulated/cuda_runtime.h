/* cuda_runtime.h - stands in for CUDA's runtime where there is no GPU: device memory is host
 * memory, and kernels run here, threads as fibers (see fiber.c), so that a debugger and
 * AddressSanitizer see them.
 *
 * What is enqueued on a stream does not run before somebody waits for it, and then as late as the
 * events allow: work that forgot to wait for another stream's reads what is not there yet. Only
 * what Mosaic uses is here, with the behaviour that CUDA's manual promises.
 *
 *   MOSAIC_EMULATED_DEVICES=2       so many devices (1)
 *   MOSAIC_EMULATED_MEMORY=1000000  bytes that each of them has (1 GiB)
 *   MOSAIC_EMULATED_DRIVER=none     or old, or empty (no device): what a bad machine says
 *   MOSAIC_EMULATED_LOST=7          the device is lost at its 7th kernel
 *   MOSAIC_EMULATED_IPC=none        memory cannot be offered to other processes
 *   MOSAIC_EMULATED_IPC=closed      or it can, but they cannot open it
 *   MOSAIC_EMULATED_CAPABILITY=90   what the device says it is, and can do (80)
 *   MOSAIC_EMULATED_COMPILER=none   the run-time compiler does not know that
 *   MOSAIC_EMULATED_ORDER=reversed  warps and lanes take turns from the last to the first, and of
 * the tiles under way the latest lands first */
#ifndef MOSAIC_EMULATED_CUDA_RUNTIME_H
#define MOSAIC_EMULATED_CUDA_RUNTIME_H
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MOSAIC_EMULATED 1
#define CUDART_VERSION 13000

#ifdef __cplusplus
extern "C" {
#endif

/* ---- host API ------------------------------------------------------------------------------- */
#pragma GCC visibility push(default) /* stand-ins for other libraries use it */

typedef enum {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorInvalidResourceHandle = 400,
    cudaErrorSymbolNotFound = 500,
    cudaErrorNotReady = 600,
    cudaErrorIllegalAddress = 700,
    cudaErrorPeerAccessAlreadyEnabled = 704,
    cudaErrorNotSupported = 801,
} cudaError_t;

const char *cudaGetErrorString(cudaError_t error);
const char *cudaGetErrorName(cudaError_t error);
cudaError_t cudaGetLastError(void);

enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};

struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
};

cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device);
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device);
cudaError_t cudaDeviceGetPCIBusId(char *id, int room, int device);
cudaError_t cudaDeviceSynchronize(void);
cudaError_t cudaMemGetInfo(size_t *available, size_t *total);

typedef struct CUstream_st *cudaStream_t;
typedef struct CUevent_st *cudaEvent_t;
typedef struct CUmemPoolHandle_st *cudaMemPool_t;
enum {
    cudaStreamNonBlocking = 1,
    cudaEventDefault = 0,
    cudaEventDisableTiming = 2,
    cudaEventInterprocess = 4
};
enum { cudaHostAllocDefault = 0, cudaHostAllocPortable = 1 };
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold = 4 };
enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault,
};

cudaError_t cudaMalloc(void **data, size_t bytes);
cudaError_t cudaFree(void *data);
cudaError_t cudaMallocAsync(void **data, size_t bytes, cudaStream_t stream);
cudaError_t cudaFreeAsync(void *data, cudaStream_t stream);
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int device);
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, enum cudaMemPoolAttr attribute,
                                    void *value);
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t keep);
cudaError_t cudaHostAlloc(void **data, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *data);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream);

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority);
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to);

typedef struct {
    char reserved[64];
} cudaIpcMemHandle_t;
typedef struct {
    char reserved[64];
} cudaIpcEventHandle_t;
enum { cudaIpcMemLazyEnablePeerAccess = 1 };

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t *handle, void *data);
cudaError_t cudaIpcOpenMemHandle(void **data, cudaIpcMemHandle_t handle, unsigned flags);
cudaError_t cudaIpcCloseMemHandle(void *data);
cudaError_t cudaIpcGetEventHandle(cudaIpcEventHandle_t *handle, cudaEvent_t event);
cudaError_t cudaIpcOpenEventHandle(cudaEvent_t *event, cudaIpcEventHandle_t handle);

/* ---- what stand-ins for other libraries build upon ------------------------------------------ */

/* Runs run(context) when its turn comes on the stream; context is freed after it. */
cudaError_t mosaic_emulated_enqueue(cudaStream_t stream, void (*run)(void *context), void *context);
/* Runs it again and again, whenever somebody asks, until it says true. */
cudaError_t mosaic_emulated_enqueue_until(cudaStream_t stream, bool (*run)(void *context),
                                          void *context);
/* What threads of a library do while the caller's waits in the runtime; NULL: nothing. */
extern void (*mosaic_emulated_meanwhile)(void);
#pragma GCC visibility pop

/* Asked before every kernel: is the device still there? */
bool mosaic_emulated_survives(void);

/* ---- inside kernels ------------------------------------------------------------------------- */

#pragma GCC visibility push(default) /* for kernels that are compiled later */

typedef struct {
    unsigned x, y, z;
} mosaic_emulated_index;

/* Runs the body for every thread of the block, then for the next block. Called by launch.h. */
void mosaic_emulated_blocks(mosaic_emulated_index grid, mosaic_emulated_index block,
                            size_t shared_bytes, void (*body)(void *context), void *context);
extern mosaic_emulated_index mosaic_emulated_thread, mosaic_emulated_block;
extern mosaic_emulated_index mosaic_emulated_block_size, mosaic_emulated_grid;
unsigned char *mosaic_emulated_shared(void); /* the block's dynamic shared memory */
void mosaic_emulated_barrier(void);          /* of the threads of the block that have not ended */
int mosaic_emulated_lane(void);
int mosaic_emulated_number(void);                /* of the thread in its block */
void mosaic_emulated_complain(const char *what); /* says where, and ends the program */
/* Every lane of the warp gives `bytes` bytes (at most 256); when the last has come, `combine` turns
 * all of them into the results, lane by lane 256 bytes apart, and each lane takes its own. */
typedef void (*mosaic_emulated_combine)(unsigned char (*lanes)[256], void *context);
void mosaic_emulated_collective(void *own, size_t bytes, mosaic_emulated_combine combine,
                                void *context);

/* Asynchronous copies of `bytes` bytes and zeros up to `whole`, in groups (cp.async). */
void mosaic_emulated_copy(void *to, const void *from, int bytes, int whole);
void mosaic_emulated_commit(void);
void mosaic_emulated_wait(int groups);                  /* for all groups but the latest so many */
void mosaic_emulated_no_copies(void);                   /* must be under way */
void mosaic_emulated_aligned(const void *p, int bytes); /* must p be */

/* Until something holds that other threads, or tiles, bring about; describe says what is missing.
 */
typedef struct {
    bool (*holds)(void *context);
    void (*describe)(char *text, size_t room, void *context);
} mosaic_emulated_condition;
void mosaic_emulated_until(const mosaic_emulated_condition *until, void *context);
size_t mosaic_emulated_shared_bytes(void);
int mosaic_emulated_threads(void); /* of the block */

/* What fiber.c asks of tiles.c and warpgroup.c. */
bool mosaic_emulated_land(bool latest); /* one tile lands; false: nobody waits for any */
bool mosaic_emulated_end_product(void); /* one that is waited for; false: there is none */
void mosaic_emulated_no_tiles(void);    /* must be under way */
void mosaic_emulated_open_warpgroups(int threads);
void mosaic_emulated_no_products(void); /* of this thread must be under way */

#pragma GCC visibility pop

#ifdef __cplusplus
}
#include "kernel.h"
#endif
#endif
