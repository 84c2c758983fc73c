/* Deterministic even-odd exchange of neighbouring rungs (Okabe et al. 2001; Syed et al. 2022): betas move, weights stay.
 *
 * Round r = 1, 2, ... tries the pairs (s, s+1) with s % 2 == r % 2. A pair swaps iff u < exp((beta_s - beta_{s+1})(E_s - E_{s+1})); the
 * uniform is addressed by copy (key), round and swap, so that every rank that knows the energies takes the same decision and two copies
 * never share one.
 */
#ifndef MCMC_EXCHANGE_H
#define MCMC_EXCHANGE_H

#include "numerics.h"
#include "philox.h"

/* One round of one copy. energy: (n_rungs,) by walker; walker_at: (n_rungs,) by rung, updated; swapped: (n_rungs - 1,) 1 where swapped. */
static void exchange_round(int64_t n_rungs, const double *beta, const double *energy, uint64_t key, int64_t round, int32_t *walker_at,
                           int8_t *swapped)
{
    memset(swapped, 0, n_rungs > 1 ? n_rungs - 1 : 0);
    for (int64_t s = round % 2; s + 1 < n_rungs; s += 2) {
        const int32_t here = walker_at[s], there = walker_at[s + 1];
        const double x = (beta[s] - beta[s + 1]) * (energy[here] - energy[there]);
        if (x >= 0.0 || unit_interval(philox_u64(key, round, s)) < num_exp1(x)) {
            walker_at[s] = there;
            walker_at[s + 1] = here;
            swapped[s] = 1;
        }
    }
}

#endif
