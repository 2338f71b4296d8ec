/* warpgroup.c - products of warpgroups (wgmma) and their registers (setmaxnreg), as the PTX manual
 * has them.
 *
 * Operands are read when the last of 128 threads asks for the product, from where the descriptor's
 * bits say; accumulators are garbage from then on, until their thread waits for the product. It
 * ends for each warp by itself, and only when no thread of the block can go on without that. They
 * and all operands must be then what they were: who touches them in between is found out, as is who
 * waits without naming the accumulators that come. */
#include "warpgroup.h"

#include <stdio.h>
#include <stdlib.h>

#include "../../core/half.h"

enum { WARP = 32, GROUP = 128, GROUPS = 8, UNDER_WAY = 64, ROWS = 64, WIDEST = 256 };
enum { DEPTH = MOSAIC_EMULATED_DEPTH };

/* ---- products -------------------------------------------------------------------------------- */

/* One that is under way; of every thread its registers. */
typedef struct product {
    mosaic_emulated_product what;
    int asked, delivered; /* by so many threads */
    bool computed;
    unsigned checked; /* a bit for each warp */
    float *d[GROUP];
    struct product *before[GROUP]; /* which had the same accumulators and was not delivered yet */
    const uint32_t *registers[GROUP][4];
    uint32_t words[GROUP][4];
    float results[GROUP][WIDEST / 2]; /* first, what was in the accumulators */
    uint16_t a[ROWS * DEPTH], b[WIDEST * DEPTH];
} product;

typedef struct {
    int64_t asked, delivered;  /* products so far */
    int64_t awaited;           /* so many must have ended, for its warp */
    int64_t groups[UNDER_WAY]; /* products at each commit */
    int64_t commits;
    bool fenced;
} own;

static own threads[GROUP * GROUPS];
static int64_t ended[GROUP * GROUPS / WARP]; /* products so far, for a warp */
static product *products[GROUPS][UNDER_WAY];
enum { GARBAGE = 0x7fe0dead }; /* a NaN */

static product *product_at(int group, int64_t n)
{
    product **p = &products[group][n % UNDER_WAY];
    if (!*p) *p = calloc(1, sizeof **p);
    if (!*p) mosaic_emulated_complain("no memory for products");
    return *p;
}

/* The warpgroup's product that this thread asks for now. */
static product *next_product(int group, int64_t n, const mosaic_emulated_product *what)
{
    product *p = product_at(group, n);
    if (p->asked == GROUP) mosaic_emulated_complain("too many products under way");
    if (p->asked && memcmp(&p->what, what, sizeof *what) != 0)
        mosaic_emulated_complain("threads of a warpgroup ask for different products");
    p->what = *what;
    return p;
}

static bool is_garbage(const float *d, int count)
{
    bool all = true;
    for (int i = 0; i < count; i++) {
        uint32_t word;
        memcpy(&word, &d[i], sizeof word);
        all = all && word == GARBAGE;
    }
    return all;
}

/* Remembers the thread's accumulators, or whose result they will be, and spoils them. */
static void take_accumulators(product *p, int group, const own *t, int thread, float *d)
{
    const uint32_t garbage = GARBAGE;
    int count = p->what.n / 2;
    p->d[thread] = d;
    p->before[thread] = NULL;
    for (int64_t n = t->delivered; n < t->asked; n++)
        if (product_at(group, n)->d[thread] == d) p->before[thread] = product_at(group, n);
    if (p->before[thread] && p->before[thread]->what.n != p->what.n)
        mosaic_emulated_complain("accumulators of products of different shapes");
    if (p->before[thread] && !is_garbage(d, count))
        mosaic_emulated_complain("accumulators were written before the wait");
    if (p->what.add) memcpy(p->results[thread], d, (size_t)count * sizeof *d);
    for (int i = 0; i < count; i++) memcpy(&d[i], &garbage, sizeof garbage);
}

static float number_of(const product *p, uint16_t half)
{
    return p->what.element == 2 ? mosaic_bf16_to_f32(half) : mosaic_f16_to_f32(half);
}

/* A of registers: in thread t of warp w rows 16 w + t / 4 and + 8, columns t % 4 * 2 and + 8. */
static void read_registers(product *p)
{
    for (int thread = 0; thread < GROUP; thread++)
        for (int e = 0; e < 8; e++) {
            int row = thread / 32 * 16 + thread % 32 / 4 + e / 2 % 2 * 8;
            int k = thread % 4 * 2 + e / 4 * 8 + e % 2;
            p->a[row * DEPTH + k] = (uint16_t)(p->words[thread][e / 2] >> e % 2 * 16);
        }
}

static float cut(double x)
{
    float y = (float)x;
    if (y - y != 0) return y; /* infinite, or NaN */
    return fabs((double)y) > fabs(x) ? nextafterf(y, 0) : y;
}

/* For where most of the time goes by, whatever is asked of compilers elsewhere. */
#ifdef __clang__
#define FAST __attribute__((no_sanitize("address", "undefined")))
#else
#define FAST __attribute__((optimize("O3"), no_sanitize("address", "undefined")))
#endif

/* sums (n) <- a (DEPTH) b (DEPTH, n) */
FAST static void multiply_row(double *restrict sums, const double *restrict a,
                              const double *restrict b, int n)
{
    for (int j = 0; j < n; j++) sums[j] = 0;
    for (int k = 0; k < DEPTH; k++)
        for (int j = 0; j < n; j++) sums[j] += a[k] * b[k * n + j];
}

static void read_operands(product *p)
{
    if (p->what.in_registers)
        read_registers(p);
    else
        mosaic_emulated_matrix(p->a, p->what.a, p->what.a_turned, ROWS);
    mosaic_emulated_matrix(p->b, p->what.b, p->what.b_turned, p->what.n);
}

/* Products are exact, and their sum is cut off towards zero, which is more than hardware keeps: in
 * the model of mma on H100 (see mma.h) each one is cut off before, two bits below the last one that
 * f32 has at the largest exponent. Whether that holds of wgmma has not been published. */
static void compute(product *p)
{
    double a[ROWS * DEPTH], b[DEPTH * WIDEST], sums[ROWS][WIDEST];
    int n = p->what.n;
    read_operands(p);
    for (int i = 0; i < ROWS * DEPTH; i++) a[i] = number_of(p, p->a[i]);
    for (int i = 0; i < n * DEPTH; i++) b[i % DEPTH * n + i / DEPTH] = number_of(p, p->b[i]);
    for (int row = 0; row < ROWS; row++) multiply_row(sums[row], a + row * DEPTH, b, n);
    for (int thread = 0; thread < GROUP; thread++) {
        float *results = p->results[thread];
        const float *before = p->before[thread] ? p->before[thread]->results[thread] : results;
        for (int e = 0; e < n / 2; e++) {
            int row = thread / 32 * 16 + thread % 32 / 4 + e / 2 % 2 * 8;
            int column = e / 4 * 8 + thread % 4 * 2 + e % 2;
            results[e] = cut((p->what.add ? before[e] : 0) + sums[row][column]);
        }
    }
    p->computed = true;
}

void mosaic_emulated_wgmma(const mosaic_emulated_product *what, float *d,
                           const uint32_t *const registers[4])
{
    int number = mosaic_emulated_number(), group = number / GROUP, thread = number % GROUP;
    own *t = &threads[number];
    if (what->n % 8 || what->n < 8 || what->n > WIDEST)
        mosaic_emulated_complain("a product of so many columns");
    if (!t->fenced) mosaic_emulated_complain("a product without wgmma.fence before it");
    product *p = next_product(group, t->asked, what);
    take_accumulators(p, group, t, thread, d);
    for (int i = 0; registers && i < 4; i++) {
        p->registers[thread][i] = registers[i];
        p->words[thread][i] = *registers[i];
    }
    t->asked++;
    if (++p->asked == GROUP) compute(p);
}

/* ---- waiting ----------------------------------------------------------------------------------
 */

void mosaic_emulated_wgmma_fence(void) { threads[mosaic_emulated_number()].fenced = true; }

void mosaic_emulated_wgmma_commit(void)
{
    own *t = &threads[mosaic_emulated_number()];
    t->groups[t->commits++ % UNDER_WAY] = t->asked;
    t->fenced = false;
}

/* As the first thread of a warp knows of its end, the operands must still be what they were. */
static void check_operands(product *p, int warp)
{
    uint16_t a[ROWS * DEPTH], b[WIDEST * DEPTH];
    p->checked |= 1u << warp;
    mosaic_emulated_matrix(b, p->what.b, p->what.b_turned, p->what.n);
    bool same = !memcmp(b, p->b, (size_t)(p->what.n * DEPTH) * sizeof *b);
    if (!p->what.in_registers) {
        mosaic_emulated_matrix(a, p->what.a, p->what.a_turned, ROWS);
        same = same && !memcmp(a, p->a, sizeof a);
    }
    if (!same) mosaic_emulated_complain("shared memory was written before the wait for a product");
}

static void check_registers(const product *p, int thread)
{
    for (int i = 0; p->what.in_registers && i < 4; i++)
        if (*p->registers[thread][i] != p->words[thread][i])
            mosaic_emulated_complain("registers of A were written before the wait for a product");
}

/* Is it the last one with these accumulators? */
static bool is_last(const product *p, int group, const own *t, int64_t n, int thread)
{
    bool last = true;
    for (n++; n < t->asked; n++) last = last && product_at(group, n)->d[thread] != p->d[thread];
    return last;
}

static bool is_named(const float *d, float *const *come)
{
    while (*come && *come != d) come++;
    return *come != NULL;
}

static void deliver(int group, own *t, int thread, float *const *come)
{
    product *p = product_at(group, t->delivered);
    int count = p->what.n / 2;
    float *d = p->d[thread];
    if (!(p->checked & 1u << thread / WARP)) check_operands(p, thread / WARP);
    check_registers(p, thread);
    if (!is_garbage(d, count))
        mosaic_emulated_complain("accumulators were written before the wait");
    if (is_last(p, group, t, t->delivered, thread)) {
        if (!is_named(d, come))
            mosaic_emulated_complain("accumulators come that the wait does not name");
        memcpy(d, p->results[thread], (size_t)count * sizeof(float));
    }
    t->delivered++;
    if (++p->delivered < GROUP) return;
    p->asked = p->delivered = 0;
    p->computed = false;
    p->checked = 0;
}

typedef struct {
    int warp;
    int64_t count; /* of products that must have ended */
} waiting;

static bool have_ended(void *context)
{
    const waiting *w = context;
    return ended[w->warp] >= w->count;
}

static void describe_product(char *text, size_t room, void *context)
{
    const waiting *w = context;
    snprintf(text, room, "for a product that %d of 128 threads have asked for",
             product_at(w->warp * WARP / GROUP, w->count - 1)->asked);
}

bool mosaic_emulated_end_product(void)
{
    for (int i = 0; i < mosaic_emulated_threads(); i++) {
        int64_t count = threads[i].awaited;
        if (count <= ended[i / WARP] || !product_at(i / GROUP, count - 1)->computed) continue;
        ended[i / WARP] = count;
        return true;
    }
    return false;
}

void mosaic_emulated_wgmma_wait(int left, float *const *come)
{
    static const mosaic_emulated_condition until = {have_ended, describe_product};
    int number = mosaic_emulated_number(), group = number / GROUP;
    own *t = &threads[number];
    int64_t end = t->commits > left ? t->groups[(t->commits - 1 - left) % UNDER_WAY] : 0;
    if (end <= t->delivered) return;
    waiting w = {number / WARP, t->awaited = end};
    mosaic_emulated_until(&until, &w);
    while (t->delivered < end) deliver(group, t, number % GROUP, come);
}

void mosaic_emulated_no_products(void)
{
    const own *t = &threads[mosaic_emulated_number()];
    if (t->delivered < t->asked)
        mosaic_emulated_complain("a thread ended before its products were there");
}

/* ---- registers ------------------------------------------------------------------------------- */

enum { REGISTERS = 64 << 10, MOST = 255, GRAIN = 8 };
static int registers_left;               /* of what the block began with */
static int registers_of[GROUP * GROUPS]; /* by thread */

static bool registers_suffice(void *context) { return registers_left >= *(const int *)context; }

static void describe_registers(char *text, size_t room, void *context)
{
    snprintf(text, room, "for %d registers more, of which the block has %d", *(const int *)context,
             registers_left);
}

void mosaic_emulated_set_registers(int registers, bool more)
{
    static const mosaic_emulated_condition until = {registers_suffice, describe_registers};
    int *held = &registers_of[mosaic_emulated_number()];
    int wanted = registers - *held;
    if (registers % GRAIN || registers < 24 || registers > 256)
        mosaic_emulated_complain("setmaxnreg of so many registers");
    if (more ? wanted < 0 : wanted > 0) mosaic_emulated_complain("setmaxnreg goes the other way");
    if (wanted > 0) mosaic_emulated_until(&until, &wanted);
    registers_left -= wanted;
    *held = registers;
}

void mosaic_emulated_open_warpgroups(int count)
{
    int each = REGISTERS / count / GRAIN * GRAIN;
    registers_left = 0;
    memset(ended, 0, sizeof ended);
    for (int i = 0; i < count && i < GROUP * GROUPS; i++) {
        threads[i] = (own){0};
        registers_of[i] = each < MOST ? each : MOST;
    }
}
