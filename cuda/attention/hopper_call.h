/* hopper_call.h - tiles of the Hopper kernels, for the kernels and for who starts them. */
#ifndef MOSAIC_ATTENTION_HOPPER_CALL_H
#define MOSAIC_ATTENTION_HOPPER_CALL_H
#include "call.h"

#define MOSAIC_HOPPER_COLUMNS(head) ((head) <= 32 ? 32 : 64)
#define MOSAIC_HOPPER_CONSUMERS(head) ((head) <= 32 ? 3 : 2)
#define MOSAIC_HOPPER_STAGES(head) ((head) <= 64 ? 4 : 2)
/* Of 64 K registers of a multiprocessor, by thread. */
#define MOSAIC_HOPPER_CONSUMER_REGISTERS(head) ((head) <= 32 ? 160 : 240)
enum {
    MOSAIC_HOPPER_BOX = 64,   /* rows, of queries and of all operands backward */
    MOSAIC_HOPPER_KEYS = 128, /* that a block takes together forward */
    MOSAIC_HOPPER_FETCHER_REGISTERS = 24,
};

/* What cuTensorMapEncodeTiled writes. */
typedef struct {
    uint64_t words[16];
} __attribute__((aligned(128))) mosaic_tile_map;

typedef struct {
    mosaic_tile_map q, k, v; /* (column, row, head, b1, b0) */
    mosaic_attention_args args;
} mosaic_hopper_call;

/* Gradients: two operands of a block stay, stages of two others pass by. */
#define MOSAIC_HOPPER_PASSING(head) ((head) <= 64 ? 4 : 3)
#define MOSAIC_HOPPER_BACKWARD_FETCHER_REGISTERS(head) 56
#define MOSAIC_HOPPER_BACKWARD_CONSUMER_REGISTERS(head) ((head) <= 32 ? 152 : 224)

enum { MOSAIC_HOPPER_BACKWARD_CONTROL = 256 }; /* bytes of shared memory besides tiles */

typedef struct {
    mosaic_tile_map q, k, v, dout;
    mosaic_tile_map terms; /* backward_terms (4 numbers, row, head, b1, b0) */
    mosaic_attention_args args;
} mosaic_hopper_backward_call;

#endif
