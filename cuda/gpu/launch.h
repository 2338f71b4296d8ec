/* launch.h - starts kernels on a device's compute stream. */
#ifndef MOSAIC_CUDA_LAUNCH_H
#define MOSAIC_CUDA_LAUNCH_H
#include <kernel.h>

#include "../cuda.h"

/* `what` names the operation in messages. */
template <class... P, class... A>
static inline mosaic_status mosaic_launch(const mosaic_cuda *device, const char *what,
                                          void (*kernel)(P...), dim3 grid, dim3 block,
                                          size_t shared, A... arguments)
{
    kernel<<<grid, block, shared, device->compute>>>((P)arguments...);
    return mosaic_cuda_check(device, what, cudaGetLastError());
}

/* Kernels may use more than 48 KiB of shared memory only after this. */
template <class... P>
static inline mosaic_status mosaic_allow_shared(const mosaic_cuda *device, const char *what,
                                                void (*kernel)(P...), size_t bytes)
{
    return mosaic_cuda_check(device, what,
                             cudaFuncSetAttribute((const void *)kernel,
                                                  cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                  (int)bytes));
}

#endif
