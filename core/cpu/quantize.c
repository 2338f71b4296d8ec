/* quantize.c - rows encoded as bytes with a scale, and decoded. */
#include <math.h>
#include <stdatomic.h>

#include "cpu.h"
#include "kernels.h"
#include "rows.h"

typedef struct {
    mosaic_quantize_row row;
    bool wide;                  /* f64 */
    atomic_int_least64_t wrong; /* the first row that does not fit the format */
} call;

/* x: the floats. Above 15/16 2^16 the nearest value can be 2^16, which f16 does not have. */
static call make_call(const mosaic_tensor *x, mosaic_row_format format)
{
    double limit = x->dtype == MOSAIC_DTYPE_F16 ? 61440 : 0x1p127;
    int bits = mosaic_dtype_is_half(x->dtype) ? 1 : 17;
    return (call){
        {format, x->size[x->ndim - 1], bits, limit}, x->dtype == MOSAIC_DTYPE_F64, INT64_MAX};
}

static int64_t rows_of(const mosaic_tensor *t)
{
    int64_t rows = 1;
    for (int i = 0; i < t->ndim - 1; i++) rows *= t->size[i];
    return rows;
}

static mosaic_status walk(const mosaic_tensor *out, const mosaic_tensor *in, mosaic_rows_body body,
                          call *c)
{
    const mosaic_tensor *tensors[] = {out, in};
    return mosaic_rows(2, 1, tensors, mosaic_rows_grain(rows_of(in), c->row.n), body, c);
}

static void note_wrong(call *c, int64_t row)
{
    int64_t first = c->wrong;
    while (row < first && !atomic_compare_exchange_weak(&c->wrong, &first, row)) continue;
}

/* ---- encoding ------------------------------------------------------------------------------- */

static void encode_rows(void *context, int64_t first, int64_t rows, char *const *data,
                        const int64_t *step)
{
    call *c = context;
    const mosaic_quantize_kernels *kernels = mosaic_cpu()->quantize;
    for (int64_t r = 0; r < rows; r++) {
        uint8_t *payload = (uint8_t *)data[0] + r * step[0];
        double largest =
            c->wide ? kernels->encode_f64(&c->row, payload, (double *)data[1] + r * step[1])
                    : kernels->encode_f32(&c->row, payload, (float *)data[1] + r * step[1]);
        if (!(largest <= c->row.limit)) note_wrong(c, first + r);
    }
}

/* The largest magnitude of a row that does not fit. */
static double largest_of(const mosaic_tensor *x, int64_t row)
{
    int64_t at = 0, n = x->size[x->ndim - 1];
    for (int i = x->ndim - 2; i >= 0; i--) {
        at += row % x->size[i] * x->stride[i];
        row /= x->size[i];
    }
    double largest = 0;
    for (int64_t j = 0; j < n; j++) {
        double value =
            mosaic_element_read(mosaic_data(x), at + j * x->stride[x->ndim - 1], x->dtype);
        if (!(fabs(value) <= largest)) largest = fabs(value);
        if (largest != largest) break;
    }
    return largest;
}

static mosaic_status refuse(const mosaic_tensor *x, const call *c)
{
    char place[MOSAIC_PLACE_ROOM];
    mosaic_place_print(place, x->ndim - 1, x->size, c->wrong);
    return mosaic_fail(MOSAIC_EINVAL,
                       "quantize: row %s of %s holds %g, %s carries numbers up to %g", place,
                       mosaic_tensor_describe(x), largest_of(x, c->wrong),
                       c->row.format == MOSAIC_ROW_INT8 ? "int8" : "fp8", c->row.limit);
}

mosaic_status mosaic_cpu_quantize(const mosaic_tensor *payload, const mosaic_tensor *x,
                                  mosaic_row_format format)
{
    call c = make_call(x, format);
    MOSAIC_TRY(walk(payload, x, encode_rows, &c));
    return c.wrong == INT64_MAX ? MOSAIC_OK : refuse(x, &c);
}

/* ---- decoding ------------------------------------------------------------------------------- */

static void decode_rows(void *context, int64_t first, int64_t rows, char *const *data,
                        const int64_t *step)
{
    const call *c = context;
    const mosaic_quantize_kernels *kernels = mosaic_cpu()->quantize;
    (void)first;
    for (int64_t r = 0; r < rows; r++) {
        const uint8_t *payload = (const uint8_t *)data[1] + r * step[1];
        if (c->wide)
            kernels->decode_f64(&c->row, (double *)data[0] + r * step[0], payload);
        else
            kernels->decode_f32(&c->row, (float *)data[0] + r * step[0], payload);
    }
}

mosaic_status mosaic_cpu_dequantize(const mosaic_tensor *out, const mosaic_tensor *payload,
                                    mosaic_row_format format)
{
    call c = make_call(out, format);
    return walk(out, payload, decode_rows, &c);
}
