/* loop.h - strided operands walked together, innermost runs handed to a kernel. */
#ifndef MOSAIC_CPU_LOOP_H
#define MOSAIC_CPU_LOOP_H
#include "../tensor.h"

enum { MOSAIC_LOOP_OPERANDS = 10 };

/* data[i] is operand i's first element, step[i] the bytes from one of its elements to the next. */
typedef void (*mosaic_loop_body)(void *context, int64_t count, char *const *data,
                                 const int64_t *step);

/* Calls body for runs that together cover every element of the operands, which have the same
 * sizes (broadcast axes: stride 0). Axes that lie evenly in memory for all operands are merged, so
 * contiguous operands arrive as one run per thread. Different runs may run on different threads. */
void mosaic_loop(int operands, const mosaic_tensor *const *tensors, mosaic_loop_body body,
                 void *context);

#endif
