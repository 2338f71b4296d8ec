/* exp2.h - 2^x on the FMA units: for a share of the exponentials of small heads, where the unit for
 * exponentials, 4 lanes a cycle, is what everything waits for. */
#ifndef MOSAIC_ATTENTION_EXP2_H
#define MOSAIC_ATTENTION_EXP2_H
#include <kernel.h>

#include "../inline.h"

/* -127 <= x <= 127, or NaN, which stays; of -127 it is 0. Whole and rest, and of the rest, in
 * [-1/2, 1/2], a polynomial with y(0) = 1 and a relative error of 3e-6. */
MOSAIC_DEVICE float exp2_polynomial(float x)
{
    const float magic = 12582912; /* 1.5 * 2^23: + rounds to a whole number, in the low bits */
    float whole = x + magic, f = x - (whole - magic);
    float y =
        fmaf(f, fmaf(f, fmaf(f, fmaf(f, 0.009582767f, 0.05590643f), 0.240241f), 0.69312419f), 1.0f);
    return y * __uint_as_float((__float_as_uint(whole) << 23) + 0x3f800000u);
}

#endif
