/* fields.h for one instruction-set level and one LOSS, which it undefines. */

#define LN(name) FN(ISA_JOIN(name, LOSS))

/* Fields, losses and energy from the weights. */
ISA_CODE void LN(fields_load)(void *model, int64_t walker)
{
    fields_view v = fields_open(model, walker);
    memset(v.field, 0, sizeof(double) * v.m->stride);
    for (int64_t i = 0; i < v.m->n_sites; i++)
        fields_add(v.weights[i], v.m->columns + i * v.m->stride, v.m->stride, v.field);
    for (int64_t mu = 0; mu < v.m->stride; mu += 8)
        *(F8 *)(v.loss + mu) = ISA_JOIN(loss, LOSS)(*(F8 *)(v.field + mu) * v.m->scale, *(const F8 *)(v.m->tie + mu), &v.m->params);
    F8 sum = F8_ALL(0.0);
    for (int64_t mu = 0; mu < v.m->n_patterns; mu++)
        sum[mu % 8] += v.loss[mu];
    *v.energy = fields_pairwise(sum);
}

INLINE double LN(fields_delta)(const fields_view *v, int64_t site)
{
    const double *column = v->m->columns + site * v->m->stride, step = -2.0 * v->weights[site];
    F8 sum = F8_ALL(0.0);
    for (int64_t mu = 0; mu < v->m->stride; mu += 8) {
        F8 field = *(F8 *)(v->field + mu) + step * *(const F8 *)(column + mu);
        sum += ISA_JOIN(loss, LOSS)(field * v->m->scale, *(const F8 *)(v->m->tie + mu), &v->m->params) - *(F8 *)(v->loss + mu);
    }
    return fields_pairwise(sum);
}

INLINE void LN(fields_commit)(fields_view *v, int64_t site, double delta)
{
    const double *column = v->m->columns + site * v->m->stride, step = -2.0 * v->weights[site];
    for (int64_t mu = 0; mu < v->m->stride; mu += 8) {
        F8 field = *(F8 *)(v->field + mu) + step * *(const F8 *)(column + mu);
        *(F8 *)(v->field + mu) = field;
        *(F8 *)(v->loss + mu) = ISA_JOIN(loss, LOSS)(field * v->m->scale, *(const F8 *)(v->m->tie + mu), &v->m->params);
    }
    v->weights[site] = -v->weights[site];
    *v->energy += delta;
}

#define INTEGER_DELTA 0
#define LOOP ISA_JOIN(fields_flips, LOSS)
#define VIEW fields_view
#define OPEN fields_open
#define DELTA LN(fields_delta)
#define COMMIT LN(fields_commit)
#include "flip_loop.h"

#undef LN
#undef LOSS
