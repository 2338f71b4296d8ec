/* attention_forward.h - attention forward: a chunk of queries against one block of keys after the
 * other.
 *
 * Per tile and block: scores and their exact maximum, rescaling, probabilities, values. The file
 * that includes this one says how the two products are made, and what their operands look like
 * packed:
 *
 *   queries_bytes, keys_bytes, values_bytes (u)   room for a tile's queries, a block's keys, values
 *   products_bytes (u)                            room for what products need beside
 *   LEAD                                          rows before the scores that products may write
 *   pack_queries, pack_block, make_scores, add_values
 *   WEIGHT_EXPONENT                               weights and their sums are times 2 to that
 *   poll_messages                                 mosaic_poll, and what products need after it */
#ifndef MOSAIC_CPU_ATTENTION_FORWARD_H
#define MOSAIC_CPU_ATTENTION_FORWARD_H

typedef struct {
    int64_t first, rows; /* of the group */
    int vectors;
    limits limits;
    void *q;          /* packed */
    float *out;       /* (round_up(d, STEP), width) */
    float *top, *sum; /* (width): largest score, sum of the weights: 2^((score - top) base) */
} tile;

typedef struct {
    tile *tiles;
    int64_t count;
    scaling scaling;
    void *k, *v;          /* of a block, packed */
    void *room;           /* of products */
    float *scores, *mask; /* (BLOCK, TILE) */
    float *factors;       /* of dropout, likewise; NULL without */
    uint8_t *seen;        /* (TILE, SEEN) */
    uint8_t *any;         /* (keys) of keep; NULL where it does not lie in rows of bytes */
    bool *some;           /* (count, blocks): does keep let any pair through? */
    double *registers;    /* of the mask's programs */
    fetcher *fetch;
} workspace;

static int64_t blocks_of(const mosaic_attention_unit *u) { return (u->nk + BLOCK - 1) / BLOCK; }

/* Cuts rows from..to - 1 into tiles; with scratch NULL only the end of what is taken counts. */
static workspace lay_out(const mosaic_attention_unit *u, int64_t from, int64_t to, char **scratch)
{
    workspace w = {.count = (to - from + TILE - 1) / TILE, .scaling = scaling_of(u->scale)};
    bool measuring = !*scratch;
    int64_t channels = round_up(u->d, STEP);
    w.tiles = take(scratch, w.count, sizeof(tile));
    w.k = take(scratch, keys_bytes(u), 1);
    w.v = take(scratch, values_bytes(u), 1);
    w.room = take(scratch, products_bytes(u), 1);
    w.scores = (float *)take(scratch, (LEAD + BLOCK) * TILE, 4) + LEAD * TILE;
    w.mask = take(scratch, BLOCK * TILE, 4);
    w.seen = take(scratch, TILE * SEEN, 1);
    w.registers = take(scratch, mosaic_attention_registers(u), 8);
    if (keeps_by_rows(u)) {
        w.any = take(scratch, u->nk, 1);
        w.some = take(scratch, w.count * blocks_of(u), sizeof(bool));
    }
    if (u->dropout.below) w.factors = take(scratch, BLOCK * TILE, 4);
    for (int64_t i = 0; i < w.count; i++) {
        tile t = {.first = from, .rows = tile_rows(to - from)};
        from += t.rows;
        t.vectors = (int)((t.rows + VEC_LANES - 1) / VEC_LANES);
        t.q = take(scratch, queries_bytes(u), 1);
        t.out = take(scratch, channels * TILE, 4);
        t.top = take(scratch, TILE, 4);
        t.sum = take(scratch, TILE, 4);
        if (!measuring) w.tiles[i] = t;
    }
    return w;
}

static int64_t scratch_bytes(const mosaic_attention_unit *u, int64_t rows)
{
    char *end = NULL;
    lay_out(u, 0, rows, &end);
    return (int64_t)(uintptr_t)end;
}

static void open_tile(const mosaic_attention_unit *u, const workspace *w, tile *t)
{
    int64_t width = t->vectors * VEC_LANES;
    t->limits = limits_of(u, t->first, t->rows);
    for (int64_t i = 0; i < round_up(u->d, STEP) * width; i++) t->out[i] = 0;
    for (int64_t i = 0; i < width; i++) {
        t->top[i] = -FLT_MAX; /* finite, so that -infinity less it is -infinity */
        t->sum[i] = 0;
    }
    pack_queries(t->q, width, u, t->first, t->rows, w->room);
}

#define WEIGHT_POWER ((float)(1 << WEIGHT_EXPONENT))

/* scores <- WEIGHT_POWER 2^((score - top) base); adds them up. The largest weight is a power of
 * two, so that the only key of a query gives its value, to the bit, which backward's differences
 * rely on.
 */
VEC_INLINE void make_weights(int vectors, float *scores, const vec *top, vec base, vec *sum,
                             int64_t keys, fetcher *fetch)
{
    unsigned saved = vec_flush();
    for (int64_t j = 0; j < keys; j++) {
        if (j % FETCH_KEYS == 0) fetch_some(fetch);
        for (int w = 0; w < vectors; w++, scores += VEC_LANES) {
            vec p = vec_times_exp2(WEIGHT_POWER, (vec_load(scores) - top[w]) * base);
            vec_store(scores, p);
            sum[w] += p;
        }
    }
    vec_unflush(saved);
}

/* top <- the largest of it and `keys` rows of scores */
VEC_INLINE void raise(int vectors, const float *scores, vec *top, int64_t keys)
{
    for (int64_t j = 0; j < keys; j++, scores += vectors * VEC_LANES)
        for (int w = 0; w < vectors; w++)
            top[w] = vec_max(vec_load(scores + w * VEC_LANES), top[w]);
}

/* Scores after the mask's program, and the largest of them. */
VEC_INLINE void make_new_scores(int vectors, const mosaic_attention_unit *u, const workspace *w,
                                const tile *t, const span *s, vec *top)
{
    const int64_t width = vectors * VEC_LANES, keys = s->to - s->from;
    rescore(u, t->first, t->rows, s->from, keys, w->scores, NULL, width, w->registers);
    for (int i = 0; i < vectors; i++) top[i] = vec_load(t->top + i * VEC_LANES);
    raise(vectors, w->scores, top, keys);
}

/* The tile against the keys of s, which start `key` keys into the packed block. */
VEC_INLINE void attend_vectors(int vectors, const mosaic_attention_unit *u, const workspace *w,
                               tile *t, const span *s, int64_t key)
{
    const int64_t keys = s->to - s->from;
    const float *mask = s->hides || s->adds ? w->mask : NULL;
    vec top[VECTORS], factor[VECTORS], sum[VECTORS];
    for (int i = 0; i < vectors; i++) top[i] = vec_load(t->top + i * VEC_LANES);
    make_scores(vectors, u, w->scores, top, w->k, key, t->q, mask, keys, w->fetch);
    if (u->score) make_new_scores(vectors, u, w, t, s, top);
    const vec base = vec_set(w->scaling.base); /* not before: sums need the registers */
    for (int i = 0; i < vectors; i++) {
        factor[i] = vec_exp2((vec_load(t->top + i * VEC_LANES) - top[i]) * base);
        sum[i] = vec_load(t->sum + i * VEC_LANES) * factor[i];
    }
    make_weights(vectors, w->scores, top, base, sum, keys, w->fetch);
    if (w->factors) apply_factors(vectors, w->scores, w->factors, vectors * VEC_LANES, keys);
    add_values(vectors, u, t->out, factor, w->v, key, w->scores, keys, w->room);
    for (int i = 0; i < vectors; i++) {
        vec_store(t->top + i * VEC_LANES, top[i]);
        vec_store(t->sum + i * VEC_LANES, sum[i]);
    }
}

static void attend(const mosaic_attention_unit *u, const workspace *w, tile *t, const span *s,
                   int64_t key)
{
    switch (t->vectors) {
    case 1: attend_vectors(1, u, w, t, s, key); break;
    case 2: attend_vectors(2, u, w, t, s, key); break;
    default: attend_vectors(VECTORS, u, w, t, s, key); break;
    }
}

/* What a tile needs beside packed keys. */
static void prepare(const mosaic_attention_unit *u, const workspace *w, const tile *t,
                    const span *s)
{
    int64_t width = t->vectors * VEC_LANES;
    if (s->hides || s->adds) make_mask(u, t->first, t->rows, s, w->seen, w->mask, width);
    if (w->factors) make_factors(u, t->first, t->rows, s->from, s->to - s->from, w->factors, width);
}

/* All tiles against keys from..to - 1, at most BLOCK. They are packed when somebody sees them. */
static void work_block(const mosaic_attention_unit *u, const workspace *w, int64_t from, int64_t to,
                       mosaic_attention_work *work)
{
    extent e = extent_of(u, from, to);
    bool packed = false;
    poll_messages();
    for (int64_t i = 0; i < w->count; i++) {
        tile *t = &w->tiles[i];
        if (w->some && !w->some[i * blocks_of(u) + from / BLOCK]) continue;
        span s = visible(u, &t->limits, &e, from, to);
        int64_t pairs = look(u, t->first, t->rows, &s, w->seen, w->registers);
        if (!pairs) continue;
        if (!packed) {
            pack_block(w->k, w->v, u, from, to - from, w->room);
            packed = true;
        }
        prepare(u, w, t, &s);
        attend(u, w, t, &s, s.from - from);
        work->visible += pairs;
        work->computed += t->rows * (s.to - s.from);
    }
}

/* out / sum and top + log sum, to where they belong. */
static void close_tile(const mosaic_attention_unit *u, tile *t)
{
    const int64_t width = t->vectors * VEC_LANES;
    const double unit = scaling_of(u->scale).unit;
    float whole[TILE] __attribute__((aligned(64))) = {0};
    float rest[TILE] __attribute__((aligned(64))) = {0};
    vec factor[VECTORS];
    for (int64_t i = 0; i < width; i += VEC_LANES) {
        vec sum = vec_load(t->sum + i), n, fraction = vec_log2(sum, &n);
        vec_store(whole + i, n - vec_set(WEIGHT_EXPONENT));
        vec_store(rest + i, fraction);
        /* where nothing was seen sum and out are 0 */
        factor[i / VEC_LANES] = vec_set(1) / vec_max(sum, vec_set(FLT_MIN));
    }
    unpack_lanes(&u->out, u, t->first, t->rows, t->out, width, factor, false);
    place p = place_of(u, t->first);
    for (int64_t lane = 0; lane < t->rows; lane++, p = next_place(u, p)) {
        double *lse = (double *)(void *)u->lse.data + mosaic_rows_at(&u->lse, p.head, p.query, 0);
        double log_sum = ((double)whole[lane] + (double)rest[lane]) * LN2;
        *lse = t->sum[lane] == 0 ? -INFINITY : (double)t->top[lane] * unit + log_sum;
    }
}

/* Of the next unit's keys most likely those that are seen are the same. */
static fetcher fetcher_of(const mosaic_attention_unit *u, const span *seen)
{
    const mosaic_attention_unit *next = u->next;
    fetcher f = {.count = 0};
    if (!next) return f;
    const int64_t from = seen->from, keys = seen->to - seen->from;
    /* what comes last is fetched first */
    fetch_rows(&f, &next->out, next->group, 0, next->nq, next->d);
    fetch_rows(&f, &next->q, next->group, 0, next->nq, next->d);
    fetch_rows(&f, &next->v, 1, from, keys, next->d);
    fetch_rows(&f, &next->k, 1, from, keys, next->d);
    fetch_begin(&f, u, keys, 2);
    return f;
}

static void attend_rows(const mosaic_attention_unit *u, int64_t from, int64_t to, void *scratch,
                        mosaic_attention_work *work)
{
    char *at = scratch;
    workspace w = lay_out(u, from, to, &at);
    limits l = limits_of(u, from, to - from);
    extent e = extent_of(u, 0, u->nk);
    span keys = visible(u, &l, &e, 0, u->nk);
    fetcher fetch = fetcher_of(u, &keys);
    w.fetch = &fetch;
    const int64_t start = keys.from / BLOCK * BLOCK;
    for (int64_t i = 0; i < w.count; i++) {
        open_tile(u, &w, &w.tiles[i]);
        if (w.some)
            look_by_blocks(u, w.tiles[i].first, w.tiles[i].rows, start, keys.to, BLOCK, w.any,
                           w.some + i * blocks_of(u) + start / BLOCK);
    }
    /* blocks are the same however rows are cut */
    for (int64_t j = start; j < keys.to; j += BLOCK)
        work_block(u, &w, j, min_i64(j + BLOCK, keys.to), work);
    for (int64_t i = 0; i < w.count; i++) close_tile(u, &w.tiles[i]);
}

#endif
