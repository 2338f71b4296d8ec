/* cublaslt.c - products of matrices as plain loops, when their stream comes to them. */
#include <math.h>
#include <stdlib.h>

#include "../../core/dtype.h"
#include "cublasLt.h"

enum { WORKSPACE = 1024 /* bytes that every algorithm wants, to see that it gets them */ };

/* ---- objects -------------------------------------------------------------------------------- */

const char *cublasLtGetStatusName(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
    default: return "CUBLAS_STATUS_NOT_SUPPORTED";
    }
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = NULL;
    return CUBLAS_STATUS_SUCCESS;
}

/* Copies a value of exactly that size. */
static cublasStatus_t set(void *to, size_t room, const void *value, size_t bytes)
{
    if (!to || room != bytes) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

#define SET(field) return set(&(field), sizeof(field), value, bytes)

cublasStatus_t cublasLtMatrixLayoutInit(cublasLtMatrixLayout_t layout, cudaDataType_t type,
                                        uint64_t rows, uint64_t columns, int64_t step)
{
    *layout = (cublasLtMatrixLayoutOpaque_t){type, rows, columns, step, 0, 1};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void *value, size_t bytes)
{
    if (attribute == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT) SET(layout->count);
    SET(layout->next);
}

cublasStatus_t cublasLtMatmulDescInit(cublasLtMatmulDesc_t product, cublasComputeType_t compute,
                                      cudaDataType_t scale)
{
    *product = (cublasLtMatmulDescOpaque_t){.compute = compute, .scale = scale};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t product,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes)
{
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: SET(product->transposes_a);
    case CUBLASLT_MATMUL_DESC_TRANSB: SET(product->transposes_b);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: SET(product->epilogue);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER: SET(product->aux);
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD: SET(product->aux_step);
    default: SET(product->bias);
    }
}

cublasStatus_t cublasLtMatmulPreferenceInit(cublasLtMatmulPreference_t preference)
{
    *preference = (cublasLtMatmulPreferenceOpaque_t){0, 7, 256, 256, 256, 256};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes)
{
    switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: SET(preference->workspace);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: SET(preference->reductions);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: SET(preference->a);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: SET(preference->b);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: SET(preference->c);
    default: SET(preference->d);
    }
}

/* ---- choosing ------------------------------------------------------------------------------- */

typedef cublasLtMatrixLayoutOpaque_t layout;

/* Its own matrices must not overlap where it is written. */
static bool is_sound(const layout *x, bool written)
{
    return x->rows && x->columns && x->count > 0 && x->step >= (int64_t)x->rows && x->next >= 0 &&
           (!written || x->count == 1 || x->next > 0);
}

static uint64_t height(const layout *x, cublasOperation_t transposed)
{
    return transposed ? x->columns : x->rows;
}
static uint64_t width(const layout *x, cublasOperation_t transposed)
{
    return transposed ? x->rows : x->columns;
}

static bool is_product(const cublasLtMatmulDescOpaque_t *p, const layout *a, const layout *b,
                       const layout *d)
{
    bool types = a->type == b->type && a->type == d->type;
    bool wide = p->compute == CUBLAS_COMPUTE_64F;
    return types && wide == (a->type == CUDA_R_64F) && wide == (p->scale == CUDA_R_64F) &&
           is_sound(a, false) && is_sound(b, false) && is_sound(d, true) && a->count == d->count &&
           b->count == d->count && height(a, p->transposes_a) == d->rows &&
           width(b, p->transposes_b) == d->columns &&
           width(a, p->transposes_a) == height(b, p->transposes_b);
}

static bool has_bias(const cublasLtMatmulDescOpaque_t *p)
{
    return p->epilogue & CUBLASLT_EPILOGUE_BIAS;
}
static bool has_aux(const cublasLtMatmulDescOpaque_t *p)
{
    return (p->epilogue & CUBLASLT_EPILOGUE_GELU_AUX) == CUBLASLT_EPILOGUE_GELU_AUX;
}

static bool takes_aux(const cublasLtMatmulDescOpaque_t *p, const layout *d)
{
    return p->aux_step % 8 == 0 && p->aux_step >= (int64_t)d->rows && d->count == 1 &&
           d->type != CUDA_R_64F;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int room,
                                              cublasLtMatmulHeuristicResult_t *results, int *count)
{
    (void)handle, (void)c;
    if (room < 1 || !is_product(product, a, b, d)) return CUBLAS_STATUS_INVALID_VALUE;
    if (has_aux(product) && !takes_aux(product, d)) return CUBLAS_STATUS_INVALID_VALUE;
    *count = preference->workspace >= WORKSPACE;
    if (!*count) return CUBLAS_STATUS_NOT_SUPPORTED;
    results[0] = (cublasLtMatmulHeuristicResult_t){
        {*a, *b, *d, *preference}, WORKSPACE, CUBLAS_STATUS_SUCCESS};
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- running -------------------------------------------------------------------------------- */

typedef struct {
    cublasLtMatmulDescOpaque_t product;
    layout a, b, d;
    const char *A, *B;
    char *D, *workspace;
    bool adds;
} work;

static double read(const char *data, int64_t at, cudaDataType_t type)
{
    switch (type) {
    case CUDA_R_64F: return ((const double *)data)[at];
    case CUDA_R_16F: return mosaic_f16_to_f32(((const uint16_t *)data)[at]);
    case CUDA_R_16BF: return mosaic_bf16_to_f32(((const uint16_t *)data)[at]);
    default: return ((const float *)data)[at];
    }
}

static void write(char *data, int64_t at, cudaDataType_t type, double x)
{
    switch (type) {
    case CUDA_R_64F: ((double *)data)[at] = x; break;
    case CUDA_R_16F: ((uint16_t *)data)[at] = mosaic_f32_to_f16((float)x); break;
    case CUDA_R_16BF: ((uint16_t *)data)[at] = mosaic_f32_to_bf16((float)x); break;
    default: ((float *)data)[at] = (float)x; break;
    }
}

static int64_t bytes_of(cudaDataType_t type)
{
    return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : 2;
}

/* To 11 bits, the nearest. */
static double as_tf32(double x)
{
    float narrow = (float)x;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    if ((bits & 0x7f800000u) == 0x7f800000u) return x;
    bits = (bits + 0xfffu + (bits >> 13 & 1u)) & ~0x1fffu;
    memcpy(&narrow, &bits, sizeof bits);
    return narrow;
}

static double element(const work *w, const layout *x, const char *data, uint64_t row,
                      uint64_t column)
{
    int64_t at = (int64_t)row + (int64_t)column * x->step;
    double value = read(data, at, x->type);
    return w->product.compute == CUBLAS_COMPUTE_32F_FAST_TF32 ? as_tf32(value) : value;
}

/* op(x) as doubles, one row of `columns` after the other; NULL: no memory. */
static double *unpacked(const work *w, const layout *x, const char *data,
                        cublasOperation_t transposed, bool by_columns)
{
    uint64_t rows = height(x, transposed), columns = width(x, transposed);
    double *all = malloc(rows * columns * sizeof *all);
    for (uint64_t i = 0; all && i < rows; i++)
        for (uint64_t j = 0; j < columns; j++)
            all[by_columns ? j * rows + i : i * columns + j] =
                transposed ? element(w, x, data, j, i) : element(w, x, data, i, j);
    return all;
}

static double gelu(double x)
{
    return x / 2 * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

/* Sums are made in f64: how the library rounds is its own affair. */
static void multiply(const work *w, const char *A, const char *B, char *D)
{
    uint64_t terms = width(&w->a, w->product.transposes_a);
    double *a = unpacked(w, &w->a, A, w->product.transposes_a, false);
    double *b = unpacked(w, &w->b, B, w->product.transposes_b, true);
    if (!a || !b) abort();
    for (uint64_t j = 0; j < w->d.columns; j++)
        for (uint64_t i = 0; i < w->d.rows; i++) {
            int64_t at = (int64_t)i + (int64_t)j * w->d.step;
            double sum = w->adds ? read(D, at, w->d.type) : 0;
            if (has_bias(&w->product)) sum += read(w->product.bias, (int64_t)i, w->d.type);
            for (uint64_t p = 0; p < terms; p++) sum += a[i * terms + p] * b[j * terms + p];
            if (has_aux(&w->product)) {
                int64_t place = (int64_t)i + (int64_t)j * w->product.aux_step;
                write(w->product.aux, place, w->d.type, sum);
                sum = gelu(sum);
            }
            write(D, at, w->d.type, sum);
        }
    free(a);
    free(b);
}

static void run(void *context)
{
    const work *w = context;
    int64_t bytes = bytes_of(w->d.type);
    if (!mosaic_emulated_survives()) return;
    memset(w->workspace, 0x5a, WORKSPACE);
    for (int32_t i = 0; i < w->d.count; i++)
        multiply(w, w->A + i * w->a.next * bytes, w->B + i * w->b.next * bytes,
                 w->D + i * w->d.next * bytes);
}

static bool is_aligned(const void *data, uint32_t bytes) { return (uintptr_t)data % bytes == 0; }

static bool is_same(const layout *x, const layout *y)
{
    return x->type == y->type && x->rows == y->rows && x->columns == y->columns &&
           x->step == y->step && x->next == y->next && x->count == y->count;
}

/* Is it what the algorithm was chosen for? */
static bool fits(const work *w, const cublasLtMatmulAlgo_t *chosen)
{
    const cublasLtMatmulPreferenceOpaque_t *p = &chosen->preference;
    return is_same(&chosen->a, &w->a) && is_same(&chosen->b, &w->b) && is_same(&chosen->d, &w->d) &&
           is_aligned(w->A, p->a) && is_aligned(w->B, p->b) && is_aligned(w->D, p->d) &&
           (!has_bias(&w->product) || is_aligned(w->product.bias, 16)) &&
           (!has_aux(&w->product) || is_aligned(w->product.aux, 16));
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t product,
                              const void *alpha, const void *A, cublasLtMatrixLayout_t a,
                              const void *B, cublasLtMatrixLayout_t b, const void *beta,
                              const void *C, cublasLtMatrixLayout_t c, void *D,
                              cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t *algorithm,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    bool wide = product->scale == CUDA_R_64F;
    double factor = wide ? *(const double *)alpha : *(const float *)alpha;
    work *own = malloc(sizeof *own);
    (void)handle;
    if (!own) return CUBLAS_STATUS_ALLOC_FAILED;
    *own = (work){*product, *a, *b, *d, A, B, D, workspace, false};
    own->adds = (wide ? *(const double *)beta : *(const float *)beta) != 0;
    if (factor != 1 || C != D || !is_same(c, d) || !workspace || workspace_bytes < WORKSPACE ||
        !fits(own, algorithm)) {
        free(own);
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    return mosaic_emulated_enqueue(stream, run, own) ? CUBLAS_STATUS_EXECUTION_FAILED
                                                     : CUBLAS_STATUS_SUCCESS;
}
