/* compiler.c - variants compiled by NVRTC, CUDA's run-time compiler, which is opened when it is
 * needed: machines that only run models may lack it. */
#include "../attention/compiler.h"

#include <dlfcn.h>
#include <nvrtc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Functions without __device__, which nvcc allows to be called when they are constexpr, are the
 * device's, too. */
static const char *const options[] = {"-std=c++17", "-default-device"};
enum { OPTIONS = sizeof options / sizeof *options };

/* ---- NVRTC ---------------------------------------------------------------------------------- */

static struct {
    void *library;
    __typeof__(&nvrtcVersion) version;
    __typeof__(&nvrtcGetNumSupportedArchs) count_archs;
    __typeof__(&nvrtcGetSupportedArchs) archs;
    __typeof__(&nvrtcCreateProgram) create;
    __typeof__(&nvrtcDestroyProgram) destroy;
    __typeof__(&nvrtcCompileProgram) compile;
    __typeof__(&nvrtcGetProgramLogSize) log_size;
    __typeof__(&nvrtcGetProgramLog) log;
    __typeof__(&nvrtcGetCUBINSize) size;
    __typeof__(&nvrtcGetCUBIN) code;
    __typeof__(&nvrtcGetErrorString) error;
} nvrtc;

static const struct {
    const char *symbol;
    void *to;
} symbols[] = {
    {"nvrtcVersion", &nvrtc.version},
    {"nvrtcGetNumSupportedArchs", &nvrtc.count_archs},
    {"nvrtcGetSupportedArchs", &nvrtc.archs},
    {"nvrtcCreateProgram", &nvrtc.create},
    {"nvrtcDestroyProgram", &nvrtc.destroy},
    {"nvrtcCompileProgram", &nvrtc.compile},
    {"nvrtcGetProgramLogSize", &nvrtc.log_size},
    {"nvrtcGetProgramLog", &nvrtc.log},
    {"nvrtcGetCUBINSize", &nvrtc.size},
    {"nvrtcGetCUBIN", &nvrtc.code},
    {"nvrtcGetErrorString", &nvrtc.error},
};

static void *open_library(void)
{
    const char *own = getenv("MOSAIC_NVRTC_LIB");
    if (own && *own) return mosaic_cuda_core->open_library(own);
    void *library = mosaic_cuda_core->open_library("libnvrtc.so.13");
    return library ? library : mosaic_cuda_core->open_library("libnvrtc.so.12");
}

/* NULL: the library is there. */
static const char *missing_library(void)
{
    static char text[512];
    if (nvrtc.library) return NULL;
    void *library = open_library();
    bool complete = library;
    for (size_t i = 0; complete && i < sizeof symbols / sizeof *symbols; i++) {
        void *symbol = dlsym(library, symbols[i].symbol);
        memcpy(symbols[i].to, &symbol, sizeof symbol);
        complete = symbol;
    }
    if (complete) {
        nvrtc.library = library;
        return NULL;
    }
    const char *why = dlerror();
    snprintf(text, sizeof text,
             "CUDA's run-time compiler libnvrtc.so.13 (or .12; MOSAIC_NVRTC_LIB names another "
             "file) is not there: %s",
             why ? why : "unknown");
    if (library) dlclose(library);
    return text;
}

/* "sm_90a": 90 */
static bool knows(const char *arch)
{
    int count = 0, numbers[256], wanted = atoi(arch + strlen("sm_"));
    if (nvrtc.count_archs(&count) || count > (int)(sizeof numbers / sizeof *numbers)) return true;
    if (nvrtc.archs(numbers)) return true; /* it will say so itself */
    for (int i = 0; i < count; i++)
        if (numbers[i] == wanted) return true;
    return false;
}

const char *mosaic_compiler_missing(const char *arch)
{
    static char text[128];
    int major = 0, minor = 0;
    const char *why = missing_library();
    if (why || knows(arch)) return why;
    nvrtc.version(&major, &minor);
    snprintf(text, sizeof text,
             "CUDA's run-time compiler libnvrtc is here as %d.%d, too old for %s", major, minor,
             arch);
    return text;
}

const char *mosaic_compiler_folder(void) { return NULL; }

void mosaic_compiler_arch(char arch[16], const mosaic_cuda *device)
{
    snprintf(arch, 16, "sm_%d%s", device->capability, device->capability == 90 ? "a" : "");
}

void mosaic_compiler_describe(char *text, size_t room)
{
    int major = 0, minor = 0;
    if (!missing_library()) nvrtc.version(&major, &minor);
    snprintf(text, room, "nvrtc %d.%d", major, minor);
    for (size_t i = 0; i < OPTIONS; i++) {
        size_t length = strlen(text);
        snprintf(text + length, room - length, " %s", options[i]);
    }
}

/* ---- compiling ------------------------------------------------------------------------------ */

enum { MOST_SOURCES = 64 };

/* What the compiler's own headers are to others; it has none, but knows what is in them. */
static const mosaic_source standard[] = {
    {"stdbool.h", ""},
    {"stdint.h",
     "#pragma once\n"
     "typedef signed char int8_t; typedef unsigned char uint8_t; typedef short int16_t;\n"
     "typedef unsigned short uint16_t; typedef int int32_t; typedef unsigned uint32_t;\n"
     "typedef long long int64_t; typedef unsigned long long uint64_t;\n"
     "#define INT64_MAX 0x7fffffffffffffffll\n#define INT64_MIN (-INT64_MAX - 1)\n"},
    {"string.h", ""},
    {NULL, NULL},
};

/* As it is included from cuda/attention/. */
static const char *name_of(const char *path, char room[64])
{
    const char *last = strrchr(path, '/') + 1;
    bool core = !strncmp(path, "core/", 5), cuda = last == path + 5 && !core;
    if (!core && !cuda) return last;
    snprintf(room, 64, core ? "../../%s" : "../%s", core ? path : last);
    return room;
}

static mosaic_status explain(nvrtcProgram program, const mosaic_compiler_job *job,
                             nvrtcResult result)
{
    size_t size = 0;
    nvrtc.log_size(program, &size);
    char *log = size ? malloc(size + 1) : NULL;
    if (log) nvrtc.log(program, log);
    mosaic_status status = mosaic_cuda_core->fail(
        MOSAIC_EDEVICE, "attention: %s (head size %d, %s) does not compile: %s\n%.2000s",
        job->variant->file, job->variant->head, job->arch, nvrtc.error(result), log ? log : "");
    free(log);
    return status;
}

static mosaic_status compile(mosaic_image *image, nvrtcProgram program,
                             const mosaic_compiler_job *job)
{
    char arch[64], head[32], element[32];
    const char *all[OPTIONS + 3] = {arch, head, element};
    memcpy(all + 3, options, sizeof options);
    snprintf(arch, sizeof arch, "--gpu-architecture=%s", job->arch);
    snprintf(head, sizeof head, "-DHEAD=%d", job->variant->head);
    snprintf(element, sizeof element, "-DELEMENT=%d", job->variant->element);
    nvrtcResult result = nvrtc.compile(program, OPTIONS + 3, all);
    size_t size = 0;
    if (!result) result = nvrtc.size(program, &size);
    if (result) return explain(program, job, result);
    *image = (mosaic_image){malloc(size), (int64_t)size};
    if (!image->data) return mosaic_cuda_core->fail(MOSAIC_ENOMEM, "attention: no memory for code");
    result = nvrtc.code(program, image->data);
    if (!result) return MOSAIC_OK;
    free(image->data);
    return explain(program, job, result);
}

/* What a program can include, and its own text. */
typedef struct {
    const char *names[MOST_SOURCES], *texts[MOST_SOURCES], *main;
    char room[MOST_SOURCES][64]; /* for names */
    int count;
} sources;

static void add(sources *s, const char *name, const char *text)
{
    s->names[s->count] = name;
    s->texts[s->count++] = text;
}

static void find_sources(sources *s, const mosaic_compiler_job *job)
{
    s->main = NULL;
    s->count = 0;
    for (const mosaic_source *h = standard; h->path; h++) add(s, h->path, h->text);
    for (const mosaic_source *h = mosaic_sources; h->path && s->count < MOST_SOURCES - 1; h++) {
        const char *name = name_of(h->path, s->room[s->count]);
        if (!strcmp(name, job->variant->file))
            s->main = h->text;
        else
            add(s, name, h->text);
    }
    add(s, "program.h", job->program);
}

mosaic_status mosaic_compiler_run(mosaic_image *image, const mosaic_compiler_job *job)
{
    const char *file = job->variant->file;
    nvrtcProgram program;
    sources s;
    find_sources(&s, job);
    if (!s.main)
        return mosaic_cuda_core->fail(MOSAIC_EINVAL, "attention: there is no source %s", file);
    nvrtcResult result = nvrtc.create(&program, s.main, file, s.count, s.texts, s.names);
    if (result)
        return mosaic_cuda_core->fail(MOSAIC_EDEVICE, "attention: %s: %s", file,
                                      nvrtc.error(result));
    mosaic_status status = compile(image, program, job);
    nvrtc.destroy(&program);
    return status;
}

/* ---- kernels -------------------------------------------------------------------------------- */

mosaic_status mosaic_library_load(void **library, const mosaic_cuda *device,
                                  const mosaic_image *image)
{
    cudaLibrary_t loaded = NULL;
    cudaError_t error = cudaLibraryLoadData(&loaded, image->data, NULL, NULL, 0, NULL, NULL, 0);
    *library = loaded;
    return mosaic_cuda_check(device, "loading kernels of attention", error);
}

mosaic_status mosaic_library_kernel(void **kernel, const mosaic_cuda *device, void *library,
                                    const char *name)
{
    cudaKernel_t found = NULL;
    cudaError_t error = cudaLibraryGetKernel(&found, (cudaLibrary_t)library, name);
    *kernel = (void *)found;
    return mosaic_cuda_check(device, "loading kernels of attention", error);
}

mosaic_status mosaic_kernel_launch(const mosaic_cuda *device, void *kernel, int64_t blocks,
                                   int threads, int64_t shared_bytes, const void *args,
                                   int64_t args_bytes)
{
    (void)args_bytes;
    void *arguments[] = {(void *)args};
    dim3 grid = {(unsigned)blocks, 1, 1}, block = {(unsigned)threads, 1, 1};
    MOSAIC_CUDA_TRY(device, "attention",
                    cudaKernelSetAttributeForDevice((cudaKernel_t)kernel,
                                                    cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                    (int)shared_bytes, device->index));
    return mosaic_cuda_check(
        device, "attention",
        cudaLaunchKernel(kernel, grid, block, arguments, (size_t)shared_bytes, device->compute));
}
