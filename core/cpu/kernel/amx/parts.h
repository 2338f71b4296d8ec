/* parts.h - f32 operands for AMX tiles: each number as bf16 parts whose sum it is.
 *
 * A face is what one tile register holds: SIDE rows of SIDE pairs of bf16 numbers, (SIDE, DEPTH) of
 * a left operand, (DEPTH, SIDE) of a right one. Pairs are terms i and SIDE + i of a sum, in both.
 * Of two numbers in three parts each, tiles multiply the six largest products of parts: what is
 * left out is 2^-24 of the product. */
#ifndef MOSAIC_CPU_AMX_PARTS_H
#define MOSAIC_CPU_AMX_PARTS_H
#include "../../vec.h"

enum {
    SIDE = 16,        /* rows of a tile; its columns in words */
    DEPTH = 2 * SIDE, /* products that one instruction adds up */
    FACE = 1024,      /* bytes of a tile */
    PARTS = 3         /* of a float */
};

/* Where tiles agree with multiply-adds: 0, and 2^-100 <= |x| < 2^60. */
VEC_INLINE __mmask16 unsound(vec x)
{
    const __m512i low = _mm512_set1_epi32(0x0d800000), reach = _mm512_set1_epi32(0x50000000);
    __m512i size = _mm512_and_si512((__m512i)x, _mm512_set1_epi32(0x7fffffff));
    return _mm512_mask_cmp_epu32_mask(_mm512_test_epi32_mask(size, size),
                                      _mm512_sub_epi32(size, low), reach, _MM_CMPINT_NLT);
}

/* The nearest bf16 numbers are in the high halves. */
VEC_INLINE __m512i rounded(vec x)
{
    return _mm512_add_epi32((__m512i)x, _mm512_set1_epi32(0x8000));
}

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

/* One row of `parts` faces; floats that are bf16 numbers are one part. */
VEC_INLINE void split_pair(int parts, char *to, vec a, vec b)
{
    for (int part = 0; part < parts - 1; part++, to += FACE) {
        __m512i x = rounded(a), y = rounded(b);
        store_pairs(to, x, y);
        a = without(a, x), b = without(b, y);
    }
    store_pairs(to, (__m512i)a, (__m512i)b);
}

VEC_INLINE void configure_tiles(void)
{
    const struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } tiles = {.palette = 1,
               .bytes = {64, 64, 64, 64, 64, 64, 64, 64},
               .rows = {SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE}};
    _tile_loadconfig(&tiles);
}

#endif
