/* kernels.h - the CPU's kernels: per family a struct of function pointers, per ISA one of each.
 *
 * core/cpu/kernel/NAME.c is compiled once per ISA and exports one symbol, MOSAIC_KERNELS(NAME). */
#ifndef MOSAIC_CPU_KERNELS_H
#define MOSAIC_CPU_KERNELS_H
#include "../mosaic.h"

typedef struct {
    const char *isa;
} mosaic_cpu_kernels;

/* The widest table that this machine can run; MOSAIC_ISA=scalar|avx2|avx512 asks for a narrower. */
const mosaic_cpu_kernels *mosaic_cpu(void);

/* In core/cpu/kernel/NAME.c: the symbol of this compilation, mosaic_cpu_NAME_ISA. */
#define MOSAIC_PASTE_(family, isa) mosaic_cpu_##family##_##isa
#define MOSAIC_PASTE(family, isa) MOSAIC_PASTE_(family, isa)
#define MOSAIC_KERNELS(family) MOSAIC_PASTE(family, MOSAIC_ISA)

#endif
