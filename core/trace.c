/* trace.c - events in the order in which they began, and the clock.
 *
 * They may lie in a file, which keeps them when the process is ended from outside: what names them
 * lies there, too. */
#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tensor.h"

enum {
    MOST_EVENTS = 1 << 20, /* 176 MiB; what comes later is counted only */
    UNREAD = 4096,         /* events whose stamps may wait to be read */
    EPOCH_SHIFT = 32,
};

typedef struct {
    char text[104]; /* the name, a 0 and more */
    char family[16];
    int row, account;
    const mosaic_device *device; /* whose row it is; NULL: the host's */
    double begin, end;           /* NaN: has not ended */
    mosaic_stamp *from, *to;     /* of the device */
    int64_t twin;                /* the device's part of it, or -1 */
} event;

/* All events, from the beginning of a trace on: in memory that is there once it is used. */
typedef struct {
    char magic[16];
    double zero;
    int64_t count;
    event events[MOST_EVENTS];
} record;

static const char magic[16] = "mosaic trace 1";

bool mosaic_tracing;

static record *kept;
static event *events;
static int file = -1; /* of the record */
static int64_t count, room, dropped;
static int64_t unread; /* from here on stamps have not been read */
static int64_t epoch;  /* tells spans of an earlier trace */
static _Thread_local mosaic_lane *lane_at_work;

double mosaic_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double mosaic_trace_clock(void) { return mosaic_now(); }
bool mosaic_trace_is_on(void) { return mosaic_tracing; }
int64_t mosaic_trace_count(void) { return count; }
int64_t mosaic_trace_dropped(void) { return dropped; }
void mosaic_trace_work_on(mosaic_lane *lane) { lane_at_work = lane; }

/* To stamp, and to read stamps, may wait for the device, in which time messages go on: there may be
 * more events then, and they may be elsewhere. */

/* ---- stamps --------------------------------------------------------------------------------- */

static mosaic_stamp *stamp(const mosaic_device *device, mosaic_lane *lane)
{
    return device && device->stamp ? device->stamp(device, lane) : NULL;
}

/* Work begins when it has been asked for, and what is before it is done. (Of NaN and a number fmax
 * takes the number.) */
static void read_stamps(int64_t number)
{
    const event was = events[number];
    events[number].from = events[number].to = NULL;
    double begin = was.from ? was.device->moment(was.device, was.from) : NAN;
    double end = was.to ? was.device->moment(was.device, was.to) : was.end;
    event *e = &events[number];
    e->begin = fmax(e->begin, begin);
    e->end = end < e->begin ? e->begin : end;
}

static void read_stamps_until(int64_t end)
{
    while (unread < end) read_stamps(unread++);
}

/* ---- events --------------------------------------------------------------------------------- */

static bool make_room(void)
{
    if (count < room) return true;
    int64_t more = room ? 2 * room : 1024;
    if (more > MOST_EVENTS) return false;
    off_t end = (off_t)offsetof(record, events) + (off_t)more * (off_t)sizeof *events;
    if (file >= 0 && posix_fallocate(file, 0, end)) return false; /* the disk is full */
    room = more;
    return true;
}

/* A long name is cut, and what is behind it more so. */
static void set_text(event *e, const char *name, const char *text)
{
    snprintf(e->text, sizeof e->text - 1, "%.62s%c%.62s", name, 0, text ? text : "");
}

/* The new event's number, or -1. */
static int64_t add(int row, const mosaic_device *device, const char *name, const char *text)
{
    if (count - unread >= 2 * UNREAD) read_stamps_until(count - UNREAD);
    if (!make_room()) {
        dropped++;
        return -1;
    }
    event *e = &events[count];
    *e = (event){.row = row,
                 .account = mosaic_memory_account(),
                 .device = device,
                 .begin = mosaic_now(),
                 .end = NAN,
                 .twin = -1};
    set_text(e, name, text);
    if (device) snprintf(e->family, sizeof e->family, "%s", device->name);
    kept->count = count + 1;
    return count++;
}

static mosaic_span span_of(int64_t number)
{
    return number < 0 ? -1 : epoch << EPOCH_SHIFT | number;
}

/* Its event, unless the trace that it belongs to is over. */
static event *event_of(mosaic_span span)
{
    if (span < 0 || span >> EPOCH_SHIFT != epoch) return NULL;
    return &events[span & (((int64_t)1 << EPOCH_SHIFT) - 1)];
}

mosaic_span mosaic_trace_host(const char *name, const char *text)
{
    return mosaic_tracing ? span_of(add(MOSAIC_TRACE_HOST, NULL, name, text)) : -1;
}

mosaic_span mosaic_trace_operation(const mosaic_device *device, const char *name,
                                   const mosaic_tensor *subject)
{
    const char *text = subject && subject->storage ? mosaic_tensor_describe(subject) : NULL;
    int row = lane_at_work ? MOSAIC_TRACE_COMM : MOSAIC_TRACE_COMPUTE;
    if (!device->stamp) return span_of(add(row, device, name, text));
    int64_t host = add(MOSAIC_TRACE_HOST, NULL, name, text), own = add(row, device, name, text);
    if (own < 0) return span_of(host);
    mosaic_stamp *from = stamp(device, lane_at_work);
    events[own].from = from;
    events[host].twin = own;
    return span_of(host);
}

mosaic_span mosaic_trace_message(const mosaic_device *device, const char *name, const char *text)
{
    if (!mosaic_tracing) return -1;
    int64_t own = add(MOSAIC_TRACE_COMM, device, name, text);
    mosaic_stamp *from = own >= 0 ? stamp(device, NULL) : NULL;
    if (from) events[own].from = from;
    return span_of(own);
}

void mosaic_trace_follow(mosaic_span span, mosaic_lane *lane)
{
    const event *e = event_of(span);
    mosaic_stamp *to = e && !e->to ? stamp(e->device, lane) : NULL;
    if (to) event_of(span)->to = to;
}

void mosaic_trace_finish(mosaic_span span)
{
    event *e = event_of(span);
    if (!e) return;
    e->end = mosaic_now();
    if (e->twin < 0) return;
    int64_t own = e->twin;
    events[own].end = e->end;
    mosaic_stamp *to = stamp(events[own].device, lane_at_work);
    events[own].to = to;
}

/* ---- traces --------------------------------------------------------------------------------- */

static mosaic_status no_file(const char *path)
{
    return mosaic_fail(MOSAIC_EINVAL, "trace: cannot use %s: %s", path, strerror(errno));
}

static void forget(void)
{
    for (int64_t i = 0; i < count; i++) read_stamps(i); /* which takes them back */
    count = unread = room = dropped = 0;
    epoch++;
    if (kept) munmap(kept, sizeof *kept);
    if (file >= 0) close(file);
    kept = NULL;
    file = -1;
}

static mosaic_status map_record(int flags)
{
    void *memory = mmap(NULL, sizeof *kept, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, file, 0);
    if (memory == MAP_FAILED) return mosaic_fail(MOSAIC_ENOMEM, "trace: no memory for its events");
    kept = memory;
    events = kept->events;
    return MOSAIC_OK;
}

mosaic_status mosaic_trace_start(const char *path, double zero)
{
    forget();
    if (path) file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (path && (file < 0 || !make_room())) return no_file(path);
    MOSAIC_TRY(map_record(path ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS));
    memcpy(kept->magic, magic, sizeof magic);
    kept->zero = zero;
    kept->count = 0;
    mosaic_tracing = true;
    return MOSAIC_OK;
}

mosaic_status mosaic_trace_load(const char *path, double *zero)
{
    struct stat state;
    forget();
    file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0 || fstat(file, &state)) return no_file(path);
    int64_t there = (state.st_size - (int64_t)offsetof(record, events)) / (int64_t)sizeof *events;
    MOSAIC_REQUIRE(there > 0, "trace: %s has no events", path);
    MOSAIC_TRY(map_record(MAP_PRIVATE));
    MOSAIC_REQUIRE(!memcmp(kept->magic, magic, sizeof magic), "trace: %s is none", path);
    room = kept->count < 0 || kept->count > there ? there : kept->count;
    for (int64_t i = 0; i < room; i++) {
        memset(events[i].text + sizeof events[i].text - 2, 0, 2);
        events[i].family[sizeof events[i].family - 1] = 0;
        events[i].device = NULL; /* of the process that is gone */
        events[i].from = events[i].to = NULL;
    }
    count = unread = room;
    *zero = kept->zero;
    return MOSAIC_OK;
}

void mosaic_trace_stop(void) { mosaic_tracing = false; }

mosaic_status mosaic_trace_read(mosaic_trace_event *out, int64_t number)
{
    MOSAIC_REQUIRE(number >= 0 && number < count, "trace: event %lld of %lld", (long long)number,
                   (long long)count);
    read_stamps_until(number + 1);
    read_stamps(number); /* where it ended later than it was read */
    const event *e = &events[number];
    *out = (mosaic_trace_event){.name = e->text,
                                .text = e->text + strlen(e->text) + 1,
                                .device = e->family,
                                .row = (mosaic_trace_row)e->row,
                                .account = e->account,
                                .begin = e->begin,
                                .end = e->end};
    return MOSAIC_OK;
}

int64_t mosaic_trace_open(const char *name, const char *text)
{
    return mosaic_trace_host(name, text);
}

void mosaic_trace_close(int64_t span) { mosaic_span_end(span); }
