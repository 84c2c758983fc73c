/* The activations of hidden units: a vector register at a time, the same bits everywhere.
 *
 * How to add one: CONTRIBUTING.md.
 */
#ifndef MCMC_ACTIVATIONS_H
#define MCMC_ACTIVATIONS_H

#include "numerics.h"

/* out[mu] = g(scale field[mu]), n a multiple of 8. Rounded to a grid: then sums over units are exact, and units that cancel do so in any
 * order. Without it ties at zero, which Ising weights and +-1 inputs make, and units of opposite weights, would be decided by rounding.
 * With real weights ties have no probability, and energies are those of which others take the gradient: the plain functions. */
typedef void (*activations_fn)(const double *field, int64_t n, double scale, double *out);

/* unit[j] = g(scale field[j]) and slope[j] = g'(scale field[j]); n a multiple of 8; slope may be field */
typedef void (*responses_fn)(const double *field, int64_t n, double scale, double *unit, double *slope);

#define ACTIVATION_ROWS(ROW) ROW(sign) ROW(erf) ROW(tanh) ROW(relu) ROW(linear)

#define ACTIVATION_CODE(name) ACTIVATION_##name,
enum { ACTIVATION_ROWS(ACTIVATION_CODE) N_ACTIVATIONS };
#undef ACTIVATION_CODE

/* Their names, by code. */
#define ACTIVATION_NAME(name) #name,
static const char *const activation_names[] = {ACTIVATION_ROWS(ACTIVATION_NAME)};
#undef ACTIVATION_NAME

#define ISA_BODY "activations_body.h"
#include "each_isa.h"

#define ON_GRID(name) ISA_TABLE(activations_on_grid_##name),
#define PLAIN(name) ISA_TABLE(activations_plain_##name),
static const activations_fn activations_functions[2][N_ACTIVATIONS][N_ISA] = {{ACTIVATION_ROWS(PLAIN)}, {ACTIVATION_ROWS(ON_GRID)}};
#undef ON_GRID
#undef PLAIN

#define RESPONSES(name) ISA_TABLE(responses_##name),
static const responses_fn responses_functions[N_ACTIVATIONS][N_ISA] = {ACTIVATION_ROWS(RESPONSES)};
#undef RESPONSES

static inline responses_fn responses_of(int code, int level)
{
    return responses_functions[code][level];
}

static inline activations_fn activations_of(int code, int on_grid, int level)
{
    return activations_functions[on_grid][code][level];
}

/* True if g(c h) = c g(h) for c > 0: such a unit may work on the unscaled field, where sums of integers are exact. */
static inline int activation_is_homogeneous(int code)
{
    return code == ACTIVATION_relu || code == ACTIVATION_linear;
}

#endif
