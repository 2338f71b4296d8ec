/* backward_block.h - a block of backward.cu: what stays, what passes by, and its shared memory.
 *
 * SIDE says what stays: keys and values, or queries and the gradients of their results. Of scores a
 * lane 4g + t holds, for rows 16m + 8h + g of its warp, number r = 2m + h, the passing rows 8n + 2t
 * + e, number c = 2n + e: the layout of tensor_mask.h. A tile is worked on CHUNK rows at a time. */
#ifndef MOSAIC_ATTENTION_BACKWARD_BLOCK_H
#define MOSAIC_ATTENTION_BACKWARD_BLOCK_H
#include "backward.h"
#include "products.h"

enum {
    SIDE_TILES = backward_row_tiles(HEAD, ELEMENT),
    STAY = backward_stay(HEAD, ELEMENT),
    PASS = backward_pass(HEAD, ELEMENT),
    CHUNK = PLANES * CHANNELS <= 32 ? 32 : 16,
    CHUNK_TILES = CHUNK / 8,
    SIDE_ROWS = 2 * SIDE_TILES, /* of a lane */
    SIDE_COLUMNS = CHUNK / 4,   /* of a lane */
    SPLITS = backward_splits(HEAD),
    STAY_BYTES = PLANES * STAY * ROW_BYTES,
    PASS_BYTES = PLANES * PASS * ROW_BYTES,
    TERMS_BYTES = PASS * 16,
    WEIGHT_OFFSET = backward_offset(ELEMENT),
};

typedef enum { KEYS_STAY, QUERIES_STAY } side;

typedef float backward_scores[SIDE_TILES][CHUNK_TILES][4];

/* In shared memory. */
typedef struct {
    mosaic_attention_place p; /* its head: the first one of the group where keys stay */
    int64_t tile, first;      /* of what stays: its number, its first row */
    int heads;                /* that pass by, one after the other */
    bool slants, weights;     /* which sums it makes: of slants (dk, dq), of weights (dv) */
} backward_block;

MOSAIC_DEVICE int64_t tiles_of(int64_t rows, int tile) { return (rows + tile - 1) / tile; }

template <side S> MOSAIC_DEVICE int64_t rows_that_stay(const mosaic_attention_args &a)
{
    return S == KEYS_STAY ? a.nk : a.nq;
}
template <side S> MOSAIC_DEVICE int64_t rows_that_pass(const mosaic_attention_args &a)
{
    return S == KEYS_STAY ? a.nq : a.nk;
}

/* What has more to do where a mask is causal is started first: early keys, late queries. */
template <side S> MOSAIC_DEVICE void open_block(backward_block &b, const mosaic_attention_args &a)
{
    bool splits = S == KEYS_STAY && SPLITS;
    int64_t number = splits ? blockIdx.x / 2 : blockIdx.x;
    int64_t tiles = tiles_of(rows_that_stay<S>(a), STAY), unit = number / tiles;
    if (threadIdx.x == 0) {
        int group = (int)(a.heads / a.kv_heads);
        b.p = place_of(a, S == KEYS_STAY ? unit * group : unit);
        b.tile = S == KEYS_STAY ? number % tiles : tiles - 1 - number % tiles;
        b.first = b.tile * STAY;
        b.heads = S == KEYS_STAY ? group : 1;
        b.slants = !splits || blockIdx.x % 2 == 0;
        b.weights = S == KEYS_STAY && (!splits || blockIdx.x % 2 == 1);
    }
    __syncthreads();
}

/* ---- shared memory -------------------------------------------------------------------------- */

/* Operands of scores (q, k), operands of their gradients (dout, v), terms of passing queries. */
typedef struct {
    unsigned char *score, *slant, *terms;
} backward_tile;

MOSAIC_DEVICE backward_tile stay_at(unsigned char *shared)
{
    backward_tile t = {shared, shared + STAY_BYTES, NULL};
    return t;
}

MOSAIC_DEVICE backward_tile stage_at(unsigned char *shared, int number)
{
    unsigned char *stages = shared + 2 * STAY_BYTES + number * (2 * PASS_BYTES + TERMS_BYTES);
    backward_tile t = {stages, stages + PASS_BYTES, stages + 2 * PASS_BYTES};
    return t;
}

/* Planes of `here` rows of an operand whose plane is followed by the next one. */
template <int ROWS>
MOSAIC_DEVICE void load_planes(unsigned char *to, const mosaic_attention_view &v, int64_t offset,
                               int64_t here)
{
    const char *from = v.data + 2 * offset;
    int rows = (int)min((int64_t)ROWS, here), width = copy_width(from, 2 * v.row, v.column);
#pragma unroll 1
    for (int plane = 0; plane < PLANES; plane++)
        copy_operand<ROWS, 2 * HEAD>(to + plane * ROWS * ROW_BYTES, from + 2 * plane * CHANNELS,
                                     2 * v.row, v.column, width, rows);
}

template <int ROWS>
MOSAIC_DEVICE void load_queries(const backward_tile &to, const mosaic_attention_args &a,
                                const mosaic_attention_place &p, int64_t first)
{
    load_planes<ROWS>(to.score, a.q, at(a.q, p, first, 0), a.nq - first);
    load_planes<ROWS>(to.slant, a.dout, at(a.dout, p, first, 0), a.nq - first);
}

template <int ROWS>
MOSAIC_DEVICE void load_keys(const backward_tile &to, const mosaic_attention_args &a,
                             const mosaic_attention_place &p, int64_t first)
{
    load_planes<ROWS>(to.score, a.k, kv_at(a.k, p, first, 0), a.nk - first);
    load_planes<ROWS>(to.slant, a.v, kv_at(a.v, p, first, 0), a.nk - first);
}

/* backward_pack.cu has put terms in the place of delta. */
MOSAIC_DEVICE const backward_terms *terms_at(const mosaic_attention_args &a,
                                             const mosaic_attention_place &p, int64_t i)
{
    return (const backward_terms *)a.delta.data + at(a.delta, p, i, 0);
}

MOSAIC_DEVICE void load_terms(unsigned char *to, const mosaic_attention_args &a,
                              const mosaic_attention_place &p, int64_t first)
{
    int row = threadIdx.x, here = first + row < a.nq;
    if (row < PASS)
        cp_async_16(shared_of(to) + 16 * row, terms_at(a, p, here ? first + row : 0), 16 * here);
}

template <side S>
MOSAIC_DEVICE void load_pass(const backward_tile &to, const mosaic_attention_args &a,
                             const mosaic_attention_place &p, int64_t tile)
{
    if (S == KEYS_STAY) {
        load_queries<PASS>(to, a, p, tile * PASS);
        load_terms(to.terms, a, p, tile * PASS);
    } else {
        load_keys<PASS>(to, a, p, tile * PASS);
    }
}

/* ---- tiles that are seen -------------------------------------------------------------------- */

/* What a warp knows of the next 32 tiles, heads of a group one after the other. */
typedef struct {
    int next; /* the tile after them */
    unsigned left, all;
} backward_cursor;

typedef struct {
    mosaic_attention_place p;
    int tile;
    bool all; /* no mask hides any of its pairs */
} backward_found;

template <side S>
MOSAIC_DEVICE int extent_of(const mosaic_attention_args &a, const backward_block &b, int n,
                            int tiles)
{
    mosaic_attention_place p = b.p;
    if (n >= tiles * b.heads) return MOSAIC_TILE_NONE;
    p.head += (unsigned)n / (unsigned)tiles;
    int64_t tile = (unsigned)n % (unsigned)tiles;
    return S == KEYS_STAY ? tile_sees(a, p, tile, b.tile) : tile_sees(a, p, b.tile, tile);
}

template <side S>
MOSAIC_DEVICE bool find_next(backward_found &f, backward_cursor &c, const mosaic_attention_args &a,
                             const backward_block &b)
{
    int tiles = (int)tiles_of(rows_that_pass<S>(a), PASS);
    while (!c.left) {
        if (c.next >= tiles * b.heads) return false;
        int sees = extent_of<S>(a, b, c.next + (int)threadIdx.x % 32, tiles);
        c.left = __ballot_sync(0xffffffffu, sees != MOSAIC_TILE_NONE);
        c.all = __ballot_sync(0xffffffffu, sees == MOSAIC_TILE_ALL);
        c.next += 32;
    }
    int first = __ffs(c.left) - 1, n = c.next - 32 + first;
    c.left &= c.left - 1;
    f.p = b.p;
    f.p.head += (unsigned)n / (unsigned)tiles;
    f.tile = (int)((unsigned)n % (unsigned)tiles);
    f.all = c.all >> first & 1;
    return true;
}

#endif
