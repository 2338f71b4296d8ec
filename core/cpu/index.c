/* index.c - gather, scatter, and the check that every index is in range. core/op/index.c explains
 * what base, step and index are. */
#include "../parallel.h"
#include "cpu.h"
#include "loop.h"

/* ---- check ---------------------------------------------------------------------------------- */

/* The value of element `at` in row-major order. */
static int64_t value_at(const mosaic_tensor *index, int64_t at)
{
    const int64_t *data = mosaic_data(index);
    for (int i = index->ndim - 1; i >= 0; i--) {
        data += at % index->size[i] * index->stride[i];
        at /= index->size[i];
    }
    return *data;
}

mosaic_status mosaic_cpu_check_index(const char *op, const char *what, const mosaic_tensor *index,
                                     int64_t limit, int64_t ignore)
{
    int64_t count = mosaic_tensor_numel(index);
    bool contiguous = mosaic_tensor_is_contiguous(index);
    const int64_t *data = mosaic_data(index);
    for (int64_t at = 0; at < count; at++) {
        int64_t value = contiguous ? data[at] : value_at(index, at);
        if ((value >= 1 && value <= limit) || value == ignore) continue;
        char position[MOSAIC_PLACE_ROOM];
        mosaic_place_print(position, index->ndim, index->size, at);
        return mosaic_fail(MOSAIC_EINVAL, "%s: %s %lld at position %s is outside 1..%lld", op, what,
                           (long long)value, position, (long long)limit);
    }
    return MOSAIC_OK;
}

/* ---- gather --------------------------------------------------------------------------------- */

typedef struct {
    int64_t bytes; /* of one element */
    int64_t step;  /* bytes from one indexed element to the next */
} reading;

#define DEFINE_COPY(name, type)                                                                    \
    static void name(int64_t count, char *to, int64_t to_step, const char *from,                   \
                     int64_t from_step)                                                            \
    {                                                                                              \
        for (; count--; to += to_step, from += from_step) *(type *)to = *(const type *)from;       \
    }
DEFINE_COPY(copy_1, uint8_t)
DEFINE_COPY(copy_2, uint16_t)
DEFINE_COPY(copy_4, uint32_t)
DEFINE_COPY(copy_8, uint64_t)

static void copy_run(int64_t bytes, int64_t count, char *to, int64_t to_step, const char *from,
                     int64_t from_step)
{
    switch (bytes) {
    case 1: copy_1(count, to, to_step, from, from_step); break;
    case 2: copy_2(count, to, to_step, from, from_step); break;
    case 4: copy_4(count, to, to_step, from, from_step); break;
    default: copy_8(count, to, to_step, from, from_step); break;
    }
}

/* data: out, base, index. A run under one index is a copy. */
static void gather_run(void *context, int64_t count, char *const *data, const int64_t *step)
{
    const reading *r = context;
    char *out = data[0], *base = data[1], *index = data[2];
    if (step[2] == 0) {
        copy_run(r->bytes, count, out, step[0], base + (*(int64_t *)index - 1) * r->step, step[1]);
        return;
    }
    for (; count--; out += step[0], base += step[1], index += step[2])
        copy_run(r->bytes, 1, out, 0, base + (*(int64_t *)index - 1) * r->step, 0);
}

mosaic_status mosaic_cpu_gather(const mosaic_tensor *out, const mosaic_tensor *base, int64_t step,
                                const mosaic_tensor *index)
{
    int64_t bytes = mosaic_dtype_bytes((mosaic_dtype)out->dtype);
    reading r = {bytes, step * bytes};
    const mosaic_tensor *operands[] = {out, base, index};
    mosaic_loop(3, operands, gather_run, &r);
    return MOSAIC_OK;
}

/* ---- scatter -------------------------------------------------------------------------------- */

typedef void (*write_run)(int64_t count, char *to, int64_t to_step, const char *from,
                          int64_t from_step);

#define DEFINE_ADD(name, type, sum_type)                                                           \
    static void name(int64_t count, char *to, int64_t to_step, const char *from,                   \
                     int64_t from_step)                                                            \
    {                                                                                              \
        for (; count--; to += to_step, from += from_step)                                          \
            *(type *)to = (type)((sum_type) * (type *)to + (sum_type) * (const type *)from);       \
    }
DEFINE_ADD(add_f32, float, float)
DEFINE_ADD(add_f64, double, double)
DEFINE_ADD(add_i32, int32_t, uint32_t)
DEFINE_ADD(add_i64, int64_t, uint64_t)
DEFINE_ADD(add_u8, uint8_t, uint32_t)

static write_run adder(int dtype)
{
    switch (dtype) {
    case MOSAIC_DTYPE_F32: return add_f32;
    case MOSAIC_DTYPE_F64: return add_f64;
    case MOSAIC_DTYPE_I32: return add_i32;
    case MOSAIC_DTYPE_I64: return add_i64;
    default: return add_u8;
    }
}

static write_run copier(int64_t bytes)
{
    return bytes == 1 ? copy_1 : bytes == 2 ? copy_2 : bytes == 4 ? copy_4 : copy_8;
}

/* Writes to one place happen in row-major order of the index, whatever the number of threads: only
 * `cut`, an axis along which base moves, is divided among them. */
typedef struct {
    int axes, cut;
    int64_t size[MOSAIC_MAX_DIMS];
    int64_t step[MOSAIC_MAX_DIMS][3]; /* bytes; of base, source, index */
    char *data[3];
    int64_t index_step; /* bytes from one indexed element to the next */
    write_run write;
} writing;

static void write_axis(const writing *w, int axis, char *base, char *source, char *index)
{
    const int64_t *step = w->step[axis];
    if (axis == w->axes || (axis == w->axes - 1 && step[2] == 0)) {
        int64_t count = axis == w->axes ? 1 : w->size[axis];
        base += (*(int64_t *)index - 1) * w->index_step;
        w->write(count, base, count > 1 ? step[0] : 0, source, count > 1 ? step[1] : 0);
        return;
    }
    for (int64_t i = 0; i < w->size[axis]; i++)
        write_axis(w, axis + 1, base + i * step[0], source + i * step[1], index + i * step[2]);
}

static void write_range(void *context, int64_t from, int64_t to)
{
    writing w = *(const writing *)context;
    if (w.axes) w.size[w.cut] = to - from;
    for (int i = 0; i < 3; i++) w.data[i] += w.axes ? from * w.step[w.cut][i] : 0;
    write_axis(&w, 0, w.data[0], w.data[1], w.data[2]);
}

static void run_writing(writing *w, const mosaic_tensor *const *tensors, int64_t total)
{
    enum { TASK = 16384 /* elements worth waking a thread */ };
    w->axes = tensors[0]->ndim;
    for (int i = 0; i < 3; i++) w->data[i] = mosaic_data(tensors[i]);
    int64_t longest = 0;
    for (int axis = 0; axis < w->axes; axis++) {
        w->size[axis] = tensors[0]->size[axis];
        for (int i = 0; i < 3; i++)
            w->step[axis][i] =
                tensors[i]->stride[axis] * mosaic_dtype_bytes((mosaic_dtype)tensors[i]->dtype);
        bool apart = w->step[axis][0] != 0 && w->size[axis] > longest;
        if (apart) w->cut = axis, longest = w->size[axis];
    }
    if (longest)
        mosaic_parallel(longest, TASK / (total / longest) + 1, write_range, w);
    else
        write_range(w, 0, w->axes ? w->size[w->cut] : 1);
}

mosaic_status mosaic_cpu_scatter(const mosaic_tensor *base, int64_t step,
                                 const mosaic_tensor *index, const mosaic_tensor *source, bool add)
{
    int64_t bytes = mosaic_dtype_bytes((mosaic_dtype)base->dtype);
    writing w = {.index_step = step * bytes, .write = add ? adder(base->dtype) : copier(bytes)};
    const mosaic_tensor *tensors[] = {base, source, index};
    run_writing(&w, tensors, mosaic_tensor_numel(index));
    return MOSAIC_OK;
}
