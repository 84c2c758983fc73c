/* fields.h for one instruction-set level and one LOSS, which it undefines. */

#define LN(name) FN(ISA_JOIN(name, LOSS))

/* Losses of the patterns from mu on at the given fields. */
INLINE REALS LN(loss_at)(const fields_view *v, REALS field, int64_t mu)
{
    return FN(ISA_JOIN(loss, LOSS))(field * v->m->scale, *(const REALS *)(v->m->tie + mu), &v->m->params);
}

/* Fields, losses and energy from the weights. */
ISA_CODE void LN(fields_load)(void *model, int64_t walker)
{
    fields_view v = fields_open(model, walker);
    memset(v.field, 0, sizeof(double) * v.m->stride);
    for (int64_t i = 0; i < v.m->n_sites; i++)
        fields_add(v.weights[i], v.m->columns + i * v.m->stride, v.m->stride, v.field);
    for (int64_t mu = 0; mu < v.m->stride; mu += N_REALS)
        *(REALS *)(v.loss + mu) = LN(loss_at)(&v, *(REALS *)(v.field + mu), mu);
    double sum[8] = {0};
    for (int64_t mu = 0; mu < v.m->n_patterns; mu++)
        sum[mu % 8] += v.loss[mu];
    *v.energy = fields_total(sum);
}

INLINE double LN(fields_delta)(const fields_view *v, int64_t site)
{
    const double *column = v->m->columns + site * v->m->stride, step = -2.0 * v->weights[site];
    REALS sum[8 / N_REALS] = {{0}};
    for (int64_t mu = 0; mu < v->m->stride; mu += 8)
        for (int64_t k = 0; k < 8 / N_REALS; k++) {
            const int64_t at = mu + k * N_REALS;
            const REALS field = *(REALS *)(v->field + at) + step * *(const REALS *)(column + at);
            sum[k] += LN(loss_at)(v, field, at) - *(REALS *)(v->loss + at);
        }
    return fields_total((const double *)sum);
}

INLINE void LN(fields_commit)(fields_view *v, int64_t site, double delta)
{
    const double *column = v->m->columns + site * v->m->stride, step = -2.0 * v->weights[site];
    for (int64_t mu = 0; mu < v->m->stride; mu += N_REALS) {
        const REALS field = *(REALS *)(v->field + mu) + step * *(const REALS *)(column + mu);
        *(REALS *)(v->field + mu) = field;
        *(REALS *)(v->loss + mu) = LN(loss_at)(v, field, mu);
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

#undef LN
#undef LOSS
