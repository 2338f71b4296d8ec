/* program.c - programs of masks: are they sound, and what do they say about whole blocks?
 *
 * Blocks are told apart by interval arithmetic: every register gets bounds of what it can hold for
 * any of the block's batch entries, heads, queries and keys. */
#include "program.h"

#include "interval.h"
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

/* ---- blocks --------------------------------------------------------------------------------- */

enum { MOST_ENTRIES = 1 << 16 }; /* of a table that are looked through */

/* What only a device can read may be anything. */
static interval looked_up(const mosaic_tensor *table, interval index)
{
    if (mosaic_device_of(table) != &mosaic_cpu_device) return unknown();
    return entries(mosaic_data(table), table->size[0], index, MOST_ENTRIES);
}

mosaic_program_extent mosaic_program_extent_of(const mosaic_program *p, const double low[4],
                                               const double high[4])
{
    interval r[MOSAIC_PROGRAM_REGISTERS];
    for (const mosaic_program_step *s = p->steps; s < p->steps + p->value_count; s++)
        r[s->to] = s->op == MOSAIC_PROGRAM_LOOKUP ? looked_up(p->tables[(int)s->value], r[s->a])
                                                  : of_step(s, r, low, high);
    /* cppcheck-suppress uninitvar ; a program that has been checked writes it */
    return extent_of(r[p->result], r[p->valid], p->slope >= 0);
}

mosaic_status mosaic_program_range(mosaic_program_extent *extent, const mosaic_program *program,
                                   const double *low, const double *high)
{
    MOSAIC_TRY(mosaic_program_check("program_range", "the mask", program, NULL));
    *extent = mosaic_program_extent_of(program, low, high);
    return MOSAIC_OK;
}
