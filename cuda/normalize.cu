/* normalize.cu - layer_norm and rms_norm over the last axis: rows by teams, and the gradients of
 * weight and bias as sums down the columns, in two steps. */
#include <launch.h>

#include "rows.h"

typedef struct {
    double eps;
    bool centered, has_weight, has_bias;
} options;

static mosaic_status enter(const mosaic_tensor *x, const mosaic_cuda **device)
{
    *device = mosaic_cuda_of(x);
    return mosaic_cuda_enter(*device);
}

/* ---- forward -------------------------------------------------------------------------------- */

enum { OUT, X, WEIGHT, BIAS, FORWARD_OPERANDS };

/* stats (rows, 2): mean and scale. */
template <class T, int V> __global__ void forward(const mosaic_rows r, const options o, void *stats)
{
    enum { E = MOSAIC_ROWS_PIECES(V) };
    const mosaic_team t = mosaic_team_of(r);
    char *at[FORWARD_OPERANDS];
    const int64_t n = mosaic_team_row(r, t, at);
    T x[E][V] = {}, w[V], b[V], mean = 0, sum = 0;
    MOSAIC_TEAM_BATCHES (t, o.centered || !r.again ? n : 0, V, E, first) {
        mosaic_batch_load(x, r, X, at[X], t, n, first);
        MOSAIC_TEAM_PIECES (t, n, V, E, first, u, j)
            for (int i = 0; i < V; i++) sum += x[u][i];
    }
    if (o.centered) mean = mosaic_team_sum(t, sum) / (T)r.n;
    sum = 0;
    MOSAIC_TEAM_BATCHES (t, n, V, E, first) {
        if (r.again) mosaic_batch_load(x, r, X, at[X], t, n, first);
        MOSAIC_TEAM_PIECES (t, n, V, E, first, u, j)
            for (int i = 0; i < V; i++) sum += (x[u][i] - mean) * (x[u][i] - mean);
    }
    const T scale = 1 / sqrt(mosaic_team_sum(t, sum) / (T)r.n + (T)o.eps);
    if (t.works && t.member == 0)
        ((T *)stats)[2 * t.row] = mean, ((T *)stats)[2 * t.row + 1] = scale;
    for (int i = 0; i < V; i++) w[i] = 1, b[i] = 0;
    MOSAIC_TEAM_BATCHES (t, n, V, E, first) {
        if (r.again) mosaic_batch_load(x, r, X, at[X], t, n, first);
        MOSAIC_TEAM_PIECES (t, n, V, E, first, u, j) {
            if (o.has_weight) mosaic_row_load(w, r, WEIGHT, at[WEIGHT], j);
            if (o.has_bias) mosaic_row_load(b, r, BIAS, at[BIAS], j);
            for (int i = 0; i < V; i++) x[u][i] = (x[u][i] - mean) * scale * w[i] + b[i];
            mosaic_row_store(x[u], r, OUT, at[OUT], j);
        }
    }
}

mosaic_status mosaic_cuda_normalize(const mosaic_tensor *out, const mosaic_tensor *stats,
                                    const mosaic_tensor *x, const mosaic_tensor *weight,
                                    const mosaic_tensor *bias, double eps, bool centered)
{
    const mosaic_cuda *device;
    const options o = {eps, centered, weight != NULL, bias != NULL};
    mosaic_tensor w, b;
    if (weight) w = mosaic_row_repeated(weight, x);
    if (bias) b = mosaic_row_repeated(bias, x);
    const mosaic_tensor *operands[] = {out, x, weight ? &w : NULL, bias ? &b : NULL};
    const mosaic_rows r = mosaic_rows_of(FORWARD_OPERANDS, operands, x->ndim - 1);
    auto kernel = MOSAIC_ROWS_KERNEL(forward, r, stats->dtype == MOSAIC_DTYPE_F64);
    MOSAIC_TRY(enter(x, &device));
    return mosaic_launch(device, "normalize", kernel, mosaic_rows_blocks(r), MOSAIC_ROWS_THREADS, 0,
                         r, o, mosaic_data(stats));
}

/* ---- backward: x ---------------------------------------------------------------------------- */

enum { DX, G, BACKWARD_X, BACKWARD_WEIGHT, BACKWARD_OPERANDS };

/* A batch of gw = g weight and h = (x - mean) scale. */
template <class T, int V, int E>
MOSAIC_DEVICE void load_gradient(T (&g)[E][V], T (&h)[E][V], const mosaic_rows &r, const options &o,
                                 const mosaic_team &t, int64_t n, int64_t first,
                                 char *const (&at)[BACKWARD_OPERANDS], T mean, T scale)
{
    T w[V];
    mosaic_batch_load(g, r, G, at[G], t, n, first);
    mosaic_batch_load(h, r, BACKWARD_X, at[BACKWARD_X], t, n, first);
    MOSAIC_TEAM_PIECES (t, n, V, E, first, u, j) {
        if (o.has_weight) mosaic_row_load(w, r, BACKWARD_WEIGHT, at[BACKWARD_WEIGHT], j);
        for (int i = 0; i < V; i++) {
            if (o.has_weight) g[u][i] *= w[i];
            h[u][i] = (h[u][i] - mean) * scale;
        }
    }
}

/* dx = scale (gw - mean(gw) - h mean(gw h)). */
template <class T, int V>
__global__ void backward(const mosaic_rows r, const options o, const void *stats)
{
    enum { E = MOSAIC_ROWS_PIECES(V) };
    const mosaic_team t = mosaic_team_of(r);
    char *at[BACKWARD_OPERANDS];
    const int64_t n = mosaic_team_row(r, t, at);
    const T *own = (const T *)stats + (t.works ? 2 * t.row : 0), mean = own[0], scale = own[1];
    T g[E][V] = {}, h[E][V] = {}, sum = 0, product = 0;
    MOSAIC_TEAM_BATCHES (t, n, V, E, first) {
        load_gradient(g, h, r, o, t, n, first, at, mean, scale);
        MOSAIC_TEAM_PIECES (t, n, V, E, first, u, j)
            for (int i = 0; i < V; i++) sum += g[u][i], product += g[u][i] * h[u][i];
    }
    sum = o.centered ? mosaic_team_sum(t, sum) / (T)r.n : 0;
    product = mosaic_team_sum(t, product) / (T)r.n;
    MOSAIC_TEAM_BATCHES (t, n, V, E, first) {
        if (r.again) load_gradient(g, h, r, o, t, n, first, at, mean, scale);
        MOSAIC_TEAM_PIECES (t, n, V, E, first, u, j) {
            for (int i = 0; i < V; i++) h[u][i] = (g[u][i] - sum - h[u][i] * product) * scale;
            mosaic_row_store(h[u], r, DX, at[DX], j);
        }
    }
}

static mosaic_status run_backward(const mosaic_tensor *dx, const mosaic_tensor *g,
                                  const mosaic_tensor *x, const mosaic_tensor *weight,
                                  const mosaic_tensor *stats, bool centered)
{
    const options o = {0, centered, weight != NULL, false};
    mosaic_tensor w;
    if (weight) w = mosaic_row_repeated(weight, x);
    const mosaic_tensor *operands[] = {dx, g, x, weight ? &w : NULL};
    const mosaic_rows r = mosaic_rows_of(BACKWARD_OPERANDS, operands, x->ndim - 1);
    auto kernel = MOSAIC_ROWS_KERNEL(backward, r, stats->dtype == MOSAIC_DTYPE_F64);
    return mosaic_launch(mosaic_cuda_of(x), "normalize_backward", kernel, mosaic_rows_blocks(r),
                         MOSAIC_ROWS_THREADS, 0, r, o, mosaic_data(stats));
}

/* ---- backward: weight and bias -------------------------------------------------------------- */

enum { COLUMNS = 32, MEMBERS = 8, ROWS_PER_PART = 64, PARTS = 256 };

/* What the MEMBERS threads of a column have, added up in their order: for member 0 alone. */
template <class T> MOSAIC_DEVICE T column_sum(T x)
{
    __shared__ T each[MEMBERS][COLUMNS];
    __syncthreads();
    each[threadIdx.y][threadIdx.x] = x;
    __syncthreads();
    for (int y = 1; threadIdx.y == 0 && y < MEMBERS; y++) x += each[y][threadIdx.x];
    return x;
}

/* partial (parts, 2, n): the sums of g h and of g over the `grain` rows of a part. The operands are
 * g and x; a block has COLUMNS columns of one part. */
template <class T>
__global__ void column_parts(const mosaic_rows r, const T *stats, T *partial, int64_t grain)
{
    const int64_t tiles = (r.n + COLUMNS - 1) / COLUMNS, part = blockIdx.x / tiles;
    const int64_t column = blockIdx.x % tiles * COLUMNS + threadIdx.x;
    const int64_t end = min((part + 1) * grain, r.rows.count);
    T weight = 0, bias = 0;
    for (int64_t row = part * grain + threadIdx.y; row < end && column < r.n; row += MEMBERS) {
        char *at[2];
        T g[1], x[1];
        mosaic_walk_at(r.rows, row, at);
        mosaic_row_load(g, r, 0, at[0], column);
        mosaic_row_load(x, r, 1, at[1], column);
        weight += g[0] * ((x[0] - stats[2 * row]) * stats[2 * row + 1]);
        bias += g[0];
    }
    weight = column_sum(weight);
    bias = column_sum(bias);
    if (threadIdx.y || column >= r.n) return;
    partial[2 * part * r.n + column] = weight;
    partial[(2 * part + 1) * r.n + column] = bias;
}

typedef struct {
    char *data; /* NULL: not wanted */
    int64_t step;
    int dtype;
} vector;

/* dweight, dbias (n): the parts added up. */
template <class T>
__global__ void column_totals(const T *partial, int64_t parts, int64_t n, vector dweight,
                              vector dbias)
{
    const int64_t column = (int64_t)blockIdx.x * COLUMNS + threadIdx.x;
    T weight = 0, bias = 0;
    for (int64_t part = threadIdx.y; part < parts && column < n; part += MEMBERS) {
        weight += partial[2 * part * n + column];
        bias += partial[(2 * part + 1) * n + column];
    }
    weight = column_sum(weight);
    bias = column_sum(bias);
    if (threadIdx.y || column >= n) return;
    if (dweight.data) mosaic_store<T>(dweight.data + column * dweight.step, dweight.dtype, weight);
    if (dbias.data) mosaic_store<T>(dbias.data + column * dbias.step, dbias.dtype, bias);
}

static vector vector_of(const mosaic_tensor *v)
{
    if (!v) return vector{NULL, 0, 0};
    int64_t bytes = mosaic_dtype_bytes((mosaic_dtype)v->dtype);
    return vector{(char *)mosaic_data(v), v->stride[0] * bytes, v->dtype};
}

template <class T>
static mosaic_status run_columns(const mosaic_tensor *dweight, const mosaic_tensor *dbias,
                                 const mosaic_rows &r, const mosaic_tensor *stats)
{
    const mosaic_cuda *device = mosaic_cuda_of(stats);
    const char *what = "normalize_backward";
    int64_t grain = max((int64_t)ROWS_PER_PART, (r.rows.count + PARTS - 1) / PARTS);
    int64_t parts = (r.rows.count + grain - 1) / grain, tiles = (r.n + COLUMNS - 1) / COLUMNS;
    mosaic_tensor partial = {};
    MOSAIC_TRY(mosaic_cuda_scratch(&partial, device, (mosaic_dtype)stats->dtype, parts * 2 * r.n));
    T *room = (T *)mosaic_data(&partial);
    const dim3 block(COLUMNS, MEMBERS);
    mosaic_status status =
        mosaic_launch(device, what, column_parts<T>, dim3((unsigned)(parts * tiles)), block, 0, r,
                      (const T *)mosaic_data(stats), room, grain);
    if (!status)
        status = mosaic_launch(device, what, column_totals<T>, dim3((unsigned)tiles), block, 0,
                               room, parts, r.n, vector_of(dweight), vector_of(dbias));
    mosaic_tensor_clear(&partial);
    return status;
}

mosaic_status mosaic_cuda_normalize_backward(const mosaic_tensor *dx, const mosaic_tensor *dweight,
                                             const mosaic_tensor *dbias, const mosaic_tensor *g,
                                             const mosaic_tensor *x, const mosaic_tensor *weight,
                                             const mosaic_tensor *stats, bool centered)
{
    const mosaic_cuda *device;
    const mosaic_tensor *operands[] = {g, x};
    MOSAIC_TRY(enter(x, &device));
    if (dweight || dbias) { /* first: dx may be written over x or g */
        const mosaic_rows r = mosaic_rows_of(2, operands, x->ndim - 1);
        MOSAIC_TRY((stats->dtype == MOSAIC_DTYPE_F64
                        ? run_columns<double>
                        : run_columns<float>)(dweight, dbias, r, stats));
    }
    return dx ? run_backward(dx, g, x, weight, stats, centered) : MOSAIC_OK;
}
