/* The losses as functions of the stability D, one row each: eight lanes at a time, the same bits everywhere.
 *
 * A new loss is a function, a row in LOSS_ROWS, and its entry in mcmc/losses.py and in the numpy twin.
 */
#ifndef MCMC_LOSSES_H
#define MCMC_LOSSES_H

#include "numerics.h"

typedef struct {
    double margin, sharpness;
} loss_params;

#define F8_ONE_WHERE(mask) F8_SELECT(mask, F8_ALL(1.0), F8_ALL(0.0))

/* `tie` is the stability below which a pattern is an error at margin 0: 0 for label +1; for label -1 the smallest positive number,
 * because sign(0) = +1 makes D = 0 an error there. The other losses have no use for it. */
NUM_INLINE F8 loss_error_count(F8 d, F8 tie, const loss_params *p)
{
    return p->margin == 0.0 ? F8_ONE_WHERE(d < tie) : F8_ONE_WHERE(d < p->margin);
}

NUM_INLINE F8 loss_hinge(F8 d, F8 tie, const loss_params *p)
{
    F8 short_by = p->margin - d;
    return F8_SELECT(short_by > 0.0, short_by, F8_ALL(0.0));
}

NUM_INLINE F8 loss_squared_hinge(F8 d, F8 tie, const loss_params *p)
{
    F8 short_by = loss_hinge(d, tie, p);
    return 0.5 * (short_by * short_by);
}

NUM_INLINE F8 loss_logistic(F8 d, F8 tie, const loss_params *p)
{
    return num_softplus(-p->sharpness * (d - p->margin)) / p->sharpness;
}

NUM_INLINE F8 loss_symmetric(F8 d, F8 tie, const loss_params *p)
{
    return F8_ONE_WHERE((d > p->margin) | (d < -p->margin));
}

#define LOSS_ROWS(ROW) ROW(error_count) ROW(hinge) ROW(squared_hinge) ROW(logistic) ROW(symmetric)

#define LOSS_CODE(name) CODE_##name,
enum { LOSS_ROWS(LOSS_CODE) N_LOSSES };
#undef LOSS_CODE

/* One value; for tables and tests. */
static inline double loss_value(int code, double d, double tie, const loss_params *p)
{
    switch (code) {
#define LOSS_CASE(name) case CODE_##name: return loss_##name(F8_ALL(d), F8_ALL(tie), p)[0];
        LOSS_ROWS(LOSS_CASE)
#undef LOSS_CASE
    }
    return NAN;
}

#endif
