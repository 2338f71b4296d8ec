/* csv.c - fuzz target: any bytes are a table or an error, and every way to read them agrees.
 *
 * The first byte chooses the options. Checked: numbers equal strtod's, and the rows of a range
 * equal those of the whole table. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../core/tensor.h"
#include "support.h"

static mosaic_csv *open_all(const char *path, const mosaic_csv_options *options)
{
    mosaic_csv *table = NULL;
    if (mosaic_csv_open(&table, path, options)) return NULL;
    int64_t count = mosaic_csv_columns(table), *columns = malloc((size_t)count * sizeof *columns);
    for (int64_t i = 0; i < count; i++) columns[i] = i;
    mosaic_status status = mosaic_csv_parse(table, columns, count);
    free(columns);
    if (!status) return table;
    mosaic_csv_release(table);
    return NULL;
}

/* A copy of a cell that the caller frees. */
static char *copy_cell(mosaic_csv *table, int64_t row, int64_t column, bool *missing)
{
    mosaic_text text;
    if (mosaic_csv_cell(&text, missing, table, row, column)) fuzz_fail("a cell is not there");
    char *copy = malloc((size_t)text.bytes + 1);
    for (int64_t i = 0; i < text.bytes; i++) copy[i] = text.data[i];
    copy[text.bytes] = 0;
    return copy;
}

static void check_number(mosaic_csv *table, int64_t row, int64_t column, double value)
{
    bool missing;
    char *text = copy_cell(table, row, column, &missing);
    double expected = missing ? (double)NAN : strtod(text, NULL);
    if (isnan(value) ? !isnan(expected) : memcmp(&value, &expected, 8)) fuzz_fail(text);
    free(text);
}

static void check_numbers(mosaic_csv *table)
{
    for (int64_t column = 0; column < mosaic_csv_columns(table); column++) {
        mosaic_tensor numbers = {0};
        bool numeric = mosaic_csv_is_numeric(table, column);
        if (numeric == !!mosaic_csv_numeric(&numbers, table, &column, 1)) fuzz_fail("is_numeric");
        for (int64_t row = 0; numeric && row < mosaic_csv_rows(table); row++)
            check_number(table, row, column, ((double *)mosaic_data(&numbers))[row]);
        mosaic_tensor_clear(&numbers);
    }
}

static void check_range(mosaic_csv *whole, const char *path, mosaic_csv_options options)
{
    options.first = mosaic_csv_rows(whole) / 2;
    options.rows = (mosaic_csv_rows(whole) - options.first + 1) / 2;
    mosaic_csv *part = open_all(path, &options);
    if (!part || mosaic_csv_rows(part) != options.rows) fuzz_fail("a range of rows");
    for (int64_t row = 0; row < options.rows; row++)
        for (int64_t column = 0; column < mosaic_csv_columns(whole); column++) {
            bool a_missing, b_missing;
            char *a = copy_cell(whole, options.first + row, column, &a_missing);
            char *b = copy_cell(part, row, column, &b_missing);
            if (strcmp(a, b) || a_missing != b_missing) fuzz_fail(a);
            free(a), free(b);
        }
    mosaic_csv_release(part);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const mosaic_text missing[] = {{"NA", 2}, {"-1", 2}, {"", 0}};
    if (bytes < 1) return 0;
    mosaic_csv_options options = {.delimiter = data[0] & 1 ? ';' : ',',
                                  .header = data[0] & 2,
                                  .missing = missing,
                                  .missing_count = 3,
                                  .rows = -1};
    const char *path = fuzz_file(data + 1, bytes - 1);
    int64_t rows = 0;
    mosaic_status counted = mosaic_csv_count(&rows, path, options.header);
    mosaic_csv *table = open_all(path, &options);
    if (!table) return 0;
    if (counted || rows != mosaic_csv_rows(table)) fuzz_fail("the number of rows");
    check_numbers(table);
    check_range(table, path, options);
    mosaic_csv_release(table);
    return 0;
}
