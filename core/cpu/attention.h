/* attention.h - one unit of attention: a group of query heads that share a key/value head.
 *
 * core/cpu/attention.c cuts a call into units and hands them to kernels: attention_plain.c for f64,
 * core/cpu/kernel/attention*.c for everything else. */
#ifndef MOSAIC_CPU_ATTENTION_H
#define MOSAIC_CPU_ATTENTION_H
#include "../philox.h"
#include "../tensor.h"
#include "kernels.h"

/* A strided operand: element (head of the group, row, column), strides in elements. The operands of
 * keys have one head. */
typedef struct {
    char *data; /* NULL: there is none */
    int dtype;
    int64_t head, row, column;
} mosaic_rows;

/* A pair whose random word is below `below` is dropped, the others are multiplied by `scale`. */
typedef struct {
    uint64_t seed;
    uint32_t below; /* 0: no dropout */
    double scale;
} mosaic_attention_dropout;

/* A lookup that counts but is not in its table. */
typedef struct {
    bool busy;         /* a thread is writing */
    const char *entry; /* "mask.score"; NULL: there is none */
    int64_t at[4];     /* batch entry, head, query, key */
} mosaic_attention_fault;

/* The largest sizes of a unit's operands, q times the power of two in scale: whether a kernel can
 * take them. */
typedef struct {
    float q, k, v, dout, delta; /* the last two backward only */
} mosaic_attention_reaches;

typedef struct mosaic_attention_unit {
    int64_t group, nq, nk; /* query heads, queries of each, keys */
    int64_t d;
    int64_t batch, first_head; /* the group's numbers in the whole */
    double scale;
    mosaic_rows q, k, v, out, lse;          /* lse: (head, query) */
    mosaic_rows dout, delta, dq, dk, dv;    /* backward */
    mosaic_rows keep, bias, dbias;          /* (head, query, key) */
    const int64_t *low, *high;              /* query i sees positions low[i]..high[i]; or NULL */
    const int64_t *q_position, *k_position; /* NULL where nothing asks for them */
    const double *slope;                    /* of each head, or NULL */
    const int64_t *q_document, *k_document; /* equal ids see each other; or NULL */
    int64_t q_document_step, k_document_step;
    mosaic_attention_dropout dropout;
    const mosaic_program *score, *keep_if; /* of the mask, or NULL */
    mosaic_attention_fault *fault;
    const mosaic_attention_reaches *reaches;  /* NULL: nobody has looked yet */
    bool accumulate;                          /* backward adds to dq, dk, dv */
    const struct mosaic_attention_unit *next; /* whose turn is after this one; or NULL */
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

static inline void mosaic_attention_positions(int64_t *to, const mosaic_tensor *positions,
                                              int64_t count)
{
    const int64_t *from = positions ? mosaic_data(positions) : NULL;
    for (int64_t i = 0; i < count; i++) to[i] = from ? from[i * positions->stride[0]] : i + 1;
}

/* The number of a batch entry in the whole. */
static inline int64_t mosaic_attention_batch(const mosaic_attention_options *o, int64_t b0,
                                             int64_t b1)
{
    return (o->batch_from[0] + b0) * o->batch_total + o->batch_from[1] + b1;
}

/* The same seed elsewhere must not give these words. */
static inline mosaic_attention_dropout
mosaic_attention_dropout_of(const mosaic_attention_options *o)
{
    double below = o->dropout * 0x1p32 + 0.5;
    return (mosaic_attention_dropout){.seed = o->dropout_seed ^ 0x7f4a7c1564726f70u,
                                      .below = below < 0x1p32 ? (uint32_t)below : UINT32_MAX,
                                      .scale = 1 / (1 - o->dropout)};
}

/* What that probability is multiplied by. Four keys share the words of one counter. */
static inline double mosaic_attention_kept(const mosaic_attention_unit *u, int64_t head, int64_t i,
                                           int64_t j)
{
    if (!u->dropout.below) return 1;
    uint64_t query = (uint64_t)u->q_position[i] - 1, key = (uint64_t)u->k_position[j] - 1;
    uint64_t stream = (uint32_t)u->batch | (uint64_t)(u->first_head + head) << 32;
    mosaic_philox words =
        mosaic_philox_at(u->dropout.seed, stream, (uint32_t)query | key / 4 << 32);
    return words.word[key % 4] < u->dropout.below ? 0 : u->dropout.scale;
}

/* A run of a program for query i of this head and keys from.. */
static inline mosaic_program_run mosaic_attention_run(const mosaic_attention_unit *u,
                                                      const mosaic_program *program, int64_t head,
                                                      int64_t i, int64_t from, int64_t count)
{
    return (mosaic_program_run){.program = program,
                                .batch = (double)(u->batch + 1),
                                .head = (double)(u->first_head + head + 1),
                                .query = (double)u->q_position[i],
                                .key = u->k_position + from,
                                .count = count};
}

/* Doubles that the unit's programs work on, one after the other. */
static inline int64_t mosaic_attention_registers(const mosaic_attention_unit *u)
{
    int32_t score = u->score ? u->score->registers : 0,
            keep = u->keep_if ? u->keep_if->registers : 0;
    return (score > keep ? score : keep) * (int64_t)MOSAIC_PROGRAM_RUN;
}

/* Notes that a lookup of this run at key number j of it is not in its table. */
void mosaic_attention_report(const mosaic_attention_unit *u, const mosaic_program_run *run,
                             int64_t j);

typedef void (*mosaic_attention_survey)(const mosaic_attention_unit *u,
                                        mosaic_attention_reaches *reaches);

/* Who does the work, and adds to `work` what it was. Rows count over the group: row r is query r %
 * nq of head r / nq. Scratch for so many rows is so many bytes, 64-aligned. A unit that is run in
 * several parts is surveyed before. */
struct mosaic_attention_kernels {
    int64_t (*scratch)(const mosaic_attention_unit *u, int64_t rows);
    void (*run)(const mosaic_attention_unit *u, int64_t from, int64_t to, void *scratch,
                mosaic_attention_work *work);
    mosaic_attention_survey survey; /* NULL: no matter how large they are */
};

/* What one call of backward does: all rows against these keys, which start at a multiple of `keys`
 * and are at most so many. Keys from 0 on assign dq, later ones add to it.
 *
 * Several threads may share a unit, each with a chunk of keys of its own. Then chunks add to the dq
 * of a tile in order: each of them counts the tiles that it is through with, and before it touches
 * the dq of one it waits for those before it. */
typedef struct {
    int64_t chunk, key_from, key_to;
    int64_t *passed; /* (chunks): tiles; NULL: nobody shares */
} mosaic_attention_part;

void mosaic_attention_wait(const mosaic_attention_part *part, int64_t tile);

static inline void mosaic_attention_pass(const mosaic_attention_part *part, int64_t tile)
{
    if (part->passed) __atomic_store_n(&part->passed[part->chunk], tile + 1, __ATOMIC_RELEASE);
}

struct mosaic_attention_backward_kernels {
    int64_t (*keys)(const mosaic_attention_unit *u);
    int64_t (*scratch)(const mosaic_attention_unit *u);
    void (*run)(const mosaic_attention_unit *u, const mosaic_attention_part *part, void *scratch,
                mosaic_attention_work *work);
    mosaic_attention_survey survey;
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
