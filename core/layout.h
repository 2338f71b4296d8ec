/* layout.h - sizes and strides: where a tensor's elements lie, and how that is printed. */
#ifndef MOSAIC_LAYOUT_H
#define MOSAIC_LAYOUT_H
#include <stddef.h>

#include "mosaic.h"

/* t <- row-major strides, no storage; bytes <- what all elements take. Fails on a negative size, or
 * when there are more bytes than an int64_t counts. `op` names the caller in the message. */
mosaic_status mosaic_lay_out(mosaic_tensor *t, const char *op, int dtype, int ndim,
                             const int64_t *size, int64_t *bytes);

/* Lowest and highest element that a touches, as bytes [from, to) of its storage. */
void mosaic_byte_range(const mosaic_tensor *a, int64_t *from, int64_t *to);

/* "[4,5,6]"; returns its length. */
int mosaic_sizes_print(char *text, size_t room, int ndim, const int64_t *size);

/* size[0..ndim) that a and b broadcast to (NumPy's rule). */
mosaic_status mosaic_broadcast(const char *op, int *ndim, int64_t *size, const mosaic_tensor *a,
                               const mosaic_tensor *b);

/* The same elements seen with the given sizes: a borrowed view (no reference is taken); a's sizes
 * must broadcast to them. */
mosaic_tensor mosaic_expanded(const mosaic_tensor *a, int ndim, const int64_t *size);

/* Where element `at` (0-based, row-major) of these sizes stands, for messages: "[2,3]", or "3" in
 * one dim. */
enum { MOSAIC_PLACE_ROOM = 200 };
void mosaic_place_print(char *text, int ndim, const int64_t *size, int64_t at);

/* Do the two views share bytes without being the very same view? Writing one while reading the
 * other would give wrong values; callers copy first. Conservative: byte ranges. */
bool mosaic_overlaps(const mosaic_tensor *a, const mosaic_tensor *b);

#endif
