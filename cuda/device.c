/* device.c - NVIDIA GPUs as devices: which are there, and when there is none, why. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda.h"

static mosaic_cuda devices[MOSAIC_CUDA_DEVICES];
const mosaic_core *mosaic_cuda_core;

mosaic_status mosaic_cuda_check(const mosaic_cuda *device, const char *what, cudaError_t error)
{
    if (error == cudaSuccess) return MOSAIC_OK;
    return mosaic_cuda_core->fail(MOSAIC_EDEVICE, "%s: %s failed: %s (%s)", what, device->name,
                                  cudaGetErrorString(error), cudaGetErrorName(error));
}

mosaic_status mosaic_cuda_enter(const mosaic_cuda *device)
{
    static _Thread_local int entered = -1;
    if (entered == device->index) return MOSAIC_OK;
    MOSAIC_CUDA_TRY(device, "cudaSetDevice", cudaSetDevice(device->index));
    entered = device->index;
    return MOSAIC_OK;
}

static bool several_ranks(void)
{
    static const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_SIZE", "PMI_SIZE",
                                        "SLURM_STEP_NUM_TASKS"};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const char *text = getenv(sizes[i]);
        if (text && atoi(text) > 1) return true;
    }
    return false;
}

/* CUDA reads these when it starts. Streams that share one of a few queues wait for each other, for
 * ever where one waits for another process that waits for the other one. So does the loading of a
 * kernel that is used for the first time: it may wait for those that run, which may wait for
 * another process. */
static void choose_settings(void)
{
    setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
    if (several_ranks()) setenv("CUDA_MODULE_LOADING", "EAGER", 0);
}

/* Fails with the reason where there is none. */
static mosaic_status count_devices(int *count, const mosaic_core *core)
{
    int driver = 0, runtime = 0;
    mosaic_cuda_core = core;
    choose_settings();
    cudaError_t error = cudaGetDeviceCount(count);
    if (error == cudaSuccess && *count > 0) return MOSAIC_OK;
    cudaGetLastError();
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0)
        return mosaic_cuda_core->fail(MOSAIC_ENOTSUP,
                                      "device cuda: no NVIDIA driver on this machine");
    if (error == cudaErrorInsufficientDriver)
        return mosaic_cuda_core->fail(
            MOSAIC_ENOTSUP,
            "device cuda: the NVIDIA driver is too old: it knows CUDA %d.%d, Mosaic was built "
            "with %d.%d",
            driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    if (error == cudaErrorNoDevice || error == cudaSuccess)
        return mosaic_cuda_core->fail(MOSAIC_ENOTSUP,
                                      "device cuda: the driver finds no GPU (CUDA_VISIBLE_DEVICES "
                                      "may hide them)");
    return mosaic_cuda_core->fail(MOSAIC_ENOTSUP, "device cuda: %s (%s)", cudaGetErrorString(error),
                                  cudaGetErrorName(error));
}

static mosaic_status read_attributes(mosaic_cuda *d)
{
    int major = 0, minor = 0, shared = 0;
    struct cudaDeviceProp properties;
    MOSAIC_CUDA_TRY(d, "opening", cudaGetDeviceProperties(&properties, d->index));
    const struct {
        enum cudaDeviceAttr attribute;
        int *value;
    } wanted[] = {
        {cudaDevAttrComputeCapabilityMajor, &major},
        {cudaDevAttrComputeCapabilityMinor, &minor},
        {cudaDevAttrMultiProcessorCount, &d->multiprocessors},
        {cudaDevAttrMaxSharedMemoryPerBlockOptin, &shared},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        MOSAIC_CUDA_TRY(d, "opening",
                        cudaDeviceGetAttribute(wanted[i].value, wanted[i].attribute, d->index));
    snprintf(d->model, sizeof d->model, "%s", properties.name);
    d->capability = 10 * major + minor;
    d->shared_limit = shared;
    d->total = (int64_t)properties.totalGlobalMem; /* last: what was read is complete */
    return MOSAIC_OK;
}

static const struct mosaic_carrier *const carriers[] = {&mosaic_nccl_carrier, &mosaic_ipc_carrier,
                                                        NULL};

static const mosaic_device table = {
    .allocate = mosaic_cuda_allocate,
    .release = mosaic_cuda_release,
    .cached = mosaic_cuda_cached,
    .trim = mosaic_cuda_trim,
    .total = mosaic_cuda_total,
    .available = mosaic_cuda_available,
    .synchronize = mosaic_cuda_synchronize,
    .to_host = mosaic_cuda_to_host,
    .from_host = mosaic_cuda_from_host,
    .carriers = carriers,
    .poll = mosaic_cuda_poll,
    .move = mosaic_cuda_move,
    .lane_new = mosaic_cuda_lane_new,
    .mark = mosaic_cuda_mark,
    .follow = mosaic_cuda_follow,
    .passed = mosaic_cuda_passed,
    .forget = mosaic_cuda_forget,
    .work_on = mosaic_cuda_work_on,
    .pin = mosaic_cuda_pin,
    .unpin = mosaic_cuda_unpin,
    .stamp = mosaic_cuda_stamp,
    .moment = mosaic_cuda_moment,
    .copy = mosaic_cuda_copy,
    .fill = mosaic_cuda_fill,
    .elementwise = mosaic_cuda_elementwise,
    .reduce = mosaic_cuda_reduce,
    .reduce_rows = mosaic_cuda_reduce_rows,
    .arg_reduce = mosaic_cuda_arg_reduce,
    .random = mosaic_cuda_random,
    .quantize = mosaic_cuda_quantize,
    .dequantize = mosaic_cuda_dequantize,
    .check_index = mosaic_cuda_check_index,
    .gather = mosaic_cuda_gather,
    .scatter = mosaic_cuda_scatter,
    .sort = mosaic_cuda_sort,
    .cumsum = mosaic_cuda_cumsum,
    .attention = mosaic_cuda_attention,
    .attention_backward = mosaic_cuda_attention_backward,
    .attention_work = mosaic_cuda_attention_work,
    .attention_work_reset = mosaic_cuda_attention_work_reset,
    .attention_delta = mosaic_cuda_attention_delta,
    .attention_merge = mosaic_cuda_attention_merge,
    .attention_merge_backward = mosaic_cuda_attention_merge_backward,
    .matmul = mosaic_cuda_matmul,
    .matmul_gelu = mosaic_cuda_matmul_gelu,
    .normalize = mosaic_cuda_normalize,
    .normalize_backward = mosaic_cuda_normalize_backward,
    .softmax = mosaic_cuda_softmax,
    .softmax_backward = mosaic_cuda_softmax_backward,
    .cross_entropy = mosaic_cuda_cross_entropy,
    .cross_entropy_backward = mosaic_cuda_cross_entropy_backward,
};

/* Freed memory stays in the driver's pool until it is trimmed. */
static mosaic_status keep_freed_memory(const mosaic_cuda *d)
{
    cudaMemPool_t pool;
    uint64_t everything = UINT64_MAX;
    MOSAIC_CUDA_TRY(d, "opening", cudaDeviceGetDefaultMemPool(&pool, d->index));
    return mosaic_cuda_check(
        d, "opening", cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &everything));
}

static mosaic_status open_counters(mosaic_cuda *d)
{
    size_t bytes = MOSAIC_MEMORY_ACCOUNTS * 4 * sizeof *d->work;
    MOSAIC_CUDA_TRY(d, "opening", cudaMalloc((void **)&d->work, bytes));
    return mosaic_cuda_check(d, "opening", cudaMemsetAsync(d->work, 0, bytes, d->compute));
}

static void describe(mosaic_cuda *d)
{
    int driver = 0;
    cudaDriverGetVersion(&driver);
    snprintf(d->details, sizeof d->details,
             "compute capability %d.%d, %d multiprocessors, driver for CUDA %d.%d",
             d->capability / 10, d->capability % 10, d->multiprocessors, driver / 1000,
             driver % 1000 / 10);
}

/* Device `index`, which need not be open but exists. */
static mosaic_status find(mosaic_cuda **device, int index, const mosaic_core *core)
{
    int count = 0;
    MOSAIC_TRY(count_devices(&count, core));
    if (index < 0 || index >= count || index >= MOSAIC_CUDA_DEVICES)
        return core->fail(MOSAIC_EINVAL,
                          "device cuda:%d does not exist: this machine has %d, "
                          "cuda:0 to cuda:%d",
                          index, count, count - 1);
    mosaic_cuda *d = *device = &devices[index];
    if (d->total) return MOSAIC_OK;
    *d = (mosaic_cuda){.base = table, .index = index};
    snprintf(d->name, sizeof d->name, "cuda:%d", index);
    MOSAIC_CUDA_TRY(d, "opening", cudaDeviceGetPCIBusId(d->address, sizeof d->address, index));
    d->base.address = d->address;
    d->base.name = d->name;
    d->base.memory = &d->memory;
    MOSAIC_TRY(read_attributes(d));
    describe(d);
    return MOSAIC_OK;
}

static mosaic_status describe_number(mosaic_device_info *info, int number, const mosaic_core *core)
{
    mosaic_cuda *d = NULL;
    MOSAIC_TRY(find(&d, number, core));
    *info = (mosaic_device_info){d->name, d->model, d->details, d->total};
    return MOSAIC_OK;
}

static mosaic_status open_device(mosaic_cuda *d)
{
    if (d->capability < 80)
        return mosaic_cuda_core->fail(
            MOSAIC_ENOTSUP, "device %s: %s has compute capability %d.%d, Mosaic needs 8.0 or more",
            d->name, d->model, d->capability / 10, d->capability % 10);
    MOSAIC_TRY(mosaic_cuda_enter(d));
    MOSAIC_TRY(keep_freed_memory(d));
    MOSAIC_CUDA_TRY(d, "opening", cudaStreamCreateWithFlags(&d->main, cudaStreamNonBlocking));
    d->compute = d->main;
    MOSAIC_TRY(open_counters(d));
    d->usable = true;
    return MOSAIC_OK;
}

static mosaic_status open_number(const mosaic_device **device, int number, int local_rank,
                                 const mosaic_core *core)
{
    int count = 0;
    mosaic_cuda *d = NULL;
    MOSAIC_TRY(count_devices(&count, core));
    MOSAIC_TRY(find(&d, number >= 0 ? number : local_rank % count, core));
    if (!d->usable) MOSAIC_TRY(open_device(d));
    *device = &d->base;
    return MOSAIC_OK;
}

MOSAIC_API const mosaic_device_family mosaic_device_plugin = {MOSAIC_PLUGIN_LAYOUT, count_devices,
                                                              describe_number, open_number};
