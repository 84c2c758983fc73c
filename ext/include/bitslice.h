/* Machines of sign units on +-1 inputs: bit arithmetic on whole pattern columns.
 *
 * Design. What unit k makes of pattern mu is described by an integer T, which a flip of one of its weights moves by -1 (where the
 * column agrees with the weight before the flip) or +1; its vote is the sign of T. Binary digit j of T of 512 patterns is one row of
 * 512 bits, so that +-1 is a ripple of carries through bit planes: three logical operations a plane for 512 patterns, where int16
 * fields take some hundred. Only patterns with T = 0 or -1 can change their vote, and among them only those count whose loss
 * depends on that vote. With A those of them at T = 0, B those at T = -1, "down" the patterns that go down and |.| counting
 * patterns, a loss of 0 or 1 changes by
 *     dE = |A & down| - |B & up| = |(A + B) & down| - |B|
 * so one mask M = A + B and one popcount of M & column decide a proposal. For a weight +1 "down" is the column itself, for -1 its
 * complement, |M & ~column| = |M| - |M & column|. Hence
 *     dE = base[0] + p for a weight +1, base[1] - p for -1, with p = |M & column|, base[0] = -|B|, base[1] = |A|
 * and two numbers a mask, kept at each accepted flip. Everything is an exact integer; nothing ever needs a refresh.
 *
 *   error-count   perceptron: wrong where T < 0. M as above.
 *   symmetric     wrong outside 0 <= T <= top: a second mask {T = top} + {T = top + 1}, which enters with minus.
 *   ramp          hinge: a loss of step[1] at T = -1 that grows by s = step[0]/2 with every unit below. With S = {T < 0} the change is
 *                 s |S & down| - s |S & up|, but for a = step[1] in place of s where T crosses the border: three masks S, A, B with
 *                 weights 2s, a, a - s.
 *   votes         committee: the loss is a function of the number C of right votes, a sum over r of steps[r] times (C < r).
 *                 For each r with a step, A is cut down to C = r and B to C = r - 1: there the vote is pivotal. C is a counter in
 *                 bit planes like T, moved by +-1 where a vote changes. The error-count has a single step.
 *   parity        wrong where the product of the votes is not the label. Every change of a vote counts, up or down by what the
 *                 pattern is now: M = {right, T = 0} + {wrong, T = -1} with plus, the others next to the threshold with minus.
 *
 * Units of a fully connected machine share the columns; those of a tree have their own.
 * Padding patterns (columns 0) start at a T from which they never reach a mask.
 */
#ifndef MCMC_BITSLICE_H
#define MCMC_BITSLICE_H

#include "flip_target.h"
#include "isa.h"
#include "philox.h"

#define GROUP 8 /* 64-bit words that one group of bit planes spans: 512 patterns */

typedef struct {
    int64_t n_sites, n_units, n_patterns;
    int64_t n_groups, n_planes, n_masks; /* n_masks: per unit */
    int64_t skip;                        /* sites of a unit if units share the columns, else 0: column = site - unit * skip */
    const uint16_t *unit_of;             /* (n_sites,) */
    const uint64_t *columns;             /* (n_columns, n_groups, GROUP): bit set where the input (times the label, but for parity) is +1 */
    int64_t top;                         /* symmetric: T of the upper threshold */
    int64_t n_count_planes;              /* votes */
    const int64_t *threshold;            /* votes: (n_masks,): r */
    const int64_t *step;                 /* (n_masks,): weights of the masks in units; votes: loss of C < r over that of C >= r */
    int64_t least;                       /* votes: loss where all votes are right, in units */
    double unit;                         /* energy of one unit */
    const uint64_t *negative;            /* parity: (n_groups * GROUP,): bit set where the label is -1 */
    uint64_t *planes;                    /* (n_walkers, n_units, n_groups, n_planes, GROUP): T */
    uint64_t *near;                      /* (n_walkers, n_units, n_groups * GROUP): T = 0 or -1; several units */
    uint64_t *counts;                    /* votes: (n_walkers, n_groups, n_count_planes, GROUP): C; parity: (n_walkers, n_groups * GROUP): wrong */
    uint64_t *masks;                     /* (n_walkers, n_units, n_masks, n_groups * GROUP) */
    int64_t *base;                       /* (n_walkers, n_units, n_masks, 2) */
    int64_t *total;                      /* (n_walkers,): energy in units */
    int8_t *weights;                     /* (n_walkers, n_sites) */
    double *energy;                      /* (n_walkers,) */
} bitslice_model;

typedef struct {
    const bitslice_model *m;
    int64_t words; /* of a column */
    const uint64_t *columns;
    uint64_t *planes, *near, *counts, *masks;
    int64_t *base, *total;
    int8_t *weights;
    double *energy;
} bitslice_view;

static inline __attribute__((always_inline)) bitslice_view bitslice_open(const bitslice_model *m, int64_t walker)
{
    const int64_t words = m->n_groups * GROUP;
    return (bitslice_view){.m = m, .words = words, .columns = m->columns,
                           .planes = m->planes + walker * m->n_units * m->n_planes * words, .near = m->near + walker * m->n_units * words,
                           .counts = m->counts + walker * m->n_count_planes * words,
                           .masks = m->masks + walker * m->n_units * m->n_masks * words, .base = m->base + 2 * walker * m->n_units * m->n_masks,
                           .total = m->total + walker, .weights = m->weights + walker * m->n_sites, .energy = m->energy + walker};
}

/* Sets the planes of one unit from T = start[mu] + (number of its sites whose weight agrees with the column).
 * start: (n_groups * 512,), padding included. */
static void bitslice_load_unit(const bitslice_view *v, int64_t unit, const int32_t *start)
{
    const bitslice_model *m = v->m;
    const int64_t fan_in = m->n_sites / m->n_units, first = unit * fan_in;
    uint64_t *planes = v->planes + unit * m->n_planes * v->words;
    for (int64_t word = 0; word < v->words; word++) {
        uint64_t count[32] = {0}, plane[32] = {0}; /* agreements, and T, in bit planes */
        for (int64_t i = first; i < first + fan_in; i++) {
            uint64_t carry = v->columns[(i - unit * m->skip) * v->words + word] ^ (v->weights[i] < 0 ? ~(uint64_t)0 : 0);
            for (int64_t j = 0; carry; j++) {
                uint64_t next = count[j] & carry;
                count[j] ^= carry;
                carry = next;
            }
        }
        for (int bit = 0; bit < 64; bit++) {
            int64_t t = start[word * 64 + bit];
            for (int j = 0; j < 32; j++)
                t += (int64_t)(count[j] >> bit & 1) << j;
            for (int j = 0; j < m->n_planes; j++)
                plane[j] |= (uint64_t)(t >> j & 1) << bit;
        }
        for (int j = 0; j < m->n_planes; j++)
            planes[((word / GROUP) * m->n_planes + j) * GROUP + word % GROUP] = plane[j];
    }
}

enum { BITSLICE_ERROR_COUNT, BITSLICE_SYMMETRIC, BITSLICE_RAMP, BITSLICE_MAJORITY, BITSLICE_VOTES, BITSLICE_PARITY, N_BITSLICE };

typedef void (*bitslice_rebuild_fn)(void *model, int64_t walker); /* everything but weights and planes */

#define ISA_BODY "bitslice_body.h"
#include "each_isa.h"

#define BITSLICE_KINDS(ROW) ROW(error_count) ROW(symmetric) ROW(ramp) ROW(majority) ROW(votes) ROW(parity)

/* By kind, number of groups (1, 2, or 0 for any) and instruction set. */
#define BITSLICE_FUNCTIONS(kind) {ISA_TABLE(&bitslice_##kind##_any), ISA_TABLE(&bitslice_##kind##_1), ISA_TABLE(&bitslice_##kind##_2)},
static const flip_functions *const bitslice_functions[N_BITSLICE][3][N_ISA] = {BITSLICE_KINDS(BITSLICE_FUNCTIONS)};
#define BITSLICE_REBUILD(kind) ISA_TABLE(bitslice_rebuild_##kind),
static const bitslice_rebuild_fn bitslice_rebuild[N_BITSLICE][N_ISA] = {BITSLICE_KINDS(BITSLICE_REBUILD)};

/* Everything from the weights. start: see bitslice_load_unit. */
static void bitslice_load(bitslice_model *m, int64_t walker, const int32_t *start, int kind, int level)
{
    bitslice_view v = bitslice_open(m, walker);
    for (int64_t unit = 0; unit < m->n_units; unit++)
        bitslice_load_unit(&v, unit, start);
    bitslice_rebuild[kind][level](m, walker);
}

#endif
