/* random.c - random numbers on the CPU: the kernels' blocks, and where they go. */
#include "../parallel.h"
#include "../tensor.h"
#include "cpu.h"
#include "kernels.h"

enum { BLOCK = MOSAIC_RANDOM_BLOCK, GRAIN = 4096 };

typedef struct {
    const mosaic_random_call *call;
    const mosaic_tensor *out;
    int axes;               /* those before what is one line */
    int64_t line, per_line; /* elements of a line, blocks that make it */
    int64_t to_step, step;  /* from one element of it to the next: bytes, numbers of the stream */
} filling;

/* `count` elements of the stream from number `at`, to `to`. */
static void fill_block(const filling *f, int64_t count, char *to, uint64_t at)
{
    const mosaic_random_kernels *kernels = mosaic_cpu()->random;
    union {
        double f[BLOCK];
        int64_t i[BLOCK];
    } block;
    mosaic_dtype type = MOSAIC_DTYPE_F64;
    if (f->call->kind == MOSAIC_RANDOM_INTEGER) {
        kernels->integers(f->call, count, block.i, at, (uint64_t)f->step);
        type = MOSAIC_DTYPE_I64;
    } else if (f->call->kind == MOSAIC_RANDOM_NORMAL) {
        kernels->normals(f->call, count, block.f, at, (uint64_t)f->step);
    } else {
        kernels->uniforms(f->call, count, block.f, at, (uint64_t)f->step);
    }
    mosaic_cpu()->convert->of[f->out->dtype][type](count, to, f->to_step, &block, 8);
}

static void fill_blocks(void *context, int64_t from, int64_t to)
{
    const filling *f = context;
    const mosaic_tensor *out = f->out;
    int64_t bytes = mosaic_dtype_bytes((mosaic_dtype)out->dtype);
    for (int64_t block = from; block < to; block++) {
        int64_t start = block % f->per_line * BLOCK, rest = block / f->per_line;
        int64_t count = f->line - start < BLOCK ? f->line - start : BLOCK;
        int64_t offset = start * f->to_step, at = f->call->first + start * f->step;
        for (int i = f->axes - 1; i >= 0; i--) {
            offset += rest % out->size[i] * out->stride[i] * bytes;
            at += rest % out->size[i] * f->call->stride[i];
            rest /= out->size[i];
        }
        fill_block(f, count, (char *)mosaic_data(out) + offset, (uint64_t)at);
    }
}

/* The last axis, and those before it that go on where it ends, in memory and in the stream. */
static void find_line(filling *f)
{
    const mosaic_tensor *out = f->out;
    const int64_t *stride = f->call->stride;
    int last = out->ndim - 1;
    f->line = 1;
    if (last < 0) return;
    f->to_step = out->stride[last] * mosaic_dtype_bytes((mosaic_dtype)out->dtype);
    f->step = stride[last];
    for (f->axes = out->ndim; f->axes > 0; f->axes--) {
        int i = f->axes - 1;
        bool goes_on =
            out->stride[i] == f->line * out->stride[last] && stride[i] == f->line * stride[last];
        if (i < last && !goes_on) break;
        f->line *= out->size[i];
    }
}

mosaic_status mosaic_cpu_random(const mosaic_tensor *out, const mosaic_random_call *call)
{
    filling f = {.call = call, .out = out};
    find_line(&f);
    f.per_line = (f.line + BLOCK - 1) / BLOCK;
    int64_t blocks = mosaic_tensor_numel(out) / f.line * f.per_line;
    int64_t length = f.line < BLOCK ? f.line : BLOCK;
    mosaic_parallel(blocks, (GRAIN + length - 1) / length, fill_blocks, &f);
    return MOSAIC_OK;
}
