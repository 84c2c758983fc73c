/* numerics.h for one instruction-set level. */

typedef double FN(reals) __attribute__((vector_size(VEC_BYTES), aligned(8), may_alias)); /* aligned(8): loads from anywhere */
typedef int64_t FN(ints) __attribute__((vector_size(VEC_BYTES), aligned(8), may_alias));

/* exp x = (1 + p) power, for -708 <= x <= 709, clamped to it: p = exp(r) - 1 by Taylor to degree 13 on |r| <= ln(2)/2 (truncation
 * 4e-18), power = 2^k. */
INLINE REALS FN(num_exp_parts)(REALS x, REALS *power)
{
    x = REALS_SELECT(x < -708.0, REALS_ALL(-708.0), x);
    x = REALS_SELECT(x > 709.0, REALS_ALL(709.0), x);
    REALS t = x * 0x1.71547652b82fep0 + ROUNDER, k = t - ROUNDER, r = (x - k * LN2_HIGH) - k * LN2_LOW, p = REALS_ALL(1.0 / 6227020800.0);
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    *power = (REALS)(((INTS)t << 52) + 0x3ff0000000000000);
    return (p * r) * r + r;
}

INLINE REALS FN(num_exp)(REALS x)
{
    REALS power, p = FN(num_exp_parts)(x, &power);
    return (p + 1.0) * power;
}

/* log x for normal x > 0: x = 2^k m with m in [sqrt(1/2), sqrt 2), log m = 2 atanh((m - 1)/(m + 1)). */
INLINE REALS FN(num_log)(REALS x)
{
    INTS k = ((INTS)x - 0x3fe6a09e667f3bcd) >> 52;
    REALS m = (REALS)((INTS)x - (k << 52)), e = (REALS)(k + ROUNDER_BITS) - ROUNDER;
    REALS s = (m - 1.0) / (m + 1.0);
    ATANH_SERIES(s, 11);
    return e * LN2_HIGH + (e * LN2_LOW + atanh2);
}

/* t = exp(-|x|), in (0, 1] */
INLINE REALS FN(num_exp_below)(REALS x)
{
    return FN(num_exp)(REALS_SELECT(x > 0.0, -x, x));
}

/* log(1 + exp x) = max(x, 0) + log(1 + t), log(1 + t) = 2 atanh(t/(2 + t)); with t at hand */
INLINE REALS FN(num_softplus_of)(REALS x, REALS t)
{
    REALS zero = REALS_ALL(0.0), positive = REALS_SELECT(x > 0.0, x, zero), s = t / (t + 2.0);
    ATANH_SERIES(s, 17);
    return positive + atanh2;
}

INLINE REALS FN(num_softplus)(REALS x)
{
    return FN(num_softplus_of)(x, FN(num_exp_below)(x));
}

/* Magnitude of a, sign of x. */
INLINE REALS FN(num_with_sign)(REALS a, REALS x)
{
    return (REALS)((INTS)a | ((INTS)x & INT64_MIN));
}

INLINE REALS FN(num_magnitude)(REALS x)
{
    return (REALS)((INTS)x & INT64_MAX);
}

/* tanh x = e/(e + 2) below 1/2, 1 - 2/(e + 2) above, with e = exp(2|x|) - 1 = power p + (power - 1); beyond |x| = 22 it is 1. */
INLINE REALS FN(num_tanh)(REALS x)
{
    REALS a = FN(num_magnitude)(x), power, p, e;
    a = REALS_SELECT(a > 22.0, REALS_ALL(22.0), a);
    p = FN(num_exp_parts)(a + a, &power);
    e = power * p + (power - 1.0);
    REALS ratio = REALS_SELECT(e < 2.0, e, REALS_ALL(2.0)) / (e + 2.0);
    return FN(num_with_sign)(REALS_SELECT(e < 2.0, ratio, 1.0 - ratio), x);
}

/* erf x: for |x| < 7/8 the series 2/sqrt(pi) x (1 - x^2/3 + x^4/10 - ...), cut after x^33 (truncation 2e-18); above, 1 - erfc |x|
 * with a rational approximation of exp(x^2) erfc x; beyond |x| = 6 it is 1. */
INLINE REALS FN(num_erf)(REALS x)
{
    REALS a = FN(num_magnitude)(x), power;
    a = REALS_SELECT(a > 6.0, REALS_ALL(6.0), a);
    REALS z = a * a, near = REALS_ALL(ERF_SERIES[ERF_TERMS - 1]), p = REALS_ALL(ERFC_ABOVE[8]), q = a + ERFC_BELOW[7];
    for (int j = ERF_TERMS - 2; j >= 0; j--)
        near = near * z + ERF_SERIES[j];
    near = near * z * a + (a * ERF_SLOPE + a);
    for (int j = 7; j >= 0; j--)
        p = p * a + ERFC_ABOVE[j];
    for (int j = 6; j >= 0; j--)
        q = q * a + ERFC_BELOW[j];
    REALS e = FN(num_exp_parts)(-z, &power);
    return FN(num_with_sign)(REALS_SELECT(a < 0.875, near, 1.0 - (e + 1.0) * power * (p / q)), x);
}

/* sin x and cos x: x = k pi/2 + r with |r| <= pi/4, Taylor to degree 17 and 16 (truncation 1e-19). For |x| <= 1e6: pi/2 is subtracted
 * in three parts, the first two of 33 bits, so that their products with k are exact. */
INLINE void FN(num_sincos)(REALS x, REALS *sine, REALS *cosine)
{
    REALS t = x * TWO_OVER_PI + ROUNDER, k = t - ROUNDER, r = ((x - k * HALF_PI_HIGH) - k * HALF_PI_MIDDLE) - k * HALF_PI_LOW;
    REALS z = r * r, half = 0.5 * z, p = REALS_ALL(1.0 / 355687428096000.0), q = REALS_ALL(1.0 / 20922789888000.0);
    p = p * z - 1.0 / 1307674368000.0;
    p = p * z + 1.0 / 6227020800.0;
    p = p * z - 1.0 / 39916800.0;
    p = p * z + 1.0 / 362880.0;
    p = p * z - 1.0 / 5040.0;
    p = p * z + 1.0 / 120.0;
    p = p * z - 1.0 / 6.0;
    q = q * z - 1.0 / 87178291200.0;
    q = q * z + 1.0 / 479001600.0;
    q = q * z - 1.0 / 3628800.0;
    q = q * z + 1.0 / 40320.0;
    q = q * z - 1.0 / 720.0;
    q = q * z + 1.0 / 24.0;
    REALS s = (p * z) * r + r, w = 1.0 - half, c = w + (((1.0 - w) - half) + (z * z) * q);
    INTS quarters = (INTS)t, odd = -(quarters & 1);
    *sine = (REALS)((INTS)REALS_SELECT(odd, c, s) ^ (quarters & 2) << 62);
    *cosine = (REALS)((INTS)REALS_SELECT(odd, s, c) ^ ((quarters + 1) & 2) << 62);
}

/* Ratio of two polynomials of degree 7. */
INLINE REALS FN(num_rational)(REALS x, const double ratio[2][8])
{
    REALS p = REALS_ALL(ratio[0][7]), q = REALS_ALL(ratio[1][7]);
    for (int j = 6; j >= 0; j--) {
        p = p * x + ratio[0][j];
        q = q * x + ratio[1][j];
    }
    return p / q;
}
