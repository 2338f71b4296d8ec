/* nccl.h - NCCL as a carrier of payloads; see core/comm/payload.h. */
#ifndef MOSAIC_CUDA_NCCL_H
#define MOSAIC_CUDA_NCCL_H
#include "flight.h"
#include "nccl_api.h"

/* ---- nccl.c: the library, and communicators of it ------------------------------------------- */

typedef struct {
#define MOSAIC_NCCL_MEMBER(result, name, parameters) result(*name) parameters;
    MOSAIC_NCCL_FUNCTIONS(MOSAIC_NCCL_MEMBER)
    int version;       /* 22809: 2.28.9; 0: there is none that can be used */
    char missing[160]; /* and why not */
} mosaic_nccl_library;

const mosaic_nccl_library *mosaic_nccl(void);

/* Ranks that exchange payloads in an order that all agree upon, in a lane of their own. */
typedef struct mosaic_channel {
    struct mosaic_channel *next;
    const mosaic_cuda *device;
    mosaic_nccl_comm comm; /* NULL: not opened, or aborted */
    mosaic_nccl_id id;
    mosaic_lane *lane;
    int ranks;
    bool pair;                 /* two ranks, in one direction: */
    int from, to;              /* of the world */
    int64_t given, turn;       /* payloads admitted by the receiver of a pair; launched */
    int under_way;             /* launched, and the lane has not passed */
    bool busy;                 /* NCCL is at what it was asked for last */
    bool unused, ending;       /* its communicator is gone */
    char asked[MOSAIC_FLIGHT]; /* of NCCL, last */
} mosaic_channel;

/* A channel like `wanted`, which says device, id and ranks. */
mosaic_status mosaic_channel_open(mosaic_channel **channel, const mosaic_channel *wanted, int rank);
/* May the next thing be asked of it? */
mosaic_status mosaic_channel_ready(mosaic_channel *channel, bool *ready);
/* What NCCL said to channel->asked. The first failure is that of all channels from then on; the
 * communicator is aborted, so that nothing waits for it. */
mosaic_status mosaic_channel_check(mosaic_channel *channel, int result);
/* Of one direction; NULL: not opened. */
mosaic_channel *mosaic_channel_of_pair(int from, int to);
/* Looks after all of them; fails once one has failed. */
mosaic_status mosaic_channels_poll(void);
/* What NCCL is asked for and has not done, but to end communicators; NULL: nothing. */
const char *mosaic_channels_busy(void);

#endif
