/* Sums of reals in a stated order: term i goes to partial sum i % 8, in order of i, and the eight are added pairwise.
 *
 * Eight lanes do just that at every instruction-set level. numpy's sums and BLAS take an order that depends on the machine.
 */
#ifndef MCMC_SUMS_H
#define MCMC_SUMS_H

#include "isa.h"

typedef double eight_doubles __attribute__((vector_size(64), aligned(8), may_alias));

/* The eight partial sums sum[0], sum[stride], ..., added. */
static inline double sums_pairwise(const double *sum, int64_t stride)
{
    const double *s = sum;
    return ((s[0] + s[4 * stride]) + (s[2 * stride] + s[6 * stride])) + ((s[stride] + s[5 * stride]) + (s[3 * stride] + s[7 * stride]));
}

#define ISA_BODY "sums_body.h"
#include "each_isa.h"

/* sum_i a[i] b[i], by multiplications and additions (no fma) */
typedef double (*sums_dot_fn)(const double *a, const double *b, int64_t n);
static const sums_dot_fn sums_dot[N_ISA] = ISA_TABLE(sums_dot);

#endif
