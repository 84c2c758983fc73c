/* The contract between a kernel family with real weights and the sampler that moves one weight at a time, or two.
 *
 * A family hands out a coordinate_target through a capsule of that name; coordinates.h drives it. The family builds each proposal from the
 * weights as they are, decides, and carries it out; nobody else touches the weights of a block while it runs.
 */
#ifndef MCMC_COORDINATE_TARGET_H
#define MCMC_COORDINATE_TARGET_H

#include "acceptance.h"

#define COORDINATE_TARGET_CAPSULE "mcmc.coordinate_target"

/* n proposals of one walker, in order. */
typedef struct {
    const int32_t *sites;  /* (n,) */
    const int32_t *others; /* (n,): of a rotation, another site of the same unit */
    int64_t n;
    const double *noise;   /* standard normal number of proposal k: noise[k * stride] */
    int64_t stride;
    double step;           /* that multiplies it */
    double beta, precision; /* of the measure exp(-beta E - precision |w|^2 / 2); a rotation does not change |w| */
    decisions decisions;
} coordinate_moves;

typedef int64_t (*coordinate_fn)(void *model, int64_t walker, const coordinate_moves *moves); /* number of accepted proposals */
typedef void (*coordinate_refresh_fn)(void *model, int64_t walker);

typedef struct {
    coordinate_fn walk;   /* one weight becomes w + step xi */
    coordinate_fn rotate; /* two weights of a unit are rotated by the angle step xi */
} coordinate_functions;

typedef struct {
    void *model;
    coordinate_functions call;
    coordinate_refresh_fn refresh; /* caches anew from the weights */
    coordinate_refresh_fn rescale; /* every unit back to the norm sqrt(fan-in), caches anew */
    int64_t n_sites, n_walkers;
    int64_t n_units;       /* hidden units, n_sites / n_units sites each, one unit after the other */
    int64_t site_bytes;    /* of the instance, that a site adds to what a proposal reads */
    const double *weights; /* (n_walkers, n_sites) */
    const double *energy;  /* (n_walkers,) */
} coordinate_target;

#endif
