/* dispatch.c - one table of kernels per ISA, and which of them this process uses. */
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "kernels.h"

#define KERNELS(name)                                                                              \
    .unary = &mosaic_cpu_unary_##name, .binary = &mosaic_cpu_binary_##name,                        \
    .ternary = &mosaic_cpu_ternary_##name, .convert = &mosaic_cpu_convert_##name,                  \
    .random = &mosaic_cpu_random_##name, .fold = &mosaic_cpu_fold_##name,                          \
    .normalize = &mosaic_cpu_normalize_##name, .softmax = &mosaic_cpu_softmax_##name,              \
    .schedule_free = &mosaic_cpu_schedule_free_##name, .quantize = &mosaic_cpu_quantize_##name,    \
    .attention_small = &mosaic_cpu_attention_small_##name, .program = &mosaic_cpu_program_##name
#define TABLE(name)                                                                                \
    {                                                                                              \
        .isa = #name, .gemm = &mosaic_cpu_gemm_##name, .attention = &mosaic_cpu_attention_##name,  \
        .attention_backward = &mosaic_cpu_attention_backward_##name, KERNELS(name)                 \
    }

static const mosaic_cpu_kernels tables[] = {
#if defined(__aarch64__)
    TABLE(neon),
#else
    TABLE(scalar),
#endif
#if defined(__x86_64__)
    TABLE(avx2),
    TABLE(avx512),
    {.isa = "amx",
     .gemm = &mosaic_cpu_gemm_amx,
     .attention = &mosaic_cpu_attention_amx,
     .attention_backward = &mosaic_cpu_attention_backward_amx,
     KERNELS(avx512)},
#endif
};

#if defined(__x86_64__)
/* Tiles are eight kilobytes of state for each thread, which a process has to ask for; from then on
 * small stacks for signals are refused, so it does so only where the tiles are to be used. */
static bool has_tiles(void)
{
    enum { REQUEST = 0x1023, TILES = 18, BF16 = 1 << 22, TILE = 1 << 24 };
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & BF16) || !(d & TILE)) return false;
    return syscall(SYS_arch_prctl, REQUEST, TILES) == 0;
}
#endif

/* How many entries of `tables` this CPU can run, tiles only where wanted (NULL: no matter). */
static int usable(const char *wanted)
{
    (void)wanted;
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                __builtin_cpu_supports("bmi2");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    bool tiles = avx512 && (!wanted || !strcmp(wanted, "amx")) && has_tiles();
    return 1 + avx2 + avx512 + tiles;
#else
    return 1;
#endif
}

const mosaic_cpu_kernels *mosaic_cpu(void)
{
    static const mosaic_cpu_kernels *chosen;
    if (chosen) return chosen;
    const char *wanted = getenv("MOSAIC_ISA");
    if (wanted && !*wanted) wanted = NULL;
    int count = usable(wanted);
    const mosaic_cpu_kernels *pick = &tables[count - 1];
    for (int i = 0; wanted && i < count; i++)
        if (!strcmp(wanted, tables[i].isa)) pick = &tables[i];
    return chosen = pick;
}

const char *mosaic_isa(void) { return mosaic_cpu()->isa; }
