/* index.c - reading and writing elements that an index tensor names. Indices count from 1.
 *
 * All of them come down to one form: `base` is the indexed tensor seen with the sizes of the index,
 * staying in place (stride 0) where the index takes over, and element i of the index means
 * (index[i] - 1) * step elements further on. */
#include "../tensor.h"

static mosaic_status check_axis(const char *op, const mosaic_tensor *a, int axis)
{
    MOSAIC_TRY(mosaic_check_operands(op, a, NULL));
    MOSAIC_REQUIRE(axis >= 0 && axis < a->ndim, "%s: axis %d is out of range for %s", op, axis + 1,
                   mosaic_tensor_describe(a));
    return MOSAIC_OK;
}

static mosaic_status check_index(const char *op, const mosaic_tensor *a, const mosaic_tensor *index,
                                 int64_t limit)
{
    MOSAIC_TRY(mosaic_check_operands(op, a, index));
    MOSAIC_REQUIRE(index->dtype == MOSAIC_DTYPE_I64, "%s: the index must be i64, got %s", op,
                   mosaic_tensor_describe(index));
    if (mosaic_tensor_numel(index) == 0) return MOSAIC_OK;
    MOSAIC_DEVICE_CALL(mosaic_device_of(index), check_index, op, "index", index, limit, INT64_MIN);
    return MOSAIC_OK;
}

static mosaic_status check_apart(const char *op, const mosaic_tensor *out, const mosaic_tensor *a)
{
    MOSAIC_REQUIRE(out->storage != a->storage, "%s: the output %s shares its storage with %s", op,
                   mosaic_tensor_describe(out), mosaic_tensor_describe(a));
    return MOSAIC_OK;
}

/* Can every element of out be written by itself? */
static mosaic_status check_target(const char *op, mosaic_tensor *out)
{
    return mosaic_output(out, op, out->dtype, out->ndim, out->size, mosaic_device_of(out));
}

/* An index that is overwritten while it is read would lead anywhere. */
static mosaic_status check_written(const char *op, const mosaic_tensor *out,
                                   const mosaic_tensor *index)
{
    bool same = out->storage == index->storage && out->offset == index->offset;
    MOSAIC_REQUIRE(!same && !mosaic_overlaps(out, index),
                   "%s: the output %s shares memory with the index %s", op,
                   mosaic_tensor_describe(out), mosaic_tensor_describe(index));
    return MOSAIC_OK;
}

static mosaic_status read(mosaic_tensor *out, const mosaic_tensor *base, int64_t step,
                          const mosaic_tensor *index)
{
    mosaic_tensor_note_write(out);
    if (mosaic_tensor_numel(out) == 0) return MOSAIC_OK;
    MOSAIC_DEVICE_CALL(mosaic_device_of(out), gather, out, base, step, index);
    return MOSAIC_OK;
}

static mosaic_status write(const mosaic_tensor *base, int64_t step, const mosaic_tensor *index,
                           const mosaic_tensor *source, bool add)
{
    mosaic_tensor_note_write(base);
    if (mosaic_tensor_numel(index) == 0) return MOSAIC_OK;
    MOSAIC_DEVICE_CALL(mosaic_device_of(base), scatter, base, step, index, source, add);
    return MOSAIC_OK;
}

/* ---- an index per element ------------------------------------------------------------------- */

/* a with the sizes of index, staying in place along axis; index must not be larger elsewhere. */
static mosaic_status base_of(mosaic_tensor *base, const char *op, const mosaic_tensor *a, int axis,
                             const mosaic_tensor *index)
{
    bool fits = index->ndim == a->ndim;
    for (int i = 0; fits && i < a->ndim; i++) fits = i == axis || index->size[i] <= a->size[i];
    MOSAIC_REQUIRE(fits, "%s: the index %s does not fit %s along axis %d", op,
                   mosaic_tensor_describe(index), mosaic_tensor_describe(a), axis + 1);
    *base = *a;
    for (int i = 0; i < a->ndim; i++) base->size[i] = index->size[i];
    base->stride[axis] = 0;
    return MOSAIC_OK;
}

mosaic_status mosaic_gather(mosaic_tensor *out, const mosaic_tensor *a, int axis,
                            const mosaic_tensor *index)
{
    MOSAIC_TRY(check_axis("gather", a, axis));
    MOSAIC_TRY(check_index("gather", a, index, a->size[axis]));
    mosaic_tensor base;
    MOSAIC_TRY(base_of(&base, "gather", a, axis, index));
    MOSAIC_TRY(
        mosaic_output(out, "gather", a->dtype, index->ndim, index->size, mosaic_device_of(a)));
    MOSAIC_TRY(check_apart("gather", out, a));
    MOSAIC_TRY(check_written("gather", out, index));
    return read(out, &base, a->stride[axis], index);
}

typedef mosaic_status adding(mosaic_tensor *out, int axis, const mosaic_tensor *index,
                             const mosaic_tensor *source);

/* Sums of bf16 and f16 are kept in f32 until all terms are in. */
static mosaic_status add_in_f32(adding *add, mosaic_tensor *out, int axis,
                                const mosaic_tensor *index, const mosaic_tensor *source)
{
    mosaic_tensor sum = {0}, terms = {0};
    mosaic_status status = mosaic_convert(&sum, out, MOSAIC_DTYPE_F32, NULL);
    if (!status) status = mosaic_convert(&terms, source, MOSAIC_DTYPE_F32, NULL);
    if (!status) status = add(&sum, axis, index, &terms);
    if (!status) status = mosaic_copy(out, &sum);
    mosaic_tensor_clear(&sum);
    mosaic_tensor_clear(&terms);
    return status;
}

static mosaic_status scatter(const char *op, mosaic_tensor *out, int axis,
                             const mosaic_tensor *index, const mosaic_tensor *source, bool add)
{
    MOSAIC_TRY(check_axis(op, out, axis));
    MOSAIC_TRY(check_target(op, out));
    MOSAIC_TRY(mosaic_check_operands(op, out, source));
    MOSAIC_TRY(check_index(op, out, index, out->size[axis]));
    mosaic_tensor base, from = *source;
    MOSAIC_TRY(base_of(&base, op, out, axis, index));
    bool fits = source->ndim == index->ndim && source->dtype == out->dtype;
    for (int i = 0; fits && i < index->ndim; i++) fits = index->size[i] <= source->size[i];
    MOSAIC_REQUIRE(fits, "%s: the source %s does not fit the index %s of %s", op,
                   mosaic_tensor_describe(source), mosaic_tensor_describe(index),
                   mosaic_tensor_describe(out));
    for (int i = 0; i < index->ndim; i++) from.size[i] = index->size[i];
    MOSAIC_TRY(check_apart(op, out, source));
    MOSAIC_TRY(check_written(op, out, index));
    if (add && mosaic_dtype_is_half(out->dtype))
        return add_in_f32(mosaic_scatter_add, out, axis, index, source);
    return write(&base, out->stride[axis], index, &from, add);
}

mosaic_status mosaic_scatter(mosaic_tensor *out, int axis, const mosaic_tensor *index,
                             const mosaic_tensor *source)
{
    return scatter("scatter", out, axis, index, source, false);
}

mosaic_status mosaic_scatter_add(mosaic_tensor *out, int axis, const mosaic_tensor *index,
                                 const mosaic_tensor *source)
{
    return scatter("scatter_add", out, axis, index, source, true);
}

/* ---- an index per slice --------------------------------------------------------------------- */

/* A list of indices seen with the given sizes, the same along all axes but one (borrowed). */
static mosaic_tensor along(const mosaic_tensor *index, int axis, int ndim, const int64_t *size)
{
    mosaic_tensor view = *index;
    view.ndim = ndim;
    for (int i = 0; i < ndim; i++) {
        view.size[i] = size[i];
        view.stride[i] = i == axis && index->ndim ? index->stride[0] : 0;
    }
    return view;
}

static mosaic_status check_list(const char *op, const mosaic_tensor *a, int axis,
                                const mosaic_tensor *index)
{
    MOSAIC_TRY(check_axis(op, a, axis));
    MOSAIC_TRY(mosaic_check_operands(op, a, index));
    MOSAIC_REQUIRE(index->ndim == 1, "%s: the index must have 1 dim, got %s", op,
                   mosaic_tensor_describe(index));
    return check_index(op, a, index, a->size[axis]);
}

mosaic_status mosaic_index_select(mosaic_tensor *out, const mosaic_tensor *a, int axis,
                                  const mosaic_tensor *index)
{
    MOSAIC_TRY(check_list("index_select", a, axis, index));
    mosaic_tensor base = *a;
    base.size[axis] = index->size[0], base.stride[axis] = 0;
    MOSAIC_TRY(
        mosaic_output(out, "index_select", a->dtype, a->ndim, base.size, mosaic_device_of(a)));
    MOSAIC_TRY(check_apart("index_select", out, a));
    MOSAIC_TRY(check_written("index_select", out, index));
    mosaic_tensor each = along(index, axis, a->ndim, base.size);
    return read(out, &base, a->stride[axis], &each);
}

mosaic_status mosaic_index_add(mosaic_tensor *out, int axis, const mosaic_tensor *index,
                               const mosaic_tensor *source)
{
    MOSAIC_TRY(check_list("index_add", out, axis, index));
    MOSAIC_TRY(check_target("index_add", out));
    MOSAIC_TRY(mosaic_check_operands("index_add", out, source));
    mosaic_tensor base = *out;
    base.size[axis] = index->size[0], base.stride[axis] = 0;
    bool fits = source->ndim == out->ndim && source->dtype == out->dtype;
    for (int i = 0; fits && i < out->ndim; i++) fits = source->size[i] == base.size[i];
    MOSAIC_REQUIRE(fits, "index_add: the source %s does not fit the index %s of %s along axis %d",
                   mosaic_tensor_describe(source), mosaic_tensor_describe(index),
                   mosaic_tensor_describe(out), axis + 1);
    MOSAIC_TRY(check_apart("index_add", out, source));
    MOSAIC_TRY(check_written("index_add", out, index));
    if (mosaic_dtype_is_half(out->dtype))
        return add_in_f32(mosaic_index_add, out, axis, index, source);
    mosaic_tensor each = along(index, axis, out->ndim, base.size);
    return write(&base, out->stride[axis], &each, source, true);
}

mosaic_status mosaic_embedding(mosaic_tensor *out, const mosaic_tensor *weight,
                               const mosaic_tensor *index)
{
    MOSAIC_TRY(mosaic_check_operands("embedding", weight, index));
    MOSAIC_REQUIRE(weight->ndim == 2 && index->ndim < MOSAIC_MAX_DIMS,
                   "embedding: expected a matrix of weights, got %s for the index %s",
                   mosaic_tensor_describe(weight), mosaic_tensor_describe(index));
    MOSAIC_TRY(check_index("embedding", weight, index, weight->size[0]));
    mosaic_tensor base = *weight, each = *index;
    for (int i = 0; i < index->ndim; i++) base.size[i] = index->size[i], base.stride[i] = 0;
    base.ndim = each.ndim = index->ndim + 1;
    base.size[index->ndim] = each.size[index->ndim] = weight->size[1];
    base.stride[index->ndim] = weight->stride[1];
    each.stride[index->ndim] = 0;
    MOSAIC_TRY(mosaic_output(out, "embedding", weight->dtype, base.ndim, base.size,
                             mosaic_device_of(weight)));
    MOSAIC_TRY(check_apart("embedding", out, weight));
    MOSAIC_TRY(check_written("embedding", out, index));
    return read(out, &base, weight->stride[0], &each);
}
