/* cross_entropy.c - minus the log of the probability that softmax gives to the right class. */
#include "../tensor.h"

/* logits (..., k), targets (...). */
static mosaic_status check(const char *op, const mosaic_tensor *logits,
                           const mosaic_tensor *targets, int64_t ignore)
{
    MOSAIC_TRY(mosaic_check_operands(op, logits, targets));
    bool fits = mosaic_dtype_is_float(logits->dtype) && targets->dtype == MOSAIC_DTYPE_I64 &&
                logits->ndim == targets->ndim + 1;
    for (int i = 0; fits && i < targets->ndim; i++) fits = logits->size[i] == targets->size[i];
    MOSAIC_REQUIRE(fits, "%s: expected logits (..., k) and i64 targets (...), got %s and %s", op,
                   mosaic_tensor_describe(logits), mosaic_tensor_describe(targets));
    if (mosaic_tensor_numel(targets) == 0) return MOSAIC_OK;
    MOSAIC_DEVICE_CALL(mosaic_device_of(targets), check_index, op, "target", targets,
                       logits->size[logits->ndim - 1], ignore);
    return MOSAIC_OK;
}

mosaic_status mosaic_cross_entropy(mosaic_tensor *loss, mosaic_tensor *stats,
                                   const mosaic_tensor *logits, const mosaic_tensor *targets,
                                   mosaic_reduction reduction, int64_t ignore)
{
    MOSAIC_TRY(check("cross_entropy", logits, targets, ignore));
    MOSAIC_REQUIRE(!loss->storage && !stats->storage,
                   "cross_entropy: the loss and the statistics must be new tensors");
    const mosaic_device *device = mosaic_device_of(logits);
    int dtype = mosaic_dtype_accumulator(logits->dtype), last = targets->ndim;
    int64_t size[MOSAIC_MAX_DIMS];
    for (int i = 0; i < last; i++) size[i] = targets->size[i];
    size[last] = 2;
    MOSAIC_TRY(mosaic_output(stats, "cross_entropy", dtype, last + 1, size, device));
    MOSAIC_TRY(mosaic_output(loss, "cross_entropy", dtype,
                             reduction == MOSAIC_REDUCTION_NONE ? last : 0, size, device));
    MOSAIC_DEVICE_CALL(device, cross_entropy, loss, stats, logits, targets, reduction, ignore);
    return MOSAIC_OK;
}

mosaic_status mosaic_cross_entropy_backward(mosaic_tensor *dlogits, const mosaic_tensor *g,
                                            const mosaic_tensor *logits,
                                            const mosaic_tensor *targets,
                                            const mosaic_tensor *stats, mosaic_reduction reduction,
                                            int64_t ignore)
{
    const char *op = "cross_entropy_backward";
    MOSAIC_TRY(check(op, logits, targets, ignore));
    MOSAIC_TRY(mosaic_check_operands(op, logits, g));
    MOSAIC_TRY(mosaic_check_operands(op, logits, stats));
    bool fits = mosaic_tensor_is_contiguous(stats) &&
                stats->dtype == (int)mosaic_dtype_accumulator(logits->dtype) &&
                mosaic_tensor_numel(stats) == 2 * mosaic_tensor_numel(targets) &&
                g->ndim == (reduction == MOSAIC_REDUCTION_NONE ? targets->ndim : 0);
    for (int i = 0; fits && i < g->ndim; i++) fits = g->size[i] == targets->size[i];
    MOSAIC_REQUIRE(fits, "%s: the gradient %s and the statistics %s do not belong to the logits %s",
                   op, mosaic_tensor_describe(g), mosaic_tensor_describe(stats),
                   mosaic_tensor_describe(logits));
    MOSAIC_TRY(mosaic_output(dlogits, op, logits->dtype, logits->ndim, logits->size,
                             mosaic_device_of(logits)));
    MOSAIC_REQUIRE(!mosaic_overlaps(dlogits, logits), "%s: the output %s overlaps the logits", op,
                   mosaic_tensor_describe(dlogits));
    mosaic_tensor_note_write(dlogits);
    if (mosaic_tensor_numel(dlogits) == 0) return MOSAIC_OK;
    MOSAIC_DEVICE_CALL(mosaic_device_of(logits), cross_entropy_backward, dlogits, g, logits,
                       targets, stats, reduction, ignore);
    return MOSAIC_OK;
}
