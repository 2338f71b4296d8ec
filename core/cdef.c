/* cdef.c - libmosaic.so carries its own declarations (see mosaic.h). */
#include "mosaic.h"

extern const char mosaic_cdef_text[] __attribute__((visibility("hidden")));

__asm__(".section .rodata\n"
        ".global mosaic_cdef_text\n"
        ".type mosaic_cdef_text, @object\n"
        "mosaic_cdef_text:\n"
        ".incbin \"" MOSAIC_CDEF_FILE "\"\n"
        ".byte 0\n"
        ".size mosaic_cdef_text, . - mosaic_cdef_text\n"
        ".previous\n");

const char *mosaic_cdef(void) { return mosaic_cdef_text; }
