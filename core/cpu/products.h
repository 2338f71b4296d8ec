/* products.h - a stack of products of matrices that gemm can take as they are. */
#ifndef MOSAIC_CPU_PRODUCTS_H
#define MOSAIC_CPU_PRODUCTS_H
#include "../device.h"
#include "gemm.h"
#include "kernels.h"

/* Steps count elements; index 0, 1, 2 is c, a, b. What c starts from is whole's bias or add; where
 * there is something `after`, a tile of `to` <- after(c, factor), with c's tile still in the cache.
 */
typedef struct {
    mosaic_gemm whole; /* sizes, steps and first elements of the first product */
    int axes;          /* leading axes that remain */
    int64_t size[MOSAIC_MAX_DIMS], step[MOSAIC_MAX_DIMS][3];
    int64_t bytes; /* of one element */
    int64_t tile_m, tiles_m, tiles_n, chunks, chunk;
    char *partial; /* (chunks, m, n) where chunks > 1 */
    mosaic_map_kernel after;
    char *to;           /* lies as c does */
    const char *factor; /* likewise; may be NULL */
} mosaic_products;

/* whole's sums are (chunks, m), to be added up. c (..., m, n) = a (..., m, k) b (..., k, n), whose
 * matrices mosaic_gemm_fits, c's columns being adjacent. Starts and what comes after are then
 * written into it, the latter where chunks is 1. */
mosaic_products mosaic_products_of(const mosaic_tensor *c, const mosaic_tensor *a,
                                   const mosaic_tensor *b);

/* Runs it, or refuses what BLAS cannot count; *packed: room, which the caller clears. */
mosaic_status mosaic_products_run(mosaic_products *s, mosaic_tensor *packed);

#endif
