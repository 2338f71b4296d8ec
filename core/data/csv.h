/* csv.h - a table read from a CSV file: its text, where its rows begin, and its numbers.
 *
 * Reading has two passes. csv_rows.c streams the file and finds the rows, knowing only about quotes
 * and line ends; it keeps the text of the first row and of the rows that were asked for. csv.c then
 * parses the cells (csv_cell.c) of these rows. The text always ends in a NUL and holds no other. */
#ifndef MOSAIC_CSV_H
#define MOSAIC_CSV_H
#include "../mosaic.h"

/* What a byte means between cells; 0 is part of a cell. */
enum { CSV_DELIMITER = 1, CSV_QUOTE, CSV_CR, CSV_LF, CSV_NUL };

typedef struct {
    const char *begin;
    int64_t bytes;
    bool doubled;    /* holds doubled quotes, each of which means one */
    const char *end; /* the byte after the delimiter or line end; NULL: malformed */
    bool last;       /* of its row */
} csv_cell;

typedef struct {
    int64_t first_text; /* the first row whose cell is not a number, -1: the column is numeric */
    int64_t slot;       /* its place in a row of values, -1: not selected */
    mosaic_text name;   /* of the header; empty without one */
} csv_column;

struct mosaic_csv {
    char *path;
    uint8_t kind[256]; /* CSV_... of each byte */
    bool header;
    mosaic_text *missing; /* cells that mean "missing" */
    int64_t missing_count;
    bool missing_start[256]; /* can a missing cell start with this byte? */

    char *text;
    int64_t text_room, text_bytes;
    int64_t head;      /* offset of the first row, which has the names or not */
    int64_t head_line; /* its line in the file, from 1 */
    int64_t body;      /* offset of the first row that was asked for */
    int64_t body_line;
    int64_t *row; /* offset of each row */
    int64_t rows, row_room;
    int64_t total_rows; /* in the file, the header not counted; -1: not read to the end */

    csv_column *column;
    int64_t columns;
    char *names;    /* what the names point into */
    char *scratch;  /* an unquoted cell */
    double *values; /* (rows, slots) */
    int64_t slots;
    bool parsed; /* every row has been checked */
};

/* Reads the cell at p; p[-1] ends the cell or row before. */
csv_cell csv_next_cell(const uint8_t *kind, const char *p);
/* What is wrong with the cell at p, which csv_next_cell refused. */
const char *csv_explain(const uint8_t *kind, const char *p);
/* Without spaces and tabs around it. */
mosaic_text csv_trim(csv_cell cell);
/* Copies the cell to `to`, doubled quotes halved; returns the bytes written, at most cell.bytes. */
int64_t csv_unquote(char *to, csv_cell cell);

/* Reads the first row and data rows [first, first + rows) (rows < 0: to the end) of descriptor fd,
 * or as many of them as there are. */
mosaic_status csv_read_rows(mosaic_csv *table, int fd, int64_t first, int64_t rows);

#endif
