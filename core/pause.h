/* pause.h - waiting for another thread, which will not be long. */
#ifndef MOSAIC_PAUSE_H
#define MOSAIC_PAUSE_H
#include <sched.h>

/* One look later, after `times` others; in the end the core goes to whoever wants it. */
static inline void mosaic_pause(int times)
{
    if (times >= 256)
        sched_yield();
    else
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#else
        sched_yield();
#endif
}

#endif
