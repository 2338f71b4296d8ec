/* json.h - the JSON of file headers: objects, lists, strings and natural numbers, read strictly.
 *
 * The caller walks the grammar it expects, so there is no recursion and no tree:
 *     MOSAIC_TRY(mosaic_json_expect(json, '{'));
 *     for (int64_t i = 0;; i++) {
 *         MOSAIC_TRY(mosaic_json_more(json, '}', i, &more));
 *         if (!more) break;
 *         MOSAIC_TRY(mosaic_json_key(json, &key)); ... one value ...
 *     }
 * Errors name the file and the byte in it. */
#ifndef MOSAIC_JSON_H
#define MOSAIC_JSON_H
#include <stdio.h>

#include "../status.h"

typedef struct {
    const char *path; /* for messages */
    const char *text;
    int64_t bytes;
    int64_t at;
    int64_t origin; /* of text in the file */
    char *spare;    /* decoded strings go here: room for `bytes` bytes in all */
} mosaic_json;

/* Fails, naming the byte, unless the whole text is UTF-8. */
mosaic_status mosaic_json_check_utf8(const mosaic_json *json);
/* The length of the valid UTF-8 at the start of text; `bytes` when all of it is. */
int64_t mosaic_utf8_prefix(const char *text, int64_t bytes);

mosaic_status mosaic_json_fail(const mosaic_json *json, const char *expected);
/* Steps over word if it comes next, white space aside. */
bool mosaic_json_accept(mosaic_json *json, const char *word);
mosaic_status mosaic_json_expect(mosaic_json *json, char c);
/* Before member number i of an object or list: is there one, or does `close` end it? */
mosaic_status mosaic_json_more(mosaic_json *json, char close, int64_t i, bool *more);
mosaic_status mosaic_json_string(mosaic_json *json, mosaic_text *out);
mosaic_status mosaic_json_key(mosaic_json *json, mosaic_text *out); /* a string and ':' */
mosaic_status mosaic_json_natural(mosaic_json *json, int64_t *out); /* 0 .. 2^63 - 1 */
mosaic_status mosaic_json_end(mosaic_json *json);                   /* only white space is left */

/* Writes text (UTF-8) with quotes and escapes. */
void mosaic_json_quote(FILE *out, mosaic_text text);

#endif
