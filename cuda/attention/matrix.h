/* matrix.h - how a matrix lies in shared memory, in the 64 bits that wgmma takes: "matrix
 * descriptors" of the PTX manual. */
#ifndef MOSAIC_ATTENTION_MATRIX_H
#define MOSAIC_ATTENTION_MATRIX_H
#include "mask.h"

/* Rows of `swizzle` bytes (64 or 128), in groups of 8 rows `group` bytes apart; `leading`: the
 * bytes to the next `swizzle` bytes of the same rows where they are columns of one matrix (turned
 * operands only). */
MOSAIC_DEVICE uint64_t matrix(uint32_t address, int swizzle, int group, int leading)
{
    uint64_t mode = swizzle == 128 ? 1 : 2;
    return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)(leading >> 4) << 16 |
           (uint64_t)(group >> 4) << 32 | mode << 62;
}

#endif
