/* A sweep of a block of walkers by flips: visits and uniforms, over any flip_target. A rung is sampled by proposals of single flips, as
 * said here, or by waiting times (waiting.h); under a constraint by proposals of pair flips (pairs.h).
 */
#ifndef MCMC_FLIPS_H
#define MCMC_FLIPS_H

#include "acceptance.h"
#include "chain.h"
#include "flip_target.h"
#include "visits.h"
#include "waiting.h"

#define REFRESH_EVERY 1024  /* sweeps between refreshes of float caches, counted from the start of the run */
#define PAIRS_REFRESH_EVERY 64 /* of pair flips, which round at every proposal and not only at those accepted */

#define ISA_BODY "flips_body.h"
#include "each_isa.h"

typedef void (*flips_pack_fn)(const int8_t *weights, int64_t n_units, int64_t fan_in, int64_t n_words, uint64_t *out);
static const flips_pack_fn flips_pack[N_ISA] = ISA_TABLE(flips_pack);
typedef void (*flips_sum_weights_fn)(const uint64_t *rows, int64_t n_rows, int64_t stride, int64_t n_sites, int64_t *sum);
static const flips_sum_weights_fn flips_sum_weights[N_ISA] = ISA_TABLE(flips_sum_weights);

typedef struct {
    chain_run *chain;
    const flip_target *target;
    visits visits;             /* pair flips: with site_key (n_walkers,) */
    int rule;
    const uint64_t *threshold; /* (n_rungs, 2 max_delta + 1), integer energies; pair flips: (n_rungs, 4 max_delta + 1) */
    const int8_t *reference;   /* (n_sites,): pair flips that keep the overlap with it, see pairs.h; NULL: single flips */
    waiting_times waiting;     /* the sampler of the rungs that make no visits, without rule and order */
    int64_t n_words;           /* 64-bit words of the packed weights of a unit, which begin on a word of their own */
    double limits[2][ACCEPTANCE_CELLS][2]; /* by rule, see acceptance.h */
} flip_run;

/* Flips at a rung of a copy; those of the second half of the burn-in are the counts (n_copies, n_rungs) to adapt by. */
static inline void flips_count(const flip_run *r, int64_t copy, int64_t rung, int64_t sweep, int64_t flips)
{
    const chain_run *c = r->chain;
    c->accepted[copy * c->n_rungs + rung] += flips;
    if (c->counts && sweep <= c->burn_in && sweep > c->burn_in / 2)
        c->counts[copy * c->n_rungs + rung] += flips;
}

/* How the proposals of a walker on a rung are decided; which they are is left open. */
static inline flip_moves flips_moves(const flip_run *r, int64_t walker, int64_t rung, int64_t sweep)
{
    const int64_t most = r->target->max_delta * (r->reference ? 2 : 1); /* of |dE|; pair flips change twice as much */
    const double beta = r->chain->beta[rung];
    const int rule = acceptance_rule(r->rule, beta);
    return (flip_moves){.thresholds = r->threshold + rung * (2 * most + 1) + most, .beta = beta,
                        .decisions = {.key = r->visits.move_key[walker], .row = sweep, .rule = rule, .limits = r->limits[rule]}};
}

#include "pairs.h"

/* A visits_make_fn. */
static void flips_make(const void *run, int64_t copy, int64_t walker, int64_t rung, int64_t sweep, int64_t slot, int64_t n,
                       const uint16_t *high)
{
    const flip_run *r = run;
    const flip_target *t = r->target;
    flip_moves moves = flips_moves(r, walker, rung, sweep);
    moves.sites = r->visits.sites + slot;
    moves.n = n;
    moves.decisions.slot = slot;
    moves.decisions.high = high;
    flips_count(r, copy, rung, sweep, t->call.flips(t->model, walker, &moves));
}

/* One sweep of walkers first .. last - 1 of the block, which belong to one copy, with pair flips. */
static void flips_sweep_pairs(const flip_run *r, int64_t copy, int64_t first, int64_t last, int64_t sweep)
{
    for (int64_t w = first; w < last; w++) {
        const int64_t rung = chain_rung_of(r->chain, w);
        flips_count(r, copy, rung, sweep, pairs_sweep(r, w, rung, sweep));
    }
}

/* One sweep of those among the same walkers whose rungs have waiting times; returns the number of the others. */
static int64_t flips_wait_copy(const flip_run *r, int64_t copy, int64_t first, int64_t last, int64_t sweep)
{
    int64_t others = 0;
    for (int64_t w = first; w < last; w++) {
        const int64_t rung = chain_rung_of(r->chain, w);
        if (r->visits.absent[rung]) {
            flips_count(r, copy, rung, sweep, waiting_sweep(&r->waiting, w, rung, sweep));
        } else {
            waiting_forget(&r->waiting, w);
            others++;
        }
    }
    return others;
}

/* One sweep of every walker of the block. */
static int64_t flips_sweep(void *run, int64_t sweep)
{
    const flip_run *r = run;
    const chain_run *c = r->chain;
    const flip_target *t = r->target;
    for (int64_t w = 0, last; w < t->n_walkers; w = last) {
        const int64_t copy = (c->first + w) / c->n_rungs;
        last = chain_end_of_copy(c, w);
        if (r->reference) {
            flips_sweep_pairs(r, copy, w, last, sweep);
        } else if (flips_wait_copy(r, copy, w, last, sweep)) {
            visits_choose(&r->visits, copy, sweep);
            visits_deal(&r->visits, c, copy, w, last, sweep, flips_make, r);
        }
    }
    if (t->refresh && sweep % (r->reference ? PAIRS_REFRESH_EVERY : REFRESH_EVERY) == 0)
        for (int64_t w = 0; w < t->n_walkers; w++) {
            t->refresh(t->model, w);
            waiting_forget(&r->waiting, w);
        }
    return -1;
}

/* The weights of all walkers into a row (n_walkers, n_units, n_words): bit i % 64 of word i / 64 is set where weight i of the unit is +1. */
static void flips_record(void *run, int64_t row)
{
    const flip_run *r = run;
    const flip_target *t = r->target;
    const int64_t units = t->n_walkers * t->n_units;
    uint64_t *rows = r->chain->row_weights;
    flips_pack[r->visits.level](t->weights, units, t->n_sites / t->n_units, r->n_words, rows + row * units * r->n_words);
}

#endif
