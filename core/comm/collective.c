/* collective.c - collectives that only move elements.
 *
 * All are direct exchanges in one phase (every block travels once, from its owner to who needs it),
 * but broadcast (a binomial tree), barrier (dissemination) and the empty answer of gather. Peers
 * are met in rotated order, so that not all ranks talk to rank 0 first. */
#include "payload.h"

static mosaic_status check_root(const char *op, const mosaic_comm *c, int root)
{
    MOSAIC_REQUIRE(root >= 0 && root < c->size, "%s: no rank %d in a communicator of %d", op, root,
                   c->size);
    return MOSAIC_OK;
}

mosaic_status mosaic_check_sizes(int64_t *total, const char *op, const mosaic_comm *c,
                                 const mosaic_tensor *a, int axis, const int64_t *sizes)
{
    MOSAIC_TRY(mosaic_check_operands(op, a, NULL));
    MOSAIC_REQUIRE(axis >= 0 && axis < a->ndim, "%s: axis %d is out of range for %s", op, axis + 1,
                   mosaic_tensor_describe(a));
    *total = 0;
    for (int r = 0; r < c->size; r++) {
        MOSAIC_REQUIRE(sizes[r] >= 0, "%s: size %lld of rank %d is negative", op,
                       (long long)sizes[r], r);
        *total += sizes[r];
    }
    return MOSAIC_OK;
}

mosaic_tensor mosaic_block(const mosaic_tensor *a, int axis, const int64_t *sizes, int rank)
{
    int64_t start = 0;
    for (int r = 0; r < rank; r++) start += sizes[r];
    mosaic_tensor view = *a;
    view.size[axis] = sizes[rank];
    if (sizes[rank]) view.offset += start * a->stride[axis];
    return view;
}

/* The own block goes straight from a to its place, which may be where it is already. */
static mosaic_status copy_block(mosaic_tensor to, const mosaic_tensor *from)
{
    bool there = to.storage == from->storage && to.offset == from->offset;
    return there || !mosaic_tensor_numel(from) ? MOSAIC_OK : mosaic_copy(&to, from);
}

/* Replaces the retained operand by a contiguous copy where it is strided: it goes to many ranks. */
static mosaic_status pack_operand(mosaic_request *r)
{
    if (mosaic_tensor_is_contiguous(&r->in)) return MOSAIC_OK;
    mosaic_tensor packed = {0};
    MOSAIC_TRY(mosaic_convert(&packed, &r->in, (mosaic_dtype)r->in.dtype, NULL));
    mosaic_tensor_clear(&r->in);
    r->in = packed;
    return MOSAIC_OK;
}

/* ---- all_gather ----------------------------------------------------------------------------- */

static mosaic_status prepare_all_gather(mosaic_request *r, mosaic_tensor *out, int axis,
                                        const int64_t *sizes, int64_t total)
{
    const mosaic_comm *c = r->comm;
    mosaic_tensor whole = r->in;
    whole.size[axis] = total;
    MOSAIC_TRY(mosaic_request_output(r, out, whole.ndim, whole.size));
    MOSAIC_TRY(copy_block(mosaic_block(&r->out, axis, sizes, c->rank), &r->in));
    MOSAIC_TRY(pack_operand(r));
    for (int k = 1; k < c->size; k++) {
        int to = (c->rank + k) % c->size, from = (c->rank - k + c->size) % c->size;
        mosaic_tensor place = mosaic_block(&r->out, axis, sizes, from);
        MOSAIC_TRY(mosaic_request_send(r, to, &r->in));
        MOSAIC_TRY(mosaic_request_recv(r, from, &place));
    }
    return MOSAIC_OK;
}

mosaic_status mosaic_comm_all_gather(mosaic_request **request, mosaic_comm *c, mosaic_tensor *out,
                                     const mosaic_tensor *a, int axis, const int64_t *sizes,
                                     int mark)
{
    int64_t total = 0;
    MOSAIC_TRY(mosaic_check_sizes(&total, "all_gather", c, a, axis, sizes));
    MOSAIC_REQUIRE(sizes[c->rank] == a->size[axis],
                   "all_gather: rank %d announces size %lld along axis %d, but has %s", c->rank,
                   (long long)sizes[c->rank], axis + 1, mosaic_tensor_describe(a));
    mosaic_request *r = NULL;
    mosaic_status status =
        mosaic_request_new(&r, c, MOSAIC_COMM_ALL_GATHER, a, 2 * c->size - 2, mark);
    if (!r) return status;
    r->axis = axis + 1;
    if (!status) status = prepare_all_gather(r, out, axis, sizes, total);
    return mosaic_request_begin(request, r, status, NULL);
}

/* ---- gather, scatter ------------------------------------------------------------------------ */

mosaic_status mosaic_request_answer(mosaic_request *r)
{
    const mosaic_comm *c = r->comm;
    mosaic_tensor nothing = mosaic_flat_range(&r->out, 0, 0);
    if (c->rank != r->root)
        MOSAIC_TRY(mosaic_request_recv(r, r->root, &nothing));
    else
        for (int k = 1; k < c->size; k++)
            MOSAIC_TRY(mosaic_request_send(r, (c->rank + k) % c->size, &nothing));
    mosaic_request_launch(r, NULL);
    return MOSAIC_OK;
}

static mosaic_status prepare_gather(mosaic_request *r, mosaic_tensor *out, int axis,
                                    const int64_t *sizes, int64_t total)
{
    const mosaic_comm *c = r->comm;
    mosaic_tensor whole = r->in;
    whole.size[axis] = c->rank == r->root ? total : 0;
    MOSAIC_TRY(mosaic_request_output(r, out, whole.ndim, whole.size));
    if (c->rank != r->root) return mosaic_request_send(r, r->root, &r->in);
    MOSAIC_TRY(copy_block(mosaic_block(&r->out, axis, sizes, c->rank), &r->in));
    for (int k = 1; k < c->size; k++) {
        int from = (c->rank + k) % c->size;
        mosaic_tensor place = mosaic_block(&r->out, axis, sizes, from);
        MOSAIC_TRY(mosaic_request_recv(r, from, &place));
    }
    return MOSAIC_OK;
}

mosaic_status mosaic_comm_gather(mosaic_request **request, mosaic_comm *c, mosaic_tensor *out,
                                 const mosaic_tensor *a, int axis, const int64_t *sizes, int root,
                                 int mark)
{
    int64_t total = 0;
    MOSAIC_TRY(check_root("gather", c, root));
    MOSAIC_TRY(mosaic_check_sizes(&total, "gather", c, a, axis, sizes));
    MOSAIC_REQUIRE(sizes[c->rank] == a->size[axis],
                   "gather: rank %d announces size %lld along axis %d, but has %s", c->rank,
                   (long long)sizes[c->rank], axis + 1, mosaic_tensor_describe(a));
    mosaic_request *r = NULL;
    mosaic_status status = mosaic_request_new(&r, c, MOSAIC_COMM_GATHER, a, c->size, mark);
    if (!r) return status;
    r->root = root;
    r->axis = axis + 1;
    if (!status) status = prepare_gather(r, out, axis, sizes, total);
    return mosaic_request_begin(request, r, status, mosaic_request_answer);
}

static mosaic_status prepare_scatter(mosaic_request *r, mosaic_tensor *out, int axis,
                                     const int64_t *sizes)
{
    const mosaic_comm *c = r->comm;
    mosaic_tensor own = r->in;
    own.size[axis] = sizes[c->rank];
    MOSAIC_TRY(mosaic_request_output(r, out, own.ndim, own.size));
    if (c->rank != r->root) return mosaic_request_recv(r, r->root, &r->out);
    mosaic_tensor mine = mosaic_block(&r->in, axis, sizes, c->rank);
    MOSAIC_TRY(copy_block(r->out, &mine));
    for (int k = 1; k < c->size; k++) {
        int to = (c->rank + k) % c->size;
        mosaic_tensor piece = mosaic_block(&r->in, axis, sizes, to);
        MOSAIC_TRY(mosaic_request_send(r, to, &piece));
    }
    return MOSAIC_OK;
}

mosaic_status mosaic_comm_scatter(mosaic_request **request, mosaic_comm *c, mosaic_tensor *out,
                                  const mosaic_tensor *a, int axis, const int64_t *sizes, int root,
                                  int mark)
{
    int64_t total = 0;
    MOSAIC_TRY(check_root("scatter", c, root));
    MOSAIC_TRY(mosaic_check_sizes(&total, "scatter", c, a, axis, sizes));
    MOSAIC_REQUIRE(c->rank != root || total == a->size[axis],
                   "scatter: the sizes add up to %lld, but axis %d of %s", (long long)total,
                   axis + 1, mosaic_tensor_describe(a));
    mosaic_request *r = NULL;
    mosaic_status status = mosaic_request_new(&r, c, MOSAIC_COMM_SCATTER, a, c->size, mark);
    if (!r) return status;
    r->root = root;
    r->axis = axis + 1;
    if (!status) status = prepare_scatter(r, out, axis, sizes);
    return mosaic_request_begin(request, r, status, NULL);
}

/* ---- all_to_all ----------------------------------------------------------------------------- */

/* The shape of what comes from a rank that has `size` along the concatenated axis. */
static mosaic_tensor joined_shape(const mosaic_request *r, int split_axis, int64_t split_size,
                                  int concat_axis, int64_t size)
{
    mosaic_tensor shape = r->in;
    shape.size[split_axis] = split_size;
    shape.size[concat_axis] = size;
    return shape;
}

static mosaic_status prepare_all_to_all(mosaic_request *r, mosaic_tensor *out, int split_axis,
                                        const int64_t *split_sizes, int concat_axis,
                                        const int64_t *concat_sizes, int64_t total)
{
    const mosaic_comm *c = r->comm;
    mosaic_tensor whole = joined_shape(r, split_axis, split_sizes[c->rank], concat_axis, total);
    MOSAIC_TRY(mosaic_request_output(r, out, whole.ndim, whole.size));
    mosaic_tensor mine = mosaic_block(&r->in, split_axis, split_sizes, c->rank);
    MOSAIC_TRY(copy_block(mosaic_block(&r->out, concat_axis, concat_sizes, c->rank), &mine));
    for (int k = 1; k < c->size; k++) {
        int to = (c->rank + k) % c->size, from = (c->rank - k + c->size) % c->size;
        mosaic_tensor piece = mosaic_block(&r->in, split_axis, split_sizes, to);
        mosaic_tensor place = mosaic_block(&r->out, concat_axis, concat_sizes, from);
        MOSAIC_TRY(mosaic_request_send(r, to, &piece));
        MOSAIC_TRY(mosaic_request_recv(r, from, &place));
    }
    return MOSAIC_OK;
}

mosaic_status mosaic_comm_all_to_all(mosaic_request **request, mosaic_comm *c, mosaic_tensor *out,
                                     const mosaic_tensor *a, int split_axis,
                                     const int64_t *split_sizes, int concat_axis,
                                     const int64_t *concat_sizes, int mark)
{
    int64_t cut = 0, total = 0;
    MOSAIC_TRY(mosaic_check_sizes(&cut, "all_to_all", c, a, split_axis, split_sizes));
    MOSAIC_TRY(mosaic_check_sizes(&total, "all_to_all", c, a, concat_axis, concat_sizes));
    MOSAIC_REQUIRE(cut == a->size[split_axis],
                   "all_to_all: the sizes add up to %lld, but axis %d of %s", (long long)cut,
                   split_axis + 1, mosaic_tensor_describe(a));
    int64_t own = split_axis == concat_axis ? split_sizes[c->rank] : a->size[concat_axis];
    MOSAIC_REQUIRE(own == concat_sizes[c->rank],
                   "all_to_all: rank %d announces size %lld along axis %d, but has %lld of %s",
                   c->rank, (long long)concat_sizes[c->rank], concat_axis + 1, (long long)own,
                   mosaic_tensor_describe(a));
    mosaic_request *r = NULL;
    mosaic_status status =
        mosaic_request_new(&r, c, MOSAIC_COMM_ALL_TO_ALL, a, 2 * c->size - 2, mark);
    if (!r) return status;
    r->axis = split_axis + 1;
    r->join = concat_axis + 1;
    if (!status)
        status =
            prepare_all_to_all(r, out, split_axis, split_sizes, concat_axis, concat_sizes, total);
    return mosaic_request_begin(request, r, status, NULL);
}

/* ---- broadcast ------------------------------------------------------------------------------ */

/* Ranks are counted from the root; a rank's parent is its number without the lowest set bit. */
static int from_root(const mosaic_request *r)
{
    return (r->comm->rank - r->root + r->comm->size) % r->comm->size;
}

static int parent(const mosaic_request *r)
{
    int me = from_root(r);
    return ((me & (me - 1)) + r->root) % r->comm->size;
}

static mosaic_status prepare_children(mosaic_request *r, const mosaic_tensor *a)
{
    int size = r->comm->size, me = from_root(r), reach = 1;
    while (reach < size && !(me & reach)) reach *= 2;
    for (int step = reach / 2; step > 0; step /= 2)
        if (me + step < size) MOSAIC_TRY(mosaic_request_send(r, (me + step + r->root) % size, a));
    return MOSAIC_OK;
}

static mosaic_status send_to_children(mosaic_request *r)
{
    MOSAIC_TRY(prepare_children(r, &r->flat));
    mosaic_request_launch(r, NULL);
    return MOSAIC_OK;
}

static mosaic_status announce_to_children(mosaic_request *r)
{
    mosaic_tensor nothing = mosaic_flat_range(&r->flat, 0, 0);
    MOSAIC_TRY(prepare_children(r, &nothing));
    MOSAIC_TRY(mosaic_request_recv(r, parent(r), &r->flat));
    mosaic_request_launch(r, send_to_children);
    return MOSAIC_OK;
}

/* Where ranks have to meet before anything moves, an empty message goes down the tree first: ranks
 * with a tensor on another device do not come, but see there what the others have. */
static mosaic_status prepare_broadcast(mosaic_request *r, mosaic_tensor *out, bool announce)
{
    r->uniform = true;
    MOSAIC_TRY(mosaic_request_flat_output(r, out, r->in.ndim, r->in.size));
    mosaic_tensor nothing = mosaic_flat_range(&r->flat, 0, 0);
    const mosaic_tensor *first = announce ? &nothing : &r->flat;
    if (from_root(r)) return mosaic_request_recv(r, parent(r), first);
    MOSAIC_TRY(copy_block(r->flat, &r->in));
    return prepare_children(r, first);
}

mosaic_status mosaic_comm_broadcast(mosaic_request **request, mosaic_comm *c, mosaic_tensor *out,
                                    const mosaic_tensor *a, int root, int mark)
{
    enum { CHILDREN = 32 };
    MOSAIC_TRY(check_root("broadcast", c, root));
    mosaic_request *r = NULL;
    mosaic_status status = mosaic_request_new(&r, c, MOSAIC_COMM_BROADCAST, a, CHILDREN, mark);
    if (!r) return status;
    r->root = root;
    bool announce = mosaic_group_begins(r), own = c->rank == root;
    mosaic_step then = own ? NULL : send_to_children;
    if (announce) then = own ? send_to_children : announce_to_children;
    if (!status) status = prepare_broadcast(r, out, announce);
    return mosaic_request_begin(request, r, status, then);
}

/* ---- barrier -------------------------------------------------------------------------------- */

/* Round k tells the rank 2^k further on, and hears from the one 2^k back: after log2(p) rounds
 * everyone has heard, through others, from everyone. */
static mosaic_status barrier_round(mosaic_request *r)
{
    const mosaic_comm *c = r->comm;
    if (r->distance >= c->size) return MOSAIC_OK;
    MOSAIC_TRY(mosaic_request_send(r, (c->rank + r->distance) % c->size, &r->flat));
    MOSAIC_TRY(mosaic_request_recv(r, (c->rank - r->distance + c->size) % c->size, &r->flat));
    r->distance *= 2;
    mosaic_request_launch(r, barrier_round);
    return MOSAIC_OK;
}

mosaic_status mosaic_comm_barrier(mosaic_request **request, mosaic_comm *c)
{
    mosaic_request *r = NULL;
    MOSAIC_TRY(mosaic_request_new(&r, c, MOSAIC_COMM_BARRIER, NULL, 2, 0));
    r->distance = 1;
    mosaic_status status = mosaic_tensor_new(&r->flat, MOSAIC_DTYPE_U8, 1, (int64_t[]){0}, NULL);
    return mosaic_request_begin(request, r, status, barrier_round);
}
