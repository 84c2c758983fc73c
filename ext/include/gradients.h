/* Machines with real weights: energy and gradient of a pack of walkers.
 *
 * E = sum over patterns of loss(y, f), f = (1/sqrt K) sum_k v_k g(h_k). Fields h_k = w_k.x / sqrt(fan_in) come from products.h, then come
 * outputs of units g(h_k), output f, loss and force dE/dh_k of every pattern and walker, and the forces go back through products.h. A
 * sum over patterns in E and dE/dv_k: pattern mu goes to partial sum mu % 8, the eight are added pairwise. The v_k are 1, or
 * weights as the others, K of them after all w_k. Nothing is kept from call to call.
 */
#ifndef MCMC_GRADIENTS_H
#define MCMC_GRADIENTS_H

#include "activations.h"
#include "gradient_target.h"
#include "losses.h"
#include "products.h"

typedef struct {
    products products;
    int kind, precision;  /* of the products */
    forward_fn forward;
    backward_fn backward;
    int64_t stretch;      /* patterns whose fields are made at a time */
    int64_t tile;         /* patterns whose losses are made at a time: a divisor of the stretch and a multiple of 8 */
    int parity;           /* output: product, not sum, of the units */
    double unit_scale;    /* of the field, inside the activation */
    double output_scale;  /* of the sum over units */
    loss_params params;
    responses_fn respond;
    slopes_fn slopes;
    double *labels;       /* (rows,): of the padding, 1 */
    double *field;        /* (n_units, stretch, width): scratch */
    int second_layer;     /* whether the v_k are weights */
    double *energy;       /* (8, width): partial sums */
    double *pull;         /* (n_units, 8, width): partial sums of dE/dv_k */
    double *scratch;      /* (3 + n_units, tile, width) */
} gradient_model;

#define ISA_BODY "gradients_body.h"
#include "each_isa.h"

static void gradients_select(void *model, const int32_t *patterns, void *batch)
{
    const gradient_model *m = model;
    gradient_model *b = batch;
    for (int64_t k = 0; k < b->products.n_patterns; k++)
        b->labels[k] = m->labels[patterns[k]];
    if (m->kind == PRODUCTS_BITS)
        bits_select(&m->products, patterns, &b->products);
    else
        real_select(&m->products, patterns, &b->products, m->precision == PRODUCTS_FLOAT64 ? sizeof(double) : sizeof(float));
}

static const evaluate_fn gradients_evaluate[N_ISA] = ISA_TABLE(gradients_evaluate);

#endif
