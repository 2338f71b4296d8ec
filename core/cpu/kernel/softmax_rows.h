/* softmax_rows.h - bodies of softmax.c for one element type. */
#include "lanes.h"

static inline NAME(lanes) NAME(exp_lanes)(NAME(lanes) x)
{
    REAL each[LANES_BYTES / sizeof(REAL)];
    NAME(store)(each, x);
    for (int64_t i = 0; i < LANES; i++) each[i] = NAME(exp)(each[i]);
    return NAME(load)(each);
}

static inline REAL NAME(row_largest)(int64_t n, const REAL *a)
{
    NAME(lanes) most = NAME(repeat)(-INFINITY);
    for (int64_t j = 0; j < n; j += LANES) {
        NAME(lanes) v = NAME(load_part)(a + j, n - j, -INFINITY);
        most = NAME(select)(v > most, v, most);
    }
    return NAME(largest)(most);
}

/* Sum of exp(a - most) over the row; the terms go to `terms` unless that is NULL. */
static inline REAL NAME(row_exp)(int64_t n, REAL *terms, const REAL *a, REAL most)
{
    NAME(lanes) total = {0};
    for (int64_t j = 0; j < n; j += LANES) {
        NAME(lanes) e = NAME(exp_lanes)(NAME(load_part)(a + j, n - j, -INFINITY) - most);
        total += e;
        if (terms) NAME(store_part)(terms + j, n - j, e);
    }
    return NAME(sum)(total);
}

static REAL NAME(logsumexp)(int64_t n, const REAL *a, REAL *most)
{
    *most = NAME(row_largest)(n, a);
    return NAME(log)(NAME(row_exp)(n, NULL, a, *most));
}

static void NAME(forward)(int64_t n, REAL *out, const REAL *a, bool take_log)
{
    REAL most = NAME(row_largest)(n, a);
    REAL sum = NAME(row_exp)(n, take_log ? NULL : out, a, most);
    REAL shift = take_log ? NAME(log)(sum) : 0, scale = 1 / sum;
    for (int64_t j = 0; j < n; j += LANES) {
        NAME(lanes) v = NAME(load_part)((take_log ? a : out) + j, n - j, 0);
        NAME(store_part)(out + j, n - j, take_log ? v - most - shift : v * scale);
    }
}

/* dx = y (g - sum(g y)) for softmax, g - exp(y) sum(g) for log_softmax. */
static void NAME(backward)(int64_t n, REAL *dx, const REAL *g, const REAL *y, bool take_log)
{
    NAME(lanes) total = {0};
    for (int64_t j = 0; j < n; j += LANES) {
        NAME(lanes) gj = NAME(load_part)(g + j, n - j, 0);
        total += take_log ? gj : gj * NAME(load_part)(y + j, n - j, 0);
    }
    REAL sum = NAME(sum)(total);
    for (int64_t j = 0; j < n; j += LANES) {
        NAME(lanes) gj = NAME(load_part)(g + j, n - j, 0), yj = NAME(load_part)(y + j, n - j, 0);
        NAME(store_part)
        (dx + j, n - j, take_log ? gj - NAME(exp_lanes)(yj) * sum : yj * (gj - sum));
    }
}

static void NAME(weigh)(int64_t n, REAL *out, const REAL *a, REAL most, REAL log_sum, REAL scale)
{
    for (int64_t j = 0; j < n; j += LANES) {
        NAME(lanes) v = NAME(load_part)(a + j, n - j, 0) - most - log_sum;
        NAME(store_part)(out + j, n - j, NAME(exp_lanes)(v) * scale);
    }
}
