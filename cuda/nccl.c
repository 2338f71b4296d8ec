/* nccl.c - NCCL's library, opened when it is needed, and its communicators.
 *
 * Calls do not wait (blocking = 0): a communicator is busy until NCCL says that it has done what it
 * was asked for last. What it is asked for is work of a lane; errors of that come later, and are
 * looked for while something is under way. */
#include "nccl.h"

#include <dlfcn.h>
#include <nccl_library.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the library ---------------------------------------------------------------------------- */

static bool find_functions(mosaic_nccl_library *l, void *file)
{
#define FIND(result, name, parameters)                                                             \
    *(void **)&l->name = dlsym(file, #name);                                                       \
    if (!l->name) {                                                                                \
        snprintf(l->missing, sizeof l->missing, "no NCCL: it has no %s", #name);                   \
        return false;                                                                              \
    }
    MOSAIC_NCCL_FUNCTIONS(FIND)
    return true;
}

enum { OLDEST = 21800 };

static void check_version(mosaic_nccl_library *l)
{
    if (l->ncclGetVersion(&l->version) != NCCL_SUCCESS)
        snprintf(l->missing, sizeof l->missing, "no NCCL: it does not tell its version");
    else if (l->version < OLDEST)
        snprintf(l->missing, sizeof l->missing, "no NCCL: it is %d.%d, older than 2.18",
                 l->version / 10000, l->version % 10000 / 100);
}

static void open_library(mosaic_nccl_library *l)
{
    const char *given = getenv("MOSAIC_NCCL_LIB");
    void *file = mosaic_cuda_core->open_library(given ? given : MOSAIC_NCCL_LIBRARY);
    if (!file)
        snprintf(l->missing, sizeof l->missing, "no NCCL: %s", dlerror());
    else if (find_functions(l, file))
        check_version(l);
    if (l->missing[0]) l->version = 0;
}

const mosaic_nccl_library *mosaic_nccl(void)
{
    static mosaic_nccl_library library;
    if (!library.version && !library.missing[0]) open_library(&library);
    return &library;
}

/* ---- channels ------------------------------------------------------------------------------- */

static mosaic_channel *channels;
static mosaic_channel *ended; /* their lanes, which last as long as the process, are used again */
static char failure[MOSAIC_FLIGHT + 256]; /* the first one; others follow from it */

static mosaic_status failed(void)
{
    return failure[0] ? mosaic_cuda_core->fail(MOSAIC_ECOMM, "%s", failure) : MOSAIC_OK;
}

static void describe_failure(const mosaic_channel *c, int result)
{
    const mosaic_nccl_library *nccl = mosaic_nccl();
    const char *what = mosaic_flight_oldest(&c->under_way);
    const char *more = nccl->ncclGetLastError(c->comm);
    snprintf(failure, sizeof failure, "%s failed: %s%s%s", what ? what : c->asked,
             nccl->ncclGetErrorString(result), more && *more ? ": " : "", more ? more : "");
}

mosaic_status mosaic_channel_check(mosaic_channel *c, int result)
{
    c->busy = result == NCCL_IN_PROGRESS;
    if (result == NCCL_SUCCESS || c->busy || failure[0]) return failed();
    describe_failure(c, result);
    if (c->comm) mosaic_nccl()->ncclCommAbort(c->comm);
    c->comm = NULL;
    return failed();
}

/* A kernel of NCCL holds its multiprocessors until the other side comes. Those of pairs take few,
 * so that many of them leave room for the operations that the other side waits for. */
enum { PAIR_BLOCKS = 8 };

static void describe_opening(mosaic_channel *c)
{
    char between[64];
    snprintf(between, sizeof between, c->pair ? "from rank %d to rank %d" : "of %d ranks",
             c->pair ? c->from : c->ranks, c->to);
    snprintf(c->asked, sizeof c->asked, "opening NCCL's communicator %s on %s", between,
             c->device->name);
}

static mosaic_status take_lane(mosaic_channel *c)
{
    mosaic_channel **at = &ended, *old;
    while (*at && (*at)->device != c->device) at = &(*at)->next;
    if (!(old = *at)) return mosaic_cuda_lane_new(&c->device->base, &c->lane);
    *at = old->next;
    c->lane = old->lane;
    free(old);
    return MOSAIC_OK;
}

mosaic_status mosaic_channel_open(mosaic_channel **channel, const mosaic_channel *wanted, int rank)
{
    mosaic_nccl_config config = MOSAIC_NCCL_CONFIG;
    mosaic_channel *c = malloc(sizeof *c);
    if (!c) return mosaic_cuda_core->fail(MOSAIC_ENOMEM, "NCCL: no memory");
    *c = *wanted;
    c->next = channels;
    channels = *channel = c;
    describe_opening(c);
    if (c->pair) config.max_blocks = PAIR_BLOCKS;
    MOSAIC_TRY(failed());
    MOSAIC_TRY(mosaic_cuda_enter(c->device));
    MOSAIC_TRY(take_lane(c));
    return mosaic_channel_check(
        c, mosaic_nccl()->ncclCommInitRankConfig(&c->comm, c->ranks, c->id, rank, &config));
}

mosaic_channel *mosaic_channel_of_pair(int from, int to)
{
    mosaic_channel *c = channels;
    while (c && (!c->pair || c->from != from || c->to != to)) c = c->next;
    return c;
}

/* Asks NCCL how it goes. */
static mosaic_status look(mosaic_channel *c)
{
    int state = NCCL_SUCCESS;
    int result = mosaic_nccl()->ncclCommGetAsyncError(c->comm, &state);
    return mosaic_channel_check(c, result ? result : state);
}

mosaic_status mosaic_channel_ready(mosaic_channel *c, bool *ready)
{
    *ready = false;
    MOSAIC_TRY(failed());
    if (c->busy) MOSAIC_TRY(look(c));
    *ready = !c->busy;
    return MOSAIC_OK;
}

/* A communicator that nobody has any more ends when all its ranks are so far; no rank waits. */
static bool end_unused(mosaic_channel *c)
{
    const mosaic_nccl_library *nccl = mosaic_nccl();
    if (!c->unused || c->under_way || c->busy) return false;
    if (!c->ending) {
        c->ending = true;
        snprintf(c->asked, sizeof c->asked, "ending NCCL's communicator");
        mosaic_channel_check(c, nccl->ncclCommFinalize(c->comm));
    }
    if (c->busy || failure[0]) return false;
    nccl->ncclCommDestroy(c->comm);
    return true;
}

mosaic_status mosaic_channels_poll(void)
{
    for (mosaic_channel **at = &channels, *c; (c = *at) && !failure[0];) {
        if ((c->busy || c->under_way) && look(c)) break;
        if (end_unused(c)) {
            *at = c->next;
            c->next = ended;
            ended = c;
        } else {
            at = &c->next;
        }
    }
    return failed();
}

const char *mosaic_channels_busy(void)
{
    const mosaic_channel *c = channels;
    while (c && (!c->busy || c->ending)) c = c->next;
    return c ? c->asked : NULL;
}
