/* tensor.h - attention on tensor cores: how large the tiles are, for the kernel of a variant and
 * for the host that launches it.
 *
 * A block is 4 warps; a warp has 16 or 32 queries, whose sums stay in registers, and all warps go
 * through tiles of keys and values in shared memory, the next one on its way while one is worked
 * on. Operands are bf16 or f16; f32 ones are three planes of bf16 (planes.h), whose exponents are
 * those of f32, and a product is six, which are added up outside of tensor cores: they cut off what
 * they add. Channels count in eights, so d = 24 costs 24.
 *
 * Two planes of tf32 take as many cycles, three products at half the speed, and 8 bytes a number
 * instead of 6; they leave 22 or 23 bits, and ldmatrix cannot transpose them.
 *
 * Registers decide: sums of 32 queries and 64 channels are 64 registers of a lane, scores of 32
 * queries and 64 keys as many. 32 queries need half the loads from shared memory per product, which
 * at 16 are the limit (128 bytes a cycle feed half of what the tensor cores of sm_90 can do).
 *
 * Counted in the code for sm_90a, a warp's part of 32 queries (nothing has been timed yet; that
 * mma.sync reaches 0.62 of the peak, a product of 16 x 8 x 16 every 6.3 cycles, is what others
 * have published):
 *
 *               keys  registers, blocks  instructions + of a tile  exp unit  tensor cores   at best
 *   bf16, d=24    64      168, 3             355 + 115              480         300          0.39
 *   bf16, d=64    64      254, 2             414 + 230              512         806          0.62
 *   bf16, d=128   32      251, 2             313 + 230              256         806          0.62
 *   f32, d=24     32      233, 2             810 + 115              256         907          0.10
 *   f32, d=64     32      228, 2             700 + 230              128        1210          0.10
 *
 * cycles of a quarter of a multiprocessor, of which the largest counts, and useful products as a
 * share of the peak of bf16; f32 with d = 64 has 16 queries. FMA units alone could not do more than
 * 0.07.
 *
 * Pairs that are hidden weigh 0 but are multiplied, as on the CPU: a NaN shows in every row that
 * sees it, and may in others that share a tile with it. */
#ifndef MOSAIC_ATTENTION_TENSOR_H
#define MOSAIC_ATTENTION_TENSOR_H
#include "../inline.h"
#include "call.h"

#ifdef __cplusplus
#include "mask.h"
#define MOSAIC_SHAPE static constexpr __host__ __device__
#else
#define MOSAIC_SHAPE static inline
#endif

enum {
    TENSOR_WARPS = 4,
    TENSOR_THREADS = 32 * TENSOR_WARPS,
    TENSOR_STAGES = 2,
    TENSOR_WORDS = 64, /* of bits, a tile each, that a block knows at a time */
};

MOSAIC_SHAPE int tensor_channels(int head) { return (head + 7) / 8 * 8; }

MOSAIC_SHAPE int tensor_planes(int element) { return element == MOSAIC_ATTENTION_F32 ? 3 : 1; }

/* Tiles of 16 queries that a warp has. */
MOSAIC_SHAPE int tensor_row_tiles(int head, int element)
{
    return tensor_channels(head) * tensor_planes(element) <= 128 ? 2 : 1;
}

MOSAIC_SHAPE int tensor_queries(int head, int element)
{
    return 16 * TENSOR_WARPS * tensor_row_tiles(head, element);
}

/* Keys whose scores are in registers at a time. */
MOSAIC_SHAPE int tensor_part(int head, int element)
{
    int channels = tensor_channels(head) * tensor_planes(element);
    return tensor_planes(element) == 1 && channels <= 64 ? 64 : channels <= 256 ? 32 : 16;
}

/* Keys of a tile: small heads take two parts at a time, because a tile costs 200 instructions. */
MOSAIC_SHAPE int tensor_keys(int head, int element)
{
    return tensor_part(head, element) * (tensor_channels(head) <= 32 ? 2 : 1);
}

/* Of a row in shared memory: an odd number of 16 bytes, so that 8 rows lie in different banks. */
MOSAIC_SHAPE int tensor_row_bytes(int head) { return 16 * (tensor_channels(head) / 8 | 1); }

/* ---- f32 as three planes: split.cu ---------------------------------------------------------- */

/* What split.cu makes of a tile: (plane, key, channel) in bf16. */
MOSAIC_SHAPE int tensor_split_bytes(int head)
{
    return 6 * tensor_keys(head, MOSAIC_ATTENTION_F32) * tensor_channels(head);
}

/* ---- shared memory -------------------------------------------------------------------------- */

/* Keys or values of one tile. */
MOSAIC_SHAPE int tensor_tile_bytes(int head, int element)
{
    return tensor_planes(element) * tensor_keys(head, element) * tensor_row_bytes(head);
}

/* Of a block that are not in its dynamic shared memory, rounded up to what that is aligned to. */
enum { TENSOR_STATIC_BYTES = 2048 };

/* Queries, then stages of keys and values. */
MOSAIC_SHAPE int tensor_shared_bytes(int head, int element)
{
    return tensor_planes(element) * tensor_queries(head, element) * tensor_row_bytes(head) +
           TENSOR_STAGES * 2 * tensor_tile_bytes(head, element);
}

/* Queries of several heads share a tile where each head has few. */
MOSAIC_INLINE bool tensor_packs(const mosaic_attention_args *a, int queries)
{
    return a->heads > a->kv_heads && a->nq <= queries / 2 && !a->extent.data;
}

#endif
