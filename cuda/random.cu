/* random.cu - random numbers: the CPU's bits.
 *
 * nvcc compiles this file without fused multiply-adds, see core/draw.h. */
#include <launch.h>

#include "../core/draw.h"
#include "element.h"
#include "walk.h"

template <int KIND> MOSAIC_DEVICE auto number_of(const mosaic_random_call &c, mosaic_philox bits)
{
    if constexpr (KIND == MOSAIC_RANDOM_INTEGER) return mosaic_draw_integer(&c, bits);
    if constexpr (KIND == MOSAIC_RANDOM_UNIFORM) return mosaic_draw_uniform(&c, bits);
    if constexpr (KIND == MOSAIC_RANDOM_NORMAL)
        return mosaic_draw_normal(&c, mosaic_philox_unit(bits, 0), mosaic_philox_unit(bits, 1));
}

/* w: out, and as bytes the numbers of its elements in the stream, less the first one's. */
template <int KIND> __global__ void draw(const mosaic_walk w, const mosaic_random_call c)
{
    mosaic_walk_each(w.count, [&](int64_t i) {
        char *at[1];
        mosaic_walk_at(w, i, at);
        uint64_t element = (uint64_t)(c.first + mosaic_walk_offset(w, 1, i));
        auto x = number_of<KIND>(c, mosaic_philox_at(c.seed, c.stream, element));
        mosaic_store(at[0], w.operand[0].dtype, x);
    });
}

mosaic_status mosaic_cuda_random(const mosaic_tensor *out, const mosaic_random_call *call)
{
    mosaic_tensor numbers = *out;
    numbers.dtype = MOSAIC_DTYPE_U8;
    for (int i = 0; i < out->ndim; i++) numbers.stride[i] = call->stride[i];
    const mosaic_tensor *operands[] = {out, &numbers};
    mosaic_walk w = mosaic_walk_of(2, operands);
    const mosaic_cuda *device = mosaic_cuda_of(out);
    MOSAIC_TRY(mosaic_cuda_enter(device));
    void (*kernel)(const mosaic_walk, const mosaic_random_call) =
        call->kind == MOSAIC_RANDOM_INTEGER   ? draw<MOSAIC_RANDOM_INTEGER>
        : call->kind == MOSAIC_RANDOM_UNIFORM ? draw<MOSAIC_RANDOM_UNIFORM>
                                              : draw<MOSAIC_RANDOM_NORMAL>;
    return mosaic_launch(device, "random", kernel, mosaic_walk_blocks(w.count), MOSAIC_WALK_THREADS,
                         0, w, *call);
}
