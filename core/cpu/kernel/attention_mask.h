/* attention_mask.h - which keys a tile of queries has to work on, and what is added to their
 * scores.
 *
 * Masks compare positions and document ids, so blocks of keys are told apart by the extents of
 * both, and what is left by looking at every pair: what no query of the tile sees is skipped, what
 * all of them see needs no mask, and only the rest gets one, added to the scores. Keys in any order
 * are right; in order they are fast. */
#ifndef MOSAIC_CPU_ATTENTION_MASK_H
#define MOSAIC_CPU_ATTENTION_MASK_H
#include "attention_program.h"

/* ---- who sees what -------------------------------------------------------------------------- */

/* What the queries of a tile may see: each from low to high, and its own document. Of several
 * queries: the narrowest and the widest. Unused where the unit has no such mask. */
typedef struct {
    int64_t low_min, low_max, high_min, high_max, document_min, document_max;
    int64_t query_min, query_max, head_min, head_max; /* positions; heads of the group */
} limits;

/* Positions and documents of some keys. */
typedef struct {
    int64_t position_min, position_max, document_min, document_max;
} extent;

/* Keys from..to - 1, all of them that the tile can see and few others. */
typedef struct {
    int64_t from, to;
    bool hides; /* perhaps not every query sees every key */
    bool adds;  /* something to the scores */
} span;

/* Widens l by queries from..to - 1 of a head. */
static inline void limits_add(const mosaic_attention_unit *u, limits *l, int64_t from, int64_t to)
{
    for (int64_t i = from; u->low && i < to; i++) {
        l->low_min = min_i64(l->low_min, u->low[i]);
        l->low_max = max_i64(l->low_max, u->low[i]);
        l->high_min = min_i64(l->high_min, u->high[i]);
        l->high_max = max_i64(l->high_max, u->high[i]);
    }
    for (int64_t i = from; u->q_document && i < to; i++) {
        int64_t id = u->q_document[i * u->q_document_step];
        l->document_min = min_i64(l->document_min, id);
        l->document_max = max_i64(l->document_max, id);
    }
    for (int64_t i = from; has_programs(u) && i < to; i++) {
        l->query_min = min_i64(l->query_min, u->q_position[i]);
        l->query_max = max_i64(l->query_max, u->q_position[i]);
    }
}

static inline limits limits_of(const mosaic_attention_unit *u, int64_t first, int64_t rows)
{
    limits l = {INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN,     INT64_MAX,
                INT64_MIN, INT64_MAX, INT64_MIN, first / u->nq, (first + rows - 1) / u->nq};
    if (!u->low && !u->q_document && !has_programs(u)) return l;
    int64_t query = first % u->nq, all = min_i64(rows, u->nq); /* heads see the same */
    int64_t some = min_i64(all, u->nq - query);
    limits_add(u, &l, query, query + some);
    limits_add(u, &l, 0, all - some);
    return l;
}

static inline extent extent_of(const mosaic_attention_unit *u, int64_t from, int64_t to)
{
    extent e = {INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN};
    for (int64_t j = from; (u->low || has_programs(u)) && j < to; j++) {
        e.position_min = min_i64(e.position_min, u->k_position[j]);
        e.position_max = max_i64(e.position_max, u->k_position[j]);
    }
    for (int64_t j = from; u->q_document && j < to; j++) {
        e.document_min = min_i64(e.document_min, u->k_document[j * u->k_document_step]);
        e.document_max = max_i64(e.document_max, u->k_document[j * u->k_document_step]);
    }
    return e;
}

/* What the programs let through of these queries and keys. */
static inline mosaic_program_extent programs_let(const mosaic_attention_unit *u, const limits *l,
                                                 const extent *e)
{
    if (!has_programs(u)) return MOSAIC_PROGRAM_ALL;
    const double batch = (double)(u->batch + 1), head = (double)(u->first_head + 1);
    const double low[] = {batch, head + (double)l->head_min, (double)l->query_min,
                          (double)e->position_min};
    const double high[] = {batch, head + (double)l->head_max, (double)l->query_max,
                           (double)e->position_max};
    mosaic_program_extent kept = MOSAIC_PROGRAM_ALL;
    if (u->keep_if) kept = mosaic_program_extent_of(u->keep_if, low, high);
    if (kept == MOSAIC_PROGRAM_NONE || !u->score) return kept;
    bool hidden = mosaic_program_extent_of(u->score, low, high) == MOSAIC_PROGRAM_NONE;
    return hidden ? MOSAIC_PROGRAM_NONE : kept;
}

/* Can any of these queries see any of these keys? */
static inline bool any_seen(const mosaic_attention_unit *u, const limits *l, const extent *e)
{
    if (u->low && (e->position_max < l->low_min || e->position_min > l->high_max)) return false;
    if (u->q_document && (e->document_max < l->document_min || e->document_min > l->document_max))
        return false;
    return programs_let(u, l, e) != MOSAIC_PROGRAM_NONE;
}

/* Does every one of these queries see every one of these keys? */
static inline bool all_seen(const mosaic_attention_unit *u, const limits *l, const extent *e)
{
    if (u->low && (e->position_min < l->low_max || e->position_max > l->high_min)) return false;
    if (u->q_document && (l->document_min != l->document_max ||
                          e->document_min != l->document_min || e->document_max != l->document_min))
        return false;
    return programs_let(u, l, e) == MOSAIC_PROGRAM_ALL;
}

static inline bool keys_seen(const mosaic_attention_unit *u, const limits *l, int64_t from,
                             int64_t to)
{
    extent e = extent_of(u, from, to);
    return any_seen(u, l, &e);
}

/* What of keys from..to - 1, whose extent is e, a tile has to work on. Starts at a whole STEP. */
static inline span visible(const mosaic_attention_unit *u, const limits *l, const extent *e,
                           int64_t from, int64_t to)
{
    span s = {from, to, u->keep.data, u->bias.data || u->slope};
    if (!any_seen(u, l, e)) return (span){from, from, false, false};
    if (all_seen(u, l, e)) return s;
    for (int64_t piece = 64; piece > 0; piece /= 8) {
        while (s.to - piece >= s.from && !keys_seen(u, l, s.to - piece, s.to)) s.to -= piece;
        while (s.from + piece <= s.to && !keys_seen(u, l, s.from, s.from + piece)) s.from += piece;
    }
    s.from = from + (s.from - from) / STEP * STEP;
    extent rest = extent_of(u, s.from, s.to);
    s.hides = s.hides || !all_seen(u, l, &rest);
    return s;
}

/* ---- every pair ----------------------------------------------------------------------------- */

enum { SEEN = 128 /* keys of a block, at most */ };

/* Can so many bytes say which blocks a tile's keep lets something through of? */
static inline bool keeps_by_rows(const mosaic_attention_unit *u)
{
    return u->keep.data && u->keep.column == 1;
}

/* some (blocks of `block` keys) <- does keep let through any pair of rows first.. of the group and
 * keys from..to - 1? Row by row, as they lie in memory: of rows 4096 bytes apart, a block at a
 * time, all are in the same few sets of the caches. any: (to - from) */
static inline void look_by_blocks(const mosaic_attention_unit *u, int64_t first, int64_t rows,
                                  int64_t from, int64_t to, int64_t block, uint8_t *any, bool *some)
{
    place p = place_of(u, first);
    memset(any, 0, (size_t)(to - from));
    for (int64_t r = 0; r < rows; r++, p = next_place(u, p)) {
        const char *keep = u->keep.data + mosaic_rows_at(&u->keep, p.head, p.query, from);
        for (int64_t j = 0; j < to - from; j++) any[j] |= (uint8_t)keep[j];
    }
    for (int64_t j = 0; j < to - from; j += block, some++) {
        uint8_t found = 0;
        for (int64_t i = j; i < min_i64(j + block, to - from); i++) found |= any[i];
        *some = found;
    }
}

/* seen[j] <- does this query see key from + j? Returns how many it sees. */
static inline int64_t look_row(const mosaic_attention_unit *u, place p, int64_t from, int64_t keys,
                               uint8_t *seen, double *registers)
{
    for (int64_t j = 0; j < keys; j++) seen[j] = 1;
    if (u->low) {
        int64_t low = u->low[p.query], high = u->high[p.query];
        const int64_t *position = u->k_position + from;
        for (int64_t j = 0; j < keys; j++) seen[j] = position[j] >= low && position[j] <= high;
    }
    if (u->q_document) {
        int64_t id = u->q_document[p.query * u->q_document_step];
        const int64_t *ids = u->k_document + from * u->k_document_step;
        for (int64_t j = 0; j < keys; j++) seen[j] &= ids[j * u->k_document_step] == id;
    }
    if (u->keep.data) {
        const char *keep = u->keep.data + mosaic_rows_at(&u->keep, p.head, p.query, from);
        __builtin_prefetch(keep + keys * u->keep.column); /* the next block, long before its turn */
        __builtin_prefetch(keep + keys * u->keep.column + 64);
        if (u->keep.column == 1)
            for (int64_t j = 0; j < keys; j++) seen[j] &= keep[j] != 0;
        else
            for (int64_t j = 0; j < keys; j++) seen[j] &= keep[j * u->keep.column] != 0;
    }
    if (u->keep_if) look_by_program(u, p, from, keys, seen, registers);
    uint8_t count = 0; /* at most SEEN */
    for (int64_t j = 0; j < keys; j++) count = (uint8_t)(count + seen[j]);
    return count;
}

/* How many pairs of rows first.. of the group and the span's keys there are to work on. Where these
 * are not all pairs, seen (rows, SEEN) says which. registers: for programs. */
static inline int64_t look(const mosaic_attention_unit *u, int64_t first, int64_t rows, span *s,
                           uint8_t *seen, double *registers)
{
    int64_t keys = s->to - s->from, count = 0;
    if (!s->hides || !keys) return rows * keys;
    place p = place_of(u, first);
    for (int64_t lane = 0; lane < rows; lane++, p = next_place(u, p))
        count += look_row(u, p, s->from, keys, seen + lane * SEEN, registers);
    s->hides = count < rows * keys;
    return count;
}

/* ---- masks ---------------------------------------------------------------------------------- */

/* mask (keys) <- what bias and slope add to the scores of one query. */
static inline void add_extras(const mosaic_attention_unit *u, place p, int64_t from, int64_t keys,
                              float *mask)
{
    double per_unit = 1 / scaling_of(u->scale).unit;
    if (u->bias.data) {
        float buffer[BUFFER];
        const float *x = floats_at(&u->bias, p.head, p.query, from, keys, buffer);
        for (int64_t j = 0; j < keys; j++) mask[j] = (float)(x[j] * per_unit);
    }
    if (u->slope) {
        double slope = u->slope[p.head] * per_unit;
        const int64_t *position = u->k_position + from;
        for (int64_t j = 0; j < keys; j++)
            mask[j] -= (float)(slope * (double)(u->q_position[p.query] - position[j]));
    }
}

/* mask (keys, width) for rows first.. of the group and the span's keys; there is room for whole
 * STEPs, and what is beyond rows and keys is 0. */
static inline void make_mask(const mosaic_attention_unit *u, int64_t first, int64_t rows,
                             const span *s, const uint8_t *seen, float *mask, int64_t width)
{
    int64_t keys = s->to - s->from;
    place p = place_of(u, first);
    for (int64_t lane = 0; lane < width; lane += VEC_LANES) {
        float row[VEC_LANES][SEEN] = {{0}};
        const float *rows_at[VEC_LANES];
        for (int r = 0; r < VEC_LANES; r++) rows_at[r] = row[r];
        for (int r = 0; r < VEC_LANES && lane + r < rows; r++, p = next_place(u, p), seen += SEEN) {
            if (s->adds) add_extras(u, p, s->from, keys, row[r]);
            for (int64_t j = 0; s->hides && j < keys; j++)
                row[r][j] = seen[j] ? row[r][j] : -INFINITY;
        }
        columns_from_lanes(mask + lane, width, rows_at, round_up(keys, STEP), vec_set(1));
    }
}

#endif
