/* The perceptron of fields.h for one instruction-set level and one LOSS of the stability, which it undefines. */

#define LN(name) FN(ISA_JOIN(name, LOSS))
#define KEPT loss_is_dear(ISA_JOIN(CODE, LOSS))

/* Losses of the patterns from mu on at the given fields. */
INLINE REALS LN(loss_at)(const fields_model *m, REALS field, int64_t mu)
{
    return LN(loss)(field * m->output_scale, *(const REALS *)(m->tie + mu), &m->params);
}

/* Energy difference of a flip. Only a dear loss is left in new_loss: to store another takes longer than to compute it again. */
INLINE double LN(fields_delta)(const fields_view *v, int64_t site)
{
    const fields_model m = *v->m; /* a copy: no store below can change it */
    const double *column = m.columns + site * m.stride, step = -2.0 * v->weights[site];
    const double *field = v->field, *loss = v->loss;
    REALS sum[8 / N_REALS] = {{0}};
    for (int64_t mu = 0; mu < m.stride; mu += 8)
        for (int64_t k = 0; k < 8 / N_REALS; k++) {
            const int64_t at = mu + k * N_REALS;
            const REALS moved = *(const REALS *)(field + at) + step * *(const REALS *)(column + at), after = LN(loss_at)(&m, moved, at);
            sum[k] += after - *(const REALS *)(loss + at);
            if (KEPT)
                *(REALS *)(m.new_loss + at) = after;
        }
    return fields_total((const double *)sum);
}

/* Carries out the flip that fields_delta has looked at. */
INLINE void LN(fields_commit)(fields_view *v, int64_t site, double delta)
{
    const fields_model m = *v->m;
    const double *column = m.columns + site * m.stride, step = -2.0 * v->weights[site];
    double *field = v->field, *loss = v->loss;
    for (int64_t mu = 0; mu < m.stride; mu += N_REALS) {
        const REALS moved = *(const REALS *)(field + mu) + step * *(const REALS *)(column + mu);
        *(REALS *)(field + mu) = moved;
        *(REALS *)(loss + mu) = KEPT ? *(const REALS *)(m.new_loss + mu) : LN(loss_at)(&m, moved, mu);
    }
    v->weights[site] = -v->weights[site];
    *v->energy += delta;
}

#define INTEGER_DELTA 0
#define LOOP ISA_JOIN(fields, LOSS)
#define MODEL fields_model
#define VIEW fields_view
#define OPEN fields_open
#define DELTA LN(fields_delta)
#define COMMIT LN(fields_commit)
#include "flip_loop.h"

#undef KEPT
#undef LN
#undef LOSS
