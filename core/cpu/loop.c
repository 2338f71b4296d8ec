/* loop.c - merge axes, cut into runs, spread the runs over threads. */
#include "loop.h"

#include "../parallel.h"

enum { PARALLEL_FROM = 16384 /* elements; below it waking a thread costs more than it saves */ };

typedef struct {
    int operands, axes;
    int64_t size[MOSAIC_MAX_DIMS];
    int64_t step[MOSAIC_MAX_DIMS][MOSAIC_LOOP_OPERANDS]; /* bytes */
    char *data[MOSAIC_LOOP_OPERANDS];
    mosaic_loop_body body;
    void *context;
} nest;

/* Copies axis `from` of the tensors to the nest's next axis, or merges it into the last one. */
static void add_axis(nest *n, const mosaic_tensor *const *tensors, int from)
{
    int64_t size = tensors[0]->size[from], step[MOSAIC_LOOP_OPERANDS];
    if (size == 1) return;
    bool merges = n->axes > 0;
    for (int i = 0; i < n->operands; i++) {
        const mosaic_tensor *t = tensors[i];
        step[i] = t->stride[from] * mosaic_dtype_bytes((mosaic_dtype)t->dtype);
        merges = merges && n->step[n->axes - 1][i] == size * step[i];
    }
    if (!merges) n->size[n->axes++] = 1;
    n->size[n->axes - 1] *= size;
    for (int i = 0; i < n->operands; i++) n->step[n->axes - 1][i] = step[i];
}

/* Elements [from, to) in row-major order of the merged axes. */
static void run_range(void *context, int64_t from, int64_t to)
{
    nest *n = context;
    int inner = n->axes - 1;
    while (from < to) {
        char *data[MOSAIC_LOOP_OPERANDS];
        int64_t rest = from, at = 0, zero[MOSAIC_LOOP_OPERANDS] = {0};
        for (int i = 0; i < n->operands; i++) data[i] = n->data[i];
        for (int axis = inner; axis >= 0; axis--) {
            int64_t index = rest % n->size[axis];
            rest /= n->size[axis];
            if (axis == inner) at = index;
            for (int i = 0; i < n->operands; i++) data[i] += index * n->step[axis][i];
        }
        int64_t left = inner >= 0 ? n->size[inner] - at : 1;
        int64_t count = left < to - from ? left : to - from;
        n->body(n->context, count, data, inner >= 0 ? n->step[inner] : zero);
        from += count;
    }
}

void mosaic_loop(int operands, const mosaic_tensor *const *tensors, mosaic_loop_body body,
                 void *context)
{
    nest n = {.operands = operands, .body = body, .context = context};
    for (int i = 0; i < operands; i++) n.data[i] = mosaic_data(tensors[i]);
    for (int axis = 0; axis < tensors[0]->ndim; axis++) add_axis(&n, tensors, axis);
    mosaic_parallel(mosaic_tensor_numel(tensors[0]), PARALLEL_FROM, run_range, &n);
}
