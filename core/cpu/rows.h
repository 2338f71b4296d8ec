/* rows.h - several operands walked row by row, each row made contiguous where it is not. */
#ifndef MOSAIC_CPU_ROWS_H
#define MOSAIC_CPU_ROWS_H
#include "../tensor.h"

enum { MOSAIC_ROWS_OPERANDS = 6 };

/* data[i] is operand i's row `first`, NULL where the operand is; step[i] counts elements from one
 * of its rows to the next. */
typedef void (*mosaic_rows_body)(void *context, int64_t first, int64_t rows, char *const *data,
                                 const int64_t *step);

/* The last axis of each operand is its row; the leading sizes of all are the same, the last may
 * differ. The first `outputs` operands are written, the others read; a NULL operand is left out.
 * The body sees rows whose elements are adjacent, bf16 and f16 as f32: rows that lie otherwise in
 * memory go through a small buffer. A call of the body never crosses a multiple of `grain` rows,
 * so a grain that depends on the shape alone cuts the work alike on any number of threads. */
mosaic_status mosaic_rows(int operands, int outputs, const mosaic_tensor *const *tensors,
                          int64_t grain, mosaic_rows_body body, void *context);

/* A borrowed view with `axis` moved to the end. */
mosaic_tensor mosaic_axis_last(const mosaic_tensor *a, int axis);

/* Rows of n elements that are worth a task of their own; at most 64 tasks. */
int64_t mosaic_rows_grain(int64_t rows, int64_t n);

#endif
