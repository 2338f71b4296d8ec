/* file.c - files: read at an offset, or replaced as a whole.
 *
 * A file is replaced in four steps that leave the old one or the new one whatever happens between
 * them: write a temporary file in the same folder, fsync it, rename it, fsync the folder. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

mosaic_status mosaic_fail_io(const char *path, const char *action)
{
    return mosaic_fail(MOSAIC_EIO, "%s: cannot %s: %s", path, action, strerror(errno));
}

mosaic_status mosaic_fail_memory(const char *path, int64_t bytes)
{
    return mosaic_fail(MOSAIC_ENOMEM, "%s: no memory for %lld bytes", path, (long long)bytes);
}

void *mosaic_grow(void *data, int64_t *room, int64_t needed, int64_t element_bytes)
{
    if (needed <= *room) return data;
    int64_t wanted = needed + needed / 2 + 16, bytes;
    if (__builtin_mul_overflow(wanted, element_bytes, &bytes)) return NULL;
    void *moved = realloc(data, (size_t)bytes);
    if (moved) *room = wanted;
    return moved;
}

mosaic_status mosaic_check_truth(const char *path, const uint8_t *values, int64_t count,
                                 int64_t offset)
{
    for (int64_t i = 0; i < count; i++)
        if (values[i] > 1)
            return mosaic_fail(MOSAIC_EIO, "%s: byte %lld: a truth value is 0 or 1, got %d", path,
                               (long long)(offset + i), values[i]);
    return MOSAIC_OK;
}

/* ---- reading -------------------------------------------------------------------------------- */

static mosaic_status inspect(mosaic_input *in, const char *path)
{
    struct stat info;
    if (fstat(in->fd, &info)) return mosaic_fail_io(path, "inspect");
    if (!S_ISREG(info.st_mode)) return mosaic_fail(MOSAIC_EIO, "%s: not a regular file", path);
    in->bytes = info.st_size;
    in->path = strdup(path);
    return in->path ? MOSAIC_OK : mosaic_fail_memory(path, (int64_t)strlen(path));
}

mosaic_status mosaic_input_open(mosaic_input *in, const char *path)
{
    *in = (mosaic_input){.fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (in->fd < 0) return mosaic_fail_io(path, "open");
    mosaic_status status = inspect(in, path);
    if (status) mosaic_input_close(in);
    return status;
}

void mosaic_input_close(mosaic_input *in)
{
    if (in->fd >= 0) close(in->fd);
    free(in->path);
    *in = (mosaic_input){.fd = -1};
}

mosaic_status mosaic_input_read(const mosaic_input *in, void *data, int64_t offset, int64_t bytes)
{
    char *to = data;
    while (bytes > 0) {
        ssize_t n = pread(in->fd, to, (size_t)bytes, offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return mosaic_fail_io(in->path, "read");
        if (n == 0)
            return mosaic_fail(MOSAIC_EIO, "%s: ends at byte %lld, %lld bytes early", in->path,
                               (long long)offset, (long long)bytes);
        to += n, offset += n, bytes -= n;
    }
    return MOSAIC_OK;
}

int64_t mosaic_read_some(int fd, void *data, int64_t bytes)
{
    ssize_t n;
    do n = read(fd, data, (size_t)bytes);
    while (n < 0 && errno == EINTR);
    return n;
}

/* ---- replacing ------------------------------------------------------------------------------ */

struct mosaic_file {
    int fd;          /* -1 once committed */
    char *path;      /* what will be replaced */
    char *temporary; /* what is written */
};

/* Whatever is not a regular file (a folder, /dev/null) must not be renamed over. */
static mosaic_status check_target(const char *path)
{
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return mosaic_fail(MOSAIC_EIO, "%s: cannot replace it: not a regular file", path);
    return MOSAIC_OK;
}

/* A new file beside path whose name no other writer has. */
static mosaic_status open_temporary(mosaic_file *file, const char *path)
{
    static int counter;
    file->path = strdup(path);
    int number = __atomic_add_fetch(&counter, 1, __ATOMIC_RELAXED);
    int n = asprintf(&file->temporary, "%s.%ld-%d.tmp", path, (long)getpid(), number);
    if (n < 0) file->temporary = NULL;
    if (!file->path || !file->temporary) return mosaic_fail_memory(path, (int64_t)strlen(path));
    file->fd = open(file->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return file->fd < 0 ? mosaic_fail_io(path, "create it") : MOSAIC_OK;
}

mosaic_status mosaic_file_new(mosaic_file **out, const char *path)
{
    MOSAIC_TRY(check_target(path));
    mosaic_file *file = calloc(1, sizeof *file);
    if (!file) return mosaic_fail_memory(path, sizeof *file);
    file->fd = -1;
    mosaic_status status = open_temporary(file, path);
    if (status)
        mosaic_file_release(file);
    else
        *out = file;
    return status;
}

mosaic_status mosaic_file_append(mosaic_file *file, const void *data, int64_t bytes)
{
    const char *from = data;
    while (bytes > 0) {
        ssize_t n = write(file->fd, from, (size_t)bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return mosaic_fail_io(file->path, "write");
        from += n, bytes -= n;
    }
    return MOSAIC_OK;
}

/* Makes the rename itself durable. A file system that cannot sync a folder says EINVAL. */
static mosaic_status sync_folder(const mosaic_file *file)
{
    char *copy = strdup(file->path);
    if (!copy) return mosaic_fail_memory(file->path, (int64_t)strlen(file->path));
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(copy);
    if (fd < 0) return mosaic_fail_io(file->path, "open its folder");
    int failed = fsync(fd) && errno != EINVAL;
    mosaic_status status = failed ? mosaic_fail_io(file->path, "sync its folder") : MOSAIC_OK;
    close(fd);
    return status;
}

mosaic_status mosaic_file_commit(mosaic_file *file)
{
    if (fsync(file->fd)) return mosaic_fail_io(file->path, "sync");
    int closed = close(file->fd);
    file->fd = -1;
    if (closed) return mosaic_fail_io(file->path, "close");
    if (rename(file->temporary, file->path)) return mosaic_fail_io(file->path, "replace it");
    free(file->temporary);
    file->temporary = NULL;
    return sync_folder(file);
}

void mosaic_file_release(mosaic_file *file)
{
    if (!file) return;
    if (file->fd >= 0) close(file->fd);
    if (file->temporary) unlink(file->temporary);
    free(file->temporary);
    free(file->path);
    free(file);
}
