/* csv_cell.c - one cell of a CSV row, by RFC 4180: quotes around the whole cell, doubled inside. */
#include <string.h>

#include "csv.h"

/* Fills in what follows the cell: a delimiter, a line end, or something that must not. */
static void finish(csv_cell *cell, const uint8_t *kind, const char *p)
{
    int stop = kind[(uint8_t)*p];
    if (stop == CSV_CR && p[1] == '\n') stop = CSV_LF, p++;
    if (stop == CSV_DELIMITER || stop == CSV_LF) cell->end = p + 1;
    if (stop == CSV_NUL) cell->end = p;
    cell->last = stop != CSV_DELIMITER;
}

static csv_cell quoted_cell(const uint8_t *kind, const char *p)
{
    csv_cell cell = {.begin = ++p};
    for (;; p += 2) {
        while (*p && *p != '"') p++;
        if (!*p) return cell;
        if (p[1] != '"') break;
        cell.doubled = true;
    }
    cell.bytes = p - cell.begin;
    finish(&cell, kind, p + 1);
    return cell;
}

csv_cell csv_next_cell(const uint8_t *kind, const char *p)
{
    if (*p == '"') return quoted_cell(kind, p);
    csv_cell cell = {.begin = p};
    while (!kind[(uint8_t)*p]) p++;
    cell.bytes = p - cell.begin;
    finish(&cell, kind, p);
    return cell;
}

const char *csv_explain(const uint8_t *kind, const char *p)
{
    bool quoted = *p == '"';
    if (quoted) {
        for (p++; *p && (*p != '"' || p[1] == '"');) p += *p == '"' ? 2 : 1;
        if (!*p) return "its quote is never closed";
        p++;
    } else {
        while (!kind[(uint8_t)*p]) p++;
    }
    if (*p == '\r') return "a carriage return without a line feed";
    return quoted ? "text after the closing quote" : "a quote inside a cell that is not quoted";
}

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

mosaic_text csv_trim(csv_cell cell)
{
    mosaic_text text = {cell.begin, cell.bytes};
    while (text.bytes && is_blank(text.data[0])) text.data++, text.bytes--;
    while (text.bytes && is_blank(text.data[text.bytes - 1])) text.bytes--;
    return text;
}

int64_t csv_unquote(char *to, csv_cell cell)
{
    int64_t written = 0;
    for (int64_t i = 0; i < cell.bytes; i++) {
        to[written++] = cell.begin[i];
        i += cell.doubled && cell.begin[i] == '"';
    }
    return written;
}
