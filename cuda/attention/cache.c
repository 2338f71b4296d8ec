/* cache.c - a folder of files, each named by its key: a line that says what it is, the key, the
 * size and a checksum of what follows. */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_ROOM = 4096 };

typedef struct {
    char magic[16]; /* "mosaic variant\n" */
    mosaic_key key, checksum;
    int64_t bytes;
} header;

static const char magic[16] = "mosaic variant\n";

/* FNV-1a, twice from different starts. */
mosaic_key mosaic_key_new(void) { return (mosaic_key){{0xcbf29ce484222325u, 0x9ae16a3b2f90404fu}}; }

void mosaic_key_add(mosaic_key *key, const void *data, int64_t bytes)
{
    const unsigned char *at = data;
    for (int64_t i = 0; i < bytes; i++) {
        key->word[0] = (key->word[0] ^ at[i]) * 0x100000001b3u;
        key->word[1] = (key->word[1] ^ at[i]) * 0x9fb21c651e98df25u;
    }
}

static mosaic_key checksum_of(const mosaic_image *image)
{
    mosaic_key sum = mosaic_key_new();
    mosaic_key_add(&sum, image->data, image->bytes);
    return sum;
}

static bool same(const mosaic_key *a, const mosaic_key *b)
{
    return a->word[0] == b->word[0] && a->word[1] == b->word[1];
}

/* ---- the folder ----------------------------------------------------------------------------- */

/* False: nothing is kept. */
static bool folder_of(char path[PATH_ROOM])
{
    const char *own = getenv("MOSAIC_CACHE"), *all = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    int length;
    if (!own) own = mosaic_compiler_folder();
    if (own)
        length = snprintf(path, PATH_ROOM, "%s", own);
    else if (all && *all)
        length = snprintf(path, PATH_ROOM, "%s/mosaic", all);
    else
        length = home && *home ? snprintf(path, PATH_ROOM, "%s/.cache/mosaic", home) : 0;
    return length > 0 && length < PATH_ROOM - 100;
}

static bool path_of(char path[PATH_ROOM], const mosaic_key *key)
{
    if (!folder_of(path)) return false;
    size_t length = strlen(path);
    snprintf(path + length, PATH_ROOM - length, "/%016llx%016llx.variant",
             (unsigned long long)key->word[0], (unsigned long long)key->word[1]);
    return true;
}

/* Makes the folders that lead to a file. */
static void make_folders(char *path)
{
    for (char *at = path + 1; (at = strchr(at, '/')); *at++ = '/') {
        *at = 0;
        mkdir(path, 0777);
    }
}

/* ---- files ---------------------------------------------------------------------------------- */

static bool read_image(mosaic_image *image, FILE *file, const mosaic_key *key)
{
    header h;
    if (fread(&h, sizeof h, 1, file) != 1 || memcmp(h.magic, magic, sizeof magic) != 0 ||
        !same(&h.key, key) || h.bytes < 1 || h.bytes > INT32_MAX)
        return false;
    *image = (mosaic_image){malloc((size_t)h.bytes), h.bytes};
    if (!image->data) return false;
    bool whole = fread(image->data, (size_t)h.bytes, 1, file) == 1 && fgetc(file) == EOF;
    mosaic_key sum = whole ? checksum_of(image) : (mosaic_key){{0, 0}};
    if (whole && same(&sum, &h.checksum)) return true;
    free(image->data);
    return false;
}

bool mosaic_cache_read(mosaic_image *image, const mosaic_key *key)
{
    char path[PATH_ROOM];
    FILE *file = path_of(path, key) ? fopen(path, "rb") : NULL;
    if (!file) return false;
    bool found = read_image(image, file, key);
    fclose(file);
    return found;
}

/* Where that is not possible, it is compiled again next time. */
void mosaic_cache_write(const mosaic_image *image, const mosaic_key *key)
{
    char path[PATH_ROOM], fresh[PATH_ROOM + 32];
    header h = {.key = *key, .checksum = checksum_of(image), .bytes = image->bytes};
    memcpy(h.magic, magic, sizeof magic);
    if (!path_of(path, key)) return;
    make_folders(path);
    snprintf(fresh, sizeof fresh, "%s.%d.XXXXXX", path, (int)getpid());
    int descriptor = mkstemp(fresh);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "wb");
    if (!file) return;
    bool written = fwrite(&h, sizeof h, 1, file) == 1 &&
                   fwrite(image->data, (size_t)image->bytes, 1, file) == 1;
    if (fclose(file) != 0 || !written || rename(fresh, path) != 0) unlink(fresh);
}
