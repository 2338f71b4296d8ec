/* hopper.cu - tiles, barriers and products of warpgroups beside what is written down here: where
 * the words of a swizzled row lie, what is outside of a tensor, and plain loops. Emulated by
 * default (make build/emulated/hopper); on a GPU of compute capability 9.0
 *
 *   nvcc -gencode arch=compute_90a,code=sm_90a -std=c++17 -Icuda/gpu spec/cuda/hopper.cu -o \
 *     build/hopper && build/hopper */
#include <cuda.h>
#include <launch.h>
#include <stdio.h>
#include <stdlib.h>

#define ELEMENT 2 /* bf16 */
#include "../../core/dtype.h"
#include "../../cuda/attention/hopper_call.h"
#include "../../cuda/attention/matrix.h"
#include <hopper.h>

/* x (ROWS, 48) and y (ROWS, 80), of which rows and columns that are not there are zeros. A box is
 * BOX rows of 32 columns of x, in rows of 64 bytes, or of 64 columns of y, of 128 bytes. */
enum { ROWS = 100, X = 48, Y = 80, BOX = 64, FIRST_ROW = 40, GROUPS = 2, THREADS = 128 * GROUPS };
enum { X_BOX = BOX * 64, Y_BOX = BOX * 128, WIDTHS = 8 };

typedef struct {
    uint16_t x[ROWS][X], y[ROWS][Y]; /* small integers: every result is exact */
} input;

typedef struct {
    uint16_t x[BOX][32], y[2][BOX][64]; /* as they lie in shared memory */
    float rows[64][64];                 /* y y^T, of the first 64 columns, over 64 */
    float columns[64][80];              /* y^T y: both operands turned, over 64 rows */
    float weights[64][24];              /* rows in registers times x turned, over 16 */
    float twice[64][24];                /* the same added to itself */
    float wide[WIDTHS][64][128];        /* rows in registers times y turned, as wide as WIDTH */
} output;

static const int WIDTH[WIDTHS] = {24, 32, 48, 64, 80, 96, 112, 128};

typedef struct {
    mosaic_tile_map x, y;
    output *out;
} request;

/* ---- on the device -------------------------------------------------------------------------- */

/* An accumulator's elements, by rows and columns. */
template <int N> static __device__ void store(float *to, const float (&d)[N / 2])
{
    int thread = threadIdx.x % 128, row = thread / 32 * 16 + thread % 32 / 4;
    for (int e = 0; e < N / 2; e++)
        to[(row + e / 2 % 2 * 8) * N + e / 4 * 8 + thread % 4 * 2 + e % 2] = d[e];
}

static __device__ void multiply_rows(output *out, uint32_t y)
{
    float d[32];
    wgmma_fence();
    for (int step = 0; step < 4; step++)
        wgmma_ss<64, 0, 0>(d, matrix(y + step * 32, 128, 1024, 0),
                           matrix(y + step * 32, 128, 1024, 0), step > 0);
    wgmma_commit();
    wgmma_wait<0>(d);
    store<64>(out->rows[0], d);
}

static __device__ void multiply_columns(output *out, uint32_t y)
{
    float d[40];
    wgmma_fence();
    for (int step = 0; step < 4; step++)
        wgmma_ss<80, 1, 1>(d, matrix(y + step * 2048, 128, 1024, Y_BOX),
                           matrix(y + step * 2048, 128, 1024, Y_BOX), step > 0);
    wgmma_commit();
    wgmma_wait<0>(d);
    store<80>(out->columns[0], d);
}

/* Row i of the operand in registers is i - 8 k for column k. */
static __device__ uint32_t weight_pair(int row, int k)
{
    return mosaic_f32_to_bf16((float)(row - 8 * k)) |
           (uint32_t)mosaic_f32_to_bf16((float)(row - 8 * k - 8)) << 16;
}

static __device__ void multiply_weights(output *out, uint32_t x)
{
    int thread = threadIdx.x % 128, row = thread / 32 * 16 + thread % 32 / 4, k = thread % 4 * 2;
    float once[12], twice[12];
    const uint32_t a[4] = {weight_pair(row, k), weight_pair(row + 8, k), weight_pair(row, k + 8),
                           weight_pair(row + 8, k + 8)};
    wgmma_fence();
    wgmma_rs<24, 1>(once, a[0], a[1], a[2], a[3], matrix(x, 64, 512, X_BOX), 0);
    wgmma_commit();
    wgmma_fence();
    wgmma_rs<24, 1>(twice, a[0], a[1], a[2], a[3], matrix(x, 64, 512, X_BOX), 0);
    wgmma_rs<24, 1>(twice, a[0], a[1], a[2], a[3], matrix(x, 64, 512, X_BOX), 1);
    wgmma_commit();
    wgmma_wait<1>(once);
    store<24>(out->weights[0], once);
    wgmma_wait<0>(twice);
    store<24>(out->twice[0], twice);
}

template <int N, int NUMBER> static __device__ void multiply_wide(output *out, uint32_t y)
{
    int thread = threadIdx.x % 128, row = thread / 32 * 16 + thread % 32 / 4, k = thread % 4 * 2;
    float d[N / 2];
    const uint32_t a[4] = {weight_pair(row, k), weight_pair(row + 8, k), weight_pair(row, k + 8),
                           weight_pair(row + 8, k + 8)};
    wgmma_fence();
    wgmma_rs<N, 1>(d, a[0], a[1], a[2], a[3], matrix(y, 128, 1024, Y_BOX), 0);
    wgmma_commit();
    wgmma_wait<0>(d);
    store<N>((float *)out->wide[NUMBER], d);
}

static __global__ void __launch_bounds__(THREADS, 1) warpgroups(const __grid_constant__ request r)
{
    MOSAIC_DYNAMIC_SHARED(shared);
    unsigned char *y = shared, *x = shared + 2 * Y_BOX;
    barrier *come = (barrier *)(x + X_BOX);
    if (threadIdx.x == 0) {
        barrier_init(&come[0], 1);
        barrier_init(&come[1], 2);
        barrier_publish();
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        barrier_expect(&come[0], 2 * Y_BOX);
        tile_load(y, &r.y, &come[0], 0, FIRST_ROW, 0, 0, 0);
        tile_load(y + Y_BOX, &r.y, &come[0], 64, FIRST_ROW, 0, 0, 0);
        barrier_expect(&come[1], X_BOX);
        tile_load(x, &r.x, &come[1], 32, -3, 0, 0, 0);
    }
    if (threadIdx.x == THREADS - 1) barrier_arrive(&come[1]);
    barrier_wait(&come[0], 0);
    barrier_wait(&come[1], 0);
    uint16_t *y_to = (uint16_t *)r.out->y, *x_to = (uint16_t *)r.out->x;
    for (int i = threadIdx.x; i < Y_BOX; i += THREADS) y_to[i] = ((const uint16_t *)y)[i];
    for (int i = threadIdx.x; i < X_BOX / 2; i += THREADS) x_to[i] = ((const uint16_t *)x)[i];
    if (threadIdx.x < 128) {
        multiply_rows(r.out, shared_address(y));
        multiply_columns(r.out, shared_address(y));
    } else {
        multiply_weights(r.out, shared_address(x));
        multiply_wide<24, 0>(r.out, shared_address(y));
        multiply_wide<32, 1>(r.out, shared_address(y));
        multiply_wide<48, 2>(r.out, shared_address(y));
        multiply_wide<64, 3>(r.out, shared_address(y));
        multiply_wide<80, 4>(r.out, shared_address(y));
        multiply_wide<96, 5>(r.out, shared_address(y));
        multiply_wide<112, 6>(r.out, shared_address(y));
        multiply_wide<128, 7>(r.out, shared_address(y));
    }
}

/* ---- on the host ---------------------------------------------------------------------------- */

const mosaic_core *mosaic_cuda_core;

static void check(const char *what, int error)
{
    if (!error) return;
    printf("%s: error %d\n", what, error);
    exit(1);
}

extern "C" mosaic_status mosaic_cuda_check(const mosaic_cuda *, const char *what, cudaError_t error)
{
    check(what, error);
    return MOSAIC_OK;
}

static mosaic_tile_map map_of(void *data, int columns, int box)
{
    typedef CUresult function(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                              const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                              const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                              CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
    void *found;
    mosaic_tile_map map;
    enum cudaDriverEntryPointQueryResult result;
    const cuuint64_t sizes[] = {(cuuint64_t)columns, ROWS, 1, 1, 1},
                     strides[] = {2 * (cuuint64_t)columns, 16, 16, 16};
    const cuuint32_t boxes[] = {(cuuint32_t)box, BOX, 1, 1, 1}, steps[] = {1, 1, 1, 1, 1};
    check("the driver", cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000,
                                                         cudaEnableDefault, &result));
    check("a map", ((function *)found)(
                       (CUtensorMap *)&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 5, data, sizes,
                       strides, boxes, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                       box == 32 ? CU_TENSOR_MAP_SWIZZLE_64B : CU_TENSOR_MAP_SWIZZLE_128B,
                       CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE));
    return map;
}

static input in;
static output out;

static float x_at(int row, int column)
{
    bool there = row >= 0 && row < ROWS && column < X;
    return there ? mosaic_bf16_to_f32(in.x[row][column]) : 0;
}
static float y_at(int row, int column)
{
    bool there = row < ROWS && column < Y;
    return there ? mosaic_bf16_to_f32(in.y[row][column]) : 0;
}

static void expect(const char *what, int i, int j, double got, double wanted)
{
    if (got == wanted) return;
    printf("%s at %d, %d: %.9g, not %.9g\n", what, i, j, got, wanted);
    exit(1);
}

/* Words of 16 bytes of a row change places: in rows of 128 bytes by the row's last 3 bits, in rows
 * of 64 bytes by the 2 bits before its last. */
static void compare_tiles(void)
{
    for (int row = 0; row < BOX; row++)
        for (int c = 0; c < 64; c++) {
            int place = (c / 8 ^ row % 8) * 8 + c % 8;
            for (int part = 0; part < 2; part++)
                expect("rows of 128 bytes", row, c, mosaic_bf16_to_f32(out.y[part][row][place]),
                       y_at(FIRST_ROW + row, 64 * part + c));
            if (c >= 32) continue;
            place = (c / 8 ^ row / 2 % 4) * 8 + c % 8;
            expect("rows of 64 bytes", row, c, mosaic_bf16_to_f32(out.x[row][place]),
                   x_at(row - 3, 32 + c));
        }
}

static void compare_products(void)
{
    for (int i = 0; i < 64; i++)
        for (int j = 0; j < 80; j++) {
            double rows = 0, columns = 0, weights = 0;
            for (int k = 0; k < 64; k++) {
                rows += y_at(FIRST_ROW + i, k) * y_at(FIRST_ROW + j, k);
                columns += y_at(FIRST_ROW + k, i) * y_at(FIRST_ROW + k, j);
            }
            for (int k = 0; k < 16; k++) weights += (i - 8 * k) * x_at(k - 3, 32 + j);
            if (j < 64) expect("a product of rows", i, j, out.rows[i][j], rows);
            expect("a product of columns", i, j, out.columns[i][j], columns);
            if (j >= 24) continue;
            expect("a product of registers", i, j, out.weights[i][j], weights);
            expect("a sum of products", i, j, out.twice[i][j], 2 * weights);
        }
}

static void compare_widths(void)
{
    for (int n = 0; n < WIDTHS; n++) {
        const float *found = (const float *)out.wide[n];
        for (int i = 0; i < 64; i++)
            for (int j = 0; j < WIDTH[n]; j++) {
                double sum = 0;
                for (int k = 0; k < 16; k++) sum += (i - 8 * k) * y_at(FIRST_ROW + k, j);
                expect("a product of some width", i, j, *found++, sum);
            }
    }
}

int main(void)
{
    const size_t shared = 2 * Y_BOX + X_BOX + 2 * sizeof(barrier);
    mosaic_cuda device = {};
    void *from, *to;
    uint16_t *numbers = (uint16_t *)&in;
    for (size_t i = 0; i < sizeof in / 2; i++)
        numbers[i] = mosaic_f32_to_bf16((float)(rand() % 9 - 4));
    check("a stream", cudaStreamCreateWithFlags(&device.compute, cudaStreamNonBlocking));
    check("memory", cudaMalloc(&from, sizeof in));
    check("memory", cudaMalloc(&to, sizeof out));
    check("copy", cudaMemcpyAsync(from, &in, sizeof in, cudaMemcpyHostToDevice, device.compute));
    request r = {map_of(from, X, 32), map_of((char *)from + sizeof in.x, Y, 64), (output *)to};
    mosaic_allow_shared(&device, "warpgroups", warpgroups, shared);
    mosaic_launch(&device, "warpgroups", warpgroups, 1, THREADS, shared, r);
    check("copy", cudaMemcpyAsync(&out, to, sizeof out, cudaMemcpyDeviceToHost, device.compute));
    check("running", cudaStreamSynchronize(device.compute));
    cudaFree(from);
    cudaFree(to);
    cudaStreamDestroy(device.compute);
    compare_tiles();
    compare_products();
    compare_widths();
    puts("ok");
    return 0;
}
