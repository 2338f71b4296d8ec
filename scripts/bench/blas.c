/* blas.c - a peer of `make bench`: products by the system's OpenBLAS, as the CPU of
 * OPENBLAS_CORETYPE.
 *
 * Its first line is its name. Then it reads lines "KIND M N K CALLS" and answers with the CPU
 * seconds of so many products, and those that passed: C (M, N) = A B, where KIND says of A and of B
 * whether they lie transposed (t) or not (n). Operands are made once for each line.
 *
 *   gcc -O2 scripts/bench/blas.c -o build/bench_blas $(pkg-config --cflags --libs openblas) */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    char line[64];
    char kind[3];
    int m, n, k, calls;
    float *a, *b, *c;
} product;

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float *noise(size_t count)
{
    float *values = malloc(count * sizeof *values);
    if (!values) exit(1);
    for (size_t i = 0; i < count; i++) values[i] = (float)rand() / (float)RAND_MAX - 0.5f;
    return values;
}

static void run(const product *p)
{
    int ta = p->kind[0] == 't', tb = p->kind[1] == 't';
    for (int call = 0; call < p->calls; call++)
        cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans,
                    p->m, p->n, p->k, 1, p->a, ta ? p->m : p->k, p->b, tb ? p->k : p->n, 0, p->c,
                    p->n);
}

/* The product of a line, made when it is first asked for. */
static const product *find(const char *line)
{
    enum { MOST = 64 };
    static product known[MOST];
    static int count;
    for (int i = 0; i < count; i++)
        if (!strcmp(known[i].line, line)) return &known[i];
    product *p = &known[count];
    if (count == MOST ||
        sscanf(line, "%2s %d %d %d %d", p->kind, &p->m, &p->n, &p->k, &p->calls) != 5) {
        fprintf(stderr, "blas: cannot do %s", line);
        exit(1);
    }
    count++;
    snprintf(p->line, sizeof p->line, "%s", line);
    p->a = noise((size_t)p->m * (size_t)p->k);
    p->b = noise((size_t)p->k * (size_t)p->n);
    p->c = noise((size_t)p->m * (size_t)p->n);
    run(p);
    return p;
}

int main(void)
{
    char line[64], *config = openblas_get_config();
    printf("%.*s %s\n", (int)strcspn(config + 9, " ") + 9, config, openblas_get_corename());
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        const product *p = find(line);
        double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), wall = seconds(CLOCK_MONOTONIC);
        run(p);
        printf("%.9f %.9f\n", seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu,
               seconds(CLOCK_MONOTONIC) - wall);
        fflush(stdout);
    }
    return 0;
}
