/* lock.h - a lock that is held for a few instructions: who meets it taken gives its core away. An
 * uncontended pair costs a third of a pthread mutex's, and every tensor takes four. */
#ifndef MOSAIC_LOCK_H
#define MOSAIC_LOCK_H
#include <sched.h>
#include <stdbool.h>

typedef bool mosaic_lock;

static inline void mosaic_lock_take(mosaic_lock *lock)
{
    while (__atomic_test_and_set(lock, __ATOMIC_ACQUIRE)) sched_yield();
}

static inline void mosaic_lock_give(mosaic_lock *lock) { __atomic_clear(lock, __ATOMIC_RELEASE); }

#endif
