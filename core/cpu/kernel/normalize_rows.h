/* normalize_rows.h - bodies of normalize.c for one element type. */
#include "lanes.h"

/* Sum of (x - from)^power over a row, for power 1 or 2. */
static inline REAL NAME(row_sum)(int64_t n, const REAL *x, REAL from, int power)
{
    NAME(lanes) total = {0}, origin = NAME(repeat)(from);
    for (int64_t j = 0; j < n; j += LANES) {
        NAME(lanes) d = NAME(load_part)(x + j, n - j, from) - origin;
        total += power == 1 ? d : d * d;
    }
    return NAME(sum)(total);
}

static void NAME(forward)(const mosaic_normalize_forward *c, int64_t rows, REAL *out,
                          int64_t out_step, REAL *stats, const REAL *x, int64_t x_step)
{
    const REAL *weight = c->weight, *bias = c->bias;
    int64_t n = c->n;
    for (int64_t r = 0; r < rows; r++, out += out_step, stats += 2, x += x_step) {
        REAL mean = c->centered ? NAME(row_sum)(n, x, 0, 1) / (REAL)n : 0;
        REAL variance = NAME(row_sum)(n, x, mean, 2) / (REAL)n;
        REAL scale = 1 / NAME(root)(variance + (REAL)c->eps);
        stats[0] = mean, stats[1] = scale;
        for (int64_t j = 0; j < n; j += LANES) {
            int64_t left = n - j;
            NAME(lanes) y = (NAME(load_part)(x + j, left, 0) - mean) * scale;
            y = y * NAME(load_part)(weight + j, left, 0) + NAME(load_part)(bias + j, left, 0);
            NAME(store_part)(out + j, left, y);
        }
    }
}

/* One row: with h = (x - mean) scale and gw = g weight,
 * dx = scale (gw - mean(gw) - h mean(gw h)), dweight += g h, dbias += g. */
static inline void NAME(backward_row)(const mosaic_normalize_backward *c, REAL *dx, const REAL *g,
                                      const REAL *x, const REAL *stats, REAL *dweight, REAL *dbias)
{
    const REAL *weight = c->weight;
    REAL mean = stats[0], scale = stats[1];
    int64_t n = c->n;
    NAME(lanes) sum_gw = {0}, sum_gwh = {0};
    for (int64_t j = 0; j < n; j += LANES) {
        int64_t left = n - j;
        NAME(lanes) gj = NAME(load_part)(g + j, left, 0);
        NAME(lanes) h = (NAME(load_part)(x + j, left, 0) - mean) * scale;
        NAME(lanes) gw = gj * NAME(load_part)(weight + j, left, 0);
        sum_gw += gw;
        sum_gwh += gw * h;
        NAME(store_part)(dweight + j, left, NAME(load_part)(dweight + j, left, 0) + gj * h);
        NAME(store_part)(dbias + j, left, NAME(load_part)(dbias + j, left, 0) + gj);
    }
    REAL of_gw = c->centered ? NAME(sum)(sum_gw) / (REAL)n : 0;
    REAL of_gwh = NAME(sum)(sum_gwh) / (REAL)n;
    for (int64_t j = 0; dx && j < n; j += LANES) {
        int64_t left = n - j;
        NAME(lanes) h = (NAME(load_part)(x + j, left, 0) - mean) * scale;
        NAME(lanes) gw = NAME(load_part)(g + j, left, 0) * NAME(load_part)(weight + j, left, 0);
        NAME(store_part)(dx + j, left, (gw - of_gw - h * of_gwh) * scale);
    }
}

static void NAME(backward)(const mosaic_normalize_backward *c, int64_t rows, REAL *dx,
                           int64_t dx_step, const REAL *g, int64_t g_step, const REAL *x,
                           int64_t x_step, const REAL *stats, REAL *partial)
{
    for (int64_t r = 0; r < rows; r++) NAME(backward_row)
    (c, dx ? dx + r * dx_step : NULL, g + r * g_step, x + r * x_step, stats + 2 * r, partial,
     partial + c->n);
}
