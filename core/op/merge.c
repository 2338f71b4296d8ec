/* merge.c - the operands of merging two partial results of attention. */
#include "../tensor.h"

/* a must have `ndim` axes of like's sizes and this dtype. */
static mosaic_status check_sizes(const char *op, const mosaic_tensor *a, const mosaic_tensor *like,
                                 int ndim, int dtype)
{
    MOSAIC_TRY(mosaic_check_operands(op, a, like));
    bool same = a->ndim == ndim && a->dtype == dtype;
    for (int i = 0; same && i < ndim; i++) same = a->size[i] == like->size[i];
    MOSAIC_REQUIRE(same, "%s: %s does not fit %s", op, mosaic_tensor_describe(a),
                   mosaic_tensor_describe(like));
    return MOSAIC_OK;
}

/* Both results: out (..., d), f32 or f64, and lse (...), f64. */
static mosaic_status check_parts(const char *op, const mosaic_tensor *out1,
                                 const mosaic_tensor *lse1, const mosaic_tensor *out2,
                                 const mosaic_tensor *lse2)
{
    MOSAIC_TRY(mosaic_check_operands(op, out1, NULL));
    MOSAIC_REQUIRE(out1->ndim >= 1 && mosaic_dtype_is_float(out1->dtype) &&
                       out1->dtype == (int32_t)mosaic_dtype_accumulator(out1->dtype),
                   "%s: partial results are f32 or f64, got %s", op, mosaic_tensor_describe(out1));
    MOSAIC_TRY(check_sizes(op, out2, out1, out1->ndim, out1->dtype));
    MOSAIC_TRY(check_sizes(op, lse1, out1, out1->ndim - 1, MOSAIC_DTYPE_F64));
    return check_sizes(op, lse2, out1, out1->ndim - 1, MOSAIC_DTYPE_F64);
}

static mosaic_status output(mosaic_tensor *out, const char *op, const mosaic_tensor *like, int ndim,
                            int dtype)
{
    MOSAIC_TRY(mosaic_output(out, op, dtype, ndim, like->size, mosaic_device_of(like)));
    mosaic_tensor_note_write(out);
    return MOSAIC_OK;
}

static mosaic_status check_apart(const char *op, const mosaic_tensor *result,
                                 const mosaic_tensor *operand)
{
    MOSAIC_REQUIRE(!mosaic_overlaps(result, operand),
                   "%s: a result (%s) shares memory with an operand (%s)", op,
                   mosaic_tensor_describe(result), mosaic_tensor_describe(operand));
    return MOSAIC_OK;
}

mosaic_status mosaic_attention_merge(mosaic_tensor *out, mosaic_tensor *lse,
                                     const mosaic_tensor *out1, const mosaic_tensor *lse1,
                                     const mosaic_tensor *out2, const mosaic_tensor *lse2)
{
    const char *op = "merge";
    MOSAIC_TRY(check_parts(op, out1, lse1, out2, lse2));
    MOSAIC_TRY(output(out, op, out1, out1->ndim, out1->dtype));
    MOSAIC_TRY(output(lse, op, out1, out1->ndim - 1, MOSAIC_DTYPE_F64));
    MOSAIC_TRY(check_apart(op, out, out1));
    MOSAIC_TRY(check_apart(op, out, out2));
    MOSAIC_TRY(check_apart(op, lse, lse1));
    MOSAIC_TRY(check_apart(op, lse, lse2));
    if (mosaic_tensor_numel(lse) == 0) return MOSAIC_OK;
    mosaic_attention_parts parts = {
        .out = *out, .lse = *lse, .out1 = *out1, .lse1 = *lse1, .out2 = *out2, .lse2 = *lse2};
    MOSAIC_DEVICE_CALL(mosaic_device_of(out1), attention_merge, &parts);
    return MOSAIC_OK;
}

mosaic_status mosaic_attention_merge_backward(mosaic_tensor *dout1, mosaic_tensor *dlse1,
                                              mosaic_tensor *dout2, mosaic_tensor *dlse2,
                                              const mosaic_tensor *dout, const mosaic_tensor *dlse,
                                              const mosaic_tensor *out1, const mosaic_tensor *lse1,
                                              const mosaic_tensor *out2, const mosaic_tensor *lse2)
{
    const char *op = "merge_backward";
    int rows = out1->ndim - 1;
    MOSAIC_TRY(check_parts(op, out1, lse1, out2, lse2));
    MOSAIC_TRY(check_sizes(op, dout, out1, out1->ndim, out1->dtype));
    if (dlse) MOSAIC_TRY(check_sizes(op, dlse, out1, rows, MOSAIC_DTYPE_F64));
    MOSAIC_TRY(output(dout1, op, out1, out1->ndim, out1->dtype));
    MOSAIC_TRY(output(dout2, op, out1, out1->ndim, out1->dtype));
    MOSAIC_TRY(output(dlse1, op, out1, rows, MOSAIC_DTYPE_F64));
    MOSAIC_TRY(output(dlse2, op, out1, rows, MOSAIC_DTYPE_F64));
    if (mosaic_tensor_numel(lse1) == 0) return MOSAIC_OK;
    mosaic_attention_parts parts = {.out1 = *out1,
                                    .lse1 = *lse1,
                                    .out2 = *out2,
                                    .lse2 = *lse2,
                                    .dout = *dout,
                                    .dout1 = *dout1,
                                    .dlse1 = *dlse1,
                                    .dout2 = *dout2,
                                    .dlse2 = *dlse2};
    if (dlse) parts.dlse = *dlse;
    MOSAIC_DEVICE_CALL(mosaic_device_of(out1), attention_merge_backward, &parts);
    return MOSAIC_OK;
}
