/* hopper.h - instructions of compute capability 9.0a: barriers in shared memory, the copy engine
 * for tiles, and products by warpgroups (4 warps). Layouts are those of the PTX ISA manual,
 * "Asynchronous warpgroup level matrix instructions". */
#ifndef MOSAIC_GPU_HOPPER_H
#define MOSAIC_GPU_HOPPER_H

MOSAIC_DEVICE uint32_t shared_address(const void *at)
{
    return (uint32_t)__cvta_generic_to_shared(at);
}

/* ---- barriers ------------------------------------------------------------------------------- */

typedef uint64_t barrier;

MOSAIC_DEVICE void barrier_init(barrier *b, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals));
}

/* Makes barriers known to the copy engine; then the block's threads meet. */
MOSAIC_DEVICE void barrier_publish() { asm volatile("fence.mbarrier_init.release.cluster;"); }

MOSAIC_DEVICE void barrier_arrive(barrier *b)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}

/* Arrives, and lets the phase end only when so many bytes have come. */
MOSAIC_DEVICE void barrier_expect(barrier *b, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)),
                 "r"(bytes)
                 : "memory");
}

/* Waits until the phase of this parity has ended. */
MOSAIC_DEVICE void barrier_wait(barrier *b, int parity)
{
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra again;\n"
                 "}" ::"r"(shared_address(b)),
                 "r"(parity)
                 : "memory");
}

/* ---- copies of tiles ------------------------------------------------------------------------ */

/* The box of the tensor (column, row, head, b1, b0) that starts there; `b` hears of its bytes. */
MOSAIC_DEVICE void tile_load(void *to, const mosaic_tile_map *map, barrier *b, int column, int row,
                             int head, int b1, int b0)
{
    asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %4, %5, %6, %7}], [%2];" ::"r"(shared_address(to)),
                 "l"(map), "r"(shared_address(b)), "r"(column), "r"(row), "r"(head), "r"(b1),
                 "r"(b0)
                 : "memory");
}

MOSAIC_DEVICE void tile_prefetch_map(const mosaic_tile_map *map)
{
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

/* ---- warpgroups ----------------------------------------------------------------------------- */

template <int REGISTERS> MOSAIC_DEVICE void take_registers()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}
template <int REGISTERS> MOSAIC_DEVICE void give_registers()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

/* The compiler knows nothing of products under way: what it makes of these registers stays on the
 * side of this where it is written. To be said before wgmma_fence; wgmma_wait says it of what has
 * come. */
template <int COUNT> MOSAIC_DEVICE void wgmma_hold(float (&d)[COUNT])
{
#pragma unroll
    for (int i = 0; i < COUNT; i++) asm volatile("" : "+f"(d[i])::"memory");
}
template <int COUNT> MOSAIC_DEVICE void wgmma_hold(uint32_t (&a)[COUNT])
{
#pragma unroll
    for (int i = 0; i < COUNT; i++) asm volatile("" : "+r"(a[i])::"memory");
}

MOSAIC_DEVICE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
MOSAIC_DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

/* Waits until at most LEFT groups of products are under way. The others have ended for this warp,
 * and perhaps for no other: what the warpgroup's product reads may not be overwritten yet. `d`: the
 * accumulators that may be read from now on. */
template <int LEFT, int... COUNTS> MOSAIC_DEVICE void wgmma_wait(float (&...d)[COUNTS])
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
    (wgmma_hold(d), ...);
}

#if ELEMENT == 2 /* MOSAIC_DTYPE_BF16 */
#define WGMMA_TYPES "bf16.bf16"
#else
#define WGMMA_TYPES "f16.f16"
#endif

/* Registers of 8, 12, 16, .. accumulators, and their names. */
#define WGMMA_D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define WGMMA_D12(i) WGMMA_D4(i), WGMMA_D4(i + 4), WGMMA_D4(i + 8)
#define WGMMA_D16(i) WGMMA_D12(i), WGMMA_D4(i + 12)
#define WGMMA_D24(i) WGMMA_D12(i), WGMMA_D12(i + 12)
#define WGMMA_D32(i) WGMMA_D16(i), WGMMA_D16(i + 16)
#define WGMMA_D40(i) WGMMA_D24(i), WGMMA_D16(i + 24)
#define WGMMA_D48(i) WGMMA_D32(i), WGMMA_D16(i + 32)
#define WGMMA_D56(i) WGMMA_D32(i), WGMMA_D24(i + 32)
#define WGMMA_D64(i) WGMMA_D32(i), WGMMA_D32(i + 32)
#define WGMMA_R12 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11"
#define WGMMA_R16 WGMMA_R12 ", %12, %13, %14, %15"
#define WGMMA_R24 WGMMA_R16 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define WGMMA_R32 WGMMA_R24 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define WGMMA_R40 WGMMA_R32 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define WGMMA_R48 WGMMA_R40 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define WGMMA_R56 WGMMA_R48 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define WGMMA_R64 WGMMA_R56 ", %56, %57, %58, %59, %60, %61, %62, %63"

/* An accumulator's elements, d (64 x N): thread t of the warpgroup holds row t / 4 % 8 + 16 (t /
 * 32) and the one 8 below it: elements 4 j, 4 j + 1 are columns 8 j + 2 (t % 4) and the next of the
 * first row, 4 j + 2 and 4 j + 3 those of the second. */
#define WGMMA_SS(n, count, a, b, add, turn_a, turn_b)                                              \
    if constexpr (N == n)                                                                          \
    asm volatile("{.reg .pred p; setp.ne.b32 p, " add ", 0; "                                      \
                 "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." WGMMA_TYPES " {" WGMMA_R##count \
                 "}, " a ", " b ", p, 1, 1, " turn_a ", " turn_b ";}"                              \
                 : WGMMA_D##count(0)                                                               \
                 : "l"(a_matrix), "l"(b_matrix), "r"(add_d), "n"(A_TURNED), "n"(B_TURNED))

/* d = a b (+ d, when `add`): a (64 x 16) and b (16 x N) in shared memory. Rows there are rows of a
 * and columns of b, or, TURNED, go along the product. */
template <int N, int A_TURNED, int B_TURNED>
MOSAIC_DEVICE void wgmma_ss(float (&d)[N / 2], uint64_t a_matrix, uint64_t b_matrix, int add_d)
{
    WGMMA_SS(24, 12, "%12", "%13", "%14", "%15", "%16");
    WGMMA_SS(32, 16, "%16", "%17", "%18", "%19", "%20");
    WGMMA_SS(48, 24, "%24", "%25", "%26", "%27", "%28");
    WGMMA_SS(64, 32, "%32", "%33", "%34", "%35", "%36");
    WGMMA_SS(80, 40, "%40", "%41", "%42", "%43", "%44");
    WGMMA_SS(96, 48, "%48", "%49", "%50", "%51", "%52");
    WGMMA_SS(112, 56, "%56", "%57", "%58", "%59", "%60");
    WGMMA_SS(128, 64, "%64", "%65", "%66", "%67", "%68");
}

#define WGMMA_RS(n, count, a, b, add, turn_b)                                                      \
    if constexpr (N == n)                                                                          \
    asm volatile("{.reg .pred p; setp.ne.b32 p, " add ", 0; "                                      \
                 "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." WGMMA_TYPES " {" WGMMA_R##count \
                 "}, {" a "}, " b ", p, 1, 1, " turn_b ";}"                                        \
                 : WGMMA_D##count(0)                                                               \
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b_matrix), "r"(add_d), "n"(B_TURNED))

/* The same with a in registers: 8 columns of d as pairs, and the next 8, are a0 .. a3. */
template <int N, int B_TURNED>
MOSAIC_DEVICE void wgmma_rs(float (&d)[N / 2], const uint32_t &a0, const uint32_t &a1,
                            const uint32_t &a2, const uint32_t &a3, uint64_t b_matrix, int add_d)
{
    WGMMA_RS(24, 12, "%12, %13, %14, %15", "%16", "%17", "%18");
    WGMMA_RS(32, 16, "%16, %17, %18, %19", "%20", "%21", "%22");
    WGMMA_RS(48, 24, "%24, %25, %26, %27", "%28", "%29", "%30");
    WGMMA_RS(64, 32, "%32, %33, %34, %35", "%36", "%37", "%38");
    WGMMA_RS(80, 40, "%40, %41, %42, %43", "%44", "%45", "%46");
    WGMMA_RS(96, 48, "%48, %49, %50, %51", "%52", "%53", "%54");
    WGMMA_RS(112, 56, "%56, %57, %58, %59", "%60", "%61", "%62");
    WGMMA_RS(128, 64, "%64, %65, %66, %67", "%68", "%69", "%70");
}

#endif
