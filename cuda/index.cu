/* index.cu - are all indices in range, and gather. core/op/index.c explains what base, step and
 * index are. */
#include <launch.h>

#include "element.h"
#include "walk.h"

/* ---- check ---------------------------------------------------------------------------------- */

/* *first becomes the number of the first wrong index where that is less. */
__global__ void find_wrong(const mosaic_walk w, const int64_t limit, const int64_t ignore,
                           unsigned long long *first)
{
    unsigned long long own = ~0ull;
    mosaic_walk_each(w.count, [&](int64_t i) {
        char *at[1];
        mosaic_walk_at(w, i, at);
        int64_t value = *(const int64_t *)at[0];
        bool right = (value >= 1 && value <= limit) || value == ignore;
        if (!right && own == ~0ull) own = (unsigned long long)i;
    });
    if (own != ~0ull) atomicMin(first, own);
}

/* The number of the first wrong index, -1 where there is none. The only wait of this file. */
static mosaic_status first_wrong(int64_t *number, const mosaic_cuda *device,
                                 const mosaic_tensor *index, int64_t limit, int64_t ignore)
{
    mosaic_tensor first = {};
    mosaic_walk w = mosaic_walk_of(1, &index);
    MOSAIC_TRY(mosaic_cuda_scratch(&first, device, MOSAIC_DTYPE_I64, 1));
    void *data = mosaic_data(&first);
    mosaic_status status =
        mosaic_cuda_check(device, "check_index", cudaMemsetAsync(data, 0xff, 8, device->compute));
    if (!status)
        status = mosaic_launch(device, "check_index", find_wrong, mosaic_walk_blocks(w.count),
                               MOSAIC_WALK_THREADS, 0, w, limit, ignore, data);
    if (!status) status = mosaic_cuda_to_host(&device->base, number, data, 8);
    mosaic_tensor_clear(&first);
    return status;
}

mosaic_status mosaic_cuda_check_index(const char *op, const char *what, const mosaic_tensor *index,
                                      int64_t limit, int64_t ignore)
{
    const mosaic_cuda *device = mosaic_cuda_of(index);
    int64_t number = -1, value = 0;
    MOSAIC_TRY(mosaic_cuda_enter(device));
    MOSAIC_TRY(first_wrong(&number, device, index, limit, ignore));
    if (number < 0) return MOSAIC_OK;
    mosaic_walk w = mosaic_walk_of(1, &index);
    const char *at = w.operand[0].data + mosaic_walk_offset(w, 0, number);
    MOSAIC_TRY(mosaic_cuda_to_host(&device->base, &value, at, 8));
    char position[MOSAIC_PLACE_ROOM];
    mosaic_cuda_core->print_place(position, index->ndim, index->size, number);
    return mosaic_cuda_core->fail(MOSAIC_EINVAL, "%s: %s %lld at position %s is outside 1..%lld",
                                  op, what, (long long)value, position, (long long)limit);
}

/* ---- gather --------------------------------------------------------------------------------- */

/* w: out, base, index; step in bytes. */
template <class Bits> __global__ void gather(const mosaic_walk w, const int64_t step)
{
    mosaic_walk_each(w.count, [&](int64_t i) {
        char *at[3];
        mosaic_walk_at(w, i, at);
        *(Bits *)at[0] = *(const Bits *)(at[1] + (*(const int64_t *)at[2] - 1) * step);
    });
}

mosaic_status mosaic_cuda_gather(const mosaic_tensor *out, const mosaic_tensor *base, int64_t step,
                                 const mosaic_tensor *index)
{
    const mosaic_cuda *device = mosaic_cuda_of(out);
    const mosaic_tensor *operands[] = {out, base, index};
    mosaic_walk w = mosaic_walk_of(3, operands);
    step *= w.operand[0].bytes;
    int64_t bytes = mosaic_walk_widen(&w, 2, step);
    void (*kernel)(const mosaic_walk, const int64_t) = bytes == 16  ? gather<mosaic_bits_128>
                                                       : bytes == 8 ? gather<uint64_t>
                                                       : bytes == 4 ? gather<uint32_t>
                                                       : bytes == 2 ? gather<uint16_t>
                                                                    : gather<uint8_t>;
    MOSAIC_TRY(mosaic_cuda_enter(device));
    return mosaic_launch(device, "gather", kernel, mosaic_walk_blocks(w.count), MOSAIC_WALK_THREADS,
                         0, w, step);
}
