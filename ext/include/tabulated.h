/* Perceptrons with +-1 inputs and any loss of the stability: tables over the integer field, sums in fixed point.
 *
 * Design. With u the number of sites whose weight agrees with label times input, D = (2 u - N)/sqrt(N), so a loss is a table over
 * u = 0 .. N. The table holds multiples of a power of two that is chosen so that no sum can overflow (the rounding, below 1e-10 of a
 * loss, is in the energy function itself, once). Sums of integers are exact in any order: no drift, no refresh, and lanes may run inside
 * a sum. A pattern keeps gap = (change if u drops by 1) - (change if u grows by 1); then, as in bitslice.h,
 *     dE = sums[0] + p for a weight +1,  sums[1] - p for -1,  p = sum of gap over the set bits of the column
 * where sums[0] adds the changes of all patterns if all grew and sums[1] if all dropped.
 */
#ifndef MCMC_TABULATED_H
#define MCMC_TABULATED_H

#include "flip_target.h"
#include "isa.h"

typedef struct {
    int64_t n_sites, n_patterns, words; /* words: 64-bit words per column, a multiple of 8 */
    double unit;                        /* energy of one unit of the tables */
    const uint64_t *columns;            /* (n_sites, words): bit set where label times input is +1 */
    const int64_t *change;              /* (n_sites + 1, 2) by u: change when it drops minus change when it grows; change when it grows */
    int32_t *count;                     /* (n_walkers, 64 words): u */
    int64_t *gaps;                      /* (n_walkers, 64 words); 0 for padding patterns */
    int64_t *sums;                      /* (n_walkers, 2) */
    int64_t *total;                     /* (n_walkers,): energy in units */
    int8_t *weights;                    /* (n_walkers, n_sites) */
    double *energy;                     /* (n_walkers,) */
} tabulated_model;

typedef struct {
    const tabulated_model *m;
    int32_t *count;
    int64_t *gaps, *sums, *total;
    int8_t *weights;
    double *energy;
} tabulated_view;

static inline __attribute__((always_inline)) tabulated_view tabulated_open(const tabulated_model *m, int64_t walker)
{
    return (tabulated_view){.m = m, .count = m->count + walker * m->words * 64, .gaps = m->gaps + walker * m->words * 64,
                            .sums = m->sums + 2 * walker, .total = m->total + walker, .weights = m->weights + walker * m->n_sites,
                            .energy = m->energy + walker};
}

static void tabulated_load(const tabulated_model *m, int64_t walker, const int64_t *loss)
{
    tabulated_view v = tabulated_open(m, walker);
    memset(v.count, 0, sizeof(int32_t) * m->words * 64);
    memset(v.gaps, 0, sizeof(int64_t) * m->words * 64);
    for (int64_t i = 0; i < m->n_sites; i++)
        for (int64_t word = 0; word < m->words; word++) {
            uint64_t agree = m->columns[i * m->words + word] ^ (v.weights[i] > 0 ? 0 : ~(uint64_t)0);
            for (int bit = 0; bit < 64; bit++)
                v.count[word * 64 + bit] += agree >> bit & 1;
        }
    *v.total = v.sums[0] = v.sums[1] = 0;
    for (int64_t mu = 0; mu < m->n_patterns; mu++) {
        const int32_t u = v.count[mu];
        v.gaps[mu] = m->change[2 * u];
        v.sums[0] += m->change[2 * u + 1];
        v.sums[1] += m->change[2 * u] + m->change[2 * u + 1];
        *v.total += loss[u];
    }
    *v.energy = (double)*v.total * m->unit;
}

/* How u of four patterns changes, by the four bits that say where it drops. */
#define STEPS(b) {1 - 2 * ((b) & 1), 1 - 2 * ((b) >> 1 & 1), 1 - 2 * ((b) >> 2 & 1), 1 - 2 * ((b) >> 3 & 1)}
static const int32_t tabulated_steps[16][4] __attribute__((aligned(16))) = {
    STEPS(0), STEPS(1), STEPS(2), STEPS(3), STEPS(4), STEPS(5), STEPS(6), STEPS(7),
    STEPS(8), STEPS(9), STEPS(10), STEPS(11), STEPS(12), STEPS(13), STEPS(14), STEPS(15),
};
#undef STEPS

#define ISA_BODY "tabulated_body.h"
#include "each_isa.h"

static const flip_functions *const tabulated_functions[N_ISA] = ISA_TABLE(&tabulated_loop);

#endif
