/* interval.h - what a register of a program can hold while its arguments are somewhere in a block:
 * bounds. Bounds of NaN mean "anything". For core/program.c and the kernels of devices. */
#ifndef MOSAIC_INTERVAL_H
#define MOSAIC_INTERVAL_H
#include <math.h>

#include "mosaic.h"

#ifndef MOSAIC_INLINE /* devices with kernels of their own say more */
#define MOSAIC_INLINE static inline
#endif

typedef struct {
    double low, high; /* NaN: nothing is known, not even that it is a number */
    bool whole;       /* every value is a whole number */
} interval;

MOSAIC_INLINE interval interval_of(double low, double high, bool whole)
{
    interval x = {low, high, whole};
    return x;
}
MOSAIC_INLINE interval unknown(void) { return interval_of(NAN, NAN, false); }
MOSAIC_INLINE interval either(void) { return interval_of(0, 1, true); } /* a condition */
MOSAIC_INLINE double least(double a, double b) { return a < b ? a : b; }
MOSAIC_INLINE double most(double a, double b) { return a > b ? a : b; }
MOSAIC_INLINE interval point(double value)
{
    return interval_of(value, value, value == floor(value));
}
MOSAIC_INLINE bool is_point(interval x) { return x.low == x.high; }

/* Bounds from those of a function that is monotone in exact arithmetic, but rounded as it likes. */
MOSAIC_INLINE interval widened(double low, double high)
{
    const double slack = 0x1p-48;
    return interval_of(low - fabs(low) * slack, high + fabs(high) * slack, false);
}

/* A condition that holds surely, or at most perhaps. */
MOSAIC_INLINE interval condition(bool surely, bool perhaps)
{
    return interval_of(surely, perhaps, true);
}
MOSAIC_INLINE bool holds(interval a) { return a.low > 0 || a.high < 0; }
MOSAIC_INLINE bool may_hold(interval a) { return !(a.low == 0 && a.high == 0); }

/* The hull of four corners; anything where one of them is no number. */
MOSAIC_INLINE interval hull(double a, double b, double c, double d, bool whole)
{
    if (isnan(a) || isnan(b) || isnan(c) || isnan(d)) return unknown();
    return interval_of(least(least(a, b), least(c, d)), most(most(a, b), most(c, d)), whole);
}

MOSAIC_INLINE interval joined(interval a, interval b)
{
    return hull(a.low, a.high, b.low, b.high, a.whole && b.whole);
}

MOSAIC_INLINE interval product(interval a, interval b)
{
    return hull(a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high, a.whole && b.whole);
}

MOSAIC_INLINE interval quotient(interval a, interval b)
{
    if (!(b.low > 0 || b.high < 0)) return unknown();
    return hull(a.low / b.low, a.low / b.high, a.high / b.low, a.high / b.high, false);
}

/* Only for one positive divisor; exact for whole numbers, whose remainders are not rounded. */
MOSAIC_INLINE interval remainder_of(interval a, interval b)
{
    if (!is_point(b) || !(b.low > 0) || !(fabs(a.low) < 0x1p53) || !(fabs(a.high) < 0x1p53))
        return unknown();
    double period = floor(a.low / b.low);
    if (!(a.whole && b.whole) || period != floor(a.high / b.low))
        return interval_of(0, b.low, a.whole && b.whole);
    return interval_of(a.low - period * b.low, a.high - period * b.low, true);
}

MOSAIC_INLINE interval power(interval a, interval b)
{
    if (is_point(a) && is_point(b)) return widened(pow(a.low, b.low), pow(a.low, b.low));
    if (!(a.low > 0)) return unknown();
    interval r =
        hull(pow(a.low, b.low), pow(a.low, b.high), pow(a.high, b.low), pow(a.high, b.high), false);
    return widened(r.low, r.high);
}

MOSAIC_INLINE interval absolute(interval a)
{
    if (a.low >= 0) return a;
    if (a.high <= 0) return interval_of(-a.high, -a.low, a.whole);
    return isnan(a.low) ? unknown() : interval_of(0, most(-a.low, a.high), a.whole);
}

/* Of a table's entries, from 1; no more than `limit` are looked through. Indices outside of it may
 * give anything that it holds: valid says so. */
MOSAIC_INLINE interval entries(const double *values, int64_t size, interval index, double limit)
{
    if (isnan(index.low)) return unknown();
    double count = (double)size;
    double from = least(most(floor(index.low), 1), count);
    double to = least(most(ceil(index.high), 1), count);
    if (to - from > limit) return unknown();
    const double *first = values + (int64_t)from - 1, *last = values + (int64_t)to - 1;
    interval all = interval_of(*first, *first, true);
    for (const double *x = first; x <= last; x++) {
        if (isnan(*x)) return unknown();
        all.low = least(all.low, *x);
        all.high = most(all.high, *x);
        all.whole = all.whole && fabs(*x) < 0x1p62 && *x == (double)(int64_t)*x;
    }
    return all;
}

MOSAIC_INLINE interval within(interval a, interval n)
{
    if (a.high < 1 || a.low > n.high) return point(0);
    return a.whole && a.low >= 1 && a.high <= n.low ? point(1) : either();
}

MOSAIC_INLINE interval less(interval a, interval b, bool or_equal)
{
    if (or_equal ? a.high <= b.low : a.high < b.low) return point(1);
    return (or_equal ? a.low > b.high : a.low >= b.high) ? point(0) : either();
}

MOSAIC_INLINE interval equal(interval a, interval b)
{
    if (a.high < b.low || a.low > b.high) return point(0);
    return is_point(a) && is_point(b) ? point(1) : either();
}

MOSAIC_INLINE interval of_one(int op, interval a)
{
    switch (op) {
    case MOSAIC_PROGRAM_NEG: return interval_of(-a.high, -a.low, a.whole);
    case MOSAIC_PROGRAM_ABS: return absolute(a);
    case MOSAIC_PROGRAM_FLOOR: return interval_of(floor(a.low), floor(a.high), true);
    case MOSAIC_PROGRAM_CEIL: return interval_of(ceil(a.low), ceil(a.high), true);
    case MOSAIC_PROGRAM_SQRT: return a.low >= 0 ? widened(sqrt(a.low), sqrt(a.high)) : unknown();
    case MOSAIC_PROGRAM_EXP: return widened(exp(a.low), exp(a.high));
    case MOSAIC_PROGRAM_LOG: return a.low > 0 ? widened(log(a.low), log(a.high)) : unknown();
    case MOSAIC_PROGRAM_TANH: return widened(tanh(a.low), tanh(a.high));
    case MOSAIC_PROGRAM_NOT: return condition(!may_hold(a), !holds(a));
    default: /* sin, cos */ return isfinite(a.low) && isfinite(a.high) ? widened(-1, 1) : unknown();
    }
}

MOSAIC_INLINE interval of_two(int op, interval a, interval b)
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
    if (isnan(a.low) || isnan(b.low)) return unknown();
    if (op == MOSAIC_PROGRAM_MIN)
        return interval_of(least(a.low, b.low), least(a.high, b.high), whole);
    return interval_of(most(a.low, b.low), most(a.high, b.high), whole);
}

MOSAIC_INLINE interval chosen(interval c, interval a, interval b)
{
    if (holds(c)) return a;
    return may_hold(c) ? joined(a, b) : b;
}

/* What a step that is no look-up makes of what is in registers r; arguments are low[n]..high[n]. */
MOSAIC_INLINE interval of_step(const mosaic_program_step *s, const interval *r, const double *low,
                               const double *high)
{
    int argument = s->op - MOSAIC_PROGRAM_BATCH;
    if (s->op == MOSAIC_PROGRAM_CONSTANT) return isnan(s->value) ? unknown() : point(s->value);
    if (s->op == MOSAIC_PROGRAM_SCORE) return unknown();
    if (s->op <= MOSAIC_PROGRAM_KEY) return interval_of(low[argument], high[argument], true);
    if (s->op == MOSAIC_PROGRAM_SELECT) return chosen(r[s->a], r[s->b], r[s->c]);
    bool two = s->op == MOSAIC_PROGRAM_WITHIN || s->op >= MOSAIC_PROGRAM_ADD;
    return two ? of_two(s->op, r[s->a], r[s->b]) : of_one(s->op, r[s->a]);
}

/* What a program with this result lets through; `scores`: is it one of scores? */
MOSAIC_INLINE mosaic_program_extent extent_of(interval result, interval valid, bool scores)
{
    if (valid.low != 1) return MOSAIC_PROGRAM_SOME; /* somebody has to look */
    if (scores) return result.high == -INFINITY ? MOSAIC_PROGRAM_NONE : MOSAIC_PROGRAM_SOME;
    if (!may_hold(result)) return MOSAIC_PROGRAM_NONE;
    return holds(result) ? MOSAIC_PROGRAM_ALL : MOSAIC_PROGRAM_SOME;
}

#endif
