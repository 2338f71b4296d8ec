/* reduce.cu - many elements to one, over any set of axes.
 *
 * Floats are folded eight at a time in their own type, and what those come to in f64. Long folds
 * run in two launches: pieces to cells of f64 (integers: i64), and these to the result. */
#include <launch.h>

#include "element.h"
#include "fold.h"
#include "functions.h"

/* Folds that are no reductions themselves: sums of (x - shift)^2, of exp(x - shift). */
enum { SQUARES = MOSAIC_REDUCE_COUNT, EXPS };

typedef struct {
    mosaic_reduce_op op; /* that the fold is for */
    int fold;            /* up to MOSAIC_REDUCE_ALL, or one of the above */
    bool partial;        /* another launch makes the result */
    double count, correction;
    int64_t piece_step; /* bytes from the result of a piece to the next one's */
} folding;

/* ---- two to one ----------------------------------------------------------------------------- */

template <class T> MOSAIC_DEVICE T plus_of(T a, T b) { return a + b; }
template <class T> MOSAIC_DEVICE T times_of(T a, T b) { return a * b; }
template <> __device__ inline int64_t plus_of(int64_t a, int64_t b) { return mosaic_add(a, b); }
template <> __device__ inline int64_t times_of(int64_t a, int64_t b) { return mosaic_mul(a, b); }
template <class T> MOSAIC_DEVICE T lower_of(T a, T b) { return b < a || b != b ? b : a; }
template <class T> MOSAIC_DEVICE T upper_of(T a, T b) { return b > a || b != b ? b : a; }
template <class T> MOSAIC_DEVICE T either_of(T a, T b) { return a != 0 || b != 0; }
template <class T> MOSAIC_DEVICE T both_of(T a, T b) { return a != 0 && b != 0; }

/* Pairs, pairs of pairs, ... */
template <class T, int N, class Pair> MOSAIC_DEVICE T tree(T (&x)[N], Pair pair)
{
    for (int half = N / 2; half; half /= 2)
        for (int k = 0; k < half; k++) x[k] = pair(x[k], x[k + half]);
    return x[0];
}

template <class T, int N> MOSAIC_DEVICE T fold_of(int fold, T (&x)[N])
{
    switch (fold) {
    case MOSAIC_REDUCE_PROD: return tree(x, times_of<T>);
    case MOSAIC_REDUCE_MIN: return tree(x, lower_of<T>);
    case MOSAIC_REDUCE_MAX: return tree(x, upper_of<T>);
    case MOSAIC_REDUCE_ANY: return tree(x, either_of<T>);
    case MOSAIC_REDUCE_ALL: return tree(x, both_of<T>);
    default: return tree(x, plus_of<T>);
    }
}

template <class T> MOSAIC_DEVICE T largest_of() { return INFINITY; }
template <class T> MOSAIC_DEVICE T smallest_of() { return -INFINITY; }
template <> __device__ inline int64_t largest_of() { return INT64_MAX; }
template <> __device__ inline int64_t smallest_of() { return INT64_MIN; }

template <class T> MOSAIC_DEVICE T identity_of(int fold)
{
    switch (fold) {
    case MOSAIC_REDUCE_PROD:
    case MOSAIC_REDUCE_ALL: return 1;
    case MOSAIC_REDUCE_MIN: return largest_of<T>();
    case MOSAIC_REDUCE_MAX: return smallest_of<T>();
    default: return 0;
    }
}

/* Elements to what is folded of them. */
template <class T, int N> MOSAIC_DEVICE void make_terms(int fold, T (&x)[N], T shift)
{
    switch (fold) {
    case MOSAIC_REDUCE_ANY:
    case MOSAIC_REDUCE_ALL:
        for (int k = 0; k < N; k++) x[k] = x[k] != 0;
        break;
    case SQUARES:
        for (int k = 0; k < N; k++) x[k] = (x[k] - shift) * (x[k] - shift);
        break;
    case EXPS:
        for (int k = 0; k < N; k++) x[k] = (T)exp(x[k] - shift);
        break;
    }
}

/* ---- the kernel ----------------------------------------------------------------------------- */

template <class T> struct cell_of {
    typedef double type;
};
template <> struct cell_of<int64_t> {
    typedef int64_t type;
};

/* Elements i, i + lanes, ... of the cell at data, all or those before `end`. */
template <class T>
MOSAIC_DEVICE T fold_some(const mosaic_fold &f, const folding &w, const char *data, T shift,
                          int64_t i, int64_t end, bool whole)
{
    const char *at[MOSAIC_FOLD_EACH];
    T x[MOSAIC_FOLD_EACH], nothing = identity_of<T>(w.fold);
    mosaic_fold_at(f, at, data, i, end, whole);
    mosaic_load_each(x, at, f.folded.operand[0].dtype);
    make_terms(w.fold, x, shift);
    for (int k = 1; k < MOSAIC_FOLD_EACH; k++)
        if (!whole && i + k * f.lanes >= end) x[k] = nothing;
    return fold_of(w.fold, x);
}

/* What this thread's elements of a piece come to. */
template <class T>
MOSAIC_DEVICE typename cell_of<T>::type fold_lane(const mosaic_fold &f, const folding &w,
                                                  const mosaic_fold_place &here, const char *data,
                                                  T shift)
{
    typedef typename cell_of<T>::type cell;
    const int64_t stride = (int64_t)MOSAIC_FOLD_EACH * f.lanes, last = here.end - stride + f.lanes;
    cell both[2] = {identity_of<cell>(w.fold)};
    int64_t i = here.from + here.lane;
    for (; i < last; i += stride) {
        both[1] = fold_some<T>(f, w, data, shift, i, here.end, true);
        both[0] = fold_of(w.fold, both);
    }
    if (i < here.end) {
        both[1] = fold_some<T>(f, w, data, shift, i, here.end, false);
        both[0] = fold_of(w.fold, both);
    }
    return both[0];
}

MOSAIC_DEVICE double finished(const folding &w, double x, double shift)
{
    switch (w.partial ? MOSAIC_REDUCE_SUM : w.op) {
    case MOSAIC_REDUCE_MEAN: return x / w.count;
    case MOSAIC_REDUCE_VAR: return w.count > w.correction ? x / (w.count - w.correction) : NAN;
    case MOSAIC_REDUCE_NORM: return sqrt(x);
    case MOSAIC_REDUCE_LOGSUMEXP: return log(x) + shift;
    default: return x;
    }
}
MOSAIC_DEVICE int64_t finished(const folding &, int64_t x, double) { return x; }

/* f.kept: the operand, the result, and f64 shifts or nothing. */
template <class T>
__global__ void __launch_bounds__(MOSAIC_FOLD_THREADS) fold(const mosaic_fold f, const folding w)
{
    typedef typename cell_of<T>::type cell;
    __shared__ cell share[MOSAIC_FOLD_THREADS];
    const mosaic_fold_place here = mosaic_fold_here(f);
    const bool mine = here.cell < f.kept.count;
    cell total = identity_of<cell>(w.fold);
    char *at[3] = {};
    double shift = 0;
    if (mine) {
        mosaic_walk_at(f.kept, here.cell, at);
        if (at[2]) shift = *(const double *)at[2];
        if (w.op == MOSAIC_REDUCE_LOGSUMEXP && !(fabs(shift) < INFINITY)) shift = 0;
        total = fold_lane<T>(f, w, here, at[0], (T)shift);
    }
    share[threadIdx.x] = total;
    for (int half = f.lanes / 2; half; half /= 2) {
        __syncthreads();
        if (here.lane >= half) continue;
        cell both[2] = {total, share[threadIdx.x + half * here.apart]};
        share[threadIdx.x] = total = fold_of(w.fold, both);
    }
    if (mine && here.lane == 0)
        mosaic_store<cell>(at[1] + blockIdx.y * w.piece_step, f.kept.operand[1].dtype,
                           finished(w, total, shift));
}

/* ---- launches ------------------------------------------------------------------------------- */

static mosaic_status launch(const mosaic_cuda *device, const mosaic_fold &f, const folding &w,
                            int compute)
{
    void (*kernel)(const mosaic_fold, const folding) = compute == MOSAIC_DTYPE_I64   ? fold<int64_t>
                                                       : compute == MOSAIC_DTYPE_F64 ? fold<double>
                                                                                     : fold<float>;
    return mosaic_launch(device, "reduce", kernel, mosaic_fold_grid(f), MOSAIC_FOLD_THREADS, 0, f,
                         w);
}

static unsigned folded_axes(const mosaic_tensor *out, const mosaic_tensor *a)
{
    unsigned axes = 0;
    for (int i = 0; i < a->ndim; i++) axes |= (unsigned)(out->size[i] != a->size[i]) << i;
    return axes;
}

/* A contiguous tensor like out, but with `pieces` along the first of the axes. */
static mosaic_status make_cells(mosaic_tensor *cells, const mosaic_tensor *out, unsigned axes,
                                int64_t pieces, mosaic_dtype dtype)
{
    int64_t stride = 1;
    MOSAIC_TRY(
        mosaic_cuda_scratch(cells, mosaic_cuda_of(out), dtype, pieces * mosaic_tensor_numel(out)));
    cells->ndim = out->ndim;
    for (int i = out->ndim - 1; i >= 0; stride *= out->size[i--])
        cells->size[i] = out->size[i], cells->stride[i] = stride;
    int first = 0;
    while (axes && !(axes >> first & 1u)) first++;
    if (axes) cells->size[first] = pieces, cells->stride[first] = stride;
    return MOSAIC_OK;
}

/* The type that the operand is folded in. */
static mosaic_dtype compute_type(const mosaic_tensor *a, mosaic_reduce_op op)
{
    if (!mosaic_dtype_is_float(a->dtype))
        return op < MOSAIC_REDUCE_MEAN ? MOSAIC_DTYPE_I64 : MOSAIC_DTYPE_F64;
    return op == MOSAIC_REDUCE_PROD ? MOSAIC_DTYPE_F64 : mosaic_dtype_accumulator(a->dtype);
}

/* In two launches; the first one's results are `pieces` elements along one axis. */
static mosaic_status run_pieces(const mosaic_tensor *out, const mosaic_tensor *a,
                                const mosaic_tensor *shift, mosaic_dtype compute, folding w,
                                int64_t pieces)
{
    const mosaic_cuda *device = mosaic_cuda_of(a);
    unsigned axes = folded_axes(out, a);
    mosaic_dtype wide = compute == MOSAIC_DTYPE_I64 ? MOSAIC_DTYPE_I64 : MOSAIC_DTYPE_F64;
    mosaic_tensor cells = {};
    MOSAIC_TRY(make_cells(&cells, out, axes, pieces, wide));
    mosaic_tensor first = cells;
    for (int i = 0; i < out->ndim; i++) first.size[i] = out->size[i];
    const mosaic_tensor *operands[] = {a, &first, shift}, *again[] = {&cells, out, shift};

    folding part = w;
    part.partial = true;
    part.piece_step = mosaic_tensor_numel(out) * mosaic_dtype_bytes(wide);
    mosaic_status status = launch(device, mosaic_fold_of(3, operands, axes), part, compute);
    if (w.fold == SQUARES || w.fold == EXPS) w.fold = MOSAIC_REDUCE_SUM;
    mosaic_fold whole = mosaic_fold_of(3, again, folded_axes(out, &cells));
    whole.piece = pieces, whole.pieces = 1;
    if (!status) status = launch(device, whole, w, wide);
    mosaic_tensor_clear(&cells);
    return status;
}

/* out = the fold of a, made the result of w.op; shift may be NULL. */
static mosaic_status run(const mosaic_tensor *out, const mosaic_tensor *a,
                         const mosaic_tensor *shift, mosaic_reduce_op op, int fold,
                         double correction)
{
    const mosaic_tensor *operands[] = {a, out, shift};
    mosaic_fold f = mosaic_fold_of(3, operands, folded_axes(out, a));
    folding w = {op, fold, false, (double)f.folded.count, correction, 0};
    mosaic_dtype compute = compute_type(a, op);
    if (f.pieces > 1) return run_pieces(out, a, shift, compute, w, f.pieces);
    return launch(mosaic_cuda_of(a), f, w, compute);
}

/* The fold of what is left of the elements after `base`, a reduction of its own, is taken off. */
static mosaic_status run_shifted(const mosaic_tensor *out, const mosaic_tensor *a,
                                 mosaic_reduce_op op, mosaic_reduce_op base, double correction)
{
    mosaic_tensor shift = {};
    MOSAIC_TRY(make_cells(&shift, out, 0, 1, MOSAIC_DTYPE_F64));
    int first = base == MOSAIC_REDUCE_MAX ? MOSAIC_REDUCE_MAX : MOSAIC_REDUCE_SUM;
    mosaic_status status = run(&shift, a, NULL, base, first, 0);
    int then = op == MOSAIC_REDUCE_VAR ? SQUARES : EXPS;
    if (!status) status = run(out, a, &shift, op, then, correction);
    mosaic_tensor_clear(&shift);
    return status;
}

mosaic_status mosaic_cuda_reduce(const mosaic_tensor *out, const mosaic_tensor *a,
                                 mosaic_reduce_op op, double correction)
{
    MOSAIC_TRY(mosaic_cuda_enter(mosaic_cuda_of(a)));
    switch (op) {
    case MOSAIC_REDUCE_MEAN: return run(out, a, NULL, op, MOSAIC_REDUCE_SUM, 0);
    case MOSAIC_REDUCE_NORM: return run(out, a, NULL, op, SQUARES, 0);
    case MOSAIC_REDUCE_VAR: return run_shifted(out, a, op, MOSAIC_REDUCE_MEAN, correction);
    case MOSAIC_REDUCE_LOGSUMEXP: return run_shifted(out, a, op, MOSAIC_REDUCE_MAX, 0);
    default: return run(out, a, NULL, op, op, 0); /* sum ... all are folds themselves */
    }
}
