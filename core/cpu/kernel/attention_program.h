/* attention_program.h - the programs of a mask over a tile: which keys are hidden, and what becomes
 * of the scores. Lane by lane, over runs of keys. */
#ifndef MOSAIC_CPU_ATTENTION_PROGRAM_H
#define MOSAIC_CPU_ATTENTION_PROGRAM_H
#include "../../program.h"
#include "attention_tile.h"

static inline bool has_programs(const mosaic_attention_unit *u) { return u->score || u->keep_if; }

static inline const double *values_of(int32_t number, const double *registers)
{
    return registers + number * MOSAIC_PROGRAM_RUN;
}

/* seen[j] &= does the program let this query see key from + j? */
__attribute__((noinline, unused)) static void look_by_program(const mosaic_attention_unit *u,
                                                              place p, int64_t from, int64_t keys,
                                                              uint8_t *seen, double *registers)
{
    const mosaic_program *keep = u->keep_if;
    mosaic_program_run run = mosaic_attention_run(u, keep, p.head, p.query, from, keys);
    MOSAIC_KERNELS(program).run(&run, keep->value_count, registers);
    const double *kept = values_of(keep->result, registers);
    const double *valid = values_of(keep->valid, registers);
    for (int64_t j = 0; j < keys; j++) {
        if (valid[j] == 0 && seen[j]) mosaic_attention_report(u, &run, j);
        seen[j] &= kept[j] != 0;
    }
}

/* One lane's scores (keys), `row` apart and in units of `unit`, through the program; what is hidden
 * is -infinity and stays so. slope, unless NULL, gets the derivative. */
static inline void rescore_lane(const mosaic_attention_unit *u, place p, int64_t from, int64_t keys,
                                float *scores, float *slope, int64_t row, double *registers)
{
    const double unit = scaling_of(u->scale).unit;
    double score[MOSAIC_PROGRAM_RUN];
    for (int64_t j = 0; j < keys; j++) score[j] = (double)scores[j * row] * unit;
    mosaic_program_run run = mosaic_attention_run(u, u->score, p.head, p.query, from, keys);
    run.score = score;
    MOSAIC_KERNELS(program).run(&run, slope ? u->score->count : u->score->value_count, registers);
    const double *result = values_of(u->score->result, registers);
    const double *valid = values_of(u->score->valid, registers);
    const double *rate = values_of(u->score->slope, registers);
    for (int64_t j = 0; j < keys; j++) {
        bool hidden = score[j] == -INFINITY;
        if (!hidden && valid[j] == 0) mosaic_attention_report(u, &run, j);
        hidden |= result[j] == -INFINITY;
        scores[j * row] = hidden ? -INFINITY : (float)(result[j] / unit);
        if (slope) slope[j * row] = hidden ? 0 : (float)rate[j];
    }
}

/* scores and slope (keys, row): rows first.. of the group against keys from.. */
__attribute__((noinline, unused)) static void rescore(const mosaic_attention_unit *u, int64_t first,
                                                      int64_t rows, int64_t from, int64_t keys,
                                                      float *scores, float *slope, int64_t row,
                                                      double *registers)
{
    place p = place_of(u, first);
    for (int64_t lane = 0; lane < rows; lane++, p = next_place(u, p))
        rescore_lane(u, p, from, keys, scores + lane, slope ? slope + lane : NULL, row, registers);
}

#endif
