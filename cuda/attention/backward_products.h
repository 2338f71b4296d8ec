/* backward_products.h - the products of a chunk: scores of what stays and what passes by, and sums
 * of weights times what passes by. */
#ifndef MOSAIC_ATTENTION_BACKWARD_PRODUCTS_H
#define MOSAIC_ATTENTION_BACKWARD_PRODUCTS_H
#include "backward_block.h"

enum { AT_ONCE = STEPS * PLANES > 8 ? 2 : ALL_STEPS }; /* what is on its way takes registers */

/* s <- the warp's rows times a chunk of those that pass by */
MOSAIC_DEVICE void multiply_rows(backward_scores &s, shared_at stay, shared_at pass)
{
    clear(s);
#pragma unroll AT_ONCE
    for (int step = 0; step < ALL_STEPS; step++) {
        unsigned f[SIDE_TILES][PLANES][4];
        load_step<STAY>(f, stay, step);
        multiply_step<PASS>(s, f, pass, step);
    }
}

/* ---- sums ----------------------------------------------------------------------------------- */

typedef float backward_sums[SIDE_TILES][CHANNEL_TILES][4];

/* Weights of 16 passing rows, as the first operand of a product. */
typedef unsigned backward_weights[SIDE_TILES][PLANES][4];

MOSAIC_DEVICE void pack_weights(backward_weights &w, const backward_scores &s, int step)
{
#pragma unroll
    for (int m = 0; m < SIDE_TILES; m++)
#pragma unroll
        for (int i = 0; i < 4; i++) { /* columns 8 on: i / 2; rows 8 on: i % 2 */
            const float *x = &s[m][2 * step + i / 2][i % 2 * 2];
            pack_pair(w[m], i, x[0], x[1]);
        }
}

/* Pairs that are dropped weigh nothing. */
MOSAIC_DEVICE void drop(backward_weights &w, unsigned kept, int step)
{
#pragma unroll
    for (int m = 0; m < SIDE_TILES; m++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            unsigned of_row = kept >> (2 * m + i % 2) * SIDE_COLUMNS;
            for (int plane = 0; plane < PLANES; plane++)
                w[m][plane][i] &= halves_kept(of_row, 2 * step + i / 2);
        }
}

#endif
