/* lanes.c - work beside the operations: a lane is a stream, a mark an event that was recorded. */
#include <stdlib.h>

#include "nccl.h"

struct mosaic_mark {
    cudaEvent_t event;
    mosaic_mark *next; /* in the list of spares: finalizers may forget marks, not destroy events */
};

static mosaic_mark *spares[MOSAIC_CUDA_DEVICES];

static const mosaic_cuda *cuda_of(const mosaic_device *self) { return (const mosaic_cuda *)self; }

static cudaStream_t stream_of(const mosaic_device *self, mosaic_lane *lane)
{
    return lane ? (cudaStream_t)lane : cuda_of(self)->main;
}

/* What lanes carry is short and others wait for it: it goes first. */
mosaic_status mosaic_cuda_lane_new(const mosaic_device *self, mosaic_lane **lane)
{
    const mosaic_cuda *d = cuda_of(self);
    int least = 0, greatest = 0;
    MOSAIC_TRY(mosaic_cuda_enter(d));
    MOSAIC_CUDA_TRY(d, "a lane", cudaDeviceGetStreamPriorityRange(&least, &greatest));
    return mosaic_cuda_check(
        d, "a lane",
        cudaStreamCreateWithPriority((cudaStream_t *)lane, cudaStreamNonBlocking, greatest));
}

static mosaic_status take_mark(const mosaic_cuda *d, mosaic_mark **mark)
{
    mosaic_mark *m = spares[d->index];
    *mark = m;
    if (m) {
        spares[d->index] = m->next;
        return MOSAIC_OK;
    }
    if (!(m = malloc(sizeof *m))) return mosaic_cuda_core->fail(MOSAIC_ENOMEM, "no memory");
    mosaic_status status =
        mosaic_cuda_check(d, "a mark", cudaEventCreateWithFlags(&m->event, cudaEventDisableTiming));
    if (status)
        free(m);
    else
        *mark = m;
    return status;
}

mosaic_status mosaic_cuda_mark(const mosaic_device *self, mosaic_lane *lane, mosaic_mark **mark)
{
    const mosaic_cuda *d = cuda_of(self);
    MOSAIC_TRY(mosaic_cuda_enter(d));
    MOSAIC_TRY(take_mark(d, mark));
    mosaic_status status =
        mosaic_cuda_check(d, "a mark", cudaEventRecord((*mark)->event, stream_of(self, lane)));
    if (status) mosaic_cuda_forget(self, *mark);
    return status;
}

mosaic_status mosaic_cuda_follow(const mosaic_device *self, mosaic_lane *lane,
                                 const mosaic_mark *mark)
{
    const mosaic_cuda *d = cuda_of(self);
    MOSAIC_TRY(mosaic_cuda_enter(d));
    return mosaic_cuda_check(d, "following a mark",
                             cudaStreamWaitEvent(stream_of(self, lane), mark->event, 0));
}

mosaic_status mosaic_cuda_passed(const mosaic_device *self, const mosaic_mark *mark, bool *passed)
{
    cudaError_t error = cudaEventQuery(mark->event);
    *passed = error == cudaSuccess;
    if (error == cudaErrorNotReady) return MOSAIC_OK;
    return mosaic_cuda_check(cuda_of(self), "work beside the operations", error);
}

mosaic_status mosaic_cuda_wait_for(const mosaic_cuda *d, const char *what, const mosaic_mark *mark)
{
    return mosaic_cuda_wait(d, what, mark->event);
}

/* What was asked to follow it does, whatever the event records next. */
void mosaic_cuda_forget(const mosaic_device *self, mosaic_mark *mark)
{
    int index = cuda_of(self)->index;
    mark->next = spares[index];
    spares[index] = mark;
}

void mosaic_cuda_work_on(const mosaic_device *self, mosaic_lane *lane)
{
    ((mosaic_cuda *)self)->compute = stream_of(self, lane);
}

mosaic_status mosaic_cuda_move(const mosaic_device *self, mosaic_lane *lane, void *to,
                               const void *from, int64_t bytes)
{
    const mosaic_cuda *d = cuda_of(self);
    MOSAIC_TRY(mosaic_cuda_enter(d));
    return mosaic_cuda_check(
        d, "copying",
        cudaMemcpyAsync(to, from, (size_t)bytes, cudaMemcpyDefault, stream_of(self, lane)));
}

void *mosaic_cuda_pin(const mosaic_device *self, int64_t bytes)
{
    void *data = NULL;
    if (mosaic_cuda_enter(cuda_of(self))) return NULL;
    if (cudaHostAlloc(&data, (size_t)bytes, cudaHostAllocPortable) == cudaSuccess) return data;
    cudaGetLastError();
    return NULL;
}

/* The driver waits for all that the device is at, exchanges too: their partners may need us. */
bool mosaic_cuda_unpin(const mosaic_device *self, void *data)
{
    bool exchanges = mosaic_flights_poll() || mosaic_channels_busy();
    if (exchanges || mosaic_cuda_enter(cuda_of(self))) return false;
    return cudaFreeHost(data) == cudaSuccess;
}
