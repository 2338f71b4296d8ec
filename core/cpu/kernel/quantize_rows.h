/* quantize_rows.h - bodies of quantize.c for one element type: REAL, BITS (the signed integer of
 * its size), MANTISSA (its stored bits), NAME(x). */

#define SHIFT (MANTISSA - 3)             /* bits that an fp8 number has no room for */
#define SIGN ((int)sizeof(REAL) * 8 - 1) /* the place of the sign */
#define MAGNITUDE (((((BITS)1 << (SIGN - 1)) - 1) << 1) + 1)

static inline BITS NAME(bits_of)(REAL x)
{
    BITS bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline REAL NAME(real_of)(BITS bits)
{
    REAL x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline BITS NAME(magnitude)(REAL x) { return NAME(bits_of)(x) & MAGNITUDE; }

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

/* The whole number next to x / scale, |x| <= 127 scale. The quotient may be rounded, but never to a
 * half that it is not: with scales of 17 bits what is not half of a scale is too far away. */
static inline REAL NAME(whole)(REAL x, REAL scale)
{
    const REAL magic = (REAL)3 * ((BITS)1 << (MANTISSA - 1));
    return x / scale + magic - magic;
}

static void NAME(to_int8)(int64_t n, uint8_t *restrict out, const REAL *restrict x, REAL scale)
{
    for (int64_t i = 0; i < n; i++) out[i] = (uint8_t)(int32_t)NAME(whole)(x[i], scale);
}

/* Sign, 4 bits of exponent (bias 7), 3 of mantissa; |y| rounds to 448 at most. Below 2^-6 the
 * numbers are 2^-9 apart, which the FPU rounds to when the sum is in [2^SHIFT-6, 2^SHIFT-5). */
static inline BITS NAME(fp8)(REAL y)
{
    const REAL magic = (REAL)((BITS)1 << (SHIFT - 6));
    const BITS bias = (BITS)((1 << (SIGN - MANTISSA - 1)) - 1 - 7) << 3;
    BITS bits = NAME(magnitude)(y);
    BITS small = NAME(bits_of)(NAME(real_of)(bits) + magic) - NAME(bits_of)(magic);
    BITS large = ((bits + ((BITS)1 << (SHIFT - 1)) - 1 + (bits >> SHIFT & 1)) >> SHIFT) - bias;
    BITS code = NAME(real_of)(bits) < (REAL)0x1p-6 ? small : large;
    return code | (NAME(bits_of)(y) >> (SIGN - 7) & 0x80);
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
    float scale = whole ? int8_scale(largest, c->scale_bits) : fp8_scale(largest);
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
        for (int64_t i = 0; i < c->n; i++) out[i] = (REAL)fp8_value(payload[i]) * scale;
}

#undef SHIFT
#undef SIGN
#undef MAGNITUDE
