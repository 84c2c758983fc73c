/* Moves of all weights of a walker at once, over any gradient_target: integrators of Langevin and Hamiltonian dynamics with and without
 * Metropolis' decision, and proposals that need no gradient.
 *
 *   langevin          w' = w - h dU + sqrt(2h) xi (Euler-Maruyama), unadjusted
 *   sgld              the same with the gradient of a minibatch, times P / B, in place of dE (Welling, Teh 2011), unadjusted
 *   mala              the same as a proposal (Besag 1994; Roberts, Tweedie 1996)
 *   hmc               momenta xi, 1 .. 2 n_steps - 1 leapfrog steps of size h, as a proposal (Duane, Kennedy, Pendleton, Roweth 1987)
 *   underdamped       BAOAB (Leimkuhler, Matthews 2013), momenta persist, unadjusted
 *   pcn               w' = sqrt(1 - h^2) w + h xi / sqrt(precision) as a proposal (Cotter, Roberts, Stuart, White 2013)
 *   elliptical-slice  Murray, Adams, MacKay 2010
 *   random-walk       w' = w + h xi as a proposal
 *
 * U = beta E + precision |w|^2 / 2 under the Gaussian prior. A Langevin step is one leapfrog step with momenta xi and step sqrt(2h), and is
 * coded as that: Metropolis' ratio is then that of the Hamiltonian H = U + |p|^2 / 2.
 *
 * Preconditioned, weights of the Gaussian prior are w = C u, a fixed linear map for each unit, and all of the above holds for u: momenta
 * are those of u, a kick takes C^T dU, a drift adds C p. Then u moves as w would with the mass matrix (C C^T)^-1.
 *
 * On the sphere |w_k|^2 = fan_in of each unit U = beta E, momenta and forces are projected to the tangent space of every unit, and weights
 * move along great circles (Byrne, Girolami 2013): with v = |p_k| and angle a = h v / sqrt(fan_in)
 *   w' = w cos a + p (h sin(a) / a),   p' = p cos a - w (h v^2 / fan_in) sin(a) / a,   then w' is scaled to its norm once.
 * The projection comes after every kick and every noise; rounding between two of them is below what the next one removes.
 *
 * The number of leapfrog steps of a sweep is a function of (seed, instance, sweep) alone, uniform on 1 .. 2 n_steps - 1: all walkers of
 * an instance share it, as flips share their sites. Each walker is a chain with the right stationary law for any sequence of
 * numbers, so walkers in equilibrium stay independent, and no lane of a pack waits for others.
 *
 * The minibatch of a sweep is that of its copy: B of the P patterns by Floyd's algorithm (Bentley, Floyd 1987), number k of them from slot
 * k of row `sweep` of the copy's stream of batches. Rungs of a copy share it; copies are independent. The energy of all patterns is made
 * after the sweeps where exchange or a row needs it, and between them is that of an earlier sweep.
 *
 * Random numbers of a walker at a sweep: normals from row `sweep` of its noise stream, slot i for weight i; 64-bit uniforms from its stream
 * of moves, slot 0 for the decision (the level of the slice), slots 2, 3, ... for angles of the slice.
 *
 * Energies and gradients of states are kept between sweeps; both, and the norm, are functions of the weights and come back after a
 * restore with the same bits. Sums over weights have the order of moves_body.h; those of units are added in order.
 */
#ifndef MCMC_MOVES_H
#define MCMC_MOVES_H

#include "chain.h"
#include "gradient_target.h"
#include "noise.h"
#include "products.h"

enum { LANGEVIN, SGLD, MALA, HMC, UNDERDAMPED, PCN, ELLIPTICAL_SLICE, RANDOM_WALK };

#define TWO_PI 0x1.921fb54442d18p2
#define LARGEST_ANGLE 1e6 /* beyond it num_sincos is no rotation; far beyond what any sampler can use */

#define ISA_BODY "moves_body.h"
#include "each_isa.h"

typedef void (*moves_combine_fn)(int64_t, int64_t, int64_t, const double *, const double *, const double *, const double *, double *,
                                 double *);
typedef void (*moves_subtract_fn)(int64_t, int64_t, int64_t, const double *, const double *, double *, double *);
typedef void (*moves_product_fn)(int64_t, int64_t, int64_t, const double *, const double *, double *);
typedef void (*moves_rotate_fn)(int64_t, int64_t, int64_t, const double *, const double *, const double *, const double *, double *, double *,
                                double *);
typedef void (*moves_multiply_fn)(int64_t, int64_t, int64_t, const double *, const double *, double *);
typedef void (*moves_scale_fn)(int64_t, int64_t, int64_t, const double *, double *);
typedef void (*moves_accept_fn)(int64_t, int64_t, const int64_t *, double *, const double *);
static const moves_combine_fn moves_combine[N_ISA] = ISA_TABLE(moves_combine);
static const moves_combine_fn moves_kick[N_ISA] = ISA_TABLE(moves_kick);
static const moves_subtract_fn moves_subtract[N_ISA] = ISA_TABLE(moves_subtract);
static const moves_product_fn moves_product[N_ISA] = ISA_TABLE(moves_product);
static const moves_rotate_fn moves_rotate[N_ISA] = ISA_TABLE(moves_rotate);
static const moves_multiply_fn moves_multiply[N_ISA] = ISA_TABLE(moves_multiply);
static const moves_scale_fn moves_scale[N_ISA] = ISA_TABLE(moves_scale);
static const moves_accept_fn moves_accept[N_ISA] = ISA_TABLE(moves_accept);

/* One number per lane; of one walker 8 copies. */
typedef struct {
    double *beta, *step;         /* of the rung of each walker */
    double *a, *b, *c;           /* coefficients of a pass */
    double *dot;                 /* a sum */
    double *energy, *norm;       /* E and |w|^2 of a proposal */
    double *kinetic;             /* |p|^2 */
    double *before;              /* H, the slice's level, or what else is compared with a proposal */
    double *angle, *low, *high;  /* of the slice */
    double *one;                 /* 1 */
} moves_lanes;

typedef struct {
    chain_run *chain;
    const gradient_target *target;
    int level, method, sphere;
    double precision;          /* of the Gaussian prior; 0 on the sphere */
    const double *step_size;   /* (n_rungs,) */
    int64_t n_steps;
    double friction;
    const uint64_t *noise_key, *move_key; /* (n_packs, width), padding lanes those of the last walker */
    uint64_t length_key;       /* of the numbers of leapfrog steps */
    const uint64_t *batch_key; /* (n_copies,) of the minibatches; or NULL */
    uint32_t *batch_words;     /* (batch_size rounded up to 4,): scratch */
    int32_t *batch;            /* (batch_size,) patterns: scratch */
    int8_t *in_batch;          /* (n_patterns,): 0 */
    int64_t *counts;           /* (n_rungs,): acceptance probabilities in units of 2^-32, summed up to the end of the burn-in; or NULL */
    /* of the map C; all NULL where w = u */
    const double *diagonal;    /* (n_weights, width): C is diagonal */
    const products *root;      /* rows of C as patterns, for each unit */
    forward_fn root_forward;
    backward_fn root_backward;
    double *rows;              /* (root->rows, width): scratch */
    double *force, *mapped;    /* (n_weights, width): scratch */
    int known;                 /* whether gradients, norms and kinetic energies are those of the states */
    /* of the states */
    double *gradient;          /* (n_packs, n_weights, width) dE/dw; or NULL */
    double *momentum;          /* (n_packs, n_weights, width): underdamped; or NULL */
    double *norm;              /* (n_packs, width) |w|^2 */
    double *kinetic;           /* (n_packs, width) |p|^2: underdamped; or NULL */
    double *energy_error;      /* (n_copies, n_rungs): H' - H of the integrator at the rung where it was made, in the sweep that is to
                                * be recorded; 0 where this block has no walker, so that the sum over blocks has all; or NULL */
    /* of one pack: scratch */
    double *noise, *weights, *proposed_gradient; /* (n_weights, width) */
    double *unit_square;       /* (n_units, lanes): |p_k|^2 of each unit */
    double *partial;           /* (8, width) */
    int64_t *mask;             /* (width,) */
    moves_lanes lanes;
    /* rows; the caller provides room */
    double *row_weights;       /* (rows, n_walkers, n_weights) */
    double *row_kinetic;       /* (rows, n_walkers); or NULL */
    double *row_energy_error;  /* (rows, n_copies, n_rungs); or NULL */
} moves_run;

/* --- passes over a pack --- */

static inline int64_t moves_copies(const moves_run *r) /* lanes of coefficients */
{
    return r->target->width == 1 ? 8 : r->target->width;
}

static inline void moves_begin_sum(const moves_run *r)
{
    memset(r->partial, 0, sizeof(double) * 8 * r->target->width);
}

/* The partial sums, added, into (lanes,). */
static void moves_end_sum(const moves_run *r, double *sum)
{
    const int64_t width = r->target->width, copies = moves_copies(r);
    for (int64_t k = 0; k < copies; k++) {
        const double *s = r->partial + (width == 1 ? 0 : k);
        sum[k] = ((s[0] + s[4 * width]) + (s[2 * width] + s[6 * width])) + ((s[width] + s[5 * width]) + (s[3 * width] + s[7 * width]));
    }
}

/* out = a x + b y; |out|^2 into `norm`. */
static void moves_combined(const moves_run *r, const double *a, const double *x, const double *b, const double *y, double *out, double *norm)
{
    const int64_t width = r->target->width;
    moves_begin_sum(r);
    moves_combine[r->level](r->target->n_weights * width, moves_copies(r), 8 * width, a, x, b, y, out, r->partial);
    moves_end_sum(r, norm);
}

/* x . y into `dot`. */
static void moves_dot(const moves_run *r, const double *x, const double *y, double *dot)
{
    const int64_t width = r->target->width;
    moves_begin_sum(r);
    moves_product[r->level](r->target->n_weights * width, moves_copies(r), 8 * width, x, y, r->partial);
    moves_end_sum(r, dot);
}

/* On the sphere: momenta to the tangent space at w; |p_k|^2 into unit_square and their sum into `kinetic`. */
static void moves_project(const moves_run *r, const double *w, double *p, double *kinetic)
{
    const gradient_target *t = r->target;
    const int64_t width = t->width, copies = moves_copies(r), fan_in = t->n_weights / t->n_units, count = fan_in * width;
    for (int64_t k = 0; k < copies; k++)
        kinetic[k] = 0.0;
    for (int64_t unit = 0; unit < t->n_units; unit++) {
        double *square = r->unit_square + unit * copies;
        moves_begin_sum(r);
        moves_product[r->level](count, copies, 8 * width, w + unit * count, p + unit * count, r->partial);
        moves_end_sum(r, r->lanes.dot);
        for (int64_t k = 0; k < copies; k++)
            r->lanes.dot[k] /= fan_in;
        moves_begin_sum(r);
        moves_subtract[r->level](count, copies, 8 * width, r->lanes.dot, w + unit * count, p + unit * count, r->partial);
        moves_end_sum(r, square);
        for (int64_t k = 0; k < copies; k++)
            kinetic[k] += square[k];
    }
}

/* Momenta from the noise; |p|^2 into `kinetic`. */
static void moves_refresh(const moves_run *r, const double *w, double *p, double *kinetic)
{
    if (r->sphere)
        moves_project(r, w, p, kinetic);
    else
        moves_dot(r, p, p, kinetic);
}

static inline int moves_preconditioned(const moves_run *r)
{
    return r->force != NULL;
}

/* C x, or C^T x, to `out`, another pack. */
static void moves_map(const moves_run *r, int transposed, const double *x, double *out)
{
    const int64_t width = r->target->width, n = r->target->n_weights;
    if (r->diagonal) {
        moves_multiply[r->level](n * width, moves_copies(r), 8 * width, r->diagonal, x, out);
        return;
    }
    const products *p = r->root;
    const int64_t size = p->fan_in * width;
    for (int64_t unit = 0; unit < p->n_units; unit++, x += size, out += size) {
        if (transposed) {
            memcpy(r->rows, x, sizeof(double) * size);
            memset(r->rows + size, 0, sizeof(double) * (p->rows * width - size)); /* rows that are padding */
            r->root_backward(p, unit, r->rows, 0, p->rows, out);
        } else {
            r->root_forward(p, unit, x, 0, p->rows, r->rows);
            memcpy(out, r->rows, sizeof(double) * size);
        }
    }
}

/* p -= step dU(w), with the gradient g of E; |p|^2 into `kinetic`. */
static void moves_kicked(const moves_run *r, double fraction, const double *step, const double *g, const double *w, double *p,
                         double *kinetic)
{
    const moves_lanes *l = &r->lanes;
    const int64_t width = r->target->width, copies = moves_copies(r);
    for (int64_t k = 0; k < copies; k++) {
        l->a[k] = fraction * step[k] * l->beta[k];
        l->b[k] = fraction * step[k] * r->precision;
    }
    if (moves_preconditioned(r)) {
        moves_combined(r, l->a, g, l->b, w, r->force, l->dot);
        moves_map(r, 1, r->force, r->mapped);
        moves_begin_sum(r);
        moves_subtract[r->level](r->target->n_weights * width, copies, 8 * width, l->one, r->mapped, p, r->partial);
        moves_end_sum(r, kinetic);
        return;
    }
    moves_begin_sum(r);
    moves_kick[r->level](r->target->n_weights * width, copies, 8 * width, l->a, g, l->b, w, p, r->partial);
    moves_end_sum(r, kinetic);
    if (r->sphere)
        moves_project(r, w, p, kinetic);
}

/* Weights along great circles with the velocities p, for time fraction * step: w to `out`; |out|^2 before it is scaled into `norm`. */
static void moves_drift_sphere(const moves_run *r, double fraction, const double *step, const double *w, double *p, double *out, double *norm)
{
    const gradient_target *t = r->target;
    const moves_lanes *l = &r->lanes;
    const int64_t width = t->width, copies = moves_copies(r), fan_in = t->n_weights / t->n_units, count = fan_in * width;
    for (int64_t k = 0; k < copies; k++)
        norm[k] = 0.0;
    for (int64_t unit = 0; unit < t->n_units; unit++) {
        const double *square = r->unit_square + unit * copies;
        for (int64_t k = 0; k < copies; k++) {
            const double time = fraction * step[k];
            double angle = time * sqrt(square[k] / fan_in);
            if (!(angle <= LARGEST_ANGLE))
                angle = NAN;
            const double sinc = angle > 0.0 ? num_sin1(angle) / angle : 1.0 + angle; /* keeps NaN */
            l->a[k] = num_cos1(angle);
            l->b[k] = time * sinc;
            l->c[k] = time * (square[k] / fan_in) * sinc;
        }
        moves_begin_sum(r);
        moves_rotate[r->level](count, copies, 8 * width, l->a, l->b, l->c, w + unit * count, p + unit * count, out + unit * count, r->partial);
        moves_end_sum(r, l->dot);
        for (int64_t k = 0; k < copies; k++) {
            norm[k] += l->dot[k];
            l->a[k] = sqrt(fan_in / l->dot[k]);
        }
        moves_scale[r->level](count, copies, 8 * width, l->a, out + unit * count);
    }
}

/* w + fraction step p to `out`, or along great circles; |out|^2 into `norm`. */
static void moves_drifted(const moves_run *r, double fraction, const double *step, const double *w, double *p, double *out, double *norm)
{
    const moves_lanes *l = &r->lanes;
    if (r->sphere) {
        moves_drift_sphere(r, fraction, step, w, p, out, norm);
        return;
    }
    for (int64_t k = 0; k < moves_copies(r); k++)
        l->a[k] = fraction * step[k];
    if (moves_preconditioned(r)) {
        moves_map(r, 0, p, r->mapped);
        p = r->mapped;
    }
    moves_combined(r, l->one, w, l->a, p, out, norm);
}

/* --- a pack --- */

typedef struct {
    int64_t number;
    double *weights, *gradient, *momentum; /* (n_weights, width) of the states */
    double *energy, *norm, *kinetic;       /* (width,) of the states */
} moves_pack;

static moves_pack moves_pack_of(const moves_run *r, int64_t number)
{
    const int64_t width = r->target->width, at = number * r->target->n_weights * width;
    return (moves_pack){.number = number,
                        .weights = r->target->weights + at,
                        .gradient = r->gradient ? r->gradient + at : NULL,
                        .momentum = r->momentum ? r->momentum + at : NULL,
                        .energy = r->target->energy + number * width,
                        .norm = r->norm + number * width,
                        .kinetic = r->kinetic ? r->kinetic + number * width : NULL};
}

/* The walker of the block in a lane; padding lanes repeat the last one. */
static inline int64_t moves_walker(const moves_run *r, int64_t pack, int64_t lane)
{
    const int64_t walker = pack * r->target->width + lane, last = r->target->n_walkers - 1;
    return walker < last ? walker : last;
}

/* The uniform of a slot of a lane's stream of moves. */
static inline double moves_uniform(const moves_run *r, int64_t pack, int64_t lane, int64_t sweep, int64_t slot)
{
    return unit_interval(philox_u64(r->move_key[pack * r->target->width + lane], sweep, slot));
}

/* beta and the step of each lane, at the rung where its walker is. */
static void moves_at_rungs(const moves_run *r, int64_t pack)
{
    for (int64_t k = 0; k < moves_copies(r); k++) {
        const int64_t rung = chain_rung_of(r->chain, moves_walker(r, pack, r->target->width == 1 ? 0 : k));
        const double h = r->step_size ? r->step_size[rung] : 0.0;
        r->lanes.beta[k] = r->chain->beta[rung];
        r->lanes.step[k] = r->method == LANGEVIN || r->method == SGLD || r->method == MALA ? sqrt(2.0 * h) : h;
    }
}

/* (lanes,) to the first `width` of them. */
static inline void moves_keep(const moves_run *r, double *state, const double *lanes)
{
    memcpy(state, lanes, sizeof(double) * r->target->width);
}

/* Gradient, norm and kinetic energy of the states of a pack. */
static void moves_learn(const moves_run *r, moves_pack *s)
{
    const gradient_target *t = r->target;
    if (s->gradient && r->method != SGLD)
        t->evaluate(t->model, s->weights, r->lanes.energy, s->gradient);
    moves_dot(r, s->weights, s->weights, r->lanes.norm);
    moves_keep(r, s->norm, r->lanes.norm);
    if (s->momentum) {
        if (r->sphere) { /* unit by unit, as after a projection */
            const int64_t count = t->n_weights / t->n_units * t->width, copies = moves_copies(r);
            memset(r->lanes.kinetic, 0, sizeof(double) * copies);
            for (int64_t unit = 0; unit < t->n_units; unit++) {
                moves_begin_sum(r);
                moves_product[r->level](count, copies, 8 * t->width, s->momentum + unit * count, s->momentum + unit * count, r->partial);
                moves_end_sum(r, r->lanes.dot);
                for (int64_t k = 0; k < copies; k++)
                    r->lanes.kinetic[k] += r->lanes.dot[k];
            }
        } else {
            moves_dot(r, s->momentum, s->momentum, r->lanes.kinetic);
        }
        moves_keep(r, s->kinetic, r->lanes.kinetic);
    }
}

/* U of a lane. */
static inline double moves_potential(const moves_run *r, int64_t lane, double energy, double norm)
{
    return r->lanes.beta[lane] * energy + (r->sphere ? 0.0 : 0.5 * r->precision * norm);
}

/* Metropolis' decision on the proposals in r->weights, whose log ratio is -difference (width,): counted, and carried out. */
static void moves_decide(const moves_run *r, moves_pack *s, int64_t sweep, const double *difference)
{
    const gradient_target *t = r->target;
    const chain_run *c = r->chain;
    int64_t n_taken = 0;
    for (int64_t k = 0; k < t->width; k++) {
        const int real = isfinite(difference[k]) && isfinite(r->lanes.norm[k]) && isfinite(r->lanes.energy[k]);
        const double probability = !real ? 0.0 : difference[k] <= 0.0 ? 1.0 : num_exp1(-difference[k]);
        const int taken = real && moves_uniform(r, s->number, k, sweep, 0) < probability;
        r->mask[k] = -(int64_t)taken;
        n_taken += taken;
        if (taken) {
            s->energy[k] = r->lanes.energy[k];
            s->norm[k] = r->lanes.norm[k];
        }
        const int64_t walker = s->number * t->width + k;
        if (walker < t->n_walkers) {
            const int64_t rung = chain_rung_of(c, walker);
            c->accepted[(c->first + walker) / c->n_rungs * c->n_rungs + rung] += taken;
            if (r->counts && sweep <= c->burn_in)
                r->counts[rung] += (int64_t)(probability * 0x1p32);
        }
    }
    if (!n_taken)
        return;
    moves_accept[r->level](t->n_weights, t->width, r->mask, s->weights, r->weights);
    if (s->gradient)
        moves_accept[r->level](t->n_weights, t->width, r->mask, s->gradient, r->proposed_gradient);
}

/* --- methods --- */

/* Leapfrog steps from the states with momenta p to weights `out` with `gradient`, which may be the states' own; whether the momenta are
 * brought to the end of the last step is said by `complete`. */
static void moves_leapfrog(const moves_run *r, const moves_pack *s, int64_t n, double *p, double *out, double *energy, double *gradient,
                           int complete)
{
    const gradient_target *t = r->target;
    const moves_lanes *l = &r->lanes;
    moves_kicked(r, 0.5, l->step, s->gradient, s->weights, p, l->kinetic);
    for (int64_t step = 1; step <= n; step++) {
        moves_drifted(r, 1.0, l->step, step == 1 ? s->weights : out, p, out, l->norm);
        t->evaluate(t->model, out, energy, gradient);
        if (step < n || complete)
            moves_kicked(r, step < n ? 1.0 : 0.5, l->step, gradient, out, p, l->kinetic);
    }
}

static inline int moves_measures(const moves_run *r, int64_t sweep)
{
    return r->chain->measure_every && sweep % r->chain->measure_every == 0;
}

/* Notes H' - H (width,) of a pack at the rungs of its walkers, which the next exchange may change. Never -0, which a sum would not keep. */
static void moves_note_error(const moves_run *r, int64_t pack, const double *error)
{
    const chain_run *c = r->chain;
    const int64_t width = r->target->width;
    for (int64_t walker = pack * width; walker < (pack + 1) * width && walker < c->n_walkers; walker++)
        r->energy_error[(c->first + walker) / c->n_rungs * c->n_rungs + chain_rung_of(c, walker)] = error[walker - pack * width] + 0.0;
}

/* H of every lane of the states with the momenta at hand. */
static void moves_hamiltonian(const moves_run *r, const moves_pack *s)
{
    for (int64_t k = 0; k < r->target->width; k++)
        r->lanes.before[k] = moves_potential(r, k, s->energy[k], s->norm[k]) + 0.5 * r->lanes.kinetic[k];
}

static void moves_langevin(const moves_run *r, moves_pack *s, int64_t sweep)
{
    const moves_lanes *l = &r->lanes;
    const int measures = moves_measures(r, sweep);
    moves_refresh(r, s->weights, r->noise, l->kinetic);
    moves_hamiltonian(r, s);
    moves_leapfrog(r, s, 1, r->noise, s->weights, s->energy, s->gradient, measures);
    moves_keep(r, s->norm, l->norm);
    if (!measures)
        return;
    for (int64_t k = 0; k < r->target->width; k++)
        l->before[k] = moves_potential(r, k, s->energy[k], s->norm[k]) + 0.5 * l->kinetic[k] - l->before[k];
    moves_note_error(r, s->number, l->before);
}

/* Whether exchange or a row needs the energies after a sweep. */
static inline int moves_needs_energy(const moves_run *r, int64_t sweep)
{
    return moves_measures(r, sweep) || (r->chain->exchange_every && sweep % r->chain->exchange_every == 0);
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

static void moves_sgld(const moves_run *r, moves_pack *s, int64_t sweep)
{
    const gradient_target *t = r->target;
    const moves_lanes *l = &r->lanes;
    moves_kicked(r, 0.5, l->step, s->gradient, s->weights, r->noise, l->kinetic);
    moves_drifted(r, 1.0, l->step, s->weights, r->noise, s->weights, l->norm);
    moves_keep(r, s->norm, l->norm);
    if (moves_needs_energy(r, sweep))
        t->evaluate(t->model, s->weights, s->energy, NULL);
}

static void moves_hmc(const moves_run *r, moves_pack *s, int64_t sweep)
{
    const moves_lanes *l = &r->lanes;
    const uint64_t most = 2 * (uint64_t)r->n_steps - 1, word = philox_word(r->length_key, sweep, 0, HALF_HIGH);
    moves_refresh(r, s->weights, r->noise, l->kinetic);
    moves_hamiltonian(r, s);
    moves_leapfrog(r, s, 1 + (int64_t)(word * most >> 32), r->noise, r->weights, l->energy, r->proposed_gradient, 1);
    for (int64_t k = 0; k < r->target->width; k++)
        l->before[k] = moves_potential(r, k, l->energy[k], l->norm[k]) + 0.5 * l->kinetic[k] - l->before[k];
    if (moves_measures(r, sweep))
        moves_note_error(r, s->number, l->before);
    moves_decide(r, s, sweep, l->before);
}

/* Kick, drift, fluctuation and dissipation of the momenta, drift, kick. What these exchange with the bath is no error of the energy. */
static void moves_underdamped(const moves_run *r, moves_pack *s, int64_t sweep)
{
    const gradient_target *t = r->target;
    const moves_lanes *l = &r->lanes;
    double *p = s->momentum;
    moves_keep(r, l->kinetic, s->kinetic);
    moves_hamiltonian(r, s);
    moves_kicked(r, 0.5, l->step, s->gradient, s->weights, p, l->kinetic);
    moves_drifted(r, 0.5, l->step, s->weights, p, s->weights, l->norm);
    for (int64_t k = 0; k < moves_copies(r); k++) {
        l->before[k] -= 0.5 * l->kinetic[k];
        l->a[k] = num_exp1(-r->friction * l->step[k]);
        l->b[k] = sqrt(1.0 - l->a[k] * l->a[k]);
    }
    moves_combined(r, l->a, p, l->b, r->noise, p, l->kinetic);
    if (r->sphere)
        moves_project(r, s->weights, p, l->kinetic);
    for (int64_t k = 0; k < t->width; k++)
        l->before[k] += 0.5 * l->kinetic[k];
    moves_drifted(r, 0.5, l->step, s->weights, p, s->weights, l->norm);
    moves_keep(r, s->norm, l->norm);
    t->evaluate(t->model, s->weights, s->energy, s->gradient);
    moves_kicked(r, 0.5, l->step, s->gradient, s->weights, p, l->kinetic);
    moves_keep(r, s->kinetic, l->kinetic);
    if (!moves_measures(r, sweep))
        return;
    for (int64_t k = 0; k < t->width; k++)
        l->before[k] = moves_potential(r, k, s->energy[k], s->norm[k]) + 0.5 * l->kinetic[k] - l->before[k];
    moves_note_error(r, s->number, l->before);
}

/* pcn keeps the prior, so that the energy alone decides. */
static void moves_pcn(const moves_run *r, moves_pack *s, int64_t sweep)
{
    const gradient_target *t = r->target;
    const moves_lanes *l = &r->lanes;
    for (int64_t k = 0; k < moves_copies(r); k++) {
        l->a[k] = sqrt(1.0 - l->step[k] * l->step[k]);
        l->b[k] = l->step[k] / sqrt(r->precision);
    }
    moves_combined(r, l->a, s->weights, l->b, r->noise, r->weights, l->norm);
    t->evaluate(t->model, r->weights, l->energy, NULL);
    for (int64_t k = 0; k < t->width; k++)
        l->before[k] = l->beta[k] * (l->energy[k] - s->energy[k]);
    moves_decide(r, s, sweep, l->before);
}

static void moves_random_walk(const moves_run *r, moves_pack *s, int64_t sweep)
{
    const gradient_target *t = r->target;
    const moves_lanes *l = &r->lanes;
    if (r->sphere)
        moves_project(r, s->weights, r->noise, l->kinetic);
    moves_drifted(r, 1.0, l->step, s->weights, r->noise, r->weights, l->norm);
    t->evaluate(t->model, r->weights, l->energy, NULL);
    for (int64_t k = 0; k < t->width; k++)
        l->before[k] = moves_potential(r, k, l->energy[k], l->norm[k]) - moves_potential(r, k, s->energy[k], s->norm[k]);
    moves_decide(r, s, sweep, l->before);
}

/* Angles shrink towards 0, the state itself, which lies on the slice: every lane ends. Lanes that are done keep their angle. */
static void moves_elliptical_slice(const moves_run *r, moves_pack *s, int64_t sweep)
{
    const gradient_target *t = r->target;
    const moves_lanes *l = &r->lanes;
    for (int64_t k = 0; k < t->width; k++) {
        l->before[k] = l->beta[k] * s->energy[k] - num_log1(moves_uniform(r, s->number, k, sweep, 0));
        l->angle[k] = l->high[k] = TWO_PI * moves_uniform(r, s->number, k, sweep, 2);
        l->low[k] = l->high[k] - TWO_PI;
        r->mask[k] = 0;
    }
    for (int64_t n_done = 0, slot = 3;; slot++) {
        for (int64_t k = 0; k < moves_copies(r); k++) {
            const double angle = l->angle[t->width == 1 ? 0 : k];
            l->a[k] = num_cos1(angle);
            l->b[k] = num_sin1(angle) / sqrt(r->precision);
        }
        moves_combined(r, l->a, s->weights, l->b, r->noise, r->weights, l->norm);
        t->evaluate(t->model, r->weights, l->energy, NULL);
        for (int64_t k = 0; k < t->width; k++) {
            if (r->mask[k])
                continue;
            if (l->beta[k] * l->energy[k] <= l->before[k]) {
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

/* --- the block --- */

/* The first walker whose state after a sweep is no number, or -1; the energy counts where the method knows it at every restart. */
static int64_t moves_lost(const moves_run *r, int64_t sweep)
{
    const int with_energy = r->method != SGLD || moves_needs_energy(r, sweep);
    for (int64_t walker = 0; walker < r->target->n_walkers; walker++)
        if (!isfinite(r->norm[walker]) || (with_energy && !isfinite(r->target->energy[walker])))
            return walker;
    return -1;
}

/* One sweep of every walker of the block. */
static int64_t moves_sweep(void *run, int64_t sweep)
{
    static void (*const method[])(const moves_run *, moves_pack *, int64_t) = {
        [LANGEVIN] = moves_langevin, [SGLD] = moves_sgld, [MALA] = moves_hmc,
        [HMC] = moves_hmc,           [PCN] = moves_pcn,   [ELLIPTICAL_SLICE] = moves_elliptical_slice,
        [RANDOM_WALK] = moves_random_walk, [UNDERDAMPED] = moves_underdamped,
    };
    moves_run *r = run;
    const gradient_target *t = r->target;
    for (int64_t number = 0; number < t->n_packs; number++) {
        moves_pack pack = moves_pack_of(r, number);
        if (!r->known)
            moves_learn(r, &pack);
    }
    if (!r->known && moves_lost(r, sweep - 1) >= 0)
        return moves_lost(r, sweep - 1);
    r->known = 1;
    if (r->method == SGLD)
        moves_estimate_gradients(r, sweep);
    for (int64_t number = 0; number < t->n_packs; number++) {
        moves_pack pack = moves_pack_of(r, number);
        moves_at_rungs(r, number);
        noise_fill[r->level](r->noise_key + number * t->width, sweep, t->n_weights, t->width, r->noise);
        method[r->method](r, &pack, sweep);
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
        if (r->sphere)
            moves_project(r, pack.weights, pack.momentum, r->lanes.kinetic);
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
        double *to = r->row_weights + (row * t->n_walkers + walker) * t->n_weights;
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
