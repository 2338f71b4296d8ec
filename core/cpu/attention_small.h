/* attention_small.h - attention over a short axis of many problems. */
#ifndef MOSAIC_CPU_SMALL_H
#define MOSAIC_CPU_SMALL_H
#include "attention.h"

/* Is the call one that the kernels for short axes take, and faster than the others? */
bool mosaic_attention_is_small(const mosaic_attention_call *call);

/* Forward, or backward where the call has dout. */
mosaic_status mosaic_attention_small(const mosaic_attention_call *call);

#endif
