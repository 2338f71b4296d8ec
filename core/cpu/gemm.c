/* gemm.c - one product of two matrices: BLAS or our own kernel for f32, BLAS for f64, plain loops
 * for integers. */
#include "gemm.h"

#include <cblas.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>

#include "../dtype.h"
#include "kernels.h"

/* OpenBLAS has threads of its own; they would fight with ours, and cut the work by their number. */
extern void openblas_set_num_threads(int count) __attribute__((weak));

static void calm_blas(void)
{
    if (openblas_set_num_threads) openblas_set_num_threads(1);
}

/* ---- BLAS ----------------------------------------------------------------------------------- */

typedef struct {
    enum CBLAS_TRANSPOSE transpose;
    int leading;
} layout;

static int64_t at_least_one(int64_t x) { return x > 1 ? x : 1; }

/* How BLAS is told about a matrix; a step between fewer than two elements means nothing. */
static bool lay_out(layout *l, int64_t rows, int64_t columns, int64_t row, int64_t column)
{
    if (columns < 2) column = 1;
    if (rows < 2) row = column == 1 ? at_least_one(columns) : 1;
    bool plain = column == 1 && row >= at_least_one(columns);
    bool transposed = row == 1 && column >= at_least_one(rows);
    int64_t leading = plain ? row : column;
    *l = (layout){plain ? CblasNoTrans : CblasTrans, (int)leading};
    return (plain || transposed) && leading <= INT_MAX;
}

bool mosaic_gemm_fits(int dtype, int64_t rows, int64_t columns, int64_t row, int64_t column)
{
    layout ignored;
    return !mosaic_dtype_is_float(dtype) || lay_out(&ignored, rows, columns, row, column);
}

/* BLAS adds to what is there: the bias, or what is added, goes in first, while the tile is in the
 * cache anyway. Returns BLAS's beta. */
static int place_start(const mosaic_gemm *g, int64_t element)
{
    for (int64_t i = 0; i < g->m; i++) {
        char *row = g->c + i * g->c_row * element;
        const char *from = g->add ? g->add + i * g->c_row * element : g->bias;
        if (from) memcpy(row, from, (size_t)(g->n * element));
    }
    return g->bias || g->add;
}

static void multiply_f32(const mosaic_gemm *g, layout a, layout b)
{
    int beta = place_start(g, sizeof(float));
    cblas_sgemm(CblasRowMajor, a.transpose, b.transpose, (int)g->m, (int)g->n, (int)g->k, 1.0f,
                (const float *)g->a, a.leading, (const float *)g->b, b.leading, (float)beta,
                (float *)g->c, (int)g->c_row);
}

static void multiply_f64(const mosaic_gemm *g, layout a, layout b)
{
    int beta = place_start(g, sizeof(double));
    cblas_dgemm(CblasRowMajor, a.transpose, b.transpose, (int)g->m, (int)g->n, (int)g->k, 1.0,
                (const double *)g->a, a.leading, (const double *)g->b, b.leading, beta,
                (double *)g->c, (int)g->c_row);
}

/* ---- integers ------------------------------------------------------------------------------- */

/* Sums wrap around, as all integer arithmetic here: hence the unsigned type. */
#define DEFINE_PLAIN(name, type, sum_type)                                                         \
    static void name(const mosaic_gemm *g)                                                         \
    {                                                                                              \
        const type *a = (const type *)g->a, *b = (const type *)g->b;                               \
        const type *bias = (const type *)g->bias;                                                  \
        type *c = (type *)g->c;                                                                    \
        for (int64_t i = 0; i < g->m; i++)                                                         \
            for (int64_t j = 0; j < g->n; j++) {                                                   \
                sum_type sum = bias ? (sum_type)bias[j] : 0;                                       \
                for (int64_t p = 0; p < g->k; p++)                                                 \
                    sum += (sum_type)a[i * g->a_row + p * g->a_column] *                           \
                           (sum_type)b[p * g->b_row + j * g->b_column];                            \
                c[i * g->c_row + j] = (type)sum;                                                   \
            }                                                                                      \
    }
DEFINE_PLAIN(multiply_i32, int32_t, uint32_t)
DEFINE_PLAIN(multiply_i64, int64_t, uint64_t)
DEFINE_PLAIN(multiply_u8, uint8_t, uint32_t)

/* Where our kernel is faster than OpenBLAS: matrices of which two at most are large, as in layers
 * and their gradients. Cubes go to BLAS (1024: 118 against 107 GF/s) but where there are AMX tiles
 * (214 against 149), and so does what is tiny. */
static bool suits_kernel(const mosaic_gemm *g)
{
    enum { SMALL = 1 << 18 /* elements */, CUBE = 1 << 23 /* of b, to be packed beside it */ };
    const mosaic_gemm_kernels *kernels = mosaic_cpu()->gemm;
    bool suits = g->m * g->n <= SMALL || g->n * g->k <= (kernels->cubes ? CUBE : SMALL);
    bool worth_it = g->m >= 64 && g->n >= 32 && g->k >= 16;
    return g->dtype == MOSAIC_DTYPE_F32 && suits && worth_it && kernels->fast;
}

int64_t mosaic_gemm_packed_size(const mosaic_gemm *g)
{
    return suits_kernel(g) ? mosaic_cpu()->gemm->packed_size(g) : 0;
}

void mosaic_gemm_pack(const mosaic_gemm *g, float *packed, int64_t from, int64_t to)
{
    mosaic_cpu()->gemm->pack(g, packed, from, to);
}

static bool multiply_by_kernel(const mosaic_gemm *g)
{
    return (g->packed || suits_kernel(g)) && mosaic_cpu()->gemm->multiply_f32(g);
}

/* Adds up a's rows; one of its steps is 1, as far as there is one. */
static void add_rows(const mosaic_gemm *g)
{
    const mosaic_fold_kernels *fold = mosaic_cpu()->fold;
    int type = g->dtype == MOSAIC_DTYPE_F64 ? MOSAIC_CPU_F64 : MOSAIC_CPU_F32;
    if (g->a_column == 1 || g->k == 1)
        fold->rows[MOSAIC_FOLD_SUM][type](g->m, g->k, g->a, g->a_row, g->sums, NULL);
    else
        fold->columns[MOSAIC_FOLD_SUM][type](g->k, g->m, g->a, g->a_column, g->sums, NULL);
}

void mosaic_gemm_run(const mosaic_gemm *g)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    layout a, b;
    lay_out(&a, g->m, g->k, g->a_row, g->a_column);
    lay_out(&b, g->k, g->n, g->b_row, g->b_column);
    pthread_once(&once, calm_blas);
    bool done = multiply_by_kernel(g);
    const mosaic_gemm_kernels *kernels = mosaic_cpu()->gemm;
    bool added = done && kernels->adds_rows && kernels->adds_rows(g);
    if (g->sums && !added) add_rows(g);
    if (done) return;
    switch (g->dtype) {
    case MOSAIC_DTYPE_F32: multiply_f32(g, a, b); break;
    case MOSAIC_DTYPE_F64: multiply_f64(g, a, b); break;
    case MOSAIC_DTYPE_I32: multiply_i32(g); break;
    case MOSAIC_DTYPE_I64: multiply_i64(g); break;
    default: multiply_u8(g); break;
    }
}
