/* random.c - random numbers on the CPU.
 *
 * This file is compiled once, not per ISA, without fused multiply-adds: the numbers are the same
 * bits on every machine and every rung. */
#include <math.h>

#include "../draw.h"
#include "../parallel.h"
#include "../tensor.h"
#include "cpu.h"
#include "kernels.h"

enum { BLOCK = 256, GRAIN = 4096 };

static void uniforms(const mosaic_random_call *c, int64_t count, double *x, uint64_t at,
                     uint64_t step)
{
    for (int64_t i = 0; i < count; i++) {
        mosaic_philox bits = mosaic_philox_at(c->seed, c->stream, at + (uint64_t)i * step);
        x[i] = mosaic_draw_uniform(c, bits);
    }
}

/* In two loops, which the compiler vectorises. */
static void normals(const mosaic_random_call *c, int64_t count, double *x, uint64_t at,
                    uint64_t step)
{
    double turn[BLOCK];
    for (int64_t i = 0; i < count; i++) {
        mosaic_philox bits = mosaic_philox_at(c->seed, c->stream, at + (uint64_t)i * step);
        x[i] = mosaic_philox_unit(bits, 0);
        turn[i] = mosaic_philox_unit(bits, 1);
    }
    for (int64_t i = 0; i < count; i++) x[i] = mosaic_draw_normal(c, x[i], turn[i]);
}

static void integers(const mosaic_random_call *c, int64_t count, int64_t *x, uint64_t at,
                     uint64_t step)
{
    for (int64_t i = 0; i < count; i++)
        x[i] =
            mosaic_draw_integer(c, mosaic_philox_at(c->seed, c->stream, at + (uint64_t)i * step));
}

typedef struct {
    const mosaic_random_call *call;
    const mosaic_tensor *out;
    int64_t line, per_line; /* elements of the last axis, blocks that make */
} filling;

/* `count` elements of the stream from number `at`, to `to`. */
static void fill_block(const filling *f, int64_t count, char *to, int64_t to_step, uint64_t at,
                       uint64_t step)
{
    union {
        double f[BLOCK];
        int64_t i[BLOCK];
    } block;
    mosaic_dtype type = MOSAIC_DTYPE_F64;
    if (f->call->kind == MOSAIC_RANDOM_INTEGER) {
        integers(f->call, count, block.i, at, step);
        type = MOSAIC_DTYPE_I64;
    } else if (f->call->kind == MOSAIC_RANDOM_NORMAL) {
        normals(f->call, count, block.f, at, step);
    } else {
        uniforms(f->call, count, block.f, at, step);
    }
    mosaic_cpu()->convert->of[f->out->dtype][type](count, to, to_step, &block, 8);
}

static void fill_blocks(void *context, int64_t from, int64_t to)
{
    const filling *f = context;
    const mosaic_tensor *out = f->out;
    int64_t bytes = mosaic_dtype_bytes((mosaic_dtype)out->dtype), step[2] = {0};
    int last = out->ndim - 1;
    if (last >= 0) step[0] = out->stride[last] * bytes, step[1] = f->call->stride[last];
    for (int64_t block = from; block < to; block++) {
        int64_t start = block % f->per_line * BLOCK, rest = block / f->per_line;
        int64_t count = f->line - start < BLOCK ? f->line - start : BLOCK;
        int64_t offset = start * step[0], at = f->call->first + start * step[1];
        for (int i = last - 1; i >= 0; i--) {
            offset += rest % out->size[i] * out->stride[i] * bytes;
            at += rest % out->size[i] * f->call->stride[i];
            rest /= out->size[i];
        }
        fill_block(f, count, (char *)mosaic_data(out) + offset, step[0], (uint64_t)at,
                   (uint64_t)step[1]);
    }
}

mosaic_status mosaic_cpu_random(const mosaic_tensor *out, const mosaic_random_call *call)
{
    filling f = {.call = call, .out = out, .line = out->ndim ? out->size[out->ndim - 1] : 1};
    f.per_line = (f.line + BLOCK - 1) / BLOCK;
    int64_t blocks = mosaic_tensor_numel(out) / f.line * f.per_line;
    int64_t length = f.line < BLOCK ? f.line : BLOCK;
    mosaic_parallel(blocks, (GRAIN + length - 1) / length, fill_blocks, &f);
    return MOSAIC_OK;
}
