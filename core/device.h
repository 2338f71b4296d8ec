/* device.h - what a device must offer: memory, and one kernel per family of operations.
 *
 * core/op checks shapes and dtypes, allocates outputs, and calls these with operands that fit:
 * outputs exist, broadcast axes have stride 0, axes are in range, empty results never arrive here.
 * A NULL slot means "not supported here" and becomes an error with the operation's and the
 * device's names (MOSAIC_DEVICE_OP). Adding a device is a file that fills this table. */
#ifndef MOSAIC_DEVICE_H
#define MOSAIC_DEVICE_H
#include "status.h"

typedef struct mosaic_device {
    const char *name; /* "cpu", "cuda:0" */

    /* Memory. allocate returns NULL when there is none. Host copies wait for the device. */
    void *(*allocate)(const struct mosaic_device *self, int64_t bytes);
    void (*release)(const struct mosaic_device *self, void *data, int64_t bytes);
    int64_t (*cached)(const struct mosaic_device *self); /* bytes kept for later allocations */
    void (*trim)(const struct mosaic_device *self);      /* gives them back */
    mosaic_status (*to_host)(const struct mosaic_device *self, void *host, const void *data,
                             int64_t bytes);
    mosaic_status (*from_host)(const struct mosaic_device *self, void *data, const void *host,
                               int64_t bytes);

    /* Elementwise. out and a have the same sizes (a is expanded). */
    mosaic_status (*copy)(const mosaic_tensor *out, const mosaic_tensor *a);
    mosaic_status (*fill)(const mosaic_tensor *out, double value);
} mosaic_device;

extern const mosaic_device mosaic_cpu_device;

/* The device called name; NULL or "" is the CPU. Opens the plug-in on first use. */
mosaic_status mosaic_device_find(const mosaic_device **device, const char *name);

/* Calls device->op(...) or fails naming the operation. */
#define MOSAIC_DEVICE_CALL(device, op, ...)                                                        \
    do {                                                                                           \
        if (!(device)->op)                                                                         \
            return mosaic_fail(MOSAIC_ENOTSUP, #op ": not supported on device %s",                 \
                               (device)->name);                                                    \
        MOSAIC_TRY((device)->op(__VA_ARGS__));                                                     \
    } while (0)

#endif
