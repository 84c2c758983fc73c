/* Rejection-free single flips: the n-fold way of Bortz, Kalos and Lebowitz, J. Comput. Phys. 17 (1975) 10.
 *
 * Every weight is attempted at rate 1 per sweep, so site i flips at rate a_i, its acceptance probability. With A = sum_i a_i the time to
 * the next flip is exponential with rate A, and the flip is of site i with probability a_i / A. A flip that would come after the end of
 * the sweep is discarded: an exponential time has no memory, and the next sweep draws anew. Slots 2k and 2k + 1 of the sweep's row in the
 * walker's stream are the time and the site of flip k.
 *
 * Design. The energy differences of all sites are kept from flip to flip; a sweep without a flip costs one block of random numbers.
 *   integer energies   Sites of equal dE form a class; A adds count times probability over the classes, dE increasing. A flip is drawn by
 *                      its class, then by its number among the sites of the class. Everything a walker keeps is exact, so that nothing
 *                      depends on how it came about. At low temperature most flips take back the one before: the differences before
 *                      the last flip are kept too, and a walker that goes back needs no new ones.
 *   real energies      A adds the rates of 64 sites in 8 partial sums, then the blocks of 64 in order. Differences are computed after
 *                      each flip and each refresh.
 * What is kept follows from the weights (and float caches), belongs to no checkpoint, and is forgotten when another than this file
 * changes them.
 */
#ifndef MCMC_WAITING_H
#define MCMC_WAITING_H

#include "flip_target.h"
#include "numerics.h"
#include "philox.h"
#include "sums.h"

#define WAITING_BLOCK 64 /* sites whose rates are added first */

typedef struct {
    int32_t known;        /* whether the differences are those of the walker's weights */
    int32_t at;           /* which of two sets of differences and classes is in force; real energies have one */
    int32_t last;         /* site whose flip leads to the other set; -1: it holds nothing */
    int32_t rung;         /* what `total` and `quiet` are of; -1: none */
    int32_t n_classes[2];
    uint64_t quiet;       /* no flip in a sweep whose first uniform has a high half below this */
    double total;         /* A */
} waiting_walker;

typedef struct {
    const flip_target *target;
    int level; /* instruction set */
    const double *beta;        /* (n_rungs,) */
    const double *probability; /* (n_rungs, 2 max_delta + 1) by dE = -max_delta .. max_delta; integer energies */
    const uint64_t *key;       /* (n_walkers,) */
    waiting_walker *walkers;   /* (n_walkers,), zero at first */
    int64_t stride;            /* sites rounded up to WAITING_BLOCK */
    void *deltas;              /* int32_t (n_walkers, 2, stride) for integer energies, else double (n_walkers, stride) */
    int64_t most_classes;      /* room for the classes of a set */
    int32_t *classes;          /* (n_walkers, 2, most_classes, 2): dE and number of sites, dE increasing; integer energies */
    int32_t *counts;           /* (2 max_delta + 1, 4): scratch, zero between calls; integer energies */
    double *rates;             /* (n_walkers, stride), 0 in the padding; real energies */
} waiting_times;

/* Acceptance probability of a flip at beta dE = x, as `acceptance_probability` has it for Metropolis: at beta = 0 the heat bath's. */
#define WAITING_MOST(beta) ((beta) == 0.0 ? 0.5 : 1.0)

#define ISA_BODY "waiting_body.h"
#include "each_isa.h"

typedef int64_t (*waiting_classify_fn)(const int32_t *deltas, int64_t n_sites, int32_t *counts, int32_t *classes);
typedef int64_t (*waiting_find_fn)(const int32_t *deltas, int32_t delta, int64_t number);
typedef void (*waiting_rates_fn)(double beta, const double *deltas, int64_t n_sites, int64_t stride, double *rates);
typedef double (*waiting_block_fn)(const double *rates);
static const waiting_classify_fn waiting_classify[N_ISA] = ISA_TABLE(waiting_classify);
static const waiting_find_fn waiting_find[N_ISA] = ISA_TABLE(waiting_find);
static const waiting_rates_fn waiting_rates[N_ISA] = ISA_TABLE(waiting_rates);
static const waiting_block_fn waiting_block[N_ISA] = ISA_TABLE(waiting_block);

/* Another than this file has changed the walker. */
static inline void waiting_forget(const waiting_times *t, int64_t walker)
{
    t->walkers[walker].known = 0;
}

/* The differences in force, and their classes. */
static inline int32_t *waiting_integers(const waiting_times *t, int64_t walker)
{
    return (int32_t *)t->deltas + (2 * walker + t->walkers[walker].at) * t->stride;
}

static inline int32_t *waiting_classes(const waiting_times *t, int64_t walker)
{
    return t->classes + (2 * walker + t->walkers[walker].at) * t->most_classes * 2;
}

/* Differences, and for integers classes, of the walker as it is. */
static void waiting_learn(const waiting_times *t, int64_t walker)
{
    const flip_target *target = t->target;
    waiting_walker *s = t->walkers + walker;
    if (!target->max_delta) {
        target->call.deltas(target->model, walker, (double *)t->deltas + walker * t->stride);
        return;
    }
    int32_t *deltas = waiting_integers(t, walker);
    target->call.deltas(target->model, walker, deltas);
    for (int64_t i = target->n_sites; i < t->stride; i++)
        deltas[i] = deltas[0]; /* widens no range, and comes after every site of its class */
    s->n_classes[s->at] = (int32_t)waiting_classify[t->level](deltas, target->n_sites, t->counts + 4 * target->max_delta,
                                                              waiting_classes(t, walker));
}

/* A of a walker on a rung. */
static void waiting_add(const waiting_times *t, int64_t walker, int64_t rung)
{
    const flip_target *target = t->target;
    waiting_walker *s = t->walkers + walker;
    double total = 0;
    if (target->max_delta) {
        const double *probability = t->probability + rung * (2 * target->max_delta + 1) + target->max_delta;
        const int32_t *classes = waiting_classes(t, walker);
        for (int64_t c = 0; c < s->n_classes[s->at]; c++)
            total += classes[2 * c + 1] * probability[classes[2 * c]];
    } else {
        double *rates = t->rates + walker * t->stride;
        waiting_rates[t->level](t->beta[rung], (double *)t->deltas + walker * t->stride, target->n_sites, t->stride, rates);
        for (int64_t i = 0; i < t->stride; i += WAITING_BLOCK)
            total += waiting_block[t->level](rates + i);
    }
    s->total = total;
    s->rung = (int32_t)rung;
    s->quiet = (uint64_t)(num_exp1(-total) * 0x1p32); /* u < (high half + 1)/2^32 <= quiet/2^32 <= exp(-A) */
}

/* The site that flips, for a uniform u: the first at which the rates add up to more than u A. Rounding may take the sum past the end of
 * what it is sought in; then it is the last. */
static int64_t waiting_choose(const waiting_times *t, int64_t walker, int64_t rung, double u)
{
    const flip_target *target = t->target;
    const waiting_walker *s = t->walkers + walker;
    double x = u * s->total, below = 0;
    if (target->max_delta) {
        const double *probability = t->probability + rung * (2 * target->max_delta + 1) + target->max_delta;
        const int32_t *class = waiting_classes(t, walker), *last = class + 2 * (s->n_classes[s->at] - 1);
        double up_to = class[1] * probability[class[0]];
        for (; x >= up_to && class < last; class += 2, below = up_to, up_to += class[1] * probability[class[0]])
            ;
        const int64_t number = (int64_t)((x - below) / probability[class[0]]);
        return waiting_find[t->level](waiting_integers(t, walker), class[0], number < class[1] ? number : class[1] - 1);
    }
    const double *rates = t->rates + walker * t->stride;
    int64_t site = 0;
    for (double up_to = waiting_block[t->level](rates); x >= up_to && site + WAITING_BLOCK < t->stride;) {
        site += WAITING_BLOCK;
        below = up_to;
        up_to += waiting_block[t->level](rates + site);
    }
    const int64_t end = site + WAITING_BLOCK < target->n_sites ? site + WAITING_BLOCK : target->n_sites;
    for (x -= below; x >= rates[site] && site + 1 < end; site++)
        x -= rates[site];
    return site;
}

static void waiting_flip(const waiting_times *t, int64_t walker, int64_t site)
{
    waiting_walker *s = t->walkers + walker;
    t->target->call.flip(t->target->model, walker, site);
    if (!t->target->max_delta) {
        waiting_learn(t, walker);
        return;
    }
    s->at ^= 1;
    if (site != s->last) {
        waiting_learn(t, walker);
        s->last = (int32_t)site;
    }
}

/* Uniforms of slots 4 block .. 4 block + 3. */
static void waiting_uniforms(uint64_t key, uint64_t row, uint32_t block, double u[4])
{
    uint32_t high[4] = {block, HALF_HIGH, (uint32_t)row, (uint32_t)(row >> 32)};
    uint32_t low[4] = {block, HALF_LOW, (uint32_t)row, (uint32_t)(row >> 32)};
    philox4x32(high, key);
    philox4x32(low, key);
    for (int j = 0; j < 4; j++)
        u[j] = unit_interval((uint64_t)high[j] << 32 | low[j]);
}

/* The flips of a sweep that may have some; returns their number. A flip comes before the end iff its time -ln(u)/A is less than what is
 * left of the sweep, decided as u > exp(-A left). */
static __attribute__((noinline)) int64_t waiting_flips(const waiting_times *t, int64_t walker, int64_t rung, int64_t sweep)
{
    const waiting_walker *s = t->walkers + walker;
    double left = 1.0, u[4];
    for (int64_t k = 0;; k++) {
        if (k % 2 == 0)
            waiting_uniforms(t->key[walker], sweep, (uint32_t)(k / 2), u);
        const double time = u[2 * (k % 2)], choice = u[2 * (k % 2) + 1];
        if (time <= num_exp1(-s->total * left))
            return k;
        left += num_log1(time) / s->total;
        waiting_flip(t, walker, waiting_choose(t, walker, rung, choice));
        waiting_add(t, walker, rung);
    }
}

/* One sweep, a unit of time, of a walker; returns the number of flips. */
static inline int64_t waiting_sweep(const waiting_times *t, int64_t walker, int64_t rung, int64_t sweep)
{
    waiting_walker *s = t->walkers + walker;
    if (!s->known) {
        waiting_learn(t, walker);
        s->known = 1;
        s->last = s->rung = -1;
    }
    if (s->rung != rung)
        waiting_add(t, walker, rung);
    uint32_t high[4] = {0, HALF_HIGH, (uint32_t)sweep, (uint32_t)((uint64_t)sweep >> 32)};
    philox4x32(high, t->key[walker]);
    return high[0] < s->quiet ? 0 : waiting_flips(t, walker, rung, sweep);
}

#endif
