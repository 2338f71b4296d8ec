/* draw.h - random numbers from random bits.
 *
 * With a logarithm and a cosine of its own this gives the same bits on every device, as long as the
 * compiler does not fuse multiplications into additions. */
#ifndef MOSAIC_DRAW_H
#define MOSAIC_DRAW_H
#include <math.h>
#include <string.h>

#include "device.h"
#include "philox.h"

/* log(x) for 0 < x <= 1, normal: m 2^e with sqrt(1/2) <= m < sqrt(2); log m = 2 artanh s. */
MOSAIC_INLINE double mosaic_draw_log(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits -= 0x3fe6a09e667f3bcdu; /* sqrt(1/2) */
    double e = (double)(int32_t)((int64_t)bits >> 52), m;
    bits = (bits & 0xfffffffffffffu) + 0x3fe6a09e667f3bcdu;
    memcpy(&m, &bits, sizeof m);
    double s = (m - 1) / (m + 1), z = s * s, p = 1.0 / 23;
    p = p * z + 1.0 / 21;
    p = p * z + 1.0 / 19;
    p = p * z + 1.0 / 17;
    p = p * z + 1.0 / 15;
    p = p * z + 1.0 / 13;
    p = p * z + 1.0 / 11;
    p = p * z + 1.0 / 9;
    p = p * z + 1.0 / 7;
    p = p * z + 1.0 / 5;
    p = p * z + 1.0 / 3;
    return e * M_LN2 + (2 * s + 2 * s * z * p);
}

/* cos(2 pi u), 0 <= u < 1: a quarter turn q and an angle of at most pi/4, by Taylor. */
MOSAIC_INLINE double mosaic_draw_cos(double u)
{
    int32_t q = (int32_t)(4 * u + 0.5);
    double x = (u - 0.25 * q) * (2 * M_PI), z = x * x;
    double c = -1.0 / 87178291200, s = -1.0 / 1307674368000;
    c = c * z + 1.0 / 479001600, s = s * z + 1.0 / 6227020800;
    c = c * z - 1.0 / 3628800, s = s * z - 1.0 / 39916800;
    c = c * z + 1.0 / 40320, s = s * z + 1.0 / 362880;
    c = c * z - 1.0 / 720, s = s * z - 1.0 / 5040;
    c = c * z + 1.0 / 24, s = s * z + 1.0 / 120;
    c = c * z - 0.5, s = s * z - 1.0 / 6;
    c = c * z + 1, s = x + x * z * s;
    double y = q & 1 ? s : c;
    return (q + 1) & 2 ? -y : y;
}

MOSAIC_INLINE double mosaic_draw_uniform(const mosaic_random_call *c, mosaic_philox bits)
{
    double x = c->low + (c->high - c->low) * mosaic_philox_unit(bits, 0);
    return x < c->most ? x : c->most;
}

/* Box and Muller, of two numbers in [0, 1); 1 - u keeps the logarithm finite. */
MOSAIC_INLINE double mosaic_draw_normal(const mosaic_random_call *c, double u, double turn)
{
    return c->low + c->high * (sqrt(-2 * mosaic_draw_log(1 - u)) * mosaic_draw_cos(turn));
}

MOSAIC_INLINE int64_t mosaic_draw_integer(const mosaic_random_call *c, mosaic_philox bits)
{
    uint64_t range = (uint64_t)((int64_t)c->high - (int64_t)c->low) + 1;
    return (int64_t)c->low + (int64_t)mosaic_philox_below(bits, range);
}

#endif
