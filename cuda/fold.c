/* fold.c - plans for folds: see fold.h. */
#include "fold.h"

#include <stdlib.h>

enum {
    SEGMENT = 64,  /* bytes of neighbouring cells that a block reads together, at least */
    LEAST = 16,    /* elements per thread that are worth a block of their own */
    ENOUGH = 2048, /* blocks that fill any device */
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* The smallest power of 2 that is `least` or more, but at most `most`, which is one, too. */
static int power_of_2(int64_t least, int64_t most)
{
    int64_t power = 1;
    while (power < least && power < most) power *= 2;
    return (int)power;
}

/* The step of the first operand along the last axis, a long way where there is none. */
static int64_t inner_step(const mosaic_walk *w)
{
    return w->ndim ? llabs(w->step[0][w->ndim - 1]) : INT64_MAX;
}

/* Lanes along the folded elements, or a few lanes for cells that lie together. */
static int lanes_of(const mosaic_fold *f)
{
    int64_t count = f->folded.count;
    if (!f->columns) return power_of_2(count / MOSAIC_FOLD_EACH, MOSAIC_FOLD_THREADS);
    int together = power_of_2(f->kept.count, SEGMENT / f->kept.operand[0].bytes);
    return power_of_2(count / LEAST, MOSAIC_FOLD_THREADS / together);
}

mosaic_fold mosaic_fold_of(int operands, const mosaic_tensor *const *tensors, unsigned axes)
{
    mosaic_fold f = {.kept = mosaic_walk_axes(operands, tensors, ~axes),
                     .folded = mosaic_walk_axes(operands, tensors, axes)};
    f.columns = inner_step(&f.kept) < inner_step(&f.folded);
    f.lanes = lanes_of(&f);
    f.cells = MOSAIC_FOLD_THREADS / f.lanes;
    int64_t blocks = (f.kept.count + f.cells - 1) / f.cells, count = f.folded.count;
    int64_t most = count / (f.lanes * LEAST), pieces = larger(1, smaller(ENOUGH / blocks, most));
    f.piece = (count + pieces - 1) / pieces;
    f.pieces = (count + f.piece - 1) / f.piece;
    return f;
}
