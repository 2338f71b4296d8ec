/* cache.h - compiled variants on disk. Files appear whole or not at all, and one that does not hold
 * what it should is as good as none. */
#ifndef MOSAIC_ATTENTION_CACHE_H
#define MOSAIC_ATTENTION_CACHE_H
#include "compiler.h"

typedef struct {
    uint64_t word[2];
} mosaic_key;

/* The key of nothing, and of what a key stands for with more bytes after it. */
mosaic_key mosaic_key_new(void);
void mosaic_key_add(mosaic_key *key, const void *data, int64_t bytes);

/* MOSAIC_CACHE names the folder (empty: nothing is kept), by default the compiler's, or
 * $XDG_CACHE_HOME/mosaic, or ~/.cache/mosaic. */
bool mosaic_cache_read(mosaic_image *image, const mosaic_key *key);
void mosaic_cache_write(const mosaic_image *image, const mosaic_key *key);

#endif
