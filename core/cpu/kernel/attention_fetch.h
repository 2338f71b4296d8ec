/* attention_fetch.h - asks for the rows of the next unit while this one is worked on.
 *
 * On short axes (150 rows of a table) the work on a unit takes little longer than its operands take
 * from memory, and where rows lie further apart than prefetchers look, nobody else asks for them.
 * So between two products a few rows are asked for. All at once took as long as waiting for them:
 * a core has about a dozen lines under way. Measured on 150 x 75 x 24, 192 times, operands in
 * memory: forward 1.4, backward 1.3 times as fast; operands in the second-level cache: 4 % slower.
 */
#ifndef MOSAIC_CPU_ATTENTION_FETCH_H
#define MOSAIC_CPU_ATTENTION_FETCH_H
#include "attention_tile.h"

enum {
    FETCH_RUNS = 16,
    FETCH_BYTES = 1 << 18, /* of a unit, at most: of larger ones the first rows would be gone */
    FETCH_KEYS = 8         /* between one asking and the next */
};

/* Rows that lie evenly in memory, those still to come. */
typedef struct {
    const char *at;
    int64_t step, bytes, rows; /* from row to row; of a row */
} fetch_run;

typedef struct {
    fetch_run runs[FETCH_RUNS]; /* from the last to the first */
    int count;
    int64_t quota; /* rows at a time */
} fetcher;

/* Adds `rows` rows of d elements of each head, from row `first` on. */
static inline void fetch_rows(fetcher *f, const mosaic_rows *of, int64_t heads, int64_t first,
                              int64_t rows, int64_t d)
{
    int64_t size = mosaic_dtype_bytes((mosaic_dtype)of->dtype);
    for (int64_t h = 0; of->column == 1 && h < heads && f->count < FETCH_RUNS; h++)
        f->runs[f->count++] = (fetch_run){of->data + mosaic_rows_at(of, h, first, 0) * size,
                                          of->row * size, d * size, rows};
}

/* Spreads all rows over the work on u and so many keys, which asks `times` times for every
 * FETCH_KEYS of them and each tile. */
static inline void fetch_begin(fetcher *f, const mosaic_attention_unit *u, int64_t keys,
                               int64_t times)
{
    int64_t tiles = (u->group * u->nq + TILE - 1) / TILE, rows = 0, bytes = 0;
    int64_t calls = times * tiles * ((keys + FETCH_KEYS - 1) / FETCH_KEYS);
    for (int i = 0; i < f->count; i++) {
        rows += f->runs[i].rows;
        bytes += f->runs[i].rows * f->runs[i].bytes;
    }
    if (bytes > FETCH_BYTES || calls == 0)
        f->count = 0;
    else
        f->quota = (rows + calls - 1) / calls;
}

static inline void fetch_some(fetcher *f)
{
    if (!f->count) return;
    fetch_run *run = &f->runs[f->count - 1];
    const char *row = run->at, *end = row + min_i64(f->quota, run->rows) * run->step;
    for (; row != end; row += run->step)
        for (int64_t b = -(int64_t)((uintptr_t)row & 63); b < run->bytes; b += 64)
            __builtin_prefetch(row + b, 0, 2);
    run->at = end;
    run->rows -= f->quota;
    if (run->rows <= 0) f->count--;
}

#endif
