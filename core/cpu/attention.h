/* attention.h - one unit of attention: a group of query heads that share a key/value head.
 *
 * core/cpu/attention.c cuts a call into units and hands them to kernels: attention_plain.c for f64,
 * core/cpu/kernel/attention*.c for everything else. */
#ifndef MOSAIC_CPU_ATTENTION_H
#define MOSAIC_CPU_ATTENTION_H
#include "../tensor.h"
#include "kernels.h"

/* A strided operand: element (head of the group, row, column), strides in elements. The operands of
 * keys have one head. */
typedef struct {
    char *data; /* NULL: there is none */
    int dtype;
    int64_t head, row, column;
} mosaic_rows;

typedef struct {
    int64_t group, nq, nk; /* query heads, queries of each, keys */
    int64_t d;
    int64_t batch,
        first_head; /* numbers in the whole: of the batch entry, of the group's first head */
    double scale;
    mosaic_rows q, k, v, out, lse;          /* lse: (head, query) */
    mosaic_rows dout, delta, dq, dk, dv;    /* backward */
    mosaic_rows keep, bias, dbias;          /* (head, query, key) */
    const int64_t *low, *high;              /* query i sees positions low[i]..high[i]; or NULL */
    const int64_t *q_position, *k_position; /* NULL where neither low nor slope is there */
    const double *slope;                    /* of each head, or NULL */
    const int64_t *q_document, *k_document; /* equal ids see each other; or NULL */
    int64_t q_document_step, k_document_step;
    bool accumulate; /* backward adds to dq, dk, dv */
} mosaic_attention_unit;

static inline int64_t mosaic_rows_at(const mosaic_rows *r, int64_t head, int64_t row,
                                     int64_t column)
{
    return head * r->head + row * r->row + column * r->column;
}

/* Does the mask let query i of this head see key j? */
static inline bool mosaic_attention_sees(const mosaic_attention_unit *u, int64_t head, int64_t i,
                                         int64_t j)
{
    if (u->low && (u->k_position[j] < u->low[i] || u->k_position[j] > u->high[i])) return false;
    if (u->q_document &&
        u->q_document[i * u->q_document_step] != u->k_document[j * u->k_document_step])
        return false;
    return !u->keep.data || u->keep.data[mosaic_rows_at(&u->keep, head, i, j)] != 0;
}

/* What bias and slope add to that score. */
static inline double mosaic_attention_added(const mosaic_attention_unit *u, int64_t head, int64_t i,
                                            int64_t j)
{
    double sum = 0;
    if (u->slope) sum -= u->slope[head] * (double)(u->q_position[i] - u->k_position[j]);
    if (u->bias.data)
        sum +=
            mosaic_element_read(u->bias.data, mosaic_rows_at(&u->bias, head, i, j), u->bias.dtype);
    return sum;
}

enum { MOSAIC_ATTENTION_ROWS = 768 }; /* that forward gets at most; whole tiles on every ISA */

/* Who does the work. Rows count over the group: row r is query r % nq of head r / nq. Scratch is so
 * many bytes, 64-aligned. */
struct mosaic_attention_kernels {
    int64_t (*scratch)(const mosaic_attention_unit *u);
    void (*run)(const mosaic_attention_unit *u, int64_t from, int64_t to, void *scratch);
};

/* What one call of backward does: these rows against these keys, for dq, or dk and dv, or both.
 * Keys start at a multiple of `keys`, and there are at most so many. Keys from 0 on assign dq,
 * later ones add to it; all rows must come in one part where dk and dv are wanted. */
typedef struct {
    int64_t row_from, row_to, key_from, key_to;
    bool dq, dkv;
} mosaic_attention_part;

struct mosaic_attention_backward_kernels {
    int64_t (*keys)(const mosaic_attention_unit *u);
    int64_t (*scratch)(const mosaic_attention_unit *u);
    void (*run)(const mosaic_attention_unit *u, const mosaic_attention_part *part, void *scratch);
};

/* Short axes without a mask, several problems (b0, b1, head) at a time; backward without groups. */
struct mosaic_attention_small_kernels {
    int64_t lanes; /* problems worked on together */
    int64_t (*scratch)(const mosaic_attention_call *call);
    void (*forward)(const mosaic_attention_call *call, int64_t from, int64_t to, void *scratch);
    void (*backward)(const mosaic_attention_call *call, int64_t from, int64_t to, void *scratch);
};

/* f64 */
extern const mosaic_attention_kernels mosaic_attention_plain;
extern const mosaic_attention_backward_kernels mosaic_attention_backward_plain;

#endif
