/* Sums over the real weights of one machine or unit, in an order of their own.
 *
 * Term i goes to partial sum i % 8, in order of i, by a multiplication and an addition (no fma); then the eight are added pairwise.
 * numpy's sums and BLAS take an order that depends on the machine.
 */
#ifndef MCMC_SUMS_H
#define MCMC_SUMS_H

#include "isa.h"

typedef double eight_doubles __attribute__((vector_size(64), aligned(8), may_alias));

#define ISA_BODY "sums_body.h"
#include "each_isa.h"

/* sum_i a[i] b[i] */
typedef double (*sums_dot_fn)(const double *a, const double *b, int64_t n);
static const sums_dot_fn sums_dot[N_ISA] = ISA_TABLE(sums_dot);

#endif
