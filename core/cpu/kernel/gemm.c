/* gemm.c - products of f32 matrices, for the shapes of layers: many rows times a small matrix, and
 * the long sums of a weight's gradient.
 *
 * HEIGHT x WIDTH vectors of c stay in registers while scalars of a, and vectors of b from a packed
 * panel, stream past. DEPTH rows of b are packed at a time and meet a in blocks of ROWS rows, which
 * fit the nearest cache; a is packed too where its rows are not the ones adjacent in memory. What
 * comes next from memory is asked for ahead.
 *
 * Measured in one run on a Sapphire Rapids core (FMA peak 158 GF/s), m = 28800, n = 288, k = 96:
 * forward 114, dX 120, dW 101 GF/s; OpenBLAS 0.3.21: 92, 92, 81. Without asking ahead 106, 92, 91.
 * No gain: asking for c ahead, ROWS of 48 or 192, DEPTH of 144 or 200. */
#include "../gemm.h"

#include <stdlib.h>

#include "../kernels.h"

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
enum { DEPTH = 384, ROWS = 96, COLUMNS = 384, LINE = 64 /* bytes */ };

/* A block of c: where it lies, and what it starts from (c itself, or the bias in every row). */
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

/* c (rows, width vectors) = start + a (rows,k) panel (k, width vectors); rows and width are
 * constants where this is inlined. */
static inline __attribute__((always_inline)) void multiply_block(const target *to,
                                                                 const source *from,
                                                                 const float *panel, const int rows,
                                                                 const int width)
{
    lanes_f32 sum[HEIGHT][WIDTH];
    const float *a = from->data;
    const char *ahead = from->ahead;
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < width; v++)
            sum[r][v] = load_f32(to->start + r * to->start_row + v * VECTOR);
    for (int64_t p = 0; p < from->k; p++) {
        lanes_f32 b[WIDTH];
        for (int v = 0; v < width; v++) b[v] = load_f32(panel + v * VECTOR);
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < width; v++) sum[r][v] += a[r * from->row] * b[v];
        __builtin_prefetch(ahead);
        panel += width * VECTOR, a += from->column, ahead += LINE / 2;
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < width; v++) store_f32(to->c + r * to->c_row + v * VECTOR, sum[r][v]);
}

static void multiply_rows(const target *to, const source *from, const float *panel, bool all,
                          int width)
{
#define CASE(w)                                                                                    \
    case w:                                                                                        \
        if (all)                                                                                   \
            multiply_block(to, from, panel, HEIGHT, w);                                            \
        else                                                                                       \
            multiply_block(to, from, panel, 1, w);                                                 \
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
        for (int64_t x = 0; x < columns; x++)
            for (int64_t i = 0; i < k; i++) panel[i * wide + x] = b[i * g->b_row + x * g->b_column];
}

/* One block of rows from i on, and the depth from p on. */
typedef struct {
    const mosaic_gemm *g;
    int64_t i, rows, p, k;
    source a;
    bool follow; /* ask for the rows below while these are multiplied */
} slab;

/* The slab times the panel for columns [j, j + columns). Where c ends within the panel, its rows
 * are made beside it and copied. */
static void multiply_panel(slab *s, const float *panel, int64_t j, int64_t columns)
{
    const mosaic_gemm *g = s->g;
    float beside[HEIGHT * PANEL], bias[PANEL] = {0};
    int64_t wide = padded(columns);
    bool whole = columns == wide;
    if (g->bias) copy(bias, (const float *)g->bias + j, columns);
    for (int64_t i = 0, rows; i < s->rows; i += rows) {
        rows = s->rows - i >= HEIGHT ? HEIGHT : 1;
        float *c = (float *)g->c + (s->i + i) * g->c_row + j;
        target to = {whole ? c : beside, bias, whole ? g->c_row : wide, 0};
        source from = s->a;
        from.data += i * s->a.row;
        if (s->follow) from.ahead = (const char *)(from.data + HEIGHT * s->a.row);
        if (s->p > 0) to.start = to.c, to.start_row = to.c_row;
        for (int64_t r = 0; s->p > 0 && !whole && r < rows; r++)
            copy(beside + r * wide, c + r * g->c_row, columns);
        multiply_rows(&to, &from, panel, rows == HEIGHT, (int)(wide / VECTOR));
        for (int64_t r = 0; !whole && r < rows; r++)
            copy(c + r * g->c_row, beside + r * wide, columns);
        if (!s->follow) s->a.ahead += s->k * (LINE / 2);
    }
}

/* All rows of a times columns [j, j + columns) of b, from depth p to p + k. */
static void multiply_depth(const mosaic_gemm *g, float *panels, float *rows, int64_t p, int64_t k,
                           int64_t j, int64_t columns)
{
    for (int64_t x = 0; x < columns; x += PANEL)
        pack_panel(panels + x * k, g, p, k, j + x, smaller(PANEL, columns - x));
    slab s = {.g = g, .p = p, .k = k, .follow = g->a_column == 1};
    for (; s.i < g->m; s.i += ROWS) {
        const float *a = (const float *)g->a + s.i * g->a_row + p * g->a_column;
        s.rows = smaller(ROWS, g->m - s.i);
        s.a = (source){a, g->a_row, g->a_column, k, (const char *)a};
        if (!s.follow) {
            for (int64_t q = 0; q < k; q++) copy(rows + q * ROWS, a + q * g->a_column, s.rows);
            s.a = (source){rows, 1, ROWS, k, (const char *)(a + k * g->a_column)};
        }
        for (int64_t x = 0; x < columns; x += PANEL)
            multiply_panel(&s, panels + x * k, j + x, smaller(PANEL, columns - x));
    }
}

static bool multiply(const mosaic_gemm *g)
{
    int64_t parts = (g->k + DEPTH - 1) / DEPTH;
    int64_t depth = parts ? (g->k + parts - 1) / parts : 1;
    int64_t for_b = depth * smaller(COLUMNS, padded(g->n)), for_a = depth * ROWS;
    size_t room = (size_t)(for_b + (g->a_column == 1 ? 0 : for_a)) * sizeof(float);
    float *panels = aligned_alloc(LINE, (room + LINE - 1) / LINE * LINE);
    if (!panels) return false;
    float *rows = panels + for_b; /* used only where a is packed */
    int64_t p = 0;
    do {
        int64_t k = smaller(depth, g->k - p);
        for (int64_t j = 0; j < g->n; j += COLUMNS)
            multiply_depth(g, panels, rows, p, k, j, smaller(COLUMNS, g->n - j));
        p += k;
    } while (p < g->k);
    free(panels);
    return true;
}

const mosaic_gemm_kernels MOSAIC_KERNELS(gemm) = {
    .multiply_f32 = multiply,
    .fast = HEIGHT > 1,
};
