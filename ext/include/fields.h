/* Machines of any architecture, inputs, activation and loss: float64 fields.
 *
 * Design. A walker keeps of every pattern the unscaled field w_k.x of each unit (integer-valued inputs stay exact, so ties at zero are
 * decided rightly), the output of each unit and the loss. A move changes one weight of a unit, or two, by any amount: a flip changes
 * one by -2 w. It gives the new fields and outputs of that unit; the output of the machine is put together anew, units in order, so it
 * does not drift. dE adds the losses after minus before, in the order of sums.h. Fields and energy drift with rounding
 * and are recomputed at fixed sweeps, sites in order; outputs of units and losses are always those of the fields.
 *
 * A homogeneous activation works on the unscaled field and leaves all scaling to the output: sums of integers stay exact there too.
 * So a perceptron is one linear unit. Under a loss of the stability it has a loop of its own for each loss (fields_loss.h), over inputs
 * that are multiplied by the labels once and for all; the other machines go through the patterns in stretches, with pointers to
 * what activation and loss do to a stretch.
 */
#ifndef MCMC_FIELDS_H
#define MCMC_FIELDS_H

#include "activations.h"
#include "coordinate_target.h"
#include "flip_target.h"
#include "isa.h"
#include "losses.h"
#include "sums.h"

#define STRETCH 128 /* patterns; a multiple of 8 */

typedef struct {
    int64_t n_sites, n_units, n_patterns;
    int64_t stride;            /* patterns rounded up to a multiple of 8; the inputs of the padding are 0, so its loss never changes */
    int64_t fan_in, n_columns; /* inputs of a unit, and of the machine: fan_in if the units share them, else n_sites */
    int parity;                /* output: product, not sum, of the units */
    double unit_scale;         /* of the field, inside the activation */
    double output_scale;       /* of the sum over units */
    loss_params params;
    activations_fn activate;
    losses_fn losses;
    const double *columns;     /* (n_columns, stride): inputs; of the fused perceptron, label times input */
    const double *labels;      /* (stride,): of the padding, 1 */
    const double *tie;         /* (stride,): see losses_body.h; fused perceptron alone */
    double *field;             /* (n_walkers, n_units, stride) */
    double *unit;              /* (n_walkers, n_units, stride): outputs of the units; NULL for the fused perceptron */
    double *loss;              /* (n_walkers, stride) */
    double *new_unit;          /* (stride,): what the latest proposal would bring */
    double *new_loss;          /* (stride,) */
    int8_t *signs;             /* (n_walkers, n_sites): Ising weights, or NULL */
    double *reals;             /* (n_walkers, n_sites): real weights, or NULL */
    double *energy;            /* (n_walkers,) */
} fields_model;

typedef struct {
    const fields_model *m;
    double *field, *unit, *loss, *energy;
    int8_t *signs;
    double *reals;
} fields_view;

/* What a move does to the fields of a unit: it adds `step` columns, and `other_step` columns of another weight if two weights move. Whether
 * two do is an argument of the functions that take a move, known where they are compiled. */
typedef struct {
    int64_t unit;
    double step, other_step;
    const double *column, *other;
} fields_move;

/* A perceptron under a loss of the stability: its fields, times the labels, are all there is. */
static inline int fields_is_fused(const fields_model *m)
{
    return m->unit == NULL;
}

static inline __attribute__((always_inline)) fields_view fields_open(const fields_model *m, int64_t walker)
{
    const int64_t units = walker * m->n_units * m->stride, weights = walker * m->n_sites;
    return (fields_view){.m = m, .field = m->field + units, .unit = fields_is_fused(m) ? m->field + units : m->unit + units,
                         .loss = m->loss + walker * m->stride, .signs = m->signs ? m->signs + weights : NULL,
                         .reals = m->reals ? m->reals + weights : NULL, .energy = m->energy + walker};
}

/* What a site weighs. */
static inline const double *fields_column(const fields_model *m, int64_t site)
{
    return m->columns + (m->n_columns == m->n_sites ? site : site % m->fan_in) * m->stride;
}

static inline __attribute__((always_inline)) fields_move fields_one(const fields_view *v, int64_t site, double step)
{
    return (fields_move){.unit = site / v->m->fan_in, .column = fields_column(v->m, site), .step = step};
}

/* Two sites of one unit. */
static inline __attribute__((always_inline)) fields_move fields_two(const fields_view *v, int64_t site, double step, int64_t other,
                                                                    double other_step)
{
    fields_move move = fields_one(v, site, step);
    move.other = fields_column(v->m, other);
    move.other_step = other_step;
    return move;
}

static inline __attribute__((always_inline)) fields_move fields_flip(const fields_view *v, int64_t site)
{
    return fields_one(v, site, -2.0 * v->signs[site]);
}

/* One term of the sum over sites, for n patterns; lanes run over patterns. */
static inline void fields_add(double weight, const double *restrict column, int64_t n, double *restrict field)
{
    for (int64_t mu = 0; mu < n; mu++)
        field[mu] += weight * column[mu];
}

#define ISA_BODY "fields_body.h"
#include "each_isa.h"

#define FLIPS(name) ISA_TABLE(&fields_flips_##name),
static const flip_functions *const fields_flips[N_LOSSES][N_ISA] = {STABILITY_LOSS_ROWS(FLIPS)};
#undef FLIPS
static const flip_functions *const fields_flips_of_machine[N_ISA] = ISA_TABLE(&fields_flips_machine);
#define COORDINATES(name) ISA_TABLE(&fields_coordinates_##name),
static const coordinate_functions *const fields_coordinates[N_LOSSES][N_ISA] = {STABILITY_LOSS_ROWS(COORDINATES)};
#undef COORDINATES
static const coordinate_functions *const fields_coordinates_of_machine[N_ISA] = ISA_TABLE(&fields_coordinates_machine);
static const refresh_fn fields_load[N_ISA] = ISA_TABLE(fields_load);
static const refresh_fn fields_settle[N_ISA] = ISA_TABLE(fields_settle);
static const refresh_fn fields_rescale[N_ISA] = ISA_TABLE(fields_rescale);

static inline const flip_functions *fields_flips_of(const fields_model *m, int loss, int level)
{
    return fields_is_fused(m) ? fields_flips[loss][level] : fields_flips_of_machine[level];
}

static inline const coordinate_functions *fields_coordinates_of(const fields_model *m, int loss, int level)
{
    return fields_is_fused(m) ? fields_coordinates[loss][level] : fields_coordinates_of_machine[level];
}

#endif
