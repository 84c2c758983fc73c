/* The losses as functions of the stability D: a vector register at a time, the same bits everywhere.
 *
 * A new loss is a function in losses_body.h, a row in LOSS_ROWS, its two lines in fields_body.h, its name and formula in
 * mcmc/losses.py, and the plain formula in mcmc/reference/losses.py.
 */
#ifndef MCMC_LOSSES_H
#define MCMC_LOSSES_H

#include "numerics.h"

typedef struct {
    double margin, sharpness;
} loss_params;

#define ONE_WHERE(mask) REALS_SELECT(mask, REALS_ALL(1.0), REALS_ALL(0.0))

#define ISA_BODY "losses_body.h"
#include "each_isa.h"

#define LOSS_ROWS(ROW) ROW(error_count) ROW(hinge) ROW(squared_hinge) ROW(logistic) ROW(symmetric)

#define LOSS_CODE(name) CODE_##name,
enum { LOSS_ROWS(LOSS_CODE) N_LOSSES };
#undef LOSS_CODE

/* Their names, by code, as C spells them. */
#define LOSS_NAME(name) #name,
static const char *const loss_names[] = {LOSS_ROWS(LOSS_NAME)};
#undef LOSS_NAME

/* One value; for tables and tests. */
static inline double loss_value(int code, double d, double tie, const loss_params *p)
{
    switch (code) {
#define LOSS_CASE(name) case CODE_##name: return loss_##name##_portable((reals_portable){d, d}, (reals_portable){tie, tie}, p)[0];
        LOSS_ROWS(LOSS_CASE)
#undef LOSS_CASE
    }
    return NAN;
}

#endif
