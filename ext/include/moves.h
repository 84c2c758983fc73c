/* Moves of all weights of a walker at once, over any gradient_target: integrators of Langevin and Hamiltonian dynamics with and without
 * Metropolis' decision, and proposals that need no gradient.
 *
 *   langevin          w' = w - h dU + sqrt(2h) xi (Euler-Maruyama), unadjusted
 *   sgld              the same with the gradient of a minibatch, times P / B, in place of dE (Welling, Teh 2011), unadjusted
 *   mala              the same as a proposal (Besag 1994; Roberts, Tweedie 1996)
 *   hmc               momenta xi, 1 .. 2 n_steps - 1 leapfrog steps of size h, as a proposal (Duane, Kennedy, Pendleton, Roweth 1987)
 *   leapfrog          the same, unadjusted: no sampler, but what tests can tell of hmc before its decision repairs it
 *   underdamped       BAOAB (Leimkuhler, Matthews 2013), momenta persist, unadjusted
 *   pcn               w' = sqrt(1 - h^2) w + h xi / sqrt(precision) as a proposal (Cotter, Roberts, Stuart, White 2013)
 *   elliptical-slice  Murray, Adams, MacKay 2010
 *   random-walk       w' = w + h xi as a proposal
 *
 * A Langevin step is one leapfrog step with momenta xi and step sqrt(2h), and is coded as that: Metropolis' ratio is then that of the
 * Hamiltonian H = U + |p|^2 / 2.
 *
 * The number of leapfrog steps of a sweep is a function of (seed, instance, sweep) alone, uniform on 1 .. 2 n_steps - 1: all walkers of
 * an instance share it, as flips share their sites. Each walker is a chain with the right stationary law for any sequence of
 * numbers, so walkers in equilibrium stay independent, and no lane of a pack waits for others.
 *
 * The minibatch of a sweep is that of its copy: B of the P patterns by Floyd's algorithm (Bentley, Floyd 1987), number k of them from slot
 * k of row `sweep` of the copy's stream of batches. Rungs of a copy share it; copies are independent. The energy of all patterns is made
 * after the sweeps where exchange or a row needs it, and between them is that of an earlier sweep.
 *
 * Energies and gradients of states are kept between sweeps; both, and the norm, are functions of the weights and come back after a
 * restore with the same bits.
 *
 *   passes.h         what is done to all numbers of a pack, and sums over them
 *   moves_run.h      a method, a pack, and the memory
 *   moves_space.h    kicks and free flights, in the whole space or on spheres
 *   moves_methods.h  the methods above, and the table of them
 *   here             sweeps of a block, its minibatches and rows
 */
#ifndef MCMC_MOVES_H
#define MCMC_MOVES_H

#include "moves_methods.h"
#include "noise.h"

/* Gradient, norm and kinetic energy of the states of a pack. */
static void moves_learn(const moves_run *r, moves_pack *s)
{
    const gradient_target *t = r->target;
    if (s->gradient && !r->method->in_batches)
        t->evaluate(t->model, s->weights, r->lanes.energy, s->gradient);
    moves_square(r, s->weights, r->lanes.norm);
    moves_keep(r, s->norm, r->lanes.norm);
    if (s->momentum) {
        moves_square(r, s->momentum, r->lanes.kinetic);
        moves_keep(r, s->kinetic, r->lanes.kinetic);
    }
}

/* The patterns of a copy's minibatch: pattern k is drawn from those up to P - B + k, which is itself taken if the drawn one already is. */
static void moves_draw_batch(const moves_run *r, int64_t copy, int64_t sweep)
{
    const gradient_target *t = r->target;
    const int64_t n = t->batch_size;
    philox_fill[r->level](r->batch_key[copy], sweep, 0, (n + 3) / 4, HALF_HIGH, r->batch_words);
    for (int64_t k = 0; k < n; k++) {
        const int64_t last = t->n_patterns - n + k, drawn = (int64_t)((uint64_t)r->batch_words[k] * (uint64_t)(last + 1) >> 32);
        r->batch[k] = (int32_t)(r->in_batch[drawn] ? last : drawn);
        r->in_batch[r->batch[k]] = 1;
    }
    for (int64_t k = 0; k < n; k++)
        r->in_batch[r->batch[k]] = 0;
}

/* Gradients of all states from minibatches, copy by copy: of a pack that other copies are in, too, only the lanes of the copy are kept. */
static void moves_estimate_gradients(const moves_run *r, int64_t sweep)
{
    const gradient_target *t = r->target;
    const chain_run *c = r->chain;
    const int64_t width = t->width;
    const double scale = (double)t->n_patterns / t->batch_size;
    for (int64_t first = 0, end; first < t->n_walkers; first = end) {
        end = chain_end_of_copy(c, first);
        const int64_t stop = end < t->n_walkers ? end : t->n_packs * width; /* with the padding */
        moves_draw_batch(r, (c->first + first) / c->n_rungs, sweep);
        t->select(t->model, r->batch, t->batch);
        for (int64_t number = first / width; number * width < stop; number++) {
            const moves_pack s = moves_pack_of(r, number);
            const int64_t from = first > number * width ? first - number * width : 0;
            const int64_t to = stop < (number + 1) * width ? stop - number * width : width;
            t->evaluate(t->batch, s.weights, r->lanes.energy, r->proposed_gradient);
            for (int64_t i = 0; i < t->n_weights; i++)
                for (int64_t k = from; k < to; k++)
                    s.gradient[i * width + k] = scale * r->proposed_gradient[i * width + k];
        }
    }
}

/* The first walker whose state after a sweep is no number, or -1; the energy counts where the method knows it at every restart. */
static int64_t moves_lost(const moves_run *r, int64_t sweep)
{
    const int with_energy = !r->method->in_batches || moves_needs_energy(r, sweep);
    for (int64_t walker = 0; walker < r->target->n_walkers; walker++)
        if (!isfinite(r->norm[walker]) || (with_energy && !isfinite(r->target->energy[walker])))
            return walker;
    return -1;
}

/* One sweep of every walker of the block. */
static int64_t moves_sweep(void *run, int64_t sweep)
{
    moves_run *r = run;
    const gradient_target *t = r->target;
    if (!r->known) {
        for (int64_t number = 0; number < t->n_packs; number++) {
            moves_pack pack = moves_pack_of(r, number);
            moves_learn(r, &pack);
        }
        if (moves_lost(r, sweep - 1) >= 0)
            return moves_lost(r, sweep - 1);
        r->known = 1;
    }
    if (r->method->in_batches)
        moves_estimate_gradients(r, sweep);
    for (int64_t number = 0; number < t->n_packs; number++) {
        moves_pack pack = moves_pack_of(r, number);
        moves_at_rungs(r, number);
        noise_fill[r->level](r->noise_key + number * t->width, sweep, t->n_weights, t->width, r->noise);
        r->method->sweep(r, &pack, sweep);
    }
    return moves_lost(r, sweep);
}

/* Momenta of the start: normal, row 0 of the noise. */
static void moves_draw_momenta(const moves_run *r)
{
    const gradient_target *t = r->target;
    for (int64_t number = 0; number < t->n_packs; number++) {
        const moves_pack pack = moves_pack_of(r, number);
        noise_fill[r->level](r->noise_key + number * t->width, 0, t->n_weights, t->width, pack.momentum);
        moves_tangent(r, pack.weights, pack.momentum, r->lanes.kinetic);
    }
}

/* What the observables need of the walkers into a row. */
static void moves_record(void *run, int64_t row)
{
    const moves_run *r = run;
    const gradient_target *t = r->target;
    const int64_t all = r->chain->n_copies * r->chain->n_rungs;
    for (int64_t walker = 0; walker < t->n_walkers; walker++) {
        const double *from = t->weights + walker / t->width * t->n_weights * t->width + walker % t->width;
        double *to = (double *)r->chain->row_weights + (row * t->n_walkers + walker) * t->n_weights;
        for (int64_t i = 0; i < t->n_weights; i++)
            to[i] = from[i * t->width];
        if (r->row_kinetic)
            r->row_kinetic[row * t->n_walkers + walker] = r->kinetic[walker] / (t->n_weights - (r->sphere ? t->n_units : 0));
    }
    if (r->row_energy_error) {
        memcpy(r->row_energy_error + row * all, r->energy_error, sizeof(double) * all);
        memset(r->energy_error, 0, sizeof(double) * all);
    }
}

#endif
