/* bitslice.h for one instruction-set level and one kind of loss, once for any number of groups and once each for 1 and 2, where the
 * loops over words unroll. Before including it define KIND (name), CODE (its number) and INTEGER (1 if energies are integers). It undefines
 * them. */

#define KN(name) FN(ISA_JOIN(ISA_JOIN(bitslice, name), KIND))

ISA_CODE void KN(rebuild)(void *model, int64_t walker)
{
    bitslice_view v = bitslice_open(model, walker);
    FN(bitslice_rebuild)(&v, CODE);
    *v.energy = (double)*v.total * v.m->unit;
}

#if INTEGER
#define KIND_DELTA(view, site, groups) FN(bitslice_delta)(view, site, CODE, groups)
#define KIND_DELTAS(view, out, groups) FN(bitslice_deltas)(view, out, CODE, groups)
INLINE void KN(commit)(bitslice_view *v, int64_t site, int64_t delta, const int groups)
{
    FN(bitslice_commit)(v, site, CODE, groups);
    *v->energy += (double)delta;
}
#else
#define KIND_DELTA(view, site, groups) ((double)FN(bitslice_delta)(view, site, CODE, groups) * (view)->m->unit)
#define KIND_DELTAS(view, out, groups) \
    for (int64_t site = 0; site < (view)->m->n_sites; site++) \
    (out)[site] = KIND_DELTA(view, site, groups)
INLINE void KN(commit)(bitslice_view *v, int64_t site, double delta, const int groups)
{
    FN(bitslice_commit)(v, site, CODE, groups);
    /* exact: delta is an integer number of units, and so is the sum */
    *v->total += (int64_t)(delta / v->m->unit);
    *v->energy = (double)*v->total * v->m->unit;
}
#endif

#define INTEGER_DELTA INTEGER
#define LOOP ISA_JOIN(ISA_JOIN(bitslice, KIND), any)
#define MODEL bitslice_model
#define VIEW bitslice_view
#define OPEN bitslice_open
#define DELTA(view, site) KIND_DELTA(view, site, 0)
#define COMMIT(view, site, delta) KN(commit)(view, site, delta, 0)
#define DELTAS(view, out) KIND_DELTAS(view, out, 0)
#include "flip_loop.h"

#define INTEGER_DELTA INTEGER
#define LOOP ISA_JOIN(ISA_JOIN(bitslice, KIND), 1)
#define MODEL bitslice_model
#define VIEW bitslice_view
#define OPEN bitslice_open
#define DELTA(view, site) KIND_DELTA(view, site, 1)
#define COMMIT(view, site, delta) KN(commit)(view, site, delta, 1)
#define DELTAS(view, out) KIND_DELTAS(view, out, 1)
#include "flip_loop.h"

#define INTEGER_DELTA INTEGER
#define LOOP ISA_JOIN(ISA_JOIN(bitslice, KIND), 2)
#define MODEL bitslice_model
#define VIEW bitslice_view
#define OPEN bitslice_open
#define DELTA(view, site) KIND_DELTA(view, site, 2)
#define COMMIT(view, site, delta) KN(commit)(view, site, delta, 2)
#define DELTAS(view, out) KIND_DELTAS(view, out, 2)
#include "flip_loop.h"

#undef KN
#undef KIND
#undef CODE
#undef INTEGER
#undef KIND_DELTA
#undef KIND_DELTAS
