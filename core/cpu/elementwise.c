/* elementwise.c - brings operands into the form that the kernels take.
 *
 * A kernel knows one element type and contiguous (or constant) operands. What is strided or of
 * another type goes through a block on the stack, BLOCK elements at a time, which stays in the
 * first-level cache. */
#include "cpu.h"
#include "kernels.h"
#include "loop.h"

enum {
    OPERANDS = 4,
    BLOCK = 512,  /* elements staged at a time */
    SMALL = 4096, /* elements that one thread takes */
    SHORT = 48,   /* rows below this many elements are packed into blocks */
};

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

/* The loop's rectangle with the constant put in. */
static mosaic_rectangle with_constant(map *m, const mosaic_rectangle *r)
{
    mosaic_rectangle all = *r;
    for (int i = m->operands - 1; m->constant && i > m->constant; i--) {
        all.data[i] = r->data[i - 1];
        all.row_step[i] = r->row_step[i - 1];
        all.step[i] = r->step[i - 1];
    }
    if (m->constant) {
        all.data[m->constant] = m->cell;
        all.row_step[m->constant] = all.step[m->constant] = 0;
    }
    return all;
}

/* Which operands the kernel cannot take as they are; returns whether there are any. Packed: the
 * rows must follow one another without gaps. */
static bool find_staged(const map *m, const mosaic_rectangle *r, bool packed, bool *staged)
{
    bool constant_before = false, any = false;
    for (int i = 0; i < m->operands; i++) {
        bool lies_right = r->step[i] == m->want_bytes[i] &&
                          (!packed || r->row_step[i] == r->columns * m->want_bytes[i]);
        bool constant = i > 0 && m->steps && r->step[i] == 0 && (!packed || r->row_step[i] == 0);
        constant = constant && !lies_right && !constant_before;
        staged[i] = m->have[i] != m->want[i] || !(lies_right || constant);
        constant_before = constant_before || (constant && !staged[i]);
        any = any || staged[i];
    }
    return any;
}

/* rows x columns elements at `data` to (or from) a contiguous block, along the longer side. */
static void stage(const map *m, const mosaic_rectangle *r, int i, char *data, int64_t rows,
                  int64_t columns, char *block, bool out)
{
    int64_t bytes = m->want_bytes[i];
    mosaic_convert_kernel convert =
        mosaic_cpu()->convert->of[out ? m->have[i] : m->want[i]][out ? m->want[i] : m->have[i]];
    bool by_rows = columns >= rows;
    int64_t lines = by_rows ? rows : columns, count = by_rows ? columns : rows;
    int64_t line_step = by_rows ? r->row_step[i] : r->step[i];
    int64_t step = by_rows ? r->step[i] : r->row_step[i];
    int64_t block_step = by_rows ? bytes : columns * bytes;
    for (int64_t line = 0; line < lines; line++) {
        char *there = data + line * line_step,
             *here = block + line * (by_rows ? columns * bytes : bytes);
        if (out)
            convert(count, there, step, here, block_step);
        else
            convert(count, here, block_step, there, step);
    }
}

/* `rows` x `columns` elements of the rectangle from (row, column) on, as one call of the kernel. */
static void run_block(const map *m, const mosaic_rectangle *r, const bool *staged, int64_t row,
                      int64_t column, int64_t rows, int64_t columns)
{
    _Alignas(64) char block[OPERANDS][BLOCK * 8];
    int64_t step[OPERANDS];
    void *at[OPERANDS];
    for (int i = 0; i < m->operands; i++) {
        char *data = r->data[i] + row * r->row_step[i] + column * r->step[i];
        step[i] = staged[i] || r->step[i];
        at[i] = staged[i] ? block[i] : data;
        if (i > 0 && staged[i]) stage(m, r, i, data, rows, columns, block[i], false);
    }
    m->kernel(rows * columns, at[0], (const void *const *)at + 1, step + 1, m->param);
    char *out = r->data[0] + row * r->row_step[0] + column * r->step[0];
    if (staged[0]) stage(m, r, 0, out, rows, columns, block[0], true);
}

static void run_map(void *context, const mosaic_rectangle *loop)
{
    map *m = context;
    bool staged[OPERANDS], packed = loop->columns < SHORT && loop->rows > 1;
    mosaic_rectangle r = with_constant(m, loop);
    bool any = find_staged(m, &r, packed, staged);
    int64_t rows = packed ? BLOCK / r.columns : 1;
    int64_t columns = any && !packed ? BLOCK : r.columns;
    for (int64_t i = 0; i < r.rows; i += rows)
        for (int64_t j = 0; j < r.columns; j += columns)
            run_block(m, &r, staged, i, j, r.rows - i < rows ? r.rows - i : rows,
                      r.columns - j < columns ? r.columns - j : columns);
}

static int kernel_type(mosaic_dtype dtype)
{
    if (dtype == MOSAIC_DTYPE_F64) return MOSAIC_CPU_F64;
    return dtype == MOSAIC_DTYPE_F32 ? MOSAIC_CPU_F32 : MOSAIC_CPU_I64;
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

/* Runs a call of few elements that lie as the kernel wants them; false: not such a call. (The
 * general way costs 150 ns before the kernel sees an element.) */
static bool run_small(map *m, const mosaic_tensor *const *operands)
{
    int64_t count = mosaic_tensor_numel(operands[0]), step[OPERANDS];
    void *at[OPERANDS];
    if (count > SMALL) return false;
    for (int i = 0, t = 0; i < m->operands; i++) {
        bool constant = m->constant && i == m->constant;
        if (!constant && (m->have[i] != m->want[i] || !mosaic_tensor_is_contiguous(operands[t])))
            return false;
        step[i] = !constant;
        at[i] = constant ? m->cell : mosaic_data(operands[t++]);
    }
    m->kernel(count, at[0], (const void *const *)at + 1, step + 1, m->param);
    return true;
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
    if (!run_small(&m, operands)) mosaic_loop_rows(in_loop, operands, run_map, &m);
    return MOSAIC_OK;
}
