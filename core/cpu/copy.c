/* copy.c - strided copies, conversions between element types, constants. */
#include "cpu.h"
#include "kernels.h"
#include "loop.h"

enum { TILE = 32 /* columns of a transpose whose source lines stay in the cache */ };

typedef struct {
    mosaic_convert_kernel kernel;
    int64_t from_bytes;
} conversion;

static void copy_rows(void *context, const mosaic_rectangle *r)
{
    const conversion *c = context;
    bool transposes = r->step[1] != c->from_bytes && r->row_step[1] == c->from_bytes;
    int64_t width = transposes ? TILE : r->columns;
    for (int64_t j = 0; j < r->columns; j += width) {
        int64_t count = r->columns - j < width ? r->columns - j : width;
        char *to = r->data[0] + j * r->step[0];
        const char *from = r->data[1] + j * r->step[1];
        for (int64_t i = 0; i < r->rows; i++, to += r->row_step[0], from += r->row_step[1])
            c->kernel(count, to, r->step[0], from, r->step[1]);
    }
}

mosaic_status mosaic_cpu_copy(const mosaic_tensor *out, const mosaic_tensor *a)
{
    conversion c = {mosaic_cpu()->convert->of[out->dtype][a->dtype],
                    mosaic_dtype_bytes((mosaic_dtype)a->dtype)};
    const mosaic_tensor *operands[] = {out, a};
    mosaic_loop_rows(2, operands, copy_rows, &c);
    return MOSAIC_OK;
}

typedef struct {
    mosaic_convert_kernel kernel;
    _Alignas(8) char cell[8];
} constant;

static void fill_rows(void *context, const mosaic_rectangle *r)
{
    const constant *c = context;
    for (int64_t i = 0; i < r->rows; i++)
        c->kernel(r->columns, r->data[0] + i * r->row_step[0], r->step[0], c->cell, 0);
}

mosaic_status mosaic_cpu_fill(const mosaic_tensor *out, double value)
{
    constant c = {.kernel = mosaic_cpu()->convert->of[out->dtype][out->dtype]};
    mosaic_element_write(c.cell, 0, out->dtype, value);
    mosaic_loop_rows(1, &out, fill_rows, &c);
    return MOSAIC_OK;
}
