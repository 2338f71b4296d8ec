/* attention.c - attention on one thread, as a share of the multiply-adds that the core can do.
 *
 * Prints one JSON object a line: {"name", "variant", "value" (GFLOP/s), "unit", "peer",
 * "peer_value" (the peak measured around it), "ratio"}. Forward counts 4 d, backward 10 d for each
 * visible pair. Thread CPU time; the median of several ratios, each with its own peak, since clocks
 * drift.
 *
 *   gcc -O2 -Icore scripts/bench/attention.c -o build/bench_attention -Lbuild -lmosaic -lm
 *   build/bench_attention [part] [repetitions]     only the rows whose name and variant contain
 * `part` */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mosaic.h"

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- the peak: independent multiply-adds on registers, in the ISA that the library uses --------
 */

#define CHAINS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define DECLARE(i) vector a##i = x * i;
#define ADVANCE(i) a##i = a##i * x + y;
#define PIN(i) __asm__ volatile("" : "+v"(a##i)); /* nothing moves across, nothing is folded */
#define COLLECT(i) x += a##i;

#define PEAK(name, attribute, bytes)                                                               \
    attribute static double name(void)                                                             \
    {                                                                                              \
        typedef float vector __attribute__((vector_size(bytes)));                                  \
        enum { FLOPS = 2 * 12 * bytes / 4, ROUNDS = 400000 };                                      \
        vector x = (vector){0} + 0.999f, y = (vector){0} + 1e-3f;                                  \
        CHAINS(DECLARE)                                                                            \
        double start = seconds();                                                                  \
        for (int round = 0; round < ROUNDS; round++) {                                             \
            CHAINS(ADVANCE)                                                                        \
            CHAINS(PIN)                                                                            \
        }                                                                                          \
        double elapsed = seconds() - start;                                                        \
        CHAINS(COLLECT)                                                                            \
        volatile float sink = x[0];                                                                \
        (void)sink;                                                                                \
        return (double)FLOPS * ROUNDS / elapsed * 1e-9;                                            \
    }

PEAK(peak_scalar, , 16)
#if defined(__x86_64__)
PEAK(peak_avx2, __attribute__((target("avx2,fma"))), 32)
PEAK(peak_avx512, __attribute__((target("avx512f,avx512vl,fma"))), 64)
#else
#define peak_avx2 peak_scalar
#define peak_avx512 peak_scalar
#endif

static double peak(void)
{
    if (!strcmp(mosaic_isa(), "avx512") || !strcmp(mosaic_isa(), "amx")) return peak_avx512();
    return strcmp(mosaic_isa(), "avx2") ? peak_scalar() : peak_avx2();
}

/* ---- cases ------------------------------------------------------------------------------------
 */

typedef struct {
    const char *name, *variant;
    int64_t batch, heads, nq, nk, d;
    bool causal, bias;
    int calls; /* in one measurement */
    double dropout;
    int64_t keep; /* side of the blocks of which every eighth is kept; 0: all are */
} shape;

static const shape shapes[] = {
    {"N = 4096", "d = 24", 1, 1, 4096, 4096, 24, false, false, 1, 0, 0},
    {"N = 4096", "d = 64", 1, 1, 4096, 4096, 64, false, false, 1, 0, 0},
    {"N = 4096", "d = 128", 1, 1, 4096, 4096, 128, false, false, 1, 0, 0},
    {"N = 4096, causal", "d = 64", 1, 1, 4096, 4096, 64, true, false, 1, 0, 0},
    {"N = 1024, bias", "d = 64", 1, 1, 1024, 1024, 64, false, true, 2, 0, 0},
    {"N = 4096, dropout", "d = 64", 1, 1, 4096, 4096, 64, false, false, 1, 0.1, 0},
    {"N = 4096, keep 1/8", "d = 64", 1, 1, 4096, 4096, 64, false, false, 1, 0, 256},
    {"rows of 48 tables, 150 x 75", "d = 24", 48, 4, 150, 75, 24, false, false, 1, 0, 0},
    {"6 columns of 1200 rows", "d = 24", 1200, 4, 6, 6, 24, false, false, 1, 0, 0},
};

static const char *part = ""; /* of the rows to be measured */

enum { Q, K, V, OUT, LSE, DOUT, DELTA, DQ, DK, DV, TENSORS };

static void check(mosaic_status status)
{
    if (status == MOSAIC_OK) return;
    fprintf(stderr, "bench: %s\n", mosaic_last_error());
    exit(1);
}

static void make(mosaic_tensor *t, const shape *s, int64_t rows, unsigned seed)
{
    int64_t count = s->batch * s->heads * rows * s->d;
    double *values = malloc((size_t)count * sizeof *values);
    if (!values) exit(1);
    for (int64_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = (double)(seed >> 8) / (1 << 23) - 1;
    }
    check(mosaic_tensor_new(t, MOSAIC_DTYPE_F32, 4, (int64_t[]){s->batch, s->heads, rows, s->d},
                            NULL));
    check(mosaic_tensor_write_f64(t, values, count));
    free(values);
}

/* u8 (nq, nk) */
static void make_keep(mosaic_tensor *t, const shape *s)
{
    double *values = malloc((size_t)(s->nq * s->nk) * sizeof *values);
    if (!values) exit(1);
    for (int64_t i = 0; i < s->nq; i++)
        for (int64_t j = 0; j < s->nk; j++)
            values[i * s->nk + j] = (i / s->keep + j / s->keep) % 8 == 0;
    check(mosaic_tensor_new(t, MOSAIC_DTYPE_U8, 2, (int64_t[]){s->nq, s->nk}, NULL));
    check(mosaic_tensor_write_f64(t, values, s->nq * s->nk));
    free(values);
}

static void forward(mosaic_tensor *t, const mosaic_attention_options *o)
{
    check(mosaic_attention(&t[OUT], &t[LSE], &t[Q], &t[K], &t[V], o));
}

static void backward(mosaic_tensor *t, const mosaic_attention_options *o)
{
    check(mosaic_attention_delta(&t[DELTA], &t[DOUT], &t[OUT], NULL));
    check(mosaic_attention_backward(&t[DQ], &t[DK], &t[DV], NULL, &t[DOUT], &t[LSE], &t[DELTA],
                                    &t[Q], &t[K], &t[V], o, false));
}

/* How many pairs the masks let through. */
static double count_pairs(mosaic_tensor *t, const mosaic_attention_options *o)
{
    mosaic_attention_work work[2];
    check(mosaic_attention_work_reset(0));
    forward(t, o);
    check(mosaic_attention_work_read(work, 0));
    return (double)work[0].visible;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return values[count / 2];
}

/* Is a row wanted? */
static bool selected(const shape *s, const char *direction)
{
    char title[200];
    snprintf(title, sizeof title, "attention %s, %s, %s", direction, s->name, s->variant);
    return strstr(title, part);
}

/* Prints the line of one direction. */
static void measure(const shape *s, const char *direction, double flops, int repetitions,
                    void (*body)(mosaic_tensor *, const mosaic_attention_options *),
                    mosaic_tensor *t, const mosaic_attention_options *o)
{
    enum { MOST = 99 };
    double rate[MOST], best[MOST], ratio[MOST];
    int count = repetitions < MOST ? repetitions : MOST;
    if (!selected(s, direction)) return;
    body(t, o);
    for (int i = 0; i < count; i++) {
        double before = peak(), start = seconds();
        for (int call = 0; call < s->calls; call++) body(t, o);
        rate[i] = flops * s->calls / (seconds() - start) * 1e-9;
        best[i] = (before + peak()) / 2;
        ratio[i] = rate[i] / best[i];
    }
    printf("{\"name\": \"attention %s, %s\", \"variant\": \"%s\", \"value\": %.1f, \"unit\": "
           "\"GFLOP/s\", \"peer\": \"FMA peak "
           "(%s)\", \"peer_value\": %.1f, \"ratio\": %.3f}\n",
           direction, s->name, s->variant, median(rate, count), mosaic_isa(), median(best, count),
           median(ratio, count));
    fflush(stdout);
}

static void run(const shape *s, int repetitions)
{
    mosaic_tensor t[TENSORS] = {0}, bias = {0}, keep = {0};
    mosaic_attention_options o = {.scale = 1 / sqrt((double)s->d),
                                  .causal = s->causal,
                                  .window_left = -1,
                                  .window_right = -1,
                                  .prefix = -1,
                                  .dropout = s->dropout};
    make(&t[Q], s, s->nq, 1);
    make(&t[K], s, s->nk, 2);
    make(&t[V], s, s->nk, 3);
    make(&t[DOUT], s, s->nq, 4);
    if (s->bias) {
        check(mosaic_tensor_new(&bias, MOSAIC_DTYPE_F32, 2, (int64_t[]){s->nq, s->nk}, NULL));
        check(mosaic_fill(&bias, 0.5));
        o.bias = &bias;
    }
    if (s->keep) {
        make_keep(&keep, s);
        o.keep = &keep;
    }
    double pairs = count_pairs(t, &o);
    measure(s, "forward", 4 * pairs * (double)s->d, repetitions, forward, t, &o);
    measure(s, "backward", 10 * pairs * (double)s->d, repetitions, backward, t, &o);
    for (int i = 0; i < TENSORS; i++) mosaic_tensor_clear(&t[i]);
    mosaic_tensor_clear(&bias);
    mosaic_tensor_clear(&keep);
}

int main(int argc, char **argv)
{
    if (argc > 1) part = argv[1];
    int repetitions = argc > 2 ? atoi(argv[2]) : 9;
    check(mosaic_set_threads(1));
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        if (selected(&shapes[i], "forward") || selected(&shapes[i], "backward"))
            run(&shapes[i], repetitions < 1 ? 1 : repetitions);
    return 0;
}
