/* What the samplers call, once per family, loss and instruction-set level: a flip_functions named LOOP. Before including it define
 *   LOOP                        name of the struct
 *   MODEL                       type of the model, with n_sites
 *   VIEW, OPEN(model, walker)   what the loop keeps at hand of a walker, and how to get it
 *   DELTA(view, site)           energy change of a flip: int64_t if INTEGER_DELTA is 1, else double
 *   COMMIT(view, site, delta)   carry out the flip
 *   DELTAS(view, out)           if there is a faster way to the energy changes of all flips than one by one
 * It undefines them. Everything is inlined; the only branch a rejected proposal meets is the rejection. */

#if INTEGER_DELTA
#define flip_accepted flip_accepted_integer
#define DELTA_TYPE int32_t
#else
#define flip_accepted flip_accepted_real
#define DELTA_TYPE double
#endif
#define PART(part) FN(ISA_JOIN(LOOP, part))

ISA_CODE int64_t PART(flips)(void *model, int64_t walker, const flip_moves *m)
{
    VIEW view = OPEN(model, walker);
    const flip_moves moves = *m;
    int64_t accepted = 0;
    for (int64_t k = 0;; k++) {
        DELTA_TYPE delta = 0;
        /* no store in here: what DELTA reads of the walker may stay in registers from one rejection to the next */
        for (; k < moves.n; k++) {
            delta = (DELTA_TYPE)DELTA(&view, moves.sites[k]);
            if (flip_accepted(&moves, k, delta))
                break;
        }
        if (k == moves.n)
            return accepted;
        COMMIT(&view, moves.sites[k], delta);
        accepted++;
    }
}

ISA_CODE double PART(delta)(void *model, int64_t walker, int64_t site)
{
    VIEW view = OPEN(model, walker);
    return (double)DELTA(&view, site);
}

ISA_CODE void PART(deltas)(void *model, int64_t walker, void *deltas)
{
    VIEW view = OPEN(model, walker);
    DELTA_TYPE *out = deltas;
#ifdef DELTAS
    DELTAS(&view, out);
#else
    const int64_t n_sites = ((const MODEL *)model)->n_sites;
    for (int64_t site = 0; site < n_sites; site++)
        out[site] = (DELTA_TYPE)DELTA(&view, site);
#endif
}

ISA_CODE void PART(flip)(void *model, int64_t walker, int64_t site)
{
    VIEW view = OPEN(model, walker);
    COMMIT(&view, site, DELTA(&view, site));
}

static const flip_functions FN(LOOP) = {PART(flips), PART(delta), PART(deltas), PART(flip)};

#undef PART
#undef DELTA_TYPE
#undef flip_accepted
#undef LOOP
#undef MODEL
#undef VIEW
#undef OPEN
#undef DELTA
#undef COMMIT
#undef DELTAS
#undef INTEGER_DELTA
