/* cumsum.cu - running sums along an axis: floats in double, integers wrap around.
 *
 * A line's lanes take EACH elements in a row and add up what is before them. Where lines are few
 * and long there are three launches: the totals of pieces, their running sums, and with these as
 * starts the pieces themselves. Backwards is forwards with the steps turned around. */
#include <launch.h>

#include "element.h"
#include "fold.h"
#include "functions.h"

enum { EACH = MOSAIC_FOLD_EACH };
enum part { WHOLE, TOTALS, PIECES };

MOSAIC_DEVICE double sum_of(double a, double b) { return a + b; }
MOSAIC_DEVICE int64_t sum_of(int64_t a, int64_t b) { return mosaic_add(a, b); }

/* Elements i, i + 1, ... before `end` of the line at data, 0 beyond it. */
template <class T>
MOSAIC_DEVICE void load_some(const mosaic_fold &f, T (&x)[EACH], const char *data, int64_t i,
                             int64_t end)
{
    const char *at[EACH];
    for (int k = 0; k < EACH; k++) at[k] = data + (i + k < end ? i + k : i) * f.folded.step[0][0];
    mosaic_load_each(x, at, f.folded.operand[0].dtype);
    for (int k = 0; k < EACH; k++)
        if (i + k >= end) x[k] = 0;
}

/* The sum of `own` of the lanes before this one; *all: of all lanes. */
template <class T>
MOSAIC_DEVICE T sum_before(const mosaic_fold &f, const mosaic_fold_place &here, T *share, T own,
                           T *all)
{
    T *mine = share + threadIdx.x;
    *mine = own;
    for (int by = 1; by < f.lanes; by *= 2) {
        __syncthreads();
        T left = here.lane >= by ? mine[-by * here.apart] : 0;
        __syncthreads();
        if (here.lane >= by) *mine = sum_of(left, *mine);
    }
    __syncthreads();
    T before = here.lane ? mine[-here.apart] : 0;
    *all = mine[(f.lanes - 1 - here.lane) * here.apart];
    __syncthreads();
    return before;
}

/* f: the operand, the result; totals (pieces, lines), NULL for the whole. */
template <class T>
__global__ void __launch_bounds__(MOSAIC_FOLD_THREADS)
    cumsum(const mosaic_fold f, const part part, T *totals)
{
    __shared__ T share[MOSAIC_FOLD_THREADS];
    const mosaic_fold_place here = mosaic_fold_here(f);
    const bool mine = here.cell < f.kept.count;
    T *total = totals ? totals + blockIdx.y * f.kept.count + here.cell : NULL, all;
    char *at[2] = {};
    if (mine) mosaic_walk_at(f.kept, here.cell, at);
    T sum = mine && part == PIECES && blockIdx.y > 0 ? total[-f.kept.count] : 0;
    for (int64_t from = here.from; from < here.end; from += EACH * f.lanes) {
        int64_t i = from + EACH * here.lane;
        T x[EACH] = {};
        if (mine && i < here.end) load_some(f, x, at[0], i, here.end);
        for (int k = 1; k < EACH; k++) x[k] = sum_of(x[k - 1], x[k]);
        T before = sum_of(sum, sum_before(f, here, share, x[EACH - 1], &all));
        sum = sum_of(sum, all);
        if (!mine || part == TOTALS) continue;
        for (int k = 0; k < EACH && i + k < here.end; k++)
            mosaic_store<T>(at[1] + (i + k) * f.folded.step[1][0], f.folded.operand[1].dtype,
                            sum_of(before, x[k]));
    }
    if (mine && part == TOTALS && here.lane == 0) *total = sum;
}

static mosaic_status launch(const mosaic_cuda *device, const mosaic_fold &f, part part,
                            void *totals)
{
    dim3 grid = mosaic_fold_grid(f);
    if (mosaic_dtype_is_float(f.kept.operand[0].dtype))
        return mosaic_launch(device, "cumsum", cumsum<double>, grid, MOSAIC_FOLD_THREADS, 0, f,
                             part, (double *)totals);
    return mosaic_launch(device, "cumsum", cumsum<int64_t>, grid, MOSAIC_FOLD_THREADS, 0, f, part,
                         (int64_t *)totals);
}

/* A plan for the whole axis in one piece. */
static mosaic_fold whole_of(const mosaic_tensor *a, const mosaic_tensor *out, int axis)
{
    const mosaic_tensor *operands[] = {a, out};
    mosaic_fold f = mosaic_fold_of(2, operands, 1u << axis);
    f.piece = f.folded.count, f.pieces = 1;
    return f;
}

static mosaic_status run_pieces(const mosaic_cuda *device, const mosaic_fold &f)
{
    bool floats = mosaic_dtype_is_float(f.kept.operand[0].dtype);
    mosaic_tensor totals = {};
    MOSAIC_TRY(mosaic_cuda_scratch(&totals, device, floats ? MOSAIC_DTYPE_F64 : MOSAIC_DTYPE_I64,
                                   f.pieces * f.kept.count));
    mosaic_tensor table = totals; /* (pieces, lines) */
    table.ndim = 2;
    table.size[0] = f.pieces, table.size[1] = f.kept.count;
    table.stride[0] = f.kept.count, table.stride[1] = 1;
    mosaic_status status = launch(device, f, TOTALS, mosaic_data(&totals));
    if (!status) status = launch(device, whole_of(&table, &table, 0), WHOLE, NULL);
    if (!status) status = launch(device, f, PIECES, mosaic_data(&totals));
    mosaic_tensor_clear(&totals);
    return status;
}

/* a from its end. */
static mosaic_tensor turned(const mosaic_tensor *a, int axis)
{
    mosaic_tensor view = *a;
    view.offset += (a->size[axis] - 1) * a->stride[axis];
    view.stride[axis] = -a->stride[axis];
    return view;
}

mosaic_status mosaic_cuda_cumsum(const mosaic_tensor *out, const mosaic_tensor *a, int axis,
                                 bool backwards)
{
    mosaic_tensor to = backwards ? turned(out, axis) : *out;
    mosaic_tensor from = backwards ? turned(a, axis) : *a;
    const mosaic_tensor *operands[] = {&from, &to};
    mosaic_fold f = mosaic_fold_of(2, operands, 1u << axis);
    MOSAIC_TRY(mosaic_cuda_enter(mosaic_cuda_of(a)));
    if (f.pieces > 1) return run_pieces(mosaic_cuda_of(a), f);
    return launch(mosaic_cuda_of(a), f, WHOLE, NULL);
}
