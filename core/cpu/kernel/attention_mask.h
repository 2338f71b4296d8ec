/* attention_mask.h - which keys a tile of queries has to work on, and what is added to their
 * scores.
 *
 * Masks compare positions and document ids, so blocks of keys are told apart by the extents of
 * both: what no query of the tile sees is skipped, what all of them see needs no mask, and only the
 * rest gets one, added to the scores. Keys in any order are right; in order they are fast. */
#ifndef MOSAIC_CPU_ATTENTION_MASK_H
#define MOSAIC_CPU_ATTENTION_MASK_H
#include "attention_tile.h"

/* ---- who sees what -------------------------------------------------------------------------- */

/* What the queries of a tile may see: each from low to high, and its own document. Of several
 * queries: the narrowest and the widest. Unused where the unit has no such mask. */
typedef struct {
    int64_t low_min, low_max, high_min, high_max, document_min, document_max;
} limits;

/* Positions and documents of some keys. */
typedef struct {
    int64_t position_min, position_max, document_min, document_max;
} extent;

/* Keys from..to - 1, all of them that the tile can see and few others. */
typedef struct {
    int64_t from, to;
    bool masked; /* not every query sees every key, or something is added to scores */
} span;

static inline limits limits_of(const mosaic_attention_unit *u, int64_t first, int64_t rows)
{
    limits l = {INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN};
    place p = place_of(u, first);
    for (int64_t r = 0; r < rows; r++, p = next_place(u, p)) {
        if (u->low) {
            l.low_min = min_i64(l.low_min, u->low[p.query]);
            l.low_max = max_i64(l.low_max, u->low[p.query]);
            l.high_min = min_i64(l.high_min, u->high[p.query]);
            l.high_max = max_i64(l.high_max, u->high[p.query]);
        }
        if (u->q_document) {
            int64_t id = u->q_document[p.query * u->q_document_step];
            l.document_min = min_i64(l.document_min, id);
            l.document_max = max_i64(l.document_max, id);
        }
    }
    return l;
}

static inline extent extent_of(const mosaic_attention_unit *u, int64_t from, int64_t to)
{
    extent e = {INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN};
    for (int64_t j = from; u->low && j < to; j++) {
        e.position_min = min_i64(e.position_min, u->k_position[j]);
        e.position_max = max_i64(e.position_max, u->k_position[j]);
    }
    for (int64_t j = from; u->q_document && j < to; j++) {
        e.document_min = min_i64(e.document_min, u->k_document[j * u->k_document_step]);
        e.document_max = max_i64(e.document_max, u->k_document[j * u->k_document_step]);
    }
    return e;
}

/* Can any of these queries see any of these keys? */
static inline bool any_seen(const mosaic_attention_unit *u, const limits *l, const extent *e)
{
    if (u->low && (e->position_max < l->low_min || e->position_min > l->high_max)) return false;
    return !u->q_document ||
           (e->document_max >= l->document_min && e->document_min <= l->document_max);
}

/* Does every one of these queries see every one of these keys? */
static inline bool all_seen(const mosaic_attention_unit *u, const limits *l, const extent *e)
{
    if (u->low && (e->position_min < l->low_max || e->position_max > l->high_min)) return false;
    return !u->q_document ||
           (l->document_min == l->document_max && e->document_min == l->document_min &&
            e->document_max == l->document_min);
}

static inline bool key_seen(const mosaic_attention_unit *u, const limits *l, int64_t key)
{
    extent e = extent_of(u, key, key + 1);
    return any_seen(u, l, &e);
}

/* What of keys from..to - 1, whose extent is e, a tile has to work on. Starts at a whole STEP. */
static inline span visible(const mosaic_attention_unit *u, const limits *l, const extent *e,
                           int64_t from, int64_t to)
{
    span s = {from, to, u->keep.data || u->bias.data || u->slope};
    if (!any_seen(u, l, e)) return (span){from, from, false};
    if (all_seen(u, l, e)) return s;
    while (s.to > from && !key_seen(u, l, s.to - 1)) s.to--;
    while (s.from < s.to && !key_seen(u, l, s.from)) s.from++;
    s.from = from + (s.from - from) / STEP * STEP;
    extent rest = extent_of(u, s.from, s.to);
    s.masked = s.masked || !all_seen(u, l, &rest);
    return s;
}

/* ---- masks ---------------------------------------------------------------------------------- */

/* What is added to the scores, by lane: bias and slope. */
static inline void add_extras(const mosaic_attention_unit *u, place p, int64_t from, int64_t keys,
                              float *mask, int64_t width)
{
    float buffer[BUFFER];
    double per_unit = 1 / scaling_of(u->scale).unit;
    if (u->bias.data) {
        const float *x = floats_at(&u->bias, p.head, p.query, from, keys, buffer);
        for (int64_t j = 0; j < keys; j++) mask[j * width] = (float)(x[j] * per_unit);
    }
    if (u->slope) {
        double slope = u->slope[p.head] * per_unit;
        const int64_t *position = u->k_position + from;
        for (int64_t j = 0; j < keys; j++)
            mask[j * width] -= (float)(slope * (double)(u->q_position[p.query] - position[j]));
    }
}

/* -infinity where this query does not see the key. */
static inline void hide(const mosaic_attention_unit *u, place p, int64_t from, int64_t keys,
                        float *mask, int64_t width)
{
    if (u->low) {
        int64_t low = u->low[p.query], high = u->high[p.query];
        const int64_t *position = u->k_position + from;
        for (int64_t j = 0; j < keys; j++)
            if (position[j] < low || position[j] > high) mask[j * width] = -INFINITY;
    }
    if (u->q_document) {
        int64_t id = u->q_document[p.query * u->q_document_step];
        const int64_t *ids = u->k_document + from * u->k_document_step;
        for (int64_t j = 0; j < keys; j++)
            if (ids[j * u->k_document_step] != id) mask[j * width] = -INFINITY;
    }
    if (u->keep.data) {
        const char *keep = u->keep.data + mosaic_rows_at(&u->keep, p.head, p.query, from);
        for (int64_t j = 0; j < keys; j++)
            if (!keep[j * u->keep.column]) mask[j * width] = -INFINITY;
    }
}

/* mask (keys, width) for rows first.. of the group and keys from..; there is room for whole STEPs,
 * and what is beyond rows and keys is 0. */
static inline void make_mask(const mosaic_attention_unit *u, int64_t first, int64_t rows,
                             int64_t from, int64_t keys, float *mask, int64_t width)
{
    for (int64_t i = 0; i < round_up(keys, STEP) * width; i++) mask[i] = 0;
    place p = place_of(u, first);
    for (int64_t lane = 0; lane < rows; lane++, p = next_place(u, p)) {
        add_extras(u, p, from, keys, mask + lane, width);
        hide(u, p, from, keys, mask + lane, width);
    }
}

#endif
