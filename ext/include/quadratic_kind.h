/* quadratic.h for one instruction-set level and one type of coupling. Before including it define KIND (name), ITEM (type of the
 * coupling) and FIELD (type of the field). It undefines them. */

#define KN(name) FN(ISA_JOIN(name, KIND))

typedef struct {
    const quadratic_model *m;
    const ITEM *coupling;
    FIELD *field;
    int8_t *weights;
    double *energy;
} KN(quadratic_view);

INLINE KN(quadratic_view) KN(quadratic_open)(const quadratic_model *m, int64_t walker)
{
    return (KN(quadratic_view)){.m = m, .coupling = m->coupling, .field = (FIELD *)m->field + walker * m->stride,
                                .weights = m->weights + walker * m->n_sites, .energy = m->energy + walker};
}

/* Energy from field and weights, added in the order of the sites: E = |y|^2/2 - sum_i w_i (b_i - (A w)_i / 2). */
ISA_CODE void KN(quadratic_energy)(void *model, int64_t walker)
{
    KN(quadratic_view) v = KN(quadratic_open)(model, walker);
    double sum = 0;
    for (int64_t i = 0; i < v.m->n_sites; i++)
        sum += v.weights[i] * (v.m->bias[i] - 0.5 * (v.m->unit * (double)v.field[i]));
    *v.energy = v.m->constant - sum;
}

/* Field and energy from the weights; the sum over sites in order, lanes over fields. */
ISA_CODE void KN(quadratic_load)(void *model, int64_t walker)
{
    KN(quadratic_view) v = KN(quadratic_open)(model, walker);
    memset(v.field, 0, sizeof(FIELD) * v.m->stride);
    for (int64_t i = 0; i < v.m->n_sites; i++) {
        const ITEM *restrict row = v.coupling + i * v.m->stride;
        FIELD *restrict field = v.field;
        const FIELD w = v.weights[i];
        for (int64_t j = 0; j < v.m->n_sites; j++)
            field[j] += w * row[j];
    }
    KN(quadratic_energy)(model, walker);
}

INLINE double KN(quadratic_delta)(const KN(quadratic_view) *v, int64_t site)
{
    const double force = v->m->bias[site] - v->m->unit * (double)v->field[site];
    return 2.0 * (v->weights[site] * force + v->m->self[site]);
}

INLINE void KN(quadratic_commit)(KN(quadratic_view) *v, int64_t site, double delta)
{
    const ITEM *restrict row = v->coupling + site * v->m->stride;
    FIELD *restrict field = v->field;
    const FIELD step = -2 * v->weights[site];
    for (int64_t j = 0; j < v->m->stride; j++)
        field[j] += step * row[j];
    v->weights[site] = -v->weights[site];
    *v->energy += delta;
}

#define INTEGER_DELTA 0
#define LOOP ISA_JOIN(quadratic, KIND)
#define MODEL quadratic_model
#define VIEW KN(quadratic_view)
#define OPEN KN(quadratic_open)
#define DELTA KN(quadratic_delta)
#define COMMIT KN(quadratic_commit)
#include "flip_loop.h"

#undef KN
#undef KIND
#undef ITEM
#undef FIELD
