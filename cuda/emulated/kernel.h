/* kernel.h - what CUDA C++ has beyond C++, for kernels that run as fibers. */
#ifndef MOSAIC_EMULATED_KERNEL_H
#define MOSAIC_EMULATED_KERNEL_H
#include <algorithm>
#include <cmath>
#include <tuple>
#include <type_traits>

#include "cuda_runtime.h"

/* A block's dynamic shared memory, aligned to 1024 bytes. */
#define MOSAIC_DYNAMIC_SHARED(name) unsigned char *name = mosaic_emulated_shared()

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static /* blocks run one after the other */
#define __grid_constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

#define threadIdx mosaic_emulated_thread
#define blockIdx mosaic_emulated_block
#define blockDim mosaic_emulated_block_size
#define gridDim mosaic_emulated_grid
enum { warpSize = 32 };

using std::max;
using std::min;

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

#define MOSAIC_EMULATED_VECTORS(type, name, bytes)                                                 \
    struct alignas(2 * bytes) name##2 { type x, y; };                                              \
    struct alignas(bytes < 8 ? 4 * bytes : 16) name##4 { type x, y, z, w; };                       \
    static inline name##2 make_##name##2(type x, type y) { return name##2 {x, y}; }                \
    static inline name##4 make_##name##4(type x, type y, type z, type w)                           \
    {                                                                                              \
        return name##4 {x, y, z, w};                                                               \
    }
MOSAIC_EMULATED_VECTORS(int, int, 4)
MOSAIC_EMULATED_VECTORS(unsigned, uint, 4)
MOSAIC_EMULATED_VECTORS(float, float, 4)
MOSAIC_EMULATED_VECTORS(unsigned short, ushort, 2)
struct alignas(16) double2 {
    double x, y;
};
static inline double2 make_double2(double x, double y) { return double2{x, y}; }
struct alignas(16) longlong2 {
    long long x, y;
};

/* ---- threads that meet ---------------------------------------------------------------------- */

static inline void __syncthreads() { mosaic_emulated_barrier(); }

enum { MOSAIC_EMULATED_LANE_BYTES = 256 };

/* All lanes give a value; each takes what `pick` makes of all of them. Lanes that have ended keep
 * what was there. Only whole warps meet: a mask of some lanes is not emulated. */
template <class T, class Pick> static inline T mosaic_emulated_exchange(T own, Pick pick)
{
    struct box {
        T value;
        int argument;
    };
    static_assert(sizeof(box) <= MOSAIC_EMULATED_LANE_BYTES, "too large");
    box b{own, pick.argument};
    mosaic_emulated_collective(
        &b, sizeof b,
        [](unsigned char(*lanes)[256], void *) {
            T values[32], results[32];
            int arguments[32];
            for (int i = 0; i < 32; i++) {
                box *at = reinterpret_cast<box *>(lanes[i]);
                memcpy(&values[i], &at->value, sizeof(T));
                arguments[i] = at->argument;
            }
            for (int i = 0; i < 32; i++) results[i] = Pick::of(values, i, arguments[i]);
            for (int i = 0; i < 32; i++) memcpy(lanes[i], &results[i], sizeof(T));
        },
        nullptr);
    return b.value;
}

struct mosaic_emulated_from {
    int argument;
    template <class T> static T of(const T *v, int lane, int from)
    {
        int width = from >> 8, base = lane / width * width;
        return v[base + (from & 255) % width];
    }
};
struct mosaic_emulated_xor {
    int argument;
    template <class T> static T of(const T *v, int lane, int mask) { return v[(lane ^ mask) & 31]; }
};
struct mosaic_emulated_down {
    int argument;
    template <class T> static T of(const T *v, int lane, int by)
    {
        return v[lane + by < 32 ? lane + by : lane];
    }
};
struct mosaic_emulated_up {
    int argument;
    template <class T> static T of(const T *v, int lane, int by)
    {
        return v[lane - by >= 0 ? lane - by : lane];
    }
};
struct mosaic_emulated_votes {
    int argument;
    static unsigned of(const unsigned *v, int, int)
    {
        unsigned set = 0;
        for (int i = 0; i < 32; i++) set |= (v[i] ? 1u : 0u) << i;
        return set;
    }
};

template <class T> static inline T __shfl_sync(unsigned, T v, int from, int width = 32)
{
    return mosaic_emulated_exchange(v, mosaic_emulated_from{(from & 255) | width << 8});
}
template <class T> static inline T __shfl_xor_sync(unsigned, T v, int mask, int = 32)
{
    return mosaic_emulated_exchange(v, mosaic_emulated_xor{mask});
}
template <class T> static inline T __shfl_down_sync(unsigned, T v, int by, int = 32)
{
    return mosaic_emulated_exchange(v, mosaic_emulated_down{by});
}
template <class T> static inline T __shfl_up_sync(unsigned, T v, int by, int = 32)
{
    return mosaic_emulated_exchange(v, mosaic_emulated_up{by});
}
static inline unsigned __ballot_sync(unsigned, int yes)
{
    return mosaic_emulated_exchange((unsigned)(yes != 0), mosaic_emulated_votes{0});
}
static inline int __any_sync(unsigned mask, int yes) { return __ballot_sync(mask, yes) != 0; }
static inline int __all_sync(unsigned mask, int yes) { return __ballot_sync(mask, !yes) == 0; }
static inline void __syncwarp(unsigned = 0xffffffffu) { __ballot_sync(0xffffffffu, 1); }

static inline int __syncthreads_count(int yes)
{
    static int sum;
    if (yes) sum++;
    __syncthreads();
    int all = sum;
    __syncthreads();
    sum = 0;
    __syncthreads();
    return all;
}
static inline int __syncthreads_or(int yes) { return __syncthreads_count(yes != 0) != 0; }
static inline int __syncthreads_and(int yes) { return __syncthreads_count(yes == 0) == 0; }

/* ---- memory and numbers --------------------------------------------------------------------- */

static inline void __threadfence() {}
static inline void __threadfence_block() {}
template <class T> static inline T __ldg(const T *at) { return *at; }

template <class T, class U> static inline T atomicAdd(T *at, U value)
{
    T old = *at;
    *at = (T)(old + (T)value);
    return old;
}
template <class T, class U> static inline T atomicMin(T *at, U value)
{
    T old = *at;
    if ((T)value < old) *at = (T)value;
    return old;
}
template <class T, class U> static inline T atomicMax(T *at, U value)
{
    T old = *at;
    if (old < (T)value) *at = (T)value;
    return old;
}
template <class T, class U> static inline T atomicExch(T *at, U value)
{
    T old = *at;
    *at = (T)value;
    return old;
}
template <class T, class U, class V> static inline T atomicCAS(T *at, U expected, V value)
{
    T old = *at;
    if (old == (T)expected) *at = (T)value;
    return old;
}

static inline int __float_as_int(float x)
{
    int bits;
    memcpy(&bits, &x, 4);
    return bits;
}
static inline unsigned __float_as_uint(float x) { return (unsigned)__float_as_int(x); }
static inline float __int_as_float(int bits)
{
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
static inline float __uint_as_float(unsigned bits) { return __int_as_float((int)bits); }
static inline long long __double_as_longlong(double x)
{
    long long bits;
    memcpy(&bits, &x, 8);
    return bits;
}
static inline double __longlong_as_double(long long bits)
{
    double x;
    memcpy(&x, &bits, 8);
    return x;
}
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dsub_rn(double a, double b) { return a - b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
static inline double rsqrt(double x) { return 1 / sqrt(x); }
#define __expf(x) expf(x) /* the host's library has functions of these names */
#define __logf(x) logf(x)
static inline float __fdividef(float a, float b) { return a / b; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)((unsigned long long)a * b >> 32);
}

#endif
