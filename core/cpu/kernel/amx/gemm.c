/* gemm.c - products of f32 matrices by AMX tiles, which multiply bf16 numbers.
 *
 * An f32 number is the exact sum of three bf16 numbers, its parts. Of the nine products of parts
 * the six largest are added up; what the others would add is less than half a unit in the last
 * place of a product. Sums are f32, rounded once for 32 terms of two parts: for sums of 96 the
 * error is half of that of multiply-adds, one after the other.
 *
 *     for a block of rows of a:
 *         for columns of b, GROUP tiles of c at a time:
 *             tiles += products of parts, DEPTH by DEPTH
 *             sums to memory; later: + start, to c
 *
 * b is split once for all rows, as a layer's weight, or, for the long sums of a^T b, as it comes.
 *
 * Tiles take what is subnormal as 0: operands are multiplied by 2^24, so that no part is, nor a sum
 * that f32 holds. Where sums are then not finite, because of large terms, infinities or NaNs, they
 * are made again by multiply-adds, element by element: no row depends on others.
 *
 * Measured in one run on a Sapphire Rapids core beside gemm.c's multiply-adds, 7200 rows: times 96
 * x 96, 192, 288 1.3, 1.45, 1.55 times as fast, 192 x 96 1.4; 28800 rows 1.2-1.5; the sums of
 * 96 x 96 1.1, 96 x 192 1.4, 288 x 96 1.3 (1.2 with the 288 transposed). Without units between the
 * products 0.7 of that; without asking for rows ahead 0.7 at 28800 rows; b not by stream loads,
 * which leave the first cache to a, or sums of all columns before they are finished, 0.9. No gain:
 * units twice as large, halves of tiles finished at a time (0.85 at 96 x 96), a fixed pace without
 * counting, sums of 64 or 256 at a time, fewer instructions to split (the second part cut off,
 * remainders by vdpbf16ps). What is asked for ahead costs a tenth where all is in the third cache,
 * but without it a training step takes 1.15 times as long. Tiles alone, of random numbers, reach
 * 340 GF/s of such products, as the clock falls to 2.4 GHz; of zeros 510. */
#include "../../gemm.h"

#include <string.h>

#include "../../cpu.h"
#include "../../kernels.h"
#include "multiply.h"

/* How many rows, columns and terms at a time: where b is packed, and where it is not. */
enum { PACKED_ROWS = GROUP * SIDE, PACKED_TERMS = 512, ROWS = 512, COLUMNS = 384, TERMS = 128 };

/* ---- groups of tiles ------------------------------------------------------------------------ */

/* The group of c at (i,j). */
static block group_of(const block *c, int64_t i, int64_t j)
{
    block b = *c;
    b.i += i, b.rows = smaller(GROUP * SIDE, c->rows - i);
    b.j += j, b.columns = smaller(GROUP * SIDE, c->columns - j);
    b.sums += i / SIDE * c->wide * CELLS + j / SIDE * CELLS;
    return b;
}

/* All of c. If the sums are whole with that, c has room for two groups of them, in turns: one is
 * finished during the next. */
static void multiply_block(const block *c, const factors *all, bool whole, chores *w)
{
    int64_t side = GROUP * SIDE, groups = pieces(c->rows, side) * pieces(c->columns, side);
    int64_t splits = pieces(units_of(&w->a) + units_of(&w->b), groups), turn = 0;
    w->calls = all->steps * CALLS;
    for (int64_t i = 0; i < c->rows; i += side)
        for (int64_t j = 0; j < c->columns; j += side, turn ^= 1) {
            block group = group_of(c, i, j);
            factors f = *all;
            f.a += i / SIDE * f.a_step, f.b += j / SIDE * f.b_step;
            if (whole) group.sums = c->sums + turn * GROUP * GROUP * CELLS, group.wide = GROUP;
            w->splits = splits, w->due = 0;
            w->units = splits + tiles_of(&w->done) - w->done.tile;
            multiply_group(&group, &f, w);
            finish(w);
            if (whole) w->done = group;
        }
    while (split_next(w)) continue;
}

/* ---- the kernel ----------------------------------------------------------------------------- */

/* A call, cut into blocks of so many rows, columns and terms; two of each kind of parts, in turns.
 */
typedef struct {
    const mosaic_gemm *result, *g; /* g: the product as it is made */
    bool turned;                   /* of its operands' transposes */
    int64_t rows, columns, depth;
    char *a[2], *b[2];
    float *sums;
    double *added; /* sums of result's a's rows, whole SIDEs of them; NULL: not wanted */
} job;

typedef struct {
    int64_t i, j, p;
} place;

static place after(const job *x, place at)
{
    at.p += x->depth;
    if (at.p < x->g->k) return at;
    at.p = 0, at.j += x->columns;
    if (at.j < x->g->n) return at;
    at.j = 0, at.i += x->rows;
    return at;
}

static operand b_from(const mosaic_gemm *g, int64_t p, int64_t depth, int64_t j, int64_t columns)
{
    const float *data = (const float *)g->b + p * g->b_row + j * g->b_column;
    return (operand){data,
                     g->b_column,
                     g->b_row,
                     smaller(columns, g->n - j),
                     smaller(depth, g->k - p),
                     depth * g->b_row,
                     true,
                     NULL};
}

/* The block at a place, if there is one, to parts. */
static void begin_split(const job *x, place at, int turn, chores *w)
{
    const mosaic_gemm *g = x->g;
    w->a.from = w->b.from = (operand){0};
    if (at.i >= g->m) return;
    operand a = {(const float *)g->a + at.i * g->a_row + at.p * g->a_column,
                 g->a_row,
                 g->a_column,
                 smaller(x->rows, g->m - at.i),
                 smaller(x->depth, g->k - at.p),
                 g->packed ? x->rows * g->a_row : x->depth * g->a_column,
                 false,
                 x->added && !x->turned && at.j == 0 ? x->added + at.i : NULL};
    split(&w->a, a, x->a[turn]);
    if (g->packed) return;
    operand b = b_from(g, at.p, x->depth, at.j, x->columns);
    if (x->added && x->turned && at.i == 0) b.sums = x->added + at.j;
    split(&w->b, b, x->b[turn]);
}

static factors factors_at(const job *x, place at, int turn)
{
    const mosaic_gemm *g = x->g;
    int64_t steps = pieces(smaller(x->depth, g->k - at.p), DEPTH);
    factors f = {x->a[turn], x->b[turn], steps * FACE, steps * FACE, steps, at.p == 0};
    if (!g->packed) return f;
    f.b_step = pieces(g->k, DEPTH) * FACE;
    f.b = (const char *)g->packed + at.j / SIDE * f.b_step + at.p / DEPTH * FACE;
    return f;
}

static void multiply_all(const job *x)
{
    const mosaic_gemm *g = x->g;
    bool whole = x->depth >= g->k;
    place at = {0}, next;
    chores w;
    w.g = x->result, w.done = (block){0};
    w.a.i = w.b.i = 0;
    begin_split(x, at, 0, &w);
    while (split_next(&w)) continue;
    for (int turn = 0; at.i < g->m; turn ^= 1, at = next) {
        next = after(x, at);
        begin_split(x, next, turn ^ 1, &w);
        block c = {.i = at.i, .j = at.j, .sums = x->sums, .turned = x->turned};
        c.rows = smaller(x->rows, g->m - at.i), c.columns = smaller(x->columns, g->n - at.j);
        c.wide = pieces(x->columns, SIDE);
        factors f = factors_at(x, at, turn);
        multiply_block(&c, &f, whole, &w);
        if (whole || at.p + x->depth < g->k) continue;
        w.done = c;
        finish(&w);
    }
    finish(&w);
}

/* The long sums of a^T b are those of b^T a, turned: fewer rows to be transposed for tiles. */
static bool turns(mosaic_gemm *turned, const mosaic_gemm *g)
{
    if (g->packed || g->a_column == 1 || g->b_column != 1 || g->m <= g->n) return false;
    *turned = *g;
    turned->m = g->n, turned->n = g->m;
    turned->a = g->b, turned->a_row = g->b_column, turned->a_column = g->b_row;
    turned->b = g->a, turned->b_row = g->a_column, turned->b_column = g->a_row;
    return true;
}

/* Where tiles are faster, and no less exact, whatever the rows of a: whole tiles cost as much as
 * full ones, and splitting a as much as three columns of them. */
static bool suits_tiles(const mosaic_gemm *g)
{
    int64_t across = pieces(g->n, SIDE), steps = pieces(g->k, DEPTH);
    if (g->k < 2 * DEPTH) return false;
    if (g->a_column != 1) return across >= 6;
    return across * g->k > 17 * (across + 3) * steps;
}

/* Sums of a's rows come with splitting a where tiles take it as it lies in a^T. */
static bool adds_rows(const mosaic_gemm *g)
{
    return suits_tiles(g) && !g->packed && g->a_row == 1;
}

static void deliver_sums(const job *x)
{
    for (int64_t i = 0; x->added && i < x->result->m; i++) x->result->sums[i] += x->added[i];
}

static bool multiply_tiled(const mosaic_gemm *result)
{
    mosaic_gemm turned;
    job x = {.result = result, .turned = turns(&turned, result)};
    const mosaic_gemm *g = x.g = x.turned ? &turned : result;
    x.rows = smaller(g->packed ? PACKED_ROWS : ROWS, pieces(g->m, SIDE) * SIDE);
    x.columns = pieces(g->n, SIDE) * SIDE;
    if (!g->packed) x.columns = smaller(COLUMNS, x.columns);
    x.depth = smaller(g->packed ? PACKED_TERMS : TERMS, pieces(g->k, DEPTH) * DEPTH);
    int64_t number = 2 * PARTS, a = x.rows * x.depth * number;
    int64_t b = g->packed ? 0 : x.columns * x.depth * number;
    int64_t sums = x.depth >= g->k ? 2 * GROUP * GROUP * CELLS : x.rows * x.columns;
    int64_t added = result->sums && adds_rows(result) ? pieces(result->m, SIDE) * SIDE : 0;
    int64_t bytes = 2 * (a + b) + sums * (int64_t)sizeof *x.sums + added * (int64_t)sizeof *x.added;
    char *room = mosaic_cpu_allocate(&mosaic_cpu_device, bytes);
    if (!room) return false;
    x.a[0] = room, x.a[1] = room + a, x.b[0] = x.a[1] + a, x.b[1] = x.b[0] + b;
    x.sums = (float *)(void *)(x.b[1] + b);
    if (added) x.added = memset(x.sums + sums, 0, (size_t)added * sizeof *x.added);
    configure_tiles();
    multiply_all(&x);
    _tile_release();
    deliver_sums(&x);
    mosaic_cpu_release(&mosaic_cpu_device, room, bytes);
    return true;
}

static int64_t packed_size(const mosaic_gemm *g)
{
    if (!suits_tiles(g)) return mosaic_cpu_gemm_avx512.packed_size(g);
    return pieces(g->n, SIDE) * pieces(g->k, DEPTH) * FACE / (int64_t)sizeof(float);
}

static void pack(const mosaic_gemm *g, float *packed, int64_t from, int64_t to)
{
    splitter s;
    if (!suits_tiles(g)) {
        mosaic_cpu_gemm_avx512.pack(g, packed, from, to);
        return;
    }
    char *at = (char *)packed + from / SIDE * pieces(g->k, DEPTH) * FACE;
    split(&s, b_from(g, 0, g->k, from, to - from), at);
    while (splits(&s)) split_some(&s);
}

static bool multiply(const mosaic_gemm *g)
{
    return suits_tiles(g) ? multiply_tiled(g) : mosaic_cpu_gemm_avx512.multiply_f32(g);
}

const mosaic_gemm_kernels mosaic_cpu_gemm_amx = {
    .packed_size = packed_size,
    .pack = pack,
    .multiply_f32 = multiply,
    .adds_rows = adds_rows,
    .fast = true,
    .cubes = true,
};
