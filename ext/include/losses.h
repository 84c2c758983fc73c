/* The losses as functions of label and output: a vector register at a time, the same bits everywhere.
 *
 * How to add one: CONTRIBUTING.md.
 */
#ifndef MCMC_LOSSES_H
#define MCMC_LOSSES_H

#include "numerics.h"

typedef struct {
    double margin, sharpness;
} loss_params;

/* out[mu] = loss of label y[mu] at output f[mu]; n a multiple of 8 */
typedef void (*losses_fn)(const double *y, const double *f, int64_t n, const loss_params *p, double *out);

/* loss, and its derivative by the output: of n rows of `width` outputs f (n, width), row mu with label y[mu]. n a multiple of 8; width 1, or
 * a multiple of 8. A loss that is a step has derivative 0. */
typedef void (*slopes_fn)(const double *y, const double *f, int64_t n, int64_t width, const loss_params *p, double *loss, double *slope);

#define STABILITY_LOSS_ROWS(ROW) ROW(error_count) ROW(hinge) ROW(squared_hinge) ROW(logistic) ROW(symmetric)
#define LOSS_ROWS(ROW) STABILITY_LOSS_ROWS(ROW) ROW(square)

#define LOSS_CODE(name) CODE_##name,
enum { LOSS_ROWS(LOSS_CODE) N_LOSSES };
#undef LOSS_CODE

/* True if a loss is one of STABILITY_LOSS_ROWS. */
static inline int loss_is_of_stability(int code)
{
    return code < CODE_square;
}

/* True if a loss costs more to compute than to load. */
static inline __attribute__((always_inline)) int loss_is_dear(int code)
{
    return code == CODE_logistic;
}

/* Their names, by code, as C spells them. */
#define LOSS_NAME(name) #name,
static const char *const loss_names[] = {LOSS_ROWS(LOSS_NAME)};
#undef LOSS_NAME

#define ONE_WHERE(mask) REALS_SELECT(mask, REALS_ALL(1.0), REALS_ALL(0.0))

#define ISA_BODY "losses_body.h"
#include "each_isa.h"

#define LOSSES(name) ISA_TABLE(losses_##name),
static const losses_fn losses_functions[N_LOSSES][N_ISA] = {LOSS_ROWS(LOSSES)};
#undef LOSSES

#define SLOPES(name) ISA_TABLE(slopes_##name),
static const slopes_fn slopes_functions[N_LOSSES][N_ISA] = {LOSS_ROWS(SLOPES)};
#undef SLOPES

/* True if a loss has a derivative that says where to go. */
static inline int loss_has_slope(int code)
{
    return code != CODE_error_count && code != CODE_symmetric;
}

static inline slopes_fn slopes_of(int code, int level)
{
    return slopes_functions[code][level];
}

static inline losses_fn losses_of(int code, int level)
{
    return losses_functions[code][level];
}

#endif
