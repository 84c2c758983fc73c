/* Passes over numbers x[i][lane] of n weights of a pack (gradient_target.h): what moves.h does to all weights, one by one.
 *
 * Coefficients repeat after `lanes` numbers: one per lane of the pack, or for a pack of one walker eight equal ones, so that a vector
 * of them can be taken in either case. Sums over the weights of each lane have the order of sums.h and fill (lanes,) in the same way.
 */
#ifndef MCMC_PASSES_H
#define MCMC_PASSES_H

#include "numerics.h"
#include "sums.h"

typedef struct {
    int64_t width;   /* of the pack */
    int64_t lanes;   /* coefficients of a pass */
    double *partial; /* (8, width): scratch */
} passes;

/* Weight i adds to partial sum i % 8 of its lane, that is number j to partial[j % (8 width)]. */
static inline void passes_begin_sum(const passes *s)
{
    memset(s->partial, 0, sizeof(double) * 8 * s->width);
}

static inline void passes_end_sum(const passes *s, double *sum)
{
    for (int64_t k = 0; k < s->lanes; k++)
        sum[k] = sums_pairwise(s->partial + (s->width == 1 ? 0 : k), s->width);
}

#define ISA_BODY "passes_body.h"
#include "each_isa.h"

typedef void (*pass_combine_fn)(const passes *, int64_t, const double *, const double *, const double *, const double *, double *, double *);
typedef void (*pass_subtract_fn)(const passes *, int64_t, const double *, const double *, double *, double *);
typedef void (*pass_rotate_fn)(const passes *, int64_t, const double *, const double *, const double *, const double *, double *, double *,
                               double *);
typedef void (*pass_two_fn)(const passes *, int64_t, const double *, const double *, double *);
typedef void (*pass_scale_fn)(const passes *, int64_t, const double *, double *);
typedef void (*pass_replace_fn)(const passes *, int64_t, const int64_t *, double *, const double *);
static const pass_combine_fn pass_combine[N_ISA] = ISA_TABLE(pass_combine);
static const pass_combine_fn pass_kick[N_ISA] = ISA_TABLE(pass_kick);
static const pass_subtract_fn pass_subtract[N_ISA] = ISA_TABLE(pass_subtract);
static const pass_rotate_fn pass_rotate[N_ISA] = ISA_TABLE(pass_rotate);
static const pass_two_fn pass_dot[N_ISA] = ISA_TABLE(pass_dot);
static const pass_two_fn pass_multiply[N_ISA] = ISA_TABLE(pass_multiply);
static const pass_scale_fn pass_scale[N_ISA] = ISA_TABLE(pass_scale);
static const pass_replace_fn pass_replace[N_ISA] = ISA_TABLE(pass_replace);

#endif
