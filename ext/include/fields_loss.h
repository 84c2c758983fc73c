/* The perceptron of fields.h for one instruction-set level and one LOSS of the stability, which it undefines. */

#define LN(name) FN(ISA_JOIN(name, LOSS))
#define KEPT loss_is_dear(ISA_JOIN(CODE, LOSS))

/* Losses of the patterns from mu on at the given fields. */
INLINE REALS LN(loss_at)(const fields_model *m, REALS field, int64_t mu)
{
    return LN(loss)(field * m->output_scale, *(const REALS *)(m->tie + mu), &m->params);
}

/* Energy difference of a move. Only a dear loss is left in new_loss: to store another takes longer than to compute it again. */
INLINE double LN(fields_delta)(const fields_view *v, const fields_move *move, int two)
{
    const fields_model m = *v->m; /* copies: no store below can change them */
    const fields_move by = *move;
    const double *field = v->field, *loss = v->loss;
    REALS sum[8 / N_REALS] = {{0}};
    for (int64_t mu = 0; mu < m.stride; mu += 8)
        for (int64_t k = 0; k < 8 / N_REALS; k++) {
            const int64_t at = mu + k * N_REALS;
            const REALS after = LN(loss_at)(&m, FN(fields_moved)(field, &by, two, at), at);
            sum[k] += after - *(const REALS *)(loss + at);
            if (KEPT)
                *(REALS *)(m.new_loss + at) = after;
        }
    return sums_pairwise((const double *)sum, 1);
}

/* Carries out the move that fields_delta has looked at, but for the weights. */
INLINE void LN(fields_commit)(fields_view *v, const fields_move *move, int two, double delta)
{
    const fields_model m = *v->m;
    const fields_move by = *move;
    double *field = v->field, *loss = v->loss;
    for (int64_t mu = 0; mu < m.stride; mu += N_REALS) {
        const REALS moved = FN(fields_moved)(field, &by, two, mu);
        *(REALS *)(field + mu) = moved;
        *(REALS *)(loss + mu) = KEPT ? *(const REALS *)(m.new_loss + mu) : LN(loss_at)(&m, moved, mu);
    }
    *v->energy += delta;
}

#define KIND LOSS
#define KIND_DELTA LN(fields_delta)
#define KIND_COMMIT LN(fields_commit)
#include "fields_loops.h"

#undef KEPT
#undef LN
#undef LOSS
