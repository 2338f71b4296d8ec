/* backward.h - attention's gradients on tensor cores: how large the tiles are, for the kernels of a
 * variant and for the host that launches them; and the numbers that gradients are scaled by.
 *
 * Two kernels, without atomics. In backward_keys a block's keys and values stay, and queries with
 * the gradients of their results pass by: dk and dv. In backward_queries queries stay and keys
 * pass: dq. Both compute p and ds anew, 7 products where 5 would do, for a fixed order of all sums.
 * What stays are rows of the products, so weights go from sums of one product to the first operand
 * of the next as they lie in registers. A block is 4 warps of 16 or 32 rows.
 *
 * Gradients of results are f32: backward_pack.cu rounds them to the 16-bit type of the operands, of
 * f16 with a scale, and makes three planes of bf16 of f32, of all operands. */
#ifndef MOSAIC_ATTENTION_BACKWARD_H
#define MOSAIC_ATTENTION_BACKWARD_H
#include "tensor.h"

/* Tiles of 16 rows that a warp has. */
MOSAIC_SHAPE int backward_row_tiles(int head, int element)
{
    return tensor_channels(head) <= (tensor_planes(element) == 1 ? 64 : 24) ? 2 : 1;
}

/* Rows that stay, and rows that pass by together. */
MOSAIC_SHAPE int backward_stay(int head, int element)
{
    return 16 * TENSOR_WARPS * backward_row_tiles(head, element);
}
MOSAIC_SHAPE int backward_pass(int head, int element)
{
    int channels = tensor_channels(head);
    if (tensor_planes(element) > 1) return channels <= 32 ? 32 : 16;
    return channels <= 64 ? 64 : channels <= 256 ? 32 : 16;
}

/* Sums for dk and dv of more channels are no longer both in registers: blocks of their own. */
MOSAIC_SHAPE bool backward_splits(int head) { return tensor_channels(head) > 128; }

/* Two operands that stay, then stages of two that pass, with their terms. */
MOSAIC_SHAPE int backward_shared_bytes(int head, int element)
{
    int rows = tensor_planes(element) * tensor_row_bytes(head);
    return 2 * rows * backward_stay(head, element) +
           TENSOR_STAGES * (2 * rows + 16) * backward_pass(head, element);
}

/* ---- numbers that backward_pack.cu finds ---------------------------------------------------- */

/* Weights of f16 are large, for it has few exponents: 2^offset p. */
MOSAIC_SHAPE int backward_offset(int element) { return element == MOSAIC_ATTENTION_F16 ? 7 : 0; }

/* Of one query. */
typedef struct {
    float shift, rest; /* log2(e) lse, less the offset, as a sum; infinity: it sees nothing */
    float delta;       /* as slants have it */
    float unused;
} backward_terms;

/* Of f16, powers of two that dout and slants (ds) were divided by, for a group of heads (b0, b1,
 * kv_head), whose sums are one: a batch entry does not cost another one its bits. Else 0. */
typedef struct mosaic_attention_scales {
    int dout, slant;
} mosaic_attention_scales;

#ifdef __cplusplus
MOSAIC_DEVICE mosaic_attention_scales scales_of(const mosaic_attention_args &a,
                                                const mosaic_attention_place &p)
{
    return a.scales[(p.b0 * a.b1 + p.b1) * a.kv_heads + p.kv_head];
}
#endif

#endif
