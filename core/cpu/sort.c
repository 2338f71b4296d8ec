/* sort.c - stable order and running sums, row by row along any axis. */
#include <stdatomic.h>
#include <stdlib.h>

#include "cpu.h"
#include "rows.h"

/* An element's place in the order as an unsigned number, and where it came from. */
typedef struct {
    uint64_t key;
    int64_t from;
} entry;

typedef struct {
    int dtype; /* of a row as it arrives: halves as f32 */
    int64_t n, count;
    bool descending;
    atomic_bool out_of_memory;
} sorting;

/* ---- keys ----------------------------------------------------------------------------------- */

static const uint64_t SIGN = (uint64_t)1 << 63;

/* Keeps the order; -0 and 0 are equal. */
static uint64_t float_key(double x)
{
    uint64_t bits;
    x += 0.0;
    memcpy(&bits, &x, sizeof bits);
    return bits & SIGN ? ~bits : bits | SIGN;
}

/* Turned around for a descending order, but NaN comes last in both. */
static uint64_t key_of(const sorting *s, const char *row, int64_t i)
{
    double x = 0;
    uint64_t key;
    switch (s->dtype) {
    case MOSAIC_DTYPE_F32: x = ((const float *)row)[i], key = float_key(x); break;
    case MOSAIC_DTYPE_F64: x = ((const double *)row)[i], key = float_key(x); break;
    case MOSAIC_DTYPE_I32: key = (uint64_t)((const int32_t *)row)[i] ^ SIGN; break;
    case MOSAIC_DTYPE_I64: key = (uint64_t)((const int64_t *)row)[i] ^ SIGN; break;
    default: key = ((const uint8_t *)row)[i]; break;
    }
    return x != x ? UINT64_MAX : s->descending ? ~key : key;
}

/* ---- merge sort ----------------------------------------------------------------------------- */

/* The sorted runs a[0..middle) and a[middle..n) into b; the left one goes first where keys are
 * equal. */
static void merge(entry *b, const entry *a, int64_t middle, int64_t n)
{
    int64_t left = 0, right = middle;
    for (int64_t i = 0; i < n; i++) {
        bool from_left = right == n || (left < middle && a[left].key <= a[right].key);
        b[i] = a[from_left ? left : right];
        left += from_left, right += !from_left;
    }
}

/* Sorts a[0..n) with the help of b[0..n); returns the one that holds the result. */
static entry *merge_sort(entry *a, entry *b, int64_t n)
{
    for (int64_t run = 1; run < n; run *= 2) {
        for (int64_t start = 0; start < n; start += 2 * run) {
            int64_t left = n - start, length = left < 2 * run ? left : 2 * run;
            merge(b + start, a + start, run < length ? run : length, length);
        }
        entry *sorted = b;
        b = a, a = sorted;
    }
    return a;
}

static void place(char *values, int64_t to, const char *row, int64_t from, int64_t bytes)
{
    memcpy(values + to * bytes, row + from * bytes, (size_t)bytes);
}

/* data: values, indices, the row. */
static void sort_rows(void *context, int64_t first, int64_t rows, char *const *data,
                      const int64_t *step)
{
    sorting *s = context;
    (void)first;
    int64_t n = s->n, bytes = mosaic_dtype_bytes((mosaic_dtype)s->dtype);
    entry *room = malloc((size_t)(2 * n) * sizeof *room);
    if (!room) s->out_of_memory = true;
    for (int64_t r = 0; room && r < rows; r++) {
        const char *row = data[2] + r * step[2] * bytes;
        for (int64_t i = 0; i < n; i++) room[i] = (entry){key_of(s, row, i), i};
        const entry *sorted = merge_sort(room, room + n, n);
        int64_t *indices = (int64_t *)data[1] + r * step[1];
        for (int64_t i = 0; i < s->count; i++) {
            place(data[0] + r * step[0] * bytes, i, row, sorted[i].from, bytes);
            indices[i] = sorted[i].from + 1;
        }
    }
    free(room);
}

mosaic_status mosaic_cpu_sort(const mosaic_tensor *values, const mosaic_tensor *indices,
                              const mosaic_tensor *a, int axis, bool descending)
{
    mosaic_tensor v = mosaic_axis_last(values, axis), i = mosaic_axis_last(indices, axis);
    mosaic_tensor row = mosaic_axis_last(a, axis);
    const mosaic_tensor *tensors[] = {&v, &i, &row};
    int dtype = mosaic_dtype_is_half(a->dtype) ? MOSAIC_DTYPE_F32 : a->dtype;
    sorting s = {dtype, a->size[axis], values->size[axis], descending, false};
    int64_t grain = mosaic_rows_grain(mosaic_tensor_numel(a) / s.n, s.n);
    MOSAIC_TRY(mosaic_rows(3, 2, tensors, grain, sort_rows, &s));
    if (s.out_of_memory)
        return mosaic_fail(MOSAIC_ENOMEM, "sort: no memory for %lld elements", (long long)s.n);
    return MOSAIC_OK;
}

/* ---- running sums --------------------------------------------------------------------------- */

typedef struct {
    int dtype;
    int64_t n;
    bool backwards;
} running;

/* Integers wrap around, hence the unsigned sum; f32 is summed in double. */
#define DEFINE_RUN(name, type, sum_type)                                                           \
    static void name(type *out, const type *a, int64_t n, bool backwards)                          \
    {                                                                                              \
        sum_type sum = 0;                                                                          \
        for (int64_t i = 0; i < n; i++) {                                                          \
            int64_t at = backwards ? n - 1 - i : i;                                                \
            sum += (sum_type)a[at];                                                                \
            out[at] = (type)sum;                                                                   \
        }                                                                                          \
    }
DEFINE_RUN(run_f32, float, double)
DEFINE_RUN(run_f64, double, double)
DEFINE_RUN(run_i32, int32_t, uint32_t)
DEFINE_RUN(run_i64, int64_t, uint64_t)
DEFINE_RUN(run_u8, uint8_t, uint32_t)

static void sum_rows(void *context, int64_t first, int64_t rows, char *const *data,
                     const int64_t *step)
{
    const running *c = context;
    int64_t bytes = mosaic_dtype_bytes((mosaic_dtype)c->dtype);
    (void)first;
    for (int64_t r = 0; r < rows; r++) {
        void *out = data[0] + r * step[0] * bytes;
        const void *a = data[1] + r * step[1] * bytes;
        switch (c->dtype) {
        case MOSAIC_DTYPE_F32: run_f32(out, a, c->n, c->backwards); break;
        case MOSAIC_DTYPE_F64: run_f64(out, a, c->n, c->backwards); break;
        case MOSAIC_DTYPE_I32: run_i32(out, a, c->n, c->backwards); break;
        case MOSAIC_DTYPE_I64: run_i64(out, a, c->n, c->backwards); break;
        default: run_u8(out, a, c->n, c->backwards); break;
        }
    }
}

mosaic_status mosaic_cpu_cumsum(const mosaic_tensor *out, const mosaic_tensor *a, int axis,
                                bool backwards)
{
    mosaic_tensor to = mosaic_axis_last(out, axis), from = mosaic_axis_last(a, axis);
    const mosaic_tensor *tensors[] = {&to, &from};
    int dtype = mosaic_dtype_is_half(a->dtype) ? MOSAIC_DTYPE_F32 : a->dtype;
    running c = {dtype, a->size[axis], backwards};
    int64_t grain = mosaic_rows_grain(mosaic_tensor_numel(a) / c.n, c.n);
    return mosaic_rows(2, 1, tensors, grain, sum_rows, &c);
}
