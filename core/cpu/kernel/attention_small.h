/* attention_small.h - what attention over a short axis of very many problems is made of.
 *
 * A problem is one key/value head of one batch entry, with the queries of all heads of its group.
 * VEC_LANES problems are worked on together, and each step has the lanes that suit it:
 *
 *   sums over channels  (q.k, dout.v)   lanes are four channels of VEC_LANES/4 problems, and four
 *                                       such vectors of sums fold into one of scores:
 *   softmax                             lanes are problems, scores (rows, keys, lanes)
 *   sums over rows      (p v, ds k...)  lanes are channels of one problem, whose rows are read and
 *                                       written where they lie; a score is broadcast
 *
 * Lane 4 p + s is piece p of the vectors of quarter s. Rows are used in place where they are floats
 * side by side, and otherwise copied.
 *
 * Five columns of 150,000 rows (4 heads of 24) are memory's: forward 220 ns a problem where reading
 * and writing the same bytes takes 150, backward 370; from L2 95 and 190. Tried: everything with
 * problems as lanes, transposed by 4 x 4 on the way in and out (185 and 350 from L2); prefetching
 * the next problems (no gain from memory, a tenth lost from L2). */
#ifndef MOSAIC_CPU_ATTENTION_SMALL_H
#define MOSAIC_CPU_ATTENTION_SMALL_H
#include "attention_dropout.h"

enum {
    PIECES = VEC_LANES / 4,
    QUARTERS = 4,
    MOST = 6,                           /* rows of sums that may be in registers */
    KEYS = VEC_REGISTERS == 32 ? 6 : 3, /* and where each is QUARTERS of them */
    STREAMED = 64 << 20,                /* bytes of results from which they pass the caches */
};

typedef const mosaic_attention_call call;

/* ---- operands ------------------------------------------------------------------------------- */

/* Rows of d numbers (lse and delta: d = 0) of every problem; offsets in elements. */
typedef struct {
    const mosaic_tensor *tensor;
    char *data;
    int64_t rows, d, wide;        /* rows of a problem; d to whole fours */
    int64_t step[3], row_step[2]; /* over b0, b1, problems; over the group's heads, rows */
    int64_t *row;                 /* (rows) from a problem's first element to the row */
    int64_t *place;               /* (rows) the same from `at` on */
    float *copy;                  /* (lanes, rows, wide), where rows are not used in place */
    int64_t first[VEC_LANES];
    float *at[VEC_LANES];
} operand;

/* Results may end anywhere, but pieces are read whole. */
static inline operand operand_of(call *c, const mosaic_tensor *a, bool result, char **scratch)
{
    const int64_t group = a->size[2] / c->k.size[2], *stride = a->stride;
    operand o = {.tensor = a,
                 .data = mosaic_data(a),
                 .rows = group * a->size[3],
                 .d = a->ndim > 4 ? a->size[4] : 0,
                 .step = {stride[0], stride[1], group * stride[2]},
                 .row_step = {stride[2], stride[3]}};
    o.wide = round_up(o.d, 4);
    o.row = o.place = take(scratch, o.rows, 8);
    if (o.d == 0) return o;
    if (a->dtype != MOSAIC_DTYPE_F32 || stride[4] != 1 || (!result && o.d < o.wide)) {
        o.place = take(scratch, o.rows, 8);
        o.copy = take(scratch, VEC_LANES * o.rows * o.wide, 4);
    }
    return o;
}

static inline void place_rows(const operand *o)
{
    const int64_t rows = o->tensor->size[3];
    for (int64_t r = 0; r < o->rows; r++)
        o->row[r] = r / rows * o->row_step[0] + r % rows * o->row_step[1];
    for (int64_t r = 0; o->copy && r < o->rows; r++) o->place[r] = r * o->wide;
}

typedef struct {
    int64_t b0, b1, head; /* of keys */
} problem;

static inline problem problem_at(call *c, int64_t i)
{
    const int64_t heads = c->k.size[2], b1 = c->k.size[1];
    return (problem){i / heads / b1, i / heads % b1, i % heads};
}

static inline problem next_problem(call *c, problem p)
{
    if (++p.head < c->k.size[2]) return p;
    p.head = 0;
    if (++p.b1 < c->k.size[1]) return p;
    return (problem){p.b0 + 1, 0, 0};
}

/* The lanes' problems are `count` from p on; lanes beyond them do the first one's work again.
 * Returns the problem after them. */
static inline problem point(operand *o, call *c, problem p, int count)
{
    const int64_t heads = c->k.size[2], step = o->step[2];
    for (int lane = 0; lane < count; p = next_problem(c, p)) {
        int64_t first = p.b0 * o->step[0] + p.b1 * o->step[1] + p.head * step;
        int64_t more = min_i64(heads - p.head, count - lane);
        for (int64_t i = 0; i < more; i++) o->first[lane + i] = first + i * step;
        lane += (int)more;
        p.head += more - 1;
    }
    for (int lane = count; lane < VEC_LANES; lane++) o->first[lane] = o->first[0];
    if (o->copy)
        for (int lane = 0; lane < VEC_LANES; lane++)
            o->at[lane] = o->copy + lane * o->rows * o->wide;
    else if (o->d)
        for (int lane = 0; lane < VEC_LANES; lane++)
            o->at[lane] = (float *)(void *)o->data + o->first[lane];
    return p;
}

/* Rows of at least VEC_LANES halves side by side; the last ones of a row may be widened twice. */
VEC_INLINE void widen(const operand *o, bool bf16)
{
    const int64_t last = o->d - VEC_LANES;
    for (int lane = 0; lane < VEC_LANES; lane++)
        for (int64_t r = 0; r < o->rows; r++) {
            const uint16_t *from = (uint16_t *)(void *)o->data + o->first[lane] + o->row[r];
            float *to = o->at[lane] + o->place[r];
            for (int64_t i = 0; i < last; i += VEC_LANES)
                vec_write(to + i, vec_widen(from + i, bf16), VEC_LANES);
            vec_write(to + last, vec_widen(from + last, bf16), VEC_LANES);
        }
}

/* Makes copies: floats, up to whole fours with 0. */
static inline void fetch(const operand *o)
{
    const int dtype = o->tensor->dtype;
    const int64_t size = mosaic_dtype_bytes((mosaic_dtype)dtype), column = o->tensor->stride[4];
    if (!o->copy) return;
    if (size == 2 && column == 1 && o->d == o->wide && o->d >= VEC_LANES)
        return dtype == MOSAIC_DTYPE_BF16 ? widen(o, true) : widen(o, false);
    for (int lane = 0; lane < VEC_LANES; lane++)
        for (int64_t r = 0; r < o->rows; r++) {
            float *to = o->at[lane] + o->place[r];
            const char *from = o->data + (o->first[lane] + o->row[r]) * size;
            MOSAIC_KERNELS(convert).of[MOSAIC_DTYPE_F32][dtype](o->d, to, 4, from, column * size);
            for (int64_t i = o->d; i < o->wide; i++) to[i] = 0;
        }
}

/* Copies back. */
static inline void deliver(const operand *o, int count, bool add)
{
    const int64_t column = o->tensor->stride[4];
    for (int lane = 0; o->copy && lane < count; lane++)
        for (int64_t r = 0; r < o->rows; r++) {
            const float *from = o->at[lane] + o->place[r];
            float *to = (float *)(void *)o->data + o->first[lane] + o->row[r];
            for (int64_t i = 0; i < o->d; i++)
                to[i * column] = from[i] + (add ? to[i * column] : 0);
        }
}

/* May results of so many bytes be streamed? Nobody finds that many in a cache again, and lines that
 * are not fetched to be overwritten are a fifth of forward's traffic and 3/10 of backward's. */
static inline bool may_stream(const operand *o, int64_t results)
{
    int64_t steps = o->step[0] | o->step[1] | o->step[2] | o->row_step[0] | o->row_step[1] | o->d;
    return results >= STREAMED && !o->copy && steps % 8 == 0 && (uintptr_t)o->data % 32 == 0;
}

/* ---- sums over channels --------------------------------------------------------------------- */

/* to (rows, QUARTERS, d/4, lanes) */
static inline void join(float *to, const operand *o)
{
    const int64_t rows = o->rows, wide = o->wide;
    for (int64_t r = 0; r < rows; r++)
        for (int s = 0; s < QUARTERS; s++) {
            const float *from[PIECES];
            for (int p = 0; p < PIECES; p++) from[p] = o->at[p * 4 + s] + o->place[r];
            for (int64_t i = 0; i < wide; i += 4, to += VEC_LANES) {
                const float *piece[PIECES];
                for (int p = 0; p < PIECES; p++) piece[p] = from[p] + i;
                vec_store(to, vec_join(piece));
            }
        }
}

/* sum[j] = sum over c < depth of a[c] b[j][c]; b (count, QUARTERS, depth, lanes) */
VEC_INLINE void quarter_dots(int count, vec *sum, const float *a, const float *b, int64_t depth)
{
    const int64_t step = QUARTERS * depth * VEC_LANES;
    for (int j = 0; j < count; j++) sum[j] = vec_set(0);
    for (int64_t c = 0; c < depth; c++, a += VEC_LANES, b += VEC_LANES) {
        vec x = vec_load(a);
        for (int j = 0; j < count; j++) sum[j] = vec_fma(x, vec_load(b + j * step), sum[j]);
    }
}

/* to (count, lanes) = a . b[j]; a (QUARTERS, depth, lanes), b (count, QUARTERS, depth, lanes) */
VEC_INLINE void dots(int count, float *to, const float *a, const float *b, int64_t depth)
{
    vec s0[MOST], s1[MOST], s2[MOST], s3[MOST];
    const int64_t step = depth * VEC_LANES;
    quarter_dots(count, s0, a, b, depth);
    quarter_dots(count, s1, a + step, b + step, depth);
    quarter_dots(count, s2, a + 2 * step, b + 2 * step, depth);
    quarter_dots(count, s3, a + 3 * step, b + 3 * step, depth);
    for (int j = 0; j < count; j++)
        vec_store(to + j * VEC_LANES, vec_fold(s0[j], s1[j], s2[j], s3[j]));
}

static void all_dots(float *to, const float *a, const float *b, int64_t count, int64_t depth)
{
    const int64_t step = KEYS * QUARTERS * depth * VEC_LANES;
    for (int64_t j = 0; j < count; j += KEYS, to += KEYS * VEC_LANES, b += step) {
        switch (min_i64(KEYS, count - j)) {
        case 1: dots(1, to, a, b, depth); break;
        case 2: dots(2, to, a, b, depth); break;
        case 3: dots(3, to, a, b, depth); break;
        case 4: dots(4, to, a, b, depth); break;
        case 5: dots(5, to, a, b, depth); break;
        case 6: dots(6, to, a, b, depth); break;
        }
    }
}

/* ---- sums over rows ------------------------------------------------------------------------- */

/* to[i] = sum over t of weight(i, t) from[t], or added to what is there. */
typedef struct {
    const operand *to, *from;
    const float *weight;   /* (to's rows, from's rows, lanes) or the other way round: */
    int64_t to_step, step; /* along i and t */
    int lanes;             /* that have a problem */
    bool add, stream;
} product;

VEC_INLINE void write_sum(float *to, vec sum, int64_t count, bool add, bool stream)
{
    if (stream) return vec_stream(to, sum, count);
    if (add) sum += vec_read(to, count);
    vec_write(to, sum, count);
}

/* Rows i.. and columns c.., of which the last vector has `rest`. */
VEC_INLINE void combine_rows(int count, int vectors, int64_t rest, const product *p, int64_t i,
                             int64_t c)
{
    const int64_t *from_row = p->from->place, *to_row = p->to->place + i;
    const int64_t depth = p->from->rows, to_step = p->to_step, step = p->step;
    const bool add = p->add && !p->to->copy, stream = p->stream;
    for (int lane = 0; lane < p->lanes; lane++) {
        const float *weight = p->weight + i * to_step + lane, *from = p->from->at[lane] + c;
        float *to = p->to->at[lane] + c;
        vec sum[MOST][2];
        for (int r = 0; r < count; r++)
            for (int v = 0; v < vectors; v++) sum[r][v] = vec_set(0);
        for (int64_t t = 0; t < depth; t++, weight += step) {
            const float *row = from + from_row[t];
            vec x[2];
            x[0] = vec_read(row, vectors > 1 ? VEC_LANES : rest);
            if (vectors > 1) x[1] = vec_read(row + VEC_LANES, rest);
            for (int r = 0; r < count; r++) {
                vec y = vec_set(weight[r * to_step]);
                for (int v = 0; v < vectors; v++) sum[r][v] = vec_fma(y, x[v], sum[r][v]);
            }
        }
        for (int r = 0; r < count; r++) {
            float *row = to + to_row[r];
            write_sum(row, sum[r][0], vectors > 1 ? VEC_LANES : rest, add, stream);
            if (vectors > 1) write_sum(row + VEC_LANES, sum[r][1], rest, add, stream);
        }
    }
}

VEC_INLINE void combine_columns(int vectors, int64_t rest, const product *p, int64_t c)
{
    for (int64_t i = 0; i < p->to->rows; i += MOST) {
        switch (min_i64(MOST, p->to->rows - i)) {
        case 1: combine_rows(1, vectors, rest, p, i, c); break;
        case 2: combine_rows(2, vectors, rest, p, i, c); break;
        case 3: combine_rows(3, vectors, rest, p, i, c); break;
        case 4: combine_rows(4, vectors, rest, p, i, c); break;
        case 5: combine_rows(5, vectors, rest, p, i, c); break;
        case 6: combine_rows(6, vectors, rest, p, i, c); break;
        }
    }
}

static void combine(const product *p)
{
    for (int64_t c = 0; c < p->to->d; c += 2 * VEC_LANES) {
        int64_t left = p->to->d - c;
        if (left >= 2 * VEC_LANES)
            combine_columns(2, VEC_LANES, p, c);
        else if (left > VEC_LANES)
            combine_columns(2, left - VEC_LANES, p, c);
        else if (left == VEC_LANES)
            combine_columns(1, VEC_LANES, p, c);
        else
            combine_columns(1, left, p, c);
    }
}

#endif
