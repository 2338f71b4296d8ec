/* elementwise.c - brings operands into the form that the kernels take.
 *
 * A kernel knows one element type and contiguous (or constant) operands. What is strided or of
 * another type goes through a block on the stack, BLOCK elements at a time, which stays in the
 * first-level cache. */
#include "cpu.h"
#include "kernels.h"
#include "loop.h"

enum { BLOCK = 512, OPERANDS = 4 };

typedef struct {
    mosaic_map_kernel kernel;
    double param[2];
    int operands;                  /* 0 is the result */
    int constant;                  /* the operand that is `cell`, 0: none */
    bool steps;                    /* does the kernel take constants? */
    mosaic_dtype have[4], want[4]; /* element types: in memory, in the kernel */
    int64_t want_bytes[4];
    _Alignas(8) char cell[8]; /* the constant, in its wanted type */
} map;

typedef struct {
    char *data[OPERANDS];
    int64_t step[OPERANDS]; /* bytes */
    bool staged[OPERANDS], any;
} run;

static int kernel_type(mosaic_dtype dtype)
{
    if (dtype == MOSAIC_DTYPE_F64) return MOSAIC_CPU_F64;
    return dtype == MOSAIC_DTYPE_F32 ? MOSAIC_CPU_F32 : MOSAIC_CPU_I64;
}

/* The loop's pointers with the constant put in, and which operands need a block. */
static run describe(map *m, char *const *data, const int64_t *step)
{
    run r = {.any = false};
    bool constant_before = false;
    for (int i = 0, from = 0; i < m->operands; i++) {
        bool is_cell = m->constant && i == m->constant;
        r.data[i] = is_cell ? m->cell : data[from];
        r.step[i] = is_cell ? 0 : step[from];
        from += !is_cell;
        bool direct = m->have[i] == m->want[i] && r.step[i] == m->want_bytes[i];
        if (!direct && i > 0 && m->have[i] == m->want[i] && r.step[i] == 0 && m->steps)
            direct = !constant_before, constant_before = true;
        r.staged[i] = !direct;
        r.any = r.any || !direct;
    }
    return r;
}

/* Elements [from, from + count) of a run, through blocks where needed. */
static void run_block(const map *m, const run *r, int64_t from, int64_t count)
{
    _Alignas(64) char block[OPERANDS][BLOCK * 8];
    int64_t step[OPERANDS];
    const mosaic_convert_kernels *convert = mosaic_cpu()->convert;
    void *at[OPERANDS];
    for (int i = 0; i < m->operands; i++) {
        char *data = r->data[i] + from * r->step[i];
        step[i] = r->staged[i] || r->step[i];
        at[i] = r->staged[i] ? (void *)block[i] : (void *)data;
        if (i > 0 && r->staged[i])
            convert->of[m->want[i]][m->have[i]](count, block[i], m->want_bytes[i], data,
                                                r->step[i]);
    }
    m->kernel(count, at[0], (const void *const *)at + 1, step + 1, m->param);
    if (r->staged[0])
        convert->of[m->have[0]][m->want[0]](count, r->data[0] + from * r->step[0], r->step[0],
                                            block[0], m->want_bytes[0]);
}

static void run_map(void *context, int64_t count, char *const *data, const int64_t *step)
{
    map *m = context;
    run r = describe(m, data, step);
    int64_t most = r.any ? BLOCK : count;
    for (int64_t from = 0; from < count; from += most)
        run_block(m, &r, from, count - from < most ? count - from : most);
}

static void set_operand(map *m, int i, mosaic_dtype have, mosaic_dtype want)
{
    m->have[i] = have;
    m->want[i] = want;
    m->want_bytes[i] = mosaic_dtype_bytes(want);
}

static mosaic_map_kernel find_kernel(const mosaic_elementwise *call)
{
    int type = kernel_type(call->compute);
    if (call->family == MOSAIC_UNARY) return mosaic_cpu()->unary->of[call->op][type];
    if (call->family == MOSAIC_BINARY) return mosaic_cpu()->binary->of[call->op][type];
    return mosaic_cpu()->ternary->of[call->op][type];
}

/* Do the kernels of this call write truth values? */
static bool gives_truth(const mosaic_elementwise *call)
{
    return (call->family == MOSAIC_UNARY && call->op >= MOSAIC_UNARY_ISNAN) ||
           (call->family == MOSAIC_BINARY && call->op >= MOSAIC_BINARY_EQ);
}

mosaic_status mosaic_cpu_elementwise(const mosaic_tensor *out, const mosaic_elementwise *call)
{
    map m = {.kernel = find_kernel(call),
             .param = {call->alpha, call->beta},
             .operands = 2 + (int)call->family,
             .steps = call->family == MOSAIC_BINARY};
    if (!m.kernel)
        return mosaic_fail(MOSAIC_ENOTSUP, "elementwise: no kernel for %s",
                           mosaic_dtype_name(call->compute));
    const mosaic_tensor *operands[OPERANDS] = {out};
    int in_loop = 1;
    set_operand(&m, 0, (mosaic_dtype)out->dtype,
                gives_truth(call) ? MOSAIC_DTYPE_U8 : call->compute);
    for (int i = 1; i < m.operands; i++) {
        const mosaic_tensor *a = call->input[i - 1];
        bool mask = call->family == MOSAIC_TERNARY && call->op == MOSAIC_TERNARY_WHERE && i == 1;
        set_operand(&m, i, a ? (mosaic_dtype)a->dtype : call->compute,
                    mask ? MOSAIC_DTYPE_U8 : call->compute);
        if (a)
            operands[in_loop++] = a;
        else
            m.constant = i, mosaic_element_write(m.cell, 0, (int)call->compute, call->value);
    }
    mosaic_loop(in_loop, operands, run_map, &m);
    return MOSAIC_OK;
}
