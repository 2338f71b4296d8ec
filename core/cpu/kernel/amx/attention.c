/* attention.c - attention forward between bf16 operands by AMX tiles: 16 x 16 sums of products of
 * bf16 pairs, at 15 times the rate of f32 multiply-adds.
 *
 * Weights are f32: the exact sum of three bf16 parts, each of which is multiplied by the values,
 * small ones first, so that only the last are rounded at the sum's full size.
 *
 * Packed: queries (channels/2, width) in pairs of channels, keys (ROW, channels), values (channels,
 * ROW), weights (keys/2, width) in pairs of keys; channels are a multiple of 32, the rest is 0.
 * Tiles take what is subnormal as 0: a call with numbers so small, or too large, is left to
 * multiply-adds.
 *
 * Tried: vdpbf16ps (half as fast as f32 multiply-adds where there is AMX); f32 operands as three
 * parts each, six products (1.2 times as fast as multiply-adds at d = 64, slower at 24 and 128:
 * parts come from the second-level cache); two parts of weights (10 times the error of f32). */
#include "../attention_dropout.h"
#include "../attention_fetch.h"
#include "../attention_mask.h"

enum {
    BLOCK = 64,
    SIDE = 16,          /* rows of a tile; its columns in words */
    DEPTH = 2 * SIDE,   /* products that one instruction adds up */
    ROW = BLOCK + DEPTH /* keys of a block and what tiles read beyond them */
};

enum { PARTS = 3 /* of a weight */ };

static int64_t channels_of(const mosaic_attention_unit *u) { return round_up(u->d, DEPTH); }

/* ---- packing -------------------------------------------------------------------------------- */

/* Where tiles agree with multiply-adds: 0, and 2^-100 <= |x| < 2^60. */
VEC_INLINE __mmask16 unsound(vec x)
{
    const __m512i low = _mm512_set1_epi32(0x0d800000), reach = _mm512_set1_epi32(0x50000000);
    __m512i size = _mm512_and_si512((__m512i)x, _mm512_set1_epi32(0x7fffffff));
    return _mm512_mask_cmp_epu32_mask(_mm512_test_epi32_mask(size, size),
                                      _mm512_sub_epi32(size, low), reach, _MM_CMPINT_NLT);
}

/* The pair (a, b) of bf16 numbers, a in the low halves. */
VEC_INLINE __m512i pair_of(vec a, vec b)
{
    return _mm512_or_si512(_mm512_srli_epi32((__m512i)a, 16), (__m512i)b);
}

static int64_t queries_bytes(const mosaic_attention_unit *u) { return channels_of(u) * TILE * 2; }
static int64_t keys_bytes(const mosaic_attention_unit *u) { return channels_of(u) * ROW * 2; }
static int64_t values_bytes(const mosaic_attention_unit *u) { return keys_bytes(u); }

/* Floats (channels, TILE or ROW) before they are packed; weights in parts and sums of products. */
static int64_t products_bytes(const mosaic_attention_unit *u)
{
    return max_i64(channels_of(u) * ROW * 4, (PARTS * BLOCK + 2 * DEPTH) * TILE * 2);
}

static bool pack_queries(char *to, int64_t width, const mosaic_attention_unit *u, int64_t first,
                         int64_t rows, float *room)
{
    const int64_t channels = channels_of(u);
    __mmask16 bad = 0;
    pack_lanes(room, width, u, &u->q, first, rows, scaling_of(u->scale).power);
    for (int64_t i = u->d * width; i < channels * width; i++) room[i] = 0;
    for (int64_t c = 0; c < channels; c += 2, room += 2 * width)
        for (int64_t i = 0; i < width; i += VEC_LANES, to += 64) {
            vec a = vec_load(room + i), b = vec_load(room + width + i);
            bad |= unsound(a) | unsound(b);
            _mm512_store_si512((void *)to, pair_of(a, b));
        }
    return !bad;
}

/* to <- so many floats that are bf16 numbers */
static bool pack_halves(char *to, const float *from, int64_t count)
{
    __mmask16 bad = 0;
    for (int64_t i = 0; i < count; i += VEC_LANES, to += 32) {
        vec x = vec_load(from + i);
        bad |= unsound(x);
        __m256i halves = _mm512_cvtepi32_epi16(_mm512_srli_epi32((__m512i)x, 16));
        _mm256_store_si256((__m256i *)(void *)to, halves);
    }
    return !bad;
}

static bool pack_block(char *k, char *v, const mosaic_attention_unit *u, int64_t from, int64_t keys,
                       float *room)
{
    const int64_t channels = channels_of(u);
    float buffer[4][BUFFER];
    for (int64_t i = 0; i < channels * ROW; i++) room[i] = 0;
    for (int64_t j = 0; j < keys; j++) {
        const float *x = floats_at(&u->k, 0, from + j, 0, u->d, buffer[0]);
        for (int64_t c = 0; c < u->d; c++) room[j * channels + c] = x[c];
    }
    if (!pack_halves(k, room, channels * ROW)) return false;
    for (int64_t i = 0; i < channels * ROW; i++) room[i] = 0;
    for (int64_t j = 0; j < keys; j += 4) {
        const float *x[4] = {nothing, nothing, nothing, nothing};
        for (int r = 0; r < 4 && j + r < keys; r++)
            x[r] = floats_at(&u->v, 0, from + j + r, 0, u->d, buffer[r]);
        columns_from_rows(room + j, ROW, x, u->d);
    }
    return pack_halves(v, room, channels * ROW);
}

/* ---- products ------------------------------------------------------------------------------- */

/* Operands as tiles see them: bytes from one row, tile of rows, step of depth to the next. */
typedef struct {
    const char *at;
    int64_t row, down, step;
} operand;

/* Compilers do not know what tile loads and stores touch. */
#define SEE_MEMORY __asm__ volatile("" ::: "memory")

static inline void clear_tiles(void)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
}

/* Tiles 0..5 (2 SIDE, vectors SIDE) += a (rows, depth) b (depth, columns) */
VEC_INLINE void multiply_tiles(int vectors, operand a, operand b, int64_t depth)
{
    const char *x = a.at, *y = b.at;
    SEE_MEMORY;
    for (int64_t t = 0; t < depth; t += DEPTH, x += a.step, y += b.step) {
        _tile_loadd(6, x, a.row);
        _tile_loadd(7, y, b.row);
        _tile_dpbf16ps(0, 6, 7);
        if (vectors > 1) {
            _tile_loadd(7, y + 64, b.row);
            _tile_dpbf16ps(1, 6, 7);
        }
        if (vectors > 2) {
            _tile_loadd(7, y + 128, b.row);
            _tile_dpbf16ps(2, 6, 7);
        }
        _tile_loadd(6, x + a.down, a.row);
        if (vectors > 2) _tile_dpbf16ps(5, 6, 7);
        if (vectors > 1) {
            _tile_loadd(7, y + 64, b.row);
            _tile_dpbf16ps(4, 6, 7);
        }
        _tile_loadd(7, y, b.row);
        _tile_dpbf16ps(3, 6, 7);
    }
}

/* to (2 SIDE, vectors SIDE) <- tiles 0..5 */
VEC_INLINE void store_tiles(int vectors, float *to)
{
    const int64_t row = vectors * SIDE * 4;
    float *down = to + SIDE * SIDE * vectors;
    _tile_stored(0, to, row);
    if (vectors > 1) _tile_stored(1, to + SIDE, row);
    if (vectors > 2) _tile_stored(2, to + 2 * SIDE, row);
    _tile_stored(3, down, row);
    if (vectors > 1) _tile_stored(4, down + SIDE, row);
    if (vectors > 2) _tile_stored(5, down + 2 * SIDE, row);
    SEE_MEMORY;
}

/* scores (keys, width) = K q + mask for keys from number `key` of the block on; raises top to the
 * largest. There is room for whole steps of DEPTH keys. */
VEC_INLINE void make_scores(int vectors, const mosaic_attention_unit *u, float *scores, vec *top,
                            const char *k, int64_t key, const char *q, const float *mask,
                            int64_t keys, fetcher *fetch)
{
    const int64_t width = vectors * SIDE, channels = channels_of(u);
    operand a = {k + key * channels * 2, channels * 2, SIDE * channels * 2, DEPTH * 2};
    operand b = {q, width * 4, 0, SIDE * width * 4};
    for (int64_t j = 0; j < keys; j += DEPTH, a.at += 2 * a.down) {
        clear_tiles();
        multiply_tiles(vectors, a, b, channels);
        store_tiles(vectors, scores + j * width);
    }
    for (int64_t j = 0; j < keys; j++) {
        if (j % FETCH_KEYS == 0) fetch_some(fetch);
        for (int w = 0; w < vectors; w++, scores += VEC_LANES) {
            vec score = vec_load(scores);
            if (mask) vec_store(scores, score += vec_load(mask + (j * vectors + w) * VEC_LANES));
            top[w] = vec_max(score, top[w]);
        }
    }
}

/* x <- what remains of it without the nearest bf16 number, which is returned. */
VEC_INLINE vec take_part(vec *x)
{
    __m512i part = _mm512_add_epi32((__m512i)*x, _mm512_set1_epi32(0x8000));
    part = _mm512_and_si512(part, _mm512_set1_epi32((int)0xffff0000));
    *x -= (vec)part;
    return (vec)part;
}

/* to: parts of weights (keys, width), in pairs of keys; 0 beyond them, up to whole steps. */
VEC_INLINE void pack_weights(int vectors, char *to, float *weights, int64_t keys)
{
    const int64_t width = vectors * SIDE, rows = round_up(keys, DEPTH);
    for (int64_t i = keys * width; i < rows * width; i += VEC_LANES)
        vec_store(weights + i, vec_set(0));
    for (int64_t j = 0; j < rows; j += 2, weights += 2 * width)
        for (int64_t i = 0; i < width; i += VEC_LANES, to += 64) {
            vec a = vec_load(weights + i), b = vec_load(weights + width + i);
            for (int part = 0; part < PARTS; part++) {
                char *at = to + part * BLOCK * width * 2;
                vec a_part = take_part(&a), b_part = take_part(&b);
                _mm512_store_si512((void *)at, pair_of(a_part, b_part));
            }
        }
}

/* out (d, width) <- factor out + V^T weights */
VEC_INLINE void add_values(int vectors, const mosaic_attention_unit *u, float *out,
                           const vec *factor, const char *v, int64_t key, float *weights,
                           int64_t keys, char *room)
{
    const int64_t width = vectors * SIDE;
    float *total = (float *)(void *)(room + PARTS * BLOCK * width * 2);
    operand a = {v + key * 2, ROW * 2, SIDE * ROW * 2, DEPTH * 2};
    operand b = {room, width * 4, 0, SIDE * width * 4};
    pack_weights(vectors, room, weights, keys);
    for (int64_t c = 0; c < u->d; c += DEPTH, a.at += 2 * a.down) {
        clear_tiles();
        for (int part = PARTS - 1; part >= 0; part--) {
            b.at = room + part * BLOCK * width * 2;
            multiply_tiles(vectors, a, b, keys);
        }
        store_tiles(vectors, total);
        const float *sum = total;
        for (int64_t r = 0; r < min_i64(DEPTH, u->d - c); r++)
            for (int w = 0; w < vectors; w++, out += VEC_LANES, sum += VEC_LANES)
                vec_store(out, vec_fma(vec_load(out), factor[w], vec_load(sum)));
    }
}

#include "../attention_forward.h"

/* ---- the kernel ----------------------------------------------------------------------------- */

static bool takes(const mosaic_attention_unit *u)
{
    return u->q.dtype == MOSAIC_DTYPE_BF16 && u->k.dtype == MOSAIC_DTYPE_BF16 &&
           u->v.dtype == MOSAIC_DTYPE_BF16;
}

static int64_t most_scratch_bytes(const mosaic_attention_unit *u, int64_t rows)
{
    return max_i64(scratch_bytes(u, rows), mosaic_cpu_attention_avx512.scratch(u, rows));
}

static void forward(const mosaic_attention_unit *u, int64_t from, int64_t to, void *scratch,
                    mosaic_attention_work *work)
{
    const struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } tiles = {.palette = 1,
               .bytes = {64, 64, 64, 64, 64, 64, 64, 64},
               .rows = {SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE}};
    const mosaic_attention_work before = *work;
    if (takes(u)) {
        _tile_loadconfig(&tiles);
        bool done = attend_rows(u, from, to, scratch, work);
        _tile_release();
        if (done) return;
        *work = before;
    }
    mosaic_cpu_attention_avx512.run(u, from, to, scratch, work);
}

const mosaic_attention_kernels mosaic_cpu_attention_amx = {most_scratch_bytes, forward};
