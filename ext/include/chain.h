/* What every block of walkers has, whatever moves them: the rung each is on, exchange, acceptances, the record of rows and the loop
 * over sweeps. A sampler (flips.h, coordinates.h, moves.h) hangs its sweep in here.
 *
 * A block is a contiguous piece of the walkers (copy, rung of birth) of one instance.
 */
#ifndef MCMC_CHAIN_H
#define MCMC_CHAIN_H

#include "exchange.h"

/* What the ladder is tuned by, counted at every exchange round: exchanges of rungs s and s + 1, visits of a rung by walkers that come from
 * the first rung and from the last one, and arrivals at either end from the other one. */
enum { LADDER_ACCEPTED, LADDER_PROPOSED, LADDER_FROM_FIRST, LADDER_FROM_LAST, LADDER_ARRIVED, N_LADDER_COUNTS };
enum { END_NONE, END_FIRST, END_LAST };

/* One sweep of every walker of the block; returns the first walker whose state is no number any more, or -1. */
typedef int64_t (*chain_sweep_fn)(void *sampler, int64_t sweep);
/* Writes what the observables need of the walkers, besides their energies, into row `row`. */
typedef void (*chain_record_fn)(void *sampler, int64_t row);

typedef struct {
    int64_t n_copies, n_rungs;
    int64_t first, n_walkers;  /* the block holds walkers first .. first + n_walkers - 1 of copy * n_rungs + rung of birth */
    const double *beta;        /* (n_rungs,) */
    const double *energy;      /* (n_walkers,), kept by the block */
    const uint64_t *swap_key;  /* (n_copies,) */
    int32_t *walker_at;        /* (n_copies, n_rungs): rung of birth of the walker on each rung */
    int32_t *rung_of;          /* (n_copies, n_rungs): its inverse */
    int64_t *accepted;         /* (n_copies, n_rungs): moves at each rung since the last row, of the walkers of this block */
    int64_t *counts;           /* what the sampler counts of the walkers of this block, to adapt by; or NULL */
    int64_t exchange_every;    /* 0: no exchange in here */
    int64_t burn_in;
    int64_t *exchange_accepted, *exchange_proposed; /* (n_copies, n_rungs - 1): after burn-in */
    int8_t *swapped;           /* (n_rungs,): scratch */
    int64_t tuned_until;       /* the last sweep after which the rounds below are counted; 0: the ladder is not tuned */
    int64_t *ladder_counts;    /* (N_LADDER_COUNTS, n_rungs): of all copies since the ladder was last tuned; or NULL */
    int8_t *last_end;          /* (n_copies, n_rungs): the end of the ladder where each walker was last; or NULL */
    int64_t *first_passage;    /* (n_walkers,): the first sweep at whose end the energy was 0, -1 before it; or NULL */
    int64_t measure_every;     /* 0: no rows in here */
    /* rows, in order; the caller provides room */
    int64_t n_rows;
    double *row_energy;        /* (rows, n_walkers) */
    int32_t *row_walker_at;    /* (rows, n_copies, n_rungs) */
    int64_t *row_accepted;     /* (rows, n_copies, n_rungs) */
    void *row_weights;         /* (rows, n_walkers, ...), in the form of the sampler, which writes it */
    void *sampler;
    chain_sweep_fn sweep;
    chain_record_fn record;
} chain_run;

static inline int64_t chain_rung_of(const chain_run *c, int64_t walker)
{
    return c->rung_of[c->first + walker];
}

/* The first walker of the block after `walker` that belongs to another copy. */
static inline int64_t chain_end_of_copy(const chain_run *c, int64_t walker)
{
    const int64_t end = ((c->first + walker) / c->n_rungs + 1) * c->n_rungs - c->first;
    return end < c->n_walkers ? end : c->n_walkers;
}

/* Counts a round of one copy whose swaps are done. */
static inline void chain_count_ladder(const chain_run *c, int64_t copy, int64_t round)
{
    const int64_t n = c->n_rungs;
    int64_t *counts = c->ladder_counts;
    for (int64_t rung = 0; rung < n; rung++) {
        int8_t *end = c->last_end + copy * n + c->walker_at[copy * n + rung];
        const int8_t here = rung == 0 ? END_FIRST : rung == n - 1 ? END_LAST : END_NONE;
        if (here != END_NONE) {
            counts[LADDER_ARRIVED * n + rung] += *end != END_NONE && *end != here;
            *end = here;
        }
        counts[LADDER_FROM_FIRST * n + rung] += *end == END_FIRST;
        counts[LADDER_FROM_LAST * n + rung] += *end == END_LAST;
        if (rung + 1 < n) {
            counts[LADDER_ACCEPTED * n + rung] += c->swapped[rung];
            counts[LADDER_PROPOSED * n + rung] += rung % 2 == round % 2;
        }
    }
}

/* Exchange round `round` after sweep `sweep`; energy: (n_copies, n_rungs) by walker, of the whole instance. */
static inline void chain_exchange(const chain_run *c, int64_t sweep, int64_t round, const double *energy)
{
    for (int64_t copy = 0; copy < c->n_copies; copy++) {
        const int64_t at = copy * c->n_rungs;
        exchange_round(c->n_rungs, c->beta, energy + at, c->swap_key[copy], round, c->walker_at + at, c->swapped);
        for (int64_t rung = 0; rung < c->n_rungs; rung++)
            c->rung_of[at + c->walker_at[at + rung]] = (int32_t)rung;
        if (sweep > c->burn_in)
            for (int64_t s = 0; s + 1 < c->n_rungs; s++) {
                c->exchange_accepted[copy * (c->n_rungs - 1) + s] += c->swapped[s];
                c->exchange_proposed[copy * (c->n_rungs - 1) + s] += s % 2 == round % 2;
            }
        if (sweep <= c->tuned_until)
            chain_count_ladder(c, copy, round);
    }
}

/* Energies that are sums of reals may miss 0 by their rounding. */
#define CHAIN_ZERO 1e-9

static inline void chain_note_passage(const chain_run *c, int64_t sweep)
{
    for (int64_t walker = 0; walker < c->n_walkers; walker++)
        if (c->first_passage[walker] < 0 && c->energy[walker] <= CHAIN_ZERO)
            c->first_passage[walker] = sweep;
}

/* Appends a row: what the observables need, by walker; and starts counting acceptances anew. */
static inline void chain_record(chain_run *c)
{
    const int64_t row = c->n_rows++, all = c->n_copies * c->n_rungs;
    memcpy(c->row_energy + row * c->n_walkers, c->energy, sizeof(double) * c->n_walkers);
    memcpy(c->row_walker_at + row * all, c->walker_at, sizeof(int32_t) * all);
    memcpy(c->row_accepted + row * all, c->accepted, sizeof(int64_t) * all);
    memset(c->accepted, 0, sizeof(int64_t) * all);
    c->record(c->sampler, row);
}

/* Sweeps first .. last and nothing else. Returns a walker whose state is no number any more, and in *first the sweep at which that was
 * found; else -1. */
static inline int64_t chain_sweep(const chain_run *c, int64_t *first, int64_t last)
{
    for (; *first <= last; ++*first) {
        const int64_t lost = c->sweep(c->sampler, *first);
        if (lost >= 0)
            return lost;
        if (c->first_passage)
            chain_note_passage(c, *first);
    }
    return -1;
}

/* The same with exchange and rows in between, for a block that holds its instance whole. */
static inline int64_t chain_advance(chain_run *c, int64_t *first, int64_t last)
{
    for (; *first <= last; ++*first) {
        const int64_t sweep = *first, lost = c->sweep(c->sampler, sweep);
        if (lost >= 0)
            return lost;
        if (c->first_passage)
            chain_note_passage(c, sweep);
        if (c->exchange_every && sweep % c->exchange_every == 0)
            chain_exchange(c, sweep, sweep / c->exchange_every, c->energy);
        if (c->measure_every && sweep % c->measure_every == 0)
            chain_record(c);
    }
    return -1;
}

#endif
