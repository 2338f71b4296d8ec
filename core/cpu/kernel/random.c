/* random.c - numbers of a random stream, up to MOSAIC_RANDOM_BLOCK at a time.
 *
 * Compiled without fused multiply-adds (see the Makefile): the numbers are the same bits on every
 * ISA and every device. The bits of all first, then what is made of them: loops without a branch or
 * a call, which the compiler turns into vectors. */
#include "../../draw.h"
#include "../kernels.h"
#include "philox_words.h"

enum { BLOCK = MOSAIC_RANDOM_BLOCK };

typedef union {
    uint32_t of[BLOCK];
    vec_words in[BLOCK / VEC_LANES];
} words;

/* The four words of numbers at, at + step, ...: a vector of them at a time. */
static void draw_vectors(words word[4], const mosaic_random_call *c, int64_t count, uint64_t at,
                         uint64_t step)
{
    int64_t vectors = (count + VEC_LANES - 1) / VEC_LANES;
    const vec_words low = (vec_words){0} + (uint32_t)c->stream;
    const vec_words high = (vec_words){0} + (uint32_t)(c->stream >> 32);
    for (int64_t i = 0; i < vectors * VEC_LANES; i++, at += step) {
        word[0].of[i] = (uint32_t)at;
        word[1].of[i] = (uint32_t)(at >> 32);
    }
    for (int64_t i = 0; i < vectors; i++) {
        vec_words x[4] = {word[0].in[i], word[1].in[i], low, high};
        philox_words(x, c->seed);
        for (int j = 0; j < 4; j++) word[j].in[i] = x[j];
    }
}

/* ... or one at a time, twice as fast where no instruction multiplies a vector of words. */
static void draw_singly(words word[4], const mosaic_random_call *c, int64_t count, uint64_t at,
                        uint64_t step)
{
    for (int64_t i = 0; i < count; i++, at += step) {
        mosaic_philox bits = mosaic_philox_at(c->seed, c->stream, at);
        for (int j = 0; j < 4; j++) word[j].of[i] = bits.word[j];
    }
}

static void draw(words word[4], const mosaic_random_call *c, int64_t count, uint64_t at,
                 uint64_t step)
{
    (VEC_LANES > 4 ? draw_vectors : draw_singly)(word, c, count, at, step);
}

/* mosaic_philox_unit of a pair of words, from halves that every ISA turns into doubles: 53 bits,
 * all exact. */
static inline double unit(uint32_t first, uint32_t second)
{
    uint32_t low = first >> 11 | second << 21;
    double high = (double)(int32_t)(second >> 11);
    return (high * 0x1p32 + ((double)(int32_t)(low ^ 0x80000000u) + 0x1p31)) * 0x1p-53;
}

static void uniforms(const mosaic_random_call *c, int64_t count, double *x, uint64_t at,
                     uint64_t step)
{
    words word[4];
    draw(word, c, count, at, step);
    for (int64_t i = 0; i < count; i++) {
        double y = c->low + (c->high - c->low) * unit(word[0].of[i], word[1].of[i]);
        x[i] = y < c->most ? y : c->most;
    }
}

static void normals(const mosaic_random_call *c, int64_t count, double *x, uint64_t at,
                    uint64_t step)
{
    words word[4];
    draw(word, c, count, at, step);
    for (int64_t i = 0; i < count; i++)
        x[i] = mosaic_draw_normal(c, unit(word[0].of[i], word[1].of[i]),
                                  unit(word[2].of[i], word[3].of[i]));
}

static void integers(const mosaic_random_call *c, int64_t count, int64_t *x, uint64_t at,
                     uint64_t step)
{
    words word[4];
    draw(word, c, count, at, step);
    for (int64_t i = 0; i < count; i++) {
        mosaic_philox bits = {{word[0].of[i], word[1].of[i], word[2].of[i], word[3].of[i]}};
        x[i] = mosaic_draw_integer(c, bits);
    }
}

const mosaic_random_kernels MOSAIC_KERNELS(random) = {
    .uniforms = uniforms, .normals = normals, .integers = integers};
