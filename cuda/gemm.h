/* gemm.h - stacks of products of matrices, by cuBLASLt. */
#ifndef MOSAIC_CUDA_GEMM_H
#define MOSAIC_CUDA_GEMM_H
#include "cuda.h"

/* How the matrices of a stack lie in memory; steps count elements. */
typedef struct {
    char *data;
    bool by_columns; /* neighbours in memory are those of a column, else those of a row */
    int64_t step;    /* from one row (column) to the next, at least its elements */
    int64_t next;    /* from one matrix to the next; of operands it may be 0 */
} mosaic_matrix;

/* c (m, n) = a (m, k) b (k, n) + bias (n), or + what c holds, `count` times. Nothing is empty, c
 * lies by rows, dtype is a float. Or, once, before (m, n) is that and c its GELU, by tanh. */
typedef struct {
    int dtype;
    int64_t m, n, k, count;
    mosaic_matrix c, a, b;
    const char *bias; /* one vector for all of them, or NULL */
    bool adds;        /* to what c holds */
    char *before;     /* NULL: no GELU */
} mosaic_product;

/* Can it be done? Without a bias and a GELU it always can, as far as is known. */
bool mosaic_product_fits(const mosaic_cuda *device, const mosaic_product *p);
mosaic_status mosaic_product_run(const mosaic_cuda *device, const mosaic_product *p);

#endif
