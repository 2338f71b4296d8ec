/* json.c - the JSON of file headers: objects, lists, strings and natural numbers, read strictly. */
#include "json.h"

#include <string.h>

/* ---- UTF-8 ---------------------------------------------------------------------------------- */

/* Length of the sequence that starts with lead and the range of its second byte; 0: no lead.
 * The range shuts out overlong forms, surrogates and what lies beyond U+10FFFF. */
static int sequence(uint8_t lead, uint8_t *from, uint8_t *to)
{
    *from = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    *to = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (lead < 0x80) return 1;
    if (lead >= 0xc2 && lead <= 0xdf) return 2;
    if (lead >= 0xe0 && lead <= 0xef) return 3;
    return lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
}

int64_t mosaic_utf8_prefix(const char *text, int64_t bytes)
{
    const uint8_t *s = (const uint8_t *)text;
    int64_t at = 0;
    while (at < bytes) {
        uint8_t from, to;
        int length = sequence(s[at], &from, &to);
        if (!length || length > bytes - at) return at;
        for (int i = 1; i < length; i++) {
            if (s[at + i] < from || s[at + i] > to) return at;
            from = 0x80, to = 0xbf;
        }
        at += length;
    }
    return at;
}

mosaic_status mosaic_json_check_utf8(const mosaic_json *json)
{
    int64_t valid = mosaic_utf8_prefix(json->text, json->bytes);
    if (valid == json->bytes) return MOSAIC_OK;
    return mosaic_fail(MOSAIC_EIO, "%s: byte %lld: not UTF-8", json->path,
                       (long long)(json->origin + valid));
}

/* A code point as UTF-8; returns the end. */
static char *put_utf8(char *to, unsigned code)
{
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 0x3f));
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    }
    return to;
}

/* ---- tokens --------------------------------------------------------------------------------- */

/* The next byte, or -1 at the end. */
static int peek(const mosaic_json *json)
{
    return json->at < json->bytes ? (uint8_t)json->text[json->at] : -1;
}

static int skip_space(mosaic_json *json)
{
    int c = peek(json);
    while (c == ' ' || c == '\n' || c == '\r' || c == '\t') {
        json->at++;
        c = peek(json);
    }
    return c;
}

mosaic_status mosaic_json_fail(const mosaic_json *json, const char *expected)
{
    int c = peek(json);
    char got[24] = "the end of the header";
    if (c >= 0) snprintf(got, sizeof got, c > 32 && c < 127 ? "'%c'" : "byte 0x%02x", c);
    return mosaic_fail(MOSAIC_EIO, "%s: byte %lld: expected %s, got %s", json->path,
                       (long long)(json->origin + json->at), expected, got);
}

bool mosaic_json_accept(mosaic_json *json, const char *word)
{
    int64_t bytes = (int64_t)strlen(word);
    skip_space(json);
    bool found =
        json->bytes - json->at >= bytes && !memcmp(json->text + json->at, word, (size_t)bytes);
    json->at += found ? bytes : 0;
    return found;
}

mosaic_status mosaic_json_expect(mosaic_json *json, char c)
{
    const char quoted[] = {'\'', c, '\'', 0};
    if (skip_space(json) != c) return mosaic_json_fail(json, quoted);
    json->at++;
    return MOSAIC_OK;
}

mosaic_status mosaic_json_more(mosaic_json *json, char close, int64_t i, bool *more)
{
    int c = skip_space(json);
    *more = c != close;
    if (*more && i == 0) return MOSAIC_OK;
    const char expected[] = {'\'', ',', '\'', ' ', 'o', 'r', ' ', '\'', close, '\'', 0};
    if (*more && c != ',') return mosaic_json_fail(json, expected);
    json->at++;
    return MOSAIC_OK;
}

static mosaic_status hex4(mosaic_json *json, unsigned *code)
{
    *code = 0;
    for (int i = 0; i < 4; i++) {
        int c = peek(json), letter = c | 0x20;
        bool digit = c >= '0' && c <= '9';
        if (!digit && (letter < 'a' || letter > 'f')) return mosaic_json_fail(json, "a hex digit");
        *code = *code * 16 + (unsigned)(digit ? c - '0' : letter - 'a' + 10);
        json->at++;
    }
    return MOSAIC_OK;
}

/* After "\u": one unit, or two that form a surrogate pair. */
static mosaic_status unicode_escape(mosaic_json *json, unsigned *code)
{
    unsigned low = 0;
    MOSAIC_TRY(hex4(json, code));
    if (*code < 0xd800 || *code > 0xdfff) return MOSAIC_OK;
    bool paired = *code <= 0xdbff && json->bytes - json->at >= 2 && json->text[json->at] == '\\' &&
                  json->text[json->at + 1] == 'u';
    if (!paired) return mosaic_json_fail(json, "a surrogate pair");
    json->at += 2;
    MOSAIC_TRY(hex4(json, &low));
    if (low < 0xdc00 || low > 0xdfff) return mosaic_json_fail(json, "a low surrogate");
    *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    return MOSAIC_OK;
}

/* After a backslash. */
static mosaic_status escape(mosaic_json *json, unsigned *code)
{
    static const char letters[] = "\"\\/bfnrtu", meanings[] = "\"\\/\b\f\n\r\t";
    int c = peek(json);
    const char *found = c > 0 ? strchr(letters, c) : NULL;
    if (!found) return mosaic_json_fail(json, "an escape");
    json->at++;
    if (c == 'u') return unicode_escape(json, code);
    *code = (unsigned)meanings[found - letters];
    return MOSAIC_OK;
}

mosaic_status mosaic_json_string(mosaic_json *json, mosaic_text *out)
{
    if (skip_space(json) != '"') return mosaic_json_fail(json, "a string");
    char *to = json->spare;
    json->at++;
    for (int c = peek(json); c != '"'; c = peek(json)) {
        if (c < 0x20) return mosaic_json_fail(json, "the rest of a string");
        json->at++;
        if (c != '\\') {
            *to++ = (char)c;
            continue;
        }
        unsigned code = 0;
        MOSAIC_TRY(escape(json, &code));
        to = put_utf8(to, code);
    }
    json->at++;
    *out = (mosaic_text){json->spare, to - json->spare};
    json->spare = to;
    return MOSAIC_OK;
}

mosaic_status mosaic_json_key(mosaic_json *json, mosaic_text *out)
{
    MOSAIC_TRY(mosaic_json_string(json, out));
    return mosaic_json_expect(json, ':');
}

mosaic_status mosaic_json_natural(mosaic_json *json, int64_t *out)
{
    int c = skip_space(json), first = c;
    int64_t start = json->at;
    *out = 0;
    for (; c >= '0' && c <= '9'; c = peek(json)) {
        if (__builtin_mul_overflow(*out, 10, out) || __builtin_add_overflow(*out, c - '0', out))
            return mosaic_json_fail(json, "a number below 2^63");
        json->at++;
    }
    bool plain = json->at > start && (first != '0' || json->at == start + 1) && c != '.' &&
                 c != 'e' && c != 'E';
    return plain ? MOSAIC_OK : mosaic_json_fail(json, "a natural number");
}

mosaic_status mosaic_json_end(mosaic_json *json)
{
    return skip_space(json) < 0 ? MOSAIC_OK : mosaic_json_fail(json, "the end of the header");
}

void mosaic_json_quote(FILE *out, mosaic_text text)
{
    fputc('"', out);
    for (int64_t i = 0; i < text.bytes; i++) {
        uint8_t c = (uint8_t)text.data[i];
        if (c < 0x20)
            fprintf(out, "\\u%04x", c);
        else if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}
