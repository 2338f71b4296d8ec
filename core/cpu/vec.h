/* vec.h - the vector words that hand-shaped kernels are written in, for the ISA being compiled.
 *
 * A vec holds VEC_LANES floats; + - * / work on it as they are. Loads and stores are aligned; read
 * and write are not, and take the first `count` lanes (what is beyond them is 0); stream writes
 * past the caches, whole eights at 32-byte boundaries, which others see after streamed; join puts
 * VEC_LANES/4 times four floats side by side, and split takes them apart; set_pair repeats two
 * floats. Only what the compiler cannot find by itself has a body per ISA: these, fused
 * multiply-add, maximum, 2^x, and products of 32-bit words. */
#ifndef MOSAIC_CPU_VEC_H
#define MOSAIC_CPU_VEC_H
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define VEC_INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#include <immintrin.h>
enum { VEC_LANES = 16, VEC_REGISTERS = 32 };
typedef __m512 vec;

VEC_INLINE vec vec_set(float x) { return _mm512_set1_ps(x); }
VEC_INLINE vec vec_set_pair(const float *p)
{
    double pair;
    memcpy(&pair, p, sizeof pair);
    return _mm512_castpd_ps(_mm512_set1_pd(pair));
}
VEC_INLINE vec vec_load(const float *p) { return _mm512_load_ps(p); }
VEC_INLINE void vec_store(float *p, vec x) { _mm512_store_ps(p, x); }
VEC_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
VEC_INLINE vec vec_max(vec a, vec b) { return _mm512_max_ps(a, b); }
/* x - floor(x) */
VEC_INLINE vec vec_fraction(vec x) { return _mm512_reduce_ps(x, 9); }
/* From here to vec_unflush results that would be subnormal are 0. */
VEC_INLINE unsigned vec_flush(void)
{
    unsigned saved = _mm_getcsr();
    _mm_setcsr(saved | _MM_FLUSH_ZERO_ON);
    return saved;
}
VEC_INLINE void vec_unflush(unsigned saved) { _mm_setcsr(saved); }
VEC_INLINE vec vec_read(const float *p, int64_t count)
{
    if (count >= VEC_LANES) return _mm512_loadu_ps(p);
    return _mm512_maskz_loadu_ps((__mmask16)((1 << count) - 1), p);
}
VEC_INLINE void vec_write(float *p, vec x, int64_t count)
{
    if (count >= VEC_LANES)
        _mm512_storeu_ps(p, x);
    else
        _mm512_mask_storeu_ps(p, (__mmask16)((1 << count) - 1), x);
}
VEC_INLINE void vec_stream(float *p, vec x, int64_t count)
{
    _mm256_stream_ps(p, _mm512_castps512_ps256(x));
    if (count > 8) _mm256_stream_ps(p + 8, _mm512_extractf32x8_ps(x, 1));
}
VEC_INLINE void vec_streamed(void) { _mm_sfence(); }
VEC_INLINE vec vec_join(const float *const from[4])
{
    vec x = _mm512_castps128_ps512(_mm_loadu_ps(from[0]));
    x = _mm512_insertf32x4(x, _mm_loadu_ps(from[1]), 1);
    x = _mm512_insertf32x4(x, _mm_loadu_ps(from[2]), 2);
    return _mm512_insertf32x4(x, _mm_loadu_ps(from[3]), 3);
}
VEC_INLINE void vec_split(float *const to[4], vec x)
{
    _mm_storeu_ps(to[0], _mm512_castps512_ps128(x));
    _mm_storeu_ps(to[1], _mm512_extractf32x4_ps(x, 1));
    _mm_storeu_ps(to[2], _mm512_extractf32x4_ps(x, 2));
    _mm_storeu_ps(to[3], _mm512_extractf32x4_ps(x, 3));
}
#define VEC_QUARTERS(a, b, c, d)                                                                   \
    a, b, c, d, a + 4, b + 4, c + 4, d + 4, a + 8, b + 8, c + 8, d + 8, a + 12, b + 12, c + 12,    \
        d + 12
#define VEC_PAIRS(i)                                                                               \
    i, i + 16, i + 1, i + 17, i + 2, i + 18, i + 3, i + 19, i + 4, i + 20, i + 5, i + 21, i + 6,   \
        i + 22, i + 7, i + 23
#define VEC_SECONDS(i)                                                                             \
    i, i + 2, i + 4, i + 6, i + 8, i + 10, i + 12, i + 14, i + 16, i + 18, i + 20, i + 22, i + 24, \
        i + 26, i + 28, i + 30
/* The low halves of x factor, and the high ones. */
typedef uint32_t vec_words __attribute__((vector_size(64)));
VEC_INLINE vec_words vec_product(vec_words x, uint32_t factor, vec_words *high)
{
    __m512i by = _mm512_set1_epi32((int)factor), even = _mm512_mul_epu32((__m512i)x, by);
    __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64((__m512i)x, 32), by);
    *high = (vec_words)_mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
    return (vec_words)_mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
}
/* p 2^floor(x); below -126 subnormal or, where those are flushed, 0 */
VEC_INLINE vec vec_scale(vec p, vec x) { return _mm512_scalef_ps(p, x); }

#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
enum { VEC_LANES = 8, VEC_REGISTERS = 16 };
typedef __m256 vec;

VEC_INLINE vec vec_set(float x) { return _mm256_set1_ps(x); }
VEC_INLINE vec vec_set_pair(const float *p)
{
    double pair;
    memcpy(&pair, p, sizeof pair);
    return _mm256_castpd_ps(_mm256_set1_pd(pair));
}
VEC_INLINE vec vec_load(const float *p) { return _mm256_load_ps(p); }
VEC_INLINE void vec_store(float *p, vec x) { _mm256_store_ps(p, x); }
VEC_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }
VEC_INLINE vec vec_max(vec a, vec b) { return _mm256_max_ps(a, b); }
VEC_INLINE vec vec_fraction(vec x) { return x - _mm256_floor_ps(x); }
VEC_INLINE __m256i vec_first(int64_t count)
{
    static const int32_t ones[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(const void *)(ones + 8 - count));
}
VEC_INLINE vec vec_read(const float *p, int64_t count)
{
    return count >= VEC_LANES ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, vec_first(count));
}
VEC_INLINE void vec_write(float *p, vec x, int64_t count)
{
    if (count >= VEC_LANES)
        _mm256_storeu_ps(p, x);
    else
        _mm256_maskstore_ps(p, vec_first(count), x);
}
VEC_INLINE void vec_stream(float *p, vec x, int64_t count)
{
    (void)count;
    _mm256_stream_ps(p, x);
}
VEC_INLINE void vec_streamed(void) { _mm_sfence(); }
VEC_INLINE vec vec_join(const float *const from[2])
{
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(from[0])),
                                _mm_loadu_ps(from[1]), 1);
}
VEC_INLINE void vec_split(float *const to[2], vec x)
{
    _mm_storeu_ps(to[0], _mm256_castps256_ps128(x));
    _mm_storeu_ps(to[1], _mm256_extractf128_ps(x, 1));
}
#define VEC_QUARTERS(a, b, c, d) a, b, c, d, a + 4, b + 4, c + 4, d + 4
#define VEC_PAIRS(i) i, i + 8, i + 1, i + 9, i + 2, i + 10, i + 3, i + 11
#define VEC_SECONDS(i) i, i + 2, i + 4, i + 6, i + 8, i + 10, i + 12, i + 14
typedef uint32_t vec_words __attribute__((vector_size(32)));
VEC_INLINE vec_words vec_product(vec_words x, uint32_t factor, vec_words *high)
{
    __m256i by = _mm256_set1_epi32((int)factor), even = _mm256_mul_epu32((__m256i)x, by);
    __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64((__m256i)x, 32), by);
    *high = (vec_words)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
    return (vec_words)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
}
VEC_INLINE vec vec_scale(vec p, vec x)
{
    __m256i exponent = _mm256_cvtps_epi32(_mm256_min_ps(vec_set(128), _mm256_floor_ps(x)));
    exponent = _mm256_slli_epi32(_mm256_add_epi32(exponent, _mm256_set1_epi32(127)), 23);
    vec scaled = p * _mm256_castsi256_ps(exponent);
    return _mm256_and_ps(scaled, _mm256_cmp_ps(x, vec_set(-126), _CMP_NLT_UQ));
}

#else /* four lanes in the compiler's own vectors: SSE2 on x86-64, NEON on arm64 */
#if defined(__aarch64__)
enum { VEC_LANES = 4, VEC_REGISTERS = 32 };
#else
enum { VEC_LANES = 4, VEC_REGISTERS = 16 };
#endif
typedef float vec __attribute__((vector_size(16)));
typedef int32_t vec_bits __attribute__((vector_size(16)));

VEC_INLINE vec vec_set(float x) { return (vec){x, x, x, x}; }
VEC_INLINE vec vec_set_pair(const float *p) { return (vec){p[0], p[1], p[0], p[1]}; }
VEC_INLINE vec vec_load(const float *p) { return *(const vec *)(const void *)p; }
VEC_INLINE void vec_store(float *p, vec x) { *(vec *)(void *)p = x; }
VEC_INLINE vec vec_fma(vec a, vec b, vec c) { return a * b + c; }
VEC_INLINE vec vec_pick(vec_bits mask, vec a, vec b)
{
    return (vec)((mask & (vec_bits)a) | (~mask & (vec_bits)b));
}
VEC_INLINE vec vec_max(vec a, vec b) { return vec_pick(a > b, a, b); }
VEC_INLINE vec vec_floor(vec x) /* |x| < 2^22 */
{
    vec magic = vec_set(0x1.8p23f), near = x + magic - magic;
    return near - vec_pick(near > x, vec_set(1), vec_set(0));
}
VEC_INLINE vec vec_fraction(vec x) { return x - vec_floor(x); }
VEC_INLINE vec vec_read(const float *p, int64_t count)
{
    vec x = {0};
    if (count >= VEC_LANES)
        memcpy(&x, p, sizeof x);
    else
        for (int64_t i = 0; i < count; i++) x[i] = p[i];
    return x;
}
VEC_INLINE void vec_write(float *p, vec x, int64_t count)
{
    if (count >= VEC_LANES)
        memcpy(p, &x, sizeof x);
    else
        for (int64_t i = 0; i < count; i++) p[i] = x[i];
}
VEC_INLINE void vec_stream(float *p, vec x, int64_t count) { vec_write(p, x, count); }
VEC_INLINE void vec_streamed(void) {}
VEC_INLINE vec vec_join(const float *const from[1]) { return vec_read(from[0], VEC_LANES); }
VEC_INLINE void vec_split(float *const to[1], vec x) { vec_write(to[0], x, VEC_LANES); }
#define VEC_QUARTERS(a, b, c, d) a, b, c, d
#define VEC_PAIRS(i) i, i + 4, i + 1, i + 5
#define VEC_SECONDS(i) i, i + 2, i + 4, i + 6
typedef uint32_t vec_words __attribute__((vector_size(16)));
VEC_INLINE vec_words vec_product(vec_words x, uint32_t factor, vec_words *high)
{
    typedef uint64_t wide __attribute__((vector_size(32)));
    wide product = __builtin_convertvector(x, wide) * factor;
    *high = __builtin_convertvector(product >> 32, vec_words);
    return x * factor;
}
VEC_INLINE vec vec_scale(vec p, vec x)
{
    vec n = vec_floor(x);
    vec clamped = vec_pick(n > -127, vec_pick(n < 128, n, vec_set(128)), vec_set(-127));
    vec_bits exponent = (__builtin_convertvector(clamped, vec_bits) + 127) << 23;
    return (vec)((vec_bits)(p * (vec)exponent) & ~(x < -126));
}
#endif

#if !defined(__AVX512F__) /* vec_scale flushes by itself */
VEC_INLINE unsigned vec_flush(void) { return 0; }
VEC_INLINE void vec_unflush(unsigned saved) { (void)saved; }
#endif

/* factor 2^x, for a constant power of two, to 1.4e-7 of its value; 2^0 is 1, a NaN stays one; below
 * 2^-126 as vec_scale has it. By the fraction above the floor, since that is what scaling takes
 * from x itself. */
VEC_INLINE vec vec_times_exp2(float factor, vec x)
{
    vec f = vec_fraction(x);
    vec p = vec_fma(vec_set(factor * 1.8669525e-3f), f, vec_set(factor * 9.017481e-3f));
    p = vec_fma(p, f, vec_set(factor * 5.5799514e-2f));
    p = vec_fma(p, f, vec_set(factor * 2.401646e-1f));
    p = vec_fma(p, f, vec_set(factor * 6.931513e-1f));
    p = vec_fma(p, f, vec_set(factor));
    return vec_scale(p, x);
}

VEC_INLINE vec vec_exp2(vec x) { return vec_times_exp2(1, x); }

/* log2 x as a whole number *n and a rest in [-1/2, 1/2], for x in [2^-126, 2^128) and NaN. With
 * x = 2^n m and s = (m - 1)/(m + 1) the rest is 2/ln 2 (s + s^3/3 + s^5/5 + ...). */
VEC_INLINE vec vec_log2(vec x, vec *n)
{
    typedef int32_t bits __attribute__((vector_size(sizeof(vec))));
    bits from_root_half = (bits)x - 0x3f3504f3;
    *n = __builtin_convertvector(from_root_half >> 23, vec);
    vec m = (vec)((from_root_half & 0x7fffff) + 0x3f3504f3);
    vec s = (m - 1) / (m + 1), s2 = s * s;
    vec p = vec_fma(s2, vec_set(2.885390082f / 9), vec_set(2.885390082f / 7));
    p = vec_fma(p, s2, vec_set(2.885390082f / 5));
    p = vec_fma(p, s2, vec_set(2.885390082f / 3));
    p = vec_fma(p, s2, vec_set(2.885390082f));
    return s * p + (x - x);
}

/* Of VEC_LANES bf16 or else f16, as in half.h. */
VEC_INLINE vec vec_widen(const uint16_t *p, bool bf16)
{
    typedef uint16_t halves __attribute__((vector_size(VEC_LANES * 2)));
    halves h;
    memcpy(&h, p, sizeof h);
    vec_words bits = __builtin_convertvector(h, vec_words), magnitude = (bits & 0x7fff) << 13;
    if (bf16) return (vec)(bits << 16);
    vec_words finite = (vec_words)((vec)magnitude * 0x1p112f);
    vec_words special = (vec_words)(magnitude >= 0x7c00u << 13) & (magnitude | 0x7f800000);
    return (vec)(finite | special | (bits & 0x8000) << 16);
}

/* Of every four lanes the sums: those of a, of b, of c, of d. */
VEC_INLINE vec vec_fold(vec a, vec b, vec c, vec d)
{
    enum { L = VEC_LANES };
    vec ab = __builtin_shufflevector(a, b, VEC_QUARTERS(0, 1, L, L + 1)) +
             __builtin_shufflevector(a, b, VEC_QUARTERS(2, 3, L + 2, L + 3));
    vec cd = __builtin_shufflevector(c, d, VEC_QUARTERS(0, 1, L, L + 1)) +
             __builtin_shufflevector(c, d, VEC_QUARTERS(2, 3, L + 2, L + 3));
    return __builtin_shufflevector(ab, cd, VEC_QUARTERS(0, 2, L, L + 2)) +
           __builtin_shufflevector(ab, cd, VEC_QUARTERS(1, 3, L + 1, L + 3));
}

/* a0, b0, a1, b1, ... of the low halves of a and b, and of the high halves. */
VEC_INLINE void vec_interleave(vec a, vec b, vec *low, vec *high)
{
    *low = __builtin_shufflevector(a, b, VEC_PAIRS(0));
    *high = __builtin_shufflevector(a, b, VEC_PAIRS(VEC_LANES / 2));
}

/* a0 + a1, a2 + a3, ..., b0 + b1, ... */
VEC_INLINE vec vec_pair_sums(vec a, vec b)
{
    return __builtin_shufflevector(a, b, VEC_SECONDS(0)) +
           __builtin_shufflevector(a, b, VEC_SECONDS(1));
}

/* Every four lanes of the four vectors, a 4 x 4 matrix, become its transpose. */
VEC_INLINE void vec_transpose(vec x[4])
{
    enum { L = VEC_LANES };
    vec ac_low = __builtin_shufflevector(x[0], x[2], VEC_QUARTERS(0, L, 1, L + 1));
    vec ac_high = __builtin_shufflevector(x[0], x[2], VEC_QUARTERS(2, L + 2, 3, L + 3));
    vec bd_low = __builtin_shufflevector(x[1], x[3], VEC_QUARTERS(0, L, 1, L + 1));
    vec bd_high = __builtin_shufflevector(x[1], x[3], VEC_QUARTERS(2, L + 2, 3, L + 3));
    x[0] = __builtin_shufflevector(ac_low, bd_low, VEC_QUARTERS(0, L, 1, L + 1));
    x[1] = __builtin_shufflevector(ac_low, bd_low, VEC_QUARTERS(2, L + 2, 3, L + 3));
    x[2] = __builtin_shufflevector(ac_high, bd_high, VEC_QUARTERS(0, L, 1, L + 1));
    x[3] = __builtin_shufflevector(ac_high, bd_high, VEC_QUARTERS(2, L + 2, 3, L + 3));
}

/* to[r][c] = from[c][r] for r, c < 4, any alignment: the piece that larger transpositions are cut
 * into, half a cycle per element on every ISA. */
VEC_INLINE void vec_transpose4(float *const to[4], const float *const from[4])
{
    typedef float four __attribute__((vector_size(16), aligned(4), may_alias));
    four a = *(const four *)(const void *)from[0], b = *(const four *)(const void *)from[1];
    four c = *(const four *)(const void *)from[2], d = *(const four *)(const void *)from[3];
    four ac_low = __builtin_shufflevector(a, c, 0, 4, 1, 5);
    four ac_high = __builtin_shufflevector(a, c, 2, 6, 3, 7);
    four bd_low = __builtin_shufflevector(b, d, 0, 4, 1, 5);
    four bd_high = __builtin_shufflevector(b, d, 2, 6, 3, 7);
    *(four *)(void *)to[0] = __builtin_shufflevector(ac_low, bd_low, 0, 4, 1, 5);
    *(four *)(void *)to[1] = __builtin_shufflevector(ac_low, bd_low, 2, 6, 3, 7);
    *(four *)(void *)to[2] = __builtin_shufflevector(ac_high, bd_high, 0, 4, 1, 5);
    *(four *)(void *)to[3] = __builtin_shufflevector(ac_high, bd_high, 2, 6, 3, 7);
}

#endif
