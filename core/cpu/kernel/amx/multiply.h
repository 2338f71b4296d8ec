/* multiply.h - sums of tiles, and what else is done while they are made.
 *
 * While tiles multiply, a core has time for work of other kinds: splitting what is multiplied next
 * and finishing sums from before. That is cut into small units, called between the products. */
#ifndef MOSAIC_CPU_AMX_MULTIPLY_H
#define MOSAIC_CPU_AMX_MULTIPLY_H
#include "finish.h"

enum { GROUP = 2 /* tiles down and across that are multiplied at a time */ };

/* ---- work between the products -------------------------------------------------------------- */

/* What is to be split, and finished, of which `units` are done while a group is multiplied, in so
 * many calls. */
typedef struct {
    const mosaic_gemm *g;
    splitter a, b;
    block done;
    int64_t splits, units, calls, due;
} chores;

static bool split_next(chores *w)
{
    splitter *s = splits(&w->a) ? &w->a : &w->b;
    if (!splits(s)) return false;
    split_some(s);
    return true;
}

static void finish(chores *w)
{
    while (w->done.tile < tiles_of(&w->done)) finish_tile(w->g, &w->done);
}

/* Sums come last: their tiles have just been stored. */
static void work(chores *w)
{
    for (w->due += w->units; w->due >= w->calls; w->due -= w->calls)
        if (w->splits > 0 && split_next(w))
            w->splits--;
        else if (w->done.tile < tiles_of(&w->done))
            finish_tile(w->g, &w->done);
}

/* ---- products ------------------------------------------------------------------------------- */

#define LOAD_A(part)                                                                               \
    do {                                                                                           \
        _tile_loadd(4, a + (part)*TILE_BYTES, LINE);                                               \
        if (down > 1) _tile_loadd(5, a + a_step + (part)*TILE_BYTES, LINE);                        \
    } while (0)
#define LOAD_B(part)                                                                               \
    do {                                                                                           \
        _tile_stream_loadd(6, b + (part)*TILE_BYTES, LINE);                                        \
        if (across > 1) _tile_stream_loadd(7, b + b_step + (part)*TILE_BYTES, LINE);               \
    } while (0)
#define MULTIPLY                                                                                   \
    do {                                                                                           \
        MULTIPLY_TILES(down, across);                                                              \
        work(w);                                                                                   \
    } while (0)
enum { CALLS = 6 /* of MULTIPLY in a step */ };

/* Faces of a group's first rows and columns; steps to the next. */
typedef struct {
    const char *a, *b;
    int64_t a_step, b_step, steps;
    bool first;
} factors;

/* sums (down,across), rows of tiles sum_step floats apart, += a b, or <- that, if it comes first */
VEC_INLINE void multiply_tiles(const int down, const int across, float *sums, int64_t sum_step,
                               const factors *f, chores *w)
{
    const char *a = f->a, *b = f->b;
    const int64_t a_step = f->a_step, b_step = f->b_step;
    SEE_MEMORY;
    if (f->first) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        _tile_loadd(0, sums, LINE);
        if (across > 1) _tile_loadd(1, sums + CELLS, LINE);
        if (down > 1) _tile_loadd(2, sums + sum_step, LINE);
        if (down > 1 && across > 1) _tile_loadd(3, sums + sum_step + CELLS, LINE);
    }
    for (int64_t t = 0; t < f->steps; t++, a += FACE, b += FACE) {
        LOAD_A(2);
        LOAD_B(0);
        MULTIPLY;
        LOAD_A(1);
        MULTIPLY;
        LOAD_B(1);
        MULTIPLY;
        LOAD_A(0);
        MULTIPLY;
        LOAD_B(2);
        MULTIPLY;
        LOAD_B(0);
        MULTIPLY;
    }
    _tile_stored(0, sums, LINE);
    if (across > 1) _tile_stored(1, sums + CELLS, LINE);
    if (down > 1) _tile_stored(2, sums + sum_step, LINE);
    if (down > 1 && across > 1) _tile_stored(3, sums + sum_step + CELLS, LINE);
    SEE_MEMORY;
}

static void multiply_group(const block *c, const factors *f, chores *w)
{
    bool down = c->rows > SIDE, across = c->columns > SIDE;
    if (down && across)
        multiply_tiles(2, 2, c->sums, c->wide * CELLS, f, w);
    else if (down)
        multiply_tiles(2, 1, c->sums, c->wide * CELLS, f, w);
    else if (across)
        multiply_tiles(1, 2, c->sums, c->wide * CELLS, f, w);
    else
        multiply_tiles(1, 1, c->sums, c->wide * CELLS, f, w);
}

#endif
