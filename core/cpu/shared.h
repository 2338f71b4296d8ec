/* shared.h - what the allocator of host memory asks of shared.c. */
#ifndef MOSAIC_CPU_SHARED_H
#define MOSAIC_CPU_SHARED_H
#include "cpu.h"

enum { MOSAIC_MEMORY_CLASSES = 256 };

extern bool mosaic_sharing; /* somebody has lent: the rest matters from then on */

/* Is a block of so many bytes to lie where others can read it? */
bool mosaic_shared_wanted(int64_t bytes);
/* May a block of so many bytes come from a cache of freed ones, or (block) go there? */
bool mosaic_shared_reuses(const void *block, int64_t bytes);
/* One of this size class; NULL: no room. */
void *mosaic_shared_take(int class, int64_t bytes);
/* Takes it back, unless it is no such block, or one that can wait with others to be used again
 * (which `trims` ends). */
bool mosaic_shared_give(void *block, int class, int64_t bytes, bool trims);
/* The bytes of those that were taken back and have their pages still; the pages of all such blocks
 * of one class go back to the system. */
int64_t mosaic_shared_cached(void);
void mosaic_shared_trim(int class, int64_t bytes);

#endif
