/* The contract between a machine with real weights and the samplers that move all weights of a walker at once.
 *
 * A family hands out a gradient_target through a capsule of that name; moves.h drives it. Walkers come in packs of `width` lanes whose
 * numbers are interleaved: weight i of lane r is w[i * width + r], so that lanes run over walkers and never inside a sum. A pack is one
 * walker (width 1) or a multiple of 8 of them, the last ones padding. Energy and gradient are pure functions of the weights: the
 * same bits whatever the width, the lane, the other lanes and the instruction set.
 */
#ifndef MCMC_GRADIENT_TARGET_H
#define MCMC_GRADIENT_TARGET_H

#include "isa.h"

#define GRADIENT_TARGET_CAPSULE "mcmc.gradient_target"

/* energy (width,) of weights (n_weights, width), and unless NULL their gradient dE/dw (n_weights, width). */
typedef void (*evaluate_fn)(void *model, const double *weights, double *energy, double *gradient);

/* Makes the machine `batch` that of these patterns alone, (batch_size,) of them. */
typedef void (*select_fn)(void *model, const int32_t *patterns, void *batch);

typedef struct {
    void *model;
    evaluate_fn evaluate;
    select_fn select;
    void *batch;        /* another model for evaluate */
    int64_t batch_size; /* 0: there is none */
    int64_t n_patterns;
    int has_gradient;
    int64_t n_walkers; /* that count */
    int64_t n_weights;
    int64_t n_units;   /* parts with a sphere, or a mass matrix, of their own: n_weights / n_units weights each, one after the other. The
                        * hidden units; 1 with a second layer, where not all weights are those of units */
    int64_t width, n_packs; /* n_packs * width >= n_walkers */
    double *weights;   /* (n_packs, n_weights, width); padding lanes repeat the last walker */
    double *energy;    /* (n_packs, width) of these weights */
} gradient_target;

#endif
