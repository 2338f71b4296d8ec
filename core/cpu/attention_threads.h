/* attention_threads.h - what the threads that work on a call need, and what they have done. */
#ifndef MOSAIC_CPU_ATTENTION_THREADS_H
#define MOSAIC_CPU_ATTENTION_THREADS_H
#include "attention.h"

enum { MOSAIC_ATTENTION_WORK = 1 << 20 /* multiplications that a thread is worth waking for */ };

typedef struct {
    int64_t scratch; /* bytes that each needs */
    bool failed;     /* to allocate them */
    mosaic_attention_work work;
} mosaic_attention_threads;

/* Scratch for one of them, or NULL, which mosaic_attention_done reports. */
void *mosaic_attention_take(mosaic_attention_threads *t);
void mosaic_attention_give(const mosaic_attention_threads *t, void *scratch);

/* Adds what one of them has done. */
void mosaic_attention_count(mosaic_attention_threads *t, const mosaic_attention_work *work);

/* All are done: what they did goes to the call's account, unless one of them failed. */
mosaic_status mosaic_attention_done(const mosaic_attention_threads *t,
                                    const mosaic_attention_call *call);

#endif
