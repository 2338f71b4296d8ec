/* poll.h - MPI moves messages only inside its calls, so what computes for long polls between
 * blocks.
 *
 * One load and a branch while no message of this process is under way; else MOSAIC's messages
 * make progress, at most every 30 us. Only on the thread that communicates: on others it does
 * nothing. What follows a message may be an operation of its own (a reduction's sum), so poll where
 * no lock is held; a loop over threads within a loop runs on its caller alone. */
#ifndef MOSAIC_POLL_H
#define MOSAIC_POLL_H
#include <stdbool.h>

extern bool mosaic_polling; /* messages are under way that only polling moves (comm/request.c) */
void mosaic_poll_messages(void);

static inline void mosaic_poll(void)
{
    if (__builtin_expect(__atomic_load_n(&mosaic_polling, __ATOMIC_RELAXED), 0))
        mosaic_poll_messages();
}

#endif
