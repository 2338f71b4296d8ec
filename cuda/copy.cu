/* copy.cu - strided copies, conversions between element types, constants. */
#include <launch.h>

#include "element.h"
#include "walk.h"

/* The same dtype: bits move as they are, NaN's payload too. */
template <class Bits> __global__ void move_bits(const mosaic_walk w)
{
    mosaic_walk_each(w.count, [&](int64_t i) {
        char *at[2];
        mosaic_walk_at(w, i, at);
        *(Bits *)at[0] = *(const Bits *)at[1];
    });
}

/* T holds every value of the dtype that is read. */
template <class T> __global__ void convert(const mosaic_walk w)
{
    mosaic_walk_each(w.count, [&](int64_t i) {
        char *at[2];
        mosaic_walk_at(w, i, at);
        mosaic_store<T>(at[0], w.operand[0].dtype, mosaic_load<T>(at[1], w.operand[1].dtype));
    });
}

static void (*mover(int64_t bytes))(const mosaic_walk)
{
    return bytes == 16  ? move_bits<mosaic_bits_128>
           : bytes == 8 ? move_bits<uint64_t>
           : bytes == 4 ? move_bits<uint32_t>
           : bytes == 2 ? move_bits<uint16_t>
                        : move_bits<uint8_t>;
}

static mosaic_status run(const mosaic_tensor *out, const char *what, const mosaic_walk &w,
                         void (*kernel)(const mosaic_walk))
{
    const mosaic_cuda *device = mosaic_cuda_of(out);
    MOSAIC_TRY(mosaic_cuda_enter(device));
    return mosaic_launch(device, what, kernel, mosaic_walk_blocks(w.count), MOSAIC_WALK_THREADS, 0,
                         w);
}

mosaic_status mosaic_cuda_copy(const mosaic_tensor *out, const mosaic_tensor *a)
{
    const mosaic_tensor *operands[] = {out, a};
    mosaic_walk w = mosaic_walk_of(2, operands);
    if (out->dtype == a->dtype) {
        int64_t bytes = mosaic_walk_widen(&w, 2, 0);
        return run(out, "copy", w, mover(bytes));
    }
    if (!mosaic_dtype_is_float(a->dtype)) return run(out, "copy", w, convert<int64_t>);
    return run(out, "copy", w, a->dtype == MOSAIC_DTYPE_F64 ? convert<double> : convert<float>);
}

typedef struct {
    char bytes[8];
} cell;

template <class Bits> __global__ void fill(const mosaic_walk w, const cell value)
{
    mosaic_walk_each(w.count, [&](int64_t i) {
        char *at[1];
        mosaic_walk_at(w, i, at);
        *(Bits *)at[0] = *(const Bits *)value.bytes;
    });
}

template <class Bits> static mosaic_status fill_with(const mosaic_tensor *out, const void *element)
{
    cell value = {{0}};
    memcpy(value.bytes, element, sizeof(Bits));
    mosaic_walk w = mosaic_walk_of(1, &out);
    return mosaic_launch(mosaic_cuda_of(out), "fill", fill<Bits>, mosaic_walk_blocks(w.count),
                         MOSAIC_WALK_THREADS, 0, w, value);
}

mosaic_status mosaic_cuda_fill(const mosaic_tensor *out, double value)
{
    uint64_t element = 0;
    mosaic_store<double>((char *)&element, out->dtype, value);
    MOSAIC_TRY(mosaic_cuda_enter(mosaic_cuda_of(out)));
    switch (mosaic_dtype_bytes((mosaic_dtype)out->dtype)) {
    case 8: return fill_with<uint64_t>(out, &element);
    case 4: return fill_with<uint32_t>(out, &element);
    case 2: return fill_with<uint16_t>(out, &element);
    default: return fill_with<uint8_t>(out, &element);
    }
}
