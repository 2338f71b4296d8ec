/* plugin.c - finds a plug-in's file and its one symbol. */
#include "plugin.h"

#include <ctype.h>
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "comm/payload.h"

static void *open_library(const char *file)
{
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (library) mosaic_world_end_first();
    return library;
}

const mosaic_core mosaic_core_functions = {
    .fail = mosaic_fail,
    .print_place = mosaic_place_print,
    .progress = mosaic_world_progress,
    .timeout = mosaic_world_timeout,
    .give_up = mosaic_world_give_up,
    .fall_back = mosaic_payload_fall_back,
    .exchange_lane = mosaic_staging_lane,
    .open_library = open_library,
};

/* The value of MOSAIC_NAME_LIB, or NULL where that is empty or not set. */
static const char *path_given(const char *name)
{
    char variable[64];
    snprintf(variable, sizeof variable, "MOSAIC_%s_LIB", name);
    for (char *c = variable; *c; c++) *c = (char)toupper((unsigned char)*c);
    const char *value = getenv(variable);
    return value && *value ? value : NULL;
}

static void plugin_path(char *path, size_t room, const char *name)
{
    const char *given = path_given(name), *slash = NULL;
    char own[PATH_MAX];
    Dl_info info;
    if (!given && dladdr(&mosaic_core_functions, &info) && realpath(info.dli_fname, own))
        slash = strrchr(own, '/');
    if (given)
        snprintf(path, room, "%s", given);
    else if (slash)
        snprintf(path, room, "%.*s/libmosaic_%s.so", (int)(slash - own), own, name);
    else
        snprintf(path, room, "libmosaic_%s.so", name);
}

static mosaic_status not_built(const char *what, const char *path)
{
    return mosaic_fail(MOSAIC_ENOTSUP,
                       "%s is not available here: there is no plug-in %s: make did not find what "
                       "that needs, or this bundle was made without it",
                       what, path);
}

static mosaic_status not_opened(const char *what, const char *name)
{
    const char *why = dlerror();
    const char *hint = path_given(name) ? "; a variable, MOSAIC_..._LIB, names that file" : "";
    return mosaic_fail(MOSAIC_ENOTSUP, "%s is not available here: %s%s", what, why, hint);
}

mosaic_status mosaic_plugin_find(const void **symbol, const char *what, const char *name,
                                 const char *symbol_name)
{
    char path[PATH_MAX];
    plugin_path(path, sizeof path, name);
    if (!path_given(name) && strchr(path, '/') && access(path, F_OK)) return not_built(what, path);
    void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!library) return not_opened(what, name);
    *symbol = dlsym(library, symbol_name);
    if (!*symbol)
        return mosaic_fail(MOSAIC_ENOTSUP, "%s: %s is not a Mosaic plug-in: it has no %s", what,
                           path, symbol_name);
    if (*(const int64_t *)*symbol == MOSAIC_PLUGIN_LAYOUT) return MOSAIC_OK;
    return mosaic_fail(MOSAIC_ENOTSUP, "%s: its plug-in is of another version of Mosaic", what);
}
