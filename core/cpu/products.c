/* products.c - a stack of products of matrices that gemm can take, cut into tasks that threads
 * share.
 *
 * The tiles and the chunks of a long sum depend on the shape only, so that the result has the same
 * bits on any number of threads. */
#include "products.h"

#include <limits.h>

#include "../parallel.h"
#include "../tensor.h"
#include "cpu.h"

enum {
    TILE_M = 512,
    PACKED_TILE_M = 288, /* of c, which stays in the second cache, where b was packed before */
    TILE_N = 2048,
    CHUNK = 2048,                /* terms of a sum that one task adds up, where it pays ... */
    CHUNKS_AT_MOST = 16,         /* ... and into how many parts a sum is cut */
    CHUNKED_RESULT = 256 * 1024, /* elements of a result small enough to be kept once per chunk */
    SHORT_CHUNK = 512,           /* ... or 2 chunks, longer than this, of a result ... */
    SHORT_CHUNKED = 32 * 1024,   /* ... that is smaller still: 6 % slower on one thread */
    CHUNK_STEP = 64,             /* terms: chunks but the last are whole steps of every kernel */
    PACKED_SUM = 256,            /* terms of a sum of a^T b up to which packing b first pays */
    TASK_FLOPS = 1 << 21,        /* less is not worth waking a thread ... */
    PACKED = 1 << 16,            /* ... nor so few elements to be packed */
    ADDED = 65536,               /* ... nor so few additions */
    WRITTEN = 16,                /* flops in the time that an element of c takes to be written */
};

/* ---- the stack ------------------------------------------------------------------------------ */

static void place(mosaic_gemm *g, const mosaic_tensor *c, const mosaic_tensor *a,
                  const mosaic_tensor *b)
{
    int i = c->ndim - 2;
    *g = (mosaic_gemm){.dtype = c->dtype, .m = c->size[i], .n = c->size[i + 1]};
    g->k = a->size[i + 1];
    g->a = mosaic_data(a), g->b = mosaic_data(b), g->c = mosaic_data(c);
    g->a_row = a->stride[i], g->a_column = a->stride[i + 1];
    g->b_row = b->stride[i], g->b_column = b->stride[i + 1];
    g->c_row = c->stride[i];
}

/* Leading axes from the last to the first: each either continues the rows of a and c, or is
 * looped over. */
static void add_axis(mosaic_products *s, int64_t size, int64_t c, int64_t a, int64_t b)
{
    mosaic_gemm *g = &s->whole;
    if (size == 1) return;
    bool merges = s->axes == 0 && b == 0;
    if (merges && g->m == 1) g->a_row = a, g->c_row = c;
    merges = merges && a == g->m * g->a_row && c == g->m * g->c_row &&
             mosaic_gemm_fits(g->dtype, g->m * size, g->k, g->a_row, g->a_column);
    if (merges) {
        g->m *= size;
        return;
    }
    s->size[s->axes] = size;
    s->step[s->axes][0] = c, s->step[s->axes][1] = a, s->step[s->axes++][2] = b;
}

static int64_t shorter(int64_t piece, int64_t left) { return piece < left ? piece : left; }

static int64_t pieces(int64_t whole, int64_t piece) { return (whole + piece - 1) / piece; }

static int64_t products(const mosaic_products *s)
{
    int64_t count = 1;
    for (int i = 0; i < s->axes; i++) count *= s->size[i];
    return count;
}

/* Sums that are cut: long ones of small results, and what BLAS, which counts with ints, could not
 * count. */
static bool cuts_sums(const mosaic_products *s)
{
    const mosaic_gemm *g = &s->whole;
    const int64_t size = g->m * g->n;
    if (products(s) > 1 || !mosaic_dtype_is_float(g->dtype)) return false;
    if (g->k > INT_MAX || (size <= CHUNKED_RESULT && g->k >= 2 * CHUNK)) return true;
    return size <= SHORT_CHUNKED && g->k >= 2 * SHORT_CHUNK && size * g->k >= TASK_FLOPS;
}

static void cut(mosaic_products *s)
{
    const mosaic_gemm *g = &s->whole;
    s->tile_m = TILE_M;
    s->tiles_n = pieces(g->n, TILE_N);
    s->chunks = 1, s->chunk = g->k;
    if (!cuts_sums(s)) return;
    int64_t chunks = shorter(pieces(g->k, CHUNK), CHUNKS_AT_MOST);
    if (chunks < 2) chunks = 2;
    s->chunk = pieces(pieces(g->k, chunks), CHUNK_STEP) * CHUNK_STEP;
    s->chunks = pieces(g->k, s->chunk);
}

mosaic_products mosaic_products_of(const mosaic_tensor *c, const mosaic_tensor *a,
                                   const mosaic_tensor *b)
{
    mosaic_products s = {.bytes = mosaic_dtype_bytes((mosaic_dtype)c->dtype)};
    place(&s.whole, c, a, b);
    for (int i = c->ndim - 3; i >= 0; i--)
        add_axis(&s, c->size[i], c->stride[i], a->stride[i], b->stride[i]);
    if (s.whole.m == 1) s.whole.c_row = s.whole.n;
    cut(&s);
    return s;
}

/* Steps and sums that BLAS can count, or a refusal. */
static mosaic_status check_counts(const mosaic_products *s)
{
    const mosaic_gemm *g = &s->whole;
    int64_t m = shorter(s->tile_m, g->m), n = shorter(TILE_N, g->n);
    bool fine = !mosaic_dtype_is_float(g->dtype) ||
                (s->chunk <= INT_MAX && g->c_row <= INT_MAX &&
                 mosaic_gemm_fits(g->dtype, m, s->chunk, g->a_row, g->a_column) &&
                 mosaic_gemm_fits(g->dtype, s->chunk, n, g->b_row, g->b_column));
    MOSAIC_REQUIRE(fine, "matmul: (%lld,%lld) times (%lld,%lld): BLAS counts to %d",
                   (long long)g->m, (long long)g->k, (long long)g->k, (long long)g->n, INT_MAX);
    return MOSAIC_OK;
}

/* ---- running -------------------------------------------------------------------------------- */

/* What comes after, of a tile of c, which is still in the cache. */
static void map(const mosaic_products *s, const mosaic_gemm *g, int64_t at)
{
    bool together = g->c_row == g->n;
    int64_t rows = together ? 1 : g->m, count = together ? g->m * g->n : g->n;
    for (int64_t i = 0; i < rows; i++) {
        int64_t row = i * g->c_row * s->bytes;
        const void *in[] = {g->c + row, s->factor ? s->factor + at + row : NULL};
        s->after(count, s->to + at + row, in, (int64_t[]){1, 1}, (double[]){0, 0});
    }
}

/* Task numbers count chunks, then tiles along n, then along m, then products. */
static void run_task(const mosaic_products *s, int64_t task)
{
    mosaic_gemm g = s->whole;
    int64_t chunk = task % s->chunks, tile_n = task / s->chunks % s->tiles_n;
    int64_t tile_m = task / s->chunks / s->tiles_n % s->tiles_m;
    int64_t product = task / s->chunks / s->tiles_n / s->tiles_m;
    int64_t i = tile_m * s->tile_m, j = tile_n * TILE_N, p = chunk * s->chunk;
    int64_t at[3] = {i * g.c_row + j, i * g.a_row + p * g.a_column, p * g.b_row + j * g.b_column};
    for (int axis = 0; axis < s->axes; axis++) {
        for (int x = 0; x < 3; x++) at[x] += product % s->size[axis] * s->step[axis][x];
        product /= s->size[axis];
    }
    g.a += at[1] * s->bytes;
    g.b += at[2] * s->bytes;
    if (s->chunks > 1)
        g.c = s->partial + ((chunk * g.m + i) * g.n + j) * s->bytes, g.c_row = g.n, g.bias = NULL;
    else
        g.c += at[0] * s->bytes;
    if (g.bias) g.bias += j * s->bytes;
    if (g.sums) g.sums = j ? NULL : g.sums + chunk * g.m + i;
    if (g.add) g.add += at[0] * s->bytes;
    g.m = shorter(s->tile_m, g.m - i), g.n = shorter(TILE_N, g.n - j),
    g.k = shorter(s->chunk, g.k - p);
    mosaic_gemm_run(&g);
    if (s->after) map(s, &g, at[0] * s->bytes);
}

static void run_tasks(void *context, int64_t from, int64_t to)
{
    for (int64_t task = from; task < to; task++) run_task(context, task);
}

#define DEFINE_ADD_CHUNKS(name, type)                                                              \
    static void name(const mosaic_products *s, int64_t row)                                        \
    {                                                                                              \
        const mosaic_gemm *g = &s->whole;                                                          \
        const type *part = (const type *)s->partial + row * g->n;                                  \
        const type *bias = (const type *)g->bias;                                                  \
        type *c = (type *)g->c + row * g->c_row;                                                   \
        for (int64_t j = 0; j < g->n; j++) c[j] = part[j] + (bias ? bias[j] : 0);                  \
        for (int64_t chunk = 1; chunk < s->chunks; chunk++) {                                      \
            part += g->m * g->n;                                                                   \
            for (int64_t j = 0; j < g->n; j++) c[j] += part[j];                                    \
        }                                                                                          \
    }
DEFINE_ADD_CHUNKS(add_chunks_f32, float)
DEFINE_ADD_CHUNKS(add_chunks_f64, double)

static void add_rows(void *context, int64_t from, int64_t to)
{
    const mosaic_products *s = context;
    bool wide = s->whole.dtype == MOSAIC_DTYPE_F64;
    for (int64_t row = from; row < to; row++) (wide ? add_chunks_f64 : add_chunks_f32)(s, row);
}

static mosaic_status run_chunked(mosaic_products *s, int64_t tasks)
{
    mosaic_tensor partial = {0};
    int64_t size[3] = {s->chunks, s->whole.m, s->whole.n};
    MOSAIC_TRY(mosaic_output(&partial, "matmul", s->whole.dtype, 3, size, &mosaic_cpu_device));
    s->partial = mosaic_data(&partial);
    int64_t flops = 2 * s->whole.m * s->whole.n * s->chunk;
    mosaic_parallel(tasks, pieces(TASK_FLOPS, flops), run_tasks, s);
    mosaic_parallel(s->whole.m, pieces(ADDED, s->chunks * s->whole.n), add_rows, s);
    mosaic_tensor_clear(&partial);
    return MOSAIC_OK;
}

static void pack_columns(void *context, int64_t from, int64_t to)
{
    const mosaic_gemm *g = context;
    int64_t end = shorter(to * MOSAIC_GEMM_COLUMNS, g->n);
    mosaic_gemm_pack(g, (float *)(uintptr_t)g->packed, from * MOSAIC_GEMM_COLUMNS, end);
}

/* One b for all products, such as a layer's weight: packed (in *room) before the tasks share it.
 * The long sums of a gradient, a^T b, are faster when b is packed as it comes: 3600 terms 205
 * against 98 GF/s. */
static mosaic_status pack_shared(mosaic_products *s, mosaic_tensor *room)
{
    bool gradient = s->whole.a_column != 1 && s->whole.k > PACKED_SUM;
    bool shared = s->chunks == 1 && s->tiles_n == 1 && !gradient;
    for (int axis = 0; axis < s->axes; axis++) shared = shared && s->step[axis][2] == 0;
    int64_t size = shared ? mosaic_gemm_packed_size(&s->whole) : 0;
    if (size == 0) return MOSAIC_OK;
    MOSAIC_TRY(mosaic_output(room, "matmul", MOSAIC_DTYPE_F32, 1, &size, &mosaic_cpu_device));
    s->whole.packed = mosaic_data(room);
    s->tile_m = PACKED_TILE_M;
    mosaic_parallel(pieces(s->whole.n, MOSAIC_GEMM_COLUMNS),
                    pieces(PACKED, s->whole.k * MOSAIC_GEMM_COLUMNS), pack_columns, &s->whole);
    return MOSAIC_OK;
}

/* Tiles that are alike, and of a few an even number of them. */
static void even_out(mosaic_products *s)
{
    enum { FEW = 16, STEP = 16 /* rows of every kernel */ };
    int64_t m = s->whole.m, tiles = pieces(m, s->tile_m);
    tiles += tiles > 1 && tiles < FEW && tiles % 2;
    if (tiles) s->tile_m = pieces(pieces(m, tiles), STEP) * STEP;
    s->tiles_m = tiles ? pieces(m, s->tile_m) : 0;
}

mosaic_status mosaic_products_run(mosaic_products *s, mosaic_tensor *packed)
{
    const mosaic_gemm *g = &s->whole;
    MOSAIC_TRY(check_counts(s));
    MOSAIC_TRY(pack_shared(s, packed));
    even_out(s);
    int64_t tasks = products(s) * s->tiles_m * s->tiles_n * s->chunks;
    if (s->chunks > 1) return run_chunked(s, tasks);
    int64_t flops = 2 * shorter(s->tile_m, g->m) * shorter(TILE_N, g->n) * (g->k + WRITTEN);
    mosaic_parallel(tasks, pieces(TASK_FLOPS, flops), run_tasks, s);
    return MOSAIC_OK;
}
