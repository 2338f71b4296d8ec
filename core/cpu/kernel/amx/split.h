/* split.h - operands of products as tiles of bf16 parts.
 *
 * Parts of DEPTH numbers of SIDE rows of a, or of SIDE columns of b, are a face: PARTS tiles.
 *
 * Numbers are multiplied by POWER before, so that no part of any of them is subnormal, which tiles
 * take as 0. */
#ifndef MOSAIC_CPU_AMX_SPLIT_H
#define MOSAIC_CPU_AMX_SPLIT_H
#include "parts.h"

enum {
    FACE = PARTS * TILE_BYTES, /* bytes */
    UNIT = 2,                  /* rows of a face's tiles that are split at a time */
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t pieces(int64_t whole, int64_t piece) { return (whole + piece - 1) / piece; }

/* One row of each of a face's tiles. */
VEC_INLINE void split_pairs(char *to, vec a, vec b)
{
    split_pair(PARTS, to, a * vec_set(POWER), b * vec_set(POWER));
}

VEC_INLINE void transpose(vec *x)
{
    vec y[SIDE];
    for (int i = 0; i < SIDE; i += 2) {
        y[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
        y[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
    }
    for (int i = 0; i < SIDE; i += 4)
        for (int j = 0; j < 2; j++) {
            __m512d low = (__m512d)y[i + j], high = (__m512d)y[i + 2 + j];
            x[i + 2 * j] = (vec)_mm512_unpacklo_pd(low, high);
            x[i + 2 * j + 1] = (vec)_mm512_unpackhi_pd(low, high);
        }
    for (int i = 0; i < SIDE; i += 8)
        for (int j = 0; j < 4; j++) {
            y[i + j] = _mm512_shuffle_f32x4(x[i + j], x[i + 4 + j], 0x88);
            y[i + 4 + j] = _mm512_shuffle_f32x4(x[i + j], x[i + 4 + j], 0xdd);
        }
    for (int j = 0; j < 8; j++) {
        x[j] = _mm512_shuffle_f32x4(y[j], y[8 + j], 0x88);
        x[8 + j] = _mm512_shuffle_f32x4(y[j], y[8 + j], 0xdd);
    }
}

/* Some rows of a, or columns of b, called lines here, and some terms of the sums: term p of line i
 * lies at data[i * line + p * term], and one of the steps is 1. */
typedef struct {
    const float *data;
    int64_t line, term, lines, depth;
    int64_t ahead; /* what is that many floats further will be needed soon */
    bool across;   /* rows of tiles are terms, columns are lines: b */
    double *sums;  /* of lines, which are adjacent; room for SIDE of them at a time; NULL: none */
} operand;

/* An operand becoming faces (lines/SIDE, depth/DEPTH), of which i and p are next. */
typedef struct {
    operand from;
    char *to;
    int64_t i, p, row;     /* row: of the face's tiles */
    const float *at;       /* the first floats for that row */
    int64_t step, partner; /* from one row to the next; from the low halves of pairs to the high */
    const float *soon;     /* row of what will be needed soon, and which of its floats are next */
    int64_t next;
    float room[SIDE * DEPTH] __attribute__((aligned(LINE)));
} splitter;

/* to (SIDE,SIDE), `wide` floats a row <- lines from i, terms from p on; 0 beyond the operand. */
static void gather(float *to, int64_t wide, const operand *o, int64_t i, int64_t p)
{
    const float *from = o->data + i * o->line + p * o->term;
    bool along = o->term == 1;
    int64_t lines = smaller(SIDE, o->lines - i), terms = smaller(SIDE, o->depth - p);
    int64_t rows = along ? lines : terms, count = along ? terms : lines;
    int64_t step = along ? o->line : o->term;
    vec x[SIDE];
    for (int64_t r = 0; r < SIDE; r++)
        x[r] = r < rows && count > 0 ? vec_read(from + r * step, count) : vec_set(0);
    if (along == o->across) transpose(x);
    for (int64_t r = 0; r < SIDE; r++) vec_store(to + r * wide, x[r]);
}

/* Adds DEPTH terms from p on of SIDE lines from i on to their sums. */
static void add_lines(const operand *o, int64_t i, int64_t p)
{
    int64_t lines = smaller(SIDE, o->lines - i), terms = smaller(DEPTH, o->depth - p);
    const float *from = o->data + i + p * o->term;
    vec even = vec_set(0), odd = vec_set(0);
    for (int64_t r = 1; r < terms; r += 2, from += 2 * o->term)
        even += vec_read(from, lines), odd += vec_read(from + o->term, lines);
    if (terms % 2) even += vec_read(from, lines);
    even += odd;
    __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(even));
    __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(even, 1));
    _mm512_storeu_pd(o->sums + i, _mm512_loadu_pd(o->sums + i) + low);
    _mm512_storeu_pd(o->sums + i + 8, _mm512_loadu_pd(o->sums + i + 8) + high);
}

/* Where a face's floats are: where they came from, if they lie there as tiles want them. */
static void open_face(splitter *s)
{
    const operand *o = &s->from;
    bool whole = s->i + SIDE <= o->lines && s->p + DEPTH <= o->depth;
    if (o->sums) add_lines(o, s->i, s->p);
    if (whole && (o->across ? o->line : o->term) == 1) {
        s->at = o->data + s->i * o->line + s->p * o->term;
        s->step = o->across ? o->term : o->line;
        s->partner = SIDE * o->term;
        return;
    }
    s->at = s->room;
    s->step = o->across ? SIDE : DEPTH;
    s->partner = o->across ? SIDE * SIDE : SIDE;
    gather(s->room, s->step, o, s->i, s->p);
    gather(s->room + s->partner, s->step, o, s->i, s->p + SIDE);
}

static void split(splitter *s, operand from, char *to)
{
    s->from = from, s->to = to;
    s->i = s->p = s->row = s->next = 0;
    s->soon = from.data + from.ahead;
}

static bool splits(const splitter *s) { return s->i < s->from.lines; }

static int64_t units_of(const splitter *s)
{
    return SIDE / UNIT * pieces(s->from.lines, SIDE) * pieces(s->from.depth, DEPTH);
}

/* Asks for as much as a unit takes, row by row as it lies in memory; in the order of faces, a line
 * of one row after the other, a training step takes 1.03 to 1.05 times as long. */
static void ask_ahead(splitter *s)
{
    bool along = s->from.term == 1;
    int64_t width = along ? s->from.depth : s->from.lines;
    for (int line = 0; line < 2 * UNIT; line++) {
        __builtin_prefetch(s->soon + s->next);
        s->next += SIDE;
        if (s->next >= width) s->next = 0, s->soon += along ? s->from.line : s->from.term;
    }
}

static void split_some(splitter *s)
{
    if (s->row == 0) open_face(s);
    ask_ahead(s);
    for (int r = 0; r < UNIT; r++, s->at += s->step, s->to += LINE) {
        split_pairs(s->to, _mm512_loadu_ps(s->at), _mm512_loadu_ps(s->at + s->partner));
    }
    s->row += UNIT;
    if (s->row < SIDE) return;
    s->row = 0, s->to += FACE - TILE_BYTES, s->p += DEPTH;
    if (s->p >= s->from.depth) s->p = 0, s->i += SIDE;
}

#endif
