/* copy.c - strided copies, conversions between element types, constants. */
#include <string.h>

#include "cpu.h"
#include "loop.h"

typedef struct {
    int to, from;
    int64_t bytes;
} conversion;

static void copy_same(void *context, int64_t count, char *const *data, const int64_t *step)
{
    const conversion *c = context;
    if (step[0] == c->bytes && step[1] == c->bytes) {
        memcpy(data[0], data[1], (size_t)(count * c->bytes));
        return;
    }
    char *to = data[0];
    const char *from = data[1];
    switch (c->bytes) { /* a constant length lets memcpy become a move */
    case 1:
        for (; count--; to += step[0], from += step[1]) memcpy(to, from, 1);
        break;
    case 2:
        for (; count--; to += step[0], from += step[1]) memcpy(to, from, 2);
        break;
    case 4:
        for (; count--; to += step[0], from += step[1]) memcpy(to, from, 4);
        break;
    default:
        for (; count--; to += step[0], from += step[1]) memcpy(to, from, 8);
        break;
    }
}

static void copy_converting(void *context, int64_t count, char *const *data, const int64_t *step)
{
    const conversion *c = context;
    for (int64_t i = 0; i < count; i++)
        mosaic_element_write(data[0] + i * step[0], 0, c->to,
                             mosaic_element_read(data[1] + i * step[1], 0, c->from));
}

mosaic_status mosaic_cpu_copy(const mosaic_tensor *out, const mosaic_tensor *a)
{
    conversion c = {out->dtype, a->dtype, mosaic_dtype_bytes((mosaic_dtype)out->dtype)};
    const mosaic_tensor *operands[] = {out, a};
    mosaic_loop(2, operands, c.to == c.from ? copy_same : copy_converting, &c);
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
