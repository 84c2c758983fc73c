/* The acceptance rules of single flips: probability of a flip as a function of x = beta dE.
 *
 *   metropolis  min(1, exp(-x))       Metropolis et al. 1953
 *   heat-bath   1/(1 + exp(x))        Glauber 1963: the new sign is drawn from its conditional law
 *
 * Both are the law of a random threshold: flip iff x < X, with X = -ln u or X = ln((1-u)/u). Real energies use that form; X falls as u
 * grows, so that limits by the highest 8 bits of u decide without a logarithm but in one case of some 256. Integer energies use the
 * probability itself, tabulated over dE against the 64-bit uniform. A new rule is a case of acceptance_probability and acceptance_variate.
 */
#ifndef MCMC_ACCEPTANCE_H
#define MCMC_ACCEPTANCE_H

#include "numerics.h"
#include "philox.h"

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

/* X at a uniform u in (0, 1). */
static inline double acceptance_variate(int rule, double u)
{
    return rule == METROPOLIS ? -num_log1(u) : num_log1((1.0 - u) / u);
}

#define ACCEPTANCE_CELLS 256

/* By cell c, c/256 <= u < (c + 1)/256: no flip where x >= limits[c][0], a flip where x < limits[c][1]. The slack covers rounding. */
static inline void acceptance_limits(int rule, double limits[ACCEPTANCE_CELLS][2])
{
    for (int c = 0; c < ACCEPTANCE_CELLS; c++) {
        limits[c][0] = c == 0 ? INFINITY : acceptance_variate(rule, c * (1.0 / ACCEPTANCE_CELLS)) + 1e-9;
        limits[c][1] = c + 1 < ACCEPTANCE_CELLS ? acceptance_variate(rule, (c + 1) * (1.0 / ACCEPTANCE_CELLS)) - 1e-9
                                                : (rule == METROPOLIS ? 0.0 : -INFINITY);
    }
}

/* How the proposals of a walker are decided. */
typedef struct {
    const uint16_t *high;    /* (n,) highest 16 bits of the uniforms; the others are looked up where these do not decide */
    uint64_t key, row, slot; /* address of proposal 0 */
    int rule;                /* real energies: accepted iff x < X, see above */
    const double (*limits)[2];
} decisions;

/* Proposal k, of that x; one that is not a number is rejected. */
static inline __attribute__((always_inline)) int decided(const decisions *d, int64_t k, double x)
{
    const double *limits = d->limits[d->high[k] / (0x10000 / ACCEPTANCE_CELLS)];
    if (__builtin_expect(x >= limits[0], 1))
        return 0;
    return x < limits[1] || x < acceptance_variate(d->rule, unit_interval(philox_u48(d->key, d->row, d->slot + k)));
}

/* The largest 64-bit uniform that accepts: P(u <= threshold) = probability, to the 2^-48 of the uniforms of moves (philox.h). */
static inline uint64_t acceptance_threshold(double probability)
{
    if (probability >= 1.0)
        return ~(uint64_t)0;
    uint64_t cells = (uint64_t)(probability * 0x1p64);
    return cells ? cells - 1 : 0;
}

#endif
