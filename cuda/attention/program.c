/* program.c - writes the programs of a mask as text for a compiler: see programs.h, steps.h. */
#include <math.h>
#include <stdio.h>

#include "compiler.h"

static const char *const step_names[MOSAIC_PROGRAM_OPS] = {
    [MOSAIC_PROGRAM_NEG] = "neg",     [MOSAIC_PROGRAM_ABS] = "abs",
    [MOSAIC_PROGRAM_FLOOR] = "floor", [MOSAIC_PROGRAM_CEIL] = "ceil",
    [MOSAIC_PROGRAM_SQRT] = "sqrt",   [MOSAIC_PROGRAM_EXP] = "exp",
    [MOSAIC_PROGRAM_LOG] = "log",     [MOSAIC_PROGRAM_TANH] = "tanh",
    [MOSAIC_PROGRAM_SIN] = "sin",     [MOSAIC_PROGRAM_COS] = "cos",
    [MOSAIC_PROGRAM_NOT] = "not_",    [MOSAIC_PROGRAM_WITHIN] = "within",
    [MOSAIC_PROGRAM_ADD] = "add",     [MOSAIC_PROGRAM_SUB] = "sub",
    [MOSAIC_PROGRAM_MUL] = "mul",     [MOSAIC_PROGRAM_DIV] = "div",
    [MOSAIC_PROGRAM_MOD] = "mod",     [MOSAIC_PROGRAM_POW] = "pow",
    [MOSAIC_PROGRAM_MIN] = "min",     [MOSAIC_PROGRAM_MAX] = "max",
    [MOSAIC_PROGRAM_LT] = "lt",       [MOSAIC_PROGRAM_LE] = "le",
    [MOSAIC_PROGRAM_EQ] = "eq",       [MOSAIC_PROGRAM_AND] = "and_",
    [MOSAIC_PROGRAM_OR] = "or_",      [MOSAIC_PROGRAM_SELECT] = "select",
};

static const char *const arguments[] = {"score", "batch", "head", "query", "key"};

static int operands_of(int op)
{
    if (op == MOSAIC_PROGRAM_SELECT) return 3;
    return op == MOSAIC_PROGRAM_WITHIN || op >= MOSAIC_PROGRAM_ADD ? 2 : 1;
}

/* A double to the last bit. */
static void write_constant(FILE *to, double value)
{
    if (isnan(value))
        fprintf(to, "__longlong_as_double(0x7ff8000000000000ll)");
    else if (isinf(value))
        fprintf(to, value < 0 ? "-(double)INFINITY" : "(double)INFINITY");
    else
        fprintf(to, "%a", value);
}

static void write_step(FILE *to, const mosaic_program_step *s, int first_table)
{
    const int32_t reads[] = {s->a, s->b, s->c};
    fprintf(to, "    r%d = ", s->to);
    if (s->op == MOSAIC_PROGRAM_CONSTANT) {
        write_constant(to, s->value);
    } else if (s->op <= MOSAIC_PROGRAM_KEY) {
        fprintf(to, "%s", arguments[s->op - MOSAIC_PROGRAM_SCORE]);
    } else if (s->op == MOSAIC_PROGRAM_LOOKUP) {
        int table = first_table + (int)s->value;
        fprintf(to, "step_lookup(tables[%d], sizes[%d], r%d)", table, table, s->a);
    } else {
        fprintf(to, "step_%s(", step_names[s->op]);
        for (int i = 0; i < operands_of(s->op); i++) fprintf(to, i ? ", r%d" : "r%d", reads[i]);
        fprintf(to, ")");
    }
    fprintf(to, ";\n");
}

/* The function's name and arguments are the caller's. */
static void write_body(FILE *to, const mosaic_program *p, int first_table)
{
    fprintf(to, "{\n");
    for (int i = 0; i < p->registers; i++) fprintf(to, "    double r%d = 0;\n", i);
    int count = p->slope >= 0 ? p->count : p->value_count;
    for (int i = 0; i < count; i++) write_step(to, &p->steps[i], first_table);
    if (p->slope >= 0) fprintf(to, "    *slope = r%d;\n", p->slope);
    fprintf(to, "    *valid = r%d != 0;\n    return r%d;\n}\n", p->valid, p->result);
}

char *mosaic_program_text(const mosaic_program *score, const mosaic_program *keep_if)
{
    char *text = NULL;
    size_t length = 0;
    FILE *to = open_memstream(&text, &length);
    if (!to) return NULL;
    const char *tables = "const double *const *tables, const int64_t *sizes",
               *place = "double batch, double head, double query, double key";
    fprintf(to, "#define HAS_SCORE %d\n#define HAS_KEEP %d\n", score != NULL, keep_if != NULL);
    if (score) {
        fprintf(to,
                "MOSAIC_DEVICE double score_program(%s, double score, %s, double *slope, bool "
                "*valid)\n",
                tables, place);
        write_body(to, score, 0);
    }
    if (keep_if) {
        fprintf(to, "MOSAIC_DEVICE double keep_program(%s, %s, bool *valid)\n", tables, place);
        write_body(to, keep_if, score ? score->table_count : 0);
    }
    return fclose(to) == 0 ? text : NULL;
}
