/* philox_words.h - Philox4x32-10 (core/philox.h), a vector of counters at a time. */
#ifndef MOSAIC_CPU_PHILOX_WORDS_H
#define MOSAIC_CPU_PHILOX_WORDS_H
#include "../vec.h"

/* A lane's counter, of four words, becomes its four random words. */
VEC_INLINE void philox_words(vec_words word[4], uint64_t seed)
{
    vec_words c0 = word[0], c1 = word[1], c2 = word[2], c3 = word[3];
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++, k0 += 0x9e3779b9u, k1 += 0xbb67ae85u) {
        vec_words high0, high2, low0 = vec_product(c0, 0xd2511f53u, &high0);
        vec_words low2 = vec_product(c2, 0xcd9e8d57u, &high2);
        c0 = high2 ^ c1 ^ k0;
        c1 = low2;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
    }
    word[0] = c0, word[1] = c1, word[2] = c2, word[3] = c3;
}

#endif
