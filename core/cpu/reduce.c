/* reduce.c - folds the reduced axes of a strided tensor.
 *
 * The operand is a set of rectangles (m,n): in `rows` mode n runs along a reduced axis and every
 * row folds to one cell; in `columns` mode n runs along a kept axis and the rows fold onto each
 * other. Whichever axis is contiguous decides. The reduced elements are cut into pieces whose
 * length depends on the sizes and strides; each piece has its own cells, added up in order at the
 * end, so the result does not depend on the number of threads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../parallel.h"
#include "../tensor.h"
#include "cpu.h"
#include "kernels.h"
#include "loop.h"

enum {
    BLOCK = 2048,       /* elements staged at a time */
    PIECE = 65536,      /* elements of one task, about */
    COLUMN_BLOCK = 512, /* columns of one task */
    GRAIN = 131072,     /* elements below which a thread is not worth waking */
};

typedef struct {
    int axes;
    int64_t size[MOSAIC_MAX_DIMS],
        step[MOSAIC_MAX_DIMS]; /* bytes; the last axis is the inner one */
} axis_list;

typedef union {
    double f;
    int64_t i;
} cell;

typedef struct {
    const char *data;
    mosaic_dtype have, type; /* in memory, in the kernel */
    int64_t have_bytes, type_bytes;
    int order[MOSAIC_MAX_DIMS]; /* of the operand's axes, as they lie in memory */
    axis_list kept, reduced;    /* in that order */
    bool columns;
    int64_t inner, outer;        /* kept elements: of the inner axis, of all others together */
    int64_t block, blocks;       /* inner elements of a task, tasks that make */
    int64_t rows, piece, pieces; /* reduced elements: all, of a task, tasks that make */
    mosaic_fold_kernel kernel;
    cell *cells;         /* [piece][outer][inner] */
    const double *shift; /* [outer][inner] or NULL */
    cell identity;
} plan;

/* ---- planning ------------------------------------------------------------------------------- */

/* Appends an axis, or merges it into the last where memory allows. */
static void add_axis(axis_list *list, int64_t size, int64_t step)
{
    if (size == 1) return;
    int last = list->axes - 1;
    if (last >= 0 && list->step[last] == size * step) {
        list->size[last] *= size;
        list->step[last] = step;
        return;
    }
    list->size[list->axes] = size;
    list->step[list->axes++] = step;
}

static void ensure_axis(axis_list *list)
{
    if (list->axes == 0) list->size[0] = 1, list->step[0] = 0, list->axes = 1;
}

static int64_t product(const axis_list *list, int axes)
{
    int64_t count = 1;
    for (int i = 0; i < axes; i++) count *= list->size[i];
    return count;
}

static int64_t pieces_of(int64_t count, int64_t length) { return (count + length - 1) / length; }

static plan make_plan(const mosaic_tensor *out, const mosaic_tensor *a, mosaic_dtype type)
{
    plan p = {.data = mosaic_data(a),
              .have = (mosaic_dtype)a->dtype,
              .type = type,
              .have_bytes = mosaic_dtype_bytes((mosaic_dtype)a->dtype),
              .type_bytes = mosaic_dtype_bytes(type)};
    mosaic_memory_order(p.order, a);
    for (int i = 0; i < a->ndim; i++) {
        int axis = p.order[i];
        add_axis(out->size[axis] == 1 ? &p.reduced : &p.kept, a->size[axis],
                 a->stride[axis] * p.have_bytes);
    }
    ensure_axis(&p.kept);
    ensure_axis(&p.reduced);
    int kept = p.kept.axes - 1, reduced = p.reduced.axes - 1;
    p.inner = p.kept.size[kept];
    p.outer = product(&p.kept, kept);
    p.rows = product(&p.reduced, p.reduced.axes);
    p.columns = p.inner > 1 && llabs(p.kept.step[kept]) < llabs(p.reduced.step[reduced]);
    int64_t width = p.columns ? COLUMN_BLOCK : pieces_of(PIECE, p.rows);
    p.block = p.inner < width ? p.inner : width;
    p.blocks = pieces_of(p.inner, p.block);
    p.piece = pieces_of(PIECE, p.columns ? p.block : 1);
    if (p.piece > p.rows) p.piece = p.rows;
    p.pieces = pieces_of(p.rows, p.piece);
    return p;
}

/* Byte offset of an index that counts through all axes but the last `without`. */
static int64_t offset_of(const axis_list *list, int without, int64_t index)
{
    int64_t offset = 0;
    for (int i = list->axes - 1 - without; i >= 0; i--) {
        offset += index % list->size[i] * list->step[i];
        index /= list->size[i];
    }
    return offset;
}

/* ---- folding -------------------------------------------------------------------------------- */

/* x (m,n) with any steps; in the kernel's form it goes straight in, else by blocks. */
static void fold_rectangle(const plan *p, const char *x, int64_t m, int64_t n, int64_t row_step,
                           int64_t column_step, cell *cells, const double *shift)
{
    bool direct = p->have == p->type && (column_step == p->type_bytes || n == 1);
    if (direct && row_step % p->type_bytes == 0) {
        p->kernel(m, n, x, row_step / p->type_bytes, cells, shift);
        return;
    }
    mosaic_convert_kernel convert = mosaic_cpu()->convert->of[p->type][p->have];
    _Alignas(64) char block[BLOCK * 8];
    for (int64_t j = 0; j < n; j += BLOCK) {
        int64_t width = n - j < BLOCK ? n - j : BLOCK, height = BLOCK / width;
        int64_t skip = p->columns ? j : 0;
        for (int64_t i = 0; i < m; i += height) {
            int64_t rows = m - i < height ? m - i : height, first = p->columns ? skip : i;
            for (int64_t k = 0; k < rows; k++)
                convert(width, block + k * width * p->type_bytes, p->type_bytes,
                        x + (i + k) * row_step + j * column_step, column_step);
            p->kernel(rows, width, block, width, cells + first, shift ? shift + first : NULL);
        }
    }
}

/* One task: a block of the inner kept axis, one piece of the reduced elements. */
static void fold_task(const plan *p, int64_t task)
{
    int64_t piece = task % p->pieces, block = task / p->pieces % p->blocks;
    int64_t outer = task / p->pieces / p->blocks, at = block * p->block;
    int64_t width = p->inner - at < p->block ? p->inner - at : p->block;
    int kept = p->kept.axes - 1, reduced = p->reduced.axes - 1;
    int64_t kept_step = p->kept.step[kept], reduced_step = p->reduced.step[reduced];
    const char *x = p->data + offset_of(&p->kept, 1, outer) + at * kept_step;
    int64_t first = outer * p->inner + at;
    cell *cells = p->cells + piece * p->outer * p->inner + first;
    const double *shift = p->shift ? p->shift + first : NULL;
    for (int64_t i = 0; i < width; i++) cells[i] = p->identity;

    int64_t from = piece * p->piece, end = from + p->piece < p->rows ? from + p->piece : p->rows;
    while (from < end) { /* one run along the inner reduced axis after the other */
        int64_t size = p->reduced.size[reduced], index = from % size;
        int64_t count = size - index < end - from ? size - index : end - from;
        const char *run = x + offset_of(&p->reduced, 1, from / size) + index * reduced_step;
        if (p->columns)
            fold_rectangle(p, run, count, width, reduced_step, kept_step, cells, shift);
        else
            fold_rectangle(p, run, width, count, kept_step, reduced_step, cells, shift);
        from += count;
    }
}

static void fold_tasks(void *context, int64_t from, int64_t to)
{
    for (int64_t task = from; task < to; task++) fold_task(context, task);
}

static cell combine(mosaic_fold fold, bool integer, cell a, cell b)
{
    switch (fold) {
    case MOSAIC_FOLD_PROD:
        if (integer)
            a.i = (int64_t)((uint64_t)a.i * (uint64_t)b.i);
        else
            a.f *= b.f;
        return a;
    case MOSAIC_FOLD_MIN: return (integer ? b.i < a.i : b.f < a.f || b.f != b.f) ? b : a;
    case MOSAIC_FOLD_MAX: return (integer ? b.i > a.i : b.f > a.f || b.f != b.f) ? b : a;
    case MOSAIC_FOLD_ANY: return (cell){.i = a.i | b.i};
    case MOSAIC_FOLD_ALL: return (cell){.i = a.i & b.i};
    default:
        if (integer)
            a.i = (int64_t)((uint64_t)a.i + (uint64_t)b.i);
        else
            a.f += b.f;
        return a;
    }
}

static cell identity_of(mosaic_fold fold, bool integer)
{
    switch (fold) {
    case MOSAIC_FOLD_PROD: return integer ? (cell){.i = 1} : (cell){.f = 1};
    case MOSAIC_FOLD_MIN: return integer ? (cell){.i = INT64_MAX} : (cell){.f = INFINITY};
    case MOSAIC_FOLD_MAX: return integer ? (cell){.i = INT64_MIN} : (cell){.f = -INFINITY};
    case MOSAIC_FOLD_ALL: return (cell){.i = 1};
    default: return (cell){.i = 0}; /* also the bits of 0.0 */
    }
}

/* Leaves the folded values in p->cells[0 .. outer * inner). */
static void fold_all(plan *p, mosaic_fold fold, const double *shift)
{
    bool integer = p->type == MOSAIC_DTYPE_I64;
    int type = integer                       ? MOSAIC_CPU_I64
               : p->type == MOSAIC_DTYPE_F64 ? MOSAIC_CPU_F64
                                             : MOSAIC_CPU_F32;
    const mosaic_fold_kernels *kernels = mosaic_cpu()->fold;
    p->kernel = p->columns ? kernels->columns[fold][type] : kernels->rows[fold][type];
    p->shift = shift;
    p->identity = identity_of(fold, integer);
    int64_t tasks = p->outer * p->blocks * p->pieces, outputs = p->outer * p->inner;
    mosaic_parallel(tasks, pieces_of(GRAIN, p->block * p->piece), fold_tasks, p);
    for (int64_t piece = 1; piece < p->pieces; piece++)
        for (int64_t i = 0; i < outputs; i++)
            p->cells[i] = combine(fold, integer, p->cells[i], p->cells[piece * outputs + i]);
}

/* ---- operations ----------------------------------------------------------------------------- */

/* Cells to the result's dtype, into out's strides. */
static void write_out(const plan *p, const mosaic_tensor *out, bool integer)
{
    axis_list kept = {0};
    int64_t bytes = mosaic_dtype_bytes((mosaic_dtype)out->dtype), size;
    for (int i = 0; i < out->ndim; i++)
        add_axis(&kept, out->size[p->order[i]], out->stride[p->order[i]] * bytes);
    ensure_axis(&kept);
    size = kept.size[kept.axes - 1];
    mosaic_convert_kernel convert =
        mosaic_cpu()->convert->of[out->dtype][integer ? MOSAIC_DTYPE_I64 : MOSAIC_DTYPE_F64];
    for (int64_t outer = 0; outer * size < p->outer * p->inner; outer++)
        convert(size, (char *)mosaic_data(out) + offset_of(&kept, 1, outer),
                kept.step[kept.axes - 1], p->cells + outer * size, sizeof(cell));
}

/* The second pass of var and logsumexp: the first one's result is the shift. */
static void fold_shifted(plan *p, mosaic_fold fold, double *shift, double scale)
{
    for (int64_t i = 0; i < p->outer * p->inner; i++) {
        double value = p->cells[i].f * scale;
        shift[i] = fold == MOSAIC_FOLD_SQUARES || fabs(value) < INFINITY ? value : 0;
    }
    fold_all(p, fold, shift);
}

static void compute(plan *p, mosaic_reduce_op op, double correction, double *shift)
{
    int64_t outputs = p->outer * p->inner;
    double count = (double)p->rows;
    cell *cells = p->cells;
    switch (op) {
    case MOSAIC_REDUCE_MEAN:
        fold_all(p, MOSAIC_FOLD_SUM, NULL);
        for (int64_t i = 0; i < outputs; i++) cells[i].f /= count;
        break;
    case MOSAIC_REDUCE_VAR:
        fold_all(p, MOSAIC_FOLD_SUM, NULL);
        fold_shifted(p, MOSAIC_FOLD_SQUARES, shift, 1 / count);
        for (int64_t i = 0; i < outputs; i++)
            cells[i].f = count > correction ? cells[i].f / (count - correction) : NAN;
        break;
    case MOSAIC_REDUCE_NORM:
        memset(shift, 0, (size_t)outputs * sizeof *shift);
        fold_all(p, MOSAIC_FOLD_SQUARES, shift);
        for (int64_t i = 0; i < outputs; i++) cells[i].f = sqrt(cells[i].f);
        break;
    case MOSAIC_REDUCE_LOGSUMEXP:
        fold_all(p, MOSAIC_FOLD_MAX, NULL);
        fold_shifted(p, MOSAIC_FOLD_EXPS, shift, 1);
        for (int64_t i = 0; i < outputs; i++) cells[i].f = log(cells[i].f) + shift[i];
        break;
    default: fold_all(p, (mosaic_fold)op, NULL); /* sum ... all: the folds have their numbers */
    }
}

mosaic_status mosaic_cpu_reduce(const mosaic_tensor *out, const mosaic_tensor *a,
                                mosaic_reduce_op op, double correction)
{
    bool integer = !mosaic_dtype_is_float(a->dtype) && op < MOSAIC_REDUCE_MEAN;
    plan p = make_plan(out, a, integer ? MOSAIC_DTYPE_I64 : mosaic_dtype_accumulator(a->dtype));
    int64_t outputs = p.outer * p.inner, cells = outputs * p.pieces;
    int64_t bytes = (cells + outputs) * (int64_t)sizeof(cell);
    p.cells = mosaic_cpu_allocate(&mosaic_cpu_device, bytes);
    if (!p.cells)
        return mosaic_fail(MOSAIC_ENOMEM, "reduce: no memory for %lld bytes of partial results",
                           (long long)bytes);
    compute(&p, op, correction, &p.cells[cells].f);
    bool truth = op == MOSAIC_REDUCE_ANY || op == MOSAIC_REDUCE_ALL;
    write_out(&p, out, integer || truth);
    mosaic_cpu_release(&mosaic_cpu_device, p.cells, bytes);
    return MOSAIC_OK;
}
