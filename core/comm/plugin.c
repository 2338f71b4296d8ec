/* plugin.c - opens the MPI plug-in on first use, and ends its world with the process. */
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "comm.h"

static mosaic_endpoint *world; /* this process's end of the MPI world, once asked for */
static mosaic_comm *shared;    /* the communicator that users get */

/* libmosaic_mpi.so lies beside the library that this code is in. MOSAIC_MPI_LIB names another. */
static void plugin_path(char *path, size_t room)
{
    const char *given = getenv("MOSAIC_MPI_LIB"), *slash = NULL;
    Dl_info info;
    if (!given && dladdr((void *)&world, &info)) slash = strrchr(info.dli_fname, '/');
    if (slash)
        snprintf(path, room, "%.*s/libmosaic_mpi.so", (int)(slash - info.dli_fname),
                 info.dli_fname);
    else
        snprintf(path, room, "%s", given ? given : "libmosaic_mpi.so");
}

/* Seconds that this rank waits longer at the end than in an operation: when others are stuck in
 * one, their reports say more than that of a rank that has nothing left to do. */
enum { GRACE = 1 };

/* Waits for what this rank has started, then for the others. They may have died: not for ever. */
static bool leave_together(mosaic_comm *c)
{
    const char *text = getenv("MOSAIC_TIMEOUT");
    double limit = (text && atof(text) > 0 ? atof(text) : 300) + GRACE, end = mosaic_now() + limit;
    mosaic_request *r;
    if (mosaic_comm_barrier(&r, c)) return false;
    mosaic_status status = mosaic_request_wait(r, end - mosaic_now());
    int left = mosaic_comm_poll(c);
    while (status == MOSAIC_OK && left && mosaic_now() < end) left = mosaic_comm_poll(c);
    mosaic_request_release(r);
    if (status == MOSAIC_OK && !left) return true;
    fprintf(stderr,
            "mosaic: rank %d/%d (%s): %s at the end of the program not complete after %.1f s\n",
            c->rank, c->size, mosaic_process_name(), mosaic_comm_oldest(c), limit);
    return false;
}

/* A clean end waits for the others, then finalises MPI; any other takes them along. */
static void at_exit(int code, void *context)
{
    mosaic_comm *c = context;
    if (code) world->transport->abort(code);
    if (!leave_together(c)) world->transport->abort(86);
    mosaic_comm_release(c);
    mosaic_comm_release(shared);
    world->transport->finish();
    world = NULL;
    shared = NULL;
}

static mosaic_status open_world(void)
{
    char path[PATH_MAX];
    plugin_path(path, sizeof path);
    void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!library)
        return mosaic_fail(MOSAIC_ENOTSUP, "comm: MPI is not available here: %s", dlerror());
    mosaic_mpi_open_function *open =
        (mosaic_mpi_open_function *)dlsym(library, "mosaic_mpi_plugin");
    if (!open) return mosaic_fail(MOSAIC_ENOTSUP, "comm: %s is not a Mosaic plug-in", path);
    static const mosaic_core core = {mosaic_fail};
    MOSAIC_TRY((*open)(&world, &core));
    mosaic_comm *last; /* for the barrier at the end: its messages meet no others */
    MOSAIC_TRY(mosaic_comm_new(&last, world, world->size, 0));
    on_exit(at_exit, last);
    return mosaic_comm_new(&shared, world, world->size, 1);
}

mosaic_status mosaic_comm_new_mpi(mosaic_comm **comm)
{
    if (!world) MOSAIC_TRY(open_world());
    shared->references++;
    *comm = shared;
    return MOSAIC_OK;
}

void mosaic_comm_abort(int code)
{
    if (world) world->transport->abort(code);
}

const char *mosaic_comm_library(void)
{
    return world && world->transport->library ? world->transport->library() : "none";
}
