/* number.h - decimal text to the nearest double. */
#ifndef MOSAIC_NUMBER_H
#define MOSAIC_NUMBER_H
#include <stdbool.h>

/* Is text..end (end not included) a number: [+-] digits [. digits] [e [+-] digits], or in any case
 * of letters inf, infinity, nan with a sign? Then *value is the nearest double, ties to even: bit
 * for bit strtod's in the C locale. *end must be readable and not continue a number. */
bool mosaic_parse_double(double *value, const char *text, const char *end);

/* The common case in one go: [-] digits [. digits], at most 15 digits. Returns where the number
 * ends; what follows is the caller's to judge. NULL: not so simple. */
const char *mosaic_parse_plain(double *value, const char *text);

#endif
