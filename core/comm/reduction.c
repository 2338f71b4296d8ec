/* reduction.c - collectives that do arithmetic, all on one pattern.
 *
 * The operands of all ranks for the same elements are brought together as the rows of r->rows, in
 * rank order, and reduced by their device's reduce_rows. What differs is which elements a rank
 * reduces: all of them (small all_reduce), its share (large all_reduce, reduce_scatter), or the
 * lower ranks' (exscan). The result of an element never depends on that choice. */
#include "comm.h"

enum { SMALL = 4096 /* bytes; below, one phase with everything beats two with shares */ };

/* Room for `rows` operands of `count` elements. */
static mosaic_status make_rows(mosaic_request *r, int rows, int64_t count)
{
    int64_t size[] = {rows, count};
    return mosaic_output(&r->rows, mosaic_comm_kind_name(r->kind), r->dtype, 2, size, r->device);
}

static mosaic_tensor row(const mosaic_request *r, int index)
{
    return mosaic_flat_range(&r->rows, index * r->rows.size[1], r->rows.size[1]);
}

/* The row in the shape of `like`. */
static mosaic_tensor row_shaped(const mosaic_request *r, int index, const mosaic_tensor *like)
{
    mosaic_tensor view = *like;
    view.storage = r->rows.storage;
    view.offset = row(r, index).offset;
    for (int64_t i = like->ndim - 1, stride = 1; i >= 0; stride *= like->size[i--])
        view.stride[i] = stride;
    return view;
}

static mosaic_status copy_row(mosaic_request *r, int index, const mosaic_tensor *from)
{
    mosaic_tensor place = row_shaped(r, index, from);
    return mosaic_tensor_numel(from) ? mosaic_copy(&place, from) : MOSAIC_OK;
}

/* Reduces the first `count` rows into r->flat from `at` on. */
static mosaic_status reduce_into(mosaic_request *r, int64_t at, int count)
{
    mosaic_tensor rows = r->rows, place = mosaic_flat_range(&r->flat, at, rows.size[1]);
    rows.size[0] = count;
    if (!rows.size[1]) return MOSAIC_OK;
    MOSAIC_DEVICE_CALL(r->device, reduce_rows, &place, &rows, (mosaic_comm_reduction)r->op);
    return MOSAIC_OK;
}

/* ---- all_reduce, reduce --------------------------------------------------------------------- */

/* Rank's share of `count` elements starts here. */
static int64_t share_start(const mosaic_request *r, int rank)
{
    int size = r->comm->size;
    int64_t each = r->count / size, rest = r->count % size;
    return rank * each + (rank < rest ? rank : rest);
}

static mosaic_tensor share(const mosaic_request *r, const mosaic_tensor *whole, int rank)
{
    int64_t start = share_start(r, rank);
    return mosaic_flat_range(whole, start, share_start(r, rank + 1) - start);
}

/* The result of all but the root. */
static mosaic_status clear_result(mosaic_request *r) { return mosaic_fill(&r->flat, 0); }

static mosaic_status reduce_whole(mosaic_request *r)
{
    if (r->root >= 0 && r->root != r->comm->rank)
        MOSAIC_TRY(clear_result(r));
    else
        MOSAIC_TRY(reduce_into(r, 0, r->comm->size));
    return r->root < 0 ? MOSAIC_OK : mosaic_request_answer(r);
}

/* Small: everything goes to everyone (or to the root), who reduces it all. */
static mosaic_status prepare_whole(mosaic_request *r, mosaic_tensor *packed)
{
    const mosaic_comm *c = r->comm;
    bool receives = r->root < 0 || r->root == c->rank;
    if (receives) {
        MOSAIC_TRY(make_rows(r, c->size, r->count));
        MOSAIC_TRY(copy_row(r, c->rank, packed));
    }
    for (int k = 1; k < c->size; k++) {
        int to = (c->rank + k) % c->size, from = (c->rank - k + c->size) % c->size;
        if (r->root < 0 || to == r->root) MOSAIC_TRY(mosaic_request_send(r, to, packed));
        if (!receives) continue;
        mosaic_tensor place = row(r, from);
        MOSAIC_TRY(mosaic_request_recv(r, from, &place));
    }
    return MOSAIC_OK;
}

/* Large, first phase: each rank gets the others' operands for its share. */
static mosaic_status prepare_shares(mosaic_request *r, mosaic_tensor *packed)
{
    const mosaic_comm *c = r->comm;
    mosaic_tensor own = share(r, packed, c->rank);
    MOSAIC_TRY(make_rows(r, c->size, own.size[0]));
    MOSAIC_TRY(copy_row(r, c->rank, &own));
    for (int k = 1; k < c->size; k++) {
        int to = (c->rank + k) % c->size, from = (c->rank - k + c->size) % c->size;
        mosaic_tensor piece = share(r, packed, to), place = row(r, from);
        MOSAIC_TRY(mosaic_request_send(r, to, &piece));
        MOSAIC_TRY(mosaic_request_recv(r, from, &place));
    }
    return MOSAIC_OK;
}

/* Second phase: the reduced shares go to everyone (or to the root). */
static mosaic_status distribute_shares(mosaic_request *r)
{
    const mosaic_comm *c = r->comm;
    mosaic_tensor own = share(r, &r->flat, c->rank);
    MOSAIC_TRY(reduce_into(r, share_start(r, c->rank), c->size));
    for (int k = 1; k < c->size; k++) {
        int to = (c->rank + k) % c->size, from = (c->rank - k + c->size) % c->size;
        mosaic_tensor place = share(r, &r->flat, from);
        if (r->root < 0 || to == r->root) MOSAIC_TRY(mosaic_request_send(r, to, &own));
        if (r->root < 0 || c->rank == r->root) MOSAIC_TRY(mosaic_request_recv(r, from, &place));
    }
    mosaic_request_launch(r, r->root < 0 || c->rank == r->root ? NULL : clear_result);
    return MOSAIC_OK;
}

static mosaic_status prepare_all_reduce(mosaic_request *r, mosaic_tensor *out, bool small)
{
    MOSAIC_TRY(mosaic_request_flat_output(r, out, r->in.ndim, r->in.size));
    mosaic_tensor packed = {0};
    if (mosaic_tensor_is_contiguous(&r->in))
        MOSAIC_TRY(mosaic_alias(&packed, &r->in));
    else
        MOSAIC_TRY(mosaic_convert(&packed, &r->in, (mosaic_dtype)r->dtype, NULL));
    mosaic_status status = small ? prepare_whole(r, &packed) : prepare_shares(r, &packed);
    mosaic_tensor_clear(&packed);
    return status;
}

mosaic_status mosaic_comm_all_reduce(mosaic_request **request, mosaic_comm *c, mosaic_tensor *out,
                                     const mosaic_tensor *a, mosaic_comm_reduction op, int root,
                                     int mark)
{
    mosaic_comm_kind kind = root < 0 ? MOSAIC_COMM_ALL_REDUCE : MOSAIC_COMM_REDUCE;
    MOSAIC_REQUIRE(root < c->size, "reduce: no rank %d in a communicator of %d", root, c->size);
    MOSAIC_REQUIRE((unsigned)op <= MOSAIC_COMM_MAX, "%s: no reduction %d",
                   mosaic_comm_kind_name(kind), (int)op);
    mosaic_request *r = NULL;
    mosaic_status status = mosaic_request_new(&r, c, kind, a, 2 * c->size - 2, mark);
    if (!r) return status;
    r->op = (int)op;
    r->root = root < 0 ? -1 : root;
    r->uniform = true;
    bool small = r->count * mosaic_dtype_bytes((mosaic_dtype)r->dtype) < SMALL;
    if (!status) status = prepare_all_reduce(r, out, small);
    return mosaic_request_begin(request, r, status, small ? reduce_whole : distribute_shares);
}

/* ---- reduce_scatter ------------------------------------------------------------------------- */

static mosaic_status reduce_own(mosaic_request *r) { return reduce_into(r, 0, r->comm->size); }

static mosaic_status prepare_reduce_scatter(mosaic_request *r, mosaic_tensor *out, int axis,
                                            const int64_t *sizes)
{
    const mosaic_comm *c = r->comm;
    mosaic_tensor own = mosaic_block(&r->in, axis, sizes, c->rank);
    MOSAIC_TRY(mosaic_request_flat_output(r, out, own.ndim, own.size));
    MOSAIC_TRY(make_rows(r, c->size, mosaic_tensor_numel(&own)));
    MOSAIC_TRY(copy_row(r, c->rank, &own));
    for (int k = 1; k < c->size; k++) {
        int to = (c->rank + k) % c->size, from = (c->rank - k + c->size) % c->size;
        mosaic_tensor piece = mosaic_block(&r->in, axis, sizes, to);
        mosaic_tensor place = row_shaped(r, from, &own);
        MOSAIC_TRY(mosaic_request_send(r, to, &piece));
        MOSAIC_TRY(mosaic_request_recv(r, from, &place));
    }
    return MOSAIC_OK;
}

mosaic_status mosaic_comm_reduce_scatter(mosaic_request **request, mosaic_comm *c,
                                         mosaic_tensor *out, const mosaic_tensor *a, int axis,
                                         const int64_t *sizes, mosaic_comm_reduction op, int mark)
{
    int64_t total = 0;
    MOSAIC_TRY(mosaic_check_sizes(&total, "reduce_scatter", c, a, axis, sizes));
    MOSAIC_REQUIRE(total == a->size[axis],
                   "reduce_scatter: the sizes add up to %lld, but axis %d of %s", (long long)total,
                   axis + 1, mosaic_tensor_describe(a));
    MOSAIC_REQUIRE((unsigned)op <= MOSAIC_COMM_MAX, "reduce_scatter: no reduction %d", (int)op);
    mosaic_request *r = NULL;
    mosaic_status status =
        mosaic_request_new(&r, c, MOSAIC_COMM_REDUCE_SCATTER, a, 2 * c->size - 2, mark);
    if (!r) return status;
    r->op = (int)op;
    r->axis = axis + 1;
    if (!status) status = prepare_reduce_scatter(r, out, axis, sizes);
    return mosaic_request_begin(request, r, status, reduce_own);
}

/* ---- exscan --------------------------------------------------------------------------------- */

static mosaic_status reduce_before(mosaic_request *r)
{
    int rows = (int)r->rows.size[0];
    return rows ? reduce_into(r, 0, rows) : mosaic_fill(&r->flat, 0);
}

/* Everyone hears from everyone, so that the marks are the same everywhere; the elements go only
 * to the ranks that come later (reverse: earlier). */
static mosaic_status prepare_exscan(mosaic_request *r, mosaic_tensor *out, bool reverse)
{
    const mosaic_comm *c = r->comm;
    int first = reverse ? c->rank + 1 : 0; /* the rank in row 0 */
    int rows = reverse ? c->size - 1 - c->rank : c->rank;
    MOSAIC_TRY(mosaic_request_flat_output(r, out, r->in.ndim, r->in.size));
    MOSAIC_TRY(make_rows(r, rows, r->count));
    mosaic_tensor nothing = mosaic_flat_range(&r->rows, 0, 0);
    for (int k = 1; k < c->size; k++) {
        int to = (c->rank + k) % c->size, from = (c->rank - k + c->size) % c->size;
        mosaic_tensor place = from >= first && from < first + rows ? row(r, from - first) : nothing;
        bool later = reverse ? to < c->rank : to > c->rank;
        MOSAIC_TRY(mosaic_request_send(r, to, later ? &r->in : &nothing));
        MOSAIC_TRY(mosaic_request_recv(r, from, &place));
    }
    return MOSAIC_OK;
}

mosaic_status mosaic_comm_exscan(mosaic_request **request, mosaic_comm *c, mosaic_tensor *out,
                                 const mosaic_tensor *a, bool reverse, int mark)
{
    mosaic_request *r = NULL;
    mosaic_status status = mosaic_request_new(&r, c, MOSAIC_COMM_EXSCAN, a, 2 * c->size - 2, mark);
    if (!r) return status;
    r->op = MOSAIC_COMM_SUM;
    r->root = reverse ? 1 : 0; /* the two directions never meet */
    r->uniform = true;
    if (!status) status = prepare_exscan(r, out, reverse);
    return mosaic_request_begin(request, r, status, reduce_before);
}
