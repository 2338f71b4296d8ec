/* inside.h - what the files of the emulated runtime share. */
#ifndef MOSAIC_EMULATED_INSIDE_H
#define MOSAIC_EMULATED_INSIDE_H
#include "cuda_runtime.h"

extern bool mosaic_emulated_lost;                   /* the device: every later call says so */
cudaError_t mosaic_emulated_say(cudaError_t error); /* for cudaGetLastError */
int64_t mosaic_emulated_setting(const char *name, int64_t fallback);

/* Memory that other processes can map, zeroed; NULL: none. */
void *mosaic_emulated_share(size_t bytes);
void mosaic_emulated_unshare(void *memory);
/* Where it is: 64 bytes that mean something in every process of this user; NULL: it is no such. */
bool mosaic_emulated_name_shared(char name[64], const void *memory);
void *mosaic_emulated_map_shared(const char name[64]);

/* How often an event of several processes was asked for, and recorded. */
typedef struct {
    int64_t asked, done;
} mosaic_emulated_counts;

/* Where a stream has done so many works; else a recording by another process; passed if neither. */
typedef struct {
    cudaStream_t stream;
    mosaic_emulated_counts *shared;
    int64_t number;
} mosaic_emulated_point;

struct CUevent_st {
    mosaic_emulated_point last;     /* recording in this process */
    mosaic_emulated_counts *shared; /* NULL: it is this process's alone */
    double at;
};

#define lost mosaic_emulated_lost
#define say mosaic_emulated_say
#endif
