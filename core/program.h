/* program.h - programs of masks: are they sound, and what do they say about whole blocks? */
#ifndef MOSAIC_PROGRAM_H
#define MOSAIC_PROGRAM_H
#include "status.h"

enum { MOSAIC_PROGRAM_REGISTERS = 128, MOSAIC_PROGRAM_STEPS = 4096 }; /* at most */

/* Fails unless kernels can run the program without looking; name is the mask's entry. */
mosaic_status mosaic_program_check(const char *op, const char *name, const mosaic_program *program,
                                   const mosaic_tensor *like);

/* mosaic_program_range of a program that has been checked. */
mosaic_program_extent mosaic_program_extent_of(const mosaic_program *program, const double low[4],
                                               const double high[4]);

#endif
