/* normalize_rows.h - bodies of normalize.c for one element type. */
#include "lanes.h"

static inline REAL NAME(row_mean)(int64_t n, const REAL *x)
{
    NAME(lanes) total = {0};
#define BLOCK(j, count) total += NAME(load_part)(x + (j), count, 0)
    LANES_EACH(n, BLOCK);
#undef BLOCK
    return NAME(sum)(total) / (REAL)n;
}

static inline REAL NAME(row_variance)(int64_t n, const REAL *x, REAL mean)
{
    NAME(lanes) total = {0}, d;
#define BLOCK(j, count) d = NAME(load_part)(x + (j), count, mean) - mean, total += d * d
    LANES_EACH(n, BLOCK);
#undef BLOCK
    return NAME(sum)(total) / (REAL)n;
}

/* (x - mean) scale, for the lanes from x on. */
static inline NAME(lanes) NAME(normal)(const REAL *x, int64_t count, REAL mean, REAL scale)
{
    return (NAME(load_part)(x, count, 0) - mean) * scale;
}

static inline void NAME(place)(REAL *out, int64_t count, NAME(lanes) h, const REAL *weight,
                               const REAL *bias)
{
    NAME(lanes) w = NAME(load_part)(weight, count, 0), b = NAME(load_part)(bias, count, 0);
    NAME(store_part)(out, count, h * w + b);
}

static void NAME(forward)(const mosaic_normalize_forward *c, int64_t rows, REAL *out,
                          int64_t out_step, REAL *stats, const REAL *x, int64_t x_step)
{
    const REAL *weight = c->weight, *bias = c->bias;
    int64_t n = c->n;
    for (int64_t r = 0; r < rows; r++, out += out_step, stats += 2, x += x_step) {
        REAL mean = c->centered ? NAME(row_mean)(n, x) : 0;
        REAL scale = 1 / NAME(root)(NAME(row_variance)(n, x, mean) + (REAL)c->eps);
        stats[0] = mean, stats[1] = scale;
#define BLOCK(j, count)                                                                            \
    NAME(place)                                                                                    \
    (out + (j), count, NAME(normal)(x + (j), count, mean, scale), weight + (j), bias + (j))
        LANES_EACH(n, BLOCK);
#undef BLOCK
    }
}

/* sum = x + y, and forward of it. (Streaming stores of the sum, which only backward reads again,
 * gain 0.4 ms of a training step of 110 here and lose 0.1 there.) */
static void NAME(add_forward)(const mosaic_normalize_forward *c, int64_t rows, REAL *const *to,
                              const int64_t *to_step, const REAL *const *from,
                              const int64_t *from_step)
{
    for (int64_t r = 0; r < rows; r++) {
        const REAL *x = from[0] + r * from_step[0], *y = from[1] + r * from_step[1];
        REAL *sum = to[1] + r * to_step[1];
#define BLOCK(j, count)                                                                            \
    NAME(store_part)                                                                               \
    (sum + (j), count, NAME(load_part)(x + (j), count, 0) + NAME(load_part)(y + (j), count, 0))
        LANES_EACH(c->n, BLOCK);
#undef BLOCK
        NAME(forward)(c, 1, to[0] + r * to_step[0], 0, to[2] + 2 * r, sum, 0);
    }
}

/* What a row adds up: gw and gw h for dx, where gw = g weight and h = (x - mean) scale; g h and g
 * for dweight and dbias. */
static inline void NAME(collect)(NAME(lanes) * sums, int64_t count, const REAL *g,
                                 const REAL *weight, NAME(lanes) h, REAL *dweight, REAL *dbias)
{
    NAME(lanes) gj = NAME(load_part)(g, count, 0);
    NAME(lanes) gw = gj * NAME(load_part)(weight, count, 0);
    sums[0] += gw;
    sums[1] += gw * h;
    NAME(store_part)(dweight, count, NAME(load_part)(dweight, count, 0) + gj * h);
    NAME(store_part)(dbias, count, NAME(load_part)(dbias, count, 0) + gj);
}

/* dx = scale (gw - mean(gw) - h mean(gw h)). */
static inline void NAME(spread)(REAL *dx, int64_t count, const REAL *g, const REAL *weight,
                                NAME(lanes) h, const REAL *means, REAL scale)
{
    NAME(lanes) gw = NAME(load_part)(g, count, 0) * NAME(load_part)(weight, count, 0);
    NAME(store_part)(dx, count, (gw - means[0] - h * means[1]) * scale);
}

static inline void NAME(backward_row)(const mosaic_normalize_backward *c, REAL *dx, const REAL *g,
                                      const REAL *x, const REAL *stats, REAL *dweight, REAL *dbias)
{
    const REAL *weight = c->weight;
    REAL mean = stats[0], scale = stats[1];
    int64_t n = c->n;
    NAME(lanes) sums[2] = {{0}, {0}}, h;
#define BLOCK(j, count)                                                                            \
    h = NAME(normal)(x + (j), count, mean, scale);                                                 \
    NAME(collect)(sums, count, g + (j), weight + (j), h, dweight + (j), dbias + (j))
    LANES_EACH(n, BLOCK);
#undef BLOCK
    if (!dx) return;
    REAL means[2] = {c->centered ? NAME(sum)(sums[0]) / (REAL)n : 0, NAME(sum)(sums[1]) / (REAL)n};
#define BLOCK(j, count)                                                                            \
    h = NAME(normal)(x + (j), count, mean, scale);                                                 \
    NAME(spread)(dx + (j), count, g + (j), weight + (j), h, means, scale)
    LANES_EACH(n, BLOCK);
#undef BLOCK
}

static void NAME(backward)(const mosaic_normalize_backward *c, int64_t rows, REAL *dx,
                           int64_t dx_step, const REAL *g, int64_t g_step, const REAL *x,
                           int64_t x_step, const REAL *stats, REAL *partial)
{
    for (int64_t r = 0; r < rows; r++) {
        REAL *row = dx ? dx + r * dx_step : NULL;
        NAME(backward_row)
        (c, row, g + r * g_step, x + r * x_step, stats + 2 * r, partial, partial + c->n);
    }
}
