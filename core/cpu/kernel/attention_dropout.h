/* attention_dropout.h - which probabilities dropout keeps, for a vector of queries or of problems
 * at a time.
 *
 * The words are those of mosaic_attention_kept (attention.h), whatever the lanes are: a counter is
 * (query position, key position / 4, batch entry, head), and its four words belong to four keys.
 * Keys with consecutive positions share a draw, others need one each. */
#ifndef MOSAIC_CPU_ATTENTION_DROPOUT_H
#define MOSAIC_CPU_ATTENTION_DROPOUT_H
#include "attention_tile.h"
#include "philox_words.h"

/* What a lane is: the low words of the query's position, the batch entry, the head. */
typedef struct {
    vec_words query, batch, head;
} drawer;

VEC_INLINE void draw(vec_words word[4], const drawer *d, uint32_t group, uint64_t seed)
{
    word[0] = d->query, word[1] = (vec_words){0} + group, word[2] = d->batch, word[3] = d->head;
    philox_words(word, seed);
}

/* to[j step] <- 0 or scale for keys j < keys at these positions. */
VEC_INLINE void draw_factors(float *to, int64_t step, const drawer *lanes,
                             const mosaic_attention_dropout *dropout, const int64_t *positions,
                             int64_t keys)
{
    const vec_words scale = (vec_words)vec_set((float)dropout->scale);
    vec_words word[4];
    for (int64_t j = 0; j < keys; j++, to += step) {
        uint64_t key = (uint64_t)positions[j] - 1, last = j ? (uint64_t)positions[j - 1] - 1 : ~key;
        if (key / 4 != last / 4) draw(word, lanes, (uint32_t)(key / 4), dropout->seed);
        vec_store(to, (vec)((vec_words)(word[key % 4] >= dropout->below) & scale));
    }
}

/* factors (keys, step) of rows first.. of the group and keys from.. */
static inline void make_factors(const mosaic_attention_unit *u, int64_t first, int64_t rows,
                                int64_t from, int64_t keys, float *factors, int64_t step)
{
    union {
        uint32_t of[TILE];
        vec_words in[VECTORS];
    } query = {{0}}, head = {{0}};
    place p = place_of(u, first);
    for (int64_t lane = 0; lane < rows; lane++, p = next_place(u, p)) {
        query.of[lane] = (uint32_t)((uint64_t)u->q_position[p.query] - 1);
        head.of[lane] = (uint32_t)(u->first_head + p.head);
    }
    for (int64_t i = 0; i * VEC_LANES < rows; i++) {
        drawer d = {query.in[i], (vec_words){0} + (uint32_t)u->batch, head.in[i]};
        draw_factors(factors + i * VEC_LANES, step, &d, &u->dropout, u->k_position + from, keys);
    }
}

/* x <- x factors: so many keys of `vectors` vectors, rows `step` floats apart. */
VEC_INLINE void apply_factors(int vectors, float *x, const float *factors, int64_t step,
                              int64_t keys)
{
    for (int64_t j = 0; j < keys; j++, x += step, factors += step)
        for (int i = 0; i < vectors * VEC_LANES; i += VEC_LANES)
            vec_store(x + i, vec_load(x + i) * vec_load(factors + i));
}

#endif
