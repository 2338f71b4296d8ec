/* hopper_map.h - maps of tensors that the copy engine fetches tiles by. */
#ifndef MOSAIC_ATTENTION_HOPPER_MAP_H
#define MOSAIC_ATTENTION_HOPPER_MAP_H
#include "attention.h"
#include "hopper_call.h"
#include "variants.h"

enum { HOPPER_AXES = 5 };

/* Axes (column, row, head, b1, b0); columns are next to each other. */
typedef struct {
    char *data;
    int dtype;                                      /* MOSAIC_ATTENTION_BF16, _F16, _F32 */
    int64_t size[HOPPER_AXES], stride[HOPPER_AXES]; /* in elements */
} hopper_operand;

/* View `v` of the call, with the call's head size and dtype. */
hopper_operand mosaic_hopper_operand(const mosaic_attention_args *a, const mosaic_attention_view *v,
                                     int64_t rows, int64_t heads);
/* Can the copy engine read it? */
bool mosaic_hopper_can_map(const hopper_operand *o);
/* For boxes of `rows` rows with all columns that a row of shared memory holds. */
mosaic_status mosaic_hopper_map(mosaic_tile_map *map, hopper_operand o, int rows);

/* hopper.c: is a call of the kind that these kernels are for, on a device that has them? */
bool mosaic_hopper_is_usual(const mosaic_attention_job *job);

/* hopper_backward.c: all gradients but that of a bias. */
bool mosaic_hopper_backward_takes(const mosaic_attention_job *job);
mosaic_status mosaic_hopper_backward_run(mosaic_attention_job *job);

#endif
