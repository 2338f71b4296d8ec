/* loop.c - merge axes, cut into rectangles, spread them over threads. */
#include "loop.h"

#include <stdlib.h>

#include "../parallel.h"

/* Elements below which waking a thread costs more than it saves: of rectangles, and of runs, whose
 * elements are looked up or stand for rows. */
enum { PARALLEL_FROM = 65536, RUNS_FROM = 8192 };

typedef struct {
    int operands, axes; /* the last axis makes columns, the one before it rows */
    int64_t size[MOSAIC_MAX_DIMS + 2];
    int64_t step[MOSAIC_MAX_DIMS + 2][MOSAIC_LOOP_OPERANDS]; /* bytes */
    char *data[MOSAIC_LOOP_OPERANDS];
    mosaic_loop_rows_body body;
    void *context;
} nest;

/* Copies axis `from` of the tensors to the nest's next axis, or merges it into the last one. */
static void add_axis(nest *n, const mosaic_tensor *const *tensors, int from)
{
    int64_t size = tensors[0]->size[from], step[MOSAIC_LOOP_OPERANDS];
    if (size == 1) return;
    bool merges = n->axes > 2;
    for (int i = 0; i < n->operands; i++) {
        const mosaic_tensor *t = tensors[i];
        step[i] = t->stride[from] * mosaic_dtype_bytes((mosaic_dtype)t->dtype);
        merges = merges && n->step[n->axes - 1][i] == size * step[i];
    }
    if (!merges) n->size[n->axes++] = 1;
    n->size[n->axes - 1] *= size;
    for (int i = 0; i < n->operands; i++) n->step[n->axes - 1][i] = step[i];
}

static void swap_axes(nest *n, int a, int b)
{
    int64_t size = n->size[a];
    n->size[a] = n->size[b];
    n->size[b] = size;
    for (int i = 0; i < n->operands; i++) {
        int64_t step = n->step[a][i];
        n->step[a][i] = n->step[b][i];
        n->step[b][i] = step;
    }
}

/* Where operand i jumps from column to column, an axis along which it does not becomes the rows. */
static void choose_rows(nest *n, const mosaic_tensor *const *tensors)
{
    int columns = n->axes - 1;
    for (int i = n->operands - 1; i >= 0; i--) {
        int64_t bytes = mosaic_dtype_bytes((mosaic_dtype)tensors[i]->dtype);
        if (n->step[columns][i] == bytes || n->step[columns][i] == 0) continue;
        for (int axis = 2; axis < columns - 1; axis++)
            if (n->step[axis][i] == bytes) swap_axes(n, axis, columns - 1);
    }
}

/* The largest rectangle of whole rows, or part of one row, that begins at element `from` (in
 * row-major order of the nest's axes) and ends by `to`. */
static mosaic_rectangle rectangle_at(const nest *n, int64_t from, int64_t to)
{
    int columns = n->axes - 1, rows = columns - 1;
    mosaic_rectangle r = {.rows = 1};
    int64_t index[MOSAIC_MAX_DIMS + 2] = {0}, rest = from;
    for (int axis = columns; axis >= 0; axis--) {
        index[axis] = rest % n->size[axis];
        rest /= n->size[axis];
    }
    for (int i = 0; i < n->operands; i++) {
        r.data[i] = n->data[i];
        for (int axis = 0; axis <= columns; axis++) r.data[i] += index[axis] * n->step[axis][i];
        r.row_step[i] = n->step[rows][i];
        r.step[i] = n->step[columns][i];
    }
    int64_t left = n->size[columns] - index[columns], whole = (to - from) / n->size[columns];
    r.columns = left < to - from ? left : to - from;
    if (r.columns == n->size[columns])
        r.rows = whole < n->size[rows] - index[rows] ? whole : n->size[rows] - index[rows];
    return r;
}

static void run_range(void *context, int64_t from, int64_t to)
{
    const nest *n = context;
    while (from < to) {
        mosaic_rectangle r = rectangle_at(n, from, to);
        n->body(n->context, &r);
        from += r.rows * r.columns;
    }
}

void mosaic_memory_order(int *order, const mosaic_tensor *a)
{
    for (int axis = 0; axis < a->ndim; axis++) {
        int at = axis;
        for (; at > 0 && llabs(a->stride[order[at - 1]]) < llabs(a->stride[axis]); at--)
            order[at] = order[at - 1];
        order[at] = axis;
    }
}

/* Does it fill the memory that it spans? */
static bool is_dense(const mosaic_tensor *a)
{
    int64_t last = 0;
    for (int axis = 0; axis < a->ndim; axis++) last += (a->size[axis] - 1) * llabs(a->stride[axis]);
    return last + 1 == mosaic_tensor_numel(a);
}

/* The operand to follow through memory: the first one, but a dense one before a part of a greater
 * tensor. That has the same jumps in any order, not so the dense one: to add (8, 6, 4, 75, 24) to
 * one of three views of a projection takes 0.2 ms instead of 0.9. */
static const mosaic_tensor *leader(int operands, const mosaic_tensor *const *tensors)
{
    for (int i = 0; i < operands; i++)
        if (is_dense(tensors[i])) return tensors[i];
    return tensors[0];
}

/* The walk follows `first` through memory. */
static void walk(int operands, const mosaic_tensor *const *tensors, const mosaic_tensor *first,
                 int64_t least, mosaic_loop_rows_body body, void *context)
{
    nest n = {.operands = operands, .axes = 2, .size = {1, 1}, .body = body, .context = context};
    for (int i = 0; i < operands; i++) n.data[i] = mosaic_data(tensors[i]);
    int order[MOSAIC_MAX_DIMS];
    mosaic_memory_order(order, first);
    for (int i = 0; i < tensors[0]->ndim; i++) add_axis(&n, tensors, order[i]);
    choose_rows(&n, tensors);
    int64_t count = mosaic_tensor_numel(tensors[0]); /* cut finer than it has to be: evenly */
    mosaic_parallel(count, count < 2 * least ? count : least / 4, run_range, &n);
}

void mosaic_loop_rows(int operands, const mosaic_tensor *const *tensors, mosaic_loop_rows_body body,
                      void *context)
{
    walk(operands, tensors, leader(operands, tensors), PARALLEL_FROM, body, context);
}

/* ---- run by run ------------------------------------------------------------------------------ */

typedef struct {
    int operands;
    mosaic_loop_body body;
    void *context;
} runs;

static void run_rows(void *context, const mosaic_rectangle *r)
{
    const runs *c = context;
    char *data[MOSAIC_LOOP_OPERANDS] = {0};
    for (int64_t row = 0; row < r->rows; row++) {
        for (int i = 0; i < c->operands; i++) data[i] = r->data[i] + row * r->row_step[i];
        c->body(c->context, r->columns, data, r->step);
    }
}

void mosaic_loop(int operands, const mosaic_tensor *const *tensors, mosaic_loop_body body,
                 void *context)
{
    runs c = {operands, body, context};
    walk(operands, tensors, tensors[0], RUNS_FROM, run_rows, &c);
}
