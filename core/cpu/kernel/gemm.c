/* gemm.c - products of f32 matrices, for the shapes of layers: many rows times a small matrix, and
 * the long sums of a weight's gradient.
 *
 *           <- WIDTH vectors ->
 *           b from a panel, k rows down            HEIGHT x WIDTH vectors of c stay in registers
 *     a     +-----------------------+              while scalars of a and vectors of b stream past.
 *   HEIGHT  |  c: sums              |              DEPTH rows of b at a time meet a in blocks of
 *    rows   +-----------------------+              ROWS rows, which fit the nearest cache.
 *
 * Panels are b packed, or b itself where its rows are adjacent in memory. A matrix of weights is
 * packed once for all rows of a (pack); the long sums of a^T b, where a and b are used up as they
 * come, need no copies at all. What comes next from memory is asked for ahead.
 *
 * Measured in one run on a Sapphire Rapids core (FMA peak 170 GF/s), 7200 rows, in huge pages:
 * times 96 x 288 forward 126, dX 132, dW 103-120 GF/s; OpenBLAS 0.3.21: 106, 91, 95. Before, with
 * weights packed for every 1024 rows and a^T copied: 120, 127, 85-106. Without asking ahead
 * (m = 28800) 0.93, 0.77, 0.90 of that. No gain: asking for c ahead, ROWS of 48 or 192; for sums
 * of a^T b a depth of 96, 192 (as good) or 256, 384 (5-10 % less). */
#include "../gemm.h"

#include <stdlib.h>

#include "../kernels.h"
#include "../vec.h"

#define REAL float
#define BITS int32_t
#define NAME(x) x##_f32
#include "lanes.h"

#if defined(__AVX512F__)
enum { HEIGHT = 8, WIDTH = 3 };
#elif defined(__AVX2__)
enum { HEIGHT = 6, WIDTH = 2 };
#else
enum { HEIGHT = 1, WIDTH = 1 };
#endif
enum { VECTOR = LANES_BYTES / (int)sizeof(float), PANEL = WIDTH * VECTOR };
enum { DEPTH = 384, SUM_DEPTH = 128, ROWS = 96, COLUMNS = 384, LINE = 64 /* bytes */ };

/* A block of c: where it lies, and what it starts from (c itself, what is added to the product, or
 * the bias in every row). */
typedef struct {
    float *c;
    const float *start;
    int64_t c_row, start_row;
} target;

/* Rows of a as the inner loop reads them, k elements each. */
typedef struct {
    const float *data;
    int64_t row, column, k;
    const char *ahead; /* memory that will be needed soon, half a line per element of k */
} source;

/* Some columns of b, k rows of them. */
typedef struct {
    const float *data;
    int64_t row;
} strip;

/* c (rows, width vectors) = start + a (rows,k) b (k, width vectors); rows and width are constants
 * where this is inlined. */
static inline __attribute__((always_inline)) void
multiply_block(const target *to, const source *from, strip b, const int rows, const int width)
{
    lanes_f32 sum[HEIGHT][WIDTH];
    const float *a = from->data;
    const char *ahead = from->ahead;
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < width; v++)
            sum[r][v] = load_f32(to->start + r * to->start_row + v * VECTOR);
    for (int64_t p = 0; p < from->k; p++) {
        lanes_f32 at[WIDTH];
        for (int v = 0; v < width; v++) at[v] = load_f32(b.data + v * VECTOR);
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < width; v++) sum[r][v] += a[r * from->row] * at[v];
        __builtin_prefetch(ahead);
        b.data += b.row, a += from->column, ahead += LINE / 2;
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < width; v++) store_f32(to->c + r * to->c_row + v * VECTOR, sum[r][v]);
}

static void multiply_rows(const target *to, const source *from, strip b, bool all, int width)
{
#define CASE(w)                                                                                    \
    case w:                                                                                        \
        if (all)                                                                                   \
            multiply_block(to, from, b, HEIGHT, w);                                                \
        else                                                                                       \
            multiply_block(to, from, b, 1, w);                                                     \
        break
    switch (width) {
        CASE(1);
#if defined(__AVX2__)
        CASE(2);
#endif
#if defined(__AVX512F__)
        CASE(3);
#endif
    }
#undef CASE
}

static void copy(float *to, const float *from, int64_t count)
{
    int64_t i = 0;
    for (; i + VECTOR <= count; i += VECTOR) store_f32(to + i, load_f32(from + i));
    for (; i < count; i++) to[i] = from[i];
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Columns up to whole vectors. */
static int64_t padded(int64_t columns) { return (columns + VECTOR - 1) / VECTOR * VECTOR; }

/* ---- packing -------------------------------------------------------------------------------- */

/* columns (count) of b^T, `step` apart, to rows of the panel, k of them. Four by four. */
static void pack_transposed(float *panel, int64_t wide, const float *b, int64_t step, int64_t k,
                            int64_t count)
{
    int64_t x = 0;
    for (; x + 4 <= count; x += 4) {
        int64_t i = 0;
        for (; i + 4 <= k; i += 4) {
            float *to = panel + i * wide + x;
            const float *from = b + x * step + i;
            vec_transpose4(
                (float *const[]){to, to + wide, to + 2 * wide, to + 3 * wide},
                (const float *const[]){from, from + step, from + 2 * step, from + 3 * step});
        }
        for (; i < k; i++)
            for (int64_t c = x; c < x + 4; c++) panel[i * wide + c] = b[c * step + i];
    }
    for (; x < count; x++)
        for (int64_t i = 0; i < k; i++) panel[i * wide + x] = b[x * step + i];
}

/* b (k,columns) from row p and column j on, in a panel as wide as whole vectors: zeros at the end.
 */
static void pack_panel(float *panel, const mosaic_gemm *g, int64_t p, int64_t k, int64_t j,
                       int64_t columns)
{
    const float *b = (const float *)g->b + p * g->b_row + j * g->b_column;
    int64_t wide = padded(columns);
    if (columns < wide) memset(panel, 0, (size_t)(k * wide) * sizeof *panel);
    if (g->b_column == 1)
        for (int64_t i = 0; i < k; i++) copy(panel + i * wide, b + i * g->b_row, columns);
    else
        pack_transposed(panel, wide, b, g->b_column, k, columns);
}

/* How many rows of b at a time: equal parts. */
static int64_t depth_of(const mosaic_gemm *g)
{
    int64_t most = g->a_column == 1 ? DEPTH : SUM_DEPTH, parts = (g->k + most - 1) / most;
    return parts ? (g->k + parts - 1) / parts : 1;
}

static int64_t packed_size(const mosaic_gemm *g) { return g->k * padded(g->n); }

static void pack(const mosaic_gemm *g, float *packed, int64_t from, int64_t to)
{
    int64_t depth = depth_of(g);
    for (int64_t p = 0; p < g->k; p += depth) {
        int64_t k = smaller(depth, g->k - p);
        for (int64_t j = from; j < to; j += PANEL)
            pack_panel(packed + j * k, g, p, k, j, smaller(PANEL, to - j));
        packed += padded(g->n) * k;
    }
}

/* ---- blocks --------------------------------------------------------------------------------- */

/* One block of rows from i on, and the depth from p on. */
typedef struct {
    const mosaic_gemm *g;
    int64_t i, rows, p, k;
    source a;
    bool follow; /* ask for the rows below while these are multiplied */
} slab;

/* The slab times columns [j, j + columns). Where c ends within the panel, its rows are made beside
 * it and copied. */
static void multiply_panel(slab *s, strip b, int64_t j, int64_t columns)
{
    const mosaic_gemm *g = s->g;
    float beside[HEIGHT * PANEL], bias[PANEL] = {0};
    int64_t wide = padded(columns), add = g->add ? (const float *)g->add - (float *)g->c : 0;
    bool whole = columns == wide;
    if (g->bias) copy(bias, (const float *)g->bias + j, columns);
    for (int64_t i = 0, rows; i < s->rows; i += rows) {
        rows = s->rows - i >= HEIGHT ? HEIGHT : 1;
        float *c = (float *)g->c + (s->i + i) * g->c_row + j;
        const float *start = s->p > 0 ? c : g->add ? c + add : NULL;
        target to = {whole ? c : beside, bias, whole ? g->c_row : wide, 0};
        source from = s->a;
        from.data += i * s->a.row;
        if (s->follow) from.ahead = (const char *)(from.data + HEIGHT * s->a.row);
        if (start) to.start = whole ? start : beside, to.start_row = to.c_row;
        for (int64_t r = 0; start && !whole && r < rows; r++)
            copy(beside + r * wide, start + r * g->c_row, columns);
        multiply_rows(&to, &from, b, rows == HEIGHT, (int)(wide / VECTOR));
        for (int64_t r = 0; !whole && r < rows; r++)
            copy(c + r * g->c_row, beside + r * wide, columns);
        if (!s->follow) s->a.ahead += s->k * (LINE / 2);
    }
}

/* All rows of a times columns [j, j + columns) of b, whose panels lie one after the other from
 * `panels` on; NULL: b itself. */
static void multiply_columns(slab *s, const float *panels, int64_t j, int64_t columns)
{
    const mosaic_gemm *g = s->g;
    const float *a = (const float *)g->a + s->p * g->a_column;
    const char *ahead = (const char *)(a + s->k * g->a_column); /* the next rows of a^T */
    for (s->i = 0; s->i < g->m; s->i += ROWS) {
        s->rows = smaller(ROWS, g->m - s->i);
        s->a = (source){a + s->i * g->a_row, g->a_row, g->a_column, s->k, ahead};
        for (int64_t x = 0; x < columns; x += PANEL) {
            int64_t count = smaller(PANEL, columns - x);
            const float *itself = (const float *)g->b + s->p * g->b_row + j + x;
            strip b =
                panels ? (strip){panels + x * s->k, padded(count)} : (strip){itself, g->b_row};
            multiply_panel(s, b, j + x, count);
        }
        ahead = s->a.ahead;
    }
}

/* Can panels be b itself? */
static bool lies_right(const mosaic_gemm *g)
{
    return g->a_column != 1 && g->b_column == 1 && g->n % VECTOR == 0;
}

static void multiply_with(const mosaic_gemm *g, int64_t depth, float *room)
{
    for (int64_t p = 0; p == 0 || p < g->k; p += depth) {
        slab s = {.g = g, .p = p, .k = smaller(depth, g->k - p), .follow = g->a_column == 1};
        for (int64_t j = 0; j < g->n; j += COLUMNS) {
            int64_t columns = smaller(COLUMNS, g->n - j);
            const float *panels = g->packed ? g->packed + p * padded(g->n) + j * s.k : room;
            for (int64_t x = 0; panels && !g->packed && x < columns; x += PANEL)
                pack_panel(room + x * s.k, g, p, s.k, j + x, smaller(PANEL, columns - x));
            multiply_columns(&s, panels, j, columns);
        }
    }
}

static bool multiply(const mosaic_gemm *g)
{
    int64_t depth = depth_of(g);
    float *room = NULL;
    if (!g->packed && !lies_right(g)) {
        int64_t floats = depth * smaller(COLUMNS, padded(g->n));
        room = aligned_alloc(LINE, ((size_t)floats * sizeof *room + LINE - 1) / LINE * LINE);
        if (!room) return false;
    }
    multiply_with(g, depth, room);
    free(room);
    return true;
}

const mosaic_gemm_kernels MOSAIC_KERNELS(gemm) = {
    .packed_size = packed_size,
    .pack = pack,
    .multiply_f32 = multiply,
    .fast = HEIGHT > 1,
};
