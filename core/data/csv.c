/* csv.c - a table read from a CSV file: opening, parsing, asking.
 *
 * Numbers are parsed once, into rows of doubles; text is looked up in the file's text when asked
 * for. A column is numeric when every cell that was read is a number or missing. */
#include "csv.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../tensor.h"
#include "file.h"
#include "number.h"

/* ---- messages ------------------------------------------------------------------------------- */

/* The line of the file that a byte of the first row or of the body is in. */
static int64_t line_of(const mosaic_csv *t, const char *p)
{
    bool in_head = p < t->text + t->body || !t->rows;
    int64_t line = in_head ? t->head_line : t->body_line;
    for (const char *q = t->text + (in_head ? t->head : t->body); q < p; q++) line += *q == '\n';
    return line;
}

static mosaic_status fail_cell(const mosaic_csv *t, const char *p, int64_t column)
{
    return mosaic_fail(MOSAIC_EIO, "%s:%lld: column %lld: %s", t->path, (long long)line_of(t, p),
                       (long long)column + 1, csv_explain(t->kind, p));
}

static mosaic_status fail_ragged(const mosaic_csv *t, int64_t row, int64_t cells)
{
    return mosaic_fail(MOSAIC_EIO, "%s:%lld: %lld cells, but the first row (line %lld) has %lld",
                       t->path, (long long)line_of(t, t->text + t->row[row]), (long long)cells,
                       (long long)t->head_line, (long long)t->columns);
}

/* ---- opening -------------------------------------------------------------------------------- */

/* A delimiter must not be part of a number or of the quoting. */
static mosaic_status set_kinds(mosaic_csv *t, int delimiter)
{
    bool fits = delimiter > 0 && delimiter < 128 && !strchr("\"\r\n.+-", delimiter) &&
                !(delimiter >= '0' && delimiter <= '9') &&
                !((delimiter | 32) >= 'a' && (delimiter | 32) <= 'z');
    MOSAIC_REQUIRE(fits, "%s: byte %d cannot be the delimiter", t->path, delimiter);
    t->kind[0] = CSV_NUL;
    t->kind['"'] = CSV_QUOTE;
    t->kind['\r'] = CSV_CR;
    t->kind['\n'] = CSV_LF;
    t->kind[delimiter] = CSV_DELIMITER;
    return MOSAIC_OK;
}

static mosaic_status set_missing(mosaic_csv *t, const mosaic_text *list, int64_t count)
{
    int64_t bytes = 0;
    for (int64_t i = 0; i < count; i++) bytes += list[i].bytes;
    t->missing = malloc((size_t)(count + 1) * sizeof *list + (size_t)bytes);
    if (!t->missing) return mosaic_fail_memory(t->path, bytes);
    char *copy = (char *)(t->missing + count + 1);
    t->missing_count = count;
    for (int64_t i = 0; i < count; i++) {
        t->missing[i] = (mosaic_text){copy, list[i].bytes};
        for (int64_t j = 0; j < list[i].bytes; j++) *copy++ = list[i].data[j];
        if (list[i].bytes) t->missing_start[(uint8_t)list[i].data[0]] = true;
    }
    return MOSAIC_OK;
}

static mosaic_status read_file(mosaic_csv *t, const mosaic_csv_options *options)
{
    int fd = open(t->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return mosaic_fail_io(t->path, "open");
    mosaic_status status = csv_read_rows(t, fd, options->first, options->rows);
    close(fd);
    return status;
}

/* Cells of the first row; a byte order mark before it is skipped. */
static mosaic_status count_columns(mosaic_csv *t)
{
    if (!strncmp(t->text + t->head, "\xef\xbb\xbf", 3)) {
        if (t->rows && t->row[0] == t->head) t->row[0] = t->body = t->head + 3;
        t->head += 3;
    }
    for (const char *p = t->text + t->head;;) {
        csv_cell cell = csv_next_cell(t->kind, p);
        if (!cell.end) return fail_cell(t, p, t->columns);
        t->columns++;
        if (cell.last) break;
        p = cell.end;
    }
    t->column = calloc((size_t)t->columns, sizeof *t->column);
    return t->column ? MOSAIC_OK : mosaic_fail_memory(t->path, t->columns);
}

static mosaic_status read_names(mosaic_csv *t)
{
    const char *p = t->text + t->head, *end = p;
    for (int64_t i = 0; i < t->columns; i++) end = csv_next_cell(t->kind, end).end;
    char *to = t->names = malloc((size_t)(end - p) + 1);
    if (!to) return mosaic_fail_memory(t->path, end - p);
    for (int64_t i = 0; i < t->columns; i++) {
        csv_cell cell = csv_next_cell(t->kind, p);
        t->column[i].name = (mosaic_text){to, csv_unquote(to, cell)};
        to += t->column[i].name.bytes;
        p = cell.end;
    }
    return MOSAIC_OK;
}

static mosaic_status open_table(mosaic_csv *t, const mosaic_csv_options *options)
{
    int64_t first = options->first, rows = options->rows;
    MOSAIC_TRY(set_kinds(t, options->delimiter));
    MOSAIC_TRY(set_missing(t, options->missing, options->missing_count));
    MOSAIC_TRY(read_file(t, options));
    if (t->total_rows >= 0 && (first > t->total_rows || rows > t->total_rows - first))
        return mosaic_fail(MOSAIC_EINVAL, "%s: rows %lld..%lld were asked for, the file has %lld",
                           t->path, (long long)first + 1,
                           (long long)(rows < 0 ? t->total_rows : first + rows),
                           (long long)t->total_rows);
    MOSAIC_TRY(count_columns(t));
    return t->header ? read_names(t) : MOSAIC_OK;
}

static mosaic_csv *new_table(const char *path, bool header)
{
    mosaic_csv *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->path = strdup(path);
    t->header = header;
    if (t->path) return t;
    free(t);
    return NULL;
}

mosaic_status mosaic_csv_open(mosaic_csv **out, const char *path, const mosaic_csv_options *options)
{
    const int64_t most = INT64_MAX / 4;
    MOSAIC_REQUIRE(options->first >= 0 && options->first < most && options->rows < most,
                   "%s: row %lld and %lld rows are out of range", path, (long long)options->first,
                   (long long)options->rows);
    mosaic_csv *t = new_table(path, options->header);
    if (!t) return mosaic_fail_memory(path, sizeof *t);
    mosaic_status status = open_table(t, options);
    if (status)
        mosaic_csv_release(t);
    else
        *out = t;
    return status;
}

void mosaic_csv_release(mosaic_csv *t)
{
    if (!t) return;
    void *const blocks[] = {t->path,  t->missing, t->text,    t->row,
                            t->names, t->column,  t->scratch, t->values};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) free(blocks[i]);
    free(t);
}

mosaic_status mosaic_csv_count(int64_t *rows, const char *path, bool header)
{
    mosaic_csv *t = new_table(path, header);
    if (!t) return mosaic_fail_memory(path, sizeof *t);
    mosaic_csv_options none = {.first = INT64_MAX / 2, .rows = 0};
    mosaic_status status = read_file(t, &none);
    if (!status) *rows = t->total_rows;
    mosaic_csv_release(t);
    return status;
}

/* ---- parsing -------------------------------------------------------------------------------- */

static bool is_missing(const mosaic_csv *t, mosaic_text text)
{
    if (!text.bytes) return true;
    if (!t->missing_start[(uint8_t)text.data[0]]) return false;
    for (int64_t i = 0; i < t->missing_count; i++)
        if (t->missing[i].bytes == text.bytes &&
            !memcmp(t->missing[i].data, text.data, (size_t)text.bytes))
            return true;
    return false;
}

/* The value of a cell: a number, or NaN. False: it is text. */
static bool parse_cell(double *value, const mosaic_csv *t, csv_cell cell)
{
    mosaic_text text = csv_trim(cell);
    *value = (double)NAN;
    return is_missing(t, text) || mosaic_parse_double(value, text.data, text.data + text.bytes);
}

/* The cell at p, whose number goes to its column, when that is selected and numeric so far. A plain
 * number before a delimiter is read without looking for the cell's end first, in half the time. */
static csv_cell take_cell(mosaic_csv *t, csv_column *column, const char *p, int64_t row)
{
    if (column->slot < 0 || column->first_text >= 0) return csv_next_cell(t->kind, p);
    double *value = &t->values[row * t->slots + column->slot];
    if (!t->missing_start[(uint8_t)*p]) {
        const char *end = mosaic_parse_plain(value, p);
        if (end && t->kind[(uint8_t)*end] == CSV_DELIMITER) return (csv_cell){.end = end + 1};
    }
    csv_cell cell = csv_next_cell(t->kind, p);
    if (cell.end && !parse_cell(value, t, cell)) column->first_text = row;
    return cell;
}

static mosaic_status parse_row(mosaic_csv *t, int64_t row, bool store)
{
    const char *p = t->text + t->row[row];
    int64_t i = 0;
    for (bool last = false; !last; i++) {
        bool known = store && i < t->columns;
        csv_cell cell = known ? take_cell(t, &t->column[i], p, row) : csv_next_cell(t->kind, p);
        if (!cell.end) return fail_cell(t, p, i);
        last = cell.last;
        p = cell.end;
    }
    return i == t->columns ? MOSAIC_OK : fail_ragged(t, row, i);
}

/* Gives the columns their places in a row of values. */
static mosaic_status select_columns(mosaic_csv *t, const int64_t *columns, int64_t count)
{
    for (int64_t i = 0; i < t->columns; i++) t->column[i].slot = t->column[i].first_text = -1;
    t->slots = 0;
    for (int64_t i = 0; i < count; i++) {
        MOSAIC_REQUIRE(columns[i] >= 0 && columns[i] < t->columns, "%s: column %lld of %lld",
                       t->path, (long long)columns[i] + 1, (long long)t->columns);
        csv_column *column = &t->column[columns[i]];
        if (column->slot < 0) column->slot = t->slots++;
    }
    return MOSAIC_OK;
}

/* Room for the values; none (`*store` false) when the text is too short to hold so many cells: then
 * some row is ragged, and the parser will find it. */
static mosaic_status make_values(mosaic_csv *t, bool *store)
{
    int64_t cells = 0, bytes = 0;
    *store = !__builtin_mul_overflow(t->rows, t->columns, &cells) && cells / 2 <= t->text_bytes &&
             !__builtin_mul_overflow(t->rows * t->slots, (int64_t)sizeof *t->values, &bytes);
    free(t->values);
    t->values = NULL;
    if (!*store) return MOSAIC_OK;
    t->values = malloc((size_t)bytes + 1);
    return t->values ? MOSAIC_OK : mosaic_fail_memory(t->path, bytes);
}

mosaic_status mosaic_csv_parse(mosaic_csv *t, const int64_t *columns, int64_t count)
{
    bool store;
    t->parsed = false;
    MOSAIC_TRY(select_columns(t, columns, count));
    MOSAIC_TRY(make_values(t, &store));
    for (int64_t row = 0; row < t->rows; row++) MOSAIC_TRY(parse_row(t, row, store));
    t->parsed = true;
    return MOSAIC_OK;
}

/* ---- asking --------------------------------------------------------------------------------- */

int64_t mosaic_csv_rows(const mosaic_csv *t) { return t->rows; }
int64_t mosaic_csv_columns(const mosaic_csv *t) { return t->columns; }

static bool has_column(const mosaic_csv *t, int64_t column)
{
    return column >= 0 && column < t->columns;
}

mosaic_text mosaic_csv_name(const mosaic_csv *t, int64_t column)
{
    return has_column(t, column) ? t->column[column].name : (mosaic_text){0};
}

static bool is_parsed(const mosaic_csv *t, int64_t column)
{
    return t->parsed && has_column(t, column) && t->column[column].slot >= 0;
}

bool mosaic_csv_is_numeric(const mosaic_csv *t, int64_t column)
{
    return is_parsed(t, column) && t->column[column].first_text < 0;
}

/* The cell of a row that parse has checked. */
static csv_cell find_cell(const mosaic_csv *t, int64_t row, int64_t column)
{
    csv_cell cell = csv_next_cell(t->kind, t->text + t->row[row]);
    for (int64_t i = 0; i < column; i++) cell = csv_next_cell(t->kind, cell.end);
    return cell;
}

static mosaic_status check_numeric(const mosaic_csv *t, int64_t column)
{
    MOSAIC_REQUIRE(is_parsed(t, column), "%s: column %lld was not parsed", t->path,
                   (long long)column + 1);
    const csv_column *c = &t->column[column];
    if (c->first_text < 0) return MOSAIC_OK;
    csv_cell cell = find_cell(t, c->first_text, column);
    return mosaic_fail(MOSAIC_EINVAL, "%s:%lld: column %lld (%.*s): '%.*s' is not a number",
                       t->path, (long long)line_of(t, cell.begin), (long long)column + 1,
                       c->name.bytes < 100 ? (int)c->name.bytes : 100, c->name.data,
                       cell.bytes < 100 ? (int)cell.bytes : 100, cell.begin);
}

mosaic_status mosaic_csv_numeric(mosaic_tensor *out, const mosaic_csv *t, const int64_t *columns,
                                 int64_t count)
{
    const int64_t size[] = {t->rows, count};
    for (int64_t i = 0; i < count; i++) MOSAIC_TRY(check_numeric(t, columns[i]));
    MOSAIC_REQUIRE(!out->storage, "%s: the output must be new, got %s", t->path,
                   mosaic_tensor_describe(out));
    MOSAIC_TRY(mosaic_tensor_new(out, MOSAIC_DTYPE_F64, 2, size, NULL));
    double *to = mosaic_data(out);
    for (int64_t row = 0; row < t->rows; row++)
        for (int64_t i = 0; i < count; i++)
            *to++ = t->values[row * t->slots + t->column[columns[i]].slot];
    return MOSAIC_OK;
}

static mosaic_status make_scratch(mosaic_csv *t, int64_t bytes)
{
    char *grown = realloc(t->scratch, (size_t)bytes + 1);
    if (!grown) return mosaic_fail_memory(t->path, bytes);
    t->scratch = grown;
    return MOSAIC_OK;
}

mosaic_status mosaic_csv_cell(mosaic_text *text, bool *missing, mosaic_csv *t, int64_t row,
                              int64_t column)
{
    MOSAIC_REQUIRE(t->parsed && row >= 0 && row < t->rows && has_column(t, column),
                   "%s: row %lld, column %lld of a table of %lld x %lld", t->path,
                   (long long)row + 1, (long long)column + 1, (long long)t->rows,
                   (long long)t->columns);
    csv_cell cell = find_cell(t, row, column);
    *text = (mosaic_text){cell.begin, cell.bytes};
    *missing = is_missing(t, csv_trim(cell));
    if (!cell.doubled) return MOSAIC_OK;
    MOSAIC_TRY(make_scratch(t, cell.bytes));
    *text = (mosaic_text){t->scratch, csv_unquote(t->scratch, cell)};
    return MOSAIC_OK;
}
