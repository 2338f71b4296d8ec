/* mma.cu - one warp's products, fragments and copies beside plain loops. Prints "ok", or what is
 * wrong. mma_spec.lua builds it without a GPU; with one:
 *
 *   nvcc -arch=native -std=c++17 -Icuda/gpu spec/cuda/mma.cu -o build/mma && build/mma */
#include <launch.h>
#include <mma.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../core/dtype.h"

enum { BF16, BF16_K8, F16, F16_K8, PRODUCTS, M = 16, N = 8, K = 16 };

typedef struct {
    float a[M][K], b[K][N], d[M][N]; /* small integers: every result is exact */
    uint16_t a16[2][M][K], b16[2][K][N], b16_turned[2][N][K];
    float fine[2]; /* all 24 bits */
} input;

typedef struct {
    float d[PRODUCTS][M][N];
    uint32_t packed[2], copied[10];
    float loaded[2], power, cut[2];
} output;

/* ---- on the device -------------------------------------------------------------------------- */

static __device__ void start(float (&d)[4], const input *in)
{
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
    for (int i = 0; i < 4; i++) d[i] = in->d[g + i / 2 * 8][2 * t + i % 2];
}

static __device__ void finish(output *out, int product, const float (&d)[4])
{
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
    for (int i = 0; i < 4; i++) out->d[product][g + i / 2 * 8][2 * t + i % 2] = d[i];
}

/* Both 16-bit types: A from a (16, 16), B from b (16, 8) by transposed loads, or from turned (8,
 * 16). */
static __device__ void multiply_16(output *out, const input *in, const unsigned char *a,
                                   const unsigned char *b, const unsigned char *turned, bool bf16)
{
    int lane = threadIdx.x, column = lane / 16;
    unsigned fa[4], fa2[2], fb[2], fb2[2], all[4];
    float d[4];
    ldmatrix_x4(fa, shared_of(a) + lane % 16 * 32 + column * 16);
    ldmatrix_x2_trans(fb, shared_of(b) + lane % 16 * 16);
    start(d, in);
    bf16 ? mma_bf16(d, fa, fb[0], fb[1]) : mma_f16(d, fa, fb[0], fb[1]);
    finish(out, bf16 ? BF16 : F16, d);

    ldmatrix_x2(fa2, shared_of(a) + lane % 16 * 32);
    ldmatrix_x2(fb2, shared_of(turned) + lane % 8 * 32 + lane / 8 % 2 * 16);
    ldmatrix_x4(all, shared_of(turned) + lane % 8 * 32 + lane / 8 % 2 * 16);
    start(d, in);
    if (fb2[0] == all[2] && fb2[1] == all[1] && fb[1] == all[1])
        bf16 ? mma_bf16_k8(d, fa2[0], fa2[1], fb2[0]) : mma_f16_k8(d, fa2[0], fa2[1], fb2[0]);
    finish(out, bf16 ? BF16_K8 : F16_K8, d);
}

/* 1 and 16 products of that element of bf16 with itself. */
static __device__ float one_and_squares(unsigned element)
{
    const unsigned word = element | element << 16, a[] = {word, word, word, word};
    float d[] = {1, 1, 1, 1};
    mma_bf16(d, a, word, word);
    return d[0];
}

static __global__ void warp(output *out, const input *in)
{
    __shared__ __align__(16) unsigned char a[2][M * K * 2], b[2][K * N * 2], turned[2][N * K * 2];
    __shared__ __align__(16) unsigned char filled[40];
    int lane = threadIdx.x;
    for (int e = 0; e < 2; e++) {
        cp_async_16(shared_of(a[e]) + lane * 16, (const char *)in->a16[e] + lane * 16, 16);
        cp_async_8(shared_of(b[e]) + lane * 8, (const char *)in->b16[e] + lane * 8, 8);
        cp_async_8(shared_of(turned[e]) + lane * 8, (const char *)in->b16_turned[e] + lane * 8, 8);
    }
    cp_async_commit();
    if (lane == 0) {
        cp_async_16(shared_of(filled), in->a, 12);
        cp_async_8(shared_of(filled) + 16, in->a, 4);
        cp_async_8(shared_of(filled) + 24, in->a, 0);
        cp_async_4(shared_of(filled) + 32, in->a, 4);
        cp_async_4(shared_of(filled) + 36, in->a, 0);
    }
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    for (int e = 0; e < 2; e++) multiply_16(out, in, a[e], b[e], turned[e], e == 0);
    cp_async_wait<0>();
    __syncthreads();
    float kept = one_and_squares(0x3980), lost = one_and_squares(0x3900); /* 2^-12, 2^-13 */
    if (lane < 10) out->copied[lane] = ((const uint32_t *)filled)[lane];
    if (lane > 0) return;
    out->packed[0] = pack_bf16(in->fine[0], in->fine[1]);
    out->packed[1] = pack_f16(in->fine[0], in->fine[1]);
    out->loaded[0] = bf16_to_float(in->a16[0][1][1]);
    out->loaded[1] = f16_to_float(in->a16[1][1][1]);
    out->cut[0] = kept;
    out->cut[1] = lost;
    out->power = ex2(in->a[0][0]) + ex2(-INFINITY) + ex2(-200.0f);
}

/* ---- on the host ---------------------------------------------------------------------------- */

const mosaic_core *mosaic_cuda_core;

static void check(const char *what, cudaError_t error)
{
    if (error == cudaSuccess) return;
    printf("%s: %s\n", what, cudaGetErrorString(error));
    exit(1);
}

extern "C" mosaic_status mosaic_cuda_check(const mosaic_cuda *, const char *what, cudaError_t error)
{
    check(what, error);
    return MOSAIC_OK;
}

static float small_number(void) { return (float)(rand() % 17 - 8); }

static void make(input *in)
{
    for (int f = 0; f < 2; f++) in->fine[f] = (float)rand() / (float)RAND_MAX - 0.5f;
    for (int i = 0; i < M; i++)
        for (int j = 0; j < K; j++) {
            in->a[i][j] = small_number();
            in->a16[0][i][j] = mosaic_f32_to_bf16(in->a[i][j]);
            in->a16[1][i][j] = mosaic_f32_to_f16(in->a[i][j]);
        }
    for (int i = 0; i < K; i++)
        for (int j = 0; j < N; j++) {
            in->b[i][j] = small_number();
            in->d[i][j] = small_number();
            in->b16[0][i][j] = in->b16_turned[0][j][i] = mosaic_f32_to_bf16(in->b[i][j]);
            in->b16[1][i][j] = in->b16_turned[1][j][i] = mosaic_f32_to_f16(in->b[i][j]);
        }
}

static void expect(const char *what, int i, int j, double got, double wanted, double bound)
{
    if (fabs(got - wanted) <= bound) return;
    printf("%s at %d, %d: %.9g, not %.9g\n", what, i, j, got, wanted);
    exit(1);
}

static void compare_products(const output *out, const input *in)
{
    static const char *const names[] = {"bf16", "bf16, k = 8", "f16", "f16, k = 8"};
    static const int depths[] = {16, 8, 16, 8};
    for (int p = 0; p < PRODUCTS; p++)
        for (int i = 0; i < M; i++)
            for (int j = 0; j < N; j++) {
                double sum = in->d[i][j];
                for (int k = 0; k < depths[p]; k++) sum += (double)in->a[i][k] * in->b[k][j];
                expect(names[p], i, j, out->d[p][i][j], sum, 0);
            }
}

static void compare_rest(const output *out, const input *in)
{
    const uint32_t *a = (const uint32_t *)in->a;
    const uint32_t copied[] = {a[0], a[1], a[2], 0, a[0], 0, 0, 0, a[0], 0};
    for (int i = 0; i < 10; i++) expect("copies", i, 0, out->copied[i], copied[i], 0);
    const float *x = in->fine;
    expect("bf16x2", 0, 0, out->packed[0],
           mosaic_f32_to_bf16(x[0]) | (uint32_t)mosaic_f32_to_bf16(x[1]) << 16, 0);
    expect("f16x2", 0, 0, out->packed[1],
           mosaic_f32_to_f16(x[0]) | (uint32_t)mosaic_f32_to_f16(x[1]) << 16, 0);
    for (int e = 0; e < 2; e++) expect("loads", e, 0, out->loaded[e], in->a[1][1], 0);
    expect("products of 2^-24 beside 1", 0, 0, out->cut[0], 1 + 0x1p-20, 0);
    expect("products of 2^-26 beside 1", 0, 0, out->cut[1], 1, 0);
    expect("ex2", 0, 0, out->power, exp2(in->a[0][0]), 1e-6 * exp2(in->a[0][0]));
}

int main(void)
{
    static input in;
    static output out;
    mosaic_cuda device = {};
    void *from, *to;
    make(&in);
    check("a stream", cudaStreamCreateWithFlags(&device.compute, cudaStreamNonBlocking));
    check("memory", cudaMalloc(&from, sizeof in));
    check("memory", cudaMalloc(&to, sizeof out));
    check("copy", cudaMemcpyAsync(from, &in, sizeof in, cudaMemcpyHostToDevice, device.compute));
    mosaic_launch(&device, "warp", warp, 1, 32, 0, (output *)to, (const input *)from);
    check("copy", cudaMemcpyAsync(&out, to, sizeof out, cudaMemcpyDeviceToHost, device.compute));
    check("running", cudaStreamSynchronize(device.compute));
    cudaFree(from);
    cudaFree(to);
    cudaStreamDestroy(device.compute);
    compare_products(&out, &in);
    compare_rest(&out, &in);
    puts("ok");
    return 0;
}
