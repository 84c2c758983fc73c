/* The methods of moves.h, each one sweep of a pack at its rungs with the noise at hand; and the table of what is true of them. */
#ifndef MCMC_MOVES_METHODS_H
#define MCMC_MOVES_METHODS_H

#include "moves_space.h"

#define TWO_PI 0x1.921fb54442d18p2

/* --- what methods have in common --- */

/* U of a lane. */
static inline double moves_potential(const moves_run *r, int64_t lane, double energy, double norm)
{
    return r->lanes.beta[lane] * energy + (r->sphere ? 0.0 : 0.5 * r->precision * norm);
}

/* H of every lane of the states with the momenta at hand. */
static void moves_hamiltonian(const moves_run *r, const moves_pack *s)
{
    const moves_lanes *l = &r->lanes;
    for (int64_t k = 0; k < r->target->width; k++)
        l->hamiltonian[k] = moves_potential(r, k, s->energy[k], s->norm[k]) + 0.5 * l->kinetic[k];
}

/* H' - H of every lane, of H' for given energies and norms. */
static void moves_change(const moves_run *r, const double *energy, const double *norm)
{
    const moves_lanes *l = &r->lanes;
    for (int64_t k = 0; k < r->target->width; k++)
        l->change[k] = moves_potential(r, k, energy[k], norm[k]) + 0.5 * l->kinetic[k] - l->hamiltonian[k];
}

static inline int moves_measures(const moves_run *r, int64_t sweep)
{
    return r->chain->measure_every && sweep % r->chain->measure_every == 0;
}

/* Whether exchange, a row or who looks out for E = 0 needs the energies after a sweep. */
static inline int moves_needs_energy(const moves_run *r, int64_t sweep)
{
    return moves_measures(r, sweep) || r->chain->first_passage || (r->chain->exchange_every && sweep % r->chain->exchange_every == 0);
}

/* Notes H' - H of a pack at the rungs of its walkers, which the next exchange may change. Never -0, which a sum would not keep. */
static void moves_note_error(const moves_run *r, int64_t pack)
{
    const chain_run *c = r->chain;
    const int64_t width = r->target->width;
    for (int64_t walker = pack * width; walker < (pack + 1) * width && walker < c->n_walkers; walker++)
        r->energy_error[(c->first + walker) / c->n_rungs * c->n_rungs + chain_rung_of(c, walker)]
            = r->lanes.change[walker - pack * width] + 0.0;
}

/* Metropolis' decision on the proposals in r->weights, whose log ratio is -change: counted, and carried out. A method that does not
 * decide takes them all. */
static void moves_decide(const moves_run *r, moves_pack *s, int64_t sweep)
{
    const gradient_target *t = r->target;
    const moves_lanes *l = &r->lanes;
    const chain_run *c = r->chain;
    int64_t n_taken = 0;
    for (int64_t k = 0; k < t->width; k++) {
        const int real = isfinite(l->change[k]) && isfinite(l->norm[k]) && isfinite(l->energy[k]);
        const double probability = !real ? 0.0 : l->change[k] <= 0.0 ? 1.0 : num_exp1(-l->change[k]);
        const int taken = !r->method->decides || (real && moves_uniform(r, s->number, k, sweep, 0) < probability);
        r->mask[k] = -(int64_t)taken;
        n_taken += taken;
        if (taken) {
            s->energy[k] = l->energy[k];
            s->norm[k] = l->norm[k];
        }
        const int64_t walker = s->number * t->width + k;
        if (walker < t->n_walkers) {
            const int64_t rung = chain_rung_of(c, walker);
            c->accepted[(c->first + walker) / c->n_rungs * c->n_rungs + rung] += taken;
            if (c->counts && sweep <= c->burn_in)
                c->counts[rung] += (int64_t)(probability * 0x1p32);
        }
    }
    if (!n_taken)
        return;
    pass_replace[r->level](&r->passes, t->n_weights, r->mask, s->weights, r->weights);
    if (s->gradient)
        pass_replace[r->level](&r->passes, t->n_weights, r->mask, s->gradient, r->proposed_gradient);
}

/* --- methods that follow the gradient --- */

/* n leapfrog steps from the states with momenta p to weights `out` with `gradient`, which may be the states' own; whether the momenta are
 * brought to the end of the last step is said by `complete`. */
static void moves_leapfrog(const moves_run *r, const moves_pack *s, int64_t n, double *p, double *out, double *energy, double *gradient,
                           int complete)
{
    const gradient_target *t = r->target;
    const moves_lanes *l = &r->lanes;
    moves_kick(r, 0.5, s->gradient, s->weights, p, l->kinetic);
    for (int64_t step = 1; step <= n; step++) {
        moves_drift(r, 1.0, step == 1 ? s->weights : out, p, out, l->norm);
        t->evaluate(t->model, out, energy, gradient);
        if (step < n || complete)
            moves_kick(r, step < n ? 1.0 : 0.5, gradient, out, p, l->kinetic);
    }
}

/* One leapfrog step with momenta xi and step sqrt(2h). */
static void moves_langevin(const moves_run *r, moves_pack *s, int64_t sweep)
{
    const int measures = moves_measures(r, sweep);
    moves_tangent(r, s->weights, r->noise, r->lanes.kinetic);
    moves_hamiltonian(r, s);
    moves_leapfrog(r, s, 1, r->noise, s->weights, s->energy, s->gradient, measures);
    moves_keep(r, s->norm, r->lanes.norm);
    if (!measures)
        return;
    moves_change(r, s->energy, s->norm);
    moves_note_error(r, s->number);
}

/* The same with the gradients of moves_estimate_gradients. */
static void moves_sgld(const moves_run *r, moves_pack *s, int64_t sweep)
{
    const gradient_target *t = r->target;
    const moves_lanes *l = &r->lanes;
    moves_kick(r, 0.5, s->gradient, s->weights, r->noise, l->kinetic);
    moves_drift(r, 1.0, s->weights, r->noise, s->weights, l->norm);
    moves_keep(r, s->norm, l->norm);
    if (moves_needs_energy(r, sweep))
        t->evaluate(t->model, s->weights, s->energy, NULL);
}

/* A trajectory as a proposal; of mala one step. leapfrog takes all. */
static void moves_hmc(const moves_run *r, moves_pack *s, int64_t sweep)
{
    const moves_lanes *l = &r->lanes;
    const uint64_t most = 2 * (uint64_t)r->n_steps - 1, word = philox_word(r->length_key, sweep, 0, HALF_HIGH);
    moves_tangent(r, s->weights, r->noise, l->kinetic);
    moves_hamiltonian(r, s);
    moves_leapfrog(r, s, 1 + (int64_t)(word * most >> 32), r->noise, r->weights, l->energy, r->proposed_gradient, 1);
    moves_change(r, l->energy, l->norm);
    if (moves_measures(r, sweep))
        moves_note_error(r, s->number);
    moves_decide(r, s, sweep);
}

/* Kick, drift, fluctuation and dissipation of the momenta, drift, kick. What these exchange with the bath is no error of the energy. */
static void moves_underdamped(const moves_run *r, moves_pack *s, int64_t sweep)
{
    const gradient_target *t = r->target;
    const moves_lanes *l = &r->lanes;
    double *p = s->momentum;
    moves_keep(r, l->kinetic, s->kinetic);
    moves_hamiltonian(r, s);
    moves_kick(r, 0.5, s->gradient, s->weights, p, l->kinetic);
    moves_drift(r, 0.5, s->weights, p, s->weights, l->norm);
    for (int64_t k = 0; k < r->passes.lanes; k++) {
        l->hamiltonian[k] -= 0.5 * l->kinetic[k];
        l->a[k] = num_exp1(-r->friction * l->step[k]);
        l->b[k] = sqrt(1.0 - l->a[k] * l->a[k]);
    }
    pass_combine[r->level](&r->passes, t->n_weights, l->a, p, l->b, r->noise, p, l->kinetic);
    if (r->sphere)
        moves_project(r, s->weights, p, l->kinetic);
    for (int64_t k = 0; k < t->width; k++)
        l->hamiltonian[k] += 0.5 * l->kinetic[k];
    moves_drift(r, 0.5, s->weights, p, s->weights, l->norm);
    moves_keep(r, s->norm, l->norm);
    t->evaluate(t->model, s->weights, s->energy, s->gradient);
    moves_kick(r, 0.5, s->gradient, s->weights, p, l->kinetic);
    moves_keep(r, s->kinetic, l->kinetic);
    if (!moves_measures(r, sweep))
        return;
    moves_change(r, s->energy, s->norm);
    moves_note_error(r, s->number);
}

/* --- methods without a gradient --- */

/* Keeps the prior, so that the energy alone decides. */
static void moves_pcn(const moves_run *r, moves_pack *s, int64_t sweep)
{
    const gradient_target *t = r->target;
    const moves_lanes *l = &r->lanes;
    for (int64_t k = 0; k < r->passes.lanes; k++) {
        l->a[k] = sqrt(1.0 - l->step[k] * l->step[k]);
        l->b[k] = l->step[k] / sqrt(r->precision);
    }
    pass_combine[r->level](&r->passes, t->n_weights, l->a, s->weights, l->b, r->noise, r->weights, l->norm);
    t->evaluate(t->model, r->weights, l->energy, NULL);
    for (int64_t k = 0; k < t->width; k++)
        l->change[k] = l->beta[k] * (l->energy[k] - s->energy[k]);
    moves_decide(r, s, sweep);
}

static void moves_random_walk(const moves_run *r, moves_pack *s, int64_t sweep)
{
    const gradient_target *t = r->target;
    const moves_lanes *l = &r->lanes;
    if (r->sphere)
        moves_project(r, s->weights, r->noise, l->kinetic);
    moves_drift(r, 1.0, s->weights, r->noise, r->weights, l->norm);
    t->evaluate(t->model, r->weights, l->energy, NULL);
    for (int64_t k = 0; k < t->width; k++)
        l->change[k] = moves_potential(r, k, l->energy[k], l->norm[k]) - moves_potential(r, k, s->energy[k], s->norm[k]);
    moves_decide(r, s, sweep);
}

/* Angles shrink towards 0, the state itself, which lies on the slice: every lane ends. Lanes that are done keep their angle. */
static void moves_elliptical_slice(const moves_run *r, moves_pack *s, int64_t sweep)
{
    const gradient_target *t = r->target;
    const moves_lanes *l = &r->lanes;
    for (int64_t k = 0; k < t->width; k++) {
        l->level[k] = l->beta[k] * s->energy[k] - num_log1(moves_uniform(r, s->number, k, sweep, 0));
        l->angle[k] = l->high[k] = TWO_PI * moves_uniform(r, s->number, k, sweep, 2);
        l->low[k] = l->high[k] - TWO_PI;
        r->mask[k] = 0;
    }
    for (int64_t n_done = 0, slot = 3;; slot++) {
        for (int64_t k = 0; k < r->passes.lanes; k++) {
            const double angle = l->angle[t->width == 1 ? 0 : k];
            l->a[k] = num_cos1(angle);
            l->b[k] = num_sin1(angle) / sqrt(r->precision);
        }
        pass_combine[r->level](&r->passes, t->n_weights, l->a, s->weights, l->b, r->noise, r->weights, l->norm);
        t->evaluate(t->model, r->weights, l->energy, NULL);
        for (int64_t k = 0; k < t->width; k++) {
            if (r->mask[k])
                continue;
            if (l->beta[k] * l->energy[k] <= l->level[k]) {
                r->mask[k] = -1;
                n_done++;
                continue;
            }
            *(l->angle[k] < 0.0 ? l->low + k : l->high + k) = l->angle[k];
            l->angle[k] = l->low[k] + (l->high[k] - l->low[k]) * moves_uniform(r, s->number, k, sweep, slot);
        }
        if (n_done == t->width)
            break;
    }
    memcpy(s->weights, r->weights, sizeof(double) * t->n_weights * t->width);
    moves_keep(r, s->energy, l->energy);
    moves_keep(r, s->norm, l->norm);
}

/* --- the table --- */

static const moves_method moves_methods[] = {
    {.name = "langevin", .sweep = moves_langevin, .follows_gradient = 1, .of_langevin = 1, .integrates = 1, .largest_step = INFINITY},
    {.name = "sgld", .sweep = moves_sgld, .follows_gradient = 1, .of_langevin = 1, .in_batches = 1, .largest_step = INFINITY},
    {.name = "mala", .sweep = moves_hmc, .follows_gradient = 1, .decides = 1, .is_exact = 1, .of_langevin = 1, .integrates = 1,
     .largest_step = INFINITY},
    {.name = "hmc", .sweep = moves_hmc, .follows_gradient = 1, .decides = 1, .is_exact = 1, .integrates = 1, .largest_step = INFINITY},
    {.name = "leapfrog", .sweep = moves_hmc, .follows_gradient = 1, .integrates = 1, .largest_step = INFINITY}, /* for tests */
    {.name = "underdamped", .sweep = moves_underdamped, .follows_gradient = 1, .integrates = 1, .keeps_momenta = 1, .largest_step = INFINITY},
    {.name = "pcn", .sweep = moves_pcn, .decides = 1, .is_exact = 1, .keeps_prior = 1, .largest_step = 1.0},
    {.name = "elliptical-slice", .sweep = moves_elliptical_slice, .is_exact = 1, .keeps_prior = 1},
    {.name = "random-walk", .sweep = moves_random_walk, .decides = 1, .is_exact = 1, .largest_step = INFINITY},
};

enum { N_MOVES_METHODS = sizeof moves_methods / sizeof moves_methods[0] };

#endif
