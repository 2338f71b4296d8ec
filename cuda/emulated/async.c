/* async.c - asynchronous copies of emulated threads: kept, in groups, until their thread waits.
 *
 * What they go to is overwritten at once, so that a copy shows that comes too early for those who
 * still read there, and a wait that is missing too. */
#include <stdio.h>
#include <stdlib.h>

#include "cuda_runtime.h"

typedef struct {
    void *to;
    const void *from;
    int bytes, whole;
    int64_t group; /* number of the group that it belongs to */
} copy;

typedef struct {
    copy *copies;
    int count, room;
    int64_t groups; /* committed so far */
} queue;

static queue queues[1024];

static queue *own_queue(void)
{
    queue *q = &queues[mosaic_emulated_number()];
    if (q->count < q->room) return q;
    q->room = q->room ? 2 * q->room : 16;
    q->copies = realloc(q->copies, (size_t)q->room * sizeof *q->copies);
    if (!q->copies) mosaic_emulated_complain("no memory for asynchronous copies");
    return q;
}

void mosaic_emulated_aligned(const void *p, int bytes)
{
    if ((uintptr_t)p % (uintptr_t)bytes) mosaic_emulated_complain("a misaligned address");
}

void mosaic_emulated_copy(void *to, const void *from, int bytes, int whole)
{
    queue *q = own_queue();
    mosaic_emulated_aligned(to, whole);
    mosaic_emulated_aligned(from, whole);
    if (bytes < 0 || bytes > whole) mosaic_emulated_complain("a copy of so many bytes");
    memset(to, 0xff, (size_t)whole);
    q->copies[q->count++] = (copy){to, from, bytes, whole, q->groups};
}

void mosaic_emulated_commit(void) { own_queue()->groups++; }

void mosaic_emulated_wait(int groups)
{
    queue *q = own_queue();
    int left = 0;
    for (int i = 0; i < q->count; i++) {
        copy *c = &q->copies[i];
        if (c->group >= q->groups - groups) {
            q->copies[left++] = *c;
            continue;
        }
        if (c->bytes) memcpy(c->to, c->from, (size_t)c->bytes);
        memset((char *)c->to + c->bytes, 0, (size_t)(c->whole - c->bytes));
    }
    q->count = left;
}

void mosaic_emulated_no_copies(void)
{
    if (own_queue()->count) mosaic_emulated_complain("a thread ended before its copies came");
}
