/* walk.c - brings operands into the form that kernels walk through. */
#include "walk.h"

#include <stdlib.h>

/* Is stepping over axis `outer` for all operands the same as stepping over all of `inner`? */
static bool evenly(const mosaic_walk *w, int operands, int outer, int inner)
{
    for (int n = 0; n < operands; n++)
        if (w->step[n][outer] != w->step[n][inner] * w->size[inner]) return false;
    return true;
}

mosaic_walk mosaic_walk_of(int operands, const mosaic_tensor *const *tensors)
{
    const mosaic_tensor *shape = tensors[0];
    mosaic_walk w = {.count = mosaic_tensor_numel(shape)};
    for (int n = 0; n < operands; n++) {
        const mosaic_tensor *a = tensors[n];
        if (!a) continue;
        int64_t bytes = mosaic_dtype_bytes((mosaic_dtype)a->dtype);
        w.operand[n] = (mosaic_operand){mosaic_data(a), a->dtype, bytes};
    }
    for (int axis = 0; axis < shape->ndim; axis++) {
        if (shape->size[axis] == 1) continue;
        int to = w.ndim++;
        w.size[to] = shape->size[axis];
        for (int n = 0; n < operands; n++)
            w.step[n][to] = tensors[n] ? tensors[n]->stride[axis] * w.operand[n].bytes : 0;
        if (to == 0 || !evenly(&w, operands, to - 1, to)) continue;
        w.size[to - 1] *= w.size[to];
        for (int n = 0; n < operands; n++) w.step[n][to - 1] = w.step[n][to];
        w.ndim--;
    }
    return w;
}

mosaic_walk mosaic_walk_axes(int operands, const mosaic_tensor *const *tensors, unsigned axes)
{
    const mosaic_tensor *first = tensors[0], *pointers[MOSAIC_WALK_OPERANDS] = {0};
    mosaic_tensor views[MOSAIC_WALK_OPERANDS];
    int order[MOSAIC_MAX_DIMS], count = 0;
    for (int axis = 0; axis < first->ndim; axis++) {
        if (!(axes >> axis & 1u)) continue;
        int at = count++;
        for (; at > 0 && llabs(first->stride[order[at - 1]]) < llabs(first->stride[axis]); at--)
            order[at] = order[at - 1];
        order[at] = axis;
    }
    for (int n = 0; n < operands; n++) {
        if (!tensors[n]) continue;
        views[n] = *tensors[n];
        views[n].ndim = count;
        for (int i = 0; i < count; i++) {
            int64_t size = tensors[n]->size[order[i]];
            views[n].size[i] = first->size[order[i]];
            views[n].stride[i] = size == 1 ? 0 : tensors[n]->stride[order[i]];
        }
        pointers[n] = &views[n];
    }
    return mosaic_walk_of(operands, pointers);
}

/* Is everything but the last axis of the operand a multiple of `bytes`? */
static bool aligned(const mosaic_walk *w, int n, int64_t bytes)
{
    if ((uintptr_t)w->operand[n].data % (uintptr_t)bytes) return false;
    for (int axis = 0; axis < w->ndim - 1; axis++)
        if (w->step[n][axis] % bytes) return false;
    return true;
}

int64_t mosaic_walk_widen(mosaic_walk *w, int moving, int64_t apart)
{
    int last = w->ndim - 1;
    int64_t bytes = w->operand[0].bytes, wide = 16;
    if (last < 0) return bytes;
    for (int n = 0; n < MOSAIC_WALK_OPERANDS; n++)
        if (w->step[n][last] != (n < moving ? bytes : 0)) return bytes;
    for (; wide > bytes; wide /= 2) {
        bool fits = w->size[last] * bytes % wide == 0 && apart % wide == 0;
        for (int n = 0; n < moving; n++) fits = fits && aligned(w, n, wide);
        if (fits) break;
    }
    w->count = w->count / (wide / bytes);
    w->size[last] = w->size[last] / (wide / bytes);
    for (int n = 0; n < moving; n++) w->step[n][last] = wide;
    return wide;
}
