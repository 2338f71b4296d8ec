/* hopper_backward_block.h - a block of hopper_backward.cu: what stays, what passes by, its shared
 * memory, and who fetches tiles into it. */
#ifndef MOSAIC_ATTENTION_HOPPER_BACKWARD_BLOCK_H
#define MOSAIC_ATTENTION_HOPPER_BACKWARD_BLOCK_H
#include "backward.h"
#include "hopper_rows.h"
#include "planes.h"

enum {
    PASS = MOSAIC_HOPPER_BOX,
    STAY = 64 * CONSUMERS,
    STAGES = MOSAIC_HOPPER_PASSING(HEAD),
    STAY_BYTES = PARTS * STAY * ROW,
    PASS_BYTES = PARTS * PASS * ROW,
    TERMS_BYTES = PASS * (int)sizeof(backward_terms),
    STAGE_BYTES = 2 * PASS_BYTES + TERMS_BYTES,
    OFFSET = backward_offset(ELEMENT),
};

typedef float scores[PASS / 2];   /* of a thread: see wgmma_ss */
typedef float sums[WIDTH / 2];    /* of a thread */
typedef uint32_t pairs[PASS / 4]; /* scores as elements */

/* ---- a block -------------------------------------------------------------------------------- */

/* What a block does; in shared memory, for registers are few. */
typedef struct {
    mosaic_attention_place p; /* its head: the first one that passes */
    int tile;                 /* that stays */
    int stay, pass;           /* rows that there are */
    int heads;                /* that pass, one after the other */
} block;

/* After the tiles in shared memory. */
typedef struct {
    barrier stay, score[STAGES], slant[STAGES]; /* has come */
    barrier free[STAGES];                       /* may be overwritten */
    block b;
} control;
static_assert(sizeof(control) <= MOSAIC_HOPPER_BACKWARD_CONTROL, "more shared memory");

/* Operands of scores (q, k), and of their gradients (dout, v); the terms of passing queries. */
typedef struct {
    unsigned char *stay, *stages;
} room;

MOSAIC_DEVICE unsigned char *score_at(const room &r, int stage)
{
    return r.stages + stage * STAGE_BYTES;
}
MOSAIC_DEVICE unsigned char *slant_at(const room &r, int stage)
{
    return score_at(r, stage) + PASS_BYTES;
}
MOSAIC_DEVICE unsigned char *terms_at(const room &r, int stage)
{
    return score_at(r, stage) + 2 * PASS_BYTES;
}
MOSAIC_DEVICE control *control_of(const room &r)
{
    return (control *)(r.stages + STAGES * STAGE_BYTES);
}

/* What has more to do where a mask is causal is started first: early keys, late queries. */
template <side S> MOSAIC_DEVICE void open_block(block &b, const mosaic_attention_args &a)
{
    b.heads = S == KEYS_STAY ? (int)(a.heads / a.kv_heads) : 1;
    b.stay = (int)(S == KEYS_STAY ? a.nk : a.nq);
    b.pass = (int)(S == KEYS_STAY ? a.nq : a.nk);
    const int tiles = (b.stay + STAY - 1) / STAY, number = blockIdx.x % tiles;
    b.p = place_of(a, (int64_t)(blockIdx.x / tiles) * b.heads);
    b.tile = S == KEYS_STAY ? number : tiles - 1 - number;
}

/* A tile that passes. */
typedef struct {
    int head, tile; /* from the block's first head on */
    bool all;       /* the mask hides none of its pairs, and all its rows are there */
} passing;

/* The next one that what stays has to do with; the first one after {0, -1}. */
template <side S>
MOSAIC_DEVICE bool find_next(passing &n, const mosaic_attention_args &a, const block &b)
{
    for (;;) {
        if (++n.tile * PASS >= b.pass) {
            n.tile = 0;
            if (++n.head == b.heads) return false;
        }
        const int seen =
            S == KEYS_STAY ? tile_sees(a, b.p, n.tile, b.tile) : tile_sees(a, b.p, b.tile, n.tile);
        n.all = seen == MOSAIC_TILE_ALL && (n.tile + 1) * PASS <= b.pass;
        if (seen != MOSAIC_TILE_NONE) return true;
    }
}

/* ---- the fetcher ---------------------------------------------------------------------------- */

/* Rows of an operand, from `row` on, each part of their columns for itself. */
template <int ROWS>
MOSAIC_DEVICE void load_rows(unsigned char *to, const mosaic_tile_map *map, barrier *b, int row,
                             const mosaic_attention_place &p, int head)
{
#pragma unroll 1
    for (int part = 0; part < PARTS; part++)
#pragma unroll 1
        for (int rows = 0; rows < ROWS; rows += MOSAIC_HOPPER_BOX)
            tile_load(to + part * ROWS * ROW + rows * ROW, map, b, part * COLUMNS, row + rows, head,
                      (int)p.b1, (int)p.b0);
}

template <side S> MOSAIC_DEVICE void fetch(const mosaic_hopper_backward_call &c, const room &r)
{
    const bool keys = S == KEYS_STAY;
    control &with = *control_of(r);
    const block &b = with.b;
    passing n = {0, -1, false};
    turn t = {0, 0};
    const int head = (int)(keys ? b.p.kv_head : b.p.head);
    tile_prefetch_map(&c.q);
    tile_prefetch_map(&c.k);
    tile_prefetch_map(&c.v);
    tile_prefetch_map(&c.dout);
    barrier_expect(&with.stay, 2 * STAY_BYTES);
    load_rows<STAY>(r.stay, keys ? &c.k : &c.q, &with.stay, b.tile * STAY, b.p, head);
    load_rows<STAY>(r.stay + STAY_BYTES, keys ? &c.v : &c.dout, &with.stay, b.tile * STAY, b.p,
                    head);
    for (; find_next<S>(n, c.args, b); next<STAGES>(t)) {
        const int from = (int)(keys ? b.p.head : b.p.kv_head) + n.head, row = n.tile * PASS;
        barrier *score = &with.score[t.stage], *slant = &with.slant[t.stage];
        barrier_wait(&with.free[t.stage], t.parity ^ 1);
        barrier_expect(score, PASS_BYTES + (keys ? TERMS_BYTES : 0));
        load_rows<PASS>(score_at(r, t.stage), keys ? &c.q : &c.k, score, row, b.p, from);
        if (keys)
            tile_load(terms_at(r, t.stage), &c.terms, score, 0, row, from, (int)b.p.b1,
                      (int)b.p.b0);
        barrier_expect(slant, PASS_BYTES);
        load_rows<PASS>(slant_at(r, t.stage), keys ? &c.dout : &c.v, slant, row, b.p, from);
    }
}

#endif
