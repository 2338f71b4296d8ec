/* device.h - what a device must offer: memory, and one kernel per family of operations.
 *
 * core/op checks shapes and dtypes, allocates outputs, and calls these with operands that fit:
 * outputs exist, broadcast axes have stride 0, axes are in range, empty results never arrive here.
 * A NULL slot means "not supported here" and becomes an error with the operation's and the
 * device's names (MOSAIC_DEVICE_OP). Adding a device is a file that fills this table. */
#ifndef MOSAIC_DEVICE_H
#define MOSAIC_DEVICE_H
#include "plugin.h"
#include "trace.h"

/* One elementwise call. `compute` (f32, f64 or i64) is the type that the arithmetic happens in: the
 * operands are converted to it, the result from it. */
typedef enum { MOSAIC_UNARY, MOSAIC_BINARY, MOSAIC_TERNARY } mosaic_elementwise_family;

typedef struct {
    mosaic_elementwise_family family;
    int op; /* of that family */
    mosaic_dtype compute;
    double alpha, beta, value;
    const mosaic_tensor *input[3]; /* in a binary call NULL stands for the number `value` */
} mosaic_elementwise;
/* What attention works on: borrowed views with two batch axes each (of size 1 where the caller had
 * none): q, out, dout, dq (b0, b1, heads, nq, d), k, v, dk, dv (b0, b1, kv_heads, nk, d), lse,
 * delta (b0, b1, heads, nq). In the options, documents are expanded to (b0, b1, n), keep, bias and
 * dbias to (b0, b1, heads, nq, nk) with stride 0 where they repeat. Nothing is empty but nk
 * forward. Gradients are assigned, or added to when `accumulate`; dbias is always added to. */
typedef struct {
    mosaic_tensor q, k, v, out, lse;
    mosaic_tensor dout, delta, dq, dk, dv, dbias; /* backward; dbias may have no storage */
    mosaic_attention_options options;
    bool accumulate;
    int account; /* that the work counts on */
} mosaic_attention_call;

/* Two partial results and their union; backward also the gradients. dlse may have no storage. */
typedef struct {
    mosaic_tensor out, lse, out1, lse1, out2, lse2;
    mosaic_tensor dout, dlse, dout1, dlse1, dout2, dlse2;
} mosaic_attention_parts;

typedef struct {
    mosaic_random_kind kind;
    double low, high;
    double most; /* uniform: the largest number of the dtype below high */
    uint64_t seed, stream;
    int64_t first, stride[8];
} mosaic_random_call;

typedef struct mosaic_mark mosaic_mark;

typedef struct mosaic_device {
    const char *name;            /* "cpu", or the family and a number: "gpu:0" */
    mosaic_memory_stats *memory; /* its account; `cached` and `available` tell their bytes */

    /* Memory. allocate returns NULL when there is none. Host copies wait for the device. */
    void *(*allocate)(const struct mosaic_device *self, int64_t bytes);
    void (*release)(const struct mosaic_device *self, void *data, int64_t bytes);
    int64_t (*cached)(const struct mosaic_device *self);    /* bytes kept for later allocations */
    void (*trim)(const struct mosaic_device *self);         /* gives them back */
    int64_t (*total)(const struct mosaic_device *self);     /* bytes of memory that it has */
    int64_t (*available)(const struct mosaic_device *self); /* of these, used by nobody */
    /* Waits until all operations are done, and what they follow; not for other lanes. Where the
     * device failed meanwhile, says so. */
    mosaic_status (*synchronize)(const struct mosaic_device *self);
    mosaic_status (*to_host)(const struct mosaic_device *self, void *host, const void *data,
                             int64_t bytes);
    mosaic_status (*from_host)(const struct mosaic_device *self, void *data, const void *host,
                               int64_t bytes);

    /* Copies within the device or, on a lane of its own, between it and pinned memory. */
    mosaic_status (*move)(const struct mosaic_device *self, mosaic_lane *lane, void *to,
                          const void *from, int64_t bytes);

    /* Where it sits in its machine: equal for two processes that share it. */
    const char *address;
    /* Ways of its own for tensors between processes, best first, up to NULL: core/comm/payload.h.
     * poll is called now and then while there may be some, and fails once one has. NULL: none. */
    const struct mosaic_carrier *const *carriers;
    mosaic_status (*poll)(const struct mosaic_device *self);

    /* Lanes: work beside the operations, which are a lane themselves, NULL. A lane does what it is
     * asked in that order; it waits for another one only where it follows a mark there, a point of
     * that lane: all that was asked of it so far. Lanes last as long as the process. NULL slots:
     * there is nothing beside the operations. */
    mosaic_status (*lane_new)(const struct mosaic_device *self, mosaic_lane **lane);
    mosaic_status (*mark)(const struct mosaic_device *self, mosaic_lane *lane, mosaic_mark **mark);
    mosaic_status (*follow)(const struct mosaic_device *self, mosaic_lane *lane,
                            const mosaic_mark *mark); /* which may then be forgotten */
    mosaic_status (*passed)(const struct mosaic_device *self, const mosaic_mark *mark,
                            bool *passed);
    void (*forget)(const struct mosaic_device *self, mosaic_mark *mark);
    /* Operations from here on are work of the lane. They must not allocate: memory goes from one
     * use to the next in the order of lane NULL. */
    void (*work_on)(const struct mosaic_device *self, mosaic_lane *lane);
    /* When a lane has done what it was asked so far, in seconds of mosaic_trace_clock: `moment`
     * waits for that (NaN: the device has failed), and takes the stamp back. NULL slots: operations
     * are done when they return. */
    mosaic_stamp *(*stamp)(const struct mosaic_device *self, mosaic_lane *lane); /* may be NULL */
    double (*moment)(const struct mosaic_device *self, mosaic_stamp *stamp);
    /* Host memory that the device can read and write at leisure; NULL where there is none. Giving
     * it back may wait for the device; false: not now, that might be for ever. */
    void *(*pin)(const struct mosaic_device *self, int64_t bytes);
    bool (*unpin)(const struct mosaic_device *self, void *data);

    /* Elementwise. out and a have the same sizes (a is expanded). */
    mosaic_status (*copy)(const mosaic_tensor *out, const mosaic_tensor *a);
    mosaic_status (*fill)(const mosaic_tensor *out, double value);
    mosaic_status (*elementwise)(const mosaic_tensor *out, const mosaic_elementwise *call);

    /* Reductions. out has a's ndim, with size 1 in the reduced axes; a is not empty. */
    mosaic_status (*reduce)(const mosaic_tensor *out, const mosaic_tensor *a, mosaic_reduce_op op,
                            double correction);
    /* rows (n, count), out (count), contiguous: row 0 op row 1 op ..., in that order, so that
     * results do not depend on how a tensor was cut. Halves are rounded once, at the end. */
    mosaic_status (*reduce_rows)(const mosaic_tensor *out, const mosaic_tensor *rows,
                                 mosaic_comm_reduction op);
    mosaic_status (*arg_reduce)(const mosaic_tensor *values, const mosaic_tensor *indices,
                                const mosaic_tensor *a, bool largest, int axis);

    /* Element j of out is element number first + sum of j[axis] * stride[axis] of the stream. */
    mosaic_status (*random)(const mosaic_tensor *out, const mosaic_random_call *call);

    /* Attention. */
    mosaic_status (*attention)(const mosaic_attention_call *call);
    mosaic_status (*attention_backward)(const mosaic_attention_call *call);
    /* Adds an account's work, forward and backward, to work[0], work[1]; makes it 0. */
    mosaic_status (*attention_work)(const struct mosaic_device *self, mosaic_attention_work *work,
                                    int account);
    mosaic_status (*attention_work_reset)(const struct mosaic_device *self, int account);
    mosaic_status (*attention_delta)(const mosaic_tensor *delta, const mosaic_tensor *dout,
                                     const mosaic_tensor *out, const mosaic_tensor *dlse);
    mosaic_status (*attention_merge)(const mosaic_attention_parts *parts);
    mosaic_status (*attention_merge_backward)(const mosaic_attention_parts *parts);

    /* out (..., m, n) = a (..., m, k) b (..., k, n) + bias (n), or NULL: one dtype, the same
     * leading sizes (expanded); k may be 0. */
    mosaic_status (*matmul)(const mosaic_tensor *out, const mosaic_tensor *a,
                            const mosaic_tensor *b, const mosaic_tensor *bias);
    /* out = add (the same sizes as out) + a b. NULL: a product and then a sum are as good. */
    mosaic_status (*matmul_add)(const mosaic_tensor *out, const mosaic_tensor *a,
                                const mosaic_tensor *b, const mosaic_tensor *add);
    /* out = GELU of product = a b + bias. *done: false where it has not been done, since a product
     * and then a GELU are as good. NULL: always so. */
    mosaic_status (*matmul_gelu)(const mosaic_tensor *out, const mosaic_tensor *product,
                                 const mosaic_tensor *a, const mosaic_tensor *b,
                                 const mosaic_tensor *bias, mosaic_unary_op gelu, bool *done);
    /* out = a b times the derivative (an operation of out and factor, both of out's sizes) at
     * factor. NULL: a product and then that are as good. */
    mosaic_status (*matmul_times)(const mosaic_tensor *out, const mosaic_tensor *a,
                                  const mosaic_tensor *b, const mosaic_tensor *factor,
                                  mosaic_binary_op derivative);
    /* out (m, n) = a (m, k) b (k, n) and sums (m), those of a's rows; floats. NULL: a product and a
     * sum are as good. */
    mosaic_status (*matmul_sums)(const mosaic_tensor *out, const mosaic_tensor *sums,
                                 const mosaic_tensor *a, const mosaic_tensor *b);

    /* Rows of the last axis. stats is contiguous: the mean (0 unless centered) and 1/deviation of
     * each row. weight, bias, dx, dweight, dbias may be NULL. */
    mosaic_status (*normalize)(const mosaic_tensor *out, const mosaic_tensor *stats,
                               const mosaic_tensor *x, const mosaic_tensor *weight,
                               const mosaic_tensor *bias, double eps, bool centered);
    /* The same of sum = x + y, all with the same sizes. NULL: a sum and then normalize. */
    mosaic_status (*add_normalize)(const mosaic_tensor *out, const mosaic_tensor *sum,
                                   const mosaic_tensor *stats, const mosaic_tensor *x,
                                   const mosaic_tensor *y, const mosaic_tensor *weight,
                                   const mosaic_tensor *bias, double eps, bool centered);
    mosaic_status (*normalize_backward)(const mosaic_tensor *dx, const mosaic_tensor *dweight,
                                        const mosaic_tensor *dbias, const mosaic_tensor *g,
                                        const mosaic_tensor *x, const mosaic_tensor *weight,
                                        const mosaic_tensor *stats, bool centered);

    /* Along one axis; y is the result of the forward pass. */
    mosaic_status (*softmax)(const mosaic_tensor *out, const mosaic_tensor *a, int axis, bool log);
    mosaic_status (*softmax_backward)(const mosaic_tensor *dx, const mosaic_tensor *g,
                                      const mosaic_tensor *y, int axis, bool log);

    /* logits (..., k), targets (...), stats (..., 2) contiguous: what backward wants to know of
     * each row. loss and g: (...) without reduction, else a scalar. */
    mosaic_status (*cross_entropy)(const mosaic_tensor *loss, const mosaic_tensor *stats,
                                   const mosaic_tensor *logits, const mosaic_tensor *targets,
                                   mosaic_reduction reduction, int64_t ignore);
    mosaic_status (*cross_entropy_backward)(const mosaic_tensor *dlogits, const mosaic_tensor *g,
                                            const mosaic_tensor *logits,
                                            const mosaic_tensor *targets,
                                            const mosaic_tensor *stats, mosaic_reduction reduction,
                                            int64_t ignore);

    /* *done: false where it has not been done, since operations on elements are as good. NULL:
     * always so. */
    mosaic_status (*schedule_free)(const mosaic_tensor *y, const mosaic_tensor *z,
                                   const mosaic_tensor *square, const mosaic_tensor *g,
                                   const mosaic_schedule_free_options *options, bool *done);

    /* payload (..., d + 4) of u8, x and out (..., d). Fails naming the first row that does not fit.
     */
    mosaic_status (*quantize)(const mosaic_tensor *payload, const mosaic_tensor *x,
                              mosaic_row_format format);
    mosaic_status (*dequantize)(const mosaic_tensor *out, const mosaic_tensor *payload,
                                mosaic_row_format format);

    /* Fails naming `what` and its position where an index is neither in 1..limit nor `ignore`. */
    mosaic_status (*check_index)(const char *op, const char *what, const mosaic_tensor *index,
                                 int64_t limit, int64_t ignore);
    /* All operands of the same sizes. out[i] = the element (index[i] - 1) * step after base[i]. */
    mosaic_status (*gather)(const mosaic_tensor *out, const mosaic_tensor *base, int64_t step,
                            const mosaic_tensor *index);
    /* That element = source[i], or += source[i] (never bf16 or f16), in row-major order. */
    mosaic_status (*scatter)(const mosaic_tensor *base, int64_t step, const mosaic_tensor *index,
                             const mosaic_tensor *source, bool add);

    /* The first elements along axis (as many as values and indices have) in stable order, NaN last,
     * with their 1-based places. */
    mosaic_status (*sort)(const mosaic_tensor *values, const mosaic_tensor *indices,
                          const mosaic_tensor *a, int axis, bool descending);
    mosaic_status (*cumsum)(const mosaic_tensor *out, const mosaic_tensor *a, int axis,
                            bool backwards);
} mosaic_device;

extern const mosaic_device mosaic_cpu_device;

/* The device called name: "cpu" (also NULL, ""), or "family" or "family:number", which plug-in
 * libmosaic_family.so has, opened on first use. Without a number it is this process's own: its
 * local rank modulo the devices that there are. */
mosaic_status mosaic_device_find(const mosaic_device **device, const char *name);
/* The i-th of the devices found so far, the CPU first; NULL: there is none. */
const mosaic_device *mosaic_device_at(int i);

/* A plug-in's mosaic_device_plugin. All fail with the reason where there is no device. */
typedef struct {
    int64_t layout; /* MOSAIC_PLUGIN_LAYOUT */
    mosaic_status (*count)(int *count, const mosaic_core *core);
    /* Of a device that need not be open. */
    mosaic_status (*describe)(mosaic_device_info *info, int number, const mosaic_core *core);
    /* number < 0: the one for this local rank. The same device is always the same pointer. */
    mosaic_status (*open)(const mosaic_device **device, int number, int local_rank,
                          const mosaic_core *core);
} mosaic_device_family;

/* The tensor that tells most of a call: its first argument, or what that begins with. */
/* clang-format off */
#define MOSAIC_SUBJECT(x, ...)                                    \
    _Generic((x),                                                 \
        mosaic_tensor *: (const mosaic_tensor *)(x),              \
        const mosaic_tensor *: (const mosaic_tensor *)(x),        \
        mosaic_attention_call *: (const mosaic_tensor *)(x),      \
        mosaic_attention_parts *: (const mosaic_tensor *)(x),     \
        default: NULL)
/* clang-format on */

/* Calls device->op(...) or fails naming the operation. The only way of operations to a device:
 * what wants to know of them listens here (trace.h), where `title` may say more than op. */
#define MOSAIC_DEVICE_CALL_NAMED(title, device, op, ...)                                           \
    do {                                                                                           \
        if (!(device)->op)                                                                         \
            return mosaic_fail(MOSAIC_ENOTSUP, #op ": not supported on device %s",                 \
                               (device)->name);                                                    \
        mosaic_span span_ = mosaic_operation_begin(device, title, MOSAIC_SUBJECT(__VA_ARGS__, 0)); \
        mosaic_status status_ = (device)->op(__VA_ARGS__);                                         \
        mosaic_span_end(span_);                                                                    \
        if (status_) return status_;                                                               \
    } while (0)

#define MOSAIC_DEVICE_CALL(device, op, ...) MOSAIC_DEVICE_CALL_NAMED(#op, device, op, __VA_ARGS__)

/* Copies between host and device that the host waits for. */
mosaic_status mosaic_device_to_host(const mosaic_device *device, void *host, const void *data,
                                    int64_t bytes);
mosaic_status mosaic_device_from_host(const mosaic_device *device, void *data, const void *host,
                                      int64_t bytes);

#endif
