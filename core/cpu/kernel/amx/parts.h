/* parts.h - f32 numbers as sums of three bf16 numbers, their parts, in the order in which AMX tiles
 * read them.
 *
 * Rows of a tile hold pairs of terms of a sum: i in the low halves and i + SIDE in the high ones.
 * Of the nine products of parts of two numbers the six largest are added up: the others are 2^-24
 * of the whole. */
#ifndef MOSAIC_CPU_AMX_PARTS_H
#define MOSAIC_CPU_AMX_PARTS_H
#include "../../vec.h"

enum {
    SIDE = 16,         /* rows of a tile; its columns in words */
    DEPTH = 2 * SIDE,  /* terms of a sum that one instruction adds up */
    TILE_BYTES = 1024, /* of all its rows */
    LINE = 64,         /* of one */
    PARTS = 3          /* of a number */
};

/* No part of an f32 number times that is subnormal, which tiles take as 0. */
#define POWER 0x1p24f

/* Tiles 0..3 (down,across) += tiles 4, 5 times tiles 6, 7. */
#define MULTIPLY_TILES(down, across)                                                               \
    do {                                                                                           \
        _tile_dpbf16ps(0, 4, 6);                                                                   \
        if ((across) > 1) _tile_dpbf16ps(1, 4, 7);                                                 \
        if ((down) > 1) _tile_dpbf16ps(2, 5, 6);                                                   \
        if ((down) > 1 && (across) > 1) _tile_dpbf16ps(3, 5, 7);                                   \
    } while (0)

/* Compilers do not know what tile loads and stores touch. */
#define SEE_MEMORY __asm__ volatile("" ::: "memory")

/* The nearest bf16 numbers are in the high halves. */
VEC_INLINE __m512i rounded(vec x)
{
    return _mm512_add_epi32((__m512i)x, _mm512_set1_epi32(0x8000));
}

/* x - the number that is the high half of part */
VEC_INLINE vec without(vec x, __m512i part)
{
    return x - (vec)_mm512_and_si512(part, _mm512_set1_epi32((int)0xffff0000));
}

/* Pairs of bf16 numbers: the high halves of a, and of b above them. */
VEC_INLINE void store_pairs(char *to, __m512i a, __m512i b)
{
    __m512i low = _mm512_srli_epi32(a, 16);
    _mm512_store_si512((void *)to, _mm512_mask_blend_epi16(0xaaaaaaaa, low, b));
}

/* One row of each of `parts` tiles; numbers of one part are bf16 numbers. The last part is exact as
 * it is; rounded, some NaNs would become 0. */
VEC_INLINE void split_pair(int parts, char *to, vec a, vec b)
{
    for (int part = 0; part < parts - 1; part++, to += TILE_BYTES) {
        __m512i x = rounded(a), y = rounded(b);
        store_pairs(to, x, y);
        a = without(a, x), b = without(b, y);
    }
    store_pairs(to, (__m512i)a, (__m512i)b);
}

/* Eight tiles of SIDE rows. */
static inline void configure_tiles(void)
{
    const struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } tiles = {.palette = 1,
               .bytes = {LINE, LINE, LINE, LINE, LINE, LINE, LINE, LINE},
               .rows = {SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE}};
    _tile_loadconfig(&tiles);
}

#endif
