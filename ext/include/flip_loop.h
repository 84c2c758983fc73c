/* What the samplers call, once per family, loss and instruction-set level: a flip_functions named LOOP. Before including it define
 *   LOOP                        name of the struct
 *   MODEL                       type of the model, with n_sites
 *   VIEW, OPEN(model, walker)   what the loop keeps at hand of a walker, and how to get it
 *   DELTA(view, site)           energy change of a flip: int64_t if INTEGER_DELTA is 1, else double
 *   COMMIT(view, site, delta)   carry out the flip
 * It undefines them. Everything is inlined; the only branch a rejected proposal meets is the rejection. */

#define PART(part) FN(ISA_JOIN(LOOP, part))
#if INTEGER_DELTA
#define DELTA_TYPE int32_t
#else
#define DELTA_TYPE double
#endif

ISA_CODE int64_t PART(flips)(void *model, int64_t walker, const flip_moves *m)
{
    VIEW view = OPEN(model, walker);
    int64_t accepted = 0;
    for (int64_t k = 0; k < m->n; k++) {
        const int32_t site = m->sites[k];
#if INTEGER_DELTA
        const int64_t delta = DELTA(&view, site);
        const uint64_t threshold = m->thresholds[delta];
        const uint32_t high = m->high[k], bound = (uint32_t)(threshold >> 32);
        if (__builtin_expect(high >= bound, 1)) {
            /* the high half decides but in one case of 2^32 */
            if (high > bound || philox_word(m->key, m->row, m->slot + k, HALF_LOW) > (uint32_t)threshold)
                continue;
        }
#else
        const double delta = DELTA(&view, site);
        if (!(m->beta * delta < m->variates[k]))
            continue;
#endif
        COMMIT(&view, site, delta);
        accepted++;
    }
    return accepted;
}

ISA_CODE double PART(delta)(void *model, int64_t walker, int64_t site)
{
    VIEW view = OPEN(model, walker);
    return (double)DELTA(&view, site);
}

ISA_CODE void PART(deltas)(void *model, int64_t walker, void *deltas)
{
    VIEW view = OPEN(model, walker);
    const int64_t n_sites = ((const MODEL *)model)->n_sites;
    DELTA_TYPE *out = deltas;
    for (int64_t site = 0; site < n_sites; site++)
        out[site] = (DELTA_TYPE)DELTA(&view, site);
}

ISA_CODE void PART(flip)(void *model, int64_t walker, int64_t site)
{
    VIEW view = OPEN(model, walker);
    COMMIT(&view, site, DELTA(&view, site));
}

static const flip_functions FN(LOOP) = {PART(flips), PART(delta), PART(deltas), PART(flip)};

#undef PART
#undef DELTA_TYPE

#undef LOOP
#undef MODEL
#undef VIEW
#undef OPEN
#undef DELTA
#undef COMMIT
#undef INTEGER_DELTA
