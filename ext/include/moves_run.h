/* What moves.h works on: a method, the walkers of a block in packs, and the memory for one pack.
 *
 * Random numbers of a walker at a sweep: normals from row `sweep` of its noise stream, slot i for weight i; 64-bit uniforms from its stream
 * of moves, slot 0 for the decision (the level of the slice), slots 2, 3, ... for angles of the slice; slot 1 is not used.
 */
#ifndef MCMC_MOVES_RUN_H
#define MCMC_MOVES_RUN_H

#include "chain.h"
#include "gradient_target.h"
#include "passes.h"
#include "philox.h"
#include "products.h"

typedef struct moves_run moves_run;

/* A pack of walkers, with what is known of their states. */
typedef struct {
    int64_t number;
    double *weights, *gradient, *momentum; /* (n_weights, width) */
    double *energy, *norm, *kinetic;       /* (width,): E, |w|^2 and |p|^2 */
} moves_pack;

/* A method and the facts about it, which are said here alone; the table is in moves_methods.h. */
typedef struct {
    const char *name;
    void (*sweep)(const moves_run *r, moves_pack *s, int64_t sweep);
    int follows_gradient;
    int decides;       /* a sweep is a proposal, accepted or not */
    int is_exact;      /* whether the stationary law is the Gibbs measure at any step size */
    int keeps_prior;   /* of Gaussian weights, and needs it */
    int of_langevin;   /* step sizes are the h of a Langevin step, which is a leapfrog step of sqrt(2h) */
    int integrates;    /* H, whose error is recorded */
    int keeps_momenta; /* from sweep to sweep */
    int in_batches;    /* the gradient is that of a minibatch */
    double largest_step; /* that makes sense; 0 where there is no step size */
} moves_method;

/* One number per coefficient of a pass (passes.h). */
typedef struct {
    double *one;               /* 1 */
    double *beta, *step;       /* of the rung of each walker */
    double *a, *b, *c;         /* coefficients */
    double *dot;               /* a sum */
    double *energy, *norm;     /* E and |w|^2 of a proposal */
    double *kinetic;           /* |p|^2 */
    double *hamiltonian;       /* H of the state */
    double *change;            /* of H, or of what else decides on a proposal */
    double *level;             /* that the slice lies below */
    double *angle, *low, *high; /* on the slice */
} moves_lanes;

struct moves_run {
    chain_run *chain;
    const gradient_target *target;
    const moves_method *method;
    int level, sphere;
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
    double *momentum;          /* (n_packs, n_weights, width); or NULL */
    double *norm;              /* (n_packs, width) |w|^2 */
    double *kinetic;           /* (n_packs, width) |p|^2 of the momenta; or NULL */
    double *energy_error;      /* (n_copies, n_rungs): H' - H of the integrator at the rung where it was made, in the sweep that is to
                                * be recorded; 0 where this block has no walker, so that the sum over blocks has all; or NULL */
    /* of one pack: scratch */
    double *noise, *weights, *proposed_gradient; /* (n_weights, width) */
    double *unit_square;       /* (n_units, lanes): |p_k|^2 of each unit */
    int64_t *mask;             /* (width,) */
    passes passes;
    moves_lanes lanes;
    /* rows; the caller provides room */
    double *row_kinetic;       /* (rows, n_walkers); or NULL */
    double *row_energy_error;  /* (rows, n_copies, n_rungs); or NULL */
};

enum { N_MOVES_LANES = sizeof(moves_lanes) / sizeof(double *) };

/* Deals out memory of (N_MOVES_LANES, passes.lanes) zeros. */
static inline void moves_set_lanes(moves_run *r, double *memory)
{
    double *lane[N_MOVES_LANES];
    for (int64_t k = 0; k < N_MOVES_LANES; k++)
        lane[k] = memory + k * r->passes.lanes;
    memcpy(&r->lanes, lane, sizeof lane);
    for (int64_t k = 0; k < r->passes.lanes; k++)
        r->lanes.one[k] = 1.0;
}

static inline moves_pack moves_pack_of(const moves_run *r, int64_t number)
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

/* beta and the step of each lane, at the rung where its walker is; padding lanes repeat the last walker. */
static inline void moves_at_rungs(const moves_run *r, int64_t pack)
{
    const gradient_target *t = r->target;
    for (int64_t k = 0; k < r->passes.lanes; k++) {
        const int64_t walker = pack * t->width + (t->width == 1 ? 0 : k), last = t->n_walkers - 1;
        const int64_t rung = chain_rung_of(r->chain, walker < last ? walker : last);
        const double h = r->step_size ? r->step_size[rung] : 0.0;
        r->lanes.beta[k] = r->chain->beta[rung];
        r->lanes.step[k] = r->method->of_langevin ? sqrt(2.0 * h) : h;
    }
}

/* (lanes,) to the first `width` of them. */
static inline void moves_keep(const moves_run *r, double *state, const double *lanes)
{
    memcpy(state, lanes, sizeof(double) * r->target->width);
}

/* The uniform of a slot of a lane's stream of moves. */
static inline double moves_uniform(const moves_run *r, int64_t pack, int64_t lane, int64_t sweep, int64_t slot)
{
    return unit_interval(philox_u64(r->move_key[pack * r->target->width + lane], sweep, slot));
}

#endif
