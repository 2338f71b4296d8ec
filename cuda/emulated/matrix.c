/* matrix.c - operands of products in shared memory, read from where the 64 bits that describe them
 * say: "matrix descriptors" and "shared memory matrix layout" of the PTX manual. */
#include "warpgroup.h"

enum { DEPTH = MOSAIC_EMULATED_DEPTH };

typedef struct {
    uint32_t start, leading, stride;
    int swizzle; /* bytes; 16: none */
    bool turned; /* rows of the operand (M or N) lie next to each other, not its depth (K) */
} layout;

static int bits(uint64_t word, int from, int count)
{
    return (int)(word >> from & ((1u << count) - 1));
}

/* Of a descriptor; the hardware takes what the checks refuse for something else, or for an error.
 */
static layout layout_of(uint64_t d, bool turned)
{
    static const int swizzles[] = {16, 128, 64, 32};
    layout l = {(uint32_t)bits(d, 0, 14) * 16, (uint32_t)bits(d, 16, 14) * 16,
                (uint32_t)bits(d, 32, 14) * 16, swizzles[bits(d, 62, 2)], turned};
    uint32_t within = l.start % (uint32_t)l.swizzle;
    if (bits(d, 14, 2) || bits(d, 30, 2) || bits(d, 46, 3) || bits(d, 52, 10))
        mosaic_emulated_complain("a descriptor with bits where there are none");
    if (bits(d, 49, 3)) mosaic_emulated_complain("a descriptor with a base offset: not emulated");
    if (l.swizzle > 16 && l.start % (8 * (uint32_t)l.swizzle) != within)
        mosaic_emulated_complain("a matrix that does not begin where its swizzle repeats");
    if (l.swizzle > 16 && (turned ? within > 0 : within + 2 * DEPTH > (uint32_t)l.swizzle))
        mosaic_emulated_complain("a matrix that goes beyond its swizzled rows");
    return l;
}

/* Where element (row, k) is. */
static uint32_t address_of(const layout *l, uint32_t row, uint32_t k)
{
    uint32_t at, wide = (uint32_t)l->swizzle / 2;
    if (l->swizzle == 16 && l->turned)
        at = row % 8 * 2 + row / 8 * l->stride + k % 8 * 16 + k / 8 * l->leading;
    else if (l->swizzle == 16)
        at = row % 8 * 16 + row / 8 * l->stride + k % 8 * 2 + k / 8 * l->leading;
    else if (l->turned)
        at = row % wide * 2 + row / wide * l->leading + k % 8 * wide * 2 + k / 8 * l->stride;
    else
        at = row % 8 * wide * 2 + row / 8 * l->stride + k * 2;
    at += l->start;
    return at ^ ((at >> 7 & (wide / 8 - 1)) << 4);
}

/* 8 elements from (row, k) on, along the depth or, turned, along the rows: 16 bytes. */
static const uint16_t *read_word(const layout *l, int row, int k)
{
    return mosaic_emulated_at(address_of(l, (uint32_t)row, (uint32_t)k), 16, 16);
}

void mosaic_emulated_matrix(uint16_t *elements, uint64_t descriptor, bool turned, int rows)
{
    layout l = layout_of(descriptor, turned);
    for (int row = 0; row < rows; row += turned ? 8 : 1)
        for (int k = 0; k < DEPTH; k += turned ? 1 : 8) {
            const uint16_t *word = read_word(&l, row, k);
            for (int i = 0; i < 8; i++)
                elements[turned ? (row + i) * DEPTH + k : row * DEPTH + k + i] = word[i];
        }
}
