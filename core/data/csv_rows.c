/* csv_rows.c - finds the rows of a CSV file in a stream, and keeps those that are wanted.
 *
 * A row ends at a line feed that an even number of quotes precedes. Empty lines are not rows. Rows
 * before the wanted ones are dropped block by block, and reading stops behind the last wanted row:
 * memory is that of the wanted rows, and the others are scanned, never parsed. */
#include <stdlib.h>
#include <string.h>

#include "csv.h"
#include "file.h"

/* Bytes per read. The fuzz target makes it small, so that everything crosses a border. */
#ifndef CSV_BLOCK
#define CSV_BLOCK (1 << 20)
#endif

typedef struct {
    mosaic_csv *table;
    int64_t at;             /* scanned up to here */
    int64_t row_start;      /* of the row that is being scanned */
    int64_t number;         /* of that row, the first row of the file being 0 */
    int64_t line, row_line; /* line feeds before `at` and before row_start */
    int64_t keep;           /* text before this offset stays */
    int64_t first, last;    /* wanted row numbers: first <= number < last */
    bool quoted, found;     /* inside quotes; a wanted row was found */
} scanner;

static mosaic_status keep_row(scanner *s)
{
    mosaic_csv *t = s->table;
    int64_t *grown = mosaic_grow(t->row, &t->row_room, t->rows + 1, sizeof *grown);
    if (!grown) return mosaic_fail_memory(t->path, t->rows * (int64_t)sizeof *grown);
    t->row = grown;
    if (!s->found) t->body = s->row_start, t->body_line = s->row_line + 1;
    s->found = true;
    t->row[t->rows++] = s->row_start;
    return MOSAIC_OK;
}

/* The row [row_start, end) is complete; the next one starts at `next`. */
static mosaic_status end_row(scanner *s, int64_t end, int64_t next)
{
    mosaic_csv *t = s->table;
    int64_t bytes = end - s->row_start;
    bool empty = bytes == 0 || (bytes == 1 && t->text[s->row_start] == '\r');
    if (!empty && s->number == 0) {
        t->head = s->row_start, t->head_line = s->row_line + 1;
        s->keep = next;
    }
    if (!empty && s->number >= s->first && s->number < s->last) MOSAIC_TRY(keep_row(s));
    s->number += !empty;
    s->row_start = next;
    s->row_line = s->line;
    return MOSAIC_OK;
}

/* Marks the bytes of word that equal pattern's; right for the lowest mark, and above it too often.
 */
static uint64_t mark_bytes(uint64_t word, uint64_t pattern)
{
    uint64_t zero = word ^ pattern;
    return (zero - 0x0101010101010101u) & ~zero & 0x8080808080808080u;
}

/* The next quote or line feed in text[at..end), or end. */
static int64_t next_mark(const char *text, int64_t at, int64_t end)
{
    for (; end - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, text + at, 8);
        uint64_t marks =
            mark_bytes(word, 0x2222222222222222u) | mark_bytes(word, 0x0a0a0a0a0a0a0a0au);
        if (marks) return at + (__builtin_ctzll(marks) >> 3);
    }
    while (at < end && text[at] != '"' && text[at] != '\n') at++;
    return at;
}

/* Scans the text that has arrived since the last call, until all wanted rows are found. */
static mosaic_status scan_block(scanner *s)
{
    mosaic_csv *t = s->table;
    while ((s->at = next_mark(t->text, s->at, t->text_bytes)) < t->text_bytes) {
        char c = t->text[s->at++];
        s->quoted ^= c == '"';
        s->line += c == '\n';
        if (c == '\n' && !s->quoted) MOSAIC_TRY(end_row(s, s->at - 1, s->at));
    }
    return MOSAIC_OK;
}

/* Moves the unfinished row down to the kept text, over rows that nobody wants. */
static void drop_rows(scanner *s)
{
    mosaic_csv *t = s->table;
    int64_t dropped = s->row_start - s->keep;
    if (s->found || dropped <= 0) return;
    memmove(t->text + s->keep, t->text + s->row_start, (size_t)(t->text_bytes - s->row_start));
    t->text_bytes -= dropped;
    s->at -= dropped;
    s->row_start -= dropped;
}

static mosaic_status refuse_nul(const scanner *s, int64_t from)
{
    const mosaic_csv *t = s->table;
    const char *found = memchr(t->text + from, 0, (size_t)(t->text_bytes - from));
    int64_t line = s->line + 1;
    if (!found) return MOSAIC_OK;
    for (const char *p = t->text + from; p < found; p++) line += *p == '\n';
    return mosaic_fail(MOSAIC_EIO, "%s:%lld: a NUL byte: this is not a text file in UTF-8 or ASCII",
                       t->path, (long long)line);
}

/* Appends the next block of the file; *more is false at its end. */
static mosaic_status read_block(scanner *s, int fd, bool *more)
{
    mosaic_csv *t = s->table;
    char *grown = mosaic_grow(t->text, &t->text_room, t->text_bytes + CSV_BLOCK + 1, 1);
    if (!grown) return mosaic_fail_memory(t->path, t->text_bytes + CSV_BLOCK);
    t->text = grown;
    int64_t from = t->text_bytes, n = mosaic_read_some(fd, t->text + from, CSV_BLOCK);
    if (n < 0) return mosaic_fail_io(t->path, "read");
    *more = n > 0;
    t->text_bytes += n;
    t->text[t->text_bytes] = 0;
    return refuse_nul(s, from);
}

/* The file has ended: a last line without a line feed is a row too. A quote that is still open
 * is left to the parser, which can say where it is, when the row is wanted. */
static mosaic_status end_file(scanner *s)
{
    mosaic_csv *t = s->table;
    bool wanted = s->number == 0 || (s->number >= s->first && s->number < s->last);
    if (s->quoted && !wanted)
        return mosaic_fail(MOSAIC_EIO, "%s:%lld: a quote in this row is never closed", t->path,
                           (long long)s->row_line + 1);
    MOSAIC_TRY(end_row(s, t->text_bytes, t->text_bytes));
    if (s->number == 0) return mosaic_fail(MOSAIC_EIO, "%s: the file has no rows", t->path);
    t->total_rows = s->number - t->header;
    return MOSAIC_OK;
}

mosaic_status csv_read_rows(mosaic_csv *t, int fd, int64_t first, int64_t rows)
{
    scanner s = {.table = t, .first = first + t->header, .last = INT64_MAX};
    if (rows >= 0) s.last = s.first + rows;
    bool more = true;
    t->total_rows = -1;
    while (more && (s.number == 0 || s.number < s.last)) {
        MOSAIC_TRY(read_block(&s, fd, &more));
        MOSAIC_TRY(more ? scan_block(&s) : end_file(&s));
        drop_rows(&s);
    }
    return MOSAIC_OK;
}
