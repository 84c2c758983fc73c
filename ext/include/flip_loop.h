/* The inner loop of the single-flip samplers, once per family, loss and instruction-set level. Before including it define
 *   LOOP                        name of the function
 *   VIEW, OPEN(model, walker)   what the loop keeps at hand of a walker, and how to get it
 *   DELTA(view, site)           energy change of a flip: int64_t if INTEGER_DELTA is 1, else double
 *   COMMIT(view, site, delta)   carry out the flip
 * It undefines them. Everything is inlined; the only branch a rejected proposal meets is the rejection. */

ISA_CODE int64_t FN(LOOP)(void *model, int64_t walker, const flip_moves *m)
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

#undef LOOP
#undef VIEW
#undef OPEN
#undef DELTA
#undef COMMIT
#undef INTEGER_DELTA
