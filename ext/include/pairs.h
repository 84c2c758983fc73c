/* Pair flips: a site that agrees with a reference and one that does not flip together, so that the overlap with the reference stays.
 * A part of flips.h, which says what a flip_run is.
 *
 * A proposal takes the first site uniformly among those that agree, the second uniformly among the others, and accepts the two flips
 * together by the rule of single flips: there are as many ways back as there are ways to go. For that the sites are arranged at the
 * start of a sweep, first those that agree, and an accepted pair changes places. The next proposal depends on the weights alone
 * and not on how the sites lie within their halves, so the arrangement is forgotten at the end of the sweep: it is no state.
 *
 * Unlike single flips the walkers of a copy do not share their proposals: their arrangements differ, so nothing would be saved.
 */
#ifndef MCMC_PAIRS_H
#define MCMC_PAIRS_H

/* Sites that agree in order, then the others, last first; returns the number of the former. */
static int64_t pairs_arrange(const int8_t *weights, const int8_t *reference, int64_t n_sites, int32_t *sites)
{
    int64_t low = 0, high = n_sites - 1;
    for (int64_t i = 0; i < n_sites; i++) {
        const int agrees = weights[i] == reference[i];
        sites[low] = sites[high] = (int32_t)i;
        low += agrees;
        high -= !agrees;
    }
    return low;
}

/* One sweep of a walker: n_sites proposals. Returns the number of accepted pairs. */
static int64_t pairs_sweep(const flip_run *r, int64_t walker, int64_t rung, int64_t sweep)
{
    const flip_target *t = r->target;
    const visits *v = &r->visits;
    const int64_t n = t->n_sites, n_agree = pairs_arrange(t->weights + walker * n, r->reference, n, v->sites);
    flip_moves moves = flips_moves(r, walker, rung, sweep);
    uint32_t place_high[CHUNK], place_low[CHUNK];
    uint16_t high[CHUNK];
    int64_t accepted = 0;
    if (n_agree == 0 || n_agree == n)
        return 0;
    for (int64_t slot = 0; slot < n; slot += CHUNK) {
        const int64_t chunk = n - slot < CHUNK ? n - slot : CHUNK, blocks = (chunk + 7) / 8;
        moves.decisions.slot = slot;
        moves.decisions.high = high;
        philox_fill[v->level](v->site_key[walker], sweep, slot / 4, 2 * blocks, HALF_HIGH, place_high);
        philox_fill[v->level](v->site_key[walker], sweep, slot / 4, 2 * blocks, HALF_LOW, place_low);
        philox_fill[v->level](v->move_key[walker], sweep, slot / 8, blocks, HALF_HIGH, (uint32_t *)high);
        for (int64_t k = 0; k < chunk; k++) {
            /* 64 bits for both places: the second takes what the first leaves; uniform to n^2/4 parts in 2^64 */
            const unsigned __int128 first = (unsigned __int128)((uint64_t)place_high[k] << 32 | place_low[k]) * (uint64_t)n_agree;
            const unsigned __int128 second = (unsigned __int128)(uint64_t)first * (uint64_t)(n - n_agree);
            int32_t *a = v->sites + (int64_t)(first >> 64), *b = v->sites + n_agree + (int64_t)(second >> 64);
            const double before = t->energy[walker];
            t->call.flip(t->model, walker, *a);
            const double delta = t->energy[walker] - before + t->call.delta(t->model, walker, *b);
            const int accept = t->max_delta ? flip_accepted_integer(&moves, k, (int64_t)delta) : flip_accepted_real(&moves, k, delta);
            t->call.flip(t->model, walker, accept ? *b : *a);
            if (accept) {
                const int32_t site = *a;
                *a = *b;
                *b = site;
            }
            accepted += accept;
        }
    }
    return accepted;
}

#endif
