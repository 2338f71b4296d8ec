/* inline.h - how small functions are marked: MOSAIC_DEVICE those that only kernels call,
 * MOSAIC_INLINE those that the host calls, too; core/ has some of these, so it comes before them.
 * For the run-time compiler as well, which has no headers: nothing is included. */
#ifndef MOSAIC_CUDA_INLINE_H
#define MOSAIC_CUDA_INLINE_H

#define MOSAIC_DEVICE static __device__ __forceinline__

#ifdef __CUDACC__
#define MOSAIC_INLINE static __host__ __device__ __forceinline__
#else
#define MOSAIC_INLINE static inline
#endif

#endif
