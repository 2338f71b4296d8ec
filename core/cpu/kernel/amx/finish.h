/* finish.h - from sums in tiles to rows of a product: scaled, with what they start from, and made
 * again where they are not finite. */
#ifndef MOSAIC_CPU_AMX_FINISH_H
#define MOSAIC_CPU_AMX_FINISH_H
#include "../../gemm.h"
#include "split.h"

enum {
    CELLS = SIDE * SIDE, /* sums of a tile */
    SOON = 2 * SIDE      /* so many rows of c at a time, those further down are asked for */
};

/* Some of c, (rows,columns) from (i,j) on, and its sums, POWER twice too large: tiles, `wide` of
 * them a row. */
typedef struct {
    int64_t i, rows, j, columns;
    float *sums;
    int64_t wide, tile; /* tile: to be finished next */
    bool turned;        /* its rows are c's columns */
} block;

/* A tile of it: where it lies, and what it starts from, as in the other gemm.c. */
typedef struct {
    const float *sums, *start;
    float *c;
    int64_t i, j, rows, columns, start_row;
    const float *soon; /* a row of c that is asked for meanwhile, `width` floats, from `next` on */
    int64_t next, width;
} target;

static int64_t tiles_of(const block *b) { return pieces(b->rows, SIDE) * pieces(b->columns, SIDE); }

static void swap(int64_t *a, int64_t *b)
{
    int64_t was = *a;
    *a = *b, *b = was;
}

/* The tile's share of the next SOON rows, row by row as they lie in memory; as they are written, a
 * line of one row after the other, a training step takes about 1.01 times as long. */
static void look_ahead(target *t, const mosaic_gemm *g)
{
    int64_t lines = pieces(g->n, SIDE), above = t->i % SOON;
    int64_t line = (above / SIDE * lines + t->j / SIDE) * SIDE;
    t->soon = (const float *)g->c + (t->i - above + SOON + line / lines) * g->c_row;
    t->next = line % lines * SIDE, t->width = g->n;
}

static target target_of(const mosaic_gemm *g, const block *b)
{
    static const float nothing[SIDE];
    int64_t across = pieces(b->columns, SIDE), i = b->tile / across, j = b->tile % across;
    target t = {.sums = b->sums + (i * b->wide + j) * CELLS, .start = nothing};
    t.i = b->i + i * SIDE, t.j = b->j + j * SIDE;
    t.rows = smaller(SIDE, b->rows - i * SIDE), t.columns = smaller(SIDE, b->columns - j * SIDE);
    if (b->turned) {
        swap(&t.i, &t.j);
        swap(&t.rows, &t.columns);
    }
    int64_t at = t.i * g->c_row + t.j;
    t.c = (float *)g->c + at;
    look_ahead(&t, g);
    if (g->bias) t.start = (const float *)g->bias + t.j;
    if (g->add) t.start = (const float *)g->add + at, t.start_row = g->c_row;
    return t;
}

static void turn_tile(float *to, const float *from)
{
    vec x[SIDE];
    for (int r = 0; r < SIDE; r++) x[r] = vec_load(from + r * SIDE);
    transpose(x);
    for (int r = 0; r < SIDE; r++) vec_store(to + r * SIDE, x[r]);
}

static bool all_finite(const float *sums)
{
    vec check[4] = {vec_set(0), vec_set(0), vec_set(0), vec_set(0)};
    for (int r = 0; r < SIDE; r++)
        check[r % 4] = vec_fma(vec_load(sums + r * SIDE), vec_set(0), check[r % 4]);
    vec x = (check[0] + check[1]) + (check[2] + check[3]);
    return _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q) == 0;
}

/* c <- sums + start */
VEC_INLINE void write_tile(const target *t, int64_t c_row, int64_t rows, int64_t columns)
{
    const float *sums = t->sums, *start = t->start;
    const float *soon = t->soon;
    int64_t next = t->next;
    float *c = t->c;
    for (int64_t r = 0; r < rows; r++, sums += SIDE, start += t->start_row, c += c_row) {
        vec x = vec_fma(vec_load(sums), vec_set(1 / (POWER * POWER)), vec_read(start, columns));
        __builtin_prefetch(soon + next, 1);
        next += SIDE;
        if (next >= t->width) next = 0, soon += c_row;
        vec_write(c, x, columns);
    }
}

/* Row p of b, columns from j on. */
static vec row_of_b(const mosaic_gemm *g, int64_t p, int64_t j, int64_t columns)
{
    const float *b = (const float *)g->b + p * g->b_row + j * g->b_column;
    vec x = vec_set(0);
    for (int64_t v = 0; v < columns; v++) x[v] = b[v * g->b_column];
    return x;
}

/* c <- sums + start where that is finite, and by multiply-adds elsewhere. */
static __attribute__((noinline, cold)) void mend_tile(const target *t, const mosaic_gemm *g)
{
    const float *a = (const float *)g->a + t->i * g->a_row, *sums = t->sums;
    vec sum[SIDE];
    for (int64_t r = 0; r < t->rows; r++)
        sum[r] = vec_read(t->start + r * t->start_row, t->columns);
    for (int64_t p = 0; p < g->k; p++) {
        vec b = row_of_b(g, p, t->j, t->columns);
        for (int64_t r = 0; r < t->rows; r++)
            sum[r] = vec_fma(vec_set(a[r * g->a_row + p * g->a_column]), b, sum[r]);
    }
    for (int64_t r = 0; r < t->rows; r++, sums += SIDE) {
        vec x = vec_load(sums), start = vec_read(t->start + r * t->start_row, t->columns);
        __mmask16 finite = _mm512_cmp_ps_mask(x - x, vec_set(0), _CMP_EQ_OQ);
        x = vec_fma(x, vec_set(1 / (POWER * POWER)), start);
        vec_write(t->c + r * g->c_row, _mm512_mask_mov_ps(sum[r], finite, x), t->columns);
    }
}

static void finish_tile(const mosaic_gemm *g, block *b)
{
    _Alignas(64) float turned[CELLS];
    target t = target_of(g, b);
    b->tile++;
    if (b->turned) {
        turn_tile(turned, t.sums);
        t.sums = turned;
    }
    if (!all_finite(t.sums))
        mend_tile(&t, g);
    else if (t.rows == SIDE && t.columns == SIDE)
        write_tile(&t, g->c_row, SIDE, SIDE);
    else
        write_tile(&t, g->c_row, t.rows, t.columns);
}

#endif
