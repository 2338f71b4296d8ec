/* trace.h - what began and ended when: operations, messages and host copies pass one hook each.
 *
 * Nobody listens unless mosaic_trace_start was called; then every hook is one branch. Work of a
 * device that goes on beside the host is timed there, by stamps that are read later. */
#ifndef MOSAIC_TRACE_H
#define MOSAIC_TRACE_H
#include "status.h"

struct mosaic_device;
typedef struct mosaic_lane mosaic_lane;
typedef struct mosaic_stamp mosaic_stamp; /* a moment of a lane, which may not have come yet */

typedef int64_t mosaic_span; /* an event that has begun; < 0: nobody listens */

extern bool mosaic_tracing;

/* An operation of a device; subject: its first operand, or NULL. */
mosaic_span mosaic_trace_operation(const struct mosaic_device *device, const char *name,
                                   const mosaic_tensor *subject);
/* A message, whose operands are ready when the device's operations so far are done. */
mosaic_span mosaic_trace_message(const struct mosaic_device *device, const char *name,
                                 const char *text);
/* What the host does; text (NULL: none) tells more. */
mosaic_span mosaic_trace_host(const char *name, const char *text);
/* A message ends when the lane has done what it was asked so far. */
void mosaic_trace_follow(mosaic_span span, mosaic_lane *lane);
void mosaic_trace_finish(mosaic_span span);
/* Operations from here on are work of the lane (NULL: of none). */
void mosaic_trace_work_on(mosaic_lane *lane);

static inline mosaic_span mosaic_operation_begin(const struct mosaic_device *device,
                                                 const char *name, const mosaic_tensor *subject)
{
    if (__builtin_expect(!mosaic_tracing, 1)) return -1;
    return mosaic_trace_operation(device, name, subject);
}

static inline void mosaic_span_end(mosaic_span span)
{
    if (__builtin_expect(span >= 0, 0)) mosaic_trace_finish(span);
}

double mosaic_now(void); /* seconds of a clock that all processes of the machine share */

#endif
