/* quantize.c - rows of floats as bytes with a scale each, for messages that should be small. */
#include "../tensor.h"

enum { SCALE = MOSAIC_ROW_SCALE_BYTES };

static mosaic_status check_apart(const char *op, const mosaic_tensor *out, const mosaic_tensor *in)
{
    MOSAIC_REQUIRE(!mosaic_overlaps(out, in), "%s: the output %s overlaps the operand %s", op,
                   mosaic_tensor_describe(out), mosaic_tensor_describe(in));
    mosaic_tensor_note_write(out);
    return MOSAIC_OK;
}

/* out gets in's sizes with `more` added to the last. */
static mosaic_status prepare(const char *op, mosaic_tensor *out, int dtype, const mosaic_tensor *in,
                             int64_t more)
{
    int64_t size[MOSAIC_MAX_DIMS];
    for (int i = 0; i < in->ndim; i++) size[i] = in->size[i];
    size[in->ndim - 1] += more;
    MOSAIC_TRY(mosaic_output(out, op, dtype, in->ndim, size, mosaic_device_of(in)));
    return check_apart(op, out, in);
}

mosaic_status mosaic_quantize(mosaic_tensor *payload, const mosaic_tensor *x,
                              mosaic_row_format format)
{
    MOSAIC_TRY(mosaic_check_operands("quantize", x, NULL));
    MOSAIC_REQUIRE(mosaic_dtype_is_float(x->dtype) && x->ndim > 0,
                   "quantize: expected rows of a float tensor, got %s", mosaic_tensor_describe(x));
    MOSAIC_TRY(prepare("quantize", payload, MOSAIC_DTYPE_U8, x, SCALE));
    if (mosaic_tensor_numel(payload) == 0) return MOSAIC_OK;
    MOSAIC_DEVICE_CALL(mosaic_device_of(x), quantize, payload, x, format);
    return MOSAIC_OK;
}

mosaic_status mosaic_dequantize(mosaic_tensor *out, const mosaic_tensor *payload,
                                mosaic_row_format format, mosaic_dtype dtype)
{
    const char *op = "dequantize";
    MOSAIC_TRY(mosaic_check_operands(op, payload, NULL));
    bool fits = payload->dtype == MOSAIC_DTYPE_U8 && payload->ndim > 0 &&
                payload->size[payload->ndim - 1] >= SCALE;
    MOSAIC_REQUIRE(fits, "%s: expected u8 rows of at least %d bytes, got %s", op, SCALE,
                   mosaic_tensor_describe(payload));
    MOSAIC_REQUIRE(mosaic_dtype_is_float(dtype), "%s: %s is not a float", op,
                   mosaic_dtype_name(dtype));
    MOSAIC_TRY(prepare(op, out, dtype, payload, -SCALE));
    if (mosaic_tensor_numel(out) == 0) return MOSAIC_OK;
    MOSAIC_DEVICE_CALL(mosaic_device_of(payload), dequantize, out, payload, format);
    return MOSAIC_OK;
}
