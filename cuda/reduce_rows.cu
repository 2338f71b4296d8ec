/* reduce_rows.cu - one row per rank becomes one result, always in the order of the ranks: the same
 * bits as core/cpu/reduce_rows.c. */
#include <launch.h>

#include "walk.h"

/* What lies in memory, and what the arithmetic is done in. Integers wrap, so sums and products are
 * unsigned. */
template <class T, class A = T, class U = A> struct plain {
    typedef T stored;
    typedef A sum;
    typedef U wrapping;
    MOSAIC_INLINE A read(T x) { return x; }
    MOSAIC_INLINE T write(A x) { return (T)x; }
};
struct bf16 : plain<uint16_t, float> {
    MOSAIC_INLINE float read(uint16_t x) { return mosaic_bf16_to_f32(x); }
    MOSAIC_INLINE uint16_t write(float x) { return mosaic_f32_to_bf16(x); }
};
struct f16 : plain<uint16_t, float> {
    MOSAIC_INLINE float read(uint16_t x) { return mosaic_f16_to_f32(x); }
    MOSAIC_INLINE uint16_t write(float x) { return mosaic_f32_to_f16(x); }
};

/* NaN passes: a comparison with it is false, so it is asked for. */
template <class E> MOSAIC_INLINE typename E::sum join(int op, typename E::sum a, typename E::sum b)
{
    typedef typename E::sum sum;
    typedef typename E::wrapping wrapping;
    switch (op) {
    case MOSAIC_COMM_SUM: return (sum)((wrapping)a + (wrapping)b);
    case MOSAIC_COMM_PROD: return (sum)((wrapping)a * (wrapping)b);
    case MOSAIC_COMM_MIN: return b < a || b != b ? b : a;
    default: return b > a || b != b ? b : a;
    }
}

/* out (count), rows (n, count) */
template <class E>
__global__ void reduce_rows(typename E::stored *out, const typename E::stored *rows, int n,
                            int64_t count, int op)
{
    mosaic_walk_each(count, [&](int64_t i) {
        typename E::sum total = E::read(rows[i]);
#pragma unroll 4
        for (int r = 1; r < n; r++) total = join<E>(op, total, E::read(rows[r * count + i]));
        out[i] = E::write(total);
    });
}

template <class E>
static mosaic_status run(const mosaic_tensor *out, const mosaic_tensor *rows, int op)
{
    typedef typename E::stored stored;
    int64_t count = rows->size[1];
    return mosaic_launch(mosaic_cuda_of(out), "reduce_rows", reduce_rows<E>,
                         mosaic_walk_blocks(count), MOSAIC_WALK_THREADS, 0,
                         (stored *)mosaic_data(out), (const stored *)mosaic_data(rows),
                         (int)rows->size[0], count, op);
}

mosaic_status mosaic_cuda_reduce_rows(const mosaic_tensor *out, const mosaic_tensor *rows,
                                      mosaic_comm_reduction op)
{
    MOSAIC_TRY(mosaic_cuda_enter(mosaic_cuda_of(out)));
    switch (out->dtype) {
    case MOSAIC_DTYPE_F32: return run<plain<float>>(out, rows, op);
    case MOSAIC_DTYPE_F64: return run<plain<double>>(out, rows, op);
    case MOSAIC_DTYPE_BF16: return run<bf16>(out, rows, op);
    case MOSAIC_DTYPE_F16: return run<f16>(out, rows, op);
    case MOSAIC_DTYPE_I32: return run<plain<int32_t, int32_t, uint32_t>>(out, rows, op);
    case MOSAIC_DTYPE_I64: return run<plain<int64_t, int64_t, uint64_t>>(out, rows, op);
    default: return run<plain<uint8_t, uint32_t>>(out, rows, op);
    }
}
