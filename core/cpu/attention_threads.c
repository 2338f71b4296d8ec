/* attention_threads.c - what the threads that work on a call need, and what they have done. */
#include "attention_threads.h"

#include "cpu.h"

static mosaic_attention_work done[MOSAIC_MEMORY_ACCOUNTS][2]; /* forward, backward */

static void add_work(mosaic_attention_work *to, const mosaic_attention_work *work)
{
    __atomic_fetch_add(&to->visible, work->visible, __ATOMIC_RELAXED);
    __atomic_fetch_add(&to->computed, work->computed, __ATOMIC_RELAXED);
}

mosaic_status mosaic_cpu_attention_work(const mosaic_device *self, mosaic_attention_work *work,
                                        int account)
{
    (void)self;
    for (int i = 0; i < 2; i++) add_work(&work[i], &done[account][i]);
    return MOSAIC_OK;
}

mosaic_status mosaic_cpu_attention_work_reset(const mosaic_device *self, int account)
{
    (void)self;
    done[account][0] = done[account][1] = (mosaic_attention_work){0};
    return MOSAIC_OK;
}

void *mosaic_attention_take(mosaic_attention_threads *t)
{
    void *scratch = mosaic_cpu_allocate(&mosaic_cpu_device, t->scratch);
    if (!scratch) __atomic_store_n(&t->failed, true, __ATOMIC_RELAXED);
    return scratch;
}

void mosaic_attention_give(const mosaic_attention_threads *t, void *scratch)
{
    if (scratch) mosaic_cpu_release(&mosaic_cpu_device, scratch, t->scratch);
}

void mosaic_attention_count(mosaic_attention_threads *t, const mosaic_attention_work *work)
{
    add_work(&t->work, work);
}

mosaic_status mosaic_attention_done(const mosaic_attention_threads *t,
                                    const mosaic_attention_call *call)
{
    if (t->failed)
        return mosaic_fail(MOSAIC_ENOMEM, "attention: no memory for %lld bytes of working space",
                           (long long)t->scratch);
    add_work(&done[call->account][call->dout.storage != NULL], &t->work);
    return MOSAIC_OK;
}
