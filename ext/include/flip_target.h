/* The contract between a kernel family (a model with the states of a block of walkers) and the single-flip samplers.
 *
 * A family hands out a flip_target through a capsule of that name; flips.h drives it. Inside a family, flip_loop.h asks for the energy
 * difference before a flip and commits an accepted flip after; nobody else touches the weights of a block while it runs.
 */
#ifndef MCMC_FLIP_TARGET_H
#define MCMC_FLIP_TARGET_H

#include "acceptance.h"

#define FLIP_TARGET_CAPSULE "mcmc.flip_target"

/* n proposals of one walker: their sites in order, and what decides on acceptance. */
typedef struct {
    const int32_t *sites;  /* (n,) */
    int64_t n;
    decisions decisions;
    /* integer energies: flip iff the 64-bit uniform of the slot <= thresholds[dE], dE in [-max_delta, max_delta] */
    const uint64_t *thresholds; /* centred on dE = 0 */
    double beta; /* real energies: flip iff beta dE < X, see acceptance.h */
} flip_moves;

typedef int64_t (*flips_fn)(void *model, int64_t walker, const flip_moves *moves); /* number of accepted flips */
typedef double (*delta_fn)(void *model, int64_t walker, int64_t site);            /* energy change of one flip */
typedef void (*deltas_fn)(void *model, int64_t walker, void *deltas);              /* of every flip, (n_sites,): int32_t for integer energies, else double */
typedef void (*flip_fn)(void *model, int64_t walker, int64_t site);                /* carry out one flip */
typedef void (*refresh_fn)(void *model, int64_t walker);                           /* float caches anew from the weights */

/* What flip_loop.h makes of a family. */
typedef struct {
    flips_fn flips;
    delta_fn delta;
    deltas_fn deltas;
    flip_fn flip;
} flip_functions;

typedef struct {
    void *model;
    flip_functions call;
    refresh_fn refresh; /* NULL where all is exact */
    int64_t n_sites, n_walkers;
    int64_t n_units; /* hidden units, n_sites / n_units sites each, one unit after the other */
    int64_t site_bytes; /* of the instance, that a proposal reads */
    int64_t max_delta; /* largest |dE| of integer energies; 0: energies are real */
    const int8_t *weights; /* (n_walkers, n_sites), +-1 */
    const double *energy;  /* (n_walkers,) */
} flip_target;

static inline __attribute__((always_inline)) int flip_accepted_integer(const flip_moves *m, int64_t k, int64_t delta)
{
    const uint64_t threshold = m->thresholds[delta];
    const decisions *d = &m->decisions;
    const uint32_t high = d->high[k], bound = (uint32_t)(threshold >> 48);
    if (__builtin_expect(high > bound, 1))
        return 0;
    return high < bound || philox_u48(d->key, d->row, d->slot + k) <= threshold;
}

static inline __attribute__((always_inline)) int flip_accepted_real(const flip_moves *m, int64_t k, double delta)
{
    return decided(&m->decisions, k, m->beta * delta);
}

#endif
