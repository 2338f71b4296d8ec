/* quantize_rows.h - bodies of quantize.c for one element type: REAL, BITS, MANTISSA and NAME(x) as
 * row_words.h wants them. */
#include "../../row_words.h"

/* The largest magnitude; a NaN counts as more than infinity. */
static REAL NAME(row_largest)(int64_t n, const REAL *x)
{
    BITS most = 0;
    for (int64_t i = 0; i < n; i++) {
        BITS bits = NAME(magnitude)(x[i]);
        most = bits > most ? bits : most;
    }
    return NAME(real_of)(most);
}

static void NAME(to_int8)(int64_t n, uint8_t *restrict out, const REAL *restrict x, REAL scale)
{
    for (int64_t i = 0; i < n; i++) out[i] = (uint8_t)(int32_t)NAME(whole)(x[i], scale);
}

static void NAME(to_fp8)(int64_t n, uint8_t *restrict out, const REAL *restrict x, REAL scale)
{
    REAL inverse = 1 / scale;
    for (int64_t i = 0; i < n; i++) out[i] = (uint8_t)NAME(fp8)(x[i] * inverse);
}

static REAL NAME(encode)(const mosaic_quantize_row *c, uint8_t *payload, const REAL *x)
{
    bool whole = c->format == MOSAIC_ROW_INT8;
    REAL largest = NAME(row_largest)(c->n, x);
    if (!(largest <= c->limit)) return largest;
    float scale = whole ? mosaic_int8_scale(largest, c->scale_bits) : mosaic_fp8_scale(largest);
    memcpy(payload + c->n, &scale, sizeof scale);
    (whole ? NAME(to_int8) : NAME(to_fp8))(c->n, payload, x, scale);
    return largest;
}

static void NAME(decode)(const mosaic_quantize_row *c, REAL *restrict out,
                         const uint8_t *restrict payload)
{
    float scale;
    memcpy(&scale, payload + c->n, sizeof scale);
    if (c->format == MOSAIC_ROW_INT8)
        for (int64_t i = 0; i < c->n; i++) out[i] = (REAL)(int8_t)payload[i] * scale;
    else
        for (int64_t i = 0; i < c->n; i++) out[i] = (REAL)mosaic_fp8_value(payload[i]) * scale;
}
