/* merge.cu - joining partial results of attention, and delta: everything that is one pass over
 * rows.
 *
 * lse = log(exp lse1 + exp lse2), out = w1 out1 + w2 out2 with wi = exp(lsei - lse). A part without
 * keys (lsei = -infinity) has weight 0 and nothing of it is read; a NaN stays one. lse is f64. */
#include <launch.h>

#include "rows.h"

/* lse of the union, and the shares of the two parts in it. */
typedef struct {
    double lse, first, second;
} weights;

MOSAIC_DEVICE weights weights_of(double lse1, double lse2)
{
    double top = lse1 >= lse2 ? lse1 : lse2;
    if (lse1 == -INFINITY && lse2 == -INFINITY) return weights{top, 0, 0};
    double first = exp(lse1 - top), second = exp(lse2 - top), sum = first + second;
    return weights{top + log(sum), first / sum, second / sum};
}

MOSAIC_DEVICE double &number(char *at) { return *(double *)at; }

enum { DELTA, DELTA_DOUT, DELTA_OUT, DELTA_DLSE, DELTA_OPERANDS };

/* delta = dout . out - dlse */
template <class T, int V> __global__ void delta(const mosaic_rows r)
{
    enum { E = MOSAIC_ROWS_PIECES(V) };
    const mosaic_team t = mosaic_team_of(r);
    char *at[DELTA_OPERANDS];
    const int64_t n = mosaic_team_row(r, t, at);
    T x[E][V] = {}, y[E][V] = {}, sum = 0;
    MOSAIC_TEAM_BATCHES (t, n, V, E, first) {
        mosaic_batch_load(x, r, DELTA_DOUT, at[DELTA_DOUT], t, n, first);
        mosaic_batch_load(y, r, DELTA_OUT, at[DELTA_OUT], t, n, first);
        MOSAIC_TEAM_PIECES (t, n, V, E, first, u, j)
            for (int i = 0; i < V; i++) sum += x[u][i] * y[u][i];
    }
    sum = mosaic_team_sum(t, sum);
    if (!t.works || t.member) return;
    *(T *)at[DELTA] = r.rows.operand[DELTA_DLSE].data ? (T)(sum - number(at[DELTA_DLSE])) : sum;
}

enum { OUT, LSE, OUT1, LSE1, OUT2, LSE2, MERGE_OPERANDS };

template <class T, int V> __global__ void merge(const mosaic_rows r)
{
    enum { E = MOSAIC_ROWS_PIECES(V) };
    const mosaic_team t = mosaic_team_of(r);
    char *at[MERGE_OPERANDS];
    const int64_t n = mosaic_team_row(r, t, at);
    const weights w = weights_of(number(at[LSE1]), number(at[LSE2]));
    const T w1 = (T)w.first, w2 = (T)w.second;
    mosaic_team_wait(t); /* all have read what may be written in place */
    if (t.works && t.member == 0) number(at[LSE]) = w.lse;
    T x[E][V] = {}, y[E][V] = {};
    MOSAIC_TEAM_BATCHES (t, n, V, E, first) {
        if (w1 != 0) mosaic_batch_load(x, r, OUT1, at[OUT1], t, n, first);
        if (w2 != 0) mosaic_batch_load(y, r, OUT2, at[OUT2], t, n, first);
        MOSAIC_TEAM_PIECES (t, n, V, E, first, u, j) {
            for (int i = 0; i < V; i++)
                x[u][i] = (w1 != 0 ? w1 * x[u][i] : 0) + (w2 != 0 ? w2 * y[u][i] : 0);
            mosaic_row_store(x[u], r, OUT, at[OUT], j);
        }
    }
}

enum { DOUT1, DLSE1, DOUT2, DLSE2, DOUT, B_OUT1, B_LSE1, B_OUT2, B_LSE2, DLSE, BACKWARD_OPERANDS };

/* dout_i = w_i dout, dlse_i = w_i (dlse + dout . (out_i - out)) */
template <class T, int V> __global__ void merge_backward(const mosaic_rows r)
{
    enum { E = MOSAIC_ROWS_PIECES(V) };
    const mosaic_team t = mosaic_team_of(r);
    char *at[BACKWARD_OPERANDS];
    const int64_t n = mosaic_team_row(r, t, at);
    const weights w = weights_of(number(at[B_LSE1]), number(at[B_LSE2]));
    const bool both = w.first != 0 && w.second != 0;
    double apart = 0;
    T g[E][V] = {}, x[E][V] = {}, y[E][V] = {};
    MOSAIC_TEAM_BATCHES (t, n, V, E, first) {
        mosaic_batch_load(g, r, DOUT, at[DOUT], t, n, first);
        if (both) mosaic_batch_load(x, r, B_OUT1, at[B_OUT1], t, n, first);
        if (both) mosaic_batch_load(y, r, B_OUT2, at[B_OUT2], t, n, first);
        MOSAIC_TEAM_PIECES (t, n, V, E, first, u, j) {
            for (int i = 0; i < V; i++) {
                if (both) apart += g[u][i] * (x[u][i] - y[u][i]);
                x[u][i] = (T)w.first * g[u][i], y[u][i] = (T)w.second * g[u][i];
            }
            mosaic_row_store(x[u], r, DOUT1, at[DOUT1], j);
            mosaic_row_store(y[u], r, DOUT2, at[DOUT2], j);
        }
    }
    apart = mosaic_team_sum(t, apart);
    if (!t.works || t.member) return;
    const double dlse = r.rows.operand[DLSE].data ? number(at[DLSE]) : 0;
    number(at[DLSE1]) = w.first * (dlse + w.second * apart);
    number(at[DLSE2]) = w.second * (dlse - w.first * apart);
}

static mosaic_status run(const char *what, const mosaic_rows &r, const mosaic_tensor *like,
                         void (*kernel)(const mosaic_rows))
{
    const mosaic_cuda *device = mosaic_cuda_of(like);
    MOSAIC_TRY(mosaic_cuda_enter(device));
    return mosaic_launch(device, what, kernel, mosaic_rows_blocks(r), MOSAIC_ROWS_THREADS, 0, r);
}

mosaic_status mosaic_cuda_attention_delta(const mosaic_tensor *delta_, const mosaic_tensor *dout,
                                          const mosaic_tensor *out, const mosaic_tensor *dlse)
{
    const mosaic_tensor *operands[] = {delta_, dout, out, dlse};
    const mosaic_rows r = mosaic_rows_of(DELTA_OPERANDS, operands, delta_->ndim);
    return run("attention_delta", r, out,
               MOSAIC_ROWS_PARTIAL_KERNEL(delta, r, out->dtype == MOSAIC_DTYPE_F64));
}

mosaic_status mosaic_cuda_attention_merge(const mosaic_attention_parts *p)
{
    const mosaic_tensor *operands[] = {&p->out, &p->lse, &p->out1, &p->lse1, &p->out2, &p->lse2};
    const mosaic_rows r = mosaic_rows_of(MERGE_OPERANDS, operands, p->lse.ndim);
    return run("merge", r, &p->out,
               MOSAIC_ROWS_PARTIAL_KERNEL(merge, r, p->out.dtype == MOSAIC_DTYPE_F64));
}

mosaic_status mosaic_cuda_attention_merge_backward(const mosaic_attention_parts *p)
{
    const mosaic_tensor *operands[] = {
        &p->dout1, &p->dlse1, &p->dout2, &p->dlse2, &p->dout,
        &p->out1,  &p->lse1,  &p->out2,  &p->lse2,  p->dlse.storage ? &p->dlse : NULL};
    const mosaic_rows r = mosaic_rows_of(BACKWARD_OPERANDS, operands, p->lse1.ndim);
    return run("merge_backward", r, &p->out1,
               MOSAIC_ROWS_PARTIAL_KERNEL(merge_backward, r, p->out1.dtype == MOSAIC_DTYPE_F64));
}
