/* attention_plain.c - attention of one query after the other, in double precision: for f64
 * operands, where being right matters more than being fast. */
#include <math.h>

#include "attention.h"

typedef struct {
    double *k, *v, *dk, *dv; /* (nk, d) */
    double *score, *slant;   /* (nk): p and ds of one query */
    double *q, *out, *dq;    /* (d): of one query */
    int64_t pairs;           /* seen so far */
} workspace;

static int64_t scratch_bytes(const mosaic_attention_unit *u)
{
    return 8 * (4 * u->nk * u->d + 2 * u->nk + 3 * u->d);
}

static workspace lay_out(const mosaic_attention_unit *u, void *scratch)
{
    int64_t matrix = u->nk * u->d;
    workspace w = {.k = scratch};
    w.v = w.k + matrix;
    w.dk = w.v + matrix;
    w.dv = w.dk + matrix;
    w.score = w.dv + matrix;
    w.slant = w.score + u->nk;
    w.q = w.slant + u->nk;
    w.out = w.q + u->d;
    w.dq = w.out + u->d;
    return w;
}

static void read_row(double *to, const mosaic_rows *from, int64_t head, int64_t row, int64_t d)
{
    for (int64_t c = 0; c < d; c++)
        to[c] = mosaic_element_read(from->data, mosaic_rows_at(from, head, row, c), from->dtype);
}

static void read_matrix(double *to, const mosaic_rows *from, int64_t rows, int64_t d)
{
    for (int64_t j = 0; j < rows; j++) read_row(to + j * d, from, 0, j, d);
}

static void write_row(const mosaic_rows *to, int64_t head, int64_t row, const double *from,
                      int64_t d, double factor, bool add)
{
    for (int64_t c = 0; c < d; c++) {
        int64_t at = mosaic_rows_at(to, head, row, c);
        double old = add ? mosaic_element_read(to->data, at, to->dtype) : 0;
        mosaic_element_write(to->data, at, to->dtype, old + factor * from[c]);
    }
}

static double read_number(const mosaic_rows *from, int64_t head, int64_t row)
{
    return mosaic_element_read(from->data, mosaic_rows_at(from, head, row, 0), from->dtype);
}

static double dot(const double *a, const double *b, int64_t d)
{
    double sum = 0;
    for (int64_t c = 0; c < d; c++) sum += a[c] * b[c];
    return sum;
}

/* to += factor * from */
static void add_scaled(double *to, const double *from, double factor, int64_t d)
{
    for (int64_t c = 0; c < d; c++) to[c] += factor * from[c];
}

/* The scores of query i against all keys, -infinity where it may not look; returns the largest. */
static double scores(const mosaic_attention_unit *u, workspace *w, int64_t head, int64_t i)
{
    double top = -INFINITY;
    read_row(w->q, &u->q, head, i, u->d);
    for (int64_t j = 0; j < u->nk; j++) {
        double s = -INFINITY;
        bool sees = mosaic_attention_sees(u, head, i, j);
        w->pairs += sees;
        if (sees)
            s = u->scale * dot(w->q, w->k + j * u->d, u->d) + mosaic_attention_added(u, head, i, j);
        w->score[j] = s;
        if (!(s <= top)) top = s; /* a NaN stays */
    }
    return top;
}

static void forward_row(const mosaic_attention_unit *u, workspace *w, int64_t head, int64_t i)
{
    double top = scores(u, w, head, i), sum = 0;
    for (int64_t c = 0; c < u->d; c++) w->out[c] = 0;
    for (int64_t j = 0; j < u->nk; j++) {
        if (w->score[j] == -INFINITY) continue;
        double p = exp(w->score[j] - top);
        sum += p;
        add_scaled(w->out, w->v + j * u->d, p * mosaic_attention_kept(u, head, i, j), u->d);
    }
    bool seen = top != -INFINITY;
    write_row(&u->out, head, i, w->out, u->d, seen ? 1 / sum : 0, false);
    mosaic_element_write(u->lse.data, mosaic_rows_at(&u->lse, head, i, 0), u->lse.dtype,
                         seen ? top + log(sum) : -INFINITY);
}

static void forward(const mosaic_attention_unit *u, int64_t from, int64_t to, void *scratch,
                    mosaic_attention_work *work)
{
    workspace w = lay_out(u, scratch);
    read_matrix(w.k, &u->k, u->nk, u->d);
    read_matrix(w.v, &u->v, u->nk, u->d);
    for (int64_t r = from; r < to; r++) forward_row(u, &w, r / u->nq, r % u->nq);
    work->visible += w.pairs;
    work->computed += w.pairs;
}

/* p = exp(s - lse), ds = p (kept dout.v - delta); dv += kept p dout, dk += ds q, dq = ds k. The sum
 * over keys of kept p dout.v is dout.out, so delta is what it is without dropout. */
static void backward_row(const mosaic_attention_unit *u, const mosaic_attention_part *part,
                         workspace *w, int64_t head, int64_t i)
{
    double *dout = w->out;
    double lse = read_number(&u->lse, head, i), delta = read_number(&u->delta, head, i);
    scores(u, w, head, i);
    read_row(dout, &u->dout, head, i, u->d);
    for (int64_t c = 0; c < u->d; c++) w->dq[c] = 0;
    for (int64_t j = 0; j < u->nk; j++) {
        if (w->score[j] == -INFINITY) continue;
        double p = exp(w->score[j] - lse), kept = mosaic_attention_kept(u, head, i, j);
        double ds = p * (kept * dot(dout, w->v + j * u->d, u->d) - delta);
        add_scaled(w->dv + j * u->d, dout, kept * p, u->d);
        add_scaled(w->dk + j * u->d, w->q, ds, u->d);
        add_scaled(w->dq, w->k + j * u->d, ds, u->d);
        if (!u->dbias.data) continue;
        int64_t at = mosaic_rows_at(&u->dbias, head, i, j);
        double old = mosaic_element_read(u->dbias.data, at, u->dbias.dtype);
        mosaic_element_write(u->dbias.data, at, u->dbias.dtype, old + ds);
    }
    if (part->dq) write_row(&u->dq, head, i, w->dq, u->d, u->scale, u->accumulate);
}

static int64_t all_keys(const mosaic_attention_unit *u) { return u->nk; }

static void backward(const mosaic_attention_unit *u, const mosaic_attention_part *part,
                     void *scratch, mosaic_attention_work *work)
{
    workspace w = lay_out(u, scratch);
    read_matrix(w.k, &u->k, u->nk, u->d);
    read_matrix(w.v, &u->v, u->nk, u->d);
    for (int64_t c = 0; c < u->nk * u->d; c++) w.dk[c] = w.dv[c] = 0;
    for (int64_t r = part->row_from; r < part->row_to; r++)
        backward_row(u, part, &w, r / u->nq, r % u->nq);
    for (int64_t j = 0; part->dkv && j < u->nk; j++) {
        write_row(&u->dk, 0, j, w.dk + j * u->d, u->d, u->scale, u->accumulate);
        write_row(&u->dv, 0, j, w.dv + j * u->d, u->d, 1, u->accumulate);
    }
    work->visible += w.pairs;
    work->computed += w.pairs;
}

const mosaic_attention_kernels mosaic_attention_plain = {scratch_bytes, forward};
const mosaic_attention_backward_kernels mosaic_attention_backward_plain = {all_keys, scratch_bytes,
                                                                           backward};
