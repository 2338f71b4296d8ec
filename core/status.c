/* status.c - the last error of each thread. */
#include "status.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char message[1024];

const char *mosaic_last_error(void) { return message; }

const char *mosaic_version(void) { return MOSAIC_VERSION; }

mosaic_status mosaic_fail(mosaic_status status, const char *format, ...)
{
    /* The arguments may point into the old message ("...: %s", mosaic_last_error()). */
    char text[sizeof message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(message, sizeof message, "%s", text);
    return status;
}
