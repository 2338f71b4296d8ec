/* gemm.c - products by cuBLASLt: which algorithm, asked once for each kind of product.
 *
 * cuBLAS thinks in columns: c by rows is its transposed by columns, so what is computed is
 * c^T (n, m) = b^T a^T. An algorithm may need memory, which is ours, and may cut a sum into parts
 * only if it adds these up in the type that it computes in and in a fixed order: the same product
 * on the same device has the same bits every time. */
#include <cublasLt.h>
#include <stdlib.h>

#include "gemm.h"

enum { DEVICES = 16, PLANS = 512, WORKSPACE = 32 << 20, KEYS = 19, ALIGNMENT = 256 };

/* Whatever the choice of an algorithm depends on. */
typedef struct {
    int64_t value[KEYS];
} key;

typedef struct {
    key key;
    bool known, fits;
    cublasLtMatmulDescOpaque_t product;
    cublasLtMatrixLayoutOpaque_t c, a, b;
    cublasLtMatmulAlgo_t algorithm;
    size_t workspace;
} plan;

/* Of a device; a plan's place is its key's hash, where another one may have been. */
typedef struct {
    cublasLtHandle_t handle;
    plan plans[PLANS];
} library;

static library *libraries[DEVICES];

static mosaic_status fail(mosaic_status status, const mosaic_cuda *device, const mosaic_product *p,
                          const char *why)
{
    return mosaic_cuda_core->fail(status, "matmul: %s: %lld x [%lld,%lld] x [%lld,%lld] %s on %s",
                                  why, (long long)p->count, (long long)p->m, (long long)p->k,
                                  (long long)p->k, (long long)p->n,
                                  mosaic_dtype_name((mosaic_dtype)p->dtype), device->name);
}

static mosaic_status check(const mosaic_cuda *device, const mosaic_product *p,
                           cublasStatus_t status)
{
    if (status == CUBLAS_STATUS_SUCCESS) return MOSAIC_OK;
    return fail(MOSAIC_EDEVICE, device, p, cublasLtGetStatusName(status));
}

static mosaic_status open_library(library **lib, const mosaic_cuda *device, const mosaic_product *p)
{
    library **own = &libraries[device->index];
    if (!*own) {
        library *fresh = calloc(1, sizeof *fresh);
        if (!fresh) return fail(MOSAIC_ENOMEM, device, p, "no memory for plans");
        mosaic_status status = check(device, p, cublasLtCreate(&fresh->handle));
        if (status) free(fresh);
        if (status) return status;
        *own = fresh;
    }
    *lib = *own;
    return MOSAIC_OK;
}

/* ---- plans ---------------------------------------------------------------------------------- */

static cudaDataType_t type_of(int dtype)
{
    switch (dtype) {
    case MOSAIC_DTYPE_F64: return CUDA_R_64F;
    case MOSAIC_DTYPE_BF16: return CUDA_R_16BF;
    case MOSAIC_DTYPE_F16: return CUDA_R_16F;
    default: return CUDA_R_32F;
    }
}

static bool uses_tf32(const mosaic_product *p)
{
    return p->dtype == MOSAIC_DTYPE_F32 && mosaic_matmul_precision() == MOSAIC_PRECISION_TF32;
}

/* The largest power of 2 that all matrices of a stack are aligned to, as far as it matters. */
static uint32_t alignment(const mosaic_matrix *x, const mosaic_product *p)
{
    int64_t next = p->count > 1 ? x->next * mosaic_dtype_bytes((mosaic_dtype)p->dtype) : 0;
    uint64_t bits = (uint64_t)x->data | (uint64_t)next | ALIGNMENT;
    return (uint32_t)(bits & -bits);
}

static key key_of(const mosaic_product *p)
{
    const mosaic_matrix *c = &p->c, *a = &p->a, *b = &p->b;
    return (key){{p->dtype, uses_tf32(p), p->bias != NULL, p->before != NULL, p->m, p->n, p->k,
                  p->count,                                         /* */
                  c->step, c->next, alignment(c, p),                /* */
                  a->by_columns, a->step, a->next, alignment(a, p), /* */
                  b->by_columns, b->step, b->next, alignment(b, p)}};
}

static uint64_t hash_of(const key *k)
{
    uint64_t hash = 14695981039346656037u;
    for (int i = 0; i < KEYS; i++) hash = (hash ^ (uint64_t)k->value[i]) * 1099511628211u;
    return hash ^ hash >> 32;
}

#define SET(kind, object, attribute, value)                                                        \
    kind##SetAttribute(object, attribute, &(value), sizeof(value))

/* x (rows, columns) as cuBLAS sees it: transposed, by columns. */
static cublasStatus_t lay_out(cublasLtMatrixLayout_t layout, const mosaic_matrix *x, int64_t rows,
                              int64_t columns, const mosaic_product *p)
{
    int32_t count = (int32_t)p->count;
    uint64_t near = (uint64_t)(x->by_columns ? rows : columns);
    uint64_t far = (uint64_t)(x->by_columns ? columns : rows);
    cublasStatus_t status = cublasLtMatrixLayoutInit(layout, type_of(p->dtype), near, far, x->step);
    if (!status)
        status = SET(cublasLtMatrixLayout, layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, count);
    if (!status)
        status =
            SET(cublasLtMatrixLayout, layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, x->next);
    return status;
}

static cublasLtEpilogue_t epilogue_of(const mosaic_product *p)
{
    if (p->before) return p->bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
    return p->bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

/* What its epilogue reads and writes. */
static cublasStatus_t point(cublasLtMatmulDesc_t d, const mosaic_product *p)
{
    cublasStatus_t status = SET(cublasLtMatmulDesc, d, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p->bias);
    if (status || !p->before) return status;
    return SET(cublasLtMatmulDesc, d, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p->before);
}

static cublasStatus_t describe(plan *own, const mosaic_product *p)
{
    bool wide = p->dtype == MOSAIC_DTYPE_F64;
    cublasOperation_t first = p->b.by_columns ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t second = p->a.by_columns ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = epilogue_of(p);
    cublasComputeType_t compute = wide           ? CUBLAS_COMPUTE_64F
                                  : uses_tf32(p) ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                 : CUBLAS_COMPUTE_32F;
    cublasLtMatmulDesc_t d = &own->product;
    cublasStatus_t status = cublasLtMatmulDescInit(d, compute, wide ? CUDA_R_64F : CUDA_R_32F);
    if (!status) status = SET(cublasLtMatmulDesc, d, CUBLASLT_MATMUL_DESC_TRANSA, first);
    if (!status) status = SET(cublasLtMatmulDesc, d, CUBLASLT_MATMUL_DESC_TRANSB, second);
    if (!status) status = SET(cublasLtMatmulDesc, d, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    if (!status && p->before)
        status = SET(cublasLtMatmulDesc, d, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, p->n);
    if (!status) status = point(d, p);
    if (!status) status = lay_out(&own->a, &p->a, p->m, p->k, p);
    if (!status) status = lay_out(&own->b, &p->b, p->k, p->n, p);
    if (!status) status = lay_out(&own->c, &p->c, p->m, p->n, p);
    return status;
}

/* What an algorithm may count on, and may do. */
static cublasStatus_t prefer(cublasLtMatmulPreference_t preference, const mosaic_product *p)
{
    size_t workspace = WORKSPACE;
    uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    uint32_t a = alignment(&p->a, p), b = alignment(&p->b, p), c = alignment(&p->c, p);
    cublasStatus_t status = cublasLtMatmulPreferenceInit(preference);
#define PREFER(name, value)                                                                        \
    if (!status)                                                                                   \
        status = SET(cublasLtMatmulPreference, preference, CUBLASLT_MATMUL_PREF_##name, value);
    PREFER(MAX_WORKSPACE_BYTES, workspace)
    PREFER(REDUCTION_SCHEME_MASK, reductions)
    PREFER(MIN_ALIGNMENT_A_BYTES, b)
    PREFER(MIN_ALIGNMENT_B_BYTES, a)
    PREFER(MIN_ALIGNMENT_C_BYTES, c)
    PREFER(MIN_ALIGNMENT_D_BYTES, c)
#undef PREFER
    return status;
}

static cublasStatus_t choose(library *lib, plan *own, const mosaic_product *p)
{
    cublasLtMatmulPreferenceOpaque_t preference;
    cublasLtMatmulHeuristicResult_t best;
    int found = 0;
    cublasStatus_t status = describe(own, p);
    if (!status) status = prefer(&preference, p);
    if (!status)
        status = cublasLtMatmulAlgoGetHeuristic(lib->handle, &own->product, &own->b, &own->a,
                                                &own->c, &own->c, &preference, 1, &best, &found);
    if (status && status != CUBLAS_STATUS_NOT_SUPPORTED) return status;
    own->fits = !status && found && best.state == CUBLAS_STATUS_SUCCESS;
    if (own->fits) own->algorithm = best.algo, own->workspace = best.workspaceSize;
    own->known = true;
    return CUBLAS_STATUS_SUCCESS;
}

static mosaic_status find_plan(plan **found, const mosaic_cuda *device, const mosaic_product *p)
{
    library *lib = NULL;
    key k = key_of(p);
    MOSAIC_TRY(open_library(&lib, device, p));
    plan *own = *found = &lib->plans[hash_of(&k) % PLANS];
    if (own->known && !memcmp(&own->key, &k, sizeof k)) return MOSAIC_OK;
    *own = (plan){.key = k};
    return check(device, p, choose(lib, own, p));
}

/* ---- running -------------------------------------------------------------------------------- */

bool mosaic_product_fits(const mosaic_cuda *device, const mosaic_product *p)
{
    plan *own;
    return !find_plan(&own, device, p) && own->fits;
}

static cublasStatus_t start(const mosaic_cuda *device, plan *own, const mosaic_product *p,
                            void *room)
{
    const float one = 1, zero = 0, *beta = p->adds ? &one : &zero;
    const double wide_one = 1, wide_zero = 0, *wide_beta = p->adds ? &wide_one : &wide_zero;
    bool wide = p->dtype == MOSAIC_DTYPE_F64;
    cublasLtMatmulDesc_t d = &own->product;
    cublasStatus_t status = point(d, p);
    if (status) return status;
    return cublasLtMatmul(
        libraries[device->index]->handle, d, wide ? (const void *)&wide_one : &one, p->b.data,
        &own->b, p->a.data, &own->a, wide ? (const void *)wide_beta : beta, p->c.data, &own->c,
        p->c.data, &own->c, &own->algorithm, room, own->workspace, device->compute);
}

mosaic_status mosaic_product_run(const mosaic_cuda *device, const mosaic_product *p)
{
    plan *own;
    MOSAIC_TRY(find_plan(&own, device, p));
    if (!own->fits) return fail(MOSAIC_ENOTSUP, device, p, "cuBLAS has no algorithm");
    int64_t bytes = (int64_t)own->workspace;
    void *room = bytes ? mosaic_cuda_allocate(&device->base, bytes) : NULL;
    if (bytes && !room) return fail(MOSAIC_ENOMEM, device, p, "no memory for cuBLAS to work in");
    mosaic_status status = check(device, p, start(device, own, p, room));
    if (room) mosaic_cuda_release(&device->base, room, bytes);
    return status;
}
