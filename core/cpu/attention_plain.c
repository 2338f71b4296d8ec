/* attention_plain.c - attention of one query after the other, in double precision: for f64
 * operands, where being right matters more than being fast. */
#include <math.h>
#include <string.h>

#include "../poll.h"
#include "attention.h"

typedef struct {
    double *k, *v, *dk, *dv; /* (nk, d) */
    double *score, *slant;   /* (nk): p and ds of one query */
    double *slope;           /* (nk): d score of the program / d score */
    double *registers;       /* of programs */
    double *q, *out, *dq;    /* (d): of one query */
    int64_t from, to;        /* the keys that it is about */
    int64_t pairs;           /* seen so far */
} workspace;

static int64_t scratch_bytes(const mosaic_attention_unit *u)
{
    return 8 * (4 * u->nk * u->d + 3 * u->nk + mosaic_attention_registers(u) + 3 * u->d);
}

static workspace lay_out(const mosaic_attention_unit *u, void *scratch)
{
    int64_t matrix = u->nk * u->d;
    workspace w = {.k = scratch, .to = u->nk};
    w.v = w.k + matrix;
    w.dk = w.v + matrix;
    w.dv = w.dk + matrix;
    w.score = w.dv + matrix;
    w.slant = w.score + u->nk;
    w.slope = w.slant + u->nk;
    w.registers = w.slope + u->nk;
    w.q = w.registers + mosaic_attention_registers(u);
    w.out = w.q + u->d;
    w.dq = w.out + u->d;
    return w;
}

static void read_row(double *to, const mosaic_rows *from, int64_t head, int64_t row, int64_t d)
{
    for (int64_t c = 0; c < d; c++)
        to[c] = mosaic_element_read(from->data, mosaic_rows_at(from, head, row, c), from->dtype);
}

static void read_keys(workspace *w, const mosaic_attention_unit *u)
{
    for (int64_t j = w->from; j < w->to; j++) {
        read_row(w->k + j * u->d, &u->k, 0, j, u->d);
        read_row(w->v + j * u->d, &u->v, 0, j, u->d);
    }
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

/* visible (count) is 0, or -infinity where query i does not see one of keys from.. */
static void apply_keep(const mosaic_attention_unit *u, const workspace *w, int64_t head, int64_t i,
                       int64_t from, int64_t count, double *visible)
{
    mosaic_program_run run = mosaic_attention_run(u, u->keep_if, head, i, from, count);
    mosaic_cpu()->program->run(&run, u->keep_if->value_count, w->registers);
    const double *kept = w->registers + u->keep_if->result * MOSAIC_PROGRAM_RUN;
    const double *valid = w->registers + u->keep_if->valid * MOSAIC_PROGRAM_RUN;
    for (int64_t j = 0; j < count; j++) {
        if (visible[j] == 0 && valid[j] == 0) mosaic_attention_report(u, &run, j);
        if (kept[j] == 0) visible[j] = -INFINITY;
    }
}

/* Scores (count) of keys from.. of query i, where they are not hidden, become what the program
 * makes of them; slope (count) gets its derivative. */
static void apply_score(const mosaic_attention_unit *u, const workspace *w, int64_t head, int64_t i,
                        int64_t from, int64_t count, double *score, double *slope)
{
    mosaic_program_run run = mosaic_attention_run(u, u->score, head, i, from, count);
    run.score = score;
    mosaic_cpu()->program->run(&run, u->score->count, w->registers);
    const double *result = w->registers + u->score->result * MOSAIC_PROGRAM_RUN;
    const double *valid = w->registers + u->score->valid * MOSAIC_PROGRAM_RUN;
    const double *rate = w->registers + u->score->slope * MOSAIC_PROGRAM_RUN;
    for (int64_t j = 0; j < count; j++) {
        if (score[j] == -INFINITY) continue;
        if (valid[j] == 0) mosaic_attention_report(u, &run, j);
        score[j] = result[j];
        slope[j] = rate[j];
    }
}

static int64_t run_length(int64_t from, int64_t to)
{
    return to - from < MOSAIC_PROGRAM_RUN ? to - from : MOSAIC_PROGRAM_RUN;
}

/* score <- 0 where query i may look, else -infinity */
static void look(const mosaic_attention_unit *u, workspace *w, int64_t head, int64_t i)
{
    for (int64_t j = w->from; j < w->to; j++)
        w->score[j] = mosaic_attention_sees(u, head, i, j) ? 0 : -INFINITY;
    for (int64_t j = w->from; u->keep_if && j < w->to; j += MOSAIC_PROGRAM_RUN)
        apply_keep(u, w, head, i, j, run_length(j, w->to), w->score + j);
    for (int64_t j = w->from; j < w->to; j++) w->pairs += w->score[j] == 0;
}

/* The scores of query i against the keys, -infinity where it may not look; returns the largest. */
static double scores(const mosaic_attention_unit *u, workspace *w, int64_t head, int64_t i)
{
    double top = -INFINITY;
    mosaic_poll();
    read_row(w->q, &u->q, head, i, u->d);
    look(u, w, head, i);
    for (int64_t j = w->from; j < w->to; j++) {
        if (w->score[j] == -INFINITY) continue;
        w->score[j] =
            u->scale * dot(w->q, w->k + j * u->d, u->d) + mosaic_attention_added(u, head, i, j);
    }
    for (int64_t j = w->from; u->score && j < w->to; j += MOSAIC_PROGRAM_RUN)
        apply_score(u, w, head, i, j, run_length(j, w->to), w->score + j, w->slope + j);
    for (int64_t j = w->from; j < w->to; j++)
        if (!(w->score[j] <= top)) top = w->score[j]; /* a NaN stays */
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
    read_keys(&w, u);
    for (int64_t r = from; r < to; r++) forward_row(u, &w, r / u->nq, r % u->nq);
    work->visible += w.pairs;
    work->computed += w.pairs;
}

/* p = exp(s - lse), ds = p (kept dout.v - delta); dv += kept p dout, dk += ds q, dq = ds k. The sum
 * over keys of kept p dout.v is dout.out, so delta is what it is without dropout. */
static void backward_row(const mosaic_attention_unit *u, const mosaic_attention_part *part,
                         workspace *w, int64_t row)
{
    const int64_t head = row / u->nq, i = row % u->nq;
    double *dout = w->out;
    double lse = read_number(&u->lse, head, i), delta = read_number(&u->delta, head, i);
    scores(u, w, head, i);
    read_row(dout, &u->dout, head, i, u->d);
    for (int64_t c = 0; c < u->d; c++) w->dq[c] = 0;
    for (int64_t j = w->from; j < w->to; j++) {
        if (w->score[j] == -INFINITY) continue;
        double p = exp(w->score[j] - lse), kept = mosaic_attention_kept(u, head, i, j);
        double ds = p * (kept * dot(dout, w->v + j * u->d, u->d) - delta);
        if (u->score) ds *= w->slope[j];
        add_scaled(w->dv + j * u->d, dout, kept * p, u->d);
        add_scaled(w->dk + j * u->d, w->q, ds, u->d);
        add_scaled(w->dq, w->k + j * u->d, ds, u->d);
        if (!u->dbias.data) continue;
        int64_t at = mosaic_rows_at(&u->dbias, head, i, j);
        double old = mosaic_element_read(u->dbias.data, at, u->dbias.dtype);
        mosaic_element_write(u->dbias.data, at, u->dbias.dtype, old + ds);
    }
    mosaic_attention_wait(part, row);
    write_row(&u->dq, head, i, w->dq, u->d, u->scale, u->accumulate || w->from > 0);
    mosaic_attention_pass(part, row);
}

/* As many as are worth a thread, at least. */
static int64_t chunk_keys(const mosaic_attention_unit *u) { return u->nk < 512 ? u->nk : 512; }

static void backward(const mosaic_attention_unit *u, const mosaic_attention_part *part,
                     void *scratch, mosaic_attention_work *work)
{
    workspace w = lay_out(u, scratch);
    w.from = part->key_from, w.to = part->key_to;
    read_keys(&w, u);
    memset(w.dk + w.from * u->d, 0, (size_t)((w.to - w.from) * u->d) * 8);
    memset(w.dv + w.from * u->d, 0, (size_t)((w.to - w.from) * u->d) * 8);
    for (int64_t r = 0; r < u->group * u->nq; r++) backward_row(u, part, &w, r);
    for (int64_t j = w.from; j < w.to; j++) {
        write_row(&u->dk, 0, j, w.dk + j * u->d, u->d, u->scale, u->accumulate);
        write_row(&u->dv, 0, j, w.dv + j * u->d, u->d, 1, u->accumulate);
    }
    work->visible += w.pairs;
    work->computed += w.pairs;
}

static int64_t forward_scratch_bytes(const mosaic_attention_unit *u, int64_t rows)
{
    (void)rows;
    return scratch_bytes(u);
}

const mosaic_attention_kernels mosaic_attention_plain = {.scratch = forward_scratch_bytes,
                                                         .run = forward};
const mosaic_attention_backward_kernels mosaic_attention_backward_plain = {
    .keys = chunk_keys, .scratch = scratch_bytes, .run = backward};
