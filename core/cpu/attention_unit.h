/* attention_unit.h - what the units of a call (attention.h) share, and each of them. */
#ifndef MOSAIC_CPU_ATTENTION_UNIT_H
#define MOSAIC_CPU_ATTENTION_UNIT_H
#include "attention.h"

/* What the masks say about positions. */
typedef struct {
    int64_t *low, *high, *q_position, *k_position; /* NULL where nothing asks for positions */
    int64_t bytes;                                 /* that they take */
    double *slope;
    mosaic_attention_fault *fault;
} mosaic_attention_plan;

mosaic_status mosaic_attention_plan_make(mosaic_attention_plan *p,
                                         const mosaic_attention_call *call);
void mosaic_attention_plan_clear(mosaic_attention_plan *p);

bool mosaic_attention_has_limits(const mosaic_attention_options *o);
bool mosaic_attention_has_programs(const mosaic_attention_options *o);

/* The query heads of batch entry (b0, b1) that share this key/value head. */
mosaic_attention_unit mosaic_attention_unit_at(const mosaic_attention_call *c,
                                               const mosaic_attention_plan *p, int64_t b0,
                                               int64_t b1, int64_t kv_head);

#endif
