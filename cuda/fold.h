/* fold.h - how threads divide the work where the elements along some axes become one result.
 *
 * A block has `lanes` threads for each of `cells` results. Threads next to each other take elements
 * next to each other in memory: lanes of one cell where the folded axes are the dense ones, cells
 * where the kept ones are. Where cells are few, their elements are cut into `pieces`, with a block
 * each. All of this depends on sizes and strides only, so results do not depend on the device. */
#ifndef MOSAIC_CUDA_FOLD_H
#define MOSAIC_CUDA_FOLD_H
#include "walk.h"

enum { MOSAIC_FOLD_THREADS = 256, MOSAIC_FOLD_EACH = 8 /* elements that a thread has in flight */ };

typedef struct {
    mosaic_walk kept, folded; /* the cells; the elements of one */
    bool columns;             /* neighbours are cells */
    int lanes, cells;         /* powers of 2, together MOSAIC_FOLD_THREADS */
    int64_t piece, pieces;    /* elements of a piece, pieces of a cell */
} mosaic_fold;

#ifdef __cplusplus
extern "C" {
#endif
/* tensors[0] is folded along `axes`. The others have its sizes, or 1 along these axes. */
mosaic_fold mosaic_fold_of(int operands, const mosaic_tensor *const *tensors, unsigned axes);
#ifdef __cplusplus
}

/* Where this thread stands: its cell (perhaps beyond the last one) and its lane. */
typedef struct {
    int64_t cell;
    int lane;
    int64_t from, end; /* the block's piece */
    int apart;         /* threads from one lane of a cell to the next */
} mosaic_fold_place;

MOSAIC_INLINE mosaic_fold_place mosaic_fold_here(const mosaic_fold &f)
{
    int thread = threadIdx.x, lane = f.columns ? thread / f.cells : thread % f.lanes;
    int slot = f.columns ? thread % f.cells : thread / f.lanes;
    int64_t from = blockIdx.y * f.piece, end = min(from + f.piece, f.folded.count);
    return mosaic_fold_place{(int64_t)blockIdx.x * f.cells + slot, lane, from, end,
                             f.columns ? f.cells : 1};
}

/* at[k]: address of element i + k lanes of the cell that begins at data, as long as it is before
 * `end`, else that of element i; `whole`: all of them are. */
template <int N>
MOSAIC_INLINE void mosaic_fold_at(const mosaic_fold &f, const char *(&at)[N], const char *data,
                                  int64_t i, int64_t end, bool whole)
{
    if (f.folded.ndim != 1) {
        for (int k = 0; k < N; k++) {
            int64_t j = i + k * f.lanes;
            at[k] = data + mosaic_walk_offset(f.folded, 0, j < end ? j : i);
        }
        return;
    }
    int64_t step = f.folded.step[0][0], apart = f.lanes * step;
    at[0] = data + i * step;
    for (int k = 1; k < N; k++) at[k] = whole || i + k * f.lanes < end ? at[0] + k * apart : at[0];
}

static inline dim3 mosaic_fold_grid(const mosaic_fold &f)
{
    return dim3((unsigned)((f.kept.count + f.cells - 1) / f.cells), (unsigned)f.pieces);
}
#endif
#endif
