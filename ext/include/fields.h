/* Perceptrons with real inputs and any loss of the stability: float64 fields.
 *
 * Design. A walker keeps the unscaled field y_mu w.x_mu of every pattern (integer-valued inputs stay exact, so ties at zero are
 * decided rightly) and the current loss of every pattern. dE adds the losses after minus before; its order is stated: pattern mu goes to
 * partial sum mu % 8, the eight are added pairwise. Eight lanes do just that at every level. Fields and losses drift with
 * rounding and are recomputed at fixed sweeps, sites in order.
 */
#ifndef MCMC_FIELDS_H
#define MCMC_FIELDS_H

#include "flip_target.h"
#include "isa.h"
#include "losses.h"

typedef struct {
    int64_t n_sites, n_patterns;
    int64_t stride;            /* patterns rounded up to a multiple of 8; the inputs of the padding are 0, so its loss never changes */
    double scale;              /* 1 / sqrt(N) */
    loss_params params;
    const double *columns;     /* (n_sites, stride): label times input */
    const double *tie;         /* (stride,): see losses.h */
    double *field;             /* (n_walkers, stride) */
    double *loss;              /* (n_walkers, stride) */
    int8_t *weights;           /* (n_walkers, n_sites) */
    double *energy;            /* (n_walkers,) */
} fields_model;

typedef struct {
    const fields_model *m;
    double *field, *loss, *energy;
    int8_t *weights;
} fields_view;

static inline __attribute__((always_inline)) fields_view fields_open(const fields_model *m, int64_t walker)
{
    return (fields_view){.m = m, .field = m->field + walker * m->stride, .loss = m->loss + walker * m->stride,
                         .weights = m->weights + walker * m->n_sites, .energy = m->energy + walker};
}

/* The eight partial sums of a sum over patterns, added pairwise. */
static inline double fields_total(const double sum[8])
{
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

/* One term of the sum over sites, for n patterns; lanes run over patterns. */
static inline void fields_add(double weight, const double *restrict column, int64_t n, double *restrict field)
{
    for (int64_t mu = 0; mu < n; mu++)
        field[mu] += weight * column[mu];
}

#define ISA_BODY "fields_body.h"
#include "each_isa.h"

#define FIELDS_FUNCTIONS(name) ISA_TABLE(&fields_##name),
#define FIELDS_LOAD(name) ISA_TABLE(fields_load_##name),
static const flip_functions *const fields_functions[N_LOSSES][N_ISA] = {LOSS_ROWS(FIELDS_FUNCTIONS)};
static const refresh_fn fields_load[N_LOSSES][N_ISA] = {LOSS_ROWS(FIELDS_LOAD)};

static inline const flip_functions *fields_functions_of(int code, int level)
{
    return fields_functions[code][level];
}

static inline refresh_fn fields_load_of(int code, int level)
{
    return fields_load[code][level];
}

#endif
