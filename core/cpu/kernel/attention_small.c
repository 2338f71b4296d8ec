/* attention_small.c - attention over a short axis of very many problems, without a mask.
 *
 * Five columns of 150,000 table rows would leave most lanes of a tile of queries empty: here lanes
 * are problems or channels (attention_small.h). Forward reads q, k and v and writes out once,
 * backward reads q, k, v and dout and writes dq, dk and dv once. */
#include "attention_small.h"

typedef struct {
    operand q, k, v, out, lse;
    operand dout, delta, dq, dk, dv;
    int64_t depth; /* fours of channels */
    scaling scaling;
    float *left, *right;          /* joined (rows, QUARTERS, depth, lanes): q and k; dout and v */
    float *weights, *slants;      /* (queries, keys, lanes): p, ds */
    float *top, *rest, *delta_of; /* (queries, lanes) */
    double *exact;                /* (lanes): lse of one query */
    mosaic_attention_dropout dropout;
    int64_t *q_position, *k_position;
    float *factors; /* of dropout for one query, (keys, lanes) */
    drawer lanes;
    bool stream[3]; /* out; or dq, dk, dv */
} workspace;

static workspace lay_out(call *c, char **scratch)
{
    bool backward = c->dout.storage != NULL;
    workspace w = {.depth = round_up(c->q.size[4], 4) / 4,
                   .scaling = scaling_of(c->options.scale),
                   .dropout = mosaic_attention_dropout_of(&c->options)};
    w.q = operand_of(c, &c->q, false, scratch);
    w.k = operand_of(c, &c->k, false, scratch);
    w.v = operand_of(c, &c->v, false, scratch);
    w.lse = operand_of(c, &c->lse, true, scratch);
    if (!backward) w.out = operand_of(c, &c->out, true, scratch);
    if (backward) {
        w.dout = operand_of(c, &c->dout, false, scratch);
        w.delta = operand_of(c, &c->delta, true, scratch);
        w.dq = operand_of(c, &c->dq, true, scratch);
        w.dk = operand_of(c, &c->dk, true, scratch);
        w.dv = operand_of(c, &c->dv, true, scratch);
    }
    int64_t row = QUARTERS * w.depth * VEC_LANES, queries = w.q.rows, keys = w.k.rows;
    w.left = take(scratch, queries * row, 4);
    w.right = take(scratch, keys * row, 4);
    w.weights = take(scratch, queries * keys * VEC_LANES, 4);
    w.slants = take(scratch, backward ? queries * keys * VEC_LANES : 0, 4);
    w.top = take(scratch, 3 * queries * VEC_LANES, 4);
    w.rest = w.top + queries * VEC_LANES;
    w.delta_of = w.rest + queries * VEC_LANES;
    w.exact = take(scratch, VEC_LANES, 8);
    w.q_position = take(scratch, c->q.size[3], 8);
    w.k_position = take(scratch, keys, 8);
    w.factors = take(scratch, keys * VEC_LANES, 4);
    return w;
}

static int64_t scratch_bytes(call *c)
{
    char *end = NULL;
    lay_out(c, &end);
    return (int64_t)(uintptr_t)end;
}

static void choose_streams(call *c, workspace *w)
{
    int64_t queries = mosaic_tensor_numel(&c->q) * 4, keys = mosaic_tensor_numel(&c->k) * 4;
    const operand *gradients[] = {&w->dq, &w->dk, &w->dv};
    if (!c->dout.storage) w->stream[0] = may_stream(&w->out, queries);
    for (int i = 0; c->dout.storage && i < 3; i++)
        w->stream[i] = !c->accumulate && may_stream(gradients[i], queries + 2 * keys);
}

/* What stays the same for all problems. */
static workspace open_work(call *c, void *scratch)
{
    char *at = scratch;
    workspace w = lay_out(c, &at);
    const operand *all[] = {&w.q,    &w.k,     &w.v,  &w.lse, &w.out,
                            &w.dout, &w.delta, &w.dq, &w.dk,  &w.dv};
    for (int i = 0; i < 10; i++)
        if (all[i]->tensor) place_rows(all[i]);
    mosaic_attention_positions(w.q_position, c->options.q_positions, c->q.size[3]);
    mosaic_attention_positions(w.k_position, c->options.k_positions, w.k.rows);
    choose_streams(c, &w);
    return w;
}

/* ---- dropout -------------------------------------------------------------------------------- */

/* Which batch entries and heads of the whole the lanes are. */
static void open_dropout(call *c, workspace *w, problem p, int count)
{
    if (!w->dropout.below) return;
    for (int lane = 0; lane < count; lane++, p = next_problem(c, p)) {
        w->lanes.batch[lane] = (uint32_t)mosaic_attention_batch(&c->options, p.b0, p.b1);
        w->lanes.head[lane] =
            (uint32_t)(c->options.head_from + p.head * (c->q.size[2] / c->k.size[2]));
    }
}

/* Factors of dropout for row i of the queries. */
static void make_row_factors(const workspace *w, int64_t i)
{
    drawer lanes = w->lanes;
    int64_t queries = w->q.tensor->size[3];
    lanes.query = (vec_words){0} + (uint32_t)((uint64_t)w->q_position[i % queries] - 1);
    lanes.head += (uint32_t)(i / queries);
    draw_factors(w->factors, VEC_LANES, &lanes, &w->dropout, w->k_position, w->k.rows);
}

/* ---- forward -------------------------------------------------------------------------------- */

/* top + log sum, to the problems' row i of lse */
static void store_lse(const workspace *w, int count, int64_t i, vec top, vec sum)
{
    float tops[VEC_LANES] __attribute__((aligned(64))),
        whole[VEC_LANES] __attribute__((aligned(64)));
    float rests[VEC_LANES] __attribute__((aligned(64)));
    vec n, rest = vec_log2(sum, &n);
    vec_store(tops, top);
    vec_store(whole, n);
    vec_store(rests, rest);
    for (int lane = 0; lane < VEC_LANES; lane++)
        w->exact[lane] = (double)tops[lane] * w->scaling.unit +
                         ((double)whole[lane] + (double)rests[lane]) * LN2;
    double *lse = (double *)mosaic_data(w->lse.tensor) + w->lse.row[i];
    for (int lane = 0; lane < count; lane++) lse[w->lse.first[lane]] = w->exact[lane];
}

/* Row i of the queries: scores, softmax. */
static void attend(const workspace *w, int count, int64_t i)
{
    const vec power = vec_set(w->scaling.power), base = vec_set(w->scaling.base);
    const int64_t keys = w->k.rows * VEC_LANES;
    float *weights = w->weights + i * keys;
    vec top = vec_set(-FLT_MAX), sum = vec_set(0);
    all_dots(weights, w->left + i * QUARTERS * w->depth * VEC_LANES, w->right, w->k.rows, w->depth);
    for (int64_t j = 0; j < keys; j += VEC_LANES) top = vec_max(vec_load(weights + j) * power, top);
    for (int64_t j = 0; j < keys; j += VEC_LANES) {
        vec weight = vec_exp2((vec_load(weights + j) * power - top) * base);
        vec_store(weights + j, weight);
        sum += weight;
    }
    scale_vectors(weights, w->k.rows, vec_set(1) / sum);
    if (w->dropout.below) {
        make_row_factors(w, i);
        apply_factors(1, weights, w->factors, VEC_LANES, w->k.rows);
    }
    store_lse(w, count, i, top, sum);
}

static void forward(call *c, int64_t from, int64_t to, void *scratch)
{
    workspace w = open_work(c, scratch);
    problem p = problem_at(c, from);
    for (int64_t first = from; first < to; first += VEC_LANES) {
        mosaic_poll();
        int count = (int)min_i64(VEC_LANES, to - first);
        operand *all[] = {&w.q, &w.k, &w.v, &w.lse, &w.out};
        problem next = p;
        for (int i = 0; i < 5; i++) next = point(all[i], c, p, count);
        for (int i = 0; i < 3; i++) fetch(all[i]);
        open_dropout(c, &w, p, count);
        join(w.left, &w.q);
        join(w.right, &w.k);
        unsigned saved = vec_flush();
        for (int64_t i = 0; i < w.q.rows; i++) attend(&w, count, i);
        vec_unflush(saved);
        const product out = {&w.out,    &w.v,  w.weights, w.k.rows * VEC_LANES,
                             VEC_LANES, count, false,     w.stream[0]};
        combine(&out);
        deliver(&w.out, count, false);
        p = next;
    }
    vec_streamed();
}

/* ---- backward ------------------------------------------------------------------------------- */

/* Row i of lse in units of scores, what f32 leaves of it, and delta: (queries, lanes). */
static void load_statistics(const workspace *w, int count, int64_t i)
{
    const double *lse = (double *)mosaic_data(w->lse.tensor) + w->lse.row[i];
    const float *delta = (float *)mosaic_data(w->delta.tensor) + w->delta.row[i];
    const double units = 1 / w->scaling.unit;
    float *top = w->top + i * VEC_LANES, *rest = w->rest + i * VEC_LANES;
    for (int lane = 0; lane < count; lane++) {
        w->exact[lane] = lse[w->lse.first[lane]] * units;
        w->delta_of[i * VEC_LANES + lane] = delta[w->delta.first[lane]];
    }
    for (int lane = 0; lane < VEC_LANES; lane++) {
        top[lane] = (float)w->exact[lane];
        rest[lane] = (float)(w->exact[lane] - (double)top[lane]);
    }
}

/* p of row i, of its scores. */
static void recall(const workspace *w, int64_t i)
{
    const vec power = vec_set(w->scaling.power), base = vec_set(w->scaling.base);
    const vec top = vec_load(w->top + i * VEC_LANES), rest = vec_load(w->rest + i * VEC_LANES);
    const int64_t keys = w->k.rows * VEC_LANES;
    float *weights = w->weights + i * keys;
    all_dots(weights, w->left + i * QUARTERS * w->depth * VEC_LANES, w->right, w->k.rows, w->depth);
    for (int64_t j = 0; j < keys; j += VEC_LANES)
        vec_store(weights + j, vec_exp2((vec_load(weights + j) * power - top - rest) * base));
}

/* ds of row i, times scale, and what of p dropout keeps. */
static void slant(call *c, const workspace *w, int64_t i)
{
    const vec delta = vec_load(w->delta_of + i * VEC_LANES),
              scale = vec_set((float)c->options.scale);
    const int64_t keys = w->k.rows * VEC_LANES;
    float *weights = w->weights + i * keys, *slants = w->slants + i * keys;
    all_dots(slants, w->left + i * QUARTERS * w->depth * VEC_LANES, w->right, w->k.rows, w->depth);
    if (w->dropout.below) {
        make_row_factors(w, i);
        apply_factors(1, slants, w->factors, VEC_LANES, w->k.rows);
    }
    for (int64_t j = 0; j < keys; j += VEC_LANES)
        vec_store(slants + j, vec_load(weights + j) * (vec_load(slants + j) - delta) * scale);
    if (w->dropout.below) apply_factors(1, weights, w->factors, VEC_LANES, w->k.rows);
}

static void backward(call *c, int64_t from, int64_t to, void *scratch)
{
    workspace w = open_work(c, scratch);
    problem p = problem_at(c, from);
    for (int64_t first = from; first < to; first += VEC_LANES) {
        mosaic_poll();
        int count = (int)min_i64(VEC_LANES, to - first);
        operand *all[] = {&w.q, &w.k, &w.v, &w.dout, &w.lse, &w.delta, &w.dq, &w.dk, &w.dv};
        problem next = p;
        for (int i = 0; i < 9; i++) next = point(all[i], c, p, count);
        for (int i = 0; i < 4; i++) fetch(all[i]);
        open_dropout(c, &w, p, count);
        for (int64_t i = 0; i < w.q.rows; i++) load_statistics(&w, count, i);
        join(w.left, &w.q);
        join(w.right, &w.k);
        unsigned saved = vec_flush();
        for (int64_t i = 0; i < w.q.rows; i++) recall(&w, i);
        vec_unflush(saved);
        join(w.left, &w.dout);
        join(w.right, &w.v);
        for (int64_t i = 0; i < w.q.rows; i++) slant(c, &w, i);
        const int64_t row = w.k.rows * VEC_LANES;
        const bool add = c->accumulate, *stream = w.stream;
        const product products[] = {
            {&w.dq, &w.k, w.slants, row, VEC_LANES, count, add, stream[0]},
            {&w.dk, &w.q, w.slants, VEC_LANES, row, count, add, stream[1]},
            {&w.dv, &w.dout, w.weights, VEC_LANES, row, count, add, stream[2]}};
        for (int i = 0; i < 3; i++) combine(&products[i]);
        for (int i = 6; i < 9; i++) deliver(all[i], count, add);
        p = next;
    }
    vec_streamed();
}

const mosaic_attention_small_kernels MOSAIC_KERNELS(attention_small) = {VEC_LANES, scratch_bytes,
                                                                        forward, backward};
