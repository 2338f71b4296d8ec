/* lanes.h - vectors of REAL (float or double) as wide as the ISA, by the compiler's vector types.
 *
 * A kernel that exists for f32 and f64 is a header with the bodies, included by its .c once per
 * type, with REAL, BITS (the integer of REAL's size) and NAME(x) (x with a suffix) defined. It
 * includes this file, which defines lanes and their words for that type. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES_BYTES 64
#elif defined(__AVX2__)
#define LANES_BYTES 32
#else
#define LANES_BYTES 16
#endif
#define LANES ((int64_t)(LANES_BYTES / sizeof(REAL)))

typedef REAL NAME(lanes) __attribute__((vector_size(LANES_BYTES)));
typedef REAL NAME(quarter) __attribute__((vector_size(16)));
typedef BITS NAME(bits) __attribute__((vector_size(LANES_BYTES)));

static inline NAME(lanes) NAME(load)(const REAL *p)
{
    NAME(lanes) v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void NAME(store)(REAL *p, NAME(lanes) v) { memcpy(p, &v, sizeof v); }

static inline NAME(lanes) NAME(repeat)(REAL x) { return x - (NAME(lanes)){0}; }

/* Runs block(j, count) for every LANES elements of [0, n), the last time for what is left. A block
 * is written with load_part and store_part: where count is the constant LANES they fold into a
 * plain load and store. */
#ifndef LANES_EACH
#define LANES_EACH(n, block)                                                                       \
    do {                                                                                           \
        int64_t each_ = 0;                                                                         \
        for (; each_ + LANES <= (n); each_ += LANES) {                                             \
            block(each_, LANES);                                                                   \
        }                                                                                          \
        if (each_ < (n)) {                                                                         \
            block(each_, (n)-each_);                                                               \
        }                                                                                          \
    } while (0)
#endif

/* The first `count` elements, `rest` in the other lanes. */
static inline NAME(lanes) NAME(load_part)(const REAL *p, int64_t count, REAL rest)
{
    if (count >= LANES) return NAME(load)(p);
    NAME(lanes) v = NAME(repeat)(rest);
    for (int64_t i = 0; i < count; i++) v[i] = p[i];
    return v;
}

static inline void NAME(store_part)(REAL *p, int64_t count, NAME(lanes) v)
{
    if (count >= LANES)
        NAME(store)(p, v);
    else
        for (int64_t i = 0; i < count; i++) p[i] = v[i];
}

/* Where the mask's lane is all ones a, else b. */
static inline NAME(lanes) NAME(select)(NAME(bits) mask, NAME(lanes) a, NAME(lanes) b)
{
    return (NAME(lanes))((mask & (NAME(bits))a) | (~mask & (NAME(bits))b));
}

/* By way of 16-byte vectors, which every ISA adds and takes apart quickly. */
static inline REAL NAME(sum)(NAME(lanes) v)
{
    NAME(quarter) part[LANES_BYTES / 16];
    memcpy(part, &v, sizeof v);
    for (int i = 1; i < LANES_BYTES / 16; i++) part[0] += part[i];
    REAL total = part[0][0];
    for (int i = 1; i < (int)(16 / sizeof(REAL)); i++) total += part[0][i];
    return total;
}

static inline REAL NAME(largest)(NAME(lanes) v)
{
    REAL most = v[0];
    for (int64_t i = 1; i < LANES; i++) most = v[i] > most ? v[i] : most;
    return most;
}
