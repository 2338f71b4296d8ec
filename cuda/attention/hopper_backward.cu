/* hopper_backward.cu - attention's gradients in bf16 and f16 by warpgroups, for compute capability
 * 9.0a: what backward.h describes, with tiles fetched by the copy engine as in hopper.cu.
 *
 * A block: 64 keys, or queries, for each of CONSUMERS warpgroups stay in shared memory, STAY rows
 * of two operands. A single thread of one more warpgroup fetches PASS rows of the two others,
 * STAGES tiles ahead.
 *
 * A consumer: S (64 x PASS) and dP of what stays with what passes, both from shared memory; from
 * them P and dS in registers; then sums (64 x HEAD) of dS, and of P where keys stay, with what
 * passes.
 *
 *   keys stay      k, v       q and dout pass, of all heads    dk += dS^T q, dv += P^T dout
 *                             that share the keys
 *   queries stay   q, dout    k and v pass                     dq += dS k
 *
 * Nothing is written to shared memory, and nothing is added up by atomics. */
#include "hopper_backward_block.h"

/* ---- a consumer ----------------------------------------------------------------------------- */

/* What a thread knows of its rows, `row` and `row` + 8 of what stays; terms where they are queries.
 */
typedef struct {
    int row, column; /* its first column in each 8 */
    float shift[2], delta[2];
} own_rows;

template <side S>
MOSAIC_DEVICE own_rows find_rows(const mosaic_attention_args &a, const block &b, int consumer)
{
    const int thread = threadIdx.x % 128;
    own_rows own = {b.tile * STAY + consumer * 64 + thread / 32 * 16 + thread / 4 % 8,
                    thread % 4 * 2,
                    {0, 0},
                    {0, 0}};
    for (int h = 0; h < 2 && S == QUERIES_STAY; h++) {
        if (own.row + 8 * h >= a.nq) continue;
        const backward_terms t =
            ((const backward_terms *)a.delta.data)[at(a.delta, b.p, own.row + 8 * h, 0)];
        own.shift[h] = t.shift;
        own.delta[h] = t.delta;
    }
    return own;
}

/* Element e of scores: its row of two, and its passing row within the tile. */
MOSAIC_DEVICE int row_of(int e) { return e / 2 % 2; }
MOSAIC_DEVICE int column_of(int e, const own_rows &own) { return e / 4 * 8 + own.column + e % 2; }

/* s <- 2^OFFSET p */
template <side S>
MOSAIC_DEVICE void weigh(scores &s, const own_rows &own, const backward_terms *terms, float factor)
{
#pragma unroll
    for (int e = 0; e < PASS / 2; e++) {
        const float shift = S == KEYS_STAY ? terms[column_of(e, own)].shift : own.shift[row_of(e)];
        s[e] = ex2(fmaf(s[e], factor, -shift));
    }
}

/* s <- ds, of weights s and products dp */
template <side S>
MOSAIC_DEVICE void slant(scores &s, const scores &dp, const own_rows &own,
                         const backward_terms *terms, float factor)
{
#pragma unroll
    for (int e = 0; e < PASS / 2; e++) {
        const float delta = S == KEYS_STAY ? terms[column_of(e, own)].delta : own.delta[row_of(e)];
        s[e] *= fmaf(dp[e], factor, -delta);
    }
}

MOSAIC_DEVICE void store(const mosaic_attention_view &v, int64_t base, const sums &from,
                         float factor, bool accumulate, const block &b, const own_rows &own)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const int row = own.row + 8 * h;
        if (row >= b.stay) continue;
        float *to = (float *)v.data + base + row * v.row;
#pragma unroll
        for (int e = 2 * h; e < WIDTH / 2; e += 4)
#pragma unroll
            for (int x = 0; x < 2; x++) {
                const int c = e / 4 * 8 + own.column + x;
                const float y = from[e + x] * factor;
                if (c < HEAD) to[c * v.column] = accumulate ? to[c * v.column] + y : y;
            }
    }
}

template <side S>
MOSAIC_DEVICE void store_all(const mosaic_attention_args &a, const block &b, const own_rows &own,
                             const sums &slants, const sums &weights)
{
    const mosaic_attention_scales s = scales_of(a, b.p);
    const float factor = (float)a.scale * power_of_two(s.slant);
    if (S == QUERIES_STAY) {
        store(a.dq, at(a.dq, b.p, 0, 0), slants, factor, a.accumulate, b, own);
        return;
    }
    store(a.dk, kv_at(a.dk, b.p, 0, 0), slants, factor, a.accumulate, b, own);
    store(a.dv, kv_at(a.dv, b.p, 0, 0), weights, power_of_two(s.dout - OFFSET), a.accumulate, b,
          own);
}

/* S and dP of what stays with the stage's tiles, once they have come; begun one after the other. */
MOSAIC_DEVICE void begin_both(scores &s, scores &dp, uint32_t stay, const room &r, turn t)
{
    control &with = *control_of(r);
    barrier_wait(&with.score[t.stage], t.parity);
    begin_scores<STAY, PASS>(s, stay, shared_address(score_at(r, t.stage)));
    barrier_wait(&with.slant[t.stage], t.parity);
    begin_scores<STAY, PASS>(dp, stay + STAY_BYTES, shared_address(slant_at(r, t.stage)));
}

/* Only LEFT products that were begun later may be under way. Where queries stay there are no
 * weights, and naming them would take registers. */
template <side S, int LEFT> MOSAIC_DEVICE void wait_for_sums(sums &slants, sums &weights)
{
    if (S == KEYS_STAY)
        wgmma_wait<LEFT>(slants, weights);
    else
        wgmma_wait<LEFT>(slants);
}

/* `late`: sums of a tile are waited for when the products of the next one have begun, so that the
 * tensor cores need not pause. Where registers do not suffice for that, the compiler would have
 * every product wait by itself (C7512). */
template <side S>
MOSAIC_DEVICE void consume(const mosaic_attention_args &a, const room &r, int consumer)
{
    const bool late = S == QUERIES_STAY || WIDTH == 24 || (WIDTH > 32 && WIDTH <= 96);
    control &with = *control_of(r);
    const block &b = with.b;
    const own_rows own = find_rows<S>(a, b, consumer);
    const float score_factor = (float)(a.scale * 1.4426950408889634);
    const mosaic_attention_scales power = scales_of(a, b.p);
    const float slant_factor = power_of_two(power.dout - power.slant - OFFSET);
    const uint32_t stay = shared_address(r.stay) + consumer * 64 * ROW;
    scores s, dp;
    sums slants = {0}, weights = {0};
    pairs w, ds;
    int before = -1; /* the stage whose sums were begun last */
    uint64_t visible = 0, computed = 0;
    passing n = {0, -1, false};
    turn t = {0, 0};
    barrier_wait(&with.stay, 0);
    for (; find_next<S>(n, a, b); next<STAGES>(t)) {
        const backward_terms *terms = (const backward_terms *)terms_at(r, t.stage);
        begin_both(s, dp, stay, r, t);
        if (late) {
            wait_for_sums<S, 2>(slants, weights);
            if (before >= 0) release(&with.free[before]);
        }
        wgmma_wait<1>(s);
        computed += PASS / 2;
        visible += hide_some<S>(s, a, b.p, own.row, own.column, n.tile * PASS, n.all);
        weigh<S>(s, own, terms, score_factor);
        if (S == KEYS_STAY) {
            pack_all<PASS / 2>(w, s);
            begin_sums<PASS>(weights, w, shared_address(slant_at(r, t.stage)));
            wgmma_wait<1>(dp);
        } else {
            wgmma_wait<0>(dp);
        }
        slant<S>(s, dp, own, terms, slant_factor);
        pack_all<PASS / 2>(ds, s);
        begin_sums<PASS>(slants, ds, shared_address(score_at(r, t.stage)));
        before = t.stage;
        if (!late) {
            wait_for_sums<S, 0>(slants, weights);
            release(&with.free[before]);
        }
    }
    wait_for_sums<S, 0>(slants, weights);
    store_all<S>(a, b, own, slants, weights);
    if (S == KEYS_STAY) count_work(a, visible, computed);
}

/* ---- all of it ------------------------------------------------------------------------------ */

template <side S> MOSAIC_DEVICE void go(const mosaic_hopper_backward_call &c, unsigned char *shared)
{
    const room r = {shared, shared + 2 * STAY_BYTES};
    control &with = *control_of(r);
    if (threadIdx.x == 0) {
        open_block<S>(with.b, c.args);
        barrier_init(&with.stay, 1);
        for (int s = 0; s < STAGES; s++) {
            barrier_init(&with.score[s], 1);
            barrier_init(&with.slant[s], 1);
            barrier_init(&with.free[s], RELEASES);
        }
        barrier_publish();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        give_registers<MOSAIC_HOPPER_BACKWARD_FETCHER_REGISTERS(HEAD)>();
        if (threadIdx.x == 0) fetch<S>(c, r);
    } else {
        take_registers<MOSAIC_HOPPER_BACKWARD_CONSUMER_REGISTERS(HEAD)>();
        consume<S>(c.args, r, threadIdx.x / 128 - 1);
    }
}

extern "C" __global__ void __launch_bounds__(128 * (CONSUMERS + 1), 1)
    hopper_backward_keys(const __grid_constant__ mosaic_hopper_backward_call c)
{
    MOSAIC_DYNAMIC_SHARED(shared);
    go<KEYS_STAY>(c, shared);
}

extern "C" __global__ void __launch_bounds__(128 * (CONSUMERS + 1), 1)
    hopper_backward_queries(const __grid_constant__ mosaic_hopper_backward_call c)
{
    MOSAIC_DYNAMIC_SHARED(shared);
    go<QUERIES_STAY>(c, shared);
}
