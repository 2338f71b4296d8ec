/* elementwise.cu - one element of each operand in, one out; operands of any dtypes and strides. */
#include <launch.h>

#include "element.h"
#include "functions.h"
#include "walk.h"

typedef struct {
    int op;
    double alpha, beta;
    int constant; /* this operand (from 1) is `value`; 0: none */
    double value;
} parameters;

/* Integers saturate: a bound may be infinite. */
template <class T> MOSAIC_INLINE T number(double x) { return (T)x; }
template <> __host__ __device__ inline int64_t number<int64_t>(double x)
{
    return x >= 0x1p63 ? INT64_MAX : x < -0x1p63 ? INT64_MIN : (int64_t)x;
}

template <class T>
MOSAIC_INLINE T operand(const mosaic_walk &w, char *const *at, int n, const parameters &p)
{
    return n == p.constant ? number<T>(p.value) : mosaic_load<T>(at[n], w.operand[n].dtype);
}

template <class T> __global__ void unary(const mosaic_walk w, const parameters p)
{
    mosaic_walk_each(w.count, [&](int64_t i) {
        char *at[2];
        mosaic_walk_at(w, i, at);
        T x = operand<T>(w, at, 1, p);
        mosaic_store<T>(at[0], w.operand[0].dtype,
                        mosaic_unary_of<T>(p.op, x, number<T>(p.alpha), number<T>(p.beta)));
    });
}

template <class T> __global__ void binary(const mosaic_walk w, const parameters p)
{
    mosaic_walk_each(w.count, [&](int64_t i) {
        char *at[3];
        mosaic_walk_at(w, i, at);
        T a = operand<T>(w, at, 1, p), b = operand<T>(w, at, 2, p);
        mosaic_store<T>(at[0], w.operand[0].dtype,
                        mosaic_binary_of<T>(p.op, a, b, number<T>(p.alpha), number<T>(p.beta)));
    });
}

template <class T> __global__ void ternary(const mosaic_walk w, const parameters p)
{
    mosaic_walk_each(w.count, [&](int64_t i) {
        char *at[4];
        mosaic_walk_at(w, i, at);
        T a = operand<T>(w, at, 1, p), b = operand<T>(w, at, 2, p), c = operand<T>(w, at, 3, p);
        mosaic_store<T>(at[0], w.operand[0].dtype,
                        mosaic_ternary_of<T>(p.op, a, b, c, number<T>(p.alpha)));
    });
}

typedef void (*kernel)(const mosaic_walk w, const parameters p);

template <class T> static kernel kernel_of(int family)
{
    return family == MOSAIC_UNARY ? unary<T> : family == MOSAIC_BINARY ? binary<T> : ternary<T>;
}

mosaic_status mosaic_cuda_elementwise(const mosaic_tensor *out, const mosaic_elementwise *call)
{
    const mosaic_tensor *operands[MOSAIC_WALK_OPERANDS] = {out};
    int count = 2 + (int)call->family;
    parameters p = {call->op, call->alpha, call->beta, 0, call->value};
    for (int i = 1; i < count; i++) {
        operands[i] = call->input[i - 1];
        if (!operands[i]) p.constant = i;
    }
    mosaic_walk w = mosaic_walk_of(count, operands);
    kernel k = call->compute == MOSAIC_DTYPE_F64   ? kernel_of<double>(call->family)
               : call->compute == MOSAIC_DTYPE_F32 ? kernel_of<float>(call->family)
                                                   : kernel_of<int64_t>(call->family);
    const mosaic_cuda *device = mosaic_cuda_of(out);
    MOSAIC_TRY(mosaic_cuda_enter(device));
    return mosaic_launch(device, "elementwise", k, mosaic_walk_blocks(w.count), MOSAIC_WALK_THREADS,
                         0, w, p);
}
