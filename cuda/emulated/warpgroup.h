/* warpgroup.h - what Hopper has beyond sm_80, for hopper.h: tiles.c, matrix.c, warpgroup.c.
 * Addresses of shared memory are those of a GPU: 32 bits, a block's from 1024 on. */
#ifndef MOSAIC_EMULATED_WARPGROUP_H
#define MOSAIC_EMULATED_WARPGROUP_H
#include "cuda_runtime.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

uint32_t mosaic_emulated_address(const void *at);
/* Where that is, if the bytes are the block's, and aligned as asked. */
void *mosaic_emulated_at(uint32_t address, int bytes, int aligned);

void mosaic_emulated_barrier_init(uint32_t address, int arrivals);
void mosaic_emulated_barrier_publish(void);
void mosaic_emulated_barrier_arrive(uint32_t address, int expected_bytes);
void mosaic_emulated_barrier_wait(uint32_t address, int parity);
/* The map's box that starts at element `from` of its axes. */
void mosaic_emulated_tile(uint32_t to, const void *map, uint32_t barrier, const int *from,
                          int axes);

/* elements (rows, depth) <- an operand; turned: its rows lie next to each other, not its depth. */
enum { MOSAIC_EMULATED_DEPTH = 16 };
void mosaic_emulated_matrix(uint16_t *elements, uint64_t descriptor, bool turned, int rows);

void mosaic_emulated_set_registers(int registers, bool more);

/* A product that all threads of a warpgroup ask for: d (64, n) = a b (+ d). */
typedef struct {
    int n, element; /* mosaic_dtype of a and b */
    int in_registers, a_turned, b_turned, add;
    uint64_t a, b; /* descriptors */
} mosaic_emulated_product;

void mosaic_emulated_wgmma_fence(void);
void mosaic_emulated_wgmma(const mosaic_emulated_product *what, float *d,
                           const uint32_t *const registers[4]);
void mosaic_emulated_wgmma_commit(void);
/* `come`, ended by NULL: whose results there are, then. */
void mosaic_emulated_wgmma_wait(int left, float *const *come);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
