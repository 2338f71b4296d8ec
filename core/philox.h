/* philox.h - Philox4x32-10: random bits as a function of a counter and a key.
 *
 * J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3"
 * (SC 2011). The counter is (element, stream), so any element of any stream is had at once. */
#ifndef MOSAIC_PHILOX_H
#define MOSAIC_PHILOX_H
#include <stdint.h>

#ifndef MOSAIC_INLINE /* devices with kernels of their own say more */
#define MOSAIC_INLINE static inline
#endif

typedef struct {
    uint32_t word[4];
} mosaic_philox;

MOSAIC_INLINE mosaic_philox mosaic_philox_at(uint64_t seed, uint64_t stream, uint64_t element)
{
    uint32_t c0 = (uint32_t)element, c1 = (uint32_t)(element >> 32);
    uint32_t c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xd2511f53u * c0, p1 = (uint64_t)0xcd9e8d57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    mosaic_philox p = {{c0, c1, c2, c3}};
    return p;
}

/* Two words as 64 bits. */
MOSAIC_INLINE uint64_t mosaic_philox_bits(mosaic_philox p, int pair)
{
    return (uint64_t)p.word[2 * pair + 1] << 32 | p.word[2 * pair];
}

/* ... as a number in [0, 1) with 53 bits. */
MOSAIC_INLINE double mosaic_philox_unit(mosaic_philox p, int pair)
{
    return (double)(int64_t)(mosaic_philox_bits(p, pair) >> 11) * 0x1p-53;
}

/* ... as one of 0 ... range - 1, each equally likely up to range / 2^64. */
MOSAIC_INLINE uint64_t mosaic_philox_below(mosaic_philox p, uint64_t range)
{
    uint64_t bits = mosaic_philox_bits(p, 0);
    uint64_t low = (bits & 0xffffffffu) * (range & 0xffffffffu) >> 32;
    uint64_t cross = (bits >> 32) * (range & 0xffffffffu) + low;
    uint64_t other = (bits & 0xffffffffu) * (range >> 32) + (cross & 0xffffffffu);
    return (bits >> 32) * (range >> 32) + (cross >> 32) + (other >> 32);
}

#endif
