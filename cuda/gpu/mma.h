/* mma.h - the instructions of sm_80 and later that attention is made of: products of small matrices
 * by a warp, loads of their fragments from shared memory, asynchronous copies into it.
 *
 * g = lane / 4, t = lane % 4. A fragment is what a lane holds of a matrix; a word holds two 16-bit
 * elements, the first in its low half:
 *
 *   D, 16 x 8   d[0], d[1]: row g, columns 2t, 2t + 1;  d[2], d[3]: row g + 8
 *   A, 16 x 16  a[0]: row g, columns 2t, 2t + 1;  a[1]: row g + 8;  a[2], a[3]: columns + 8
 *   B, 16 x 8   b[0]: rows 2t, 2t + 1, column g;  b[1]: rows + 8
 *
 * So two D of f32, rounded and packed, are an A. A product over k = 8 takes a[0], a[1] and b[0]
 * alone. Every lane of the warp must take part in mma_* and ldmatrix_*. */
#ifndef MOSAIC_CUDA_MMA_H
#define MOSAIC_CUDA_MMA_H

#include "../inline.h"

/* ---- D += A B ------------------------------------------------------------------------------- */

#define MOSAIC_MMA_K16(name, type)                                                                 \
    MOSAIC_DEVICE void name(float(&d)[4], const unsigned(&a)[4], unsigned b0, unsigned b1)         \
    {                                                                                              \
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 "                \
                     "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"             \
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                              \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));              \
    }
MOSAIC_MMA_K16(mma_bf16, "bf16")
MOSAIC_MMA_K16(mma_f16, "f16")

#define MOSAIC_MMA_K8(name, type)                                                                  \
    MOSAIC_DEVICE void name(float(&d)[4], unsigned a0, unsigned a1, unsigned b0)                   \
    {                                                                                              \
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32." type "." type ".f32 "                 \
                     "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"                         \
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                              \
                     : "r"(a0), "r"(a1), "r"(b0));                                                 \
    }
MOSAIC_MMA_K8(mma_bf16_k8, "bf16")
MOSAIC_MMA_K8(mma_f16_k8, "f16")

/* ---- fragments from shared memory ----------------------------------------------------------- */

/* An address in shared memory; + moves by bytes. */
typedef unsigned shared_at;

MOSAIC_DEVICE shared_at shared_of(const void *p) { return (unsigned)__cvta_generic_to_shared(p); }

/* Loads 2 or 4 matrices of 8 rows x 16 bytes, r[i] of matrix i: row g, word t. Lanes 8i .. 8i +
 * 7 give the rows of matrix i, which start at multiples of 16 bytes. With _trans, of 16-bit
 * elements, rows 2t and 2t + 1, column g. */
#define MOSAIC_LDMATRIX(name, trans)                                                               \
    MOSAIC_DEVICE void name##_x2##trans(unsigned(&r)[2], shared_at row)                            \
    {                                                                                              \
        asm volatile("ldmatrix.sync.aligned.m8n8.x2" MOSAIC_TRANS##trans                           \
                     ".shared.b16 {%0, %1}, [%2];"                                                 \
                     : "=r"(r[0]), "=r"(r[1])                                                      \
                     : "r"(row)                                                                    \
                     : "memory");                                                                  \
    }                                                                                              \
    MOSAIC_DEVICE void name##_x4##trans(unsigned(&r)[4], shared_at row)                            \
    {                                                                                              \
        asm volatile("ldmatrix.sync.aligned.m8n8.x4" MOSAIC_TRANS##trans                           \
                     ".shared.b16 {%0, %1, %2, %3}, [%4];"                                         \
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                              \
                     : "r"(row)                                                                    \
                     : "memory");                                                                  \
    }
#define MOSAIC_TRANS
#define MOSAIC_TRANS_trans ".trans"
MOSAIC_LDMATRIX(ldmatrix, )
MOSAIC_LDMATRIX(ldmatrix, _trans)

/* ---- asynchronous copies -------------------------------------------------------------------- */

/* Copies `bytes` bytes and fills up to 16, 8 or 4 with zeros; with 0, `from` is not read. Both
 * addresses are multiples of 16, 8 or 4. Each thread waits for its own copies, then all of them for
 * each other (__syncthreads). */
MOSAIC_DEVICE void cp_async_16(shared_at to, const void *from, int bytes)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to),
                 "l"(__cvta_generic_to_global(from)), "r"(bytes)
                 : "memory");
}
MOSAIC_DEVICE void cp_async_8(shared_at to, const void *from, int bytes)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(to),
                 "l"(__cvta_generic_to_global(from)), "r"(bytes)
                 : "memory");
}
MOSAIC_DEVICE void cp_async_4(shared_at to, const void *from, int bytes)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to),
                 "l"(__cvta_generic_to_global(from)), "r"(bytes)
                 : "memory");
}

/* The same of all 16, 8 or 4 bytes, or, if not `there`, zeros: with fewer instructions. */
#define MOSAIC_CP_ASYNC_IF(name, how, size)                                                        \
    MOSAIC_DEVICE void name(shared_at to, const void *from, bool there)                            \
    {                                                                                              \
        asm volatile("{.reg .pred p; setp.eq.s32 p, %2, 0;"                                        \
                     "cp.async." how ".shared.global [%0], [%1], " size ", p;}" ::"r"(to),         \
                     "l"(__cvta_generic_to_global(from)), "r"((int)there)                          \
                     : "memory");                                                                  \
    }
MOSAIC_CP_ASYNC_IF(cp_async_16_if, "cg", "16")
MOSAIC_CP_ASYNC_IF(cp_async_8_if, "ca", "8")
MOSAIC_CP_ASYNC_IF(cp_async_4_if, "ca", "4")

/* Copies since the last commit are a group. */
MOSAIC_DEVICE void cp_async_commit(void) { asm volatile("cp.async.commit_group;" ::: "memory"); }

/* Until all but the latest `groups` groups have come. */
template <int groups> MOSAIC_DEVICE void cp_async_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
}

/* ---- numbers -------------------------------------------------------------------------------- */

/* 2^x with a relative error of 2^-22; subnormals are 0. */
MOSAIC_DEVICE float ex2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* x, of which the compiler knows nothing: what is computed from it is not kept in registers, where
 * it is needed but rarely. */
MOSAIC_DEVICE int opaque(int x)
{
    asm volatile("" : "+r"(x));
    return x;
}

/* The larger, and the smaller one, NaN if one is. */
MOSAIC_DEVICE float max_nan(float x, float y)
{
    float z;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
    return z;
}
MOSAIC_DEVICE float min_nan(float x, float y)
{
    float z;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(z) : "f"(x), "f"(y));
    return z;
}

/* Two floats rounded to nearest even, in the halves of a word. */
MOSAIC_DEVICE unsigned pack_bf16(float low, float high)
{
    unsigned r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
MOSAIC_DEVICE unsigned pack_f16(float low, float high)
{
    unsigned r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}

MOSAIC_DEVICE float bf16_to_float(unsigned short x) { return __uint_as_float((unsigned)x << 16); }
MOSAIC_DEVICE float f16_to_float(unsigned short x)
{
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
    return y;
}

#endif
