/* status.h - how a function fails: say why with the values, hand the status up. */
#ifndef MOSAIC_STATUS_H
#define MOSAIC_STATUS_H
#include "mosaic.h"

/* Remembers the formatted text for mosaic_last_error() and returns status. */
mosaic_status mosaic_fail(mosaic_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define MOSAIC_TRY(call)                                                                           \
    do {                                                                                           \
        mosaic_status try_status_ = (call);                                                        \
        if (try_status_ != MOSAIC_OK) return try_status_;                                          \
    } while (0)

#define MOSAIC_REQUIRE(condition, ...)                                                             \
    do {                                                                                           \
        if (!(condition)) return mosaic_fail(MOSAIC_EINVAL, __VA_ARGS__);                          \
    } while (0)

#endif
