/* random.c - random numbers on the CPU.
 *
 * This file is compiled once, not per ISA: without fused multiply-adds, and with a logarithm and a
 * cosine of its own, the numbers are the same bits on every machine and every rung. */
#include <math.h>
#include <string.h>

#include "../parallel.h"
#include "../philox.h"
#include "../tensor.h"
#include "cpu.h"
#include "kernels.h"

enum { BLOCK = 256, GRAIN = 4096 };

/* log(x) for 0 < x <= 1, normal: m 2^e with sqrt(1/2) <= m < sqrt(2); log m = 2 artanh s. */
static inline double log_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits -= 0x3fe6a09e667f3bcdu; /* sqrt(1/2) */
    double e = (double)(int32_t)((int64_t)bits >> 52), m;
    bits = (bits & 0xfffffffffffffu) + 0x3fe6a09e667f3bcdu;
    memcpy(&m, &bits, sizeof m);
    double s = (m - 1) / (m + 1), z = s * s, p = 1.0 / 23;
    p = p * z + 1.0 / 21;
    p = p * z + 1.0 / 19;
    p = p * z + 1.0 / 17;
    p = p * z + 1.0 / 15;
    p = p * z + 1.0 / 13;
    p = p * z + 1.0 / 11;
    p = p * z + 1.0 / 9;
    p = p * z + 1.0 / 7;
    p = p * z + 1.0 / 5;
    p = p * z + 1.0 / 3;
    return e * M_LN2 + (2 * s + 2 * s * z * p);
}

/* cos(2 pi u), 0 <= u < 1: a quarter turn q and an angle of at most pi/4, by Taylor. */
static inline double cos_turn(double u)
{
    int32_t q = (int32_t)(4 * u + 0.5);
    double x = (u - 0.25 * q) * (2 * M_PI), z = x * x;
    double c = -1.0 / 87178291200, s = -1.0 / 1307674368000;
    c = c * z + 1.0 / 479001600, s = s * z + 1.0 / 6227020800;
    c = c * z - 1.0 / 3628800, s = s * z - 1.0 / 39916800;
    c = c * z + 1.0 / 40320, s = s * z + 1.0 / 362880;
    c = c * z - 1.0 / 720, s = s * z - 1.0 / 5040;
    c = c * z + 1.0 / 24, s = s * z + 1.0 / 120;
    c = c * z - 0.5, s = s * z - 1.0 / 6;
    c = c * z + 1, s = x + x * z * s;
    double y = q & 1 ? s : c;
    return (q + 1) & 2 ? -y : y;
}

static void uniforms(const mosaic_random_call *c, int64_t count, double *x, uint64_t at,
                     uint64_t step)
{
    for (int64_t i = 0; i < count; i++) {
        mosaic_philox bits = mosaic_philox_at(c->seed, c->stream, at + (uint64_t)i * step);
        x[i] = c->low + (c->high - c->low) * mosaic_philox_unit(bits, 0);
    }
}

/* Box and Muller; 1 - u keeps the logarithm finite. */
static void normals(const mosaic_random_call *c, int64_t count, double *x, uint64_t at,
                    uint64_t step)
{
    double turn[BLOCK];
    for (int64_t i = 0; i < count; i++) {
        mosaic_philox bits = mosaic_philox_at(c->seed, c->stream, at + (uint64_t)i * step);
        x[i] = 1 - mosaic_philox_unit(bits, 0);
        turn[i] = mosaic_philox_unit(bits, 1);
    }
    for (int64_t i = 0; i < count; i++)
        x[i] = c->low + c->high * (sqrt(-2 * log_of(x[i])) * cos_turn(turn[i]));
}

static void integers(const mosaic_random_call *c, int64_t count, int64_t *x, uint64_t at,
                     uint64_t step)
{
    uint64_t range = (uint64_t)((int64_t)c->high - (int64_t)c->low) + 1;
    for (int64_t i = 0; i < count; i++) {
        mosaic_philox bits = mosaic_philox_at(c->seed, c->stream, at + (uint64_t)i * step);
        x[i] = (int64_t)c->low + (int64_t)mosaic_philox_below(bits, range);
    }
}

typedef struct {
    const mosaic_random_call *call;
    const mosaic_tensor *out;
    double most;            /* the largest number of out's dtype below `high` */
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
        for (int64_t i = 0; i < count; i++)
            block.f[i] = block.f[i] < f->most ? block.f[i] : f->most;
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

mosaic_status mosaic_cpu_random(const mosaic_tensor *out, const mosaic_random_call *call)
{
    filling f = {.call = call, .out = out, .line = out->ndim ? out->size[out->ndim - 1] : 1};
    f.per_line = (f.line + BLOCK - 1) / BLOCK;
    if (call->kind == MOSAIC_RANDOM_UNIFORM) f.most = below(call->high, out->dtype);
    int64_t blocks = mosaic_tensor_numel(out) / f.line * f.per_line;
    int64_t length = f.line < BLOCK ? f.line : BLOCK;
    mosaic_parallel(blocks, (GRAIN + length - 1) / length, fill_blocks, &f);
    return MOSAIC_OK;
}
