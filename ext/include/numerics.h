/* exp, log, log(1 + exp), tanh, erf, sin, cos and the normal quantile: the same bits at every instruction-set level and on every platform.
 *
 * The C library's versions differ between CPUs in the last bit. These use additions, multiplications, divisions and square roots
 * only (no fused multiply-add), a vector register at a time; a scalar call is one lane. The tests measure
 * errors of at most 2 ulp, 3 for tanh, log(1 + exp), and sin and cos of large arguments, whose absolute error stays below 1.5 2^-53.
 */
#ifndef MCMC_NUMERICS_H
#define MCMC_NUMERICS_H

#include <math.h>
#include "isa.h"

#define LN2_HIGH 0x1.62e42feep-1 /* 32 bits, so that k * LN2_HIGH is exact */
#define LN2_LOW 0x1.a39ef35793c76p-33
#define TWO_OVER_PI 0x1.45f306dc9c883p-1
#define HALF_PI_HIGH 0x1.921fb544p0 /* 33 bits */
#define HALF_PI_MIDDLE 0x1.0b4611a6p-34 /* 33 bits */
#define HALF_PI_LOW 0x1.3198a2e037073p-69
#define ROUNDER 0x1.8p52 /* adding it rounds to an integer, which is left in the low bits */
#define ROUNDER_BITS 0x4338000000000000

/* In a body: vectors of float64 and int64 of its level, and their lanes. */
#define REALS FN(reals)
#define INTS FN(ints)
#define N_REALS (VEC_BYTES / 8)
#define REALS_ALL(x) ((REALS){0} + (x))
#define REALS_SELECT(mask, a, b) ((REALS)(((mask) & (INTS)(a)) | (~(mask) & (INTS)(b))))

/* 2 atanh(s) = 2 s (1 + s^2/3 + s^4/5 + ...) cut after s^(2 TERMS). */
#define ATANH_SERIES(s, terms) \
    REALS z = s * s, p = REALS_ALL(1.0 / (2 * (terms) + 1)); \
    for (int j = (terms)-1; j > 0; j--) \
        p = p * z + 1.0 / (2 * j + 1); \
    REALS atanh2 = (s + s) + ((s + s) * z) * p

/* erf x = (1 + ERF_SLOPE) x + x^3 (c_1 + c_2 x^2 + ...), c_n = 2/sqrt(pi) (-1)^n / (n! (2n + 1)). */
#define ERF_TERMS 16
#define ERF_SLOPE 0x1.06eba8214db69p-3
static const double ERF_SERIES[ERF_TERMS] = {
    -0x1.812746b0379e7p-2, 0x1.ce2f21a042be2p-4, -0x1.b82ce31288b51p-6, 0x1.565bcd0e6a53fp-8,
    -0x1.c02db40040b86p-11, 0x1.f9a326f9b89b7p-14, -0x1.f4d25c3e0c2ebp-17, 0x1.b9e6c9dc651a3p-20,
    -0x1.5f742ec43e71ap-23, 0x1.fcc5720624c1cp-27, -0x1.51d7181c5d36dp-30, 0x1.9e6ad5e55a73p-34,
    -0x1.d8453cb0c46eap-38, 0x1.f683ae4a97007p-42, -0x1.f56f071a885cfp-46, 0x1.d70b3537f4765p-50,
};

/* exp(x^2) erfc x = (above_0 + above_1 x + ...)/(below_0 + ... + x^8): Cody, Mathematics of Computation 23 (1969) 631. Made for
 * 0.46875 <= x <= 4; up to 6 it is off by less than 1e-6, of an erfc below 2e-8. */
static const double ERFC_ABOVE[9] = {1.23033935479799725272e3, 2.05107837782607146532e3, 1.71204761263407058314e3,
                                     8.81952221241769090411e2, 2.98635138197400131132e2, 6.61191906371416294775e1,
                                     8.88314979438837594118e0, 5.64188496988670089180e-1, 2.15311535474403846343e-8};
static const double ERFC_BELOW[8] = {1.23033935480374942043e3, 3.43936767414372163696e3, 4.36261909014324715820e3,
                                     3.29079923573345962678e3, 1.62138957456669018874e3, 5.37181101862009857509e2,
                                     1.17693950891312499305e2, 1.57449261107098347253e1};

/* Quantile of the standard normal law by three rational functions, above and below the line: algorithm AS 241 (PPND16) of Wichura, Applied
 * Statistics 37 (1988) 477. With q = u - 1/2 and r = sqrt(-log min(u, 1 - u)): */
#define NORMAL_CENTRE 0.425
/* |q| <= NORMAL_CENTRE: x / q in NORMAL_CENTRE^2 - q^2 */
static const double NORMAL_CENTRAL[2][8] = {
    {3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3},
    {1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3},
};
/* beyond, r <= 5: |x| in r - 1.6 */
static const double NORMAL_TAIL[2][8] = {
    {1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4},
    {1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9},
};
/* r > 5: |x| in r - 5 */
static const double NORMAL_FAR_TAIL[2][8] = {
    {6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7},
    {1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15},
};

#define ISA_BODY "numerics_body.h"
#include "each_isa.h"

static inline double num_exp1(double x)
{
    return num_exp_portable((reals_portable){x, x})[0];
}

static inline double num_log1(double x)
{
    return num_log_portable((reals_portable){x, x})[0];
}

static inline double num_tanh1(double x)
{
    return num_tanh_portable((reals_portable){x, x})[0];
}

static inline double num_erf1(double x)
{
    return num_erf_portable((reals_portable){x, x})[0];
}

static inline double num_sin1(double x)
{
    reals_portable sine, cosine;
    num_sincos_portable((reals_portable){x, x}, &sine, &cosine);
    return sine[0];
}

static inline double num_cos1(double x)
{
    reals_portable sine, cosine;
    num_sincos_portable((reals_portable){x, x}, &sine, &cosine);
    return cosine[0];
}

static inline double num_rational1(double x, const double ratio[2][8])
{
    return num_rational_portable((reals_portable){x, x}, ratio)[0];
}

/* Quantile of the standard normal law, 0 < u < 1. */
static inline double num_normal_quantile(double u)
{
    double q = u - 0.5;
    if (q >= -NORMAL_CENTRE && q <= NORMAL_CENTRE)
        return q * num_rational1(0.180625 - q * q, NORMAL_CENTRAL);
    double r = sqrt(-num_log1(q < 0 ? u : 1.0 - u));
    double x = r <= 5.0 ? num_rational1(r - 1.6, NORMAL_TAIL) : num_rational1(r - 5.0, NORMAL_FAR_TAIL);
    return q < 0 ? -x : x;
}

#endif
