/* softmax.cu - softmax and log_softmax along any axis. NaN in a row, or a row of nothing but -inf,
 * gives a row of NaN, as 0/0 must. */
#include <launch.h>

#include "exponentials.h"

/* Operands: out, a. */
template <class T, int V> __global__ void forward(const mosaic_rows r, const bool take_log)
{
    enum { E = MOSAIC_ROWS_PIECES(V) };
    const mosaic_team t = mosaic_team_of(r);
    char *at[2];
    const int64_t n = mosaic_team_row(r, t, at);
    T x[E][V] = {};
    const exponentials<T> e = exponentials_of(x, r, t, n, 1, at[1]);
    const T shift = log(e.sum), scale = 1 / e.sum;
    MOSAIC_TEAM_BATCHES (t, n, V, E, first) {
        if (r.again) mosaic_batch_load(x, r, 1, at[1], t, n, first);
        MOSAIC_TEAM_PIECES (t, n, V, E, first, u, j) {
            for (int i = 0; i < V; i++)
                x[u][i] = take_log ? x[u][i] - e.most - shift : exp(x[u][i] - e.most) * scale;
            mosaic_row_store(x[u], r, 0, at[0], j);
        }
    }
}

/* Operands: dx, g, y. dx = y (g - sum(g y)) for softmax, g - exp(y) sum(g) for log_softmax. */
template <class T, int V> __global__ void backward(const mosaic_rows r, const bool take_log)
{
    enum { E = MOSAIC_ROWS_PIECES(V) };
    const mosaic_team t = mosaic_team_of(r);
    char *at[3];
    const int64_t n = mosaic_team_row(r, t, at);
    T g[E][V] = {}, y[E][V] = {}, sum = 0;
    MOSAIC_TEAM_BATCHES (t, n, V, E, first) {
        mosaic_batch_load(g, r, 1, at[1], t, n, first);
        mosaic_batch_load(y, r, 2, at[2], t, n, first);
        MOSAIC_TEAM_PIECES (t, n, V, E, first, u, j)
            for (int i = 0; i < V; i++) sum += take_log ? g[u][i] : g[u][i] * y[u][i];
    }
    sum = mosaic_team_sum(t, sum);
    MOSAIC_TEAM_BATCHES (t, n, V, E, first) {
        if (r.again) mosaic_batch_load(g, r, 1, at[1], t, n, first);
        if (r.again) mosaic_batch_load(y, r, 2, at[2], t, n, first);
        MOSAIC_TEAM_PIECES (t, n, V, E, first, u, j) {
            for (int i = 0; i < V; i++)
                g[u][i] = take_log ? g[u][i] - exp(y[u][i]) * sum : y[u][i] * (g[u][i] - sum);
            mosaic_row_store(g[u], r, 0, at[0], j);
        }
    }
}

static mosaic_status run(const char *what, const mosaic_rows &r, const mosaic_tensor *out,
                         void (*kernel)(const mosaic_rows, const bool), bool take_log)
{
    const mosaic_cuda *device = mosaic_cuda_of(out);
    MOSAIC_TRY(mosaic_cuda_enter(device));
    return mosaic_launch(device, what, kernel, mosaic_rows_blocks(r), MOSAIC_ROWS_THREADS, 0, r,
                         take_log);
}

mosaic_status mosaic_cuda_softmax(const mosaic_tensor *out, const mosaic_tensor *a, int axis,
                                  bool log)
{
    const mosaic_tensor views[] = {mosaic_axis_last(out, axis), mosaic_axis_last(a, axis)};
    const mosaic_tensor *operands[] = {&views[0], &views[1]};
    const mosaic_rows r = mosaic_rows_of(2, operands, a->ndim - 1);
    return run("softmax", r, out, MOSAIC_ROWS_KERNEL(forward, r, a->dtype == MOSAIC_DTYPE_F64),
               log);
}

mosaic_status mosaic_cuda_softmax_backward(const mosaic_tensor *dx, const mosaic_tensor *g,
                                           const mosaic_tensor *y, int axis, bool log)
{
    const mosaic_tensor views[] = {mosaic_axis_last(dx, axis), mosaic_axis_last(g, axis),
                                   mosaic_axis_last(y, axis)};
    const mosaic_tensor *operands[] = {&views[0], &views[1], &views[2]};
    const mosaic_rows r = mosaic_rows_of(3, operands, y->ndim - 1);
    return run("softmax_backward", r, dx,
               MOSAIC_ROWS_KERNEL(backward, r, y->dtype == MOSAIC_DTYPE_F64), log);
}
