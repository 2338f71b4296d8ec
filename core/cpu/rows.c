/* rows.c - merge the leading axes, cut into blocks of rows, bring scattered rows together. */
#include "rows.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "../parallel.h"

enum {
    BUFFER = 16384,        /* elements that are brought together at a time, */
    LONG_BUFFER = 1 << 21, /* or, of long rows, */
    TOGETHER = 16,         /* so many rows: neighbours across the rows share cache lines */
    ALIGNMENT = 64,        /* bytes */
    TASK = 16384,          /* elements worth waking a thread */
    FEW_TASKS = 8,         /* as many there should be, if there are rows enough, */
    TASKS = 64,            /* and not many more than this */
};

typedef struct {
    char *data;
    int64_t length, element; /* of a row: elements, and bytes between them */
    int64_t bytes;           /* of one element as the body sees it */
    int dtype;
    bool direct; /* the body reads and writes the operand itself */
    int64_t step[MOSAIC_MAX_DIMS];
} operand;

typedef struct {
    int operands, outputs, axes;
    int64_t size[MOSAIC_MAX_DIMS]; /* of the leading axes */
    operand operand[MOSAIC_ROWS_OPERANDS];
    int64_t grain, buffered; /* rows in a block when something is buffered, else 0 */
    mosaic_rows_body body;
    void *context;
    atomic_int_least64_t missing; /* bytes of a buffer that there was no memory for */
} walk;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

mosaic_tensor mosaic_axis_last(const mosaic_tensor *a, int axis)
{
    mosaic_tensor view = *a;
    for (int i = axis; i < a->ndim - 1; i++)
        view.size[i] = a->size[i + 1], view.stride[i] = a->stride[i + 1];
    if (a->ndim) view.size[a->ndim - 1] = a->size[axis], view.stride[a->ndim - 1] = a->stride[axis];
    return view;
}

int64_t mosaic_rows_grain(int64_t rows, int64_t n)
{
    int64_t enough = TASK / (n > 0 ? n : 1) + 1, fair = (rows + TASKS - 1) / TASKS;
    int64_t together = smaller(TOGETHER, rows / FEW_TASKS + 1);
    return larger(larger(enough, fair), together);
}

/* ---- bringing rows together ----------------------------------------------------------------- */

/* The inner loop runs over whichever of rows and elements lie closer together. */
#define DEFINE_MOVE(name, near_type, far_type, NEAR, FAR, ASSIGN)                                  \
    static void name(const operand *o, char *near_data, char *far_data, int64_t rows,              \
                     int64_t row_step)                                                             \
    {                                                                                              \
        bool rows_inside = row_step < o->element;                                                  \
        int64_t outer = rows_inside ? o->length : rows, inner = rows_inside ? rows : o->length;    \
        for (int64_t i = 0; i < outer; i++)                                                        \
            for (int64_t j = 0; j < inner; j++) {                                                  \
                int64_t row = rows_inside ? j : i, column = rows_inside ? i : j;                   \
                near_type *NEAR = (near_type *)near_data + row * o->length + column;               \
                far_type *FAR = (far_type *)(far_data + row * row_step + column * o->element);     \
                ASSIGN;                                                                            \
            }                                                                                      \
    }
DEFINE_MOVE(load_1, uint8_t, const uint8_t, near, far, *near = *far)
DEFINE_MOVE(load_4, uint32_t, const uint32_t, near, far, *near = *far)
DEFINE_MOVE(load_8, uint64_t, const uint64_t, near, far, *near = *far)
DEFINE_MOVE(load_bf16, float, const uint16_t, near, far, *near = mosaic_bf16_to_f32(*far))
DEFINE_MOVE(load_f16, float, const uint16_t, near, far, *near = mosaic_f16_to_f32(*far))
DEFINE_MOVE(store_1, const uint8_t, uint8_t, near, far, *far = *near)
DEFINE_MOVE(store_4, const uint32_t, uint32_t, near, far, *far = *near)
DEFINE_MOVE(store_8, const uint64_t, uint64_t, near, far, *far = *near)
DEFINE_MOVE(store_bf16, const float, uint16_t, near, far, *far = mosaic_f32_to_bf16(*near))
DEFINE_MOVE(store_f16, const float, uint16_t, near, far, *far = mosaic_f32_to_f16(*near))

typedef void (*move)(const operand *o, char *near, char *far, int64_t rows, int64_t row_step);

static move mover(const operand *o, bool store)
{
    if (o->dtype == MOSAIC_DTYPE_BF16) return store ? store_bf16 : load_bf16;
    if (o->dtype == MOSAIC_DTYPE_F16) return store ? store_f16 : load_f16;
    if (o->bytes == 8) return store ? store_8 : load_8;
    if (o->bytes == 4) return store ? store_4 : load_4;
    return store ? store_1 : load_1;
}

/* ---- walking -------------------------------------------------------------------------------- */

static operand make_operand(const mosaic_tensor *t)
{
    int last = t->ndim - 1;
    bool half = mosaic_dtype_is_half(t->dtype);
    int64_t bytes = mosaic_dtype_bytes((mosaic_dtype)t->dtype);
    operand o = {.data = mosaic_data(t), .dtype = t->dtype, .bytes = half ? 4 : bytes};
    o.length = last < 0 ? 1 : t->size[last];
    o.element = (last < 0 ? 1 : t->stride[last]) * bytes;
    o.direct = !half && (o.element == bytes || o.length <= 1);
    return o;
}

static void add_axis(walk *w, const mosaic_tensor *const *tensors, int axis, int64_t size)
{
    int64_t step[MOSAIC_ROWS_OPERANDS] = {0};
    if (size == 1) return;
    bool merges = w->axes > 0;
    for (int i = 0; i < w->operands; i++) {
        const mosaic_tensor *t = tensors[i];
        if (!t) continue;
        step[i] = t->stride[axis] * mosaic_dtype_bytes((mosaic_dtype)t->dtype);
        merges = merges && w->operand[i].step[w->axes - 1] == size * step[i];
    }
    if (!merges) w->size[w->axes++] = 1;
    w->size[w->axes - 1] *= size;
    for (int i = 0; i < w->operands; i++) w->operand[i].step[w->axes - 1] = step[i];
}

/* Rows from `row` on that lie evenly (at most `most`); at[i] becomes operand i's first byte. */
static int64_t locate(const walk *w, int64_t row, int64_t most, char **at)
{
    int64_t left = 1;
    for (int i = 0; i < w->operands; i++) at[i] = w->operand[i].data;
    for (int axis = w->axes - 1; axis >= 0; axis--) {
        int64_t index = row % w->size[axis];
        row /= w->size[axis];
        if (axis == w->axes - 1) left = w->size[axis] - index;
        for (int i = 0; i < w->operands; i++)
            if (at[i]) at[i] += index * w->operand[i].step[axis];
    }
    return left < most ? left : most;
}

/* One block: data[i] and step[i] as the body sees them, from the operands or their buffers. */
static void run_block(walk *w, int64_t first, int64_t rows, char *const *at, char *const *buffer)
{
    char *data[MOSAIC_ROWS_OPERANDS];
    int64_t step[MOSAIC_ROWS_OPERANDS], row_step[MOSAIC_ROWS_OPERANDS];
    for (int i = 0; i < w->operands; i++) {
        const operand *o = &w->operand[i];
        row_step[i] = w->axes ? o->step[w->axes - 1] : 0;
        data[i] = o->direct ? at[i] : buffer[i];
        step[i] = o->direct ? row_step[i] / (o->bytes ? o->bytes : 1) : o->length;
        if (!o->direct && i >= w->outputs) mover(o, false)(o, buffer[i], at[i], rows, row_step[i]);
    }
    w->body(w->context, first, rows, data, step);
    for (int i = 0; i < w->outputs; i++) {
        const operand *o = &w->operand[i];
        if (!o->direct) mover(o, true)(o, buffer[i], at[i], rows, row_step[i]);
    }
}

static int64_t buffer_bytes(const walk *w, const operand *o)
{
    int64_t bytes = o->direct ? 0 : w->buffered * o->length * o->bytes;
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* One allocation for all buffers of a thread; false: no memory. */
static bool make_buffers(walk *w, char **buffer, void **room)
{
    int64_t total = 0;
    for (int i = 0; i < w->operands; i++) total += buffer_bytes(w, &w->operand[i]);
    *room = total ? aligned_alloc(ALIGNMENT, (size_t)total) : NULL;
    char *next = *room;
    for (int i = 0; i < w->operands; i++) {
        buffer[i] = next;
        if (next) next += buffer_bytes(w, &w->operand[i]);
    }
    if (total && !*room) w->missing = total;
    return !total || *room;
}

static void run_range(void *context, int64_t from, int64_t to)
{
    walk *w = context;
    char *buffer[MOSAIC_ROWS_OPERANDS], *at[MOSAIC_ROWS_OPERANDS];
    void *room;
    if (!make_buffers(w, buffer, &room)) return;
    while (from < to) {
        int64_t most = smaller(to - from, w->grain - from % w->grain);
        if (w->buffered) most = smaller(most, w->buffered);
        int64_t rows = locate(w, from, most, at);
        run_block(w, from, rows, at, buffer);
        from += rows;
    }
    free(room);
}

mosaic_status mosaic_rows(int operands, int outputs, const mosaic_tensor *const *tensors,
                          int64_t grain, mosaic_rows_body body, void *context)
{
    walk w = {.operands = operands, .outputs = outputs, .grain = grain};
    w.body = body, w.context = context;
    const mosaic_tensor *shape = NULL;
    int64_t rows = 1, longest = 1;
    for (int i = 0; i < operands; i++) {
        w.operand[i] = (operand){.direct = true};
        if (!tensors[i]) continue;
        shape = tensors[i];
        operand *o = &w.operand[i];
        *o = make_operand(tensors[i]);
        if (!o->direct) longest = larger(longest, o->length);
        if (!o->direct) w.buffered = 1;
    }
    int64_t together = smaller(TOGETHER, LONG_BUFFER / longest);
    if (w.buffered) w.buffered = larger(1, larger(BUFFER / longest, together));
    for (int axis = 0; axis < shape->ndim - 1; axis++) {
        add_axis(&w, tensors, axis, shape->size[axis]);
        rows *= shape->size[axis];
    }
    mosaic_parallel(rows, grain, run_range, &w);
    if (w.missing)
        return mosaic_fail(MOSAIC_ENOMEM, "no memory for %lld bytes of rows side by side",
                           (long long)w.missing);
    return MOSAIC_OK;
}
