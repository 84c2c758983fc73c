/* A yardstick of bench.py: the scheme of RRRMC.jl (C. Baldassi, J. Stat. Mech. (2017) 033301; its step-loss perceptron and committee),
 * reimplemented here in C. It is not that package, and nothing of it is copied.
 *
 * The scheme. A walker keeps integer fields of all patterns and, for every hidden unit, an index set (a list, and the place of each
 * pattern in it) of the patterns whose loss one flip can change: field next to the threshold, vote of the unit decisive. A proposal looks
 * up the inputs of its site at the patterns of the set and accepts by exp of a scalar; an accepted flip goes through all patterns, moves
 * the fields and keeps the sets.
 *
 * Written as well as the scheme allows, where the package is plainer:
 *   - one list instead of one for each side of the threshold. With w the weight, x the input times label, p patterns of the set that
 *     can become wrong and m that can become right, dE = (p - m + w sum of x over the set) / 2: no branches;
 *   - inputs are bytes while all of them fit into the cache, and bits, as in the package, beyond;
 *   - for committees the set holds what is decisive now, half of what the package looks at in a proposal;
 *   - a flip finds what enters and leaves the sets in vectorised loops, 64 patterns at a time, and touches nothing else one by one.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "splitmix.h"

#define MAX_UNITS 15
#define CACHED (1 << 22) /* bytes; at 1 MB bytes take 37 ns where bits take 48, at 80 MB 700 where bits take 150 */

typedef struct {
    uint16_t *list, *place; /* (n_patterns,): patterns in the set, in any order; where each stands in it */
    uint64_t *member;       /* (n_patterns / 64 rounded up,): bit set for those in the set */
    int64_t size;
    int64_t balance; /* p - m */
} index_set;

typedef struct {
    int64_t n_units, n_patterns;
    int16_t *field, *votes; /* (n_units, n_patterns), (n_patterns,) */
    uint8_t *near;          /* (n_patterns rounded up to 64,): scratch */
    index_set set[MAX_UNITS];
} walker;

/* Marks the patterns that a flip of a unit can change; returns those that can become wrong less those that can become right.
 * Fields move by 2. A vote that is decisive now is one of the majority (1) or minority (-1) by one. */
static int64_t decisive(int64_t n, const int16_t *restrict field, const int16_t *restrict votes, uint8_t *restrict near, const int many)
{
    int64_t balance = 0;
    for (int64_t mu = 0; mu < n; mu++) {
        const int16_t t = field[mu] >> 1;
        const int16_t lose = (t == 0) & (!many | (votes[mu] == 1)), gain = (t == -1) & (!many | (votes[mu] == -1));
        near[mu] = (uint8_t)(lose | gain);
        balance += lose - gain;
    }
    return balance;
}

/* Brings the index set of a unit up to date with its fields and the votes. */
static inline void update(walker *w, int64_t unit, const int many)
{
    index_set *s = &w->set[unit];
    s->balance = decisive(w->n_patterns, w->field + unit * w->n_patterns, w->votes, w->near, many);
    for (int64_t start = 0; start < w->n_patterns; start += 64) {
        uint64_t now = 0;
        for (int64_t k = 0; k < 8; k++) {
            uint64_t eight;
            memcpy(&eight, w->near + start + 8 * k, 8);
            now |= (eight * 0x0102040810204080u >> 56) << (8 * k);
        }
        const uint64_t before = s->member[start / 64];
        s->member[start / 64] = now;
        for (uint64_t gone = before & ~now; gone; gone &= gone - 1) {
            const uint16_t last = s->list[--s->size], hole = s->place[start + __builtin_ctzll(gone)];
            s->list[hole] = last;
            s->place[last] = hole;
        }
        for (uint64_t come = now & ~before; come; come &= come - 1) {
            const int64_t mu = start + __builtin_ctzll(come);
            s->list[s->size] = (uint16_t)mu;
            s->place[mu] = (uint16_t)s->size++;
        }
    }
}

static inline int64_t delta_of_bytes(const index_set *s, const int8_t *column, int weight)
{
    int64_t even = 0, odd = 0, k = 0; /* two sums, so that an addition does not wait for the one before */
    for (; k + 1 < s->size; k += 2) {
        even += column[s->list[k]];
        odd += column[s->list[k + 1]];
    }
    if (k < s->size)
        even += column[s->list[k]];
    return (s->balance + weight * (even + odd)) / 2;
}

static inline int64_t delta_of_bits(const index_set *s, const uint8_t *column, int weight)
{
    int64_t ones = 0;
    for (int64_t k = 0; k < s->size; k++)
        ones += column[s->list[k] >> 3] >> (s->list[k] & 7) & 1;
    return (s->balance + weight * (2 * ones - s->size)) / 2;
}

static void move(int64_t n, const int8_t *restrict column, int16_t step, int16_t *restrict field, int16_t *restrict votes)
{
    for (int64_t mu = 0; mu < n; mu++) {
        const int16_t old = field[mu], now = (int16_t)(old - step * column[mu]);
        field[mu] = now;
        votes[mu] = (int16_t)(votes[mu] + 2 * ((now >> 15) - (old >> 15)));
    }
}

static inline int64_t run(walker *w, int64_t n_sites, int64_t n_columns, const int8_t *columns, const uint8_t *bits, int8_t *weights,
                          double beta, uint64_t state, int64_t n, double *energy, const int many)
{
    const int64_t fan_in = n_sites / w->n_units, octets = (w->n_patterns + 7) / 8;
    const int bytes = n_columns * w->n_patterns <= CACHED;
    int64_t accepted = 0;
    for (int64_t k = 0; k < n; k++) {
        const int64_t site = (int64_t)((next(&state) >> 32) * (uint64_t)n_sites >> 32);
        const int64_t unit = many ? site / fan_in : 0, column = many ? site % n_columns : site;
        const index_set *set = &w->set[unit];
        const int64_t dE = bytes ? delta_of_bytes(set, columns + column * w->n_patterns, weights[site])
                                 : delta_of_bits(set, bits + column * octets, weights[site]);
        if (dE <= 0 || uniform(&state) < exp(-beta * (double)dE)) {
            move(w->n_patterns, columns + column * w->n_patterns, (int16_t)(2 * weights[site]), w->field + unit * w->n_patterns, w->votes);
            for (int64_t j = 0; j < w->n_units; j++)
                update(w, j, many);
            weights[site] = (int8_t)-weights[site];
            *energy += (double)dE;
            accepted++;
        }
    }
    return accepted;
}

/* n Metropolis proposals at random sites under the error count; returns how many were accepted, or -1 without memory.
 * columns: (n_columns, n_patterns) label times input, and bits: (n_columns, n_patterns / 8 rounded up), pattern mu at bit mu % 8 of octet
 * mu / 8; site i of n_sites reads column i % n_columns and belongs to unit i / (n_sites / n_units). field: (n_units, n_patterns), label
 * times w.x, less 1 where the label is -1, so that a unit votes right where it is >= 0. votes: (n_patterns,), right votes less wrong
 * ones. energy: (1,), after them. Fewer than 2^15 patterns, at most MAX_UNITS units, their number odd. */
int64_t rrrmc_scheme(int64_t n_units, int64_t n_sites, int64_t n_columns, int64_t n_patterns, const int8_t *columns, const uint8_t *bits,
                     int16_t *field, int16_t *votes, int8_t *weights, double beta, uint64_t state, int64_t n, double *energy)
{
    const int64_t words = (n_patterns + 63) / 64;
    uint16_t *places = calloc((size_t)(2 * n_units * n_patterns), sizeof *places);
    uint64_t *members = calloc((size_t)(n_units * words), sizeof *members);
    uint8_t *near = calloc((size_t)(64 * words), 1);
    int64_t accepted = -1;
    if (places && members && near && n_units <= MAX_UNITS) {
        walker w = {.n_units = n_units, .n_patterns = n_patterns, .field = field, .votes = votes, .near = near};
        for (int64_t k = 0; k < n_units; k++) {
            uint16_t *list = places + 2 * k * n_patterns;
            w.set[k] = (index_set){.list = list, .place = list + n_patterns, .member = members + k * words};
            update(&w, k, n_units > 1);
        }
        *energy = 0;
        for (int64_t mu = 0; mu < n_patterns; mu++)
            *energy += votes[mu] < 0;
        accepted = n_units == 1 ? run(&w, n_sites, n_columns, columns, bits, weights, beta, state, n, energy, 0)
                                : run(&w, n_sites, n_columns, columns, bits, weights, beta, state, n, energy, 1);
    }
    free(places);
    free(members);
    free(near);
    return accepted;
}
