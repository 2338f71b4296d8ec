/* ipc.c - memory and events that processes share: memory files, named by process and descriptor. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "inside.h"

/* ---- shared memory -------------------------------------------------------------------------- */

typedef struct region {
    struct region *next;
    void *memory;
    size_t bytes;
    int file; /* -1: another process's */
} region;

static region *regions;

static void *map(size_t bytes, int file, bool foreign)
{
    region *r = malloc(sizeof *r);
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (!r || memory == MAP_FAILED) {
        free(r);
        return NULL;
    }
    *r = (region){regions, memory, bytes, foreign ? -1 : file};
    regions = r;
    return memory;
}

void *mosaic_emulated_share(size_t bytes)
{
    int file = memfd_create("mosaic-emulated", MFD_CLOEXEC);
    void *memory = file >= 0 && !ftruncate(file, (off_t)bytes) ? map(bytes, file, false) : NULL;
    if (!memory && file >= 0) close(file);
    return memory;
}

static region **find(const void *memory)
{
    region **at = &regions;
    while (*at && (*at)->memory != memory) at = &(*at)->next;
    return at;
}

void mosaic_emulated_unshare(void *memory)
{
    region **at = find(memory), *r = *at;
    if (!r) return;
    *at = r->next;
    munmap(r->memory, r->bytes);
    if (r->file >= 0) close(r->file);
    free(r);
}

bool mosaic_emulated_name_shared(char name[64], const void *memory)
{
    const region *r = *find(memory);
    if (!r || r->file < 0) return false;
    snprintf(name, 64, "/proc/%d/fd/%d %zu", (int)getpid(), r->file, r->bytes);
    return true;
}

/* As with CUDA, not for the process that it belongs to. */
void *mosaic_emulated_map_shared(const char name[64])
{
    char path[64];
    size_t bytes;
    int owner;
    if (sscanf(name, "/proc/%d", &owner) != 1 || owner == (int)getpid() ||
        sscanf(name, "%63s %zu", path, &bytes) != 2)
        return NULL;
    int file = open(path, O_RDWR | O_CLOEXEC);
    void *memory = file >= 0 ? map(bytes, file, true) : NULL;
    if (file >= 0) close(file);
    return memory;
}

/* ---- CUDA's names for it -------------------------------------------------------------------- */

enum { HEADING = 256 }; /* see runtime.c */

static bool setting_is(const char *word)
{
    const char *text = getenv("MOSAIC_EMULATED_IPC");
    return text && !strcmp(text, word);
}

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t *handle, void *data)
{
    if (setting_is("none")) return say(cudaErrorNotSupported);
    return mosaic_emulated_name_shared(handle->reserved, (char *)data - HEADING)
               ? cudaSuccess
               : say(cudaErrorInvalidValue);
}

cudaError_t cudaIpcOpenMemHandle(void **data, cudaIpcMemHandle_t handle, unsigned flags)
{
    (void)flags;
    char *memory = setting_is("closed") ? NULL : mosaic_emulated_map_shared(handle.reserved);
    *data = memory ? memory + HEADING : NULL;
    return memory ? cudaSuccess : say(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaIpcCloseMemHandle(void *data)
{
    mosaic_emulated_unshare((char *)data - HEADING);
    return cudaSuccess;
}

cudaError_t cudaIpcGetEventHandle(cudaIpcEventHandle_t *handle, cudaEvent_t event)
{
    if (setting_is("none")) return say(cudaErrorNotSupported);
    return mosaic_emulated_name_shared(handle->reserved, event->shared)
               ? cudaSuccess
               : say(cudaErrorInvalidResourceHandle);
}

cudaError_t cudaIpcOpenEventHandle(cudaEvent_t *event, cudaIpcEventHandle_t handle)
{
    *event = calloc(1, sizeof **event);
    if (*event && !setting_is("closed"))
        (*event)->shared = mosaic_emulated_map_shared(handle.reserved);
    if (*event && (*event)->shared) return cudaSuccess;
    free(*event);
    return say(cudaErrorInvalidResourceHandle);
}
