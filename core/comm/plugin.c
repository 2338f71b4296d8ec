/* plugin.c - opens the MPI plug-in on first use, and ends its world with the process. */
#include <stdio.h>
#include <stdlib.h>

#include "comm.h"

static mosaic_endpoint *world; /* this process's end of the MPI world, once asked for */
static mosaic_comm *shared;    /* the communicator that users get */
static mosaic_comm *parting;   /* for the barrier at the end: its messages meet no others */

/* Seconds that this rank waits longer at the end than in an operation: when others are stuck in
 * one, their reports say more than that of a rank that has nothing left to do. */
enum { GRACE = 1 };

/* Is anything under way that has not failed? */
static bool busy(void)
{
    const mosaic_request *r = world->active;
    while (r && r->status != MOSAIC_PENDING && r->status != MOSAIC_OK) r = r->next;
    return r != NULL;
}

bool mosaic_world_progress(void)
{
    if (world) mosaic_progress(world);
    return world && world->active;
}

double mosaic_world_timeout(void)
{
    const char *text = getenv("MOSAIC_TIMEOUT");
    return text && atof(text) > 0 ? atof(text) : 300;
}

void mosaic_world_give_up(const char *what, double seconds)
{
    fprintf(stderr, "mosaic: rank %d/%d (%s): %s not complete after %.1f s\n", world->rank,
            world->size, mosaic_process_name(), what, seconds);
    world->transport->abort(86);
}

/* What was left to devices; they may have failed. */
static bool leave_devices(void)
{
    const mosaic_device *device;
    for (int i = 0; (device = mosaic_device_at(i)); i++) {
        if (!device->synchronize(device)) continue;
        fprintf(stderr, "mosaic: rank %d/%d (%s): at the end of the program: %s\n", world->rank,
                world->size, mosaic_process_name(), mosaic_last_error());
        return false;
    }
    return true;
}

/* Waits for what this rank has started, then for the others. They may have died: not for ever. */
static bool leave_together(void)
{
    double limit = mosaic_world_timeout() + GRACE, end = mosaic_now() + limit;
    mosaic_request *r;
    if (!leave_devices() || mosaic_comm_barrier(&r, parting)) return false;
    mosaic_status status = mosaic_request_wait(r, end - mosaic_now());
    mosaic_progress(world);
    while (status == MOSAIC_OK && busy() && mosaic_now() < end) mosaic_progress(world);
    mosaic_request_release(r);
    if (status == MOSAIC_OK && !busy()) return true;
    char what[500];
    snprintf(what, sizeof what, "%s at the end of the program", mosaic_comm_oldest(parting));
    mosaic_world_give_up(what, limit);
    return false;
}

/* A clean end waits for the others, then finalises MPI; any other takes them along. */
static void at_exit(int code, void *unused)
{
    (void)unused;
    if (!world) return; /* it was registered again later */
    if (code) world->transport->abort(code);
    if (!leave_together()) world->transport->abort(86);
    mosaic_comm_release(parting);
    mosaic_comm_release(shared);
    world->transport->finish();
    world = NULL;
    shared = NULL;
}

void mosaic_world_end_first(void)
{
    if (world) on_exit(at_exit, NULL);
}

static mosaic_status open_world(void)
{
    const void *symbol;
    MOSAIC_TRY(mosaic_plugin_find(&symbol, "comm: MPI", "mpi", "mosaic_mpi_plugin"));
    const mosaic_mpi_library *mpi = symbol;
    MOSAIC_TRY(mpi->open(&world, &mosaic_core_functions));
    MOSAIC_TRY(mosaic_comm_new(&parting, world, world->size, 0));
    mosaic_world_end_first();
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
