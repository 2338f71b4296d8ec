/* compiler.c - variants compiled by the C++ compiler that built this library, into a library that
 * is opened: what NVRTC does for a GPU. The sources are those that the plug-in carries. */
#include "../attention/compiler.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROOM = 1024 };

const char *mosaic_compiler_missing(const char *arch)
{
    const char *setting = getenv("MOSAIC_EMULATED_COMPILER");
    (void)arch;
    return setting && !strcmp(setting, "none") ? "the emulated compiler is too old" : NULL;
}

const char *mosaic_compiler_folder(void) { return MOSAIC_EMULATED_CACHE; }

void mosaic_compiler_arch(char arch[16], const mosaic_cuda *device)
{
    (void)device;
    snprintf(arch, 16, "host");
}

void mosaic_compiler_describe(char *text, size_t room)
{
    snprintf(text, room, "%s", MOSAIC_EMULATED_CXX);
}

/* ---- files ---------------------------------------------------------------------------------- */

/* folder/path <- text, with the folders that lead to it. */
static bool write_file(const char *folder, const char *path, const char *text)
{
    char name[ROOM];
    snprintf(name, sizeof name, "%s/%s", folder, path);
    for (char *at = name + strlen(folder) + 1; (at = strchr(at, '/')); *at++ = '/') {
        *at = 0;
        mkdir(name, 0777);
    }
    FILE *file = fopen(name, "w");
    return file && fputs(text, file) >= 0 && fclose(file) == 0;
}

/* The whole file, and a 0; NULL: there is none. */
static char *read_file(const char *folder, const char *path, int64_t *bytes)
{
    char name[ROOM];
    snprintf(name, sizeof name, "%s/%s", folder, path);
    struct stat about;
    FILE *file = stat(name, &about) == 0 ? fopen(name, "rb") : NULL;
    if (!file) return NULL;
    char *data = malloc((size_t)about.st_size + 1);
    *bytes = data ? (int64_t)fread(data, 1, (size_t)about.st_size, file) : 0;
    if (data) data[*bytes] = 0;
    fclose(file);
    return data;
}

static bool write_sources(const char *folder, const mosaic_compiler_job *job)
{
    bool written = write_file(folder, "cuda/attention/program.h", job->program);
    for (const mosaic_source *s = mosaic_sources; s->path; s++)
        written = written && write_file(folder, s->path, s->text);
    return written;
}

/* ---- compiling ------------------------------------------------------------------------------ */

static mosaic_status fail(const mosaic_variant *v, const char *folder)
{
    int64_t bytes = 0;
    char *log = read_file(folder, "log", &bytes);
    mosaic_status status = mosaic_cuda_core->fail(
        MOSAIC_EDEVICE, "attention: %s (head size %d) does not compile: %.2000s", v->file, v->head,
        log ? log : strerror(errno));
    free(log);
    return status;
}

static mosaic_status compile(mosaic_image *image, const mosaic_compiler_job *job,
                             const char *folder)
{
    char command[4 * ROOM];
    const mosaic_variant *v = job->variant;
    snprintf(command, sizeof command,
             "cd %s && %s -DHEAD=%d -DELEMENT=%d -Icuda/emulated -x c++ -shared -o out "
             "cuda/attention/%s > log 2>&1",
             folder, MOSAIC_EMULATED_CXX, v->head, v->element, v->file);
    if (!write_sources(folder, job) || system(command) != 0) return fail(v, folder);
    image->data = read_file(folder, "out", &image->bytes);
    return image->data ? MOSAIC_OK : fail(v, folder);
}

mosaic_status mosaic_compiler_run(mosaic_image *image, const mosaic_compiler_job *job)
{
    char folder[] = "/tmp/mosaic-variant-XXXXXX", remove[64];
    if (!mkdtemp(folder)) return fail(job->variant, "/nowhere");
    mosaic_status status = compile(image, job, folder);
    snprintf(remove, sizeof remove, "rm -rf %s", folder);
    if (system(remove) != 0) return fail(job->variant, folder);
    return status;
}

/* ---- kernels -------------------------------------------------------------------------------- */

/* Kernels call the emulation, which is in this library. */
static void share_emulation(void)
{
    Dl_info own;
    if (dladdr((void *)mosaic_library_load, &own))
        dlopen(own.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD);
}

static mosaic_status cannot_load(void)
{
    const char *why = dlerror();
    return mosaic_cuda_core->fail(MOSAIC_EDEVICE, "loading kernels of attention: %s",
                                  why ? why : strerror(errno));
}

/* As a driver may, it waits for all that the device is at. */
mosaic_status mosaic_library_load(void **library, const mosaic_cuda *device,
                                  const mosaic_image *image)
{
    char path[64];
    MOSAIC_CUDA_TRY(device, "loading kernels of attention", cudaDeviceSynchronize());
    share_emulation();
    int file = memfd_create("variant", 0); /* open for good: debuggers read it */
    bool written = file >= 0 && write(file, image->data, (size_t)image->bytes) == image->bytes;
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    *library = written ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    return *library ? MOSAIC_OK : cannot_load();
}

mosaic_status mosaic_library_kernel(void **kernel, const mosaic_cuda *device, void *library,
                                    const char *name)
{
    (void)device;
    *kernel = dlsym(library, name);
    return *kernel ? MOSAIC_OK : cannot_load();
}

/* Whatever a kernel takes by value: it finds its own struct where this one begins. */
typedef struct {
    _Alignas(128) unsigned char bytes[2048]; /* maps of tiles are */
} any_args;

typedef struct {
    any_args args;
    void (*kernel)(any_args args);
    mosaic_emulated_index grid, block;
    size_t shared_bytes;
} launch;

static void run_thread(void *context)
{
    const launch *l = context;
    l->kernel(l->args);
}

static void run(void *context)
{
    const launch *l = context;
    if (mosaic_emulated_survives())
        mosaic_emulated_blocks(l->grid, l->block, l->shared_bytes, run_thread, context);
}

mosaic_status mosaic_kernel_launch(const mosaic_cuda *device, void *kernel, int64_t blocks,
                                   int threads, int64_t shared_bytes, const void *args,
                                   int64_t args_bytes)
{
    launch *l = NULL;
    if (shared_bytes > device->shared_limit || args_bytes > (int64_t)sizeof l->args)
        return mosaic_cuda_check(device, "attention", cudaErrorInvalidValue);
    if (posix_memalign((void **)&l, _Alignof(launch), sizeof *l))
        return mosaic_cuda_core->fail(MOSAIC_ENOMEM, "attention: no memory to emulate it");
    *l = (launch){.grid = {(unsigned)blocks, 1, 1},
                  .block = {(unsigned)threads, 1, 1},
                  .shared_bytes = (size_t)shared_bytes};
    memcpy(&l->args, args, (size_t)args_bytes);
    memcpy(&l->kernel, &kernel, sizeof kernel);
    return mosaic_cuda_check(device, "attention", mosaic_emulated_enqueue(device->compute, run, l));
}
