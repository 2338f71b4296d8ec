/* attention_backward.c - attention backward by AMX tiles (attention.c): all five products, f32
 * operands in three parts. Scores are made as forward makes them, to the bit: where a query sees
 * one key, p is 1.
 *
 * dout is multiplied by POWER, and so are its products; p once more. Where that could overflow, or
 * dout is not finite, tiles make the scores alone (attention_scores.c).
 *
 * Tiles of queries are always whole. p and ds are left operands of dk and dv, rows of keys whose
 * pairs are queries i and SIDE + i, and ds once more is the right operand of dq, in pairs of keys.
 */
#define ATTENTION_VECTORS 2
#include "../attention_dropout.h"
#include "../attention_fetch.h"
#include "../attention_mask.h"
#include "operands.h"

enum {
    ALIGN = DEPTH,
    LEAST_VECTORS = VECTORS,
    ROOM_KEYS = 64 /* keys packed or multiplied at a time */
};

/* ---- packing -------------------------------------------------------------------------------- */

typedef struct {
    int64_t keys;
    char *k, *v;      /* (keys/SIDE, channels/DEPTH) */
    char *k_channels; /* (channels/SIDE, keys/DEPTH) */
} packed_keys;

static packed_keys lay_out_keys(const mosaic_attention_unit *u, int64_t keys, char **scratch)
{
    const int64_t bytes = faces_bytes(parts_of(u), keys, channels_of(u));
    packed_keys p = {.keys = keys};
    p.k = take(scratch, bytes, 1);
    p.v = take(scratch, bytes, 1);
    p.k_channels = take(scratch, bytes, 1);
    return p;
}

typedef struct {
    char *q, *dout;           /* (TILE/SIDE, channels/DEPTH), q times the power in scale */
    char *q_rows, *dout_rows; /* the same, (channels/SIDE): TILE is one step */
    float *room;              /* (channels, ROOM_KEYS) before they are packed; parts of p and ds */
} packed_queries;

static packed_queries lay_out_queries(const mosaic_attention_unit *u, char **scratch)
{
    const int64_t channels = channels_of(u);
    packed_queries p;
    p.q = take(scratch, faces_bytes(parts_of(u), TILE, channels), 1);
    p.dout = take(scratch, faces_bytes(PARTS, TILE, channels), 1);
    p.q_rows = take(scratch, faces_bytes(parts_of(u), TILE, channels), 1);
    p.dout_rows = take(scratch, faces_bytes(PARTS, TILE, channels), 1);
    p.room =
        take(scratch, max_i64(channels * ROOM_KEYS * 4, faces_bytes(PARTS, ROOM_KEYS, TILE)), 1);
    return p;
}

static void pack_chunk(const packed_keys *to, int64_t height, const mosaic_attention_unit *u,
                       int64_t from, int64_t keys, const packed_queries *queries)
{
    pack_left_rows(to->k, u, &u->k, from, keys);
    pack_left_rows(to->v, u, &u->v, from, keys);
    char *at = to->k_channels;
    for (int64_t j = 0; j < keys;
         j += ROOM_KEYS, at += ROOM_KEYS / DEPTH * parts_of(u) * TILE_BYTES)
        pack_left_columns(at, height, u, &u->k, from + j, min_i64(keys - j, ROOM_KEYS),
                          queries->room);
}

/* Right: to (channels/SIDE) <- factor * queries first.., pairs of rows. */
static void pack_right_rows(int parts, char *to, const mosaic_attention_unit *u,
                            const mosaic_rows *m, int64_t first, int64_t rows, float factor,
                            float *room)
{
    const int64_t channels = channels_of(u);
    pack_rows(room, channels, u, m, first, rows);
    scale_vectors(room, rows * channels / VEC_LANES, vec_set(factor));
    memset(room + rows * channels, 0, (size_t)((TILE - rows) * channels * 4));
    for (int64_t c = 0; c < channels; c += SIDE, to += parts * TILE_BYTES)
        split_face(parts, to, room + c, channels, SIDE * channels);
}

static void pack_tile(const packed_queries *to, int64_t width, const mosaic_attention_unit *u,
                      int64_t first, int64_t rows)
{
    const int parts = parts_of(u);
    const float power = scaling_of(u->scale).power;
    pack_right_lanes(parts, to->q, width, u, &u->q, first, rows, power, to->room);
    pack_right_lanes(PARTS, to->dout, width, u, &u->dout, first, rows, POWER, to->room);
    pack_right_rows(parts, to->q_rows, u, &u->q, first, rows, power, to->room);
    pack_right_rows(PARTS, to->dout_rows, u, &u->dout, first, rows, POWER, to->room);
}

/* ---- products ------------------------------------------------------------------------------- */

/* weights <- scores + mask, slant <- dout.v, both (keys, TILE) */
VEC_INLINE void make_products(int vectors, const mosaic_attention_unit *u, float *weights,
                              float *slant, const packed_keys *k, int64_t key, int64_t keys,
                              const packed_queries *q, const float *mask, fetcher *fetch)
{
    const int parts = parts_of(u);
    const int64_t steps = channels_of(u) / DEPTH, next = steps * parts * TILE_BYTES;
    const int64_t lead = key % DEPTH;
    const int64_t at = (key - lead) / SIDE * next;
    faces left_k = {k->k + at, next}, left_v = {k->v + at, next};
    faces right_q = {q->q, next}, right_dout = {q->dout, steps * PARTS * TILE_BYTES};
    for (int64_t j = -lead; j < keys; j += DEPTH) {
        multiply_parts(vectors, parts, parts, weights + j * TILE, TILE, false, left_k, right_q,
                       steps);
        for (int i = 0; i < DEPTH / FETCH_KEYS; i++) fetch_some(fetch);
        multiply_parts(vectors, parts, PARTS, slant + j * TILE, TILE, false, left_v, right_dout,
                       steps);
        left_k.at += 2 * next, left_v.at += 2 * next;
        for (int i = 0; i < DEPTH / FETCH_KEYS; i++) fetch_some(fetch);
    }
    for (int64_t i = 0; mask && i < keys * TILE; i += VEC_LANES)
        vec_store(weights + i, vec_load(weights + i) + vec_load(mask + i));
}

/* dq (channels, width) += K^T ds */
VEC_INLINE void add_dq(int vectors, const mosaic_attention_unit *u, float *dq, const packed_keys *p,
                       const float *slant, int64_t key, int64_t keys, const packed_queries *q)
{
    const int parts = parts_of(u);
    const int64_t lead = key % DEPTH, steps = (lead + keys + DEPTH - 1) / DEPTH;
    const int64_t next = p->keys / DEPTH * parts * TILE_BYTES;
    char *to = (char *)q->room;
    faces left = {p->k_channels + (key - lead) / DEPTH * parts * TILE_BYTES, next};
    faces right = {to, steps * PARTS * TILE_BYTES};
    for (int i = 0; i < vectors; i++)
        for (int64_t j = 0; j < steps; j++, to += PARTS * TILE_BYTES)
            split_face(PARTS, to, slant + (j * DEPTH - lead) * TILE + i * SIDE, TILE, SIDE * TILE);
    for (int64_t c = 0; c < u->d; c += DEPTH, left.at += 2 * next, dq += DEPTH * TILE)
        multiply_parts(vectors, parts, PARTS, dq, TILE, true, left, right, steps);
}

/* to (keys, columns) += a^T rows; a (keys, TILE), times POWER if they are weights, `steps` DEPTHs
 */
VEC_INLINE void add_to_keys(bool weights, int parts, float *to, int64_t columns, const float *a,
                            const char *rows, int64_t steps, char *room, fetcher *fetch)
{
    for (int64_t i = 0; i < 2 * steps; i++)
        if (weights)
            split_weights(room + i * PARTS * TILE_BYTES, a + i * SIDE * TILE, TILE, SIDE);
        else
            split_face(PARTS, room + i * PARTS * TILE_BYTES, a + i * SIDE * TILE, TILE, SIDE);
    for (int64_t j = 0; j < steps; j++, to += DEPTH * columns) {
        faces left = {room + 2 * j * PARTS * TILE_BYTES, PARTS * TILE_BYTES},
              right = {rows, parts * TILE_BYTES};
        for (int64_t c = 0; c < columns; c += DEPTH, right.at += 2 * right.next)
            multiply_parts(2, PARTS, parts, to + c, columns, true, left, right, 1);
        for (int i = 0; i < DEPTH / FETCH_KEYS; i++) fetch_some(fetch);
    }
}

static void add_dkv(const mosaic_attention_unit *u, float *dk, float *dv, int64_t columns,
                    const packed_queries *q, const float *weights, const float *slant, int64_t key,
                    int64_t keys, int64_t rows, fetcher *fetch)
{
    const int64_t lead = key % DEPTH, steps = (lead + keys + DEPTH - 1) / DEPTH;
    char *room = (char *)q->room;
    (void)rows; /* tiles are whole */
    dk += (key - lead) * columns, dv += (key - lead) * columns;
    add_to_keys(true, PARTS, dv, columns, weights - lead * TILE, q->dout_rows, steps, room, fetch);
    add_to_keys(false, parts_of(u), dk, columns, slant - lead * TILE, q->q_rows, steps, room,
                fetch);
}

static int64_t columns_of(const mosaic_attention_unit *u) { return channels_of(u); }

static const float *gradient_of(const mosaic_attention_unit *u, const float *row)
{
    (void)u;
    return row;
}

/* q is multiplied by the power of two in scale for dk, too. */
static gains gains_of(const mosaic_attention_unit *u)
{
    const double down = 1 / (double)POWER;
    return (gains){.delta = POWER,
                   .dbias = (float)down,
                   .dq = (float)(u->scale * down),
                   .dk = (float)(scaling_of(u->scale).unit * down),
                   .dv = (float)(down * down)};
}

#include "../attention_backward.h"

/* ---- the kernel ----------------------------------------------------------------------------- */

/* Can tiles make all products? Sums of POWER ds and of POWER^2 p dout stay far below what f32
 * holds, so that slopes of a mask's program may be as large as 2^27. */
static bool bounded(const mosaic_attention_unit *u, const reaches *r)
{
    const double dout = (double)r->dout, delta = (double)r->delta;
    const double rows = (double)(u->group * u->nq), keys = (double)u->nk, power = (double)POWER;
    const double rise = u->dropout.below ? (double)u->dropout.scale : 1;
    const double ds = power * ((double)r->v * dout * (double)u->d * rise + delta), most = 0x1p100;
    return ds < most && ds * (double)r->k * keys < most && ds * (double)r->q * rows < most &&
           power * power * rise * dout * rows < most;
}

static int64_t most_scratch_bytes(const mosaic_attention_unit *u)
{
    return max_i64(max_i64(scratch_bytes(u), mosaic_cpu_attention_scores_amx.scratch(u)),
                   mosaic_cpu_attention_backward_avx512.scratch(u));
}

static void backward(const mosaic_attention_unit *u, const mosaic_attention_part *part,
                     void *scratch, mosaic_attention_work *work)
{
    reaches r;
    if (!takes(u, &r)) {
        mosaic_cpu_attention_backward_avx512.run(u, part, scratch, work);
        return;
    }
    if (!bounded(u, &r)) {
        mosaic_cpu_attention_scores_amx.run(u, part, scratch, work);
        return;
    }
    configure_tiles();
    work_part(u, part, scratch, work);
    _tile_release();
}

const mosaic_attention_backward_kernels mosaic_cpu_attention_backward_amx = {
    chunk_keys, most_scratch_bytes, backward, survey};
