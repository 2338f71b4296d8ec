/* plugin.h - parts of Mosaic that are opened on first use, because what they need is not
 * everywhere. */
#ifndef MOSAIC_PLUGIN_H
#define MOSAIC_PLUGIN_H
#include "status.h"

struct mosaic_device;
struct mosaic_lane;
struct mosaic_request;
struct mosaic_transfer;

/* What plug-ins get of the core's inside; its public API they are linked against. */
typedef struct {
    mosaic_status (*fail)(mosaic_status status, const char *format, ...);
    void (*print_place)(char *text, int ndim, const int64_t *size, int64_t at); /* see tensor.h */
    /* Messages between processes go on; is anything under way? Seconds that it may take; ends the
     * job because `what` took longer. (comm/plugin.c) */
    bool (*progress)(void);
    double (*timeout)(void);
    void (*give_up)(const char *what, double seconds);
    /* For ways between processes, see comm/payload.h. */
    mosaic_status (*fall_back)(struct mosaic_request *r, struct mosaic_transfer *t,
                               const char *why);
    mosaic_status (*exchange_lane)(struct mosaic_lane **lane, const struct mosaic_device *device,
                                   bool out);
    /* dlopen of a library that may have something to do when the process ends: the world ends
     * before it. */
    void *(*open_library)(const char *file);
} mosaic_core;
extern const mosaic_core mosaic_core_functions;

/* The symbol of libmosaic_NAME.so, which lies beside the library that this code is in. It begins
 * with MOSAIC_PLUGIN_LAYOUT, a number that the Makefile makes of the headers that core and plug-ins
 * have in common; fails where that is another one. MOSAIC_NAME_LIB (in capitals) names another
 * file. `what` is what it is for, in messages. */
mosaic_status mosaic_plugin_find(const void **symbol, const char *what, const char *name,
                                 const char *symbol_name);

#endif
