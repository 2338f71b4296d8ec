/* file.h - files: read at an offset, or replaced as a whole. Messages carry the path and strerror.
 */
#ifndef MOSAIC_FILE_H
#define MOSAIC_FILE_H
#include "../status.h"

/* The formats here are little-endian, and so is every machine that Mosaic runs on. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "a big-endian machine");

/* A regular file that is open for reading. */
typedef struct {
    int fd;
    char *path;
    int64_t bytes;
} mosaic_input;

mosaic_status mosaic_input_open(mosaic_input *in, const char *path);
void mosaic_input_close(mosaic_input *in);
/* Exactly bytes bytes from offset on; a file that has become shorter is an error. */
mosaic_status mosaic_input_read(const mosaic_input *in, void *data, int64_t offset, int64_t bytes);

/* The next at most `bytes` bytes of a descriptor; 0 at the end, -1 with errno set. */
int64_t mosaic_read_some(int fd, void *data, int64_t bytes);

mosaic_status mosaic_fail_io(const char *path, const char *action); /* adds strerror(errno) */
mosaic_status mosaic_fail_memory(const char *path, int64_t bytes);

/* data with room for at least `needed` elements: data itself, or moved to a larger block (*room is
 * its capacity). NULL: no memory, and data is still valid. */
void *mosaic_grow(void *data, int64_t *room, int64_t needed, int64_t element_bytes);

/* Truth values as bytes: fails naming the first that is neither 0 nor 1. `offset` is that of
 * values[0] in the file. */
mosaic_status mosaic_check_truth(const char *path, const uint8_t *values, int64_t count,
                                 int64_t offset);

#endif
