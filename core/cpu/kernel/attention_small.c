/* attention_small.c - attention over a short axis of many problems, without a mask.
 *
 * Lanes are problems: (batch, head) pairs, VEC_LANES at a time, transposed to (row, d, lane). Five
 * columns of 150,000 table rows would leave most lanes of a tile of queries empty. Half of the time
 * goes into the transposition, so the arithmetic is kept simple. */
#include "attention_dropout.h"

enum { MOST = 8 /* sums in registers */ };

typedef const mosaic_attention_call call;

/* The problems of one group of lanes. */
typedef struct {
    int count;
    int64_t b0[VEC_LANES], b1[VEC_LANES], head[VEC_LANES];
} problems;

static problems problems_at(call *c, int64_t first, int64_t end)
{
    problems p = {.count = (int)max_i64(0, min_i64(VEC_LANES, end - first))};
    for (int lane = 0; lane < p.count; lane++) {
        int64_t i = first + lane, heads = c->q.size[2], b1 = c->q.size[1];
        p.head[lane] = i % heads;
        p.b1[lane] = i / heads % b1;
        p.b0[lane] = i / heads / b1;
    }
    return p;
}

/* Where a lane's part of a starts; a has all heads or one for each group. */
static int64_t offset_of(call *c, const mosaic_tensor *a, const problems *p, int lane)
{
    int64_t head =
        a->size[2] == c->q.size[2] ? p->head[lane] : p->head[lane] / (c->q.size[2] / a->size[2]);
    return p->b0[lane] * a->stride[0] + p->b1[lane] * a->stride[1] + head * a->stride[2];
}

/* The lane's part of a, or for lanes without a problem one row of `idle` floats. */
static mosaic_rows rows_of(call *c, const mosaic_tensor *a, const problems *p, int lane,
                           const float *idle)
{
    if (lane >= p->count) return (mosaic_rows){.data = (char *)(uintptr_t)idle, .column = 1};
    int64_t at = offset_of(c, a, p, lane) * mosaic_dtype_bytes((mosaic_dtype)a->dtype);
    return (mosaic_rows){.data = (char *)mosaic_data(a) + at,
                         .dtype = a->dtype,
                         .row = a->stride[3],
                         .column = a->stride[4]};
}

/* to (rows, d, lanes) <- a; lanes without a problem are 0. */
static void load_lanes(float *to, call *c, const mosaic_tensor *a, const problems *p)
{
    float buffer[4][BUFFER];
    mosaic_rows at[4];
    int64_t d = a->size[4];
    for (int lane = 0; lane < VEC_LANES; lane += 4) {
        for (int r = 0; r < 4; r++) at[r] = rows_of(c, a, p, lane + r, nothing);
        for (int64_t n = 0; n < a->size[3]; n++) {
            const float *from[4];
            for (int r = 0; r < 4; r++) from[r] = floats_at(&at[r], 0, n, 0, d, buffer[r]);
            columns_from_rows(to + n * d * VEC_LANES + lane, VEC_LANES, from, d);
        }
    }
}

/* a <- from (rows, d, lanes), or added to it. */
static void store_lanes(const mosaic_tensor *a, call *c, const float *from, const problems *p,
                        bool add)
{
    float buffer[4][BUFFER];
    mosaic_rows at[4];
    bool direct = a->stride[4] == 1 && !add;
    int64_t d = a->size[4];
    for (int lane = 0; lane < p->count; lane += 4) {
        for (int r = 0; r < 4; r++) at[r] = rows_of(c, a, p, lane + r, buffer[r]);
        for (int64_t n = 0; n < a->size[3]; n++) {
            float *to[4];
            for (int r = 0; r < 4; r++)
                to[r] = direct ? (float *)(void *)at[r].data + n * at[r].row : buffer[r];
            rows_from_columns(to, from + n * d * VEC_LANES + lane, VEC_LANES, d);
            for (int r = 0; !direct && r < 4 && lane + r < p->count; r++)
                write_floats(&at[r], 0, n, buffer[r], d, 1, add);
        }
    }
}

/* to[r] = sum over c of a[c] b[r][c] for r < count; a (d), b (count, d) */
VEC_INLINE void dots(int count, float *to, const float *a, const float *b, int64_t d)
{
    vec sum[MOST];
    for (int r = 0; r < count; r++) sum[r] = vec_set(0);
    for (int64_t c = 0; c < d; c++, a += VEC_LANES, b += VEC_LANES)
        for (int r = 0; r < count; r++)
            sum[r] = vec_fma(vec_load(a), vec_load(b + r * d * VEC_LANES), sum[r]);
    for (int r = 0; r < count; r++) vec_store(to + r * VEC_LANES, sum[r]);
}

static void all_dots(float *to, const float *a, const float *b, int64_t count, int64_t d)
{
    for (int64_t r = 0; r < count; r += MOST, to += MOST * VEC_LANES, b += MOST * d * VEC_LANES) {
        switch (min_i64(MOST, count - r)) {
        case 1: dots(1, to, a, b, d); break;
        case 2: dots(2, to, a, b, d); break;
        case 3: dots(3, to, a, b, d); break;
        case 4: dots(4, to, a, b, d); break;
        case 5: dots(5, to, a, b, d); break;
        case 6: dots(6, to, a, b, d); break;
        case 7: dots(7, to, a, b, d); break;
        default: dots(8, to, a, b, d); break;
        }
    }
}

/* to (d) = factor * sum over t < count of weight[t] from[t]; weights `step` vectors apart. */
static void combine(float *to, const float *weight, int64_t step, const float *from, int64_t count,
                    int64_t d, vec factor)
{
    int64_t c = 0;
    for (; c + 4 <= d; c += 4, to += 4 * VEC_LANES, from += 4 * VEC_LANES) {
        vec sum[4] = {vec_set(0), vec_set(0), vec_set(0), vec_set(0)};
        for (int64_t t = 0; t < count; t++) {
            vec w = vec_load(weight + t * step * VEC_LANES);
            for (int r = 0; r < 4; r++)
                sum[r] = vec_fma(w, vec_load(from + (t * d + r) * VEC_LANES), sum[r]);
        }
        for (int r = 0; r < 4; r++) vec_store(to + r * VEC_LANES, sum[r] * factor);
    }
    for (; c < d; c++, to += VEC_LANES, from += VEC_LANES) {
        vec sum = vec_set(0);
        for (int64_t t = 0; t < count; t++)
            sum = vec_fma(vec_load(weight + t * step * VEC_LANES),
                          vec_load(from + t * d * VEC_LANES), sum);
        vec_store(to, sum * factor);
    }
}

/* ---- forward -------------------------------------------------------------------------------- */

typedef struct {
    int64_t nq, nk, d;
    scaling scaling;
    float *q, *k, *v, *out; /* (rows, d, lanes); out holds dout in backward */
    float *dq, *dk, *dv;
    float *weights, *slant;    /* (nq, nk, lanes): p, ds */
    float *lse, *rest, *delta; /* (nq, lanes), one after the other */
    mosaic_attention_dropout dropout;
    int64_t *q_position, *k_position;
    float *factors; /* of dropout for one query, (nk, lanes) */
    drawer lanes;
} workspace;

static workspace lay_out(call *c, char **scratch)
{
    workspace w = {.nq = c->q.size[3], .nk = c->k.size[3], .d = c->q.size[4]};
    int64_t queries = w.nq * w.d * VEC_LANES, keys = w.nk * w.d * VEC_LANES;
    w.scaling = scaling_of(c->options.scale);
    w.q = take(scratch, queries, 4);
    w.k = take(scratch, keys, 4);
    w.v = take(scratch, keys, 4);
    w.out = take(scratch, queries, 4);
    w.dq = take(scratch, queries, 4);
    w.dk = take(scratch, keys, 4);
    w.dv = take(scratch, keys, 4);
    w.weights = take(scratch, w.nq * w.nk * VEC_LANES, 4);
    w.slant = take(scratch, w.nq * w.nk * VEC_LANES, 4);
    w.lse = take(scratch, 3 * w.nq * VEC_LANES, 4);
    w.rest = w.lse + w.nq * VEC_LANES;
    w.delta = w.rest + w.nq * VEC_LANES;
    w.dropout = mosaic_attention_dropout_of(&c->options);
    w.q_position = take(scratch, w.nq, 8);
    w.k_position = take(scratch, w.nk, 8);
    w.factors = take(scratch, w.nk * VEC_LANES, 4);
    return w;
}

static int64_t scratch_bytes(call *c)
{
    char *end = NULL;
    lay_out(c, &end);
    return (int64_t)(uintptr_t)end;
}

/* Which problems of the whole the lanes are. */
static void open_dropout(call *c, workspace *w, const problems *p)
{
    if (!w->dropout.below) return;
    mosaic_attention_positions(w->q_position, c->options.q_positions, w->nq);
    mosaic_attention_positions(w->k_position, c->options.k_positions, w->nk);
    for (int lane = 0; lane < p->count; lane++) {
        int64_t batch = mosaic_attention_batch(&c->options, p->b0[lane], p->b1[lane]);
        w->lanes.batch[lane] = (uint32_t)batch;
        w->lanes.head[lane] = (uint32_t)(c->options.head_from + p->head[lane]);
    }
}

/* x (nk, lanes) of query i times the factors of dropout. */
static void drop(const workspace *w, float *x, int64_t i)
{
    drawer lanes = w->lanes;
    if (!w->dropout.below) return;
    lanes.query = (vec_words){0} + (uint32_t)((uint64_t)w->q_position[i] - 1);
    draw_factors(w->factors, VEC_LANES, &lanes, &w->dropout, w->k_position, w->nk);
    apply_factors(1, x, w->factors, VEC_LANES, w->nk);
}

/* top + log sum, to the lanes' places in row i of lse */
static void store_lse(call *c, const workspace *w, const int64_t *at, int count, int64_t i, vec top,
                      vec sum)
{
    float tops[VEC_LANES] __attribute__((aligned(64))),
        whole[VEC_LANES] __attribute__((aligned(64)));
    float rests[VEC_LANES] __attribute__((aligned(64)));
    vec n, rest = vec_log2(sum, &n);
    vec_store(tops, top);
    vec_store(whole, n);
    vec_store(rests, rest);
    double *lse = (double *)mosaic_data(&c->lse) + i * c->lse.stride[3];
    for (int lane = 0; lane < count; lane++)
        lse[at[lane]] = (double)tops[lane] * w->scaling.unit +
                        ((double)whole[lane] + (double)rests[lane]) * LN2;
}

/* Query i: scores, softmax, values. */
static void attend(call *c, const workspace *w, const int64_t *lse, int count, int64_t i)
{
    const vec power = vec_set(w->scaling.power), base = vec_set((float)(w->scaling.unit * LOG2E));
    vec top = vec_set(-FLT_MAX), sum = vec_set(0);
    all_dots(w->weights, w->q + i * w->d * VEC_LANES, w->k, w->nk, w->d);
    for (int64_t j = 0; j < w->nk; j++)
        top = vec_max(vec_load(w->weights + j * VEC_LANES) * power, top);
    for (int64_t j = 0; j < w->nk; j++) {
        float *at = w->weights + j * VEC_LANES;
        vec weight = vec_exp2((vec_load(at) * power - top) * base);
        vec_store(at, weight);
        sum += weight;
    }
    drop(w, w->weights, i);
    combine(w->out + i * w->d * VEC_LANES, w->weights, 1, w->v, w->nk, w->d, vec_set(1) / sum);
    store_lse(c, w, lse, count, i, top, sum);
}

static void forward(call *c, int64_t from, int64_t to, void *scratch)
{
    char *at = scratch;
    workspace w = lay_out(c, &at);
    for (int64_t first = from; first < to; first += VEC_LANES) {
        problems p = problems_at(c, first, to);
        int64_t lse[VEC_LANES];
        for (int lane = 0; lane < p.count; lane++) lse[lane] = offset_of(c, &c->lse, &p, lane);
        load_lanes(w.q, c, &c->q, &p);
        load_lanes(w.k, c, &c->k, &p);
        load_lanes(w.v, c, &c->v, &p);
        open_dropout(c, &w, &p);
        for (int64_t i = 0; i < w.nq; i++) attend(c, &w, lse, p.count, i);
        store_lanes(&c->out, c, w.out, &p, false);
    }
}

/* ---- backward ------------------------------------------------------------------------------- */

/* lse in units of scores, what f32 leaves of it, and delta: (nq, lanes) each. */
static void load_statistics(call *c, const workspace *w, const problems *p)
{
    for (int64_t i = 0; i < 3 * w->nq * VEC_LANES; i++) w->lse[i] = 0;
    for (int lane = 0; lane < p->count; lane++) {
        const double *lse = (double *)mosaic_data(&c->lse) + offset_of(c, &c->lse, p, lane);
        const float *delta = (float *)mosaic_data(&c->delta) + offset_of(c, &c->delta, p, lane);
        for (int64_t i = 0, at = lane; i < w->nq; i++, at += VEC_LANES) {
            double exact = lse[i * c->lse.stride[3]] / w->scaling.unit;
            w->lse[at] = (float)exact;
            w->rest[at] = (float)(exact - (double)w->lse[at]);
            w->delta[at] = delta[i * c->delta.stride[3]];
        }
    }
}

/* Query i: p, ds and dq. */
static void slant(call *c, const workspace *w, int64_t i)
{
    const vec power = vec_set(w->scaling.power), base = vec_set((float)(w->scaling.unit * LOG2E));
    const vec lse = vec_load(w->lse + i * VEC_LANES), rest = vec_load(w->rest + i * VEC_LANES);
    const vec delta = vec_load(w->delta + i * VEC_LANES);
    const int64_t row = i * w->d * VEC_LANES;
    float *weights = w->weights + i * w->nk * VEC_LANES, *slants = w->slant + i * w->nk * VEC_LANES;
    all_dots(weights, w->q + row, w->k, w->nk, w->d);
    all_dots(slants, w->out + row, w->v, w->nk, w->d);
    drop(w, slants, i);
    for (int64_t j = 0; j < w->nk * VEC_LANES; j += VEC_LANES) {
        vec weight = vec_exp2((vec_load(weights + j) * power - lse - rest) * base);
        vec_store(weights + j, weight);
        vec_store(slants + j, weight * (vec_load(slants + j) - delta));
    }
    if (w->dropout.below) apply_factors(1, weights, w->factors, VEC_LANES, w->nk);
    combine(w->dq + row, slants, 1, w->k, w->nk, w->d, vec_set((float)c->options.scale));
}

static void backward(call *c, int64_t from, int64_t to, void *scratch)
{
    char *at = scratch;
    workspace w = lay_out(c, &at);
    const vec one = vec_set(1), scale = vec_set((float)c->options.scale);
    for (int64_t first = from; first < to; first += VEC_LANES) {
        problems p = problems_at(c, first, to);
        load_lanes(w.q, c, &c->q, &p);
        load_lanes(w.k, c, &c->k, &p);
        load_lanes(w.v, c, &c->v, &p);
        load_lanes(w.out, c, &c->dout, &p);
        load_statistics(c, &w, &p);
        open_dropout(c, &w, &p);
        for (int64_t i = 0; i < w.nq; i++) slant(c, &w, i);
        for (int64_t j = 0; j < w.nk; j++) {
            const int64_t row = j * w.d * VEC_LANES, column = j * VEC_LANES;
            combine(w.dk + row, w.slant + column, w.nk, w.q, w.nq, w.d, scale);
            combine(w.dv + row, w.weights + column, w.nk, w.out, w.nq, w.d, one);
        }
        store_lanes(&c->dq, c, w.dq, &p, c->accumulate);
        store_lanes(&c->dk, c, w.dk, &p, c->accumulate);
        store_lanes(&c->dv, c, w.dv, &p, c->accumulate);
    }
}

const mosaic_attention_small_kernels MOSAIC_KERNELS(attention_small) = {VEC_LANES, scratch_bytes,
                                                                        forward, backward};
