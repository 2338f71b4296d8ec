/* fiber.c - the threads of a block as fibers of one host thread.
 *
 * Warps take turns, and within a warp its lanes: a lane runs until it waits for others. A barrier
 * opens when all threads of the block that have not ended wait at it; a warp's collective when all
 * of its lanes have come. When nobody can go on, a tile lands that is under way (tiles.c); when
 * there is none, the kernel has a deadlock, and says so. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#ifndef __x86_64__
#include <ucontext.h>
#endif

#include "cuda_runtime.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

enum { WARP = 32, MAX_THREADS = 1024, STACK = 256 << 10, LANE_BYTES = 256 };

mosaic_emulated_index mosaic_emulated_thread, mosaic_emulated_block;
mosaic_emulated_index mosaic_emulated_block_size, mosaic_emulated_grid;

/* ---- switching stacks ----------------------------------------------------------------------- */

typedef struct {
#ifdef __x86_64__
    void *stack_pointer;
#else
    ucontext_t context;
#endif
    void *bottom; /* of the stack, for the sanitizer */
    size_t size;
    void *fake; /* the sanitizer's */
} stack;

#ifdef __x86_64__
/* Keeps what a called function must preserve, then goes on where `to` stopped. */
void mosaic_emulated_switch(void **from, void *to);
__asm__(".text\n"
        ".globl mosaic_emulated_switch\n"
        ".type mosaic_emulated_switch, @function\n"
        "mosaic_emulated_switch:\n"
        "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
        "  movq %rsp, (%rdi)\n"
        "  movq %rsi, %rsp\n"
        "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
        "  ret\n"
        ".size mosaic_emulated_switch, .-mosaic_emulated_switch\n");
#endif

static void switch_stacks(stack *from, stack *to, bool ends)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(ends ? NULL : &from->fake, to->bottom, to->size);
#endif
    (void)ends;
#ifdef __x86_64__
    mosaic_emulated_switch(&from->stack_pointer, to->stack_pointer);
#else
    swapcontext(&from->context, &to->context);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(from->fake, NULL, NULL);
#endif
}

/* ---- a block -------------------------------------------------------------------------------- */

typedef enum { READY, AT_BARRIER, IN_COLLECTIVE, UNTIL, ENDED } state;

typedef struct {
    stack stack;
    state state;
    mosaic_emulated_index index;
    const mosaic_emulated_condition *until;
    void *context; /* of the condition */
} thread;

typedef struct {
    int arrived, live;
    unsigned char lanes[WARP][LANE_BYTES];
    mosaic_emulated_combine combine;
} warp;

static thread threads[MAX_THREADS];
static warp warps[MAX_THREADS / WARP];
static stack scheduler;
static int count, current, waiting, live; /* waiting: at the barrier */
static unsigned char *shared;
static size_t shared_size;
static void (*kernel)(void *context);
static void *kernel_context;

unsigned char *mosaic_emulated_shared(void) { return shared; }
size_t mosaic_emulated_shared_bytes(void) { return shared_size; }
int mosaic_emulated_threads(void) { return count; }
int mosaic_emulated_lane(void) { return current % WARP; }
int mosaic_emulated_number(void) { return current; }

static void leave(state next, bool ends)
{
    threads[current].state = next;
    switch_stacks(&threads[current].stack, &scheduler, ends);
}

void mosaic_emulated_complain(const char *what)
{
    fprintf(stderr, "emulated kernel: %s (block %u,%u,%u thread %d of %d)\n", what,
            mosaic_emulated_block.x, mosaic_emulated_block.y, mosaic_emulated_block.z, current,
            count);
    abort();
}

static void open_barrier(void)
{
    for (int i = 0; i < count; i++)
        if (threads[i].state == AT_BARRIER) threads[i].state = READY;
    waiting = 0;
}

void mosaic_emulated_barrier(void)
{
    if (++waiting == live)
        open_barrier();
    else
        leave(AT_BARRIER, false);
}

void mosaic_emulated_until(const mosaic_emulated_condition *until, void *context)
{
    threads[current].until = until;
    threads[current].context = context;
    if (!until->holds(context)) leave(UNTIL, false);
}

void mosaic_emulated_collective(void *own, size_t bytes, mosaic_emulated_combine combine,
                                void *context)
{
    warp *w = &warps[current / WARP];
    unsigned char *lane = w->lanes[current % WARP];
    if (bytes > LANE_BYTES) mosaic_emulated_complain("a collective of too many bytes");
    if (w->arrived && w->combine != combine)
        mosaic_emulated_complain("lanes meet in different collectives");
    w->combine = combine;
    memcpy(lane, own, bytes);
    if (++w->arrived == w->live) {
        w->arrived = 0;
        combine(w->lanes, context);
        for (int i = current / WARP * WARP; i < count && i < current / WARP * WARP + WARP; i++)
            if (threads[i].state == IN_COLLECTIVE) threads[i].state = READY;
    } else {
        leave(IN_COLLECTIVE, false);
    }
    memcpy(own, lane, bytes);
}

static void run_thread(void)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(NULL, (const void **)&scheduler.bottom, &scheduler.size);
#endif
    kernel(kernel_context);
    mosaic_emulated_no_copies();
    mosaic_emulated_no_products();
    warp *w = &warps[current / WARP];
    live--;
    w->live--;
    if (w->arrived)
        mosaic_emulated_complain("a lane ended while others wait for it in a collective");
    if (live && waiting == live) open_barrier();
    leave(ENDED, true);
}

static void prepare_thread(int i)
{
    thread *t = &threads[i];
    stack *s = &t->stack;
    unsigned x = mosaic_emulated_block_size.x, y = mosaic_emulated_block_size.y;
    t->state = READY;
    t->index = (mosaic_emulated_index){(unsigned)i % x, (unsigned)i / x % y, (unsigned)i / (x * y)};
    if (!s->bottom) {
        s->size = STACK;
        s->bottom = mmap(NULL, STACK, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (s->bottom == MAP_FAILED) mosaic_emulated_complain("no memory for stacks");
    }
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(s->bottom, s->size);
#endif
#ifdef __x86_64__
    void **top =
        (void **)((char *)s->bottom + STACK) - 2; /* aligned as if `run_thread` was called */
    *top = (void *)run_thread;
    for (int r = 0; r < 6; r++) *--top = NULL;
    s->stack_pointer = top;
#else
    getcontext(&s->context);
    s->context.uc_stack.ss_sp = s->bottom;
    s->context.uc_stack.ss_size = STACK;
    makecontext(&s->context, run_thread, 0);
#endif
}

/* Lanes of the warp go on until all of them wait or have ended. True when one did something. */
static bool run_warp(int first, bool reversed)
{
    bool any = false, again = true;
    int last = first + WARP < count ? first + WARP : count;
    while (again) {
        again = false;
        for (int k = 0; k < last - first; k++) {
            int i = reversed ? last - 1 - k : first + k;
            thread *t = &threads[i];
            if (t->state == UNTIL && t->until->holds(t->context)) t->state = READY;
            if (t->state != READY) continue;
            current = i;
            mosaic_emulated_thread = threads[i].index;
            switch_stacks(&scheduler, &threads[i].stack, false);
            any = again = true;
        }
    }
    return any;
}

/* Something that goes on by itself has an end that somebody waits for. */
static bool go_on(bool reversed)
{
    if (reversed) return mosaic_emulated_end_product() || mosaic_emulated_land(true);
    return mosaic_emulated_land(false) || mosaic_emulated_end_product();
}

/* Says what threads wait for, and what that lacks. */
static void explain_deadlock(void)
{
    char text[256], last[256] = "";
    for (int i = 0; i < count; i++) {
        const thread *t = &threads[i];
        if (t->state != UNTIL) continue;
        current = i;
        t->until->describe(text, sizeof text, t->context);
        if (strcmp(text, last) != 0)
            fprintf(stderr, "emulated kernel: thread %d waits %s\n", i, text);
        memcpy(last, text, sizeof last);
    }
    mosaic_emulated_complain("deadlock: its threads wait for each other");
}

static void run_block(bool reversed)
{
    int warp_count = (count + WARP - 1) / WARP;
    live = count;
    waiting = 0;
    mosaic_emulated_open_warpgroups(count);
    for (int i = 0; i < count; i++) prepare_thread(i);
    for (int w = 0; w < warp_count; w++) {
        warps[w].arrived = 0;
        warps[w].live = count - w * WARP < WARP ? count - w * WARP : WARP;
    }
    while (live) {
        bool any = false;
        for (int k = 0; k < warp_count; k++)
            any |= run_warp((reversed ? warp_count - 1 - k : k) * WARP, reversed);
        if (!any && !go_on(reversed)) explain_deadlock();
    }
    mosaic_emulated_no_tiles();
}

/* Its own memory for each block, so that what is beyond its end, or was there before, shows. */
static void open_shared(size_t bytes)
{
    shared_size = bytes;
    if (!bytes) return;
    size_t whole = (bytes + 1023) / 1024 * 1024;
    shared = aligned_alloc(1024, whole);
    if (!shared) mosaic_emulated_complain("no memory for shared memory");
    memset(shared, 0xff, whole);
#if defined(__SANITIZE_ADDRESS__)
    __asan_poison_memory_region(shared + bytes, whole - bytes);
#endif
}

static void close_shared(size_t bytes)
{
#if defined(__SANITIZE_ADDRESS__)
    if (bytes) __asan_unpoison_memory_region(shared, (bytes + 1023) / 1024 * 1024);
#endif
    (void)bytes;
    free(shared);
    shared = NULL;
}

void mosaic_emulated_blocks(mosaic_emulated_index grid, mosaic_emulated_index block,
                            size_t shared_bytes, void (*body)(void *context), void *context)
{
    const char *order = getenv("MOSAIC_EMULATED_ORDER");
    bool reversed = order && *order == 'r';
    kernel = body;
    kernel_context = context;
    count = (int)(block.x * block.y * block.z);
    if (count < 1 || count > MAX_THREADS) mosaic_emulated_complain("a block of so many threads");
    mosaic_emulated_grid = grid;
    mosaic_emulated_block_size = block;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                mosaic_emulated_block = (mosaic_emulated_index){x, y, z};
                open_shared(shared_bytes);
                run_block(reversed);
                close_shared(shared_bytes);
            }
}
