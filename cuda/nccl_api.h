/* nccl_api.h - the part of NCCL that is used, as its library has had it since 2.18. The library is
 * opened when it is needed (see nccl.c), so building asks for no header of it. */
#ifndef MOSAIC_NCCL_API_H
#define MOSAIC_NCCL_API_H
#include <cuda_runtime.h>
#include <limits.h>
#include <stddef.h>

typedef struct ncclComm *mosaic_nccl_comm;

typedef struct {
    char bytes[128];
} mosaic_nccl_id;

enum { NCCL_SUCCESS = 0, NCCL_INVALID_USAGE = 5, NCCL_REMOTE_ERROR = 6, NCCL_IN_PROGRESS = 7 };
enum { NCCL_BYTES = 1 }; /* the element type */

/* Newer libraries know more fields, and see by `size` and `version` that they are not set. */
typedef struct {
    size_t size;
    unsigned magic, version;
    int blocking, cluster_size, min_blocks, max_blocks;
    const char *net;
    int split_share, unset; /* padding, which is a field of newer ones */
} mosaic_nccl_config;

#define MOSAIC_NCCL_CONFIG                                                                         \
    {                                                                                              \
        .size = sizeof(mosaic_nccl_config), .magic = 0xcafebeef, .version = 21800, .blocking = 0,  \
        .cluster_size = INT_MIN, .min_blocks = INT_MIN, .max_blocks = INT_MIN,                     \
        .split_share = INT_MIN, .unset = INT_MIN                                                   \
    }

/* F(result, name, parameters): the functions. */
#define MOSAIC_NCCL_FUNCTIONS(F)                                                                   \
    F(int, ncclGetVersion, (int *version))                                                         \
    F(const char *, ncclGetErrorString, (int result))                                              \
    F(const char *, ncclGetLastError, (mosaic_nccl_comm comm))                                     \
    F(int, ncclGetUniqueId, (mosaic_nccl_id * id))                                                 \
    F(int, ncclCommInitRankConfig,                                                                 \
      (mosaic_nccl_comm * comm, int ranks, mosaic_nccl_id id, int rank,                            \
       mosaic_nccl_config *config))                                                                \
    F(int, ncclCommGetAsyncError, (mosaic_nccl_comm comm, int *result))                            \
    F(int, ncclCommFinalize, (mosaic_nccl_comm comm))                                              \
    F(int, ncclCommDestroy, (mosaic_nccl_comm comm))                                               \
    F(int, ncclCommAbort, (mosaic_nccl_comm comm))                                                 \
    F(int, ncclGroupStart, (void))                                                                 \
    F(int, ncclGroupEnd, (void))                                                                   \
    F(int, ncclSend,                                                                               \
      (const void *from, size_t count, int type, int peer, mosaic_nccl_comm comm,                  \
       cudaStream_t stream))                                                                       \
    F(int, ncclRecv,                                                                               \
      (void *to, size_t count, int type, int peer, mosaic_nccl_comm comm, cudaStream_t stream))    \
    F(int, ncclAllGather,                                                                          \
      (const void *from, void *to, size_t count, int type, mosaic_nccl_comm comm,                  \
       cudaStream_t stream))

#endif
