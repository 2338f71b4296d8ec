/* loop.h - strided operands walked together, innermost runs handed to a kernel. */
#ifndef MOSAIC_CPU_LOOP_H
#define MOSAIC_CPU_LOOP_H
#include "../tensor.h"

enum { MOSAIC_LOOP_OPERANDS = 10 };

/* data[i] is operand i's first element, step[i] the bytes from one of its elements to the next. */
typedef void (*mosaic_loop_body)(void *context, int64_t count, char *const *data,
                                 const int64_t *step);

/* Calls body for runs that together cover every element of the operands, which have the same
 * sizes (broadcast axes: stride 0). The walk follows the first operand through memory, whatever the
 * order of its axes. Axes that lie evenly in memory for all operands are merged, so contiguous
 * operands arrive as one run per thread. Different runs may run on different threads. */
void mosaic_loop(int operands, const mosaic_tensor *const *tensors, mosaic_loop_body body,
                 void *context);

/* A rectangle of rows x columns elements: operand i starts at data[i], and its rows are
 * row_step[i], its columns step[i] bytes apart. */
typedef struct {
    int64_t rows, columns;
    char *data[MOSAIC_LOOP_OPERANDS];
    int64_t row_step[MOSAIC_LOOP_OPERANDS], step[MOSAIC_LOOP_OPERANDS];
} mosaic_rectangle;

typedef void (*mosaic_loop_rows_body)(void *context, const mosaic_rectangle *r);

/* The same in two dimensions, for operands whose runs are short. Columns are the last axis; rows
 * are the axis before it, or one along which an operand is contiguous when it is not along the
 * columns (a transpose). The walk follows the first operand that has no gaps, if there is one. */
void mosaic_loop_rows(int operands, const mosaic_tensor *const *tensors, mosaic_loop_rows_body body,
                      void *context);

/* order[0..ndim): a's axes from the longest stride to the shortest. */
void mosaic_memory_order(int *order, const mosaic_tensor *a);

#endif
