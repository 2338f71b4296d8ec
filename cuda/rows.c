/* rows.c - operands as rows, and how large a team a row is worth. See rows.h. */
#include "rows.h"

enum {
    SHORT = 8,       /* lanes that load 128 bytes together */
    LONG = 4,        /* batches that a lane of a warp has at most, ... */
    FEW_ROWS = 1024, /* ... or one, where rows do not keep a device busy */
};

mosaic_tensor mosaic_axis_last(const mosaic_tensor *a, int axis)
{
    mosaic_tensor view = *a;
    for (int i = axis; i < a->ndim - 1; i++)
        view.size[i] = a->size[i + 1], view.stride[i] = a->stride[i + 1];
    view.size[a->ndim - 1] = a->size[axis], view.stride[a->ndim - 1] = a->stride[axis];
    return view;
}

mosaic_tensor mosaic_row_repeated(const mosaic_tensor *v, const mosaic_tensor *x)
{
    mosaic_tensor view = *v;
    view.ndim = x->ndim;
    for (int i = 0; i < x->ndim; i++) view.size[i] = x->size[i], view.stride[i] = 0;
    view.stride[x->ndim - 1] = v->stride[0];
    return view;
}

/* Do rows of operand k begin and go on as 16-byte loads want them? */
static bool aligned(const mosaic_rows *r, int k)
{
    const mosaic_walk *w = &r->rows;
    uint64_t bits = (uint64_t)w->operand[k].data;
    for (int axis = 0; axis < w->ndim; axis++) bits |= (uint64_t)w->step[k][axis];
    return r->element[k] == w->operand[k].bytes && bits % 16 == 0;
}

/* Rows across the lanes: more lanes for one row only where there are not 32 rows. */
static void choose_across(mosaic_rows *r)
{
    r->lanes = 1;
    r->warps = r->n > MOSAIC_ROWS_PIECES(1) ? MOSAIC_ROWS_WARPS : 1;
    while (r->warps > 1 && r->lanes < 32 && r->rows.count * r->lanes < 32) r->lanes *= 2;
}

/* As few lanes as hold a short row, all 32 or all warps for a long one. */
static void choose_along(mosaic_rows *r)
{
    int64_t pieces = r->n / r->vector, each = MOSAIC_ROWS_PIECES(r->vector);
    r->lanes = 1, r->warps = 1;
    while (r->lanes < SHORT && r->lanes < pieces) r->lanes *= 2;
    while (r->lanes < 32 && pieces > each * r->lanes) r->lanes *= 2;
    if (pieces > 32 * each * (r->rows.count > FEW_ROWS ? LONG : 1)) r->warps = MOSAIC_ROWS_WARPS;
}

mosaic_rows mosaic_rows_of(int operands, const mosaic_tensor *const *tensors, int axes)
{
    mosaic_rows r = {.n = 1, .vector = 1};
    mosaic_tensor starts[MOSAIC_WALK_OPERANDS];
    const mosaic_tensor *pointers[MOSAIC_WALK_OPERANDS] = {0};
    int first = -1; /* operand with rows */
    for (int k = 0; k < operands; k++) {
        if (!tensors[k]) continue;
        starts[k] = *tensors[k];
        starts[k].ndim = axes;
        pointers[k] = &starts[k];
    }
    r.rows = mosaic_walk_of(operands, pointers);
    bool fits = true;
    for (int k = 0; k < operands; k++) {
        if (!tensors[k] || tensors[k]->ndim == axes) continue;
        int64_t bytes = r.rows.operand[k].bytes;
        r.n = tensors[k]->size[axes];
        r.element[k] = r.n > 1 ? tensors[k]->stride[axes] * bytes : bytes;
        fits = fits && r.n * bytes % 16 == 0 && aligned(&r, k);
        if (first < 0) first = k;
    }
    int64_t bytes = first < 0 ? 16 : r.rows.operand[first].bytes;
    if (fits) r.vector = (int)(16 / bytes);
    (first >= 0 && r.element[first] != bytes ? choose_across : choose_along)(&r);
    r.again = r.n > (int64_t)r.lanes * r.warps * r.vector * MOSAIC_ROWS_PIECES(r.vector);
    return r;
}
