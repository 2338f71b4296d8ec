/* cross_entropy.cu - the loss of each row of logits, and its derivative. Sums over all rows are
 * made in f64, in two steps and a fixed order. */
#include <launch.h>

#include "exponentials.h"

/* ---- rows ----------------------------------------------------------------------------------- */

enum { LOSS, LOGITS, TARGETS, FORWARD_OPERANDS };

/* stats (rows, 2): the largest logit, and the log of the sum of exp(x - largest). */
template <class T, int V> __global__ void forward(const mosaic_rows r, int64_t ignore, void *stats)
{
    const mosaic_team t = mosaic_team_of(r);
    char *at[FORWARD_OPERANDS];
    const int64_t n = mosaic_team_row(r, t, at);
    T x[MOSAIC_ROWS_PIECES(V)][V] = {};
    const exponentials<T> e = exponentials_of(x, r, t, n, LOGITS, at[LOGITS]);
    if (!t.works || t.member) return;
    const int64_t target = *(const int64_t *)at[TARGETS];
    T *own = (T *)stats + 2 * t.row, loss = 0, right[1];
    own[0] = e.most, own[1] = log(e.sum);
    if (target != ignore) {
        mosaic_row_load(right, r, LOGITS, at[LOGITS], target - 1);
        loss = own[1] + (own[0] - right[0]);
    }
    *(T *)at[LOSS] = loss;
}

/* Of all rows; kept are those whose target is not ignored. */
typedef struct {
    double loss, kept;
} totals;

enum { DLOGITS, BACKWARD_LOGITS, G, BACKWARD_TARGETS, BACKWARD_OPERANDS };

/* dlogits = scale g (softmax(logits) - 1 at the target); the scale is 1 / all->kept where given. */
template <class T, int V>
__global__ void backward(const mosaic_rows r, int64_t ignore, const void *stats, double scale,
                         const totals *all)
{
    enum { E = MOSAIC_ROWS_PIECES(V) };
    const mosaic_team t = mosaic_team_of(r);
    char *at[BACKWARD_OPERANDS];
    const int64_t n = mosaic_team_row(r, t, at);
    if (!t.works) return; /* nobody meets here */
    const T *own = (const T *)stats + 2 * t.row, most = own[0], shift = own[1];
    const int64_t target = *(const int64_t *)at[BACKWARD_TARGETS];
    const T g = (T)(all ? 1 / all->kept : scale) * mosaic_load<T>(at[G], r.rows.operand[G].dtype);
    T x[E][V] = {};
    MOSAIC_TEAM_BATCHES (t, n, V, E, first) {
        mosaic_batch_load(x, r, BACKWARD_LOGITS, at[BACKWARD_LOGITS], t, n, first);
        MOSAIC_TEAM_PIECES (t, n, V, E, first, u, j) {
            for (int i = 0; i < V; i++) {
                T share = exp(x[u][i] - most - shift) * g - (j + i == target - 1 ? g : 0);
                x[u][i] = target == ignore ? 0 : share;
            }
            mosaic_row_store(x[u], r, DLOGITS, at[DLOGITS], j);
        }
    }
}

/* ---- totals --------------------------------------------------------------------------------- */

/* One for each block. The operands are targets and losses, or targets alone. */
template <class T>
__global__ void total_parts(const mosaic_walk rows, int64_t ignore, totals *parts)
{
    const mosaic_team t = mosaic_team_block();
    totals own = {0, 0};
    mosaic_walk_each(rows.count, [&](int64_t i) {
        char *at[2];
        mosaic_walk_at(rows, i, at);
        own.kept += *(const int64_t *)at[0] != ignore;
        if (rows.operand[1].data) own.loss += *(const T *)at[1];
    });
    own = totals{mosaic_team_sum(t, own.loss), mosaic_team_sum(t, own.kept)};
    if (t.member == 0) parts[blockIdx.x] = own;
}

/* parts[0] becomes the total of all, at most a block's threads; loss (unless NULL) theirs. */
template <class T> __global__ void total(totals *parts, int count, bool mean, T *loss)
{
    const mosaic_team t = mosaic_team_block();
    const totals own = t.member < count ? parts[t.member] : totals{0, 0};
    const totals all = {mosaic_team_sum(t, own.loss), mosaic_team_sum(t, own.kept)};
    if (t.member) return;
    parts[0] = all;
    if (loss) *loss = (T)(mean ? all.loss / all.kept : all.loss);
}

/* parts: room for MOSAIC_ROWS_THREADS of them. */
template <class T>
static mosaic_status add_up(const mosaic_tensor *loss, totals *parts, const mosaic_tensor *losses,
                            const mosaic_tensor *targets, bool mean, int64_t ignore)
{
    const mosaic_tensor *operands[] = {targets, losses};
    const mosaic_walk w = mosaic_walk_of(2, operands);
    const mosaic_cuda *device = mosaic_cuda_of(targets);
    const unsigned wanted = min(mosaic_walk_blocks(w.count), (unsigned)MOSAIC_ROWS_THREADS);
    const unsigned blocks = wanted ? wanted : 1;
    MOSAIC_TRY(mosaic_launch(device, "cross_entropy", total_parts<T>, blocks, MOSAIC_ROWS_THREADS,
                             0, w, ignore, parts));
    return mosaic_launch(device, "cross_entropy", total<T>, 1, MOSAIC_ROWS_THREADS, 0, parts,
                         (int)blocks, mean, loss ? (T *)mosaic_data(loss) : NULL);
}

static mosaic_status run_total(const mosaic_tensor *loss, mosaic_tensor *room,
                               const mosaic_tensor *losses, const mosaic_tensor *targets, bool wide,
                               bool mean, int64_t ignore)
{
    MOSAIC_TRY(mosaic_cuda_scratch(room, mosaic_cuda_of(targets), MOSAIC_DTYPE_F64,
                                   2 * MOSAIC_ROWS_THREADS));
    return (wide ? add_up<double> : add_up<float>)(loss, (totals *)mosaic_data(room), losses,
                                                   targets, mean, ignore);
}

/* ---- calls ---------------------------------------------------------------------------------- */

static bool is_wide(const mosaic_tensor *stats) { return stats->dtype == MOSAIC_DTYPE_F64; }

static mosaic_status run_forward(const mosaic_tensor *loss, const mosaic_tensor *stats,
                                 const mosaic_tensor *logits, const mosaic_tensor *targets,
                                 int64_t ignore)
{
    const mosaic_tensor *operands[] = {loss, logits, targets};
    const mosaic_rows r = mosaic_rows_of(FORWARD_OPERANDS, operands, targets->ndim);
    if (r.rows.count == 0) return MOSAIC_OK;
    return mosaic_launch(mosaic_cuda_of(logits), "cross_entropy",
                         MOSAIC_ROWS_KERNEL(forward, r, is_wide(stats)), mosaic_rows_blocks(r),
                         MOSAIC_ROWS_THREADS, 0, r, ignore, mosaic_data(stats));
}

mosaic_status mosaic_cuda_cross_entropy(const mosaic_tensor *loss, const mosaic_tensor *stats,
                                        const mosaic_tensor *logits, const mosaic_tensor *targets,
                                        mosaic_reduction reduction, int64_t ignore)
{
    const mosaic_cuda *device = mosaic_cuda_of(logits);
    mosaic_tensor losses = {}, room = {};
    MOSAIC_TRY(mosaic_cuda_enter(device));
    if (reduction == MOSAIC_REDUCTION_NONE)
        return run_forward(loss, stats, logits, targets, ignore);
    mosaic_status status = mosaic_tensor_new(&losses, (mosaic_dtype)stats->dtype, targets->ndim,
                                             targets->size, device->base.name);
    if (!status) status = run_forward(&losses, stats, logits, targets, ignore);
    if (!status)
        status = run_total(loss, &room, &losses, targets, is_wide(stats),
                           reduction == MOSAIC_REDUCTION_MEAN, ignore);
    mosaic_tensor_clear(&losses);
    mosaic_tensor_clear(&room);
    return status;
}

static mosaic_tensor spread(const mosaic_tensor *g, const mosaic_tensor *targets)
{
    if (g->ndim == targets->ndim) return *g;
    mosaic_tensor view = *targets;
    view.storage = g->storage, view.offset = g->offset, view.dtype = g->dtype;
    for (int i = 0; i < view.ndim; i++) view.stride[i] = 0;
    return view;
}

mosaic_status mosaic_cuda_cross_entropy_backward(const mosaic_tensor *dlogits,
                                                 const mosaic_tensor *g,
                                                 const mosaic_tensor *logits,
                                                 const mosaic_tensor *targets,
                                                 const mosaic_tensor *stats,
                                                 mosaic_reduction reduction, int64_t ignore)
{
    const mosaic_cuda *device = mosaic_cuda_of(logits);
    const mosaic_tensor each = spread(g, targets), *operands[] = {dlogits, logits, &each, targets};
    const mosaic_rows r = mosaic_rows_of(BACKWARD_OPERANDS, operands, targets->ndim);
    const bool mean = reduction == MOSAIC_REDUCTION_MEAN, counts = mean && ignore != INT64_MIN;
    mosaic_tensor room = {};
    mosaic_status status = mosaic_cuda_enter(device);
    if (!status && counts)
        status = run_total(NULL, &room, NULL, targets, is_wide(stats), mean, ignore);
    if (!status)
        status = mosaic_launch(device, "cross_entropy_backward",
                               MOSAIC_ROWS_KERNEL(backward, r, is_wide(stats)),
                               mosaic_rows_blocks(r), MOSAIC_ROWS_THREADS, 0, r, ignore,
                               mosaic_data(stats), mean ? 1.0 / (double)r.rows.count : 1.0,
                               counts ? (const totals *)mosaic_data(&room) : NULL);
    mosaic_tensor_clear(&room);
    return status;
}
