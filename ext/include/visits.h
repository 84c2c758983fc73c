/* Which sites the walkers of a copy visit in a sweep, and how the visits are dealt out over the walkers.
 *
 * The walkers of a copy visit the sites in one common order, keyed by (seed, instance, copy, sweep), with uniforms of their own: each
 * walker is a chain with the right stationary law for any sequence of sites, so walkers in equilibrium stay independent. In return the
 * block goes through the pattern columns once for all rungs: a tile of visits is made by every walker of the copy before the next. Copies
 * do not share the order: where nearly every move is accepted, their overlap would hardly change.
 */
#ifndef MCMC_VISITS_H
#define MCMC_VISITS_H

#include "chain.h"
#include "philox.h"

#define CHUNK 256           /* proposals whose uniforms are made at a time; a multiple of 8 */
#define TILE_BYTES 16384    /* of pattern columns that are used by all walkers of a copy one after the other */
#define LEAST_TILE 16       /* proposals; a multiple of 8 */

enum { ORDER_RANDOM, ORDER_SEQUENTIAL };

typedef struct {
    int level; /* instruction set */
    int order;
    int64_t n_sites, site_bytes; /* site_bytes: of the instance, that a visit reads */
    const uint64_t *site_key;    /* (n_copies,) */
    const uint64_t *move_key;    /* (n_walkers,) of the uniforms */
    const int8_t *absent;        /* (n_rungs,): 1 where walkers visit nothing; or NULL */
    int32_t *sites;              /* (n_sites rounded up to 4,): those of the sweep */
    uint16_t *high;              /* (n_walkers, CHUNK): scratch */
} visits;

/* Proposals slot .. slot + n - 1 of a walker, whose uniforms have the highest bits `high`. */
typedef void (*visits_make_fn)(const void *run, int64_t copy, int64_t walker, int64_t rung, int64_t sweep, int64_t slot, int64_t n,
                               const uint16_t *high);

#define ISA_BODY "visits_body.h"
#include "each_isa.h"

typedef void (*visits_scale_fn)(int64_t n, int64_t bound, int32_t *words);
static const visits_scale_fn visits_scale[N_ISA] = ISA_TABLE(visits_scale);

/* n integers uniform in [0, bound), to 2^-32, into room for n rounded up to 4. */
static inline void visits_draw(int level, uint64_t key, int64_t sweep, int64_t n, int64_t bound, int32_t *out)
{
    philox_fill[level](key, sweep, 0, (n + 3) / 4, HALF_HIGH, (uint32_t *)out);
    visits_scale[level](n, bound, out);
}

/* The sites of a sweep of a copy, in order. Any law of the visits keeps the measure; the random one is uniform. */
static inline void visits_choose(const visits *v, int64_t copy, int64_t sweep)
{
    if (v->order == ORDER_RANDOM)
        visits_draw(v->level, v->site_key[copy], sweep, v->n_sites, v->n_sites, v->sites);
    else
        for (int64_t k = 0; k < v->n_sites; k++)
            v->sites[k] = (int32_t)k;
}

/* Proposals that a walker makes before the next one takes its turn: such that their columns stay in the first-level cache. */
static inline int64_t visits_tile(int64_t site_bytes)
{
    const int64_t fit = TILE_BYTES / (site_bytes > 0 ? site_bytes : 1) & ~(int64_t)7;
    return fit < LEAST_TILE ? LEAST_TILE : fit < CHUNK ? fit : CHUNK;
}

/* All visits of walkers first .. last - 1 of the block, which belong to one copy, at the sites of the sweep. */
static inline __attribute__((always_inline)) void visits_deal(const visits *v, const chain_run *c, int64_t copy, int64_t first, int64_t last,
                                                              int64_t sweep, visits_make_fn make, const void *run)
{
    const int64_t tile = last - first > 1 ? visits_tile(v->site_bytes) : CHUNK;
    for (int64_t chunk = 0; chunk < v->n_sites; chunk += CHUNK) {
        const int64_t end = v->n_sites - chunk < CHUNK ? v->n_sites : chunk + CHUNK, blocks = (end - chunk + 7) / 8;
        for (int64_t w = first; w < last; w++)
            if (!v->absent || !v->absent[chain_rung_of(c, w)])
                philox_fill[v->level](v->move_key[w], sweep, chunk / 8, blocks, HALF_HIGH, (uint32_t *)(v->high + w * CHUNK));
        for (int64_t slot = chunk; slot < end; slot += tile)
            for (int64_t w = first; w < last; w++) {
                const int64_t rung = chain_rung_of(c, w);
                if (!v->absent || !v->absent[rung])
                    make(run, copy, w, rung, sweep, slot, end - slot < tile ? end - slot : tile, v->high + w * CHUNK + (slot - chunk));
            }
    }
}

#endif
