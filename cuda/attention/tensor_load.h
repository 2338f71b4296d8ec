/* tensor_load.h - a block's queries, and tiles of keys and values, from any strides into shared
 * memory. */
#ifndef MOSAIC_ATTENTION_TENSOR_LOAD_H
#define MOSAIC_ATTENTION_TENSOR_LOAD_H
#include <mma.h>

#include "planes.h"
#include "tensor.h"

enum {
    PLANES = tensor_planes(ELEMENT),
    CHANNELS = tensor_channels(HEAD),
    ROW_TILES = tensor_row_tiles(HEAD, ELEMENT),
    QUERIES = tensor_queries(HEAD, ELEMENT),
    PART = tensor_part(HEAD, ELEMENT), /* of the KEYS of a tile */
    KEYS = tensor_keys(HEAD, ELEMENT),
    ROW_BYTES = tensor_row_bytes(HEAD),
    TILE_BYTES = tensor_tile_bytes(HEAD, ELEMENT),
    SPLIT_BYTES = tensor_split_bytes(HEAD),
    SPLIT = PLANES > 1,
};

/* Keys or values of one head, in bytes. */
typedef struct {
    const char *data;
    int64_t tile, row; /* from one to the next */
    int width;         /* that can be copied at once: 16, 8 or 4; 2: element by element */
} tensor_operand;

/* What products are multiplied by. The rest counts where there are planes; it has the same sign and
 * is not 0, so that infinity times both is no NaN. */
typedef struct {
    float leading, rest;
} tensor_factor;

MOSAIC_DEVICE tensor_factor factor_of(double x)
{
    tensor_factor f;
    f.leading = (float)(SPLIT ? x * (1 - 0x1p-24) : x);
    f.rest = (float)(x - (double)f.leading);
    if (x > 0) f.rest = fmaxf(f.rest, 0x1p-149f);
    return f;
}

/* x factor + y */
MOSAIC_DEVICE float times(float x, const tensor_factor &f, float y)
{
    y = fmaf(x, f.leading, y);
    return SPLIT ? fmaf(x, f.rest, y) : y;
}

/* What a block works on, in shared memory. Its rows are queries first, first + 1, ... of one head,
 * or, packed, row r of all of them is query r % nq of head r / nq of the group. */
typedef struct {
    mosaic_attention_place p; /* of query `first` */
    int64_t first;
    int64_t tile;
    int rows; /* of QUERIES */
    bool packed;
    tensor_factor natural, binary; /* of products q.k: for scores, and for exponents of 2 */
    tensor_operand k, v;
    int tiles;                   /* worked on so far, */
    bool last;                   /* the call's last one among them */
    unsigned long long hidden;   /* pairs of these */
    unsigned seen[TENSOR_WORDS]; /* tiles that the queries see something of, */
    unsigned all[TENSOR_WORDS];  /* and all of */
    struct {
        int head, query; /* after those of p and first */
    } row[QUERIES];      /* rows that are not there: the last one */
} tensor_block;

/* Bytes that can be copied at once where rows are so aligned. */
MOSAIC_DEVICE int copy_width(const char *data, int64_t row, int64_t column)
{
    unsigned bits = (unsigned)(uint64_t)data | (unsigned)row | 16;
    return column == 1 ? (int)(bits & (0 - bits)) : 2;
}

MOSAIC_DEVICE tensor_operand operand_of(const mosaic_attention_args &a,
                                        const mosaic_attention_place &p,
                                        const mosaic_attention_view &v)
{
    tensor_operand o = {v.data, 0, 2 * v.row, 16};
    if (PLANES == 1) {
        o.data += 2 * kv_at(v, p, 0, 0);
        o.width = copy_width(o.data, o.row, v.column);
        o.tile = KEYS * o.row;
    } else {
        int64_t unit = (p.b0 * a.b1 + p.b1) * a.kv_heads + p.kv_head;
        o.tile = SPLIT_BYTES;
        o.data += unit * ((a.nk + KEYS - 1) / KEYS) * o.tile;
        o.row = 2 * CHANNELS;
    }
    return o;
}

#define LOG2_E 1.4426950408889634

/* Neighbours work on neighbouring tiles of one head, late ones first: causal ones have more to do.
 */
MOSAIC_DEVICE void open_block(tensor_block &b, const mosaic_attention_args &a)
{
    int64_t group = a.heads / a.kv_heads;
    bool packed = tensor_packs(&a, QUERIES);
    int64_t rows = packed ? group * a.nq : a.nq, tiles = (rows + QUERIES - 1) / QUERIES;
    int64_t unit = blockIdx.x / tiles, tile = tiles - 1 - blockIdx.x % tiles;
    int here = (int)min((int64_t)QUERIES, rows - tile * QUERIES);
    if (threadIdx.x == 0) {
        b.p = place_of(a, packed ? unit * group : unit);
        b.first = packed ? 0 : tile * QUERIES;
        b.tile = packed ? 0 : tile;
        b.rows = here;
        b.packed = packed;
        b.natural = factor_of(a.scale);
        b.binary = factor_of(fmax(a.scale * LOG2_E, 0x1p-140)); /* not 0: hidden is -infinity */
        b.tiles = 0;
        b.hidden = b.last = false;
        b.k = operand_of(a, b.p, a.k);
        b.v = operand_of(a, b.p, a.v);
    }
    for (int r = threadIdx.x; r < QUERIES; r += TENSOR_THREADS) {
        unsigned row = (unsigned)min(r, here - 1), all = (unsigned)(tile * QUERIES) + row;
        b.row[r].head = packed ? all / (unsigned)a.nq : 0;
        b.row[r].query = packed ? all % (unsigned)a.nq : row;
    }
    __syncthreads();
}

/* Row `row` of the block, or the last one: whose is it? */
MOSAIC_DEVICE int64_t query_of(const tensor_block &b, int row, mosaic_attention_place &p)
{
    p = b.p;
    p.head += b.row[row].head;
    return b.first + b.row[row].query;
}

/* ---- rows of 16-bit elements ---------------------------------------------------------------- */

/* width bytes, or zeros after so many. */
template <int width> MOSAIC_DEVICE void cp_async(shared_at to, const void *from, int bytes)
{
    if (width == 16) cp_async_16(to, from, bytes);
    if (width == 8) cp_async_8(to, from, bytes);
    if (width == 4) cp_async_4(to, from, bytes);
}

template <int width> MOSAIC_DEVICE void cp_async_if(shared_at to, const void *from, bool there)
{
    if (width == 16) cp_async_16_if(to, from, there);
    if (width == 8) cp_async_8_if(to, from, there);
    if (width == 4) cp_async_4_if(to, from, there);
}

/* ROWS rows of BYTES bytes, `stride` bytes apart, of which there are `here`: 0 beyond them, and up
 * to a multiple of 16 bytes. */
template <int width, int ROWS, int BYTES>
MOSAIC_DEVICE void copy_rows(unsigned char *to, const char *from, int64_t stride, int here)
{
    const int pieces = (BYTES + 15) / 16 * 16 / width, at_once = TENSOR_THREADS / pieces;
    int thread = opaque(threadIdx.x), row = (unsigned)thread / pieces;
    int at = (unsigned)thread % pieces * width;
    shared_at there = shared_of(to) + row * ROW_BYTES + at;
    from += row * stride + at;
    if (row >= at_once) return;
#pragma unroll
    for (int r = 0; r < ROWS; r += at_once, from += at_once * stride) {
        if (ROWS % at_once && r + row >= ROWS) continue;
        if (BYTES % 16 == 0)
            cp_async_if<width>(there + r * ROW_BYTES, from, r + row < here);
        else
            cp_async<width>(there + r * ROW_BYTES, from,
                            r + row < here ? max(0, min(width, BYTES - at)) : 0);
    }
}

/* The same of a strided operand, element by element; offset(row) is in elements. */
template <int ROWS, class Offset>
MOSAIC_DEVICE void copy_elements(unsigned char *to, const char *from, int64_t column, int here,
                                 Offset offset)
{
#pragma unroll 4
    for (int n = opaque(threadIdx.x); n < ROWS * CHANNELS; n += TENSOR_THREADS) {
        int row = n / CHANNELS, c = n % CHANNELS;
        uint16_t x = 0;
        if (row < here && c < HEAD) x = ((const uint16_t *)from)[offset(row) + c * column];
        ((uint16_t *)(to + row * ROW_BYTES))[c] = x;
    }
}

/* Of `width` see copy_width. */
template <int ROWS, int BYTES>
MOSAIC_DEVICE void copy_operand(unsigned char *to, const char *from, int64_t row, int64_t column,
                                int width, int here)
{
    switch (width) {
    case 16: return copy_rows<16, ROWS, BYTES>(to, from, row, here);
    case 8: return copy_rows<8, ROWS, BYTES>(to, from, row, here);
    case 4: return copy_rows<4, ROWS, BYTES>(to, from, row, here);
    default: copy_elements<ROWS>(to, from, column, here, [&](int r) { return r * row / 2; });
    }
}

/* ---- keys and values ------------------------------------------------------------------------ */

/* A tile of k or v. Of f32 there are planes. */
MOSAIC_DEVICE void load_tile(unsigned char *to, const tensor_operand &o, int64_t column, int64_t nk,
                             int tile)
{
    const char *from = o.data + tile * o.tile;
    int here = (int)min((int64_t)KEYS, nk - (int64_t)tile * KEYS);
    if (!SPLIT) return copy_operand<KEYS, 2 * HEAD>(to, from, o.row, column, o.width, here);
    copy_rows<16, PLANES * KEYS, 2 * CHANNELS>(to, from, 2 * CHANNELS, PLANES * KEYS);
}

/* ---- queries -------------------------------------------------------------------------------- */

/* f32: planes of the block's queries. */
MOSAIC_DEVICE void split_queries(unsigned char *to, const mosaic_attention_args &a,
                                 const tensor_block &b)
{
    const int pairs = CHANNELS / 2, plane = QUERIES * ROW_BYTES / 4;
    auto element = [&](int row, int c) {
        mosaic_attention_place p;
        if (row >= b.rows || c >= HEAD) return 0.0f;
        int64_t i = query_of(b, row, p);
        return ((const float *)a.q.data)[at(a.q, p, i, c)];
    };
    for (int n = threadIdx.x; n < QUERIES * pairs; n += TENSOR_THREADS) {
        int row = n / pairs, c = n % pairs * 2;
        unsigned *at_row = (unsigned *)(to + row * ROW_BYTES + 2 * c);
        split_pair(element(row, c), element(row, c + 1), at_row[0], at_row[plane],
                   at_row[2 * plane]);
    }
}

MOSAIC_DEVICE void load_queries(unsigned char *to, const mosaic_attention_args &a,
                                const tensor_block &b)
{
    if (SPLIT) return split_queries(to, a, b);
    const char *from = a.q.data + 2 * at(a.q, b.p, b.first, 0);
    if (!b.packed) {
        int width = copy_width(from, 2 * a.q.row, a.q.column);
        copy_operand<QUERIES, 2 * HEAD>(to, from, 2 * a.q.row, a.q.column, width, b.rows);
    } else {
        copy_elements<QUERIES>(to, from, a.q.column, b.rows, [&](int row) {
            return b.row[row].head * a.q.head + b.row[row].query * a.q.row;
        });
    }
}

#endif
