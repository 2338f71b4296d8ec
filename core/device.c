/* device.c - devices by name. */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm/comm.h"

enum { DEVICES = 64 };
static const mosaic_device *found[DEVICES] = {&mosaic_cpu_device};

const mosaic_device *mosaic_device_at(int i) { return i >= 0 && i < DEVICES ? found[i] : NULL; }

/* "family:number" in two; number -1 where there is none. False: it is no such name. */
static bool read_name(const char *name, char family[16], int *number)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz");
    if (length == 0 || length >= 16) return false;
    memcpy(family, name, length);
    family[length] = 0;
    *number = -1;
    if (!name[length]) return true;
    char *end;
    long value = strtol(name + length + 1, &end, 10);
    *number = (int)value;
    return name[length] == ':' && end > name + length + 1 && !*end && value >= 0 && value < 1024;
}

/* Launchers tell a process its number among those of its machine, each in its own words. */
static int local_rank(void)
{
    static const char *const names[] = {"MOSAIC_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK",
                                        "SLURM_LOCALID", "PMI_LOCAL_RANK", "MPI_LOCALRANKID"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *text = getenv(names[i]);
        if (text && *text) return atoi(text);
    }
    return 0;
}

static mosaic_status remember(const mosaic_device *device)
{
    int i = 0;
    while (i < DEVICES && found[i] && found[i] != device) i++;
    if (i == DEVICES) return mosaic_fail(MOSAIC_ENOTSUP, "more than %d devices", DEVICES);
    found[i] = device;
    return MOSAIC_OK;
}

static mosaic_status find_family(const mosaic_device_family **family, const char *name)
{
    const void *symbol;
    char what[32];
    snprintf(what, sizeof what, "device %s", name);
    MOSAIC_TRY(mosaic_plugin_find(&symbol, what, name, "mosaic_device_plugin"));
    *family = symbol;
    return MOSAIC_OK;
}

mosaic_status mosaic_device_find(const mosaic_device **device, const char *name)
{
    for (int i = 0; i < DEVICES && found[i]; i++) {
        if (name && *name && strcmp(name, found[i]->name)) continue;
        *device = found[i];
        return MOSAIC_OK;
    }
    char plugin[16];
    int number;
    MOSAIC_REQUIRE(read_name(name, plugin, &number) && strcmp(plugin, "cpu"),
                   "there is no device '%s': expected cpu, family or family:number", name);
    const mosaic_device_family *family;
    MOSAIC_TRY(find_family(&family, plugin));
    MOSAIC_TRY(family->open(device, number, local_rank(), &mosaic_core_functions));
    mosaic_world_end_first();
    return remember(*device);
}

/* The plug-in's family of this name; NULL for that of the CPU. */
static mosaic_status named_family(const mosaic_device_family **family, const char *name)
{
    char plugin[16];
    int number = -1;
    *family = NULL;
    if (!name || !*name || !strcmp(name, "cpu")) return MOSAIC_OK;
    MOSAIC_REQUIRE(read_name(name, plugin, &number) && number < 0,
                   "there is no family of devices '%s'", name);
    return find_family(family, plugin);
}

mosaic_status mosaic_device_count(int *count, const char *family)
{
    const mosaic_device_family *own;
    MOSAIC_TRY(named_family(&own, family));
    if (own) return own->count(count, &mosaic_core_functions);
    *count = 1;
    return MOSAIC_OK;
}

mosaic_status mosaic_device_describe(mosaic_device_info *info, const char *family, int number)
{
    const mosaic_device_family *own;
    const mosaic_device *cpu = &mosaic_cpu_device;
    MOSAIC_TRY(named_family(&own, family));
    if (own) return own->describe(info, number, &mosaic_core_functions);
    MOSAIC_REQUIRE(number == 0, "there is one CPU, and no number %d of it", number);
    *info = (mosaic_device_info){cpu->name, "CPU", "", cpu->total(cpu)};
    return MOSAIC_OK;
}

mosaic_status mosaic_device_name(const char **full, const char *device)
{
    const mosaic_device *own;
    MOSAIC_TRY(mosaic_device_find(&own, device));
    *full = own->name;
    return MOSAIC_OK;
}

static mosaic_span begin_copy(const mosaic_device *device, const char *name, int64_t bytes)
{
    char text[40];
    if (!mosaic_tracing || device == &mosaic_cpu_device) return -1;
    snprintf(text, sizeof text, "%lld bytes", (long long)bytes);
    return mosaic_trace_host(name, text);
}

mosaic_status mosaic_device_to_host(const mosaic_device *device, void *host, const void *data,
                                    int64_t bytes)
{
    mosaic_span span = begin_copy(device, "copy from the device", bytes);
    mosaic_status status = device->to_host(device, host, data, bytes);
    mosaic_span_end(span);
    return status;
}

mosaic_status mosaic_device_from_host(const mosaic_device *device, void *data, const void *host,
                                      int64_t bytes)
{
    mosaic_span span = begin_copy(device, "copy to the device", bytes);
    mosaic_status status = device->from_host(device, data, host, bytes);
    mosaic_span_end(span);
    return status;
}

mosaic_status mosaic_synchronize(const char *device)
{
    const mosaic_device *own;
    MOSAIC_TRY(mosaic_device_find(&own, device));
    mosaic_span span = mosaic_trace_host("synchronize", own->name);
    mosaic_status status = own->synchronize(own);
    mosaic_span_end(span);
    return status;
}
