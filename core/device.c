/* device.c - devices by name. */
#include "device.h"

#include <string.h>

mosaic_status mosaic_device_find(const mosaic_device **device, const char *name)
{
    if (!name || !*name || !strcmp(name, "cpu")) {
        *device = &mosaic_cpu_device;
        return MOSAIC_OK;
    }
    return mosaic_fail(MOSAIC_ENOTSUP, "device '%s' is not available here (available: cpu)", name);
}
