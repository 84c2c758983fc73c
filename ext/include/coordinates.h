/* A sweep of a block of walkers with real weights by moves of one weight, or of two, over any coordinate_target: Metropolis.
 *
 *   gaussian   w_i becomes w_i + step xi, accepted with probability min(1, exp(-beta dE - precision d|w|^2 / 2))
 *   spherical  (w_i, w_j) of one unit is rotated by the angle step xi, accepted with probability min(1, exp(-beta dE)): a rotation and
 *              the one back are equally likely, whatever the law of i and j, so the proposal keeps the uniform law on the sphere
 *
 * Proposal k of a sweep has slot k of the sweep's row in three streams: xi and the uniform of the decision are the walker's own, the sites
 * those of its copy (visits.h). j is uniform among the others of its unit.
 *
 * Every accepted move rounds the fields, the energy and, on the sphere, the norms. At fixed sweeps all are made anew from the weights, the
 * units being scaled back to their norm first. Measured at N = P = 1000, 44 % accepted, after 63 sweeps: fields off by at most 2e-12 of
 * about 25, energies by 5e-12 of 400, square norms by 4e-16 in ratio; they grow as the square root of the time. Such a refresh costs a
 * third of a sweep, half a percent of all.
 */
#ifndef MCMC_COORDINATES_H
#define MCMC_COORDINATES_H

#include "chain.h"
#include "coordinate_target.h"
#include "noise.h"
#include "visits.h"

#define COORDINATES_REFRESH_EVERY 64 /* sweeps, counted from the start of the run */

typedef struct {
    chain_run *chain;
    const coordinate_target *target;
    visits visits;
    int spherical;
    double precision;          /* of the gaussian prior */
    const double *step;        /* (n_rungs,) */
    const uint64_t *partner_key; /* (n_copies,) */
    const uint64_t *noise_key; /* (n_walkers,) */
    int32_t *others;           /* (n_sites rounded up to 4,): scratch */
    double *noise;             /* (n_sites, n_walkers): scratch */
    double limits[ACCEPTANCE_CELLS][2];
} coordinate_run;

/* The other sites of the rotations of a copy. */
static void coordinates_pair(const coordinate_run *r, int64_t copy, int64_t sweep)
{
    const visits *v = &r->visits;
    const int64_t fan_in = v->n_sites / r->target->n_units;
    visits_draw(v->level, r->partner_key[copy], sweep, v->n_sites, fan_in - 1, r->others);
    for (int64_t k = 0; k < v->n_sites; k++) {
        const int32_t place = v->sites[k] % fan_in;
        r->others[k] += v->sites[k] - place + (r->others[k] >= place);
    }
}

/* A visits_make_fn; accepted moves are the counts (n_rungs,) to adapt by. */
static void coordinates_make(const void *run, int64_t copy, int64_t walker, int64_t rung, int64_t sweep, int64_t slot, int64_t n,
                             const uint16_t *high)
{
    const coordinate_run *r = run;
    const coordinate_target *t = r->target;
    const chain_run *c = r->chain;
    const coordinate_moves moves = {
        .sites = r->visits.sites + slot, .others = r->others + slot, .n = n, .noise = r->noise + slot * t->n_walkers + walker,
        .stride = t->n_walkers, .step = r->step[rung], .beta = c->beta[rung], .precision = r->precision,
        .decisions = {.high = high, .key = r->visits.move_key[walker], .row = sweep, .slot = slot, .rule = METROPOLIS,
                      .limits = r->limits}};
    const int64_t accepted = (r->spherical ? t->call.rotate : t->call.walk)(t->model, walker, &moves);
    c->accepted[copy * c->n_rungs + rung] += accepted;
    if (c->counts)
        c->counts[rung] += accepted;
}

/* One sweep of every walker of the block; returns the first of an energy that is not finite, or -1. */
static int64_t coordinates_sweep(void *run, int64_t sweep)
{
    const coordinate_run *r = run;
    const coordinate_target *t = r->target;
    noise_fill[r->visits.level](r->noise_key, sweep, t->n_sites, t->n_walkers, r->noise);
    for (int64_t w = 0, last; w < t->n_walkers; w = last) {
        const int64_t copy = (r->chain->first + w) / r->chain->n_rungs;
        last = chain_end_of_copy(r->chain, w);
        visits_choose(&r->visits, copy, sweep);
        if (r->spherical)
            coordinates_pair(r, copy, sweep);
        visits_deal(&r->visits, r->chain, copy, w, last, sweep, coordinates_make, r);
    }
    if (sweep % COORDINATES_REFRESH_EVERY == 0)
        for (int64_t w = 0; w < t->n_walkers; w++)
            (r->spherical ? t->rescale : t->refresh)(t->model, w);
    for (int64_t w = 0; w < t->n_walkers; w++)
        if (!isfinite(t->energy[w]))
            return w;
    return -1;
}

/* The weights of all walkers into a row. */
static void coordinates_record(void *run, int64_t row)
{
    const coordinate_run *r = run;
    const int64_t n = r->target->n_walkers * r->target->n_sites;
    memcpy((double *)r->chain->row_weights + row * n, r->target->weights, sizeof(double) * n);
}

#endif
