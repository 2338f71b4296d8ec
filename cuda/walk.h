/* walk.h - strided operands walked together: element number i of a kernel's grid, and where it lies
 * in each of them. */
#ifndef MOSAIC_CUDA_WALK_H
#define MOSAIC_CUDA_WALK_H
#include "cuda.h"

enum { MOSAIC_WALK_OPERANDS = 10, MOSAIC_WALK_THREADS = 256, MOSAIC_WALK_EACH = 4 };

/* One operand of any dtype. */
typedef struct {
    char *data;
    int dtype;
    int64_t bytes; /* of an element */
} mosaic_operand;

/* Axes from the first to the last; those that lie evenly in memory for all operands are one. */
typedef struct {
    int ndim;
    int64_t count; /* elements */
    int64_t size[MOSAIC_MAX_DIMS];
    int64_t step[MOSAIC_WALK_OPERANDS][MOSAIC_MAX_DIMS]; /* in bytes */
    mosaic_operand operand[MOSAIC_WALK_OPERANDS];
} mosaic_walk;

#ifdef __cplusplus
extern "C" {
#endif
/* The operands have the same sizes (broadcast axes: stride 0); a NULL one is left out. */
mosaic_walk mosaic_walk_of(int operands, const mosaic_tensor *const *tensors);
/* Only along the axes of that set, those with the longest strides of the first operand first; of
 * the other axes it is index 0. Sizes are the first operand's; others stay where theirs is 1. */
mosaic_walk mosaic_walk_axes(int operands, const mosaic_tensor *const *tensors, unsigned axes);
/* Takes runs of elements that lie together in the first `moving` operands, and do not move in the
 * others, as elements of up to 16 bytes, as far as they are aligned, also when they are `apart` or
 * a multiple of it further on. Returns the bytes of such an element. */
int64_t mosaic_walk_widen(mosaic_walk *w, int moving, int64_t apart);
#ifdef __cplusplus
}

/* Blocks for so many elements, MOSAIC_WALK_EACH per thread. */
static inline unsigned mosaic_walk_blocks(int64_t count)
{
    int64_t each = MOSAIC_WALK_THREADS * MOSAIC_WALK_EACH, blocks = (count + each - 1) / each;
    return (unsigned)(blocks < 0x7fffffff ? blocks : 0x7fffffff);
}

/* i % size; i becomes i / size. 64-bit divisions take many times as long as 32-bit ones. */
MOSAIC_INLINE int64_t mosaic_divide(int64_t &i, int64_t size)
{
    if ((i | size) >> 31 == 0) {
        uint32_t place = (uint32_t)i % (uint32_t)size;
        i = (uint32_t)i / (uint32_t)size;
        return place;
    }
    int64_t place = i % size;
    i /= size;
    return place;
}

/* at[0..N): addresses of element i in the first N operands. */
template <int N> MOSAIC_INLINE void mosaic_walk_at(const mosaic_walk &w, int64_t i, char *(&at)[N])
{
    for (int n = 0; n < N; n++) at[n] = w.operand[n].data;
#pragma unroll 1
    for (int axis = w.ndim - 1; axis >= 0; axis--) {
        int64_t place = axis ? mosaic_divide(i, w.size[axis]) : i;
        for (int n = 0; n < N; n++) at[n] += place * w.step[n][axis];
    }
}

/* Bytes from operand n's first element to its element i. */
MOSAIC_INLINE int64_t mosaic_walk_offset(const mosaic_walk &w, int n, int64_t i)
{
    int64_t offset = 0;
#pragma unroll 1
    for (int axis = w.ndim - 1; axis >= 0; axis--) {
        int64_t place = axis ? mosaic_divide(i, w.size[axis]) : i;
        offset += place * w.step[n][axis];
    }
    return offset;
}

/* Calls body(i) for this thread's share of 0 <= i < count; neighbours take neighbouring i. */
template <class Body> MOSAIC_INLINE void mosaic_walk_each(int64_t count, Body body)
{
    int64_t stride = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride)
        body(i);
}
#endif
#endif
