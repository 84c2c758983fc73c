/* numerics.h for one instruction-set level. */

typedef double FN(reals) __attribute__((vector_size(VEC_BYTES), aligned(8), may_alias)); /* aligned(8): loads from anywhere */
typedef int64_t FN(ints) __attribute__((vector_size(VEC_BYTES), aligned(8), may_alias));

/* exp x for -708 <= x <= 709, clamped to it: Taylor to degree 13 on |r| <= ln(2)/2 (truncation 4e-18), then times 2^k. */
INLINE REALS FN(num_exp)(REALS x)
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
    p = (p * r) * r + r;
    INTS scale = ((INTS)t << 52) + 0x3ff0000000000000;
    return (p + 1.0) * (REALS)scale;
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

/* log(1 + exp x) = max(x, 0) + log(1 + t), t = exp(-|x|), log(1 + t) = 2 atanh(t/(2 + t)). */
INLINE REALS FN(num_softplus)(REALS x)
{
    REALS zero = REALS_ALL(0.0), positive = REALS_SELECT(x > 0.0, x, zero), t = FN(num_exp)(REALS_SELECT(x > 0.0, -x, x)), s = t / (t + 2.0);
    ATANH_SERIES(s, 17);
    return positive + atanh2;
}
