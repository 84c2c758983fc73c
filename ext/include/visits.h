/* Which sites the walkers of a copy visit in a sweep, and how the visits are dealt out over the walkers.
 *
 * The walkers of a copy visit the sites in one common order, keyed by (seed, instance, copy, sweep), with uniforms of their own: each
 * walker is a chain with the right stationary law for any sequence of sites, so walkers in equilibrium stay independent. In return the
 * block goes through the pattern columns once for all rungs: a tile of visits is made by every walker of the copy before the next. Copies
 * do not share the order: where nearly every move is accepted, their overlap would hardly change.
 */
#ifndef MCMC_VISITS_H
#define MCMC_VISITS_H

#include "philox.h"

#define CHUNK 256           /* proposals whose uniforms are made at a time; a multiple of 8 */
#define TILE_BYTES 16384    /* of pattern columns that are used by all walkers of a copy one after the other */
#define LEAST_TILE 16       /* proposals; a multiple of 8 */

enum { ORDER_RANDOM, ORDER_SEQUENTIAL };

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

/* The n sites of a sweep, in order. Any law of the visits keeps the measure; the random one is uniform. */
static inline void visits_fill(int level, int order, uint64_t key, int64_t sweep, int64_t n, int32_t *sites)
{
    if (order == ORDER_RANDOM)
        visits_draw(level, key, sweep, n, n, sites);
    else
        for (int64_t k = 0; k < n; k++)
            sites[k] = (int32_t)k;
}

/* Proposals that a walker makes before the next one takes its turn: such that their columns stay in the first-level cache. */
static inline int64_t visits_tile(int64_t site_bytes)
{
    const int64_t fit = TILE_BYTES / (site_bytes > 0 ? site_bytes : 1) & ~(int64_t)7;
    return fit < LEAST_TILE ? LEAST_TILE : fit < CHUNK ? fit : CHUNK;
}

#endif
