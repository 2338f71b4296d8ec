/* backward.cu - attention's gradients on tensor cores: see backward.h.
 *
 * p = exp(s - lse), ds = p (kept dout.v - delta) slope; dv += kept p dout, dk += ds q, dq += ds k.
 *
 *   backward_keys: a block per STAY keys        backward_queries: a block per STAY queries
 *
 *                   queries, PASS a tile                         keys, PASS a tile
 *                 CHUNK                                         CHUNK
 *                +-----+-----+- - - -                          +-----+-----+- - - -
 *    k, v  warp 0| p^T |     :  next           q, dout  warp 0 |  p  |     :  next
 *          warp 1| ds^T|     :  tile,                   warp 1 |  ds |     :  tile
 *          warp 2|     |     :  all heads               warp 2 |     |     :
 *          warp 3|     |     :  of a group              warp 3 |     |     :
 *                +-----+-----+- - - -                          +-----+-----+- - - -
 *           dv += p^T dout, dk += ds^T q                        dq += ds k
 *
 * Rows that stay are the first operand of scores, so p and ds, or p^T and ds^T, go from registers
 * into the next product, and every sum is one block's. To add to dq beside dk and dv would save two
 * products of seven, but wants atomics, whose order is not fixed, or room for all parts of dq.
 * CHUNK is small because scores and dout.v are there at the same time, beside the sums for dk and
 * dv: 128 of 255 registers at d = 128. */
#include "backward_mask.h"
#include "backward_products.h"

/* Sums for dk or dq, and for dv unless that is a block of its own. */
enum { BOTH = !SPLITS };
typedef struct {
    backward_sums slants, weights;
} backward_results;

/* What a block's numbers are multiplied by. */
typedef struct {
    tensor_factor score;   /* products of q and k, for natural scores; */
    tensor_factor c;       /* and for exponents of 2 */
    tensor_factor slant;   /* products of dout and v */
    float slants, weights; /* sums of slants and weights: dk or dq, and dv */
} backward_factors;

MOSAIC_DEVICE backward_factors factors_of(const mosaic_attention_args &a,
                                          const mosaic_attention_place &p)
{
    const mosaic_attention_scales s = scales_of(a, p);
    backward_factors f;
    f.score = factor_of(a.scale);
    f.c = factor_of(adds(a) ? LOG2_E : a.scale * LOG2_E);
    f.slant = factor_of(a.kept * power_of_two(s.dout - s.slant - WEIGHT_OFFSET));
    f.slants = (float)a.scale * power_of_two(s.slant);
    f.weights = (float)a.kept * power_of_two(s.dout - WEIGHT_OFFSET);
    return f;
}

/* Terms of the query of pair n: of a column in shared memory, or of a row. */
typedef struct {
    float shift[SIDE_ROWS], rest[SIDE_ROWS], delta[SIDE_ROWS];
} backward_own;

MOSAIC_DEVICE void read_own(backward_own &own, const mosaic_attention_args &a,
                            const backward_block &b)
{
#pragma unroll
    for (int r = 0; r < SIDE_ROWS; r++) {
        const backward_terms t = *terms_at(a, b.p, min(b.first + stay_of(r), a.nq - 1));
        own.shift[r] = t.shift;
        own.rest[r] = t.rest;
        own.delta[r] = t.delta;
    }
}

/* s <- 2^offset p */
template <side S>
MOSAIC_DEVICE void weigh(backward_scores &s, const backward_own &own, const backward_terms *terms,
                         const backward_factors &f, bool masked, unsigned seen)
{
#pragma unroll
    for (int n = 0; n < LANE_PAIRS; n++) {
        const backward_terms *t = &terms[pass_of(n % SIDE_COLUMNS)];
        float x = pair_at(s, n);
        float y = fmaf(x, f.c.leading, -(S == KEYS_STAY ? t->shift : own.shift[n / SIDE_COLUMNS]));
        if (SPLIT) y += fmaf(x, f.c.rest, -(S == KEYS_STAY ? t->rest : own.rest[n / SIDE_COLUMNS]));
        pair_at(s, n) = y;
    }
    if (masked) hide(s, seen);
#pragma unroll
    for (int n = 0; n < LANE_PAIRS; n++) pair_at(s, n) = ex2(pair_at(s, n));
}

/* Pairs that are dropped have no products. */
MOSAIC_DEVICE void forget(backward_scores &dp, unsigned kept)
{
#pragma unroll
    for (int n = 0; n < LANE_PAIRS; n++) pair_at(dp, n) = kept >> n & 1 ? pair_at(dp, n) : 0;
}

/* p <- ds, of weights p and products dp */
template <side S>
MOSAIC_DEVICE void slant(backward_scores &p, backward_scores &dp, const backward_own &own,
                         const backward_terms *terms, const backward_factors &f)
{
#pragma unroll
    for (int n = 0; n < LANE_PAIRS; n++) {
        const backward_terms *t = &terms[pass_of(n % SIDE_COLUMNS)];
        float delta = S == KEYS_STAY ? t->delta : own.delta[n / SIDE_COLUMNS];
        pair_at(p, n) *= times(pair_at(dp, n), f.slant, -delta);
    }
}

/* Takes a chunk into the sums; returns how many of its pairs the mask hides. */
template <side S>
MOSAIC_DEVICE int attend(backward_results &sums, const backward_own &own, shared_at stay,
                         const backward_tile &pass, const mosaic_attention_args &a,
                         const backward_block &b, const backward_chunk &chunk, int row,
                         const backward_factors &f)
{
    backward_scores s, dp;
    backward_weights w;
    backward_staged rates;
    const backward_terms *terms = (const backward_terms *)pass.terms + row;
    shared_at score = shared_of(pass.score) + row * ROW_BYTES,
              slants = shared_of(pass.slant) + row * ROW_BYTES;
    bool masked = !chunk.all || HAS_SCORE || chunk.first + CHUNK > rows_that_pass<S>(a);
    unsigned seen = ~0u, kept = ~0u;
    int hidden = 0;
    multiply_rows(s, stay, score);
    if (masked) {
        seen = find_seen<S>(a, b, chunk);
        hidden = chunk.all ? 0 : __popc(pairs_of<S>(a, b, chunk)) - __popc(seen);
    }
    if (adds(a)) change<S>(s, rates, seen, a, b, chunk, f.score);
    weigh<S>(s, own, terms, f, masked, seen);
    if (a.below) kept = find_kept<S>(a, b, chunk);
#pragma unroll
    for (int step = 0; step < CHUNK / 16; step++) {
        if (S == QUERIES_STAY || !b.weights) break;
        pack_weights(w, s, step);
        if (a.below) drop(w, kept, step);
        add_rows<PASS>(BOTH ? sums.weights : sums.slants, w, slants + 16 * step * ROW_BYTES);
    }
    if (!b.slants) return hidden;
    multiply_rows(dp, stay + STAY_BYTES, slants);
    if (a.below) forget(dp, kept);
    slant<S>(s, dp, own, terms, f);
#pragma unroll
    for (int n = 0; HAS_SCORE && n < LANE_PAIRS; n++)
        pair_at(s, n) = seen >> n & 1 ? pair_at(s, n) * rates[n] : 0;
#pragma unroll
    for (int step = 0; step < CHUNK / 16; step++) {
        pack_weights(w, s, step);
        add_rows<PASS>(sums.slants, w, score + 16 * step * ROW_BYTES);
    }
    return hidden;
}

/* ---- results -------------------------------------------------------------------------------- */

template <side S>
MOSAIC_DEVICE void store(const mosaic_attention_view &v, int64_t base, const backward_sums &sums,
                         float factor, const mosaic_attention_args &a, const backward_block &b)
{
    int lane = threadIdx.x % 4;
#pragma unroll
    for (int r = 0; r < SIDE_ROWS; r++) {
        int64_t row = b.first + stay_of(r);
        if (row >= rows_that_stay<S>(a)) continue;
        float *to = (float *)v.data + base + row * v.row;
#pragma unroll
        for (int n = 0; n < CHANNEL_TILES; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                int c = 8 * n + 2 * lane + e;
                float x = sums[r / 2][n][r % 2 * 2 + e] * factor;
                if (c < HEAD) to[c * v.column] = a.accumulate ? to[c * v.column] + x : x;
            }
    }
}

template <side S>
MOSAIC_DEVICE void store_all(const backward_results &sums, const backward_factors &f,
                             const mosaic_attention_args &a, const backward_block &b)
{
    if (S == QUERIES_STAY) {
        store<S>(a.dq, at(a.dq, b.p, 0, 0), sums.slants, f.slants, a, b);
        return;
    }
    if (b.slants) store<S>(a.dk, kv_at(a.dk, b.p, 0, 0), sums.slants, f.slants, a, b);
    if (b.weights)
        store<S>(a.dv, kv_at(a.dv, b.p, 0, 0), BOTH ? sums.weights : sums.slants, f.weights, a, b);
}

/* Pairs of a tile; backward_keys counts them, once. */
MOSAIC_DEVICE int64_t pairs_of_tile(const mosaic_attention_args &a, const backward_block &b,
                                    int64_t tile)
{
    return min((int64_t)PASS, a.nq - tile * PASS) * min((int64_t)STAY, a.nk - b.first);
}

MOSAIC_DEVICE void count_work(const mosaic_attention_args &a, int64_t computed, unsigned hidden)
{
    for (int by = 16; by; by /= 2) hidden += __shfl_xor_sync(0xffffffffu, hidden, by);
    if (threadIdx.x % 32 == 0 && hidden) atomicAdd(&a.work[0], 0 - (unsigned long long)hidden);
    if (threadIdx.x > 0) return;
    atomicAdd(&a.work[0], (unsigned long long)computed);
    atomicAdd(&a.work[1], (unsigned long long)computed);
}

/* ---- all of it ------------------------------------------------------------------------------ */

template <side S>
MOSAIC_DEVICE void go(const mosaic_attention_args &a, backward_block &b, unsigned char *shared)
{
    backward_results sums;
    backward_own own;
    backward_cursor cursor = {0, 0, 0};
    backward_found found, next;
    int64_t computed = 0;
    unsigned hidden = 0;
    bool more, any = false;
    shared_at stay = shared_of(shared) + threadIdx.x / 32 * 16 * SIDE_TILES * ROW_BYTES;
    open_block<S>(b, a);
    const backward_factors f = factors_of(a, b.p);
    clear(sums.slants);
    if (BOTH) clear(sums.weights);
    if (S == KEYS_STAY)
        load_keys<STAY>(stay_at(shared), a, b.p, b.first);
    else
        load_queries<STAY>(stay_at(shared), a, b.p, b.first), read_own(own, a, b);
    for (int number = 0;; number ^= 1) {
        more = find_next<S>(next, cursor, a, b);
        if (more) load_pass<S>(stage_at(shared, number), a, next.p, next.tile);
        cp_async_commit();
        for (int row = 0; any && row < PASS; row += CHUNK) {
            backward_chunk chunk = {found.p, (int64_t)found.tile * PASS + row, found.all};
            if (chunk.first >= rows_that_pass<S>(a)) break;
            hidden += attend<S>(sums, own, stay, stage_at(shared, number ^ 1), a, b, chunk, row, f);
        }
        if (any && S == KEYS_STAY) computed += pairs_of_tile(a, b, found.tile);
        cp_async_wait<0>();
        __syncthreads();
        if (!more) break;
        found = next;
        any = true;
    }
    store_all<S>(sums, f, a, b);
    if (S == KEYS_STAY && b.slants) count_work(a, computed, hidden);
}

extern "C" __global__ void __launch_bounds__(TENSOR_THREADS, 2)
    backward_keys(const __grid_constant__ mosaic_attention_args a)
{
    MOSAIC_DYNAMIC_SHARED(shared);
    __shared__ backward_block b;
    go<KEYS_STAY>(a, b, shared);
}

extern "C" __global__ void __launch_bounds__(TENSOR_THREADS, 2)
    backward_queries(const __grid_constant__ mosaic_attention_args a)
{
    MOSAIC_DYNAMIC_SHARED(shared);
    __shared__ backward_block b;
    go<QUERIES_STAY>(a, b, shared);
}
