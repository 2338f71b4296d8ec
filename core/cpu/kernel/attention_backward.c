/* attention_backward.c - gradients of attention: a chunk of keys against one tile of queries after
 * the other.
 *
 * With p = exp(score - lse) and ds = p (dout.v - delta), where dropout multiplies dout.v and then p
 * by its factors (attention_plain.c says why delta stays), by blocks of keys: dq += ds k with lanes
 * of queries, as forward; dk += ds q and dv += p dout with lanes of head channels, so that nothing
 * has to be transposed in registers. K, V and their gradients stay packed for the whole chunk.
 * Every element is one chain of additions in the order of keys (dq) or queries (dk, dv), however
 * the work is cut; only dq is rounded once more per chunk, whose size depends on d alone. */
#include "attention_dropout.h"
#include "attention_fetch.h"
#include "attention_mask.h"

enum { BLOCK = 64, MOST_KEYS = 2048, CACHE_FLOATS = 192 * 1024 };

typedef struct {
    int64_t first, rows; /* of the group */
    int vectors;
    limits limits;
    float *q, *dout;           /* (d, width), q times the power of two in scale */
    float *q_rows, *dout_rows; /* (TILE, lanes of d) */
    float *dq;                 /* (round_up(d, STEP), width) */
    float *lse, *lse_rest;     /* (width): in units of scores, and what f32 leaves of it */
    float *delta;              /* (width) */
} tile;

typedef struct {
    int64_t keys, columns; /* of the chunk; round_up(d, VEC_LANES) */
    scaling scaling;
    float *k, *v;                  /* (keys/STEP, d, STEP) */
    float *k_channels;             /* (d/STEP, keys, STEP) */
    float *dk, *dv;                /* (keys, columns) */
    float *weights, *slant, *mask; /* (BLOCK, TILE): p, ds */
    float *factors;                /* of dropout, likewise; NULL without */
    uint8_t *seen;                 /* (TILE, SEEN) */
    float *slope;                  /* (BLOCK, TILE): d score / d score before the mask's program */
    double *registers;             /* of programs */
    fetcher *fetch;
    tile tile;
} workspace;

static int64_t chunk_keys(const mosaic_attention_unit *u)
{
    int64_t fit = CACHE_FLOATS / (5 * round_up(u->d, 16)) / BLOCK * BLOCK;
    return min_i64(min_i64(max_i64(fit, 2 * BLOCK), MOST_KEYS), round_up(u->nk, BLOCK));
}

static workspace lay_out(const mosaic_attention_unit *u, int64_t keys, char **scratch)
{
    workspace w = {.keys = round_up(keys, STEP),
                   .columns = round_up(u->d, VEC_LANES),
                   .scaling = scaling_of(u->scale)};
    int64_t channels = round_up(u->d, STEP);
    w.k = take(scratch, w.keys * u->d, 4);
    w.v = take(scratch, w.keys * u->d, 4);
    w.k_channels = take(scratch, w.keys * channels, 4);
    w.dk = take(scratch, w.keys * w.columns, 4);
    w.dv = take(scratch, w.keys * w.columns, 4);
    w.weights = take(scratch, BLOCK * TILE, 4);
    w.slant = take(scratch, BLOCK * TILE, 4);
    w.mask = take(scratch, BLOCK * TILE, 4);
    w.seen = take(scratch, TILE * SEEN, 1);
    w.slope = take(scratch, u->score ? BLOCK * TILE : 0, 4);
    w.registers = take(scratch, mosaic_attention_registers(u), 8);
    if (u->dropout.below) w.factors = take(scratch, BLOCK * TILE, 4);
    w.tile.q = take(scratch, u->d * TILE, 4);
    w.tile.dout = take(scratch, u->d * TILE, 4);
    w.tile.q_rows = take(scratch, TILE * w.columns, 4);
    w.tile.dout_rows = take(scratch, TILE * w.columns, 4);
    w.tile.dq = take(scratch, channels * TILE, 4);
    w.tile.lse = take(scratch, TILE, 4);
    w.tile.lse_rest = take(scratch, TILE, 4);
    w.tile.delta = take(scratch, TILE, 4);
    return w;
}

static int64_t scratch_bytes(const mosaic_attention_unit *u)
{
    char *end = NULL;
    lay_out(u, chunk_keys(u), &end);
    return (int64_t)(uintptr_t)end;
}

/* ---- one tile against one block ------------------------------------------------------------- */

/* weights <- scores, slant <- dout.v, both (keys, TILE) */
VEC_INLINE void make_products(int vectors, const workspace *w, int64_t key, int64_t keys,
                              bool masked, int64_t d)
{
    const int64_t width = vectors * VEC_LANES;
    for (int64_t j = 0; j < keys; j += STEP) {
        sums s;
        fetch_some(w->fetch);
        sums_clear(vectors, s);
        multiply(vectors, s, w->k + (key + j) * d, 1, STEP, w->tile.q, width, d);
        for (int r = 0; masked && r < STEP; r++)
            for (int i = 0; i < vectors; i++)
                s[r][i] += vec_load(w->mask + (j + r) * width + i * VEC_LANES);
        sums_store(vectors, s, w->weights + j * TILE, TILE);
        sums_clear(vectors, s);
        multiply(vectors, s, w->v + (key + j) * d, 1, STEP, w->tile.dout, width, d);
        sums_store(vectors, s, w->slant + j * TILE, TILE);
    }
}

/* weights <- p, slant <- ds; 0 in what fills up the last STEP, which may be keys of other tiles. */
VEC_INLINE void make_slants(int vectors, const workspace *w, int64_t keys)
{
    const vec base = vec_set(w->scaling.base);
    unsigned saved = vec_flush();
    for (int i = 0; i < vectors; i++) {
        vec lse = vec_load(w->tile.lse + i * VEC_LANES);
        vec lse_rest = vec_load(w->tile.lse_rest + i * VEC_LANES);
        vec delta = vec_load(w->tile.delta + i * VEC_LANES);
        float *weight = w->weights + i * VEC_LANES, *slant = w->slant + i * VEC_LANES;
        for (int64_t j = 0; j < keys; j++, weight += TILE, slant += TILE) {
            vec p = vec_exp2((vec_load(weight) - lse - lse_rest) * base);
            vec_store(weight, p);
            vec_store(slant, p * (vec_load(slant) - delta));
        }
        for (int64_t j = keys; j % STEP; j++, weight += TILE, slant += TILE) {
            vec_store(weight, vec_set(0));
            vec_store(slant, vec_set(0));
        }
    }
    vec_unflush(saved);
}

/* dq (d, width) += K^T ds */
VEC_INLINE void add_dq(int vectors, const workspace *w, int64_t key, int64_t keys, int64_t d)
{
    const int64_t width = vectors * VEC_LANES;
    const float *k = w->k_channels + key * STEP;
    float *dq = w->tile.dq;
    for (int64_t c = 0; c < d; c += STEP, k += w->keys * STEP, dq += STEP * width) {
        sums s;
        sums_load(vectors, s, dq, width);
        multiply(vectors, s, k, 1, STEP, w->slant, TILE, keys);
        sums_store(vectors, s, dq, width);
    }
}

/* to (keys, columns) += a^T rows for `vectors` vectors of columns; a (keys, TILE) */
VEC_INLINE void add_columns(int vectors, float *to, const float *a, const float *rows,
                            int64_t columns, int64_t keys, int64_t depth, fetcher *fetch)
{
    for (int64_t j = 0; j < keys; j += STEP, to += STEP * columns, a += STEP * TILE) {
        sums s;
        fetch_some(fetch);
        sums_load(vectors, s, to, columns);
        multiply(vectors, s, a, TILE, 1, rows, columns, depth);
        sums_store(vectors, s, to, columns);
    }
}

static void add_to_keys(float *to, const float *a, const float *rows, int64_t columns, int64_t keys,
                        int64_t depth, fetcher *fetch)
{
    int64_t c = 0;
    for (; columns - c >= 3 * VEC_LANES && columns - c != 4 * VEC_LANES; c += 3 * VEC_LANES)
        add_columns(3, to + c, a, rows + c, columns, keys, depth, fetch);
    for (; columns - c >= 2 * VEC_LANES; c += 2 * VEC_LANES)
        add_columns(2, to + c, a, rows + c, columns, keys, depth, fetch);
    if (c < columns) add_columns(1, to + c, a, rows + c, columns, keys, depth, fetch);
}

/* Scores after the mask's program, and its slope. */
static void make_new_scores(const mosaic_attention_unit *u, const workspace *w, const span *s)
{
    rescore(u, w->tile.first, w->tile.rows, s->from, s->to - s->from, w->weights, w->slope, TILE,
            w->registers);
}

/* ds <- ds slope */
static void apply_slopes(const workspace *w, int64_t keys)
{
    for (int64_t j = 0; j < keys; j++)
        for (int64_t lane = 0; lane < w->tile.rows; lane++)
            w->slant[j * TILE + lane] *= w->slope[j * TILE + lane];
}

/* The keys of s start `key` keys into the chunk. */
VEC_INLINE void slants_of_vectors(int vectors, const mosaic_attention_unit *u, const workspace *w,
                                  const span *s, int64_t key, bool dq)
{
    const int64_t keys = s->to - s->from, d = u->d;
    make_products(vectors, w, key, keys, s->hides || s->adds, d);
    if (u->score) make_new_scores(u, w, s);
    if (w->factors) apply_factors(vectors, w->slant, w->factors, TILE, keys);
    make_slants(vectors, w, keys);
    if (w->factors) apply_factors(vectors, w->weights, w->factors, TILE, keys);
    if (u->score) apply_slopes(w, keys);
    if (dq) add_dq(vectors, w, key, keys, d);
}

static void add_dbias(const mosaic_attention_unit *u, const workspace *w, int64_t from,
                      int64_t keys)
{
    place p = place_of(u, w->tile.first);
    for (int64_t lane = 0; lane < w->tile.rows; lane++, p = next_place(u, p)) {
        float *to = (float *)(void *)u->dbias.data;
        to += mosaic_rows_at(&u->dbias, p.head, p.query, from);
        for (int64_t j = 0; j < keys; j++) to[j * u->dbias.column] += w->slant[j * TILE + lane];
    }
}

/* The tile against keys from..to - 1, which start `key` keys into the chunk. */
static void work_block(const mosaic_attention_unit *u, const mosaic_attention_part *part,
                       const workspace *w, const span *s)
{
    const tile *t = &w->tile;
    int64_t key = s->from - part->key_from, keys = s->to - s->from;
    mosaic_poll();
    if (s->hides || s->adds)
        make_mask(u, t->first, t->rows, s, w->seen, w->mask, t->vectors * VEC_LANES);
    if (w->factors) make_factors(u, t->first, t->rows, s->from, keys, w->factors, TILE);
    switch (t->vectors) {
    case 1: slants_of_vectors(1, u, w, s, key, part->dq); break;
    case 2: slants_of_vectors(2, u, w, s, key, part->dq); break;
    default: slants_of_vectors(3, u, w, s, key, part->dq); break;
    }
    if (u->dbias.data) add_dbias(u, w, s->from, keys);
    if (!part->dkv) return;
    float *dk = w->dk + key * w->columns, *dv = w->dv + key * w->columns;
    add_to_keys(dv, w->weights, t->dout_rows, w->columns, keys, t->rows, w->fetch);
    add_to_keys(dk, w->slant, t->q_rows, w->columns, keys, t->rows, w->fetch);
}

/* ---- opening and closing -------------------------------------------------------------------- */

static void open_tile(const mosaic_attention_unit *u, const workspace *w, tile *t, int64_t first,
                      int64_t rows)
{
    t->first = first;
    t->rows = rows;
    t->vectors = (int)((rows + VEC_LANES - 1) / VEC_LANES);
    t->limits = limits_of(u, first, rows);
    int64_t width = t->vectors * VEC_LANES;
    pack_rows(t->q_rows, w->columns, u, &u->q, first, rows);
    pack_rows(t->dout_rows, w->columns, u, &u->dout, first, rows);
    pack_lanes(t->q, width, u, &u->q, first, rows, scaling_of(u->scale).power);
    pack_lanes(t->dout, width, u, &u->dout, first, rows, 1);
    for (int64_t i = 0; i < round_up(u->d, STEP) * width; i++) t->dq[i] = 0;
    const double unit = scaling_of(u->scale).unit;
    place p = place_of(u, first);
    for (int64_t lane = 0; lane < width; lane++) {
        t->lse[lane] = INFINITY; /* where no key is seen every p is 0 */
        t->lse_rest[lane] = t->delta[lane] = 0;
        if (lane >= rows) continue;
        const double *lse = (const double *)(const void *)u->lse.data;
        const float *delta = (const float *)(const void *)u->delta.data;
        double exact = lse[mosaic_rows_at(&u->lse, p.head, p.query, 0)] / unit;
        if (exact != -INFINITY) {
            t->lse[lane] = (float)exact;
            t->lse_rest[lane] = (float)(exact - (double)t->lse[lane]);
        }
        t->delta[lane] = delta[mosaic_rows_at(&u->delta, p.head, p.query, 0)];
        p = next_place(u, p);
    }
}

static void close_tile(const mosaic_attention_unit *u, const tile *t, bool add)
{
    const vec scale = vec_set((float)u->scale), factor[VECTORS] = {scale, scale, scale};
    unpack_lanes(&u->dq, u, t->first, t->rows, t->dq, t->vectors * VEC_LANES, factor, add);
}

static void open_chunk(const mosaic_attention_unit *u, const mosaic_attention_part *part,
                       const workspace *w)
{
    int64_t from = part->key_from, keys = part->key_to - from;
    pack_keys(w->k, u, &u->k, from, keys);
    pack_keys(w->v, u, &u->v, from, keys);
    pack_channels(w->k_channels, w->keys, u, &u->k, from, keys);
    for (int64_t i = 0; i < w->keys * w->columns; i++) w->dk[i] = w->dv[i] = 0;
}

static void close_chunk(const mosaic_attention_unit *u, const mosaic_attention_part *part,
                        const workspace *w)
{
    for (int64_t j = part->key_from; j < part->key_to; j++) {
        int64_t at = (j - part->key_from) * w->columns;
        write_floats(&u->dk, 0, j, w->dk + at, u->d, (float)u->scale, u->accumulate);
        write_floats(&u->dv, 0, j, w->dv + at, u->d, 1, u->accumulate);
    }
}

static fetcher fetcher_of(const mosaic_attention_unit *u)
{
    const mosaic_attention_unit *next = u->next;
    fetcher f = {.count = 0};
    if (!next) return f;
    fetch_rows(&f, &next->dv, 1, next->nk, next->d); /* what comes last is fetched first */
    fetch_rows(&f, &next->dk, 1, next->nk, next->d);
    fetch_rows(&f, &next->dq, next->group, next->nq, next->d);
    fetch_rows(&f, &next->dout, next->group, next->nq, next->d);
    fetch_rows(&f, &next->q, next->group, next->nq, next->d);
    fetch_rows(&f, &next->v, 1, next->nk, next->d);
    fetch_rows(&f, &next->k, 1, next->nk, next->d);
    fetch_begin(&f, u, 3);
    return f;
}

static void backward(const mosaic_attention_unit *u, const mosaic_attention_part *part,
                     void *scratch, mosaic_attention_work *work)
{
    char *at = scratch;
    workspace w = lay_out(u, part->key_to - part->key_from, &at);
    fetcher fetch = fetcher_of(u);
    w.fetch = &fetch;
    extent chunk = extent_of(u, part->key_from, part->key_to);
    open_chunk(u, part, &w);
    for (int64_t r = part->row_from; r < part->row_to; r += w.tile.rows) {
        open_tile(u, &w, &w.tile, r, tile_rows(part->row_to - r));
        bool some = any_seen(u, &w.tile.limits, &chunk);
        for (int64_t j = part->key_from; some && j < part->key_to; j += BLOCK) {
            int64_t to = min_i64(j + BLOCK, part->key_to);
            extent e = extent_of(u, j, to);
            span s = visible(u, &w.tile.limits, &e, j, to);
            int64_t pairs = look(u, r, w.tile.rows, &s, w.seen, w.registers);
            if (!pairs) continue;
            work_block(u, part, &w, &s);
            work->visible += pairs;
            work->computed += w.tile.rows * (s.to - s.from);
        }
        if (part->dq) close_tile(u, &w.tile, u->accumulate || part->key_from > 0);
    }
    if (part->dkv) close_chunk(u, part, &w);
}

const mosaic_attention_backward_kernels MOSAIC_KERNELS(attention_backward) = {
    chunk_keys, scratch_bytes, backward};
