/* flight.h - exchanges between processes that are work of the device; see flight.c. */
#ifndef MOSAIC_CUDA_FLIGHT_H
#define MOSAIC_CUDA_FLIGHT_H
#include "../core/comm/payload.h"
#include "cuda.h"

enum { MOSAIC_FLIGHT = 400 };

/* "all_gather f32 [8] #3 from rank 1 by NCCL on cuda:0" */
void mosaic_flight_describe(char text[MOSAIC_FLIGHT], const mosaic_request *r, const char *way);
/* All of r's that the lane was asked for so far; *count (or NULL) counts those under way. */
mosaic_status mosaic_flight_begin(const mosaic_request *r, mosaic_lane *lane, int *count,
                                  const char *way);
/* The oldest of those that *count counts, in words; NULL: there is none. */
const char *mosaic_flight_oldest(const int *count);
/* Forgets those that are over. True when some are under way. */
bool mosaic_flights_poll(void);
#endif
