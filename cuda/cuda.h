/* cuda.h - the inside of the plug-in libmosaic_cuda.so: a device of the core, by CUDA's runtime.
 *
 *   device.c      opening: which devices are there, and why not
 *   nccl.c, nccl_carrier.c, ipc.c, flight.c   tensors between processes
 *   lanes.c       streams beside the operations', and events
 *   stamps.c      when what was done, for tracing
 *   memory.c      blocks from a stream-ordered pool, kept in lists by size; copies from and to host
 *   walk, fold    strided operands, element by element or folded along axes
 *   *.cu          the operations of core/device.h, one family a file
 *   attention/    attention, by several paths; some of their kernels are compiled at run time
 *   gpu/          what only nvcc compiles: starting kernels, tensor-core instructions
 *   emulated/     the same headers, and a CUDA runtime, for a machine without a GPU
 *
 * Everything is enqueued on the device's compute stream and returns at once, so whatever a later
 * operation allocates may be memory that an earlier one still uses: it waits its turn. Other
 * streams are tied to it by events. Kernels fail by an error of the device, which the next call
 * finds; what depends on values (an index out of range) waits for the answer. */
#ifndef MOSAIC_CUDA_H
#define MOSAIC_CUDA_H
#include <cuda_runtime.h>

#include "inline.h"
#ifdef __cplusplus
extern "C" {
#endif
#include "../core/tensor.h"

enum { MOSAIC_CUDA_DEVICES = 16, MOSAIC_ADDRESS = 32 };

typedef struct {
    mosaic_device base; /* what the core sees */
    int index;
    char name[24];                /* "cuda:0" */
    char address[MOSAIC_ADDRESS]; /* on the bus: "0000:1b:00.0" */
    char model[256];              /* "NVIDIA H100 80GB HBM3" */
    char details[128];            /* capability and driver, for people */
    cudaStream_t compute;         /* all operations */
    cudaStream_t main;            /* the same, but while they are work of another lane */
    int multiprocessors;
    int capability;       /* 90: compute capability 9.0 */
    int64_t shared_limit; /* bytes of shared memory that a block can have */
    int64_t total;        /* bytes of memory */
    mosaic_memory_stats memory;
    unsigned long long *work; /* of attention, on the device: (account, direction, 2) */
    bool usable;
} mosaic_cuda;

extern const mosaic_core *mosaic_cuda_core;

static inline const mosaic_cuda *mosaic_cuda_of(const mosaic_tensor *a)
{
    return (const mosaic_cuda *)a->storage->device;
}

extern const struct mosaic_carrier mosaic_nccl_carrier, mosaic_ipc_carrier;
mosaic_status mosaic_cuda_poll(const mosaic_device *self);
/* Waits for an event, but not for ever where it depends on other processes. */
mosaic_status mosaic_cuda_wait(const mosaic_cuda *device, const char *what, cudaEvent_t event);
/* Waits for exchanges under way: before calls in which the driver may wait for all that runs, while
 * partners may need this process. */
mosaic_status mosaic_cuda_wait_for_exchanges(void);

/* MOSAIC_OK, or fails with what CUDA says. */
mosaic_status mosaic_cuda_check(const mosaic_cuda *device, const char *what, cudaError_t error);
/* Makes the device the calling thread's. */
mosaic_status mosaic_cuda_enter(const mosaic_cuda *device);

#define MOSAIC_CUDA_TRY(device, what, call) MOSAIC_TRY(mosaic_cuda_check(device, what, call))

void *mosaic_cuda_allocate(const mosaic_device *self, int64_t bytes);
void mosaic_cuda_release(const mosaic_device *self, void *data, int64_t bytes);
int64_t mosaic_cuda_cached(const mosaic_device *self);
void mosaic_cuda_trim(const mosaic_device *self);
int64_t mosaic_cuda_total(const mosaic_device *self);
int64_t mosaic_cuda_available(const mosaic_device *self);
mosaic_status mosaic_cuda_synchronize(const mosaic_device *self);
mosaic_status mosaic_cuda_to_host(const mosaic_device *self, void *host, const void *data,
                                  int64_t bytes);
mosaic_status mosaic_cuda_from_host(const mosaic_device *self, void *data, const void *host,
                                    int64_t bytes);
mosaic_status mosaic_cuda_move(const mosaic_device *self, mosaic_lane *lane, void *to,
                               const void *from, int64_t bytes);
mosaic_status mosaic_cuda_lane_new(const mosaic_device *self, mosaic_lane **lane);
mosaic_status mosaic_cuda_mark(const mosaic_device *self, mosaic_lane *lane, mosaic_mark **mark);
mosaic_status mosaic_cuda_follow(const mosaic_device *self, mosaic_lane *lane,
                                 const mosaic_mark *mark);
mosaic_status mosaic_cuda_passed(const mosaic_device *self, const mosaic_mark *mark, bool *passed);
void mosaic_cuda_forget(const mosaic_device *self, mosaic_mark *mark);
mosaic_status mosaic_cuda_wait_for(const mosaic_cuda *device, const char *what,
                                   const mosaic_mark *mark);
void mosaic_cuda_work_on(const mosaic_device *self, mosaic_lane *lane);
mosaic_stamp *mosaic_cuda_stamp(const mosaic_device *self, mosaic_lane *lane);
double mosaic_cuda_moment(const mosaic_device *self, mosaic_stamp *stamp);
void *mosaic_cuda_pin(const mosaic_device *self, int64_t bytes);
bool mosaic_cuda_unpin(const mosaic_device *self, void *data);

/* A vector for the time of an operation: cleared after the last launch that uses it, which need not
 * have run by then. */
mosaic_status mosaic_cuda_scratch(mosaic_tensor *scratch, const mosaic_cuda *device,
                                  mosaic_dtype dtype, int64_t count);

mosaic_status mosaic_cuda_copy(const mosaic_tensor *out, const mosaic_tensor *a);
mosaic_status mosaic_cuda_fill(const mosaic_tensor *out, double value);
mosaic_status mosaic_cuda_elementwise(const mosaic_tensor *out, const mosaic_elementwise *call);
mosaic_status mosaic_cuda_reduce(const mosaic_tensor *out, const mosaic_tensor *a,
                                 mosaic_reduce_op op, double correction);
mosaic_status mosaic_cuda_reduce_rows(const mosaic_tensor *out, const mosaic_tensor *rows,
                                      mosaic_comm_reduction op);
mosaic_status mosaic_cuda_arg_reduce(const mosaic_tensor *values, const mosaic_tensor *indices,
                                     const mosaic_tensor *a, bool largest, int axis);
mosaic_status mosaic_cuda_random(const mosaic_tensor *out, const mosaic_random_call *call);
mosaic_status mosaic_cuda_quantize(const mosaic_tensor *payload, const mosaic_tensor *x,
                                   mosaic_row_format format);
mosaic_status mosaic_cuda_dequantize(const mosaic_tensor *out, const mosaic_tensor *payload,
                                     mosaic_row_format format);
mosaic_status mosaic_cuda_check_index(const char *op, const char *what, const mosaic_tensor *index,
                                      int64_t limit, int64_t ignore);
mosaic_status mosaic_cuda_gather(const mosaic_tensor *out, const mosaic_tensor *base, int64_t step,
                                 const mosaic_tensor *index);
mosaic_status mosaic_cuda_scatter(const mosaic_tensor *base, int64_t step,
                                  const mosaic_tensor *index, const mosaic_tensor *source,
                                  bool add);
mosaic_status mosaic_cuda_sort(const mosaic_tensor *values, const mosaic_tensor *indices,
                               const mosaic_tensor *a, int axis, bool descending);
mosaic_status mosaic_cuda_cumsum(const mosaic_tensor *out, const mosaic_tensor *a, int axis,
                                 bool backwards);

mosaic_status mosaic_cuda_attention(const mosaic_attention_call *call);
mosaic_status mosaic_cuda_attention_backward(const mosaic_attention_call *call);
mosaic_status mosaic_cuda_attention_work(const mosaic_device *self, mosaic_attention_work *work,
                                         int account);
mosaic_status mosaic_cuda_attention_work_reset(const mosaic_device *self, int account);
mosaic_status mosaic_cuda_attention_delta(const mosaic_tensor *delta, const mosaic_tensor *dout,
                                          const mosaic_tensor *out, const mosaic_tensor *dlse);
mosaic_status mosaic_cuda_attention_merge(const mosaic_attention_parts *parts);
mosaic_status mosaic_cuda_attention_merge_backward(const mosaic_attention_parts *parts);

mosaic_status mosaic_cuda_matmul(const mosaic_tensor *out, const mosaic_tensor *a,
                                 const mosaic_tensor *b, const mosaic_tensor *bias);
mosaic_status mosaic_cuda_matmul_gelu(const mosaic_tensor *out, const mosaic_tensor *product,
                                      const mosaic_tensor *a, const mosaic_tensor *b,
                                      const mosaic_tensor *bias, mosaic_unary_op gelu, bool *done);
/* Of integers. */
mosaic_status mosaic_cuda_matmul_whole(const mosaic_tensor *out, const mosaic_tensor *a,
                                       const mosaic_tensor *b, const mosaic_tensor *bias);

mosaic_status mosaic_cuda_normalize(const mosaic_tensor *out, const mosaic_tensor *stats,
                                    const mosaic_tensor *x, const mosaic_tensor *weight,
                                    const mosaic_tensor *bias, double eps, bool centered);
mosaic_status mosaic_cuda_normalize_backward(const mosaic_tensor *dx, const mosaic_tensor *dweight,
                                             const mosaic_tensor *dbias, const mosaic_tensor *g,
                                             const mosaic_tensor *x, const mosaic_tensor *weight,
                                             const mosaic_tensor *stats, bool centered);
mosaic_status mosaic_cuda_softmax(const mosaic_tensor *out, const mosaic_tensor *a, int axis,
                                  bool log);
mosaic_status mosaic_cuda_softmax_backward(const mosaic_tensor *dx, const mosaic_tensor *g,
                                           const mosaic_tensor *y, int axis, bool log);
mosaic_status mosaic_cuda_cross_entropy(const mosaic_tensor *loss, const mosaic_tensor *stats,
                                        const mosaic_tensor *logits, const mosaic_tensor *targets,
                                        mosaic_reduction reduction, int64_t ignore);
mosaic_status mosaic_cuda_cross_entropy_backward(const mosaic_tensor *dlogits,
                                                 const mosaic_tensor *g,
                                                 const mosaic_tensor *logits,
                                                 const mosaic_tensor *targets,
                                                 const mosaic_tensor *stats,
                                                 mosaic_reduction reduction, int64_t ignore);

#ifdef __cplusplus
}
#endif
#endif
