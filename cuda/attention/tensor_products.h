/* tensor_products.h - the two products of a tile, scores from queries and keys, sums from weights
 * and values; and the weights between them. */
#ifndef MOSAIC_ATTENTION_TENSOR_PRODUCTS_H
#define MOSAIC_ATTENTION_TENSOR_PRODUCTS_H
#include "exp2.h"
#include "products.h"
#include "tensor_mask.h"

/* How many exponentials of 16 are polynomials, where heads are small. One instruction becomes ten:
 * with more than one of 16 issuing them takes longer than what they save. */
#ifndef POLYNOMIALS
#define POLYNOMIALS (PLANES == 1 && CHANNELS <= 32)
#endif

/* Registers for queries; what does not fit is loaded again for every part. */
#ifndef HELD_REGISTERS
#define HELD_REGISTERS (PLANES * CHANNELS > 256 ? 0 : SPLIT && CHANNELS > 32 ? 12 : 32)
#endif

enum {
    STEP_REGISTERS = ROW_TILES * PLANES * 4, /* of a warp's queries, 16 channels of them */
    HELD_STEPS =
        HELD_REGISTERS / STEP_REGISTERS < ALL_STEPS ? HELD_REGISTERS / STEP_REGISTERS : ALL_STEPS,
    STEPS_AT_ONCE = SPLIT ? 1 : ALL_STEPS, /* of others: loads take registers, too */
};

/* ---- scores --------------------------------------------------------------------------------- */

/* A step of a warp's queries, and those that are kept in registers. */
typedef unsigned tensor_queries_step[ROW_TILES][PLANES][4];
typedef tensor_queries_step tensor_queries_held[HELD_STEPS > 0 ? HELD_STEPS : 1];

/* `q`: the warp's rows. */
MOSAIC_DEVICE void hold_queries(tensor_queries_held &held, shared_at q)
{
#pragma unroll
    for (int step = 0; step < HELD_STEPS; step++) load_step<QUERIES>(held[step], q, step);
}

/* s <- Q K^T */
MOSAIC_DEVICE void multiply_keys(tensor_scores &s, const tensor_queries_held &held, shared_at q,
                                 shared_at k)
{
    clear(s);
#pragma unroll
    for (int step = 0; step < HELD_STEPS; step++) multiply_step<KEYS>(s, held[step], k, step);
#pragma unroll STEPS_AT_ONCE
    for (int step = HELD_STEPS; step < ALL_STEPS; step++) {
        tensor_queries_step f;
        load_step<QUERIES>(f, q, step);
        multiply_step<KEYS>(s, f, k, step);
    }
}

/* ---- weights -------------------------------------------------------------------------------- */

/* Weights are 2^(score c - shift). The largest one of a row is 2^OFFSET when its shift is chosen,
 * which is done again when a lane's weights of a part add up to more than 2^LIMIT: so nothing has
 * to look for the largest score of every part (a sixth of all instructions at d = 24). None is more
 * than 1, so that no sum is infinite that need not be; values below 2^(-126 - OFFSET) lose bits.
 * f16 has few exponents, so its weights are large; its values are not.
 * Sums are of weights before they are rounded: products with ones would be faster, and lse wrong by
 * 1e-3. */
enum {
    IS_F16 = ELEMENT == MOSAIC_ATTENTION_F16,
    OFFSET = IS_F16 ? 7 : -12,
    LIMIT = IS_F16 ? 15 : 0,
};
static_assert(LANE_KEYS < 1 << (LIMIT - OFFSET), "weights that have just been chosen are good");

typedef struct {
    float out[ROW_TILES][CHANNEL_TILES][4];
    float sum[LANE_ROWS];   /* of this lane's weights */
    float shift[LANE_ROWS]; /* -infinity: nothing seen yet */
} tensor_sums;

/* n counts the exponentials of a loop that is unrolled. */
MOSAIC_DEVICE float weight_of(float x, int n)
{
    n %= 16;
    if (n * POLYNOMIALS / 16 == (n + 1) * POLYNOMIALS / 16) return ex2(x);
    return exp2_polynomial(max_nan(min_nan(x, 127), -127)); /* what is too large stays so */
}

/* Over the lanes that share rows. */
MOSAIC_DEVICE float most_of_quad(float x)
{
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

/* Raises the shifts to the largest of these scores; what was summed before goes down. */
MOSAIC_DEVICE void raise_shifts(tensor_sums &t, tensor_scores &s, float c)
{
#pragma unroll
    for (int r = 0; r < LANE_ROWS; r++) {
        float top = score_at(s, r, 0), factor = 1;
#pragma unroll
        for (int k = 1; k < LANE_KEYS; k++) top = fmaxf(top, score_at(s, r, k));
        float shift = most_of_quad(top) * c - OFFSET;
        if (shift > t.shift[r]) {
            factor = ex2(t.shift[r] - shift);
            t.shift[r] = shift;
        }
        t.sum[r] *= factor;
#pragma unroll
        for (int n = 0; n < CHANNEL_TILES; n++) {
            t.out[r / 2][n][r % 2 * 2] *= factor;
            t.out[r / 2][n][r % 2 * 2 + 1] *= factor;
        }
    }
}

/* As first operands of products: of 16 keys each. */
typedef unsigned tensor_weights[PART / 16][ROW_TILES][PLANES][4];

/* The weights of a part; sum gets those of this lane. */
MOSAIC_DEVICE void weigh(tensor_weights &p, float (&sum)[LANE_ROWS], const tensor_scores &s,
                         const float (&shift)[LANE_ROWS], const tensor_factor &c)
{
#pragma unroll
    for (int r = 0; r < LANE_ROWS; r++) sum[r] = 0;
#pragma unroll
    for (int n = 0; n < KEY_TILES; n++)
#pragma unroll
        for (int r = 0; r < LANE_ROWS; r++) {
            const float *x = &s[r / 2][n][r % 2 * 2];
            float u = weight_of(times(x[0], c, -shift[r]), 2 * (n * LANE_ROWS + r));
            float v = weight_of(times(x[1], c, -shift[r]), 2 * (n * LANE_ROWS + r) + 1);
            sum[r] += u + v;
            pack_pair(p[n / 2][r / 2], n % 2 * 2 + r % 2, u, v);
        }
}

/* Is a lane's sum beyond what is good, or none? */
MOSAIC_DEVICE bool too_large(const float (&sum)[LANE_ROWS])
{
    bool any = false;
#pragma unroll
    for (int r = 0; r < LANE_ROWS; r++) any |= !(sum[r] <= (float)(1 << LIMIT));
    return __any_sync(0xffffffffu, any);
}

MOSAIC_DEVICE void drop(tensor_weights &p, const unsigned (&kept)[LANE_ROWS])
{
#pragma unroll
    for (int n = 0; n < KEY_TILES; n++)
#pragma unroll
        for (int r = 0; r < LANE_ROWS; r++)
#pragma unroll
            for (int plane = 0; plane < PLANES; plane++)
                p[n / 2][r / 2][plane][n % 2 * 2 + r % 2] &= halves_kept(kept[r], n);
}

/* ---- sums ----------------------------------------------------------------------------------- */

MOSAIC_DEVICE void add_values(tensor_sums &t, const tensor_weights &p, shared_at v)
{
#pragma unroll
    for (int step = 0; step < PART / 16; step++)
        add_rows<KEYS>(t.out, p[step], v + 16 * step * ROW_BYTES);
}

#endif
