/* variants.c - finds the kernel of a variant: in this process, in the plug-in, on disk, or by
 * compiling it. */
#include "variants.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"
#include "compiler.h"
#include "sources.h"

/* ---- what a variant is ---------------------------------------------------------------------- */

static void add_text(mosaic_key *key, const char *text)
{
    mosaic_key_add(key, text, (int64_t)strlen(text) + 1);
}

/* Everything of a program but what its tables hold. */
static void add_program(mosaic_key *key, const mosaic_program *p)
{
    const int32_t none = -1;
    if (!p) {
        mosaic_key_add(key, &none, sizeof none);
        return;
    }
    const int32_t whole[] = {p->count, p->value_count, p->result,
                             p->valid, p->slope,       p->table_count};
    mosaic_key_add(key, whole, sizeof whole);
    for (const mosaic_program_step *s = p->steps; s < p->steps + p->count; s++) {
        const int32_t step[] = {s->op, s->to, s->a, s->b, s->c};
        mosaic_key_add(key, step, sizeof step);
        mosaic_key_add(key, &s->value, sizeof s->value);
    }
}

/* Within this process: of a variant's library, for devices of one kind. */
static mosaic_key key_here(const mosaic_cuda *device, const mosaic_variant *v)
{
    const int32_t numbers[] = {device->capability, v->head, v->element};
    mosaic_key key = mosaic_key_new();
    mosaic_key_add(&key, numbers, sizeof numbers);
    add_text(&key, v->file);
    add_program(&key, v->score);
    add_program(&key, v->keep_if);
    return key;
}

/* On disk. */
static mosaic_key key_on_disk(const mosaic_compiler_job *job)
{
    char compiler[512];
    mosaic_compiler_describe(compiler, sizeof compiler);
    mosaic_key key = mosaic_key_new();
    const int32_t numbers[] = {job->variant->head, job->variant->element};
    mosaic_key_add(&key, numbers, sizeof numbers);
    add_text(&key, compiler);
    add_text(&key, job->arch);
    add_text(&key, job->variant->file);
    add_text(&key, job->program);
    for (const mosaic_source *s = mosaic_sources; s->path; s++) add_text(&key, s->text);
    return key;
}

/* ---- finding its code ----------------------------------------------------------------------- */

static bool is_compiled(mosaic_image *image, const mosaic_variant *v)
{
    char name[64];
    if (v->score || v->keep_if) return false;
    snprintf(name, sizeof name, "%.*s-%d-%d", (int)strcspn(v->file, "."), v->file, v->head,
             v->element);
    for (const mosaic_compiled *c = mosaic_compiled_variants; c->name; c++)
        if (!strcmp(c->name, name)) {
            *image = (mosaic_image){(void *)c->data, c->end - c->data};
            return true;
        }
    return false;
}

static mosaic_status compile(mosaic_image *image, const mosaic_compiler_job *job)
{
    const char *missing = mosaic_compiler_missing(job->arch);
    const mosaic_variant *v = job->variant;
    if (missing)
        return mosaic_cuda_core->fail(
            MOSAIC_ENOTSUP,
            "attention: a kernel for %s (%s, HEAD %d, %s) has to be compiled, but %s",
            v->score     ? "mask.score"
            : v->keep_if ? "mask.keep"
                         : "this head size",
            v->file, v->head, job->arch, missing);
    return mosaic_compiler_run(image, job);
}

static mosaic_status load(void **library, const mosaic_cuda *device, const mosaic_image *image)
{
    MOSAIC_TRY(mosaic_cuda_wait_for_exchanges());
    return mosaic_library_load(library, device, image);
}

static mosaic_status load_own(void **library, const mosaic_cuda *device, mosaic_image *image)
{
    mosaic_status status = load(library, device, image);
    free(image->data);
    return status;
}

/* What is on disk but cannot be loaded is compiled again. */
static mosaic_status make_library(void **library, const mosaic_cuda *device,
                                  const mosaic_compiler_job *job)
{
    mosaic_key key = key_on_disk(job);
    mosaic_image image;
    if (mosaic_cache_read(&image, &key) && !load_own(library, device, &image)) return MOSAIC_OK;
    MOSAIC_TRY(compile(&image, job));
    mosaic_cache_write(&image, &key);
    return load_own(library, device, &image);
}

static mosaic_status find_code(void **library, const mosaic_cuda *device, const mosaic_variant *v)
{
    mosaic_image image;
    if (is_compiled(&image, v)) return load(library, device, &image);
    char *text = mosaic_program_text(v->score, v->keep_if);
    if (!text) return mosaic_cuda_core->fail(MOSAIC_ENOMEM, "attention: no memory for a program");
    mosaic_compiler_job job = {.variant = v, .program = text};
    mosaic_compiler_arch(job.arch, device);
    mosaic_status status = make_library(library, device, &job);
    free(text);
    return status;
}

/* ---- what this process has found ------------------------------------------------------------ */

typedef struct found {
    struct found *next;
    mosaic_key key;
    void *library;
} found;

static found *all_found;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static found *find_here(const mosaic_key *key)
{
    found *f = all_found;
    while (f && memcmp(&f->key, key, sizeof *key) != 0) f = f->next;
    return f;
}

static mosaic_status find(void **library, const mosaic_cuda *device, const mosaic_variant *v)
{
    mosaic_key key = key_here(device, v);
    found *f = find_here(&key);
    if (f) {
        *library = f->library;
        return MOSAIC_OK;
    }
    MOSAIC_TRY(find_code(library, device, v));
    f = malloc(sizeof *f);
    if (!f) return MOSAIC_OK; /* it will be looked for again */
    *f = (found){all_found, key, *library};
    all_found = f;
    return MOSAIC_OK;
}

bool mosaic_variant_possible(const mosaic_cuda *device, const mosaic_variant *variant)
{
    char arch[16];
    mosaic_image image;
    mosaic_compiler_arch(arch, device);
    pthread_mutex_lock(&lock);
    bool possible = is_compiled(&image, variant) || !mosaic_compiler_missing(arch);
    pthread_mutex_unlock(&lock);
    return possible;
}

bool mosaic_variant_ready(const mosaic_cuda *device, const mosaic_variant *variant)
{
    mosaic_image image;
    mosaic_key key = key_here(device, variant);
    pthread_mutex_lock(&lock);
    bool ready = is_compiled(&image, variant) || find_here(&key);
    pthread_mutex_unlock(&lock);
    return ready;
}

mosaic_status mosaic_variant_launch_with(const mosaic_cuda *device, const mosaic_variant *variant,
                                         int64_t blocks, int threads, int64_t shared_bytes,
                                         const void *args, int64_t args_bytes)
{
    void *library, *kernel;
    pthread_mutex_lock(&lock);
    mosaic_status status = find(&library, device, variant);
    pthread_mutex_unlock(&lock);
    MOSAIC_TRY(status);
    MOSAIC_TRY(mosaic_library_kernel(&kernel, device, library, variant->kernel));
    return mosaic_kernel_launch(device, kernel, blocks, threads, shared_bytes, args, args_bytes);
}

mosaic_status mosaic_variant_launch(const mosaic_cuda *device, const mosaic_variant *variant,
                                    int64_t blocks, int threads, int64_t shared_bytes,
                                    const mosaic_attention_args *args)
{
    return mosaic_variant_launch_with(device, variant, blocks, threads, shared_bytes, args,
                                      sizeof *args);
}

mosaic_status mosaic_cuda_compile(int64_t *bytes, const char *arch, const char *file, int head,
                                  int element, const mosaic_program *score,
                                  const mosaic_program *keep_if)
{
    mosaic_variant v = {file, "", head, element, score, keep_if};
    mosaic_compiler_job job = {.variant = &v, .program = mosaic_program_text(score, keep_if)};
    mosaic_image image = {NULL, 0};
    snprintf(job.arch, sizeof job.arch, "%s", arch);
    mosaic_status status = compile(&image, &job);
    *bytes = image.bytes;
    free((void *)job.program);
    if (!status) free(image.data);
    return status;
}
