/* Machines with real weights: energy and gradient of a pack of walkers.
 *
 * E = sum over patterns of loss(y, f). Fields h_k = w_k.x / sqrt(fan_in) come from products.h, then come outputs of units g(h_k), output f,
 * loss and force dE/dh_k of every pattern and walker, and the forces go back through products.h. The sum over patterns in E: pattern mu
 * goes to partial sum mu % 8, the eight are added pairwise. Nothing is kept from call to call.
 */
#ifndef MCMC_GRADIENTS_H
#define MCMC_GRADIENTS_H

#include "activations.h"
#include "gradient_target.h"
#include "losses.h"
#include "products.h"

typedef struct {
    products products;
    forward_fn forward;
    backward_fn backward;
    int64_t stretch;      /* patterns at a time */
    int parity;           /* output: product, not sum, of the units */
    double unit_scale;    /* of the field, inside the activation */
    double output_scale;  /* of the sum over units */
    loss_params params;
    responses_fn respond;
    slopes_fn slopes;
    const double *labels; /* (rows,): of the padding, 1 */
    double *field;        /* (n_units, stretch, width): scratch */
    double *tile;         /* (4, TILE, width): scratch */
} gradient_model;

#define ISA_BODY "gradients_body.h"
#include "each_isa.h"

static const evaluate_fn gradients_evaluate[N_ISA] = ISA_TABLE(gradients_evaluate);

#endif
