/* What the samplers call of fields.h, for one instruction-set level and one KIND of machine, over
 *   KIND_DELTA(view, move, two)          energy difference of a move
 *   KIND_COMMIT(view, move, two, delta)  carries it out, but for the weights
 * It undefines them. */

#define KN(name) FN(ISA_JOIN(name, KIND))

INLINE double KN(fields_flip_delta)(const fields_view *v, int64_t site)
{
    const fields_move move = fields_flip(v, site);
    return KIND_DELTA(v, &move, 0);
}

INLINE void KN(fields_flip_commit)(fields_view *v, int64_t site, double delta)
{
    const fields_move move = fields_flip(v, site);
    KIND_COMMIT(v, &move, 0, delta);
    v->signs[site] = -v->signs[site];
}

#define INTEGER_DELTA 0
#define LOOP ISA_JOIN(fields_flips, KIND)
#define MODEL fields_model
#define VIEW fields_view
#define OPEN fields_open
#define DELTA KN(fields_flip_delta)
#define COMMIT KN(fields_flip_commit)
#include "flip_loop.h"

/* One weight becomes w + step xi: it is moved by what the stored numbers differ by. */
ISA_CODE int64_t KN(fields_walk)(void *model, int64_t walker, const coordinate_moves *m)
{
    fields_view view = fields_open(model, walker);
    const coordinate_moves moves = *m;
    int64_t accepted = 0;
    for (int64_t k = 0; k < moves.n; k++) {
        double *w = view.reals + moves.sites[k];
        const double before = *w, after = before + moves.step * moves.noise[k * moves.stride];
        const fields_move move = fields_one(&view, moves.sites[k], after - before);
        const double delta = KIND_DELTA(&view, &move, 0);
        if (!decided(&moves.decisions, k, moves.beta * delta + moves.precision * (0.5 * ((after - before) * (after + before)))))
            continue;
        KIND_COMMIT(&view, &move, 0, delta);
        *w = after;
        accepted++;
    }
    return accepted;
}

/* Two weights of a unit are rotated by the angle step xi. */
ISA_CODE int64_t KN(fields_rotate)(void *model, int64_t walker, const coordinate_moves *m)
{
    fields_view view = fields_open(model, walker);
    const coordinate_moves moves = *m;
    double sine[N_REALS], cosine[N_REALS];
    int64_t accepted = 0;
    for (int64_t k = 0; k < moves.n; k++) {
        if (k % N_REALS == 0)
            FN(fields_angles)(&moves, k, sine, cosine);
        double *w = view.reals + moves.sites[k], *other = view.reals + moves.others[k];
        const double c = cosine[k % N_REALS], s = sine[k % N_REALS], after = c * *w - s * *other, other_after = s * *w + c * *other;
        const fields_move move = fields_two(&view, moves.sites[k], after - *w, moves.others[k], other_after - *other);
        const double delta = KIND_DELTA(&view, &move, 1);
        if (!decided(&moves.decisions, k, moves.beta * delta))
            continue;
        KIND_COMMIT(&view, &move, 1, delta);
        *w = after;
        *other = other_after;
        accepted++;
    }
    return accepted;
}

static const coordinate_functions KN(fields_coordinates) = {KN(fields_walk), KN(fields_rotate)};

#undef KN
#undef KIND
#undef KIND_DELTA
#undef KIND_COMMIT
