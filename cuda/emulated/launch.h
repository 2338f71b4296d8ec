/* launch.h - starts kernels that run as fibers: gpu/launch.h without a GPU. */
#ifndef MOSAIC_CUDA_LAUNCH_H
#define MOSAIC_CUDA_LAUNCH_H
#include <cstdlib>
#include <new>
#include <utility>

#include "../cuda.h"
#include "kernel.h"

/* Each file its own: types of the same name differ between files. */
namespace
{
template <class... P> struct mosaic_emulated_launch {
    void (*kernel)(P...);
    mosaic_emulated_index grid, block;
    size_t shared;
    std::tuple<P...> arguments;

    static void thread(void *context)
    {
        auto *own = static_cast<mosaic_emulated_launch *>(context);
        std::apply(own->kernel, own->arguments);
    }
    static void run(void *context)
    {
        auto *own = static_cast<mosaic_emulated_launch *>(context);
        if (mosaic_emulated_survives())
            mosaic_emulated_blocks(own->grid, own->block, own->shared, thread, context);
    }
};
} // namespace

template <class... P, class... A>
static inline mosaic_status mosaic_launch(const mosaic_cuda *device, const char *what,
                                          void (*kernel)(P...), dim3 grid, dim3 block,
                                          size_t shared, A... arguments)
{
    typedef mosaic_emulated_launch<P...> launch;
    void *room = malloc(sizeof(launch));
    if (!room) return mosaic_cuda_core->fail(MOSAIC_ENOMEM, "%s: no memory to emulate it", what);
    new (room) launch{kernel,
                      {grid.x, grid.y, grid.z},
                      {block.x, block.y, block.z},
                      shared,
                      std::tuple<P...>((P)arguments...)};
    return mosaic_cuda_check(device, what,
                             mosaic_emulated_enqueue(device->compute, launch::run, room));
}

/* Kernels may use more than 48 KiB of shared memory only after this. */
template <class... P>
static inline mosaic_status mosaic_allow_shared(const mosaic_cuda *, const char *, void (*)(P...),
                                                size_t)
{
    return MOSAIC_OK;
}

#endif
