/* call.h - one call of attention as kernels get it: numbers and addresses, nothing of the host.
 *
 * Read by host code in C, by nvcc, by the run-time compiler and, emulated, by a C++ compiler. A
 * kernel's grid is made of tiles of queries (forward), or of keys, times heads and batch entries;
 * mask.h says what a tile of queries sees of a tile of keys. */
#ifndef MOSAIC_ATTENTION_CALL_H
#define MOSAIC_ATTENTION_CALL_H
#include <stdbool.h>
#include <stdint.h>

/* A strided operand (b0, b1, head, row, column); strides in elements. What keys share, heads of the
 * same group share: the stride is that of key/value heads. */
typedef struct {
    char *data; /* NULL: there is none */
    int64_t b0, b1, head, row, column;
} mosaic_attention_view;

/* Positions (n): NULL data stands for 1, 2, .. n. */
typedef struct {
    const int64_t *data;
    int64_t step;
} mosaic_attention_positions_of;

/* What is common to a tile of rows: read from an array of (b0, b1, tile), which prepare.cu fills
 * where positions or documents are given. */
typedef struct {
    int64_t position_low, position_high;
    int64_t document_low, document_high;
} mosaic_attention_span;

/* The first look-up that counts but leaves its table, in the order of place, query position, key
 * position, and keep_if before score. It is found in four runs of a kernel: run `known` finds
 * at[known], the least for which the ones before it are what was found. */
typedef struct {
    long long known;
    long long at[4]; /* (b0 * b1 + ..) * heads + head, query, key, is it score?; LLONG_MAX: none */
} mosaic_attention_fault;

enum { /* numbers of mosaic_dtype */
       MOSAIC_ATTENTION_F32,
       MOSAIC_ATTENTION_F64,
       MOSAIC_ATTENTION_BF16,
       MOSAIC_ATTENTION_F16,
};

/* Bits of `entries`: what a tile has to look at. */
enum {
    MOSAIC_ATTENTION_LIMITS = 1, /* left, right, prefix */
    MOSAIC_ATTENTION_DOCUMENTS = 2,
    MOSAIC_ATTENTION_KEEP = 4,
    MOSAIC_ATTENTION_KEEP_IF = 8, /* a program */
    MOSAIC_ATTENTION_ALIBI = 16,  /* from here on scores change */
    MOSAIC_ATTENTION_BIAS = 32,
    MOSAIC_ATTENTION_SCORE = 64, /* a program */
    MOSAIC_ATTENTION_DROPOUT = 128,
};

typedef struct {
    int dtype;                       /* of q, k, v (mosaic_dtype) */
    int64_t b0, b1, heads, kv_heads; /* heads: of queries */
    int64_t nq, nk;
    int d;
    double scale; /* of the products q.k */
    mosaic_attention_view q, k, v;
    mosaic_attention_view out, lse;    /* f32 (f64 for f64); lse f64, (b0, b1, head, row) */
    mosaic_attention_view dout, delta; /* f32 (f64 for f64) */
    mosaic_attention_view dq, dk, dv;  /* f32 (f64 for f64) */
    mosaic_attention_view dbias;       /* f32 (f64 for f64), row: query, column: key */
    bool accumulate;                   /* backward adds to dq, dk, dv; to dbias it always adds */

    /* A query at position s sees a key at position t when s - t <= left, t - s <= right, t <=
     * prefix, their documents are equal, and keep and keep_if say so. */
    unsigned entries;
    int64_t left, right, prefix; /* INT64_MAX: no limit */
    mosaic_attention_positions_of q_position, k_position;
    mosaic_attention_view q_document, k_document; /* i64 (b0, b1, row) */
    mosaic_attention_view keep;                   /* u8, row: query, column: key */
    mosaic_attention_view bias;
    int bias_dtype;
    const double *slope; /* (heads): slope (s - t) is taken off the score; or NULL */

    /* What goes by numbers of the whole (see mosaic_attention_options). */
    int64_t head_from, batch_from[2], batch_total;
    uint64_t seed;  /* of dropout */
    uint32_t below; /* a pair whose random word is below is dropped, 0: none */
    double kept;    /* what the others are multiplied by */

    const double *const *tables;   /* of score, then of keep_if */
    const int64_t *table_sizes;    /* how many entries each has */
    mosaic_attention_fault *fault; /* NULL: no look-up can leave its table */
    unsigned long long *work;      /* 2: pairs visible, and computed, are added here */
    const struct mosaic_attention_scales *scales; /* of packed operands: backward.h */

    /* What mosaic_attention_cut has found out about tiles of q_tile queries and k_tile keys. */
    int q_tile, k_tile;
    const mosaic_attention_span *q_span, *k_span; /* (b0, b1, tile), or NULL: positions 1.. n */
    mosaic_attention_view extent; /* u8 (b0, b1, head, tile of queries, tile of keys): what keep and
                                   * the programs let through */
} mosaic_attention_args;

#endif
