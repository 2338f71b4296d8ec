/* device.h - what a device must offer: memory, and one kernel per family of operations.
 *
 * core/op checks shapes and dtypes, allocates outputs, and calls these with operands that fit:
 * outputs exist, broadcast axes have stride 0, axes are in range, empty results never arrive here.
 * A NULL slot means "not supported here" and becomes an error with the operation's and the
 * device's names (MOSAIC_DEVICE_OP). Adding a device is a file that fills this table. */
#ifndef MOSAIC_DEVICE_H
#define MOSAIC_DEVICE_H
#include "status.h"

/* One elementwise call. `compute` (f32, f64 or i64) is the type that the arithmetic happens in: the
 * operands are converted to it, the result from it. */
typedef struct {
    enum { MOSAIC_UNARY, MOSAIC_BINARY, MOSAIC_TERNARY } family;
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
    mosaic_attention_work *work; /* to be added to */
} mosaic_attention_call;

/* Two partial results and their union; backward also the gradients. dlse may have no storage. */
typedef struct {
    mosaic_tensor out, lse, out1, lse1, out2, lse2;
    mosaic_tensor dout, dlse, dout1, dlse1, dout2, dlse2;
} mosaic_attention_parts;

typedef struct {
    mosaic_random_kind kind;
    double low, high;
    uint64_t seed, stream;
    int64_t first, stride[8];
} mosaic_random_call;

typedef struct mosaic_device {
    const char *name; /* "cpu", "cuda:0" */

    /* Memory. allocate returns NULL when there is none. Host copies wait for the device. */
    void *(*allocate)(const struct mosaic_device *self, int64_t bytes);
    void (*release)(const struct mosaic_device *self, void *data, int64_t bytes);
    int64_t (*cached)(const struct mosaic_device *self); /* bytes kept for later allocations */
    void (*trim)(const struct mosaic_device *self);      /* gives them back */
    mosaic_status (*to_host)(const struct mosaic_device *self, void *host, const void *data,
                             int64_t bytes);
    mosaic_status (*from_host)(const struct mosaic_device *self, void *data, const void *host,
                               int64_t bytes);

    /* Elementwise. out and a have the same sizes (a is expanded). */
    mosaic_status (*copy)(const mosaic_tensor *out, const mosaic_tensor *a);
    mosaic_status (*fill)(const mosaic_tensor *out, double value);
    mosaic_status (*elementwise)(const mosaic_tensor *out, const mosaic_elementwise *call);

    /* Reductions. out has a's ndim, with size 1 in the reduced axes; a is not empty. */
    mosaic_status (*reduce)(const mosaic_tensor *out, const mosaic_tensor *a, mosaic_reduce_op op,
                            double correction);
    mosaic_status (*arg_reduce)(const mosaic_tensor *values, const mosaic_tensor *indices,
                                const mosaic_tensor *a, bool largest, int axis);

    /* Element j of out is element number first + sum of j[axis] * stride[axis] of the stream. */
    mosaic_status (*random)(const mosaic_tensor *out, const mosaic_random_call *call);

    /* Attention. */
    mosaic_status (*attention)(const mosaic_attention_call *call);
    mosaic_status (*attention_backward)(const mosaic_attention_call *call);
    mosaic_status (*attention_delta)(const mosaic_tensor *delta, const mosaic_tensor *dout,
                                     const mosaic_tensor *out, const mosaic_tensor *dlse);
    mosaic_status (*attention_merge)(const mosaic_attention_parts *parts);
    mosaic_status (*attention_merge_backward)(const mosaic_attention_parts *parts);

    /* out (..., m, n) = a (..., m, k) b (..., k, n) + bias (n), or NULL: one dtype, the same
     * leading sizes (expanded); k may be 0. */
    mosaic_status (*matmul)(const mosaic_tensor *out, const mosaic_tensor *a,
                            const mosaic_tensor *b, const mosaic_tensor *bias);

    /* Rows of the last axis. stats is contiguous: the mean (0 unless centered) and 1/deviation of
     * each row. weight, bias, dx, dweight, dbias may be NULL. */
    mosaic_status (*normalize)(const mosaic_tensor *out, const mosaic_tensor *stats,
                               const mosaic_tensor *x, const mosaic_tensor *weight,
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

/* The device called name; NULL or "" is the CPU. Opens the plug-in on first use. */
mosaic_status mosaic_device_find(const mosaic_device **device, const char *name);

/* Calls device->op(...) or fails naming the operation. */
#define MOSAIC_DEVICE_CALL(device, op, ...)                                                        \
    do {                                                                                           \
        if (!(device)->op)                                                                         \
            return mosaic_fail(MOSAIC_ENOTSUP, #op ": not supported on device %s",                 \
                               (device)->name);                                                    \
        MOSAIC_TRY((device)->op(__VA_ARGS__));                                                     \
    } while (0)

#endif
