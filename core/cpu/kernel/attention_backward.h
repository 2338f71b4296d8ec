/* attention_backward.h - gradients of attention: a chunk of keys against one tile of queries after
 * the other.
 *
 * With p = exp(score - lse) and ds = p (dout.v - delta), where dropout multiplies dout.v and then p
 * by its factors (attention_plain.c says why delta stays), by blocks of keys: dq += ds k, dk += ds
 * q and dv += p dout. Operands and gradients of keys stay packed for the whole chunk, which has no
 * keys behind those that its queries see. Every element is added up in the order of keys (dq) or
 * of tiles of queries from the last on (dk, dv), however the work is cut; only dq is rounded once
 * more per chunk, whose size depends on d and the number of keys alone.
 *
 * The file that includes this one says how the five products are made, and what their operands look
 * like packed:
 *
 *   ALIGN                                       keys and channels that products write at a time
 *   LEAST_VECTORS                               of a tile
 *   packed_keys, lay_out_keys, pack_chunk       operands of a chunk
 *   packed_queries, lay_out_queries, pack_tile  operands of a tile, and what products need beside
 *   columns_of                                  floats of a key's gradient while it is summed up
 *   gradient_of                                 the gradient that these become
 *   make_products, add_dq, add_dkv              of so many rows of queries, or of whole tiles
 *   gains_of                                    what operands, and then results, are multiplied by
 *   poll_messages                               mosaic_poll, and what products need after it */
#ifndef MOSAIC_CPU_ATTENTION_BACKWARD_H
#define MOSAIC_CPU_ATTENTION_BACKWARD_H

enum { BLOCK = 64, LEAST_KEYS = 512, MOST_KEYS = 2048, CHUNKS = 4, CACHE_FLOATS = 192 * 1024 };
enum { SLACK = ALIGN - STEP }; /* rows before the weights that products may write */

typedef struct {
    int64_t first, rows; /* of the group */
    int vectors;
    limits limits;
    packed_queries packed;
    float *dq;             /* (round_up(d, ALIGN), width) */
    float *lse, *lse_rest; /* (width): in units of scores, and what f32 leaves of it */
    float *delta;          /* (width) */
} tile;

typedef struct {
    int64_t keys, columns; /* of the chunk; of its gradients */
    scaling scaling;
    gains gains;
    packed_keys packed;
    float *dk, *dv;                /* (keys, columns) */
    extent *extents;               /* of blocks */
    float *weights, *slant, *mask; /* (BLOCK, TILE): p, ds */
    float *factors;                /* of dropout, likewise; NULL without */
    uint8_t *seen;                 /* (TILE, SEEN) */
    uint8_t *any;                  /* (keys) of keep; NULL where it does not lie in rows of bytes */
    bool *some;                    /* (blocks): does keep let any of the tile's pairs through? */
    float *slope;                  /* (BLOCK, TILE): d score / d score before the mask's program */
    double *registers;             /* of programs */
    fetcher *fetch;
    tile tile;
} workspace;

/* All chunks but the last are alike, and there are CHUNKS of them or more where they do not get too
 * short for what opening a tile costs: several threads share them. */
static int64_t chunk_keys(const mosaic_attention_unit *u)
{
    int64_t fit = min_i64(CACHE_FLOATS / (5 * round_up(u->d, 16)), MOST_KEYS) / BLOCK * BLOCK;
    int64_t fair = max_i64(u->nk / CHUNKS, LEAST_KEYS);
    fit = max_i64(min_i64(fit, fair), 2 * BLOCK);
    int64_t chunks = (u->nk + fit - 1) / fit;
    return round_up((u->nk + chunks - 1) / chunks, BLOCK);
}

static workspace lay_out(const mosaic_attention_unit *u, int64_t keys, char **scratch)
{
    workspace w = {.keys = round_up(keys, ALIGN),
                   .columns = columns_of(u),
                   .scaling = scaling_of(u->scale),
                   .gains = gains_of(u)};
    w.packed = lay_out_keys(u, w.keys, scratch);
    w.dk = take(scratch, w.keys * w.columns, 4);
    w.dv = take(scratch, w.keys * w.columns, 4);
    w.extents = take(scratch, keys / BLOCK + 1, sizeof(extent));
    w.weights = (float *)take(scratch, (SLACK + BLOCK) * TILE, 4) + SLACK * TILE;
    w.slant = (float *)take(scratch, (SLACK + BLOCK) * TILE, 4) + SLACK * TILE;
    w.mask = take(scratch, BLOCK * TILE, 4);
    w.seen = take(scratch, TILE * SEEN, 1);
    w.slope = take(scratch, u->score ? BLOCK * TILE : 0, 4);
    w.registers = take(scratch, mosaic_attention_registers(u), 8);
    if (keeps_by_rows(u)) {
        w.any = take(scratch, w.keys, 1);
        w.some = take(scratch, keys / BLOCK + 1, sizeof(bool));
    }
    if (u->dropout.below) w.factors = take(scratch, BLOCK * TILE, 4);
    w.tile.packed = lay_out_queries(u, scratch);
    w.tile.dq = take(scratch, round_up(u->d, ALIGN) * TILE, 4);
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

/* weights <- p, slant <- ds */
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
            if (j % FETCH_KEYS == 0) fetch_some(w->fetch);
            vec p = vec_exp2((vec_load(weight) - lse - lse_rest) * base);
            vec_store(weight, p);
            vec_store(slant, p * (vec_load(slant) - delta));
        }
    }
    vec_unflush(saved);
}

/* 0 in rows from..to - 1 of p and ds: whole ALIGNs of them are multiplied, and what is beyond the
 * span may be keys of other tiles. */
static void clear_rows(const workspace *w, int64_t from, int64_t to)
{
    for (int64_t i = from * TILE; i < to * TILE; i++) w->weights[i] = w->slant[i] = 0;
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

/* p and ds of the keys of s, which start `key` keys into the chunk, and what they add to dq. */
VEC_INLINE void slants_of_vectors(int vectors, const mosaic_attention_unit *u, const workspace *w,
                                  const span *s, int64_t key)
{
    const int64_t keys = s->to - s->from, lead = key % ALIGN;
    const float *mask = s->hides || s->adds ? w->mask : NULL;
    const int used = (int)((w->tile.rows + VEC_LANES - 1) / VEC_LANES); /* with factors */
    make_products(vectors, u, w->weights, w->slant, &w->packed, key, keys, &w->tile.packed, mask,
                  w->fetch);
    if (u->score) make_new_scores(u, w, s);
    if (w->factors) apply_factors(used, w->slant, w->factors, TILE, keys);
    make_slants(vectors, w, keys);
    if (w->factors) apply_factors(used, w->weights, w->factors, TILE, keys);
    if (u->score) apply_slopes(w, keys);
    clear_rows(w, -lead, 0);
    clear_rows(w, keys, round_up(lead + keys, ALIGN) - lead);
    add_dq(vectors, u, w->tile.dq, &w->packed, w->slant, key, keys, &w->tile.packed);
}

static void add_dbias(const mosaic_attention_unit *u, const workspace *w, int64_t from,
                      int64_t keys)
{
    place p = place_of(u, w->tile.first);
    const float factor = w->gains.dbias;
    for (int64_t lane = 0; lane < w->tile.rows; lane++, p = next_place(u, p)) {
        float *to = (float *)(void *)u->dbias.data;
        to += mosaic_rows_at(&u->dbias, p.head, p.query, from);
        for (int64_t j = 0; j < keys; j++)
            to[j * u->dbias.column] += factor * w->slant[j * TILE + lane];
    }
}

/* The tile against keys from..to - 1, which start `key` keys into the chunk. */
static void work_block(const mosaic_attention_unit *u, const mosaic_attention_part *part,
                       const workspace *w, const span *s)
{
    const tile *t = &w->tile;
    int64_t key = s->from - part->key_from, keys = s->to - s->from;
    poll_messages();
    if (s->hides || s->adds)
        make_mask(u, t->first, t->rows, s, w->seen, w->mask, t->vectors * VEC_LANES);
    if (w->factors) make_factors(u, t->first, t->rows, s->from, keys, w->factors, TILE);
    if (LEAST_VECTORS <= 1 && t->vectors == 1)
        slants_of_vectors(1, u, w, s, key);
    else if (LEAST_VECTORS <= 2 && t->vectors == 2)
        slants_of_vectors(2, u, w, s, key);
    else
        slants_of_vectors(VECTORS, u, w, s, key);
    if (u->dbias.data) add_dbias(u, w, s->from, keys);
    add_dkv(u, w->dk, w->dv, w->columns, &t->packed, w->weights, w->slant, key, keys, t->rows,
            w->fetch);
}

/* ---- opening and closing -------------------------------------------------------------------- */

/* lse and delta of the tile's queries. */
static void read_numbers(const mosaic_attention_unit *u, tile *t, float gain)
{
    const double units = 1 / scaling_of(u->scale).unit;
    const double *lse = (const double *)(const void *)u->lse.data;
    const float *delta = (const float *)(const void *)u->delta.data;
    place p = place_of(u, t->first);
    for (int64_t lane = 0; lane < t->rows; lane++, p = next_place(u, p)) {
        double exact = lse[mosaic_rows_at(&u->lse, p.head, p.query, 0)] * units;
        bool seen = exact != -INFINITY; /* where no key is every p is 0 */
        t->lse[lane] = seen ? (float)exact : INFINITY;
        t->lse_rest[lane] = seen ? (float)(exact - (double)t->lse[lane]) : 0;
        t->delta[lane] = gain * delta[mosaic_rows_at(&u->delta, p.head, p.query, 0)];
    }
    for (int64_t lane = t->rows; lane < t->vectors * VEC_LANES; lane++) {
        t->lse[lane] = INFINITY;
        t->lse_rest[lane] = t->delta[lane] = 0;
    }
}

/* Tile i of the unit, before anything is packed. */
static void place_tile(const mosaic_attention_unit *u, tile *t, int64_t i)
{
    const int64_t rows = u->group * u->nq;
    t->first = tile_start(rows, i);
    t->rows = tile_rows(rows - t->first);
    t->vectors = (int)max_i64((t->rows + VEC_LANES - 1) / VEC_LANES, LEAST_VECTORS);
    t->limits = limits_of(u, t->first, t->rows);
    memset(t->dq, 0, (size_t)(round_up(u->d, ALIGN) * t->vectors * VEC_LANES * 4));
}

static void open_tile(const mosaic_attention_unit *u, tile *t, float gain)
{
    pack_tile(&t->packed, t->vectors * VEC_LANES, u, t->first, t->rows);
    read_numbers(u, t, gain);
}

static void close_tile(const mosaic_attention_unit *u, const tile *t, float dq, bool add)
{
    vec factor[VECTORS];
    for (int i = 0; i < VECTORS; i++) factor[i] = vec_set(dq);
    unpack_lanes(&u->dq, u, t->first, t->rows, t->dq, t->vectors * VEC_LANES, factor, add);
}

/* Of the part's keys the blocks that its rows see, and no keys behind them. */
static mosaic_attention_part seen_of(const mosaic_attention_unit *u,
                                     const mosaic_attention_part *part)
{
    mosaic_attention_part seen = *part;
    limits l = limits_of(u, 0, u->group * u->nq);
    extent e = extent_of(u, part->key_from, part->key_to);
    span s = visible(u, &l, &e, part->key_from, part->key_to);
    seen.key_from += (s.from - part->key_from) / BLOCK * BLOCK;
    seen.key_to = s.to;
    return seen;
}

static void open_chunk(const mosaic_attention_unit *u, const mosaic_attention_part *seen,
                       const workspace *w)
{
    const int64_t from = seen->key_from, to = seen->key_to;
    pack_chunk(&w->packed, w->keys, u, from, to - from, &w->tile.packed);
    memset(w->dk, 0, (size_t)(w->keys * w->columns * 4));
    memset(w->dv, 0, (size_t)(w->keys * w->columns * 4));
    for (int64_t j = from; j < to; j += BLOCK)
        w->extents[(j - from) / BLOCK] = extent_of(u, j, min_i64(j + BLOCK, to));
}

static void close_chunk(const mosaic_attention_unit *u, const mosaic_attention_part *part,
                        const mosaic_attention_part *seen, const workspace *w)
{
    for (int64_t j = part->key_from; j < part->key_to; j++) {
        const int64_t at = (j - seen->key_from) * w->columns;
        const bool has = j >= seen->key_from && j < seen->key_to;
        const float *dk = has ? gradient_of(u, w->dk + at) : nothing;
        const float *dv = has ? gradient_of(u, w->dv + at) : nothing;
        write_floats(&u->dk, 0, j, dk, u->d, w->gains.dk, u->accumulate);
        write_floats(&u->dv, 0, j, dv, u->d, w->gains.dv, u->accumulate);
    }
}

/* Of the next unit's keys most likely those that are seen are the same. */
static fetcher fetcher_of(const mosaic_attention_unit *u, const mosaic_attention_part *seen)
{
    const mosaic_attention_unit *next = u->next;
    const int64_t from = seen->key_from, keys = seen->key_to - seen->key_from;
    fetcher f = {.count = 0};
    if (!next) return f;
    fetch_rows(&f, &next->dv, 1, 0, next->nk, next->d); /* what comes last is fetched first */
    fetch_rows(&f, &next->dk, 1, 0, next->nk, next->d);
    fetch_rows(&f, &next->dq, next->group, 0, next->nq, next->d);
    fetch_rows(&f, &next->dout, next->group, 0, next->nq, next->d);
    fetch_rows(&f, &next->q, next->group, 0, next->nq, next->d);
    fetch_rows(&f, &next->v, 1, from, keys, next->d);
    fetch_rows(&f, &next->k, 1, from, keys, next->d);
    fetch_begin(&f, u, keys, 6);
    return f;
}

/* The tile against all blocks of the chunk. */
static void work_tile(const mosaic_attention_unit *u, const mosaic_attention_part *seen,
                      const workspace *w, mosaic_attention_work *work)
{
    const tile *t = &w->tile;
    const int64_t from = seen->key_from, to = seen->key_to;
    if (w->some) look_by_blocks(u, t->first, t->rows, from, to, BLOCK, w->any, w->some);
    for (int64_t j = from; j < to; j += BLOCK) {
        if (w->some && !w->some[(j - from) / BLOCK]) continue;
        const extent *e = &w->extents[(j - from) / BLOCK];
        span s = visible(u, &t->limits, e, j, min_i64(j + BLOCK, to));
        int64_t pairs = look(u, t->first, t->rows, &s, w->seen, w->registers);
        if (!pairs) continue;
        work_block(u, seen, w, &s);
        work->visible += pairs;
        work->computed += t->rows * (s.to - s.from);
    }
}

/* Tiles from the last to the first: under a causal mask those at the end see all chunks, so that
 * threads that share the unit need not wait for each other there. */
static void work_part(const mosaic_attention_unit *u, const mosaic_attention_part *part,
                      void *scratch, mosaic_attention_work *work)
{
    char *at = scratch;
    const mosaic_attention_part seen = seen_of(u, part);
    workspace w = lay_out(u, seen.key_to - seen.key_from, &at);
    fetcher fetch = fetcher_of(u, &seen);
    w.fetch = &fetch;
    const extent chunk = extent_of(u, seen.key_from, seen.key_to);
    const bool first = part->key_from == 0;
    const int64_t tiles = (u->group * u->nq + TILE - 1) / TILE;
    open_chunk(u, &seen, &w);
    for (int64_t i = 0; i < tiles; i++) {
        place_tile(u, &w.tile, tiles - 1 - i);
        bool some = seen.key_from < seen.key_to && any_seen(u, &w.tile.limits, &chunk);
        if (some) {
            open_tile(u, &w.tile, w.gains.delta);
            work_tile(u, &seen, &w, work);
            mosaic_attention_wait(part, i);
        }
        if (some || first) close_tile(u, &w.tile, w.gains.dq, u->accumulate || !first);
        mosaic_attention_pass(part, i);
    }
    close_chunk(u, part, &seen, &w);
}

#endif
