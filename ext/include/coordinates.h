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
    int level; /* instruction set */
    int order, spherical;
    double precision;          /* of the gaussian prior */
    const double *step;        /* (n_rungs,) */
    const uint64_t *site_key;  /* (n_copies,) */
    const uint64_t *partner_key; /* (n_copies,) */
    const uint64_t *noise_key; /* (n_walkers,) */
    const uint64_t *move_key;  /* (n_walkers,) */
    int32_t *sites, *others;   /* (n_sites rounded up to 4,): scratch */
    double *noise;             /* (n_sites, n_walkers): scratch */
    uint16_t *high;            /* (n_walkers, CHUNK): scratch */
    double limits[ACCEPTANCE_CELLS][2];
} coordinate_run;

/* The sites of the rotations of a copy. */
static void coordinates_visits(const coordinate_run *r, int64_t copy, int64_t sweep)
{
    const int64_t n = r->target->n_sites, fan_in = n / r->target->n_units;
    visits_fill(r->level, r->order, r->site_key[copy], sweep, n, r->sites);
    if (!r->spherical)
        return;
    visits_draw(r->level, r->partner_key[copy], sweep, n, fan_in - 1, r->others);
    for (int64_t k = 0; k < n; k++) {
        const int32_t place = r->sites[k] % fan_in;
        r->others[k] += r->sites[k] - place + (r->others[k] >= place);
    }
}

/* Proposals slot .. slot + n - 1 of a walker, whose uniforms have the highest bits `high`. Returns how many were accepted. */
static int64_t coordinates_move(const coordinate_run *r, int64_t walker, int64_t rung, int64_t sweep, int64_t slot, int64_t n,
                                const uint16_t *high)
{
    const coordinate_target *t = r->target;
    const coordinate_moves moves = {
        .sites = r->sites + slot, .others = r->others + slot, .n = n, .noise = r->noise + slot * t->n_walkers + walker,
        .stride = t->n_walkers, .step = r->step[rung], .beta = r->chain->beta[rung], .precision = r->precision,
        .decisions = {.high = high, .key = r->move_key[walker], .row = sweep, .slot = slot, .rule = METROPOLIS, .limits = r->limits}};
    return (r->spherical ? t->call.rotate : t->call.walk)(t->model, walker, &moves);
}

/* One sweep of walkers first .. last - 1 of the block, which belong to one copy. */
static void coordinates_sweep_copy(const coordinate_run *r, int64_t copy, int64_t first, int64_t last, int64_t sweep)
{
    const chain_run *c = r->chain;
    const int64_t n = r->target->n_sites, tile = last - first > 1 ? visits_tile(r->target->site_bytes) : CHUNK;
    coordinates_visits(r, copy, sweep);
    for (int64_t chunk = 0; chunk < n; chunk += CHUNK) {
        const int64_t end = n - chunk < CHUNK ? n : chunk + CHUNK;
        for (int64_t w = first; w < last; w++)
            philox_fill[r->level](r->move_key[w], sweep, chunk / 8, (end - chunk + 7) / 8, HALF_HIGH, (uint32_t *)(r->high + w * CHUNK));
        for (int64_t slot = chunk; slot < end; slot += tile)
            for (int64_t w = first; w < last; w++) {
                const int64_t rung = chain_rung_of(c, w), these = end - slot < tile ? end - slot : tile;
                const int64_t accepted = coordinates_move(r, w, rung, sweep, slot, these, r->high + w * CHUNK + (slot - chunk));
                c->accepted[copy * c->n_rungs + rung] += accepted;
                if (c->counts)
                    c->counts[rung] += accepted;
            }
    }
}

/* One sweep of every walker of the block; returns the first of an energy that is not finite, or -1. */
static int64_t coordinates_sweep(void *run, int64_t sweep)
{
    const coordinate_run *r = run;
    const coordinate_target *t = r->target;
    noise_fill[r->level](r->noise_key, sweep, t->n_sites, t->n_walkers, r->noise);
    for (int64_t w = 0, last; w < t->n_walkers; w = last) {
        last = chain_end_of_copy(r->chain, w);
        coordinates_sweep_copy(r, (r->chain->first + w) / r->chain->n_rungs, w, last, sweep);
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
