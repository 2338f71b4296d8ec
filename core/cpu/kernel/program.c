/* program.c - steps of a mask's program over a run of keys: one loop per operation, so that the
 * compiler finds the vectors.
 *
 * What is the same for all keys of a query is computed once. Steps meet only in memory: no product
 * is fused with a sum, and every ISA gets the same bits. log, pow, sin and cos are libm's, because
 * a floor() of a logarithm must fall as it does in Lua. */
#include <math.h>
#include <string.h>

#include "../../tensor.h"
#include "../kernels.h"

/* 2^n for n in -1022..1023 */
static inline double power_of_two(int64_t n)
{
    uint64_t bits = (uint64_t)(n + 1023) << 52;
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* e^r - 1 where x = n ln2 + r, |r| <= ln2 / 2. Taylor's series: the 14th power adds 1e-17. */
static inline double reduced(double x, int64_t *n)
{
    const double magic =
        0x1.8p52; /* adding it rounds to an integer, which the low bits then hold */
    double shifted = x * 0x1.71547652b82fep0 + magic, whole = shifted - magic;
    double r = x - whole * 0x1.62e42fee00000p-1; /* ln2 in two parts, the first ending in zeros */
    r = r - whole * 0x1.a39ef35793c76p-33;
    double p = 1.0 / 6227020800;
    p = p * r + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    int64_t bits, zero;
    memcpy(&bits, &shifted, sizeof bits);
    memcpy(&zero, &magic, sizeof zero);
    *n = bits - zero;
    return p * (r * r) + r;
}

/* 2^n e^r with 2^n in two factors, so that subnormal results round once: 2 ulps. */
static inline double exp_f64(double x)
{
    x = x > 710 ? 710 : x; /* e^710 is infinite, e^-746 is 0; NaN passes both */
    x = x < -746 ? -746 : x;
    int64_t n;
    double y = reduced(x, &n) + 1;
    int64_t half = (int64_t)((uint64_t)(n + 2048) >> 1) - 1024;
    return y * power_of_two(half) * power_of_two(n - half);
}

/* e / (e + 2) with e = exp(2 x) - 1: 4 ulps. */
static inline double tanh_f64(double x)
{
    x = x > 20 ? 20 : x; /* beyond it is 1 to the last bit */
    x = x < -20 ? -20 : x;
    int64_t n;
    double y = reduced(2 * x, &n), two_n = power_of_two(n), e = two_n * y + (two_n - 1);
    return e / (e + 2);
}

typedef const double *restrict operand;

#define EACH for (int64_t i = 0; i < n; i++)

static void lookup(double *restrict to, operand a, int64_t n, const mosaic_tensor *table)
{
    const double *values = mosaic_data(table);
    const double last = (double)table->size[0];
    EACH
    {
        double index = a[i] >= 1 ? a[i] : 1; /* NaN too */
        to[i] = values[(int64_t)(index < last ? index : last) - 1];
    }
}

static void remainders(double *restrict to, operand a, operand b, int64_t n)
{
    EACH to[i] = floor(a[i] / b[i]) * b[i];
    EACH to[i] = a[i] - to[i];
}

static void one(int op, double *restrict to, operand a, int64_t n)
{
    switch (op) {
    case MOSAIC_PROGRAM_NEG: EACH to[i] = -a[i]; break;
    case MOSAIC_PROGRAM_ABS: EACH to[i] = fabs(a[i]); break;
    case MOSAIC_PROGRAM_FLOOR: EACH to[i] = floor(a[i]); break;
    case MOSAIC_PROGRAM_CEIL: EACH to[i] = ceil(a[i]); break;
    case MOSAIC_PROGRAM_SQRT: EACH to[i] = sqrt(a[i]); break;
    case MOSAIC_PROGRAM_EXP: EACH to[i] = exp_f64(a[i]); break;
    case MOSAIC_PROGRAM_LOG: EACH to[i] = log(a[i]); break;
    case MOSAIC_PROGRAM_TANH: EACH to[i] = tanh_f64(a[i]); break;
    case MOSAIC_PROGRAM_SIN: EACH to[i] = sin(a[i]); break;
    case MOSAIC_PROGRAM_COS: EACH to[i] = cos(a[i]); break;
    default: EACH to[i] = a[i] == 0; break; /* not */
    }
}

static void two(int op, double *restrict to, operand a, operand b, int64_t n)
{
    switch (op) {
    case MOSAIC_PROGRAM_WITHIN:
        EACH to[i] = (a[i] >= 1) & (a[i] <= b[i]) & (a[i] == floor(a[i]));
        break;
    case MOSAIC_PROGRAM_ADD: EACH to[i] = a[i] + b[i]; break;
    case MOSAIC_PROGRAM_SUB: EACH to[i] = a[i] - b[i]; break;
    case MOSAIC_PROGRAM_MUL: EACH to[i] = a[i] * b[i]; break;
    case MOSAIC_PROGRAM_DIV: EACH to[i] = a[i] / b[i]; break;
    case MOSAIC_PROGRAM_MOD: remainders(to, a, b, n); break;
    case MOSAIC_PROGRAM_POW: EACH to[i] = pow(a[i], b[i]); break;
    case MOSAIC_PROGRAM_MIN: EACH to[i] = a[i] < b[i] ? a[i] : b[i]; break;
    case MOSAIC_PROGRAM_MAX: EACH to[i] = a[i] > b[i] ? a[i] : b[i]; break;
    case MOSAIC_PROGRAM_LT: EACH to[i] = a[i] < b[i]; break;
    case MOSAIC_PROGRAM_LE: EACH to[i] = a[i] <= b[i]; break;
    case MOSAIC_PROGRAM_EQ: EACH to[i] = a[i] == b[i]; break;
    case MOSAIC_PROGRAM_AND: EACH to[i] = (a[i] != 0) & (b[i] != 0); break;
    default: EACH to[i] = (a[i] != 0) | (b[i] != 0); break; /* or */
    }
}

static void choose(double *restrict to, operand c, operand a, operand b, int64_t n)
{
    EACH to[i] = c[i] != 0 ? a[i] : b[i];
}

/* An argument or a constant. */
static void fill(const mosaic_program_run *run, const mosaic_program_step *s, double *restrict to)
{
    const int64_t n = run->count;
    double value = s->value;
    if (s->op == MOSAIC_PROGRAM_KEY) {
        EACH to[i] = (double)run->key[i];
        return;
    }
    if (s->op == MOSAIC_PROGRAM_SCORE) {
        EACH to[i] = run->score[i];
        return;
    }
    if (s->op == MOSAIC_PROGRAM_BATCH) value = run->batch;
    if (s->op == MOSAIC_PROGRAM_HEAD) value = run->head;
    if (s->op == MOSAIC_PROGRAM_QUERY) value = run->query;
    EACH to[i] = value;
}

static void run_steps(const mosaic_program_run *run, int32_t count, double *registers)
{
    const mosaic_program *p = run->program;
    for (const mosaic_program_step *s = p->steps; s < p->steps + count; s++) {
        double *to = registers + s->to * MOSAIC_PROGRAM_RUN;
        const double *a = registers + s->a * MOSAIC_PROGRAM_RUN;
        const double *b = registers + s->b * MOSAIC_PROGRAM_RUN;
        const double *c = registers + s->c * MOSAIC_PROGRAM_RUN;
        const int64_t n = s->varies ? run->count : 1;
        if (s->op <= MOSAIC_PROGRAM_KEY) {
            fill(run, s, to);
            continue;
        } else if (s->op == MOSAIC_PROGRAM_LOOKUP) {
            lookup(to, a, n, p->tables[(int)s->value]);
        } else if (s->op == MOSAIC_PROGRAM_SELECT) {
            choose(to, a, b, c, n);
        } else if (s->op == MOSAIC_PROGRAM_WITHIN || s->op >= MOSAIC_PROGRAM_ADD) {
            two(s->op, to, a, b, n);
        } else {
            one(s->op, to, a, n);
        }
        for (int64_t i = n; i < run->count; i++) to[i] = to[0];
    }
}

const mosaic_program_kernels MOSAIC_KERNELS(program) = {run_steps};
