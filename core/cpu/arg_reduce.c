/* arg_reduce.c - the place of the smallest or largest element along an axis. */
#include "../parallel.h"
#include "../tensor.h"
#include "cpu.h"
#include "kernels.h"

enum { BLOCK = 512, GRAIN = 16384 };

typedef struct {
    const mosaic_tensor *values, *indices, *a;
    int axis;
    bool largest, integer;
} search;

typedef union {
    double f[BLOCK];
    int64_t i[BLOCK];
} stretch;

/* The first best of x[0..n), which begins at `start` of the axis; NaN is better than any number. */
static void scan_floats(const double *x, int64_t n, int64_t start, bool largest, double *best,
                        int64_t *at)
{
    for (int64_t i = 0; i < n && *best == *best; i++) {
        bool better = largest ? x[i] > *best : x[i] < *best;
        if (better || x[i] != x[i] || *at < 0) *best = x[i], *at = start + i;
    }
}

static void scan_integers(const int64_t *x, int64_t n, int64_t start, bool largest, int64_t *best,
                          int64_t *at)
{
    for (int64_t i = 0; i < n; i++) {
        bool better = largest ? x[i] > *best : x[i] < *best;
        if (better || *at < 0) *best = x[i], *at = start + i;
    }
}

/* The result for the line of a that starts at `data`. */
static void search_line(const search *s, const char *data, char *value, char *index)
{
    const mosaic_tensor *a = s->a;
    int wide = s->integer ? MOSAIC_DTYPE_I64 : MOSAIC_DTYPE_F64;
    int64_t n = a->size[s->axis];
    int64_t step = a->stride[s->axis] * mosaic_dtype_bytes((mosaic_dtype)a->dtype), at = -1;
    mosaic_convert_kernel widen = mosaic_cpu()->convert->of[wide][a->dtype];
    double best = 0;
    int64_t best_integer = 0;
    stretch block;
    for (int64_t from = 0; from < n; from += BLOCK) {
        int64_t count = n - from < BLOCK ? n - from : BLOCK;
        widen(count, &block, 8, data + from * step, step);
        if (s->integer)
            scan_integers(block.i, count, from, s->largest, &best_integer, &at);
        else
            scan_floats(block.f, count, from, s->largest, &best, &at);
    }
    *(int64_t *)(void *)index = at + 1;
    if (value) mosaic_cpu()->convert->of[a->dtype][a->dtype](1, value, 0, data + at * step, 0);
}

static char *element(const mosaic_tensor *t, const int64_t *index)
{
    int64_t offset = 0;
    for (int i = 0; i < t->ndim; i++) offset += index[i] * t->stride[i];
    return (char *)mosaic_data(t) + offset * mosaic_dtype_bytes((mosaic_dtype)t->dtype);
}

static void search_lines(void *context, int64_t from, int64_t to)
{
    const search *s = context;
    for (int64_t line = from; line < to; line++) {
        int64_t index[MOSAIC_MAX_DIMS], rest = line;
        for (int i = s->indices->ndim - 1; i >= 0; i--) {
            index[i] = rest % s->indices->size[i];
            rest /= s->indices->size[i];
        }
        search_line(s, element(s->a, index), s->values ? element(s->values, index) : NULL,
                    element(s->indices, index));
    }
}

mosaic_status mosaic_cpu_arg_reduce(const mosaic_tensor *values, const mosaic_tensor *indices,
                                    const mosaic_tensor *a, bool largest, int axis)
{
    search s = {.values = values,
                .indices = indices,
                .a = a,
                .axis = axis,
                .largest = largest,
                .integer = !mosaic_dtype_is_float(a->dtype)};
    int64_t lines = mosaic_tensor_numel(indices);
    mosaic_parallel(lines, (GRAIN + a->size[axis] - 1) / a->size[axis], search_lines, &s);
    return MOSAIC_OK;
}
