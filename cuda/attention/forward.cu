/* forward.cu - attention forward on tensor cores: see tensor.h. A block's queries stay; tiles of
 * keys and values pass by, those that its queries see something of.
 *
 *                        K^T    KEYS   next tile
 *                      (d, nk) ------- - - - - -        V  (nk, d)
 *                              | one | :on its :        +---+
 *                              |part |  : way  :        |   |
 *               Q (queries, d) +-----+- - - - -         |   |
 *       warp 0     +---+       |     |              x   +---+    =  out (queries, d)
 *       warp 1     |   |       |  P  |                  |   | KEYS
 *       warp 2     |   |       |     |                  +---+
 *       warp 3     +---+       +-----+                  |   |
 *
 * A warp does its 16 or 32 queries by itself: their scores with a part of a tile, weights P made of
 * these, and P V, are in registers, where the sums of one product lie as the next one's first
 * operand wants them. Warps wait for each other once a tile. Two or three blocks share a
 * multiprocessor: where one waits another one works, which is why two stages are enough. */
#include "tensor_products.h"

/* ---- tiles that are seen -------------------------------------------------------------------- */

enum { TILES_AT_ONCE = 32 * TENSOR_WORDS };

/* Bits of tiles from .. end - 1: a warp takes 32 of them, a lane each. */
MOSAIC_DEVICE void look_at_tiles(tensor_block &b, const mosaic_attention_args &a, int from, int end)
{
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (int tile = from + 32 * warp; tile < end; tile += TENSOR_THREADS) {
        int sees = tile + lane < end ? tile_sees(a, b.p, b.tile, tile + lane) : MOSAIC_TILE_NONE;
        unsigned seen = __ballot_sync(0xffffffffu, sees != MOSAIC_TILE_NONE);
        unsigned all = __ballot_sync(0xffffffffu, sees == MOSAIC_TILE_ALL);
        b.seen[(tile - from) / 32] = seen; /* all lanes the same */
        b.all[(tile - from) / 32] = all;
    }
}

typedef struct {
    int next, end; /* tile of the next word's first bit */
    unsigned seen, all;
} tensor_cursor;

/* The next tile that is seen, or -1. */
MOSAIC_DEVICE int next_tile(tensor_cursor &c, const tensor_block &b, bool *all)
{
    while (!c.seen) {
        if (c.next >= c.end) return -1;
        c.seen = b.seen[c.next % TILES_AT_ONCE / 32];
        c.all = b.all[c.next % TILES_AT_ONCE / 32];
        c.next += 32;
    }
    int bit = __ffs(c.seen) - 1;
    c.seen &= c.seen - 1;
    *all = c.all >> bit & 1;
    return c.next - 32 + bit;
}

/* ---- one tile ------------------------------------------------------------------------------- */

/* The shared memory of a stage. */
typedef struct {
    unsigned char *k, *v;
} tensor_stage;

MOSAIC_DEVICE tensor_stage stage_at(unsigned char *shared, int number)
{
    unsigned char *stages = shared + PLANES * QUERIES * ROW_BYTES;
    tensor_stage s = {stages + 2 * number * TILE_BYTES, stages + (2 * number + 1) * TILE_BYTES};
    return s;
}

/* What a warp has in registers, and its queries in shared memory. */
typedef struct {
    shared_at queries;
    tensor_queries_held held;
    tensor_sums sums;
} tensor_warp;

/* Keys and values of a part. */
typedef struct {
    shared_at k, v;
    int64_t first; /* key */
} tensor_part_of;

MOSAIC_DEVICE void add_weights(tensor_sums &t, const float (&sum)[LANE_ROWS],
                               const tensor_weights &p, const tensor_part_of &part)
{
#pragma unroll
    for (int r = 0; r < LANE_ROWS; r++) t.sum[r] += sum[r];
    add_values(t, p, part.v);
}

/* What is taken off scores: 0 where all were -infinity, which less itself is no number. */
MOSAIC_DEVICE void find_bases(float (&base)[LANE_ROWS], const tensor_sums &t)
{
#pragma unroll
    for (int r = 0; r < LANE_ROWS; r++) base[r] = t.shift[r] == -INFINITY ? 0 : t.shift[r];
}

/* Takes a part of a tile into the sums, all of whose pairs are there and seen, and nothing counts
 * but their products. Mostly weights by the shifts as they are do not become too large: then nobody
 * has to look for the largest score. */
MOSAIC_DEVICE void attend_simply(tensor_warp &w, const tensor_part_of &part, const tensor_block &b)
{
    const tensor_factor c = b.binary;
    float sum[LANE_ROWS], base[LANE_ROWS];
    tensor_scores s;
    tensor_weights p;
    multiply_keys(s, w.held, w.queries, part.k);
    weigh(p, sum, s, w.sums.shift, c);
    if (too_large(sum)) {
        multiply_keys(s, w.held, w.queries, part.k); /* rather than to keep them in registers */
        raise_shifts(w.sums, s, c.leading);
        find_bases(base, w.sums);
        weigh(p, sum, s, base, c);
    }
    add_weights(w.sums, sum, p, part);
}

/* The same of any part of any call. */
MOSAIC_DEVICE void attend(tensor_warp &w, const tensor_part_of &part,
                          const mosaic_attention_args &a, tensor_block &b, bool all)
{
    unsigned bits[LANE_ROWS];
    tensor_factor c = b.binary;
    float sum[LANE_ROWS], base[LANE_ROWS];
    tensor_scores s;
    tensor_weights p;
    int hidden = look(bits, a, b, part.first, all);
    if (hidden) atomicAdd(&b.hidden, (unsigned long long)hidden);
    if (!__any_sync(0xffffffffu, joined(bits) != 0)) return;
    multiply_keys(s, w.held, w.queries, part.k);
    if (changes_scores(a)) {
        change_scores(s, bits, a, b, part.first, b.natural);
        c = factor_of(LOG2_E);
    }
    hide(s, bits);
    raise_shifts(w.sums, s, c.leading);
    find_bases(base, w.sums);
    weigh(p, sum, s, base, c);
    if (a.below) {
        find_kept(bits, a, b, part.first);
        drop(p, bits);
    }
    add_weights(w.sums, sum, p, part);
}

/* Takes a tile into the sums. */
MOSAIC_DEVICE void attend_tile(tensor_warp &w, const tensor_stage &stage,
                               const mosaic_attention_args &a, tensor_block &b, int tile, bool all,
                               bool simple)
{
    tensor_part_of part = {shared_of(stage.k), shared_of(stage.v), (int64_t)tile * KEYS};
    simple = simple && all && part.first + KEYS <= a.nk;
#pragma unroll 1
    for (int n = 0; n < KEYS / PART && part.first < a.nk; n++) {
        if (simple)
            attend_simply(w, part, b);
        else
            attend(w, part, a, b, all);
        part.k += PART * ROW_BYTES;
        part.v += PART * ROW_BYTES;
        part.first += PART;
    }
}

/* Takes the tiles from .. end - 1 that are seen into the sums: one is worked on while the next one
 * is on its way. */
MOSAIC_DEVICE void attend_tiles(tensor_warp &w, unsigned char *shared,
                                const mosaic_attention_args &a, tensor_block &b, int from, int end)
{
    tensor_cursor cursor = {from, end, 0, 0};
    int tile = -1;
    bool all = false, next_all = false, simple = !changes_scores(a) && !a.below;
    for (int number = 0;; number ^= 1) {
        tensor_stage stage = stage_at(shared, number);
        int next = next_tile(cursor, b, &next_all);
        if (next >= 0) {
            load_tile(stage.k, b.k, a.k.column, a.nk, next);
            load_tile(stage.v, b.v, a.v.column, a.nk, next);
        }
        cp_async_commit();
        if (tile >= 0) attend_tile(w, stage_at(shared, number ^ 1), a, b, tile, all, simple);
        cp_async_wait<0>();
        __syncthreads();
        if (next < 0) break;
        tile = next;
        all = next_all;
        if (threadIdx.x == 0) b.tiles++;
    }
    if (threadIdx.x == 0) b.last |= tile == (int)((a.nk - 1) / KEYS);
}

/* ---- results -------------------------------------------------------------------------------- */

/* Row number r of this lane. Where nothing was seen the result is 0, and never NaN. */
MOSAIC_DEVICE void store_row(const mosaic_attention_args &a, const tensor_block &b,
                             const tensor_sums &t, int r)
{
    mosaic_attention_place p;
    int lane = threadIdx.x % 4;
    float sum = t.sum[r] + __shfl_xor_sync(0xffffffffu, t.sum[r], 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    if (row_of(r) >= b.rows) return;
    int64_t i = query_of(b, row_of(r), p);
    bool seen = t.shift[r] != -INFINITY || sum != 0; /* a NaN is no shift */
    float *out = (float *)a.out.data + at(a.out, p, i, 0), factor = (float)a.kept / sum;
#pragma unroll
    for (int n = 0; n < CHANNEL_TILES; n++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            int c = 8 * n + 2 * lane + e;
            float x = seen ? t.out[r / 2][n][r % 2 * 2 + e] * factor : 0;
            if (c < HEAD) out[c * a.out.column] = x;
        }
    if (lane > 0) return;
    int exponent = (__float_as_int(sum) >> 23) - 127; /* sum >= 2^OFFSET */
    double log2_sum = exponent + (double)log2f(sum * power_of_two(-exponent));
    double lse = (t.shift[r] + log2_sum) * 0.69314718055994531;
    ((double *)a.lse.data)[at(a.lse, p, i, 0)] = seen ? lse : -INFINITY;
}

/* The call's last tile may have fewer keys than others. */
MOSAIC_DEVICE void count_work(const mosaic_attention_args &a, const tensor_block &b)
{
    int64_t missing = b.last ? (KEYS - a.nk % KEYS) % KEYS : 0;
    uint64_t pairs = (uint64_t)b.rows * (uint64_t)((int64_t)b.tiles * KEYS - missing);
    atomicAdd(&a.work[0], (unsigned long long)pairs - b.hidden);
    atomicAdd(&a.work[1], (unsigned long long)pairs);
}

/* ---- all of it ------------------------------------------------------------------------------ */

MOSAIC_DEVICE void open_warp(tensor_warp &w, const unsigned char *shared)
{
    w.queries = shared_of(shared) + threadIdx.x / 32 * 16 * ROW_TILES * ROW_BYTES;
#pragma unroll
    for (int r = 0; r < LANE_ROWS; r++) {
        w.sums.shift[r] = -INFINITY;
        w.sums.sum[r] = 0;
    }
    clear(w.sums.out);
}

/* Blocks that share a multiprocessor's registers. */
enum { BLOCKS = PLANES * CHANNELS <= 32 ? 3 : 2 };

extern "C" __global__ void __launch_bounds__(TENSOR_THREADS, BLOCKS)
    attention_forward(const __grid_constant__ mosaic_attention_args a)
{
    MOSAIC_DYNAMIC_SHARED(shared);
    __shared__ tensor_block b; /* rather than in registers */
    static_assert(sizeof b <= TENSOR_STATIC_BYTES, "shared memory");
    tensor_warp w;
    int all_tiles = (int)((a.nk + KEYS - 1) / KEYS);
    open_block(b, a);
    load_queries(shared, a, b);
    cp_async_commit();
    open_warp(w, shared);
    for (int from = 0; from < all_tiles; from += TILES_AT_ONCE) {
        int end = min(from + TILES_AT_ONCE, all_tiles);
        look_at_tiles(b, a, from, end);
        cp_async_wait<0>();
        __syncthreads();
        if (from == 0) hold_queries(w.held, w.queries);
        attend_tiles(w, shared, a, b, from, end);
    }
    cp_async_wait<0>();
#pragma unroll
    for (int r = 0; r < LANE_ROWS; r++) store_row(a, b, w.sums, r);
    if (threadIdx.x == 0) count_work(a, b);
}
