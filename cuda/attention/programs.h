/* programs.h - masks with the programs that a variant is compiled with. program.h has them:
 *
 *   HAS_KEEP, HAS_SCORE   1: there is one
 *   double keep_program(tables, sizes, batch, head, query, key, bool *valid)
 *   double score_program(tables, sizes, score, batch, head, query, key, double *slope, bool *valid)
 *
 * in double precision, like the CPU's; slope is d result / d score, and valid whether all look-ups
 * that count are inside of their tables. */
#ifndef MOSAIC_ATTENTION_PROGRAMS_H
#define MOSAIC_ATTENTION_PROGRAMS_H
#include "mask.h"
#include "steps.h"

#include "program.h"

/* See mosaic_attention_fault. */
MOSAIC_DEVICE void note_fault(const mosaic_attention_args &a, const mosaic_attention_place &p,
                              int64_t i, int64_t j, int is_score)
{
    const long long at[] = {(p.b0 * a.b1 + p.b1) * a.heads + p.head, position(a.q_position, i),
                            position(a.k_position, j), is_score};
    int known = (int)a.fault->known;
    for (int n = 0; n < known; n++)
        if (at[n] != a.fault->at[n]) return;
    if (at[known] < *(volatile long long *)&a.fault->at[known])
        atomicMin(&a.fault->at[known], at[known]);
}

/* Does the mask let query i see key j? */
MOSAIC_DEVICE bool looks(const mosaic_attention_args &a, const mosaic_attention_place &p, int64_t i,
                         int64_t j)
{
    if (!sees(a, p, i, j)) return false;
#if HAS_KEEP
    bool valid;
    double kept = keep_program(
        a.tables, a.table_sizes, (double)(batch_of(a, p) + 1), (double)(a.head_from + p.head + 1),
        (double)position(a.q_position, i), (double)position(a.k_position, j), &valid);
    if (!valid && a.fault) note_fault(a, p, i, j, 0);
    return kept != 0;
#else
    return true;
#endif
}

#if HAS_SCORE
/* What the mask makes of a pair's score (scale q.k and what is added): -infinity hides the key.
 * *slope: its derivative. Not for pairs that are hidden already. */
MOSAIC_DEVICE double rescored(const mosaic_attention_args &a, const mosaic_attention_place &p,
                              int64_t i, int64_t j, double score, double *slope)
{
    bool valid;
    double result =
        score_program(a.tables, a.table_sizes, score, (double)(batch_of(a, p) + 1),
                      (double)(a.head_from + p.head + 1), (double)position(a.q_position, i),
                      (double)position(a.k_position, j), slope, &valid);
    if (!valid && a.fault) note_fault(a, p, i, j, 1);
    return result;
}
#endif

#endif
