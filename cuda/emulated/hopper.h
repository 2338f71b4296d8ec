/* hopper.h - gpu/hopper.h without a GPU: barriers in shared memory and tiles that come late
 * (tiles.c), products by warpgroups that are not there before somebody has waited for them
 * (warpgroup.c). Addresses of shared memory are those of a GPU: 32 bits, from 1024 on. */
#ifndef MOSAIC_GPU_HOPPER_H
#define MOSAIC_GPU_HOPPER_H
#include "warpgroup.h"

static inline uint32_t shared_address(const void *at) { return mosaic_emulated_address(at); }

/* ---- barriers ------------------------------------------------------------------------------- */

typedef uint64_t barrier;

static inline void barrier_init(barrier *b, int arrivals)
{
    mosaic_emulated_barrier_init(shared_address(b), arrivals);
}
static inline void barrier_publish() { mosaic_emulated_barrier_publish(); }
static inline void barrier_arrive(barrier *b)
{
    mosaic_emulated_barrier_arrive(shared_address(b), 0);
}
static inline void barrier_expect(barrier *b, int bytes)
{
    mosaic_emulated_barrier_arrive(shared_address(b), bytes);
}
static inline void barrier_wait(barrier *b, int parity)
{
    mosaic_emulated_barrier_wait(shared_address(b), parity);
}

/* ---- copies of tiles ------------------------------------------------------------------------ */

static inline void tile_load(void *to, const mosaic_tile_map *map, barrier *b, int column, int row,
                             int head, int b1, int b0)
{
    const int from[] = {column, row, head, b1, b0};
    mosaic_emulated_tile(shared_address(to), map, shared_address(b), from, 5);
}

static inline void tile_prefetch_map(const mosaic_tile_map *map)
{
    mosaic_emulated_aligned(map, 128);
}

/* ---- warpgroups ----------------------------------------------------------------------------- */

template <int registers> static inline void take_registers()
{
    mosaic_emulated_set_registers(registers, true);
}
template <int registers> static inline void give_registers()
{
    mosaic_emulated_set_registers(registers, false);
}

static inline void wgmma_fence() { mosaic_emulated_wgmma_fence(); }
static inline void wgmma_commit() { mosaic_emulated_wgmma_commit(); }
template <int left, int... COUNTS> static inline void wgmma_wait(float (&...d)[COUNTS])
{
    float *const come[] = {d..., nullptr};
    mosaic_emulated_wgmma_wait(left, come);
}

template <class T, int count> static inline void wgmma_hold(T (&)[count]) {}

template <int N, int A_TURNED, int B_TURNED>
static inline void wgmma_ss(float (&d)[N / 2], uint64_t a, uint64_t b, int add)
{
    const mosaic_emulated_product p = {N, ELEMENT, false, A_TURNED, B_TURNED, add != 0, a, b};
    mosaic_emulated_wgmma(&p, d, nullptr);
}

template <int N, int B_TURNED>
static inline void wgmma_rs(float (&d)[N / 2], const uint32_t &a0, const uint32_t &a1,
                            const uint32_t &a2, const uint32_t &a3, uint64_t b, int add)
{
    const mosaic_emulated_product p = {N, ELEMENT, true, false, B_TURNED, add != 0, 0, b};
    const uint32_t *const a[] = {&a0, &a1, &a2, &a3};
    mosaic_emulated_wgmma(&p, d, a);
}

#endif
