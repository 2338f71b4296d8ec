/* attention_products.h - the products of attention backward by multiply-adds: dq with lanes of
 * queries, as forward; dk and dv with lanes of head channels, so that nothing has to be transposed
 * in registers. Where channels would leave half of a vector empty (d = 24), lanes are channels of
 * two queries, whose sums are added up at the end: two vectors for 24 of 32 lanes become three for
 * 48 of 48, of every other query. By multiply-adds, d = 24: 4 % faster at 150 x 75, 5-10 % at N =
 * 4096.
 *
 * Tried, no difference at 150 x 75: blocks of 32 and 96 keys; asking for rows 12 or 16 ahead of
 * those that are packed, and for the gradients of keys before products are added to them.
 *
 * The file that includes this one says how scores are made, and what they read:
 *
 *   score_keys_bytes, score_queries_bytes   room for a chunk's keys, a tile's queries
 *   pack_score_keys, pack_score_queries
 *   make_scores                             of STEP keys */
#ifndef MOSAIC_CPU_ATTENTION_PRODUCTS_H
#define MOSAIC_CPU_ATTENTION_PRODUCTS_H

/* Queries whose channels lie side by side. */
static inline int64_t paired(const mosaic_attention_unit *u)
{
    return round_up(2 * u->d, VEC_LANES) < 2 * round_up(u->d, VEC_LANES) ? 2 : 1;
}

static inline int64_t columns_of(const mosaic_attention_unit *u)
{
    return round_up(round_up(paired(u) * u->d, VEC_LANES), ALIGN);
}

/* (d), of sums (columns) */
static const float *gradient_of(const mosaic_attention_unit *u, float *row)
{
    const int64_t columns = columns_of(u);
    for (int64_t c = 0; paired(u) == 2 && c < columns; c += 2 * VEC_LANES) {
        vec high = vec_set(0);
        if (c + VEC_LANES < columns) high = vec_load(row + c + VEC_LANES);
        vec_store(row + c / 2, vec_pair_sums(vec_load(row + c), high));
    }
    return row;
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
    float *q_rows, *dout_rows; /* (TILE / paired, columns) */
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

/* to (rows / 2, columns) <- rows first.. of the group, channels of two of them in turns; what is
 * beyond them is 0. */
static void pack_pairs(float *to, int64_t columns, const mosaic_attention_unit *u,
                       const mosaic_rows *from, int64_t first, int64_t rows)
{
    float buffer[2][BUFFER];
    place p = place_of(u, first);
    for (int64_t r = 0; r < rows; r += 2, to += columns) {
        const float *x[2] = {nothing, nothing};
        for (int i = 0; i < 2 && r + i < rows; i++, p = next_place(u, p))
            x[i] = floats_at(from, p.head, p.query, 0, u->d, buffer[i]);
        for (int64_t c = 0; c < columns; c += 2 * VEC_LANES) {
            vec low, high;
            vec_interleave(read_up_to(x[0] + c / 2, u->d - c / 2),
                           read_up_to(x[1] + c / 2, u->d - c / 2), &low, &high);
            vec_store(to + c, low);
            if (c + VEC_LANES < columns) vec_store(to + c + VEC_LANES, high);
        }
    }
}

static void pack_tile(const packed_queries *to, int64_t width, const mosaic_attention_unit *u,
                      int64_t first, int64_t rows)
{
    int64_t columns = columns_of(u);
    if (paired(u) == 2) {
        pack_pairs(to->q_rows, columns, u, &u->q, first, rows);
        pack_pairs(to->dout_rows, columns, u, &u->dout, first, rows);
    } else {
        pack_rows(to->q_rows, columns, u, &u->q, first, rows);
        pack_rows(to->dout_rows, columns, u, &u->dout, first, rows);
    }
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
        fetch_some(fetch);
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

/* sum[r][w] += a(r, t) b(t, w) over t < depth, in pairs of t: a[r TILE + t], t and t + 1 in turns,
 * b (depth / 2, b_step) */
VEC_INLINE void multiply_pairs(int vectors, sums sum, const float *a, const float *b,
                               int64_t b_step, int64_t depth)
{
    for (int64_t t = 0; t < depth; t += 2, a += 2, b += b_step) {
        vec x[VECTORS];
        for (int w = 0; w < vectors; w++) x[w] = vec_load(b + w * VEC_LANES);
        for (int r = 0; r < STEP; r++) {
            vec y = vec_set_pair(a + r * TILE);
            for (int w = 0; w < vectors; w++) sum[r][w] = vec_fma(y, x[w], sum[r][w]);
        }
    }
}

typedef struct {
    int pairs;      /* paired(u) */
    float *to;      /* (keys, columns) */
    const float *a; /* (keys, TILE) */
    const float *rows;
    int64_t columns, keys, depth;
    fetcher *fetch;
} key_sums;

/* to += a^T rows for `vectors` vectors of columns from c on */
VEC_INLINE void add_columns(int vectors, bool pairs, const key_sums *k, int64_t c)
{
    const int64_t columns = k->columns;
    const float *a = k->a;
    float *to = k->to + c;
    for (int64_t j = 0; j < k->keys; j += STEP, to += STEP * columns, a += STEP * TILE) {
        sums s;
        fetch_some(k->fetch);
        sums_clear(vectors, s); /* what is there may have to come from L2 meanwhile */
        if (pairs)
            multiply_pairs(vectors, s, a, k->rows + c, columns, k->depth);
        else
            multiply(vectors, s, a, TILE, 1, k->rows + c, columns, k->depth);
        sums_add(vectors, s, to, columns);
        sums_store(vectors, s, to, columns);
    }
}

VEC_INLINE void add_all_columns(bool pairs, const key_sums *k)
{
    const int64_t columns = k->columns;
    int64_t c = 0;
    for (; columns - c >= 3 * VEC_LANES && columns - c != 4 * VEC_LANES; c += 3 * VEC_LANES)
        add_columns(3, pairs, k, c);
    for (; columns - c >= 2 * VEC_LANES; c += 2 * VEC_LANES) add_columns(2, pairs, k, c);
    if (c < columns) add_columns(1, pairs, k, c);
}

static void add_to_keys(const key_sums *k)
{
    if (k->pairs == 2)
        add_all_columns(true, k);
    else
        add_all_columns(false, k);
}

static void add_dkv(const mosaic_attention_unit *u, float *dk, float *dv, int64_t columns,
                    const packed_queries *q, const float *weights, const float *slant, int64_t key,
                    int64_t keys, int64_t rows, fetcher *fetch)
{
    const int pairs = (int)paired(u);
    dk += key * columns, dv += key * columns;
    add_to_keys(&(key_sums){pairs, dv, weights, q->dout_rows, columns, keys, rows, fetch});
    add_to_keys(&(key_sums){pairs, dk, slant, q->q_rows, columns, keys, rows, fetch});
}

#endif
