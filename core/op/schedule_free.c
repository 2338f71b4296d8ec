/* schedule_free.c - a step of an optimizer on one parameter. */
#include "../tensor.h"

static mosaic_status check(const mosaic_tensor *y, const mosaic_tensor *other)
{
    MOSAIC_TRY(mosaic_check_operands("schedule_free", y, other));
    bool fits = mosaic_dtype_is_float(y->dtype) && mosaic_dtype_is_float(other->dtype) &&
                y->ndim == other->ndim;
    for (int i = 0; fits && i < y->ndim; i++) fits = y->size[i] == other->size[i];
    MOSAIC_REQUIRE(fits, "schedule_free: expected floats of the same sizes, got %s and %s",
                   mosaic_tensor_describe(y), mosaic_tensor_describe(other));
    return MOSAIC_OK;
}

/* square = mean of g^2, h = g / (sqrt(square / correction) + eps) + decay y */
static mosaic_status direction(mosaic_tensor *h, const mosaic_tensor *y, mosaic_tensor *square,
                               const mosaic_tensor *g, const mosaic_schedule_free_options *o)
{
    MOSAIC_TRY(mosaic_binary_scalar(square, square, o->beta, false, MOSAIC_BINARY_MUL, 1, 0));
    MOSAIC_TRY(mosaic_ternary(square, square, g, g, MOSAIC_TERNARY_ADDCMUL, 1 - o->beta));
    MOSAIC_TRY(mosaic_binary_scalar(h, square, o->correction, false, MOSAIC_BINARY_DIV, 1, 0));
    MOSAIC_TRY(mosaic_unary(h, h, MOSAIC_UNARY_SQRT, 0, 0));
    MOSAIC_TRY(mosaic_binary_scalar(h, h, o->eps, false, MOSAIC_BINARY_ADD, 1, 0));
    MOSAIC_TRY(mosaic_binary(h, g, h, MOSAIC_BINARY_DIV, 1, 0));
    return o->decay != 0 ? mosaic_binary(h, h, y, MOSAIC_BINARY_ADD, o->decay, 0) : MOSAIC_OK;
}

/* y += share (z - y) + ahead h; z -= lr h */
static mosaic_status move(mosaic_tensor *y, mosaic_tensor *z, const mosaic_tensor *h,
                          mosaic_tensor *way, const mosaic_schedule_free_options *o)
{
    MOSAIC_TRY(mosaic_binary(way, z, y, MOSAIC_BINARY_SUB, 1, 0));
    MOSAIC_TRY(mosaic_binary(y, y, way, MOSAIC_BINARY_ADD, o->share, 0));
    MOSAIC_TRY(mosaic_binary(y, y, h, MOSAIC_BINARY_ADD, o->ahead, 0));
    return mosaic_binary(z, z, h, MOSAIC_BINARY_ADD, -o->lr, 0);
}

/* By operations on elements, one after the other. */
static mosaic_status by_elements(mosaic_tensor *y, mosaic_tensor *z, mosaic_tensor *square,
                                 const mosaic_tensor *g, const mosaic_schedule_free_options *o)
{
    mosaic_tensor h = {0}, way = {0};
    mosaic_status status = direction(&h, y, square, g, o);
    if (!status) status = move(y, z, &h, &way, o);
    mosaic_tensor_clear(&h);
    mosaic_tensor_clear(&way);
    return status;
}

mosaic_status mosaic_schedule_free(mosaic_tensor *y, mosaic_tensor *z, mosaic_tensor *square,
                                   const mosaic_tensor *g,
                                   const mosaic_schedule_free_options *options)
{
    bool done = false;
    MOSAIC_TRY(check(y, z));
    MOSAIC_TRY(check(y, square));
    MOSAIC_TRY(check(y, g));
    if (mosaic_tensor_numel(y) == 0) return MOSAIC_OK;
    const mosaic_device *device = mosaic_device_of(y);
    if (device->schedule_free)
        MOSAIC_DEVICE_CALL(device, schedule_free, y, z, square, g, options, &done);
    if (!done) return by_elements(y, z, square, g, options);
    mosaic_tensor_note_write(y);
    mosaic_tensor_note_write(z);
    mosaic_tensor_note_write(square);
    return MOSAIC_OK;
}
