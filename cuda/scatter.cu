/* scatter.cu - writing, or adding to, elements that an index names. core/op/index.c explains what
 * base, step and index are.
 *
 * Only indices along the axes where base stays in place can name the same element: a line's. A few
 * of them one thread writes one after the other. Longer lines are sorted, places in order within
 * an index, and a thread writes all that one index names: the last one, or the sum in order. So
 * the result has the CPU's bits, whatever happens at once. */
#include <launch.h>

#include "element.h"
#include "walk.h"

enum { FEW = 16, EACH = 8 };

/* The axes of the operands in groups: along `places` base stays in place; along `rows` it moves,
 * and so does the index; along `slices` base moves and the index stays. */
typedef struct {
    mosaic_walk rows, slices, places; /* of base, source, index */
    int64_t step;                     /* bytes from one indexed element to the next */
} writing;

template <class E, bool ADD> MOSAIC_DEVICE void write(char *to, E x)
{
    *(E *)to = ADD ? (E)(*(E *)to + x) : x;
}

/* at[]: addresses of base, source and index for row number i of rows x slices. */
MOSAIC_DEVICE void line_at(const writing &w, int64_t i, char *(&at)[3])
{
    int64_t row = i, slice = mosaic_divide(row, w.slices.count);
    char *there[3];
    mosaic_walk_at(w.rows, row, at);
    mosaic_walk_at(w.slices, slice, there);
    for (int n = 0; n < 3; n++) at[n] += there[n] - w.slices.operand[n].data;
}

/* A thread for a line. */
template <class E, bool ADD> __global__ void write_lines(const writing w)
{
    mosaic_walk_each(w.rows.count * w.slices.count, [&](int64_t i) {
        char *at[3];
        line_at(w, i, at);
        for (int64_t place = 0; place < w.places.count; place++) {
            int64_t index = *(const int64_t *)(at[2] + mosaic_walk_offset(w.places, 2, place));
            E x = *(const E *)(at[1] + mosaic_walk_offset(w.places, 1, place));
            write<E, ADD>(at[0] + (index - 1) * w.step, x);
        }
    });
}

/* Adds all that the index keys[first] names, from places[first] on. */
template <class E>
MOSAIC_DEVICE void add_run(const writing &w, E *to, const char *source, const int64_t *keys,
                           const int64_t *places, int64_t first)
{
    E sum = *to;
    int many = EACH;
    for (int64_t p = first; many == EACH; p += EACH) {
        E x[EACH];
        many = 0;
        for (int k = 0; k < EACH; k++) {
            bool same = p + k < w.places.count && keys[p + k] == keys[first];
            int64_t place = places[same ? p + k : first] - 1;
            x[k] = *(const E *)(source + mosaic_walk_offset(w.places, 1, place));
            many += same;
        }
        for (int k = 0; k < EACH; k++)
            if (k < many) sum = (E)(sum + x[k]);
    }
    *to = sum;
}

/* keys, places: (rows, n), the indices in order, and where they stood (from 1). A thread for each
 * and each slice: those with the first (to add) or the last of equal indices write. */
template <class E, bool ADD>
__global__ void write_runs(const writing w, const int64_t *keys, const int64_t *places)
{
    const int64_t n = w.places.count;
    mosaic_walk_each(w.rows.count * n * w.slices.count, [&](int64_t i) {
        char *at[3];
        int64_t row = i, slice = mosaic_divide(row, w.slices.count), p = mosaic_divide(row, n);
        const int64_t *key = keys + row * n, *place = places + row * n;
        if (ADD ? p > 0 && key[p - 1] == key[p] : p + 1 < n && key[p + 1] == key[p]) return;
        line_at(w, row * w.slices.count + slice, at);
        char *to = at[0] + (key[p] - 1) * w.step;
        if (ADD)
            add_run(w, (E *)to, at[1], key, place, p);
        else
            write<E, ADD>(to, *(const E *)(at[1] + mosaic_walk_offset(w.places, 1, place[p] - 1)));
    });
}

/* ---- launches ------------------------------------------------------------------------------- */

enum { ROWS, SLICES, PLACES, GROUPS };

typedef struct {
    int axes[GROUPS][MOSAIC_MAX_DIMS], count[GROUPS];
} grouping;

static grouping group_axes(const mosaic_tensor *base, const mosaic_tensor *index)
{
    grouping g = {};
    for (int axis = 0; axis < base->ndim; axis++) {
        if (base->size[axis] == 1) continue;
        int group = base->stride[axis] == 0 ? PLACES : index->stride[axis] != 0 ? ROWS : SLICES;
        g.axes[group][g.count[group]++] = axis;
    }
    return g;
}

/* Index 0 of all axes that are not in the group. */
static mosaic_tensor along(const mosaic_tensor *t, const grouping &g, int group)
{
    mosaic_tensor view = *t;
    view.ndim = g.count[group];
    for (int i = 0; i < view.ndim; i++)
        view.size[i] = t->size[g.axes[group][i]], view.stride[i] = t->stride[g.axes[group][i]];
    return view;
}

static mosaic_walk walk_along(const mosaic_tensor *const *tensors, const grouping &g, int group)
{
    mosaic_tensor views[3];
    for (int n = 0; n < 3; n++) views[n] = along(tensors[n], g, group);
    const mosaic_tensor *pointers[] = {&views[0], &views[1], &views[2]};
    return mosaic_walk_of(3, pointers);
}

/* A contiguous (rows, n) at element `offset` of the scratch. */
static mosaic_tensor table_at(const mosaic_tensor &scratch, int64_t rows, int64_t n, int64_t offset)
{
    mosaic_tensor t = scratch;
    t.offset = offset;
    t.ndim = 2;
    t.size[0] = rows, t.size[1] = n;
    t.stride[0] = n, t.stride[1] = 1;
    return t;
}

/* The index of all rows and places, in order along the places. */
static mosaic_status sort_index(const mosaic_tensor &keys, const mosaic_tensor &places,
                                const mosaic_tensor &plain, const mosaic_tensor *index,
                                const grouping &g)
{
    mosaic_tensor from = along(index, g, ROWS), rest = along(index, g, PLACES), to = plain;
    for (int i = 0; i < rest.ndim; i++, from.ndim++)
        from.size[from.ndim] = rest.size[i], from.stride[from.ndim] = rest.stride[i];
    to.ndim = from.ndim;
    int64_t stride = 1;
    for (int i = to.ndim - 1; i >= 0; stride *= to.size[i--])
        to.size[i] = from.size[i], to.stride[i] = stride;
    MOSAIC_TRY(mosaic_cuda_copy(&to, &from));
    return mosaic_cuda_sort(&keys, &places, &plain, 1, false);
}

template <class E, bool ADD>
static mosaic_status run(const mosaic_tensor *base, const mosaic_tensor *index, const grouping &g,
                         const writing &w)
{
    const mosaic_cuda *device = mosaic_cuda_of(base);
    int64_t rows = w.rows.count, n = w.places.count, lines = rows * w.slices.count;
    if (n <= FEW)
        return mosaic_launch(device, "scatter", write_lines<E, ADD>, mosaic_walk_blocks(lines),
                             MOSAIC_WALK_THREADS, 0, w);
    mosaic_tensor scratch = {};
    MOSAIC_TRY(mosaic_cuda_scratch(&scratch, device, MOSAIC_DTYPE_I64, 3 * rows * n));
    mosaic_tensor keys = table_at(scratch, rows, n, 0);
    mosaic_tensor places = table_at(scratch, rows, n, rows * n);
    mosaic_tensor plain = table_at(scratch, rows, n, 2 * rows * n);
    mosaic_status status = sort_index(keys, places, plain, index, g);
    if (!status)
        status = mosaic_launch(device, "scatter", write_runs<E, ADD>, mosaic_walk_blocks(lines * n),
                               MOSAIC_WALK_THREADS, 0, w, mosaic_data(&keys), mosaic_data(&places));
    mosaic_tensor_clear(&scratch);
    return status;
}

/* Integers wrap around, hence the unsigned types; bits are moved as such. */
mosaic_status mosaic_cuda_scatter(const mosaic_tensor *base, int64_t step,
                                  const mosaic_tensor *index, const mosaic_tensor *source, bool add)
{
    const mosaic_tensor *tensors[] = {base, source, index};
    grouping g = group_axes(base, index);
    int64_t bytes = mosaic_dtype_bytes((mosaic_dtype)base->dtype);
    writing w = {walk_along(tensors, g, ROWS), walk_along(tensors, g, SLICES),
                 walk_along(tensors, g, PLACES), step * bytes};
    MOSAIC_TRY(mosaic_cuda_enter(mosaic_cuda_of(base)));
    if (add && base->dtype == MOSAIC_DTYPE_F32) return run<float, true>(base, index, g, w);
    if (add && base->dtype == MOSAIC_DTYPE_F64) return run<double, true>(base, index, g, w);
    switch (bytes) {
    case 8: return (add ? run<uint64_t, true> : run<uint64_t, false>)(base, index, g, w);
    case 4: return (add ? run<uint32_t, true> : run<uint32_t, false>)(base, index, g, w);
    case 2: return run<uint16_t, false>(base, index, g, w);
    default: return (add ? run<uint8_t, true> : run<uint8_t, false>)(base, index, g, w);
    }
}
