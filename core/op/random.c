/* random.c - random tensors: which numbers of the stream go where. */
#include <math.h>
#include <stdlib.h>

#include "../philox.h"
#include "../tensor.h"

/* Does an integer dtype hold low..high? Floats round. */
static bool holds(int dtype, double low, double high)
{
    if (dtype == MOSAIC_DTYPE_U8) return low >= 0 && high <= UINT8_MAX;
    return dtype != MOSAIC_DTYPE_I32 || (low >= INT32_MIN && high <= INT32_MAX);
}

static mosaic_status check_range(mosaic_random_kind kind, const mosaic_tensor *out, double low,
                                 double high)
{
    bool finite = fabs(low) < INFINITY && fabs(high) < INFINITY;
    if (kind == MOSAIC_RANDOM_INTEGER) {
        MOSAIC_REQUIRE(finite && low == floor(low) && high == floor(high) && low <= high &&
                           fabs(low) <= 0x1p53 && fabs(high) <= 0x1p53,
                       "random: no whole numbers %.17g..%.17g", low, high);
        MOSAIC_REQUIRE(holds(out->dtype, low, high), "random: %s cannot hold %.17g..%.17g",
                       mosaic_tensor_describe(out), low, high);
        return MOSAIC_OK;
    }
    MOSAIC_REQUIRE(mosaic_dtype_is_float(out->dtype),
                   "random: %s cannot hold fractions; use a float dtype",
                   mosaic_tensor_describe(out));
    if (kind == MOSAIC_RANDOM_UNIFORM)
        MOSAIC_REQUIRE(finite && low < high, "random: no numbers in [%.17g, %.17g)", low, high);
    else
        MOSAIC_REQUIRE(finite && high >= 0, "random: no normal numbers of mean %g, deviation %g",
                       low, high);
    return MOSAIC_OK;
}

/* The largest number of the float dtype that is less than high. */
static double below(double high, int dtype)
{
    uint64_t bits = 0;
    int64_t bytes = mosaic_dtype_bytes((mosaic_dtype)dtype);
    mosaic_element_write(&bits, 0, dtype, high);
    double rounded = mosaic_element_read(&bits, 0, dtype);
    if (rounded < high) return rounded;
    uint64_t sign = (uint64_t)1 << (8 * bytes - 1); /* the rest is the magnitude */
    bits = rounded > 0 ? bits - 1 : rounded < 0 ? bits + 1 : sign | 1;
    return mosaic_element_read(&bits, 0, dtype);
}

/* Element numbers: of out's first element, and from one index to the next along each axis. */
static mosaic_status place(mosaic_random_call *call, const mosaic_tensor *out, const int64_t *whole,
                           const int64_t *offset, const int64_t *step)
{
    int64_t stride = 1;
    for (int i = out->ndim - 1; i >= 0; i--) {
        int64_t size = whole ? whole[i] : out->size[i];
        int64_t start = offset ? offset[i] : 0, by = step ? step[i] : 1;
        int64_t steps = out->size[i] > 1 ? out->size[i] - 1 : 0, room = size - 1 - start, whole_to;
        MOSAIC_REQUIRE(
            !out->size[i] || (start >= 0 && by >= 1 && room >= 0 && (!steps || by <= room / steps)),
            "random: axis %d: %lld indices from %lld, %lld apart, are not in the whole "
            "tensor's %lld",
            i + 1, (long long)out->size[i], (long long)start + 1, (long long)by, (long long)size);
        MOSAIC_REQUIRE(!__builtin_mul_overflow(stride, size ? size : 1, &whole_to),
                       "random: the whole tensor has too many elements: axis %d has %lld", i + 1,
                       (long long)size);
        call->first += out->size[i] ? start * stride : 0;
        call->stride[i] = (steps ? by : 1) * stride;
        stride = whole_to;
    }
    return MOSAIC_OK;
}

mosaic_status mosaic_random(mosaic_tensor *out, mosaic_random_kind kind, double low, double high,
                            uint64_t seed, uint64_t stream, const int64_t *whole,
                            const int64_t *offset, const int64_t *step)
{
    MOSAIC_TRY(mosaic_check_operands("random", out, NULL));
    MOSAIC_TRY(
        mosaic_output(out, "random", out->dtype, out->ndim, out->size, mosaic_device_of(out)));
    MOSAIC_TRY(check_range(kind, out, low, high));
    mosaic_random_call call = {
        .kind = kind, .low = low, .high = high, .seed = seed, .stream = stream};
    MOSAIC_TRY(place(&call, out, whole, offset, step));
    if (kind == MOSAIC_RANDOM_UNIFORM) call.most = below(high, out->dtype);
    mosaic_tensor_note_write(out);
    if (mosaic_tensor_numel(out) == 0) return MOSAIC_OK;
    MOSAIC_DEVICE_CALL(mosaic_device_of(out), random, out, &call);
    return MOSAIC_OK;
}

/* Fisher and Yates: position i changes places with one of 0..i. */
mosaic_status mosaic_random_permutation(mosaic_tensor *out, uint64_t seed, uint64_t stream)
{
    MOSAIC_TRY(mosaic_check_operands("randperm", out, NULL));
    MOSAIC_REQUIRE(out->ndim == 1 && out->dtype == MOSAIC_DTYPE_I64 && out->stride[0] == 1,
                   "randperm: the output must be a contiguous i64 vector, got %s",
                   mosaic_tensor_describe(out));
    int64_t n = out->size[0], *order = malloc(n ? (size_t)n * sizeof *order : 1);
    if (!order)
        return mosaic_fail(MOSAIC_ENOMEM, "randperm: no memory for %lld numbers", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        mosaic_philox bits = mosaic_philox_at(seed, stream, (uint64_t)i);
        int64_t j = (int64_t)mosaic_philox_below(bits, (uint64_t)i + 1);
        order[i] = order[j];
        order[j] = i + 1;
    }
    mosaic_tensor_note_write(out);
    const mosaic_device *device = mosaic_device_of(out);
    mosaic_status status = mosaic_device_from_host(device, mosaic_data(out), order, n * 8);
    free(order);
    return status;
}
