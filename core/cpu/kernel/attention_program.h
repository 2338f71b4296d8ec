/* attention_program.h - the programs of a mask over a tile: which keys are hidden, and what becomes
 * of the scores. Lane by lane, over runs of keys. */
#ifndef MOSAIC_CPU_ATTENTION_PROGRAM_H
#define MOSAIC_CPU_ATTENTION_PROGRAM_H
#include "../../program.h"
#include "attention_pack.h"

static inline bool has_programs(const mosaic_attention_unit *u) { return u->score || u->keep_if; }

static inline const double *values_of(int32_t number, const double *registers)
{
    return registers + number * MOSAIC_PROGRAM_RUN;
}

/* Reports the first of these keys that is seen while a lookup that counts for it is not in its
 * table. */
static inline void check_lookups(const mosaic_attention_unit *u, const mosaic_program_run *run,
                                 const double *valid, const uint8_t *seen)
{
    if (run->program->table_count == 0) return;
    int bad = 0;
    for (int64_t j = 0; j < run->count; j++) bad |= (valid[j] == 0) & seen[j];
    for (int64_t j = 0; bad && j < run->count; j++)
        if (valid[j] == 0 && seen[j]) mosaic_attention_report(u, run, j);
}

/* seen[j] &= does the program let this query see key from + j? */
__attribute__((noinline, unused)) static void look_by_program(const mosaic_attention_unit *u,
                                                              place p, int64_t from, int64_t keys,
                                                              uint8_t *seen, double *registers)
{
    const mosaic_program *keep = u->keep_if;
    mosaic_program_run run = mosaic_attention_run(u, keep, p.head, p.query, from, keys);
    MOSAIC_KERNELS(program).run(&run, keep->value_count, registers);
    check_lookups(u, &run, values_of(keep->valid, registers), seen);
    const double *kept = values_of(keep->result, registers);
    for (int64_t j = 0; j < keys; j++) seen[j] &= kept[j] != 0;
}

/* One query's scores (keys), in units of `unit`, through the program; what is hidden is -infinity
 * and stays so. slope (keys), unless NULL, gets the derivative. */
static inline void rescore_row(const mosaic_attention_unit *u, place p, int64_t from, int64_t keys,
                               float *scores, float *slope, double *registers)
{
    const double unit = scaling_of(u->scale).unit, per_unit = 1 / unit;
    double score[MOSAIC_PROGRAM_RUN];
    uint8_t seen[MOSAIC_PROGRAM_RUN];
    for (int64_t j = 0; j < keys; j++) score[j] = (double)scores[j] * unit;
    for (int64_t j = 0; j < keys; j++) seen[j] = scores[j] != -INFINITY;
    mosaic_program_run run = mosaic_attention_run(u, u->score, p.head, p.query, from, keys);
    run.score = score;
    MOSAIC_KERNELS(program).run(&run, slope ? u->score->count : u->score->value_count, registers);
    check_lookups(u, &run, values_of(u->score->valid, registers), seen);
    const double *result = values_of(u->score->result, registers);
    for (int64_t j = 0; j < keys; j++)
        scores[j] = scores[j] == -INFINITY ? -INFINITY : (float)(result[j] * per_unit);
    const double *rate = values_of(u->score->slope, registers);
    for (int64_t j = 0; slope && j < keys; j++)
        slope[j] = scores[j] == -INFINITY ? 0 : (float)rate[j];
}

/* scores and slope (keys, step), lane by lane: rows first.. of the group against keys from.. */
__attribute__((noinline, unused)) static void rescore(const mosaic_attention_unit *u, int64_t first,
                                                      int64_t rows, int64_t from, int64_t keys,
                                                      float *scores, float *slope, int64_t step,
                                                      double *registers)
{
    float score[4][MOSAIC_PROGRAM_RUN], rate[4][MOSAIC_PROGRAM_RUN];
    float *const score_rows[] = {score[0], score[1], score[2], score[3]};
    const float *const changed[] = {score[0], score[1], score[2], score[3]};
    const float *const rates[] = {rate[0], rate[1], rate[2], rate[3]};
    place p = place_of(u, first);
    for (int64_t lane = 0; lane < rows; lane += 4) {
        rows_from_columns(score_rows, scores + lane, step, keys);
        for (int r = 0; r < 4 && lane + r < rows; r++, p = next_place(u, p))
            rescore_row(u, p, from, keys, score[r], slope ? rate[r] : NULL, registers);
        columns_from_rows(scores + lane, step, changed, keys);
        if (slope) columns_from_rows(slope + lane, step, rates, keys);
    }
}

#endif
