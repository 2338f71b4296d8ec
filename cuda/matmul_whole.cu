/* matmul_whole.cu - products of integer matrices, which wrap around as integers do: one thread for
 * each element, in 64 bits, of which the result keeps its own. */
#include <launch.h>

#include "rows.h"

/* Bytes from one term of the sum to the next. */
typedef struct {
    int64_t count, a, b;
} terms;

/* Operands: out, the first term's elements of a and of b, bias. */
__global__ void multiply(const mosaic_walk w, const terms k)
{
    mosaic_walk_each(w.count, [&](int64_t i) {
        char *at[4];
        mosaic_walk_at(w, i, at);
        uint64_t sum = 0;
        for (int64_t p = 0; p < k.count; p++)
            sum += (uint64_t)mosaic_load<int64_t>(at[1] + p * k.a, w.operand[1].dtype) *
                   (uint64_t)mosaic_load<int64_t>(at[2] + p * k.b, w.operand[2].dtype);
        if (w.operand[3].data) sum += (uint64_t)mosaic_load<int64_t>(at[3], w.operand[3].dtype);
        mosaic_store<int64_t>(at[0], w.operand[0].dtype, (int64_t)sum);
    });
}

/* t with out's sizes: it repeats along `axis`, the only one that may differ. */
static mosaic_tensor repeated(const mosaic_tensor *t, const mosaic_tensor *out, int axis)
{
    mosaic_tensor view = *t;
    view.size[axis] = out->size[axis], view.stride[axis] = 0;
    return view;
}

mosaic_status mosaic_cuda_matmul_whole(const mosaic_tensor *out, const mosaic_tensor *a,
                                       const mosaic_tensor *b, const mosaic_tensor *bias)
{
    const mosaic_cuda *device = mosaic_cuda_of(out);
    const int rows = out->ndim - 2, columns = out->ndim - 1;
    const int64_t bytes = mosaic_dtype_bytes((mosaic_dtype)out->dtype);
    const terms k = {a->size[columns], a->stride[columns] * bytes, b->stride[rows] * bytes};
    const mosaic_tensor left = repeated(a, out, columns), right = repeated(b, out, rows);
    mosaic_tensor shift;
    if (bias) shift = mosaic_row_repeated(bias, out);
    const mosaic_tensor *operands[] = {out, &left, &right, bias ? &shift : NULL};
    const mosaic_walk w = mosaic_walk_of(4, operands);
    return mosaic_launch(device, "matmul", multiply, mosaic_walk_blocks(w.count),
                         MOSAIC_WALK_THREADS, 0, w, k);
}
