/* The acceptance rules of single flips: probability of a flip as a function of x = beta dE.
 *
 *   metropolis  min(1, exp(-x))       Metropolis et al. 1953
 *   heat-bath   1/(1 + exp(x))        Glauber 1963: the new sign is drawn from its conditional law
 *
 * Both are the law of a random threshold: flip iff x < X, with X = -ln u or X = ln((1-u)/u). Real energies use that form. Integer energies
 * use the probability itself, tabulated over dE against the 64-bit uniform. A new rule is a case here and in flips_variates (flips_body.h).
 */
#ifndef MCMC_ACCEPTANCE_H
#define MCMC_ACCEPTANCE_H

#include "numerics.h"

enum { METROPOLIS, HEAT_BATH };

/* The rule in force at a rung. Metropolis accepts every flip at beta = 0: a sweep of N flips would keep the parity of the state, and
 * in sequence lead from w to -w and back. There the heat bath takes its place. */
static inline int acceptance_rule(int rule, double beta)
{
    return beta == 0.0 ? HEAT_BATH : rule;
}

static inline double acceptance_probability(int rule, double x)
{
    if (rule == METROPOLIS)
        return x <= 0.0 ? 1.0 : num_exp1(-x);
    return x > 0.0 ? num_exp1(-x) / (1.0 + num_exp1(-x)) : 1.0 / (1.0 + num_exp1(x));
}

/* The largest 64-bit uniform that accepts: P(u <= threshold) = (threshold + 1)/2^64 = probability, rounded down to the 64th bit and
 * at least one cell. */
static inline uint64_t acceptance_threshold(double probability)
{
    if (probability >= 1.0)
        return ~(uint64_t)0;
    uint64_t cells = (uint64_t)(probability * 0x1p64);
    return cells ? cells - 1 : 0;
}

#endif
