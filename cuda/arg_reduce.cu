/* arg_reduce.cu - the place of the smallest or largest element along an axis.
 *
 * Long axes take two launches: the best of each piece, and the best of these. */
#include <launch.h>

#include "element.h"
#include "fold.h"

typedef struct {
    bool largest;
    const int64_t *candidates; /* (n, cells): places that are looked at; NULL: all */
    int64_t *best;             /* (pieces, cells): where each piece's is noted; NULL: the results */
} search;

template <class T> struct found {
    T value;
    int64_t at; /* from 0; -1: nothing yet */
};

/* Does b come before a? NaN is before any number, and of equals the first. */
template <class T> MOSAIC_DEVICE bool better(found<T> b, found<T> a, bool largest)
{
    if (a.at < 0 || b.at < 0) return b.at >= 0;
    bool a_odd = a.value != a.value, b_odd = b.value != b.value;
    if (a_odd != b_odd) return b_odd;
    if (a_odd || a.value == b.value) return b.at < a.at;
    return largest ? b.value > a.value : b.value < a.value;
}

/* The best of this thread's elements of a piece; a lane beyond the end looks at nothing. */
template <class T>
MOSAIC_DEVICE found<T> search_lane(const mosaic_fold &f, const search &s,
                                   const mosaic_fold_place &here, const char *data)
{
    found<T> best = {0, -1};
    const int64_t stride = (int64_t)MOSAIC_FOLD_EACH * f.lanes;
    for (int64_t i = here.from + here.lane; i < here.end; i += stride) {
        const char *at[MOSAIC_FOLD_EACH];
        int64_t place[MOSAIC_FOLD_EACH];
        T x[MOSAIC_FOLD_EACH];
        for (int k = 0; k < MOSAIC_FOLD_EACH; k++) {
            int64_t j = i + k * f.lanes < here.end ? i + k * f.lanes : i;
            place[k] = s.candidates ? s.candidates[j * f.kept.count + here.cell] : j;
            at[k] = data + place[k] * f.folded.step[0][0];
        }
        mosaic_load_each(x, at, f.folded.operand[0].dtype);
        for (int k = 0; k < MOSAIC_FOLD_EACH; k++) {
            found<T> next = {x[k], place[k]};
            if (better(next, best, s.largest)) best = next;
        }
    }
    return best;
}

/* f.kept: the operand, indices, and values or nothing. */
template <class T>
__global__ void __launch_bounds__(MOSAIC_FOLD_THREADS)
    arg_reduce(const mosaic_fold f, const search s)
{
    __shared__ found<T> share[MOSAIC_FOLD_THREADS];
    const mosaic_fold_place here = mosaic_fold_here(f);
    const bool mine = here.cell < f.kept.count;
    found<T> best = {0, -1};
    char *at[3] = {};
    if (mine) {
        mosaic_walk_at(f.kept, here.cell, at);
        best = search_lane<T>(f, s, here, at[0]);
    }
    share[threadIdx.x] = best;
    for (int half = f.lanes / 2; half; half /= 2) {
        __syncthreads();
        if (here.lane >= half) continue;
        found<T> other = share[threadIdx.x + half * here.apart];
        if (better(other, best, s.largest)) share[threadIdx.x] = best = other;
    }
    if (!mine || here.lane != 0) return;
    if (s.best) {
        s.best[blockIdx.y * f.kept.count + here.cell] = best.at;
        return;
    }
    *(int64_t *)at[1] = best.at + 1;
    if (at[2])
        mosaic_copy_bits(at[2], at[0] + best.at * f.folded.step[0][0], f.kept.operand[2].bytes);
}

static mosaic_status launch(const mosaic_tensor *a, const mosaic_fold &f, const search &s)
{
    void (*kernel)(const mosaic_fold, const search) =
        a->dtype == MOSAIC_DTYPE_F64      ? arg_reduce<double>
        : mosaic_dtype_is_float(a->dtype) ? arg_reduce<float>
                                          : arg_reduce<int64_t>;
    return mosaic_launch(mosaic_cuda_of(a), "arg_reduce", kernel, mosaic_fold_grid(f),
                         MOSAIC_FOLD_THREADS, 0, f, s);
}

mosaic_status mosaic_cuda_arg_reduce(const mosaic_tensor *values, const mosaic_tensor *indices,
                                     const mosaic_tensor *a, bool largest, int axis)
{
    const mosaic_tensor *operands[] = {a, indices, values};
    mosaic_fold f = mosaic_fold_of(3, operands, 1u << axis);
    search s = {largest, NULL, NULL};
    MOSAIC_TRY(mosaic_cuda_enter(mosaic_cuda_of(a)));
    if (f.pieces == 1) return launch(a, f, s);

    mosaic_tensor best = {}, few = *a;
    MOSAIC_TRY(
        mosaic_cuda_scratch(&best, mosaic_cuda_of(a), MOSAIC_DTYPE_I64, f.pieces * f.kept.count));
    s.best = (int64_t *)mosaic_data(&best);
    mosaic_status status = launch(a, f, s);
    few.size[axis] = f.pieces; /* as many candidates */
    operands[0] = &few;
    f = mosaic_fold_of(3, operands, 1u << axis);
    f.piece = f.folded.count, f.pieces = 1;
    if (!status) status = launch(a, f, search{largest, s.best, NULL});
    mosaic_tensor_clear(&best);
    return status;
}
