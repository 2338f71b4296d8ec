/* kernel.h - what kernels need beyond CUDA C++; also where the run-time compiler compiles them. */
#ifndef MOSAIC_CUDA_KERNEL_H
#define MOSAIC_CUDA_KERNEL_H

/* A block's dynamic shared memory, aligned to 1024 bytes. */
#define MOSAIC_DYNAMIC_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]

#ifdef __CUDACC_RTC__
#define INFINITY __int_as_float(0x7f800000)
#endif

#endif
