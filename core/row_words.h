/* row_words.h - one number of a row as a byte. Included once per element type: REAL, BITS (the
 * signed integer of its size), MANTISSA (its stored bits), NAME(x). */

#define SHIFT (MANTISSA - 3)             /* bits that an fp8 number has no room for */
#define SIGN ((int)sizeof(REAL) * 8 - 1) /* the place of the sign */
#define MAGNITUDE (((((BITS)1 << (SIGN - 1)) - 1) << 1) + 1)

MOSAIC_INLINE BITS NAME(bits_of)(REAL x)
{
    BITS bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

MOSAIC_INLINE REAL NAME(real_of)(BITS bits)
{
    REAL x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

MOSAIC_INLINE BITS NAME(magnitude)(REAL x) { return NAME(bits_of)(x) & MAGNITUDE; }

/* The whole number next to x / scale, |x| <= 127 scale. The quotient may be rounded, but never to a
 * half that it is not: with scales of 17 bits what is not half of a scale is too far away. */
MOSAIC_INLINE REAL NAME(whole)(REAL x, REAL scale)
{
    const REAL magic = (REAL)3 * ((BITS)1 << (MANTISSA - 1));
    return x / scale + magic - magic;
}

/* Sign, 4 bits of exponent (bias 7), 3 of mantissa; |y| rounds to 448 at most. Below 2^-6 the
 * numbers are 2^-9 apart, which the FPU rounds to when the sum is in [2^SHIFT-6, 2^SHIFT-5). */
MOSAIC_INLINE BITS NAME(fp8)(REAL y)
{
    const REAL magic = (REAL)((BITS)1 << (SHIFT - 6));
    const BITS bias = (BITS)((1 << (SIGN - MANTISSA - 1)) - 1 - 7) << 3;
    BITS bits = NAME(magnitude)(y);
    BITS small = NAME(bits_of)(NAME(real_of)(bits) + magic) - NAME(bits_of)(magic);
    BITS large = ((bits + ((BITS)1 << (SHIFT - 1)) - 1 + (bits >> SHIFT & 1)) >> SHIFT) - bias;
    BITS code = NAME(real_of)(bits) < (REAL)0x1p-6 ? small : large;
    return code | (NAME(bits_of)(y) >> (SIGN - 7) & 0x80);
}

#undef SHIFT
#undef SIGN
#undef MAGNITUDE
