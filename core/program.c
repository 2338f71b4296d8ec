/* program.c - programs of masks: are they sound, and what do they say about whole blocks?
 *
 * Blocks are told apart by interval arithmetic: every register gets bounds of what it can hold for
 * any of the block's batch entries, heads, queries and keys. Bounds of NaN mean "anything". */
#include "program.h"

#include <math.h>

#include "tensor.h"

/* ---- soundness ------------------------------------------------------------------------------ */

/* How many registers an operation reads. */
static int operands_of(int op)
{
    if (op <= MOSAIC_PROGRAM_KEY) return 0;
    if (op == MOSAIC_PROGRAM_SELECT) return 3;
    return op == MOSAIC_PROGRAM_WITHIN || op >= MOSAIC_PROGRAM_ADD ? 2 : 1;
}

static bool step_is_sound(const mosaic_program *p, const mosaic_program_step *s, bool *written)
{
    if (s->op < 0 || s->op >= MOSAIC_PROGRAM_OPS || s->to < 0 || s->to >= p->registers)
        return false;
    const int32_t reads[3] = {s->a, s->b, s->c};
    for (int i = 0; i < operands_of(s->op); i++)
        if (reads[i] < 0 || reads[i] >= p->registers || !written[reads[i]] || reads[i] == s->to)
            return false;
    written[s->to] = true;
    return s->op != MOSAIC_PROGRAM_LOOKUP || (s->value >= 0 && s->value < p->table_count);
}

static bool is_written(const mosaic_program *p, int32_t number, const bool *written)
{
    return number >= 0 && number < p->registers && written[number];
}

static bool is_sound(const mosaic_program *p)
{
    bool written[MOSAIC_PROGRAM_REGISTERS] = {false};
    if (p->registers < 1 || p->registers > MOSAIC_PROGRAM_REGISTERS || p->count < 1 ||
        p->count > MOSAIC_PROGRAM_STEPS || p->value_count < 1 || p->value_count > p->count)
        return false;
    for (int i = 0; i < p->count; i++) {
        if (!step_is_sound(p, &p->steps[i], written)) return false;
        bool complete = is_written(p, p->result, written) && is_written(p, p->valid, written);
        if (i + 1 == p->value_count && !complete) return false;
    }
    return p->slope < 0 || is_written(p, p->slope, written);
}

mosaic_status mosaic_program_check(const char *op, const char *name, const mosaic_program *program,
                                   const mosaic_tensor *like)
{
    MOSAIC_REQUIRE(is_sound(program), "%s: the program of %s is not sound (%d steps, %d registers)",
                   op, name, program->count, program->registers);
    for (int i = 0; i < program->table_count; i++) {
        const mosaic_tensor *table = program->tables[i];
        MOSAIC_TRY(mosaic_check_operands(op, table, like));
        MOSAIC_REQUIRE(table->dtype == MOSAIC_DTYPE_F64 && table->ndim == 1 && table->size[0] > 0 &&
                           table->stride[0] == 1,
                       "%s: table %d of %s must be f64 with one dim, contiguous, not empty, got %s",
                       op, i + 1, name, mosaic_tensor_describe(table));
    }
    return MOSAIC_OK;
}

/* ---- intervals ------------------------------------------------------------------------------ */

typedef struct {
    double low, high; /* NaN: nothing is known, not even that it is a number */
    bool whole;       /* every value is a whole number */
} interval;

static const interval unknown = {NAN, NAN, false};
static const interval either = {0, 1, true}; /* a condition */

static double least(double a, double b) { return a < b ? a : b; }
static double most(double a, double b) { return a > b ? a : b; }
static interval point(double value) { return (interval){value, value, value == floor(value)}; }
static bool is_point(interval x) { return x.low == x.high; }

/* Bounds from those of a function that is monotone in exact arithmetic, but rounded as it likes. */
static interval widened(double low, double high)
{
    const double slack = 0x1p-48;
    return (interval){low - fabs(low) * slack, high + fabs(high) * slack, false};
}

/* A condition that holds surely, or at most perhaps. */
static interval condition(bool surely, bool perhaps) { return (interval){surely, perhaps, true}; }
static bool holds(interval a) { return a.low > 0 || a.high < 0; }
static bool may_hold(interval a) { return !(a.low == 0 && a.high == 0); }

/* The hull of four corners; anything where one of them is no number. */
static interval hull(double a, double b, double c, double d, bool whole)
{
    if (isnan(a) || isnan(b) || isnan(c) || isnan(d)) return unknown;
    return (interval){least(least(a, b), least(c, d)), most(most(a, b), most(c, d)), whole};
}

static interval joined(interval a, interval b)
{
    return hull(a.low, a.high, b.low, b.high, a.whole && b.whole);
}

static interval product(interval a, interval b)
{
    return hull(a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high, a.whole && b.whole);
}

static interval quotient(interval a, interval b)
{
    if (!(b.low > 0 || b.high < 0)) return unknown;
    return hull(a.low / b.low, a.low / b.high, a.high / b.low, a.high / b.high, false);
}

/* Only for one positive divisor; exact for whole numbers, whose remainders are not rounded. */
static interval remainder_of(interval a, interval b)
{
    if (!is_point(b) || !(b.low > 0) || !(fabs(a.low) < 0x1p53) || !(fabs(a.high) < 0x1p53))
        return unknown;
    double period = floor(a.low / b.low);
    if (!(a.whole && b.whole) || period != floor(a.high / b.low))
        return (interval){0, b.low, a.whole && b.whole};
    return (interval){a.low - period * b.low, a.high - period * b.low, true};
}

static interval power(interval a, interval b)
{
    if (is_point(a) && is_point(b)) return widened(pow(a.low, b.low), pow(a.low, b.low));
    if (!(a.low > 0)) return unknown;
    interval r =
        hull(pow(a.low, b.low), pow(a.low, b.high), pow(a.high, b.low), pow(a.high, b.high), false);
    return widened(r.low, r.high);
}

static interval absolute(interval a)
{
    if (a.low >= 0) return a;
    if (a.high <= 0) return (interval){-a.high, -a.low, a.whole};
    return isnan(a.low) ? unknown : (interval){0, most(-a.low, a.high), a.whole};
}

enum { MOST_ENTRIES = 1 << 16 }; /* of a table that are looked through */

/* Indices outside of the table may give anything that it holds: valid says so. */
static interval entries(const mosaic_tensor *table, interval index)
{
    const double *values = mosaic_data(table);
    if (isnan(index.low)) return unknown;
    double count = (double)table->size[0];
    double from = least(most(floor(index.low), 1), count);
    double to = least(most(ceil(index.high), 1), count);
    if (to - from > MOST_ENTRIES) return unknown;
    const double *first = values + (int64_t)from - 1, *last = values + (int64_t)to - 1;
    interval all = {*first, *first, true};
    for (const double *x = first; x <= last; x++) {
        if (isnan(*x)) return unknown;
        all.low = least(all.low, *x);
        all.high = most(all.high, *x);
        all.whole = all.whole && fabs(*x) < 0x1p62 && *x == (double)(int64_t)*x;
    }
    return all;
}

static interval within(interval a, interval n)
{
    if (a.high < 1 || a.low > n.high) return point(0);
    return a.whole && a.low >= 1 && a.high <= n.low ? point(1) : either;
}

static interval less(interval a, interval b, bool or_equal)
{
    if (or_equal ? a.high <= b.low : a.high < b.low) return point(1);
    return (or_equal ? a.low > b.high : a.low >= b.high) ? point(0) : either;
}

static interval equal(interval a, interval b)
{
    if (a.high < b.low || a.low > b.high) return point(0);
    return is_point(a) && is_point(b) ? point(1) : either;
}

static interval of_one(int op, interval a)
{
    switch (op) {
    case MOSAIC_PROGRAM_NEG: return (interval){-a.high, -a.low, a.whole};
    case MOSAIC_PROGRAM_ABS: return absolute(a);
    case MOSAIC_PROGRAM_FLOOR: return (interval){floor(a.low), floor(a.high), true};
    case MOSAIC_PROGRAM_CEIL: return (interval){ceil(a.low), ceil(a.high), true};
    case MOSAIC_PROGRAM_SQRT: return a.low >= 0 ? widened(sqrt(a.low), sqrt(a.high)) : unknown;
    case MOSAIC_PROGRAM_EXP: return widened(exp(a.low), exp(a.high));
    case MOSAIC_PROGRAM_LOG: return a.low > 0 ? widened(log(a.low), log(a.high)) : unknown;
    case MOSAIC_PROGRAM_TANH: return widened(tanh(a.low), tanh(a.high));
    case MOSAIC_PROGRAM_NOT: return condition(!may_hold(a), !holds(a));
    default: /* sin, cos */ return isfinite(a.low) && isfinite(a.high) ? widened(-1, 1) : unknown;
    }
}

static interval of_two(int op, interval a, interval b)
{
    bool whole = a.whole && b.whole;
    switch (op) {
    case MOSAIC_PROGRAM_WITHIN: return within(a, b);
    case MOSAIC_PROGRAM_ADD:
        return hull(a.low + b.low, a.high + b.high, a.low + b.low, a.high + b.high, whole);
    case MOSAIC_PROGRAM_SUB:
        return hull(a.low - b.high, a.high - b.low, a.low - b.high, a.high - b.low, whole);
    case MOSAIC_PROGRAM_MUL: return product(a, b);
    case MOSAIC_PROGRAM_DIV: return quotient(a, b);
    case MOSAIC_PROGRAM_MOD: return remainder_of(a, b);
    case MOSAIC_PROGRAM_POW: return power(a, b);
    case MOSAIC_PROGRAM_LT: return less(a, b, false);
    case MOSAIC_PROGRAM_LE: return less(a, b, true);
    case MOSAIC_PROGRAM_EQ: return equal(a, b);
    case MOSAIC_PROGRAM_AND: return condition(holds(a) && holds(b), may_hold(a) && may_hold(b));
    case MOSAIC_PROGRAM_OR: return condition(holds(a) || holds(b), may_hold(a) || may_hold(b));
    default: break; /* min, max */
    }
    if (isnan(a.low) || isnan(b.low)) return unknown;
    if (op == MOSAIC_PROGRAM_MIN)
        return (interval){least(a.low, b.low), least(a.high, b.high), whole};
    return (interval){most(a.low, b.low), most(a.high, b.high), whole};
}

static interval chosen(interval c, interval a, interval b)
{
    if (holds(c)) return a;
    return may_hold(c) ? joined(a, b) : b;
}

mosaic_program_extent mosaic_program_extent_of(const mosaic_program *p, const double low[4],
                                               const double high[4])
{
    interval r[MOSAIC_PROGRAM_REGISTERS];
    for (const mosaic_program_step *s = p->steps; s < p->steps + p->value_count; s++) {
        int argument = s->op - MOSAIC_PROGRAM_BATCH;
        if (s->op == MOSAIC_PROGRAM_CONSTANT)
            r[s->to] = isnan(s->value) ? unknown : point(s->value);
        else if (s->op == MOSAIC_PROGRAM_SCORE)
            r[s->to] = unknown;
        else if (s->op <= MOSAIC_PROGRAM_KEY)
            r[s->to] = (interval){low[argument], high[argument], true};
        else if (s->op == MOSAIC_PROGRAM_LOOKUP)
            r[s->to] = entries(p->tables[(int)s->value], r[s->a]);
        else if (s->op == MOSAIC_PROGRAM_SELECT)
            r[s->to] = chosen(r[s->a], r[s->b], r[s->c]);
        else if (operands_of(s->op) == 1)
            r[s->to] = of_one(s->op, r[s->a]);
        else
            r[s->to] = of_two(s->op, r[s->a], r[s->b]);
    }
    /* cppcheck-suppress uninitvar ; a program that has been checked writes it */
    interval result = r[p->result];
    if (r[p->valid].low != 1) return MOSAIC_PROGRAM_SOME; /* somebody has to look */
    if (p->slope >= 0) return result.high == -INFINITY ? MOSAIC_PROGRAM_NONE : MOSAIC_PROGRAM_SOME;
    if (!may_hold(result)) return MOSAIC_PROGRAM_NONE;
    return holds(result) ? MOSAIC_PROGRAM_ALL : MOSAIC_PROGRAM_SOME;
}

mosaic_status mosaic_program_range(mosaic_program_extent *extent, const mosaic_program *program,
                                   const double *low, const double *high)
{
    MOSAIC_TRY(mosaic_program_check("program_range", "the mask", program, NULL));
    *extent = mosaic_program_extent_of(program, low, high);
    return MOSAIC_OK;
}
