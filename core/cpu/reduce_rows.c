/* reduce_rows.c - one row per rank becomes one result, always in the order of the ranks.
 *
 * Results do not depend on the transport, on the number of threads or on how a tensor was cut:
 * every element is row 0 op row 1 op ... in that order. */
#include "../parallel.h"
#include "../tensor.h"
#include "cpu.h"

typedef struct {
    void *out;
    const void *rows;
    int row_count;
    int64_t stride;
} job;

/* NaN passes: a comparison with it is false, so it is asked for. */
#define SUM(a, b) (a) + (b)
#define PROD(a, b) (a) * (b)
#define MIN(a, b) ((b) < (a) || (b) != (b)) ? (b) : (a)
#define MAX(a, b) ((b) > (a) || (b) != (b)) ? (b) : (a)

/* Elements of type T whose arithmetic is done as A. Blocks keep the accumulators in cache. */
#define KERNEL(name, OP, T, A, READ, WRITE)                                                        \
    static void name(void *context, int64_t from, int64_t to)                                      \
    {                                                                                              \
        enum { BLOCK = 512 };                                                                      \
        const job *j = context;                                                                    \
        A total[BLOCK];                                                                            \
        for (int64_t at = from; at < to; at += BLOCK) {                                            \
            int64_t count = to - at < BLOCK ? to - at : BLOCK;                                     \
            const T *row = (const T *)j->rows + at;                                                \
            T *out = (T *)j->out + at;                                                             \
            for (int64_t i = 0; i < count; i++) total[i] = READ(row[i]);                           \
            for (int r = 1; r < j->row_count; r++) {                                               \
                row += j->stride;                                                                  \
                for (int64_t i = 0; i < count; i++) {                                              \
                    A x = READ(row[i]);                                                            \
                    total[i] = OP(total[i], x);                                                    \
                }                                                                                  \
            }                                                                                      \
            for (int64_t i = 0; i < count; i++) out[i] = WRITE(total[i]);                          \
        }                                                                                          \
    }

#define SAME(x) (x)

/* Integer sums and products wrap, so they are done unsigned; comparisons need the sign. */
#define KERNELS(OP)                                                                                \
    KERNEL(OP##_f32, OP, float, float, SAME, SAME)                                                 \
    KERNEL(OP##_f64, OP, double, double, SAME, SAME)                                               \
    KERNEL(OP##_bf16, OP, uint16_t, float, mosaic_bf16_to_f32, mosaic_f32_to_bf16)                 \
    KERNEL(OP##_f16, OP, uint16_t, float, mosaic_f16_to_f32, mosaic_f32_to_f16)                    \
    KERNEL(OP##_u8, OP, uint8_t, uint8_t, SAME, SAME)
#define INTEGERS(OP, T32, T64)                                                                     \
    KERNEL(OP##_i32, OP, T32, T32, SAME, SAME)                                                     \
    KERNEL(OP##_i64, OP, T64, T64, SAME, SAME)

KERNELS(SUM)
KERNELS(PROD)
KERNELS(MIN)
KERNELS(MAX)
INTEGERS(SUM, uint32_t, uint64_t)
INTEGERS(PROD, uint32_t, uint64_t)
INTEGERS(MIN, int32_t, int64_t)
INTEGERS(MAX, int32_t, int64_t)

#define ROW(OP)                                                                                    \
    {                                                                                              \
        OP##_f32, OP##_f64, OP##_bf16, OP##_f16, OP##_i32, OP##_i64, OP##_u8                       \
    }

mosaic_status mosaic_cpu_reduce_rows(const mosaic_tensor *out, const mosaic_tensor *rows,
                                     mosaic_comm_reduction op)
{
    static void (*const kernels[][MOSAIC_DTYPE_COUNT])(void *, int64_t, int64_t) = {
        ROW(SUM), ROW(PROD), ROW(MIN), ROW(MAX)};
    job j = {mosaic_data(out), mosaic_data(rows), (int)rows->size[0], rows->size[1]};
    mosaic_parallel(rows->size[1], 16384, kernels[op][rows->dtype], &j);
    return MOSAIC_OK;
}
