/* program.h - of a mask without programs; what program.c writes where there are some. */
#define HAS_KEEP 0
#define HAS_SCORE 0
