/* gemm.h - one product of two matrices on one thread. */
#ifndef MOSAIC_CPU_GEMM_H
#define MOSAIC_CPU_GEMM_H
#include "../mosaic.h"

/* c (m,n) = a (m,k) b (k,n) + bias (n), or + add (m,n), whose rows lie as c's do. Element (i,j) of
 * a lies at a[i*a_row + j*a_column], of b likewise; c's columns are adjacent. dtype is f32, f64 or
 * an integer type. */
typedef struct mosaic_gemm {
    int dtype;
    int64_t m, n, k;
    const char *a, *b, *bias, *add; /* bias, add: NULL for none, not both */
    int64_t a_row, a_column, b_row, b_column, c_row;
    char *c;
    double *sums;        /* (m): each row of a is added to its own; NULL: not wanted */
    const float *packed; /* b, where mosaic_gemm_pack has packed it */
} mosaic_gemm;

void mosaic_gemm_run(const mosaic_gemm *g);

/* Floats that b takes in the form that our kernel reads it in; 0: another does this product. */
int64_t mosaic_gemm_packed_size(const mosaic_gemm *g);
/* Brings columns from..to - 1 of b into that form, whole MOSAIC_GEMM_COLUMNS (kernels.h) but for
 * the last, for products with any rows of a, but all columns and the whole sum. */
void mosaic_gemm_pack(const mosaic_gemm *g, float *packed, int64_t from, int64_t to);

/* Can a matrix with these steps between rows and columns be an operand? BLAS wants one step to be
 * 1 and the other to be no less than the elements in between. */
bool mosaic_gemm_fits(int dtype, int64_t rows, int64_t columns, int64_t row, int64_t column);

#endif
