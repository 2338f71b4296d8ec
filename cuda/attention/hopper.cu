/* hopper.cu - attention forward in bf16 and f16 by warpgroups, for compute capability 9.0a.
 *
 * A block: 64 queries for each of CONSUMERS warpgroups, and one more warpgroup of which a single
 * thread fetches tiles of 128 keys through the copy engine, STAGES tiles ahead.
 *
 * A consumer: S = Q K^T (64 x 128) from shared memory into registers, softmax there, and O += P V
 * (64 x HEAD) with P from registers: while the tensor cores multiply the P of one tile with V,
 * exponentials of the next one are computed.
 *
 * Q K^T runs over HEAD rounded up to 16, P V over HEAD rounded up to 8 or 16.
 *
 * J. Shah, G. Bikshandi, Y. Zhang, V. Thakkar, P. Ramani, T. Dao, "FlashAttention-3: fast and
 * accurate attention with asynchrony and low-precision" (2024): roles of warpgroups, and the
 * overlap. */
#include "exp2.h"
#include "hopper_rows.h"

enum {
    KEYS = MOSAIC_HOPPER_KEYS,
    QUERIES = 64 * CONSUMERS,
    STAGES = MOSAIC_HOPPER_STAGES(HEAD),
    EVERY = HEAD <= 32   ? 4
            : HEAD <= 64 ? 8
                         : 64, /* of so many scores two are not left to ex2 */
    Q_PART = QUERIES * ROW,
    K_PART = KEYS * ROW,
    K_BYTES = PARTS * K_PART,
};

typedef struct {
    barrier q, k[STAGES], v[STAGES];        /* has come */
    barrier k_free[STAGES], v_free[STAGES]; /* may be overwritten */
} barriers;

typedef struct {
    unsigned char *q, *k, *v; /* k and v: STAGES tiles */
    barriers *bar;
} room;

/* The next tile of keys from j on that these queries see something of; `tiles`: there is none. */
MOSAIC_DEVICE int64_t next_tile(const mosaic_attention_args &a, const mosaic_attention_place &p,
                                int64_t i, int64_t j, int64_t tiles, int &seen)
{
    seen = MOSAIC_TILE_NONE;
    for (; j < tiles; j++) {
        seen = tile_sees(a, p, i, j);
        if (seen != MOSAIC_TILE_NONE) break;
    }
    if ((j + 1) * KEYS > a.nk && seen == MOSAIC_TILE_ALL) seen = MOSAIC_TILE_SOME;
    return j;
}

MOSAIC_DEVICE void fetch(const mosaic_hopper_call &c, const mosaic_attention_place &p, room r,
                         int64_t i)
{
    const mosaic_attention_args &a = c.args;
    int64_t tiles = (a.nk + KEYS - 1) / KEYS;
    int seen;
    tile_prefetch_map(&c.q);
    tile_prefetch_map(&c.k);
    tile_prefetch_map(&c.v);
    barrier_expect(&r.bar->q, PARTS * Q_PART);
    for (int part = 0; part < PARTS; part++)
        for (int rows = 0; rows < QUERIES; rows += 64)
            tile_load(r.q + part * Q_PART + rows * ROW, &c.q, &r.bar->q, part * COLUMNS,
                      (int)(i * QUERIES) + rows, (int)p.head, (int)p.b1, (int)p.b0);
    turn t = {0, 0};
    for (int64_t j = next_tile(a, p, i, 0, tiles, seen); j < tiles;
         j = next_tile(a, p, i, j + 1, tiles, seen), next<STAGES>(t)) {
        const int row = (int)(j * KEYS);
        barrier_wait(&r.bar->k_free[t.stage], t.parity ^ 1);
        barrier_expect(&r.bar->k[t.stage], K_BYTES);
        for (int part = 0; part < PARTS; part++)
            tile_load(r.k + t.stage * K_BYTES + part * K_PART, &c.k, &r.bar->k[t.stage],
                      part * COLUMNS, row, (int)p.kv_head, (int)p.b1, (int)p.b0);
        barrier_wait(&r.bar->v_free[t.stage], t.parity ^ 1);
        barrier_expect(&r.bar->v[t.stage], K_BYTES);
        for (int part = 0; part < PARTS; part++)
            tile_load(r.v + t.stage * K_BYTES + part * K_PART, &c.v, &r.bar->v[t.stage],
                      part * COLUMNS, row, (int)p.kv_head, (int)p.b1, (int)p.b0);
    }
}

/* ---- a consumer ----------------------------------------------------------------------------- */

/* What a thread knows of its two rows: queries `row` and `row + 8`. */
typedef struct {
    int64_t row;
    int column; /* its first one in each 8 */
    float top[2], sum[2];
} rows;

MOSAIC_DEVICE rows open_rows(int64_t i, int consumer)
{
    const int thread = threadIdx.x % 128;
    return {i * QUERIES + consumer * 64 + thread / 32 * 16 + thread / 4 % 8,
            thread % 4 * 2,
            {-INFINITY, -INFINITY},
            {0, 0}};
}

/* S = Q K^T with the stage's keys, once they have come; begun. */
MOSAIC_DEVICE void begin_keys(float (&s)[KEYS / 2], uint32_t q, room r, turn t)
{
    barrier_wait(&r.bar->k[t.stage], t.parity);
    begin_scores<QUERIES, KEYS>(s, q, shared_address(r.k) + t.stage * K_BYTES);
}

/* O += P V with the stage's values, once they have come; begun. */
MOSAIC_DEVICE void begin_values(float (&out)[WIDTH / 2], uint32_t (&p)[KEYS / 4], room r, turn t)
{
    barrier_wait(&r.bar->v[t.stage], t.parity);
    begin_sums<KEYS>(out, p, shared_address(r.v) + t.stage * K_BYTES);
}

/* s becomes p = exp(s - top) with the new top of its rows; `shrink` is what older sums and outputs
 * are multiplied by. */
MOSAIC_DEVICE void soften(float (&s)[KEYS / 2], rows &r, float (&shrink)[2], float scale_log2)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float top = r.top[h];
#pragma unroll
        for (int e = 2 * h; e < KEYS / 2; e += 4) top = max_nan(top, max_nan(s[e], s[e + 1]));
        top = max_nan(top, across(top, 1));
        top = max_nan(top, across(top, 2));
        const float base = top == -INFINITY ? 0 : top * scale_log2;
        shrink[h] = ex2(r.top[h] * scale_log2 - base);
        r.top[h] = top;
        float sum = 0;
#pragma unroll
        for (int e = 2 * h; e < KEYS / 2; e += 4)
#pragma unroll
            for (int x = e; x < e + 2; x++) {
                const float y = fmaf(s[x], scale_log2, -base);
                s[x] = e / 4 % EVERY == 1 ? exp2_polynomial(max_nan(y, -127)) : ex2(y);
                sum += s[x];
            }
        r.sum[h] = r.sum[h] * shrink[h] + sum;
    }
}

MOSAIC_DEVICE void multiply(float (&out)[WIDTH / 2], const float (&shrink)[2])
{
#pragma unroll
    for (int e = 0; e < WIDTH / 2; e++) out[e] *= shrink[e / 2 % 2];
}

MOSAIC_DEVICE void store(const mosaic_attention_args &a, const mosaic_attention_place &p,
                         const rows &r, const float (&out)[WIDTH / 2])
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float sum = r.sum[h];
        sum += across(sum, 1);
        sum += across(sum, 2);
        const int64_t i = r.row + 8 * h;
        if (i >= a.nq) continue;
        const float share = sum == 0 ? 0 : 1 / sum; /* nothing seen: out is 0, and NaN stays NaN */
#pragma unroll
        for (int e = 2 * h; e < WIDTH / 2; e += 4)
#pragma unroll
            for (int x = 0; x < 2; x++) {
                const int column = e / 4 * 8 + r.column + x;
                if (column < HEAD)
                    ((float *)a.out.data)[at(a.out, p, i, column)] = out[e + x] * share;
            }
        if (r.column == 0)
            ((double *)a.lse.data)[at(a.lse, p, i, 0)] =
                sum == 0 ? -INFINITY : (double)r.top[h] * a.scale + log((double)sum);
    }
}

MOSAIC_DEVICE void consume(const mosaic_attention_args &a, const mosaic_attention_place &p, room r,
                           int64_t i, int consumer)
{
    const float scale_log2 = (float)(a.scale * 1.4426950408889634);
    const uint32_t q = shared_address(r.q) + consumer * 64 * ROW;
    const int64_t tiles = (a.nk + KEYS - 1) / KEYS;
    rows own = open_rows(i, consumer);
    float s[KEYS / 2], out[WIDTH / 2] = {0}, shrink[2];
    uint32_t packed[KEYS / 4];
    uint64_t visible = 0, computed = 0;
    int seen;
    turn t = {0, 0}, before = {0, 0};
    bool begun = false;
    barrier_wait(&r.bar->q, 0);
    for (int64_t j = next_tile(a, p, i, 0, tiles, seen); j < tiles;
         j = next_tile(a, p, i, j + 1, tiles, seen)) {
        begin_keys(s, q, r, t);
        if (begun) {
            begin_values(out, packed, r, before);
            wgmma_wait<1>(s);
        } else {
            wgmma_wait<0>(s);
        }
        release(&r.bar->k_free[t.stage]);
        computed += KEYS / 2;
        visible += hide_some<QUERIES_STAY>(s, a, p, (int)own.row, own.column, (int)j * KEYS,
                                           seen == MOSAIC_TILE_ALL);
        soften(s, own, shrink, scale_log2);
        wgmma_wait<0>(out);
        if (begun) release(&r.bar->v_free[before.stage]);
        multiply(out, shrink);
        pack_all(packed, s);
        before = t;
        begun = true;
        next<STAGES>(t);
    }
    if (begun) {
        begin_values(out, packed, r, before);
        wgmma_wait<0>(out);
    }
    store(a, p, own, out);
    count_work(a, visible, computed);
}

extern "C" __global__ void __launch_bounds__(128 * (CONSUMERS + 1), 1)
    hopper_forward(const __grid_constant__ mosaic_hopper_call c)
{
    MOSAIC_DYNAMIC_SHARED(shared);
    const int64_t q_tiles = (c.args.nq + QUERIES - 1) / QUERIES;
    const int64_t i =
        q_tiles - 1 - blockIdx.x % q_tiles; /* under a causal mask the longest first */
    const mosaic_attention_place p = place_of(c.args, blockIdx.x / q_tiles);
    room r = {shared, shared + PARTS * Q_PART, NULL, NULL};
    r.v = r.k + STAGES * K_BYTES;
    r.bar = (barriers *)(r.v + STAGES * K_BYTES);
    if (threadIdx.x == 0) {
        barrier_init(&r.bar->q, 1);
        for (int s = 0; s < STAGES; s++) {
            barrier_init(&r.bar->k[s], 1);
            barrier_init(&r.bar->v[s], 1);
            barrier_init(&r.bar->k_free[s], RELEASES);
            barrier_init(&r.bar->v_free[s], RELEASES);
        }
        barrier_publish();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        give_registers<MOSAIC_HOPPER_FETCHER_REGISTERS>();
        if (threadIdx.x == 0) fetch(c, p, r, i);
    } else {
        take_registers<MOSAIC_HOPPER_CONSUMER_REGISTERS(HEAD)>();
        consume(c.args, p, r, i, threadIdx.x / 128 - 1);
    }
}
