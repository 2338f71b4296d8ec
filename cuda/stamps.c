/* stamps.c - moments of a lane on the host's clock: events that know the time. */
#include <math.h>
#include <stdlib.h>

#include "cuda.h"

struct mosaic_stamp {
    cudaEvent_t event;
    mosaic_stamp *next; /* in the list of spares */
};

/* Elapsed times are floats: they are taken from an event that is not long ago. */
enum { LONG_AGO_MS = 1000 };
static struct {
    mosaic_stamp *spares, *base;
    double seconds; /* when base was */
    int64_t out;    /* stamps that are not back */
} known[MOSAIC_CUDA_DEVICES];

static const mosaic_cuda *cuda_of(const mosaic_device *self) { return (const mosaic_cuda *)self; }

static mosaic_stamp *take(int index)
{
    mosaic_stamp *s = known[index].spares;
    if (s) {
        known[index].spares = s->next;
        return s;
    }
    s = malloc(sizeof *s);
    if (s && cudaEventCreateWithFlags(&s->event, cudaEventDefault) == cudaSuccess) return s;
    free(s);
    return NULL;
}

static void give_back(int index, mosaic_stamp *s)
{
    s->next = known[index].spares;
    known[index].spares = s;
}

/* An event whose moment is known: now, when the device has nothing else to do. A trace takes a new
 * one when it begins; in between the clocks are taken to go alike. */
static bool open_base(const mosaic_cuda *d)
{
    int i = d->index;
    bool recent = mosaic_trace_clock() - known[i].seconds < LONG_AGO_MS * 1e-3;
    if (known[i].base && (known[i].out || recent)) return true;
    mosaic_stamp *s = take(i);
    if (!s) return false;
    if (mosaic_cuda_synchronize(&d->base) == MOSAIC_OK &&
        cudaEventRecord(s->event, d->main) == cudaSuccess &&
        cudaEventSynchronize(s->event) == cudaSuccess) {
        known[i].seconds = mosaic_trace_clock();
        if (known[i].base) give_back(i, known[i].base);
        known[i].base = s;
        return true;
    }
    give_back(i, s);
    return false;
}

mosaic_stamp *mosaic_cuda_stamp(const mosaic_device *self, mosaic_lane *lane)
{
    const mosaic_cuda *d = cuda_of(self);
    if (mosaic_cuda_enter(d) || !open_base(d)) return NULL;
    mosaic_stamp *s = take(d->index);
    if (!s) return NULL;
    if (cudaEventRecord(s->event, lane ? (cudaStream_t)lane : d->main) == cudaSuccess) {
        known[d->index].out++;
        return s;
    }
    give_back(d->index, s);
    return NULL;
}

double mosaic_cuda_moment(const mosaic_device *self, mosaic_stamp *s)
{
    int index = cuda_of(self)->index;
    float ms = 0;
    bool told = mosaic_cuda_wait(cuda_of(self), "timing", s->event) == MOSAIC_OK &&
                cudaEventElapsedTime(&ms, known[index].base->event, s->event) == cudaSuccess;
    double seconds = told ? known[index].seconds + (double)ms * 1e-3 : NAN;
    if (told && ms > LONG_AGO_MS) {
        mosaic_stamp *last = known[index].base;
        known[index].base = s;
        known[index].seconds = seconds;
        s = last;
    }
    give_back(index, s);
    known[index].out--;
    return seconds;
}
