/* products.h - products of rows of 16-bit elements by a warp, for every kernel on tensor cores.
 *
 * `rows` in shared memory are ROW_BYTES apart; of f32 there are PLANES of them, each ROWS rows
 * after the one before. Tiles of a warp's first operand have 16 rows, those of sums 8 columns. */
#ifndef MOSAIC_ATTENTION_PRODUCTS_H
#define MOSAIC_ATTENTION_PRODUCTS_H
#include "tensor_load.h"

enum {
    STEPS = CHANNELS / 16, /* of 16 channels; then perhaps one of 8 */
    HALF_STEP = CHANNELS % 16 != 0,
    ALL_STEPS = STEPS + HALF_STEP,
    CHANNEL_TILES = CHANNELS / 8,
};

/* ---- matrices ------------------------------------------------------------------------------- */

/* d (16, 8) += a (16, 16) b (16, 8) */
MOSAIC_DEVICE void multiply(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1)
{
    if (ELEMENT == MOSAIC_ATTENTION_F16)
        mma_f16(d, a, b0, b1);
    else
        mma_bf16(d, a, b0, b1);
}

MOSAIC_DEVICE void multiply_half(float (&d)[4], const unsigned (&a)[4], unsigned b0)
{
    if (ELEMENT == MOSAIC_ATTENTION_F16)
        mma_f16_k8(d, a[0], a[1], b0);
    else
        mma_bf16_k8(d, a[0], a[1], b0);
}

/* d[m][n + i] += a[m] b[i], of one plane each: TILES of them, which do not wait for each other. */
template <int M, int TILES, int N, int words>
MOSAIC_DEVICE void multiply_plane(float (&d)[M][N][4], int n, const unsigned (&a)[M][PLANES][4],
                                  int plane_a, const unsigned (&b)[PLANES][words], int plane_b,
                                  bool half)
{
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int i = 0; i < TILES; i++)
            if (half)
                multiply_half(d[m][n + i], a[m][plane_a], b[plane_b][i]);
            else
                multiply(d[m][n + i], a[m][plane_a], b[plane_b][2 * i], b[plane_b][2 * i + 1]);
}

/* The same of all planes. Tensor cores cut sums off, which f32 would feel: the product of high
 * planes, and what five others add to it, small ones first, are summed outside of them; those that
 * are left out are 2^-24 of it. Where it is infinite nothing is added, for that may be infinite the
 * other way round. */
template <int TILES, int M, int N, int words>
MOSAIC_DEVICE void add_products(float (&d)[M][N][4], int n, const unsigned (&a)[M][PLANES][4],
                                const unsigned (&b)[PLANES][words], bool half)
{
    const int planes_a = SPLIT ? 0x10120 : 0, planes_b = SPLIT ? 0x01102 : 0; /* 4 bits each */
    if (!SPLIT) return multiply_plane<M, TILES>(d, n, a, 0, b, 0, half);
    float high[M][TILES][4] = {}, rest[M][TILES][4] = {};
#pragma unroll
    for (int by = 0; by < 20; by += 4)
        multiply_plane<M, TILES>(rest, 0, a, planes_a >> by & 3, b, planes_b >> by & 3, half);
    multiply_plane<M, TILES>(high, 0, a, 0, b, 0, half);
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int i = 0; i < TILES * 4; i++) {
            float x = high[m][i / 4][i % 4], y = rest[m][i / 4][i % 4];
            d[m][n + i / 4][i % 4] += x + (fabsf(x) < INFINITY ? y : 0);
        }
}

template <int M, int N> MOSAIC_DEVICE void clear(float (&sums)[M][N][4])
{
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int i = 0; i < N * 4; i++) sums[m][i / 4][i % 4] = 0;
}

MOSAIC_DEVICE void load_matrices(unsigned (&r)[2], shared_at row) { ldmatrix_x2(r, row); }
MOSAIC_DEVICE void load_matrices(unsigned (&r)[4], shared_at row) { ldmatrix_x4(r, row); }
MOSAIC_DEVICE void load_turned(unsigned (&r)[2], shared_at row) { ldmatrix_x2_trans(r, row); }
MOSAIC_DEVICE void load_turned(unsigned (&r)[4], shared_at row) { ldmatrix_x4_trans(r, row); }

/* ---- rows times rows ------------------------------------------------------------------------ */

/* A step of a warp's 16 M rows, the first operand. */
template <int ROWS, int M>
MOSAIC_DEVICE void load_step(unsigned (&a)[M][PLANES][4], shared_at rows, int step)
{
    int lane = threadIdx.x % 32;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int plane = 0; plane < PLANES; plane++) {
            shared_at at = rows + (plane * ROWS + 16 * m + lane % 16) * ROW_BYTES + 32 * step;
            if (step < STEPS) {
                ldmatrix_x4(a[m][plane], at + lane / 16 * 16);
            } else {
                unsigned half[2];
                ldmatrix_x2(half, at);
                a[m][plane][0] = half[0];
                a[m][plane][1] = half[1];
            }
        }
}

/* s (16 M, 8 N) += a times 8 N rows, over 16 channels. */
template <int ROWS, int M, int N>
MOSAIC_DEVICE void multiply_whole_step(float (&s)[M][N][4], const unsigned (&a)[M][PLANES][4],
                                       shared_at rows, int step)
{
    int lane = threadIdx.x % 32;
    rows += (lane % 8 + lane / 16 * 8) * ROW_BYTES + lane / 8 % 2 * 16 + 32 * step;
#pragma unroll
    for (int n = 0; n < N; n += 2) {
        unsigned b[PLANES][4];
#pragma unroll
        for (int plane = 0; plane < PLANES; plane++)
            ldmatrix_x4(b[plane], rows + (plane * ROWS + 8 * n) * ROW_BYTES);
        add_products<2>(s, n, a, b, false);
    }
}

/* The same over the last 8. */
template <int ROWS, int M, int N>
MOSAIC_DEVICE void multiply_half_step(float (&s)[M][N][4], const unsigned (&a)[M][PLANES][4],
                                      shared_at rows)
{
    enum { MANY = SPLIT || N % 4 ? 2 : 4 };
    int lane = threadIdx.x % 32;
    rows += lane % (8 * MANY) * ROW_BYTES + 32 * STEPS;
#pragma unroll
    for (int n = 0; n < N; n += MANY) {
        unsigned b[PLANES][MANY];
#pragma unroll
        for (int plane = 0; plane < PLANES; plane++)
            load_matrices(b[plane], rows + (plane * ROWS + 8 * n) * ROW_BYTES);
        add_products<MANY>(s, n, a, b, true);
    }
}

template <int ROWS, int M, int N>
MOSAIC_DEVICE void multiply_step(float (&s)[M][N][4], const unsigned (&a)[M][PLANES][4],
                                 shared_at rows, int step)
{
    if (step < STEPS)
        multiply_whole_step<ROWS>(s, a, rows, step);
    else
        multiply_half_step<ROWS>(s, a, rows);
}

/* ---- weights times rows --------------------------------------------------------------------- */

/* Neighbours of a row as word `word` of a first operand. */
MOSAIC_DEVICE void pack_pair(unsigned (&to)[PLANES][4], int word, float x, float y)
{
    if (SPLIT)
        split_pair(x, y, to[0][word], to[PLANES / 2][word], to[PLANES - 1][word]);
    else
        to[0][word] = ELEMENT == MOSAIC_ATTENTION_F16 ? pack_f16(x, y) : pack_bf16(x, y);
}

/* The halves of a packed pair of columns 2n, 2n + 1 that stay. */
MOSAIC_DEVICE unsigned halves_kept(unsigned kept, int n)
{
    return (kept >> 2 * n & 1 ? 0x0000ffffu : 0) | (kept >> 2 * n & 2 ? 0xffff0000u : 0);
}

/* sums[m][n ..] += w (16 M, 16) times 16 rows: `words` / 2 tiles of 8 channels. */
template <int ROWS, int words, int M>
MOSAIC_DEVICE void add_channels(float (&sums)[M][CHANNEL_TILES][4], int n,
                                const unsigned (&w)[M][PLANES][4], shared_at rows)
{
    unsigned b[PLANES][words];
    int lane = threadIdx.x % 32;
    rows += lane % 16 * ROW_BYTES + 16 * n + (words == 4 ? lane / 16 * 16 : 0);
#pragma unroll
    for (int plane = 0; plane < PLANES; plane++)
        load_turned(b[plane], rows + plane * ROWS * ROW_BYTES);
    add_products<words / 2>(sums, n, w, b, false);
}

/* sums (16 M, CHANNELS) += w times 16 rows. */
template <int ROWS, int M>
MOSAIC_DEVICE void add_rows(float (&sums)[M][CHANNEL_TILES][4], const unsigned (&w)[M][PLANES][4],
                            shared_at rows)
{
#pragma unroll
    for (int n = 0; n < CHANNEL_TILES; n += 2)
        if (n + 1 < CHANNEL_TILES)
            add_channels<ROWS, 4>(sums, n, w, rows);
        else
            add_channels<ROWS, 2>(sums, n, w, rows);
}

#endif
