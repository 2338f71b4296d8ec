/* support.c - what the fuzz targets share: the input as a file, and a device of plain malloc.
 *
 * Tensors come from malloc, byte for byte, so that AddressSanitizer sees a write past the end of
 * any of them. The device stands in for core/cpu, which need not be built. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

const char *fuzz_file(const uint8_t *data, size_t bytes)
{
    static char path[64];
    static int fd = -1;
    if (fd >= 0) close(fd);
    fd = memfd_create("fuzz", 0);
    if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes) fuzz_fail("no memory file");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return path;
}

void fuzz_fail(const char *text)
{
    fprintf(stderr, "fuzz: %s\n", text);
    abort();
}

static void *allocate(const mosaic_device *self, int64_t bytes)
{
    (void)self;
    return malloc((size_t)bytes);
}

static void release(const mosaic_device *self, void *data, int64_t bytes)
{
    (void)self, (void)bytes;
    free(data);
}

const mosaic_device mosaic_cpu_device = {.name = "cpu", .allocate = allocate, .release = release};

mosaic_status mosaic_device_find(const mosaic_device **device, const char *name)
{
    (void)name;
    *device = &mosaic_cpu_device;
    return MOSAIC_OK;
}
