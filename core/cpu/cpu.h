/* cpu.h - the CPU's entries of the device table, one group per file of core/cpu. */
#ifndef MOSAIC_CPU_H
#define MOSAIC_CPU_H
#include "../device.h"

void *mosaic_cpu_allocate(const mosaic_device *self, int64_t bytes);
void mosaic_cpu_release(const mosaic_device *self, void *data, int64_t bytes);
int64_t mosaic_cpu_cached(const mosaic_device *self);
void mosaic_cpu_trim(const mosaic_device *self);

mosaic_status mosaic_cpu_copy(const mosaic_tensor *out, const mosaic_tensor *a);
mosaic_status mosaic_cpu_fill(const mosaic_tensor *out, double value);

#endif
