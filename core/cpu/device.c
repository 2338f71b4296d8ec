/* device.c - the CPU as a device: its table of operations. */
#include <string.h>

#include "cpu.h"

static mosaic_status to_host(const mosaic_device *self, void *host, const void *data, int64_t bytes)
{
    (void)self;
    memcpy(host, data, (size_t)bytes);
    return MOSAIC_OK;
}

static mosaic_status from_host(const mosaic_device *self, void *data, const void *host,
                               int64_t bytes)
{
    return to_host(self, data, host, bytes);
}

static mosaic_status synchronize(const mosaic_device *self)
{
    (void)self;
    return MOSAIC_OK;
}

static mosaic_status move(const mosaic_device *self, mosaic_lane *lane, void *to, const void *from,
                          int64_t bytes)
{
    (void)lane;
    return to_host(self, to, from, bytes);
}

static mosaic_memory_stats memory;

const mosaic_device mosaic_cpu_device = {
    .name = "cpu",
    .memory = &memory,
    .allocate = mosaic_cpu_allocate,
    .release = mosaic_cpu_release,
    .cached = mosaic_cpu_cached,
    .trim = mosaic_cpu_trim,
    .total = mosaic_cpu_total,
    .available = mosaic_cpu_available,
    .synchronize = synchronize,
    .to_host = to_host,
    .from_host = from_host,
    .move = move,
    .copy = mosaic_cpu_copy,
    .fill = mosaic_cpu_fill,
    .elementwise = mosaic_cpu_elementwise,
    .reduce = mosaic_cpu_reduce,
    .reduce_rows = mosaic_cpu_reduce_rows,
    .arg_reduce = mosaic_cpu_arg_reduce,
    .random = mosaic_cpu_random,
    .attention = mosaic_cpu_attention,
    .attention_backward = mosaic_cpu_attention_backward,
    .attention_work = mosaic_cpu_attention_work,
    .attention_work_reset = mosaic_cpu_attention_work_reset,
    .attention_delta = mosaic_cpu_attention_delta,
    .attention_merge = mosaic_cpu_attention_merge,
    .attention_merge_backward = mosaic_cpu_attention_merge_backward,
    .matmul = mosaic_cpu_matmul,
    .matmul_add = mosaic_cpu_matmul_add,
    .matmul_gelu = mosaic_cpu_matmul_gelu,
    .matmul_times = mosaic_cpu_matmul_times,
    .matmul_sums = mosaic_cpu_matmul_sums,
    .normalize = mosaic_cpu_normalize,
    .add_normalize = mosaic_cpu_add_normalize,
    .normalize_backward = mosaic_cpu_normalize_backward,
    .softmax = mosaic_cpu_softmax,
    .softmax_backward = mosaic_cpu_softmax_backward,
    .cross_entropy = mosaic_cpu_cross_entropy,
    .cross_entropy_backward = mosaic_cpu_cross_entropy_backward,
    .schedule_free = mosaic_cpu_schedule_free,
    .quantize = mosaic_cpu_quantize,
    .dequantize = mosaic_cpu_dequantize,
    .check_index = mosaic_cpu_check_index,
    .gather = mosaic_cpu_gather,
    .scatter = mosaic_cpu_scatter,
    .sort = mosaic_cpu_sort,
    .cumsum = mosaic_cpu_cumsum,
};
