/* Perceptrons with +-1 inputs and a loss that counts patterns beyond a threshold: bit arithmetic on whole pattern columns.
 *
 * Design. Pattern mu is described by an integer T, which a flip moves by -1 (where its input agrees with the weight before the flip)
 * or +1. Binary digit j of T of 512 patterns is one row of 512 bits, so that +-1 is a ripple of carries through bit planes: three
 * logical operations a plane for 512 patterns, where int16 fields take some hundred.
 *   error-count   wrong where T < 0. A flip that lowers T makes those with T = 0 wrong, one that raises it those with T = -1 right.
 *                 With A = {T = 0}, B = {T = -1}, "down" the patterns that go down and |.| counting patterns,
 *                     dE = |A & down| - |B & up| = |(A + B) & down| - |B|
 *                 so one mask M = A + B and one popcount of M & column decide a proposal.
 *   symmetric     wrong outside 0 <= T <= top: likewise with a second mask Q = {T = top} + {T = top + 1}, entering with minus.
 * For a weight +1 "down" is the column itself, for -1 its complement, |M & ~column| = |M| - |M & column|. Hence
 *     dE = base[0] + p for a weight +1, base[1] - p for -1, with p = |M & column| - |Q & column|
 * and two numbers a walker, kept at each accepted flip. Everything is an exact integer; nothing ever needs a refresh.
 *
 * Padding patterns (columns 0) start at a T from which they never reach a mask.
 */
#ifndef MCMC_BITSLICE_H
#define MCMC_BITSLICE_H

#include "flip_target.h"
#include "isa.h"
#include "philox.h"

#define GROUP 8 /* 64-bit words that one group of bit planes spans: 512 patterns */

typedef struct {
    int64_t n_sites, n_groups, n_planes, n_masks; /* n_masks: 1, or 2 with an upper threshold */
    int64_t top;                                  /* T of the upper threshold */
    const uint64_t *columns;                      /* (n_sites, n_groups, GROUP): bit set where label times input is +1 */
    uint64_t *planes;                             /* (n_walkers, n_groups, n_planes, GROUP) */
    uint64_t *masks;                              /* (n_walkers, n_masks, n_groups, GROUP) */
    int64_t *base;                                /* (n_walkers, 2) */
    int8_t *weights;                              /* (n_walkers, n_sites) */
    double *energy;                               /* (n_walkers,) */
} bitslice_model;

typedef struct {
    int64_t n_groups, n_planes, top;
    const uint64_t *columns;
    uint64_t *planes, *masks, *second;
    int64_t *base;
    int8_t *weights;
    double *energy;
} bitslice_view;

static inline __attribute__((always_inline)) bitslice_view bitslice_open(const bitslice_model *m, int64_t walker)
{
    const int64_t words = m->n_groups * GROUP;
    uint64_t *masks = m->masks + walker * m->n_masks * words;
    return (bitslice_view){.n_groups = m->n_groups, .n_planes = m->n_planes, .top = m->top, .columns = m->columns,
                           .planes = m->planes + walker * m->n_planes * words, .masks = masks, .second = masks + words,
                           .base = m->base + 2 * walker, .weights = m->weights + walker * m->n_sites, .energy = m->energy + walker};
}

/* Sets planes from T = start[mu] + (number of sites whose weight agrees with label times input), then masks and base; returns E.
 * start: (n_groups * 512,), padding included. */
static int64_t bitslice_load(const bitslice_model *m, int64_t walker, const int32_t *start, int64_t n_patterns)
{
    bitslice_view v = bitslice_open(m, walker);
    int64_t at_zero = 0, at_minus = 0, at_top = 0, beyond_top = 0, wrong = 0;
    for (int64_t word = 0; word < v.n_groups * GROUP; word++) {
        uint64_t count[32] = {0}; /* a counter of agreements in bit planes */
        for (int64_t i = 0; i < m->n_sites; i++) {
            uint64_t carry = v.columns[i * v.n_groups * GROUP + word];
            if (v.weights[i] < 0)
                carry = ~carry;
            for (int64_t j = 0; carry; j++) {
                uint64_t next = count[j] & carry;
                count[j] ^= carry;
                carry = next;
            }
        }
        uint64_t plane[32] = {0}, first = 0, second = 0;
        for (int bit = 0; bit < 64; bit++) {
            int64_t t = start[word * 64 + bit];
            for (int j = 0; j < 32; j++)
                t += (int64_t)(count[j] >> bit & 1) << j;
            for (int j = 0; j < v.n_planes; j++)
                plane[j] |= (uint64_t)(t >> j & 1) << bit;
            first |= (uint64_t)(t == 0 || t == -1) << bit;
            second |= (uint64_t)(t == v.top || t == v.top + 1) << bit;
            at_zero += t == 0;
            at_minus += t == -1;
            at_top += t == v.top;
            beyond_top += t == v.top + 1;
            if (word * 64 + bit < n_patterns)
                wrong += t < 0 || (m->n_masks == 2 && t > v.top);
        }
        for (int j = 0; j < v.n_planes; j++)
            v.planes[((word / GROUP) * v.n_planes + j) * GROUP + word % GROUP] = plane[j];
        v.masks[word] = first;
        if (m->n_masks == 2)
            v.second[word] = second;
    }
    v.base[0] = -at_minus + (m->n_masks == 2 ? at_top : 0);
    v.base[1] = at_zero - (m->n_masks == 2 ? beyond_top : 0);
    *v.energy = (double)wrong;
    return wrong;
}

#define ISA_BODY "bitslice_body.h"
#include "each_isa.h"

static const flip_functions *const bitslice_functions[2][N_ISA] = {ISA_TABLE(&bitslice_lower), ISA_TABLE(&bitslice_both)};

#endif
