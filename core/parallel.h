/* parallel.h - one loop over several threads, cut the same way every time. */
#ifndef MOSAIC_PARALLEL_H
#define MOSAIC_PARALLEL_H
#include <stdint.h>

/* Calls body(context, from, to) on disjoint ranges that cover [0, count), each a multiple of
 * `grain` long but the last, on at most mosaic_threads() threads, of which each may have several;
 * returns when all are done. The cut depends on count, grain and the number of threads only. A body
 * may call this again by polling messages only (poll.h); such a loop runs on its thread. */
void mosaic_parallel(int64_t count, int64_t grain,
                     void (*body)(void *context, int64_t from, int64_t to), void *context);

#endif
