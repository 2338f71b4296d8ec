/* copy.c - strided copies, conversions between element types, constants. */
#include <string.h>

#include "cpu.h"
#include "kernels.h"
#include "loop.h"

static void copy_run(void *context, int64_t count, char *const *data, const int64_t *step)
{
    mosaic_convert_kernel *kernel = context;
    (*kernel)(count, data[0], step[0], data[1], step[1]);
}

mosaic_status mosaic_cpu_copy(const mosaic_tensor *out, const mosaic_tensor *a)
{
    mosaic_convert_kernel kernel = mosaic_cpu()->convert->of[out->dtype][a->dtype];
    const mosaic_tensor *operands[] = {out, a};
    mosaic_loop(2, operands, copy_run, &kernel);
    return MOSAIC_OK;
}

typedef struct {
    char cell[8];
    int64_t bytes;
} constant;

static void fill_run(void *context, int64_t count, char *const *data, const int64_t *step)
{
    const constant *c = context;
    for (int64_t i = 0; i < count; i++) memcpy(data[0] + i * step[0], c->cell, (size_t)c->bytes);
}

mosaic_status mosaic_cpu_fill(const mosaic_tensor *out, double value)
{
    constant c = {.bytes = mosaic_dtype_bytes((mosaic_dtype)out->dtype)};
    mosaic_element_write(c.cell, 0, out->dtype, value);
    mosaic_loop(1, &out, fill_run, &c);
    return MOSAIC_OK;
}
