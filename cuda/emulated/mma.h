/* mma.h - gpu/mma.h without a GPU: the same fragments, lane by lane, on the warp's collectives.
 *
 * A copy happens when its thread waits for it, and not before, so that who forgets to wait reads
 * what was there. */
#ifndef MOSAIC_CUDA_MMA_H
#define MOSAIC_CUDA_MMA_H
#include "../../core/half.h"
#include "cuda_runtime.h"

/* ---- D += A B ------------------------------------------------------------------------------- */

/* As sm_80, 86 and 89 round: 8 products at a time are exact, and each of them and the number that
 * they are added to is cut off, towards zero, one bit below the last one that f32 has at the
 * largest exponent among them, where a product's exponent is the sum of its factors'; so is their
 * sum, to f32. That is the model whose bits F. Khattak and M. Mikaitis found to be those of A100,
 * A2 and Ada (Accurate models of NVIDIA tensor cores, arXiv 2512.07004; for A100 first M. Fasi et
 * al., PeerJ CS 7:e330). In it H100 and Blackwell take 16 products and keep a bit more, so
 * they are no worse than what is emulated, whatever the capability. Not known from there: that the
 * first columns of A come first where k = 16, and what happens to sums beyond exponents of f32. */
enum { MOSAIC_EMULATED_AT_ONCE = 8, MOSAIC_EMULATED_BITS = 24 };

typedef struct {
    float d[4];
    unsigned a[4], b[2];
} mosaic_emulated_mma;

/* A number, and its exponent as hardware has it: that of subnormals is the least one. */
typedef struct {
    double value;
    int exponent;
} mosaic_emulated_factor;

enum { MOSAIC_EMULATED_NOTHING = -10000 }; /* the exponent of 0 */

static inline mosaic_emulated_factor mosaic_emulated_factor_of(double x, int least)
{
    return {x, x == 0 ? MOSAIC_EMULATED_NOTHING : std::min(std::max(std::ilogb(x), least), 128)};
}

struct mosaic_emulated_bf16 {
    static mosaic_emulated_factor of(unsigned word, int e)
    {
        return mosaic_emulated_factor_of(mosaic_bf16_to_f32((uint16_t)(word >> 16 * e)), -126);
    }
};
struct mosaic_emulated_f16 {
    static mosaic_emulated_factor of(unsigned word, int e)
    {
        return mosaic_emulated_factor_of(mosaic_f16_to_f32((uint16_t)(word >> 16 * e)), -14);
    }
};

static inline float mosaic_emulated_cut(double x)
{
    float y = (float)x;
    if (std::isinf(y)) return y;
    return fabs((double)y) > fabs(x) ? nextafterf(y, 0) : y;
}

/* d + a[0] b[0] + a[1] b[1] + .. */
static inline float mosaic_emulated_add(float d, const mosaic_emulated_factor *a,
                                        const mosaic_emulated_factor *b)
{
    int most = mosaic_emulated_factor_of(d, -126).exponent;
    double exact = d;
    for (int i = 0; i < MOSAIC_EMULATED_AT_ONCE; i++) {
        most = std::max(most, a[i].exponent + b[i].exponent);
        exact += a[i].value * b[i].value;
    }
    if (!std::isfinite(exact) || most < MOSAIC_EMULATED_NOTHING / 2)
        return mosaic_emulated_cut(exact);
    const double scale = ldexp(1, MOSAIC_EMULATED_BITS - most);
    double sum = trunc(d * scale);
    for (int i = 0; i < MOSAIC_EMULATED_AT_ONCE; i++) sum += trunc(a[i].value * b[i].value * scale);
    return mosaic_emulated_cut(sum / scale);
}

/* Words of A: of rows g and g + 8 in turn, then the next columns; of B: the next rows. */
template <class Element, int words>
static void mosaic_emulated_mma_of(unsigned char (*lanes)[256], void *)
{
    mosaic_emulated_factor a[16][8 * words], b[8][8 * words]; /* b: columns */
    for (int lane = 0; lane < 32; lane++) {
        const mosaic_emulated_mma *f = reinterpret_cast<mosaic_emulated_mma *>(lanes[lane]);
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < words * 2; i++) {
            int word = i / 2, e = i % 2, at = (word * 4 + t) * 2 + e;
            a[g][at] = Element::of(f->a[2 * word], e);
            a[g + 8][at] = Element::of(f->a[2 * word + 1], e);
            b[g][at] = Element::of(f->b[word], e);
        }
    }
    for (int lane = 0; lane < 32; lane++) {
        float *d = reinterpret_cast<mosaic_emulated_mma *>(lanes[lane])->d;
        for (int i = 0; i < 4; i++) {
            int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            for (int at = 0; at < 8 * words; at += MOSAIC_EMULATED_AT_ONCE)
                d[i] = mosaic_emulated_add(d[i], a[row] + at, b[column] + at);
        }
    }
}

template <class Element, int words>
static inline void mosaic_emulated_multiply(float (&d)[4], const unsigned *a, const unsigned *b)
{
    mosaic_emulated_mma f = {};
    memcpy(f.d, d, sizeof d);
    memcpy(f.a, a, words * 8);
    memcpy(f.b, b, words * 4);
    mosaic_emulated_collective(&f, sizeof f, mosaic_emulated_mma_of<Element, words>, nullptr);
    memcpy(d, f.d, sizeof d);
}

#define MOSAIC_MMA_TWO(name, element)                                                              \
    static inline void name(float(&d)[4], const unsigned(&a)[4], unsigned b0, unsigned b1)         \
    {                                                                                              \
        const unsigned b[] = {b0, b1};                                                             \
        mosaic_emulated_multiply<element, 2>(d, a, b);                                             \
    }
MOSAIC_MMA_TWO(mma_bf16, mosaic_emulated_bf16)
MOSAIC_MMA_TWO(mma_f16, mosaic_emulated_f16)

#define MOSAIC_MMA_ONE(name, element)                                                              \
    static inline void name(float(&d)[4], unsigned a0, unsigned a1, unsigned b0)                   \
    {                                                                                              \
        const unsigned a[] = {a0, a1};                                                             \
        mosaic_emulated_multiply<element, 1>(d, a, &b0);                                           \
    }
MOSAIC_MMA_ONE(mma_bf16_k8, mosaic_emulated_bf16)
MOSAIC_MMA_ONE(mma_f16_k8, mosaic_emulated_f16)

/* ---- fragments from shared memory ----------------------------------------------------------- */

typedef unsigned char *shared_at;

static inline shared_at shared_of(const void *p) { return (unsigned char *)p; }

typedef struct {
    shared_at row;
    unsigned word[4];
} mosaic_emulated_rows;

template <int matrices, bool transposed>
static void mosaic_emulated_ldmatrix(unsigned char (*lanes)[256], void *)
{
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < matrices; i++) {
            uint16_t half[2];
            for (int e = 0; e < 2; e++) {
                int row = transposed ? lane % 4 * 2 + e : lane / 4;
                int column = transposed ? lane / 4 : lane % 4 * 2 + e;
                auto *from = reinterpret_cast<mosaic_emulated_rows *>(lanes[8 * i + row]);
                memcpy(&half[e], from->row + 2 * column, 2);
            }
            reinterpret_cast<mosaic_emulated_rows *>(lanes[lane])->word[i] =
                half[0] | (unsigned)half[1] << 16;
        }
}

template <int matrices, bool transposed>
static inline void mosaic_emulated_load(unsigned (&r)[matrices], shared_at row)
{
    mosaic_emulated_rows own = {row, {}};
    if (mosaic_emulated_lane() < 8 * matrices) mosaic_emulated_aligned(row, 16);
    mosaic_emulated_collective(&own, sizeof own, mosaic_emulated_ldmatrix<matrices, transposed>,
                               nullptr);
    memcpy(r, own.word, sizeof r);
}

static inline void ldmatrix_x2(unsigned (&r)[2], shared_at row)
{
    mosaic_emulated_load<2, false>(r, row);
}
static inline void ldmatrix_x4(unsigned (&r)[4], shared_at row)
{
    mosaic_emulated_load<4, false>(r, row);
}
static inline void ldmatrix_x2_trans(unsigned (&r)[2], shared_at row)
{
    mosaic_emulated_load<2, true>(r, row);
}
static inline void ldmatrix_x4_trans(unsigned (&r)[4], shared_at row)
{
    mosaic_emulated_load<4, true>(r, row);
}

/* ---- asynchronous copies -------------------------------------------------------------------- */

static inline void cp_async_16(shared_at to, const void *from, int bytes)
{
    mosaic_emulated_copy(to, from, bytes, 16);
}
static inline void cp_async_8(shared_at to, const void *from, int bytes)
{
    mosaic_emulated_copy(to, from, bytes, 8);
}
static inline void cp_async_4(shared_at to, const void *from, int bytes)
{
    mosaic_emulated_copy(to, from, bytes, 4);
}
static inline void cp_async_16_if(shared_at to, const void *from, bool there)
{
    mosaic_emulated_copy(to, from, there ? 16 : 0, 16);
}
static inline void cp_async_8_if(shared_at to, const void *from, bool there)
{
    mosaic_emulated_copy(to, from, there ? 8 : 0, 8);
}
static inline void cp_async_4_if(shared_at to, const void *from, bool there)
{
    mosaic_emulated_copy(to, from, there ? 4 : 0, 4);
}
static inline void cp_async_commit(void) { mosaic_emulated_commit(); }
template <int groups> static inline void cp_async_wait(void) { mosaic_emulated_wait(groups); }

/* ---- numbers -------------------------------------------------------------------------------- */

static inline float ex2(float x)
{
    float y = exp2f(x);
    return y < 0x1p-126f ? 0 : y;
}

static inline int opaque(int x) { return x; }
static inline float max_nan(float x, float y) { return x >= y || x != x ? x : y; }
static inline float min_nan(float x, float y) { return x <= y || x != x ? x : y; }

static inline unsigned pack_bf16(float low, float high)
{
    return mosaic_f32_to_bf16(low) | (unsigned)mosaic_f32_to_bf16(high) << 16;
}
static inline unsigned pack_f16(float low, float high)
{
    return mosaic_f32_to_f16(low) | (unsigned)mosaic_f32_to_f16(high) << 16;
}
static inline float bf16_to_float(unsigned short x) { return mosaic_bf16_to_f32(x); }
static inline float f16_to_float(unsigned short x) { return mosaic_f16_to_f32(x); }

#endif
