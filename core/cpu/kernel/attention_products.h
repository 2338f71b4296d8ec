/* attention_products.h - the products of attention backward by multiply-adds: dq with lanes of
 * queries, as forward; dk and dv with lanes of head channels, so that nothing has to be transposed
 * in registers.
 *
 * The file that includes this one says how scores are made, and what they read:
 *
 *   score_keys_bytes, score_queries_bytes   room for a chunk's keys, a tile's queries
 *   pack_score_keys, pack_score_queries
 *   make_scores                             of STEP keys */
#ifndef MOSAIC_CPU_ATTENTION_PRODUCTS_H
#define MOSAIC_CPU_ATTENTION_PRODUCTS_H

static inline int64_t columns_of(const mosaic_attention_unit *u)
{
    return round_up(round_up(u->d, VEC_LANES), ALIGN);
}

static gains gains_of(const mosaic_attention_unit *u)
{
    const float scale = (float)u->scale;
    return (gains){1, 1, scale, scale, 1};
}

/* ---- packing -------------------------------------------------------------------------------- */

typedef struct {
    int64_t keys;
    void *k;           /* for scores */
    float *v;          /* (keys/STEP, d, STEP) */
    float *k_channels; /* (d/STEP, keys, STEP) */
} packed_keys;

static packed_keys lay_out_keys(const mosaic_attention_unit *u, int64_t keys, char **scratch)
{
    packed_keys p = {.keys = keys};
    p.k = take(scratch, score_keys_bytes(u, keys), 1);
    p.v = take(scratch, keys * u->d, 4);
    p.k_channels = take(scratch, keys * round_up(u->d, STEP), 4);
    return p;
}

typedef struct {
    void *q;                   /* for scores, times the power of two in scale */
    float *dout;               /* (d, width) */
    float *q_rows, *dout_rows; /* (TILE, columns) */
} packed_queries;

static packed_queries lay_out_queries(const mosaic_attention_unit *u, char **scratch)
{
    int64_t columns = columns_of(u);
    packed_queries p;
    p.q = take(scratch, score_queries_bytes(u), 1);
    p.dout = take(scratch, u->d * TILE, 4);
    p.q_rows = take(scratch, TILE * columns, 4);
    p.dout_rows = take(scratch, TILE * columns, 4);
    return p;
}

static void pack_chunk(const packed_keys *to, int64_t height, const mosaic_attention_unit *u,
                       int64_t from, int64_t keys, const packed_queries *room)
{
    (void)room;
    pack_score_keys(to->k, u, from, keys);
    pack_keys(to->v, u, &u->v, from, keys);
    pack_channels(to->k_channels, height, u, &u->k, from, keys);
}

static void pack_tile(const packed_queries *to, int64_t width, const mosaic_attention_unit *u,
                      int64_t first, int64_t rows)
{
    int64_t columns = columns_of(u);
    pack_rows(to->q_rows, columns, u, &u->q, first, rows);
    pack_rows(to->dout_rows, columns, u, &u->dout, first, rows);
    pack_lanes(to->dout, width, u, &u->dout, first, rows, 1);
    pack_score_queries(to->q, width, u, first, rows);
}

/* ---- products ------------------------------------------------------------------------------- */

/* weights <- scores + mask, slant <- dout.v, both (keys, TILE) */
VEC_INLINE void make_products(int vectors, const mosaic_attention_unit *u, float *weights,
                              float *slant, const packed_keys *k, int64_t key, int64_t keys,
                              const packed_queries *q, const float *mask, fetcher *fetch)
{
    const int64_t width = vectors * VEC_LANES, d = u->d;
    for (int64_t j = 0; j < keys; j += STEP) {
        sums s;
        fetch_some(fetch);
        make_scores(vectors, u, weights, k->k, key, j, q->q, mask);
        sums_clear(vectors, s);
        multiply(vectors, s, k->v + (key + j) * d, 1, STEP, q->dout, width, d);
        sums_store(vectors, s, slant + j * TILE, TILE);
    }
}

/* dq (d, width) += K^T ds */
VEC_INLINE void add_dq(int vectors, const mosaic_attention_unit *u, float *dq, const packed_keys *p,
                       const float *slant, int64_t key, int64_t keys, const packed_queries *room)
{
    const int64_t width = vectors * VEC_LANES;
    const float *k = p->k_channels + key * STEP;
    (void)room;
    for (int64_t c = 0; c < u->d; c += STEP, k += p->keys * STEP, dq += STEP * width) {
        sums s;
        sums_load(vectors, s, dq, width);
        multiply(vectors, s, k, 1, STEP, slant, TILE, keys);
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

static void add_dkv(const mosaic_attention_unit *u, float *dk, float *dv, int64_t columns,
                    const packed_queries *q, const float *weights, const float *slant, int64_t key,
                    int64_t keys, int64_t rows, fetcher *fetch)
{
    (void)u;
    add_to_keys(dv + key * columns, weights, q->dout_rows, columns, keys, rows, fetch);
    add_to_keys(dk + key * columns, slant, q->q_rows, columns, keys, rows, fetch);
}

#endif
