/* The yardstick of bench.py: Metropolis by one plain loop over the patterns, left to the compiler's vectoriser.
 *
 * What one would write first, and write well: contiguous columns (label times input), int16 fields and int8 inputs where inputs are +-1,
 * float64 otherwise, errors counted in int16 (fewer than 2^15 patterns), the energy kept so that a proposal sums the new losses only,
 * a cheap generator. Machines of several units keep the fields of each and the votes of each pattern. Compiled with -O3 -ffast-math
 * for one -march at a time.
 */
#include <math.h>
#include <stdint.h>

#include "splitmix.h"

/* n proposals at random sites; returns how many were accepted, energy: (1,) after them. k is the integer or unscaled field y w.x;
 * columns: (n_sites, n_patterns); field: (n_patterns,); weights: (n_sites,). */
#define PLAIN(NAME, FIELD, COLUMN, SUM, LOSS) \
    int64_t NAME(int64_t n_sites, int64_t n_patterns, const COLUMN *columns, FIELD *restrict field, int8_t *weights, \
                 double threshold, double beta, uint64_t state, int64_t n, double *last) \
    { \
        const FIELD edge = (FIELD)threshold; \
        const double scale = 1.0 / sqrt((double)n_sites); \
        (void)edge, (void)scale; \
        SUM energy = 0; \
        for (int64_t mu = 0; mu < n_patterns; mu++) { \
            const FIELD h = field[mu]; \
            energy += LOSS; \
        } \
        int64_t accepted = 0; \
        for (int64_t k = 0; k < n; k++) { \
            const uint64_t site = (next(&state) >> 32) * (uint64_t)n_sites >> 32; \
            const COLUMN *restrict column = columns + site * n_patterns; \
            const FIELD step = 2 * weights[site]; \
            SUM after = 0; \
            for (int64_t mu = 0; mu < n_patterns; mu++) { \
                const FIELD h = field[mu] - step * column[mu]; \
                after += LOSS; \
            } \
            const SUM delta = after - energy; \
            if (delta <= 0 || uniform(&state) < exp(-beta * delta)) { \
                for (int64_t mu = 0; mu < n_patterns; mu++) \
                    field[mu] -= step * column[mu]; \
                weights[site] = -weights[site]; \
                energy = after; \
                accepted++; \
            } \
        } \
        *last = energy; \
        return accepted; \
    }

#define HINGE (scale * h < threshold ? threshold - scale * h : 0.0)

PLAIN(binary_error_count, int16_t, int8_t, int16_t, h < edge)
PLAIN(binary_symmetric, int16_t, int8_t, int16_t, (h > edge) | (h < -edge))
PLAIN(binary_hinge, int16_t, int8_t, double, HINGE)
PLAIN(binary_squared_hinge, int16_t, int8_t, double, 0.5 * HINGE * HINGE)
PLAIN(binary_logistic, int16_t, int8_t, double, log(1.0 + exp(threshold - scale * h)))
PLAIN(binary_square, int16_t, int8_t, double, 0.5 * (1.0 - scale * h) * (1.0 - scale * h))
PLAIN(gaussian_error_count, double, double, int, h < edge)
PLAIN(gaussian_hinge, double, double, double, HINGE)
PLAIN(gaussian_logistic, double, double, double, log(1.0 + exp(threshold - scale * h)))
PLAIN(gaussian_square, double, double, double, 0.5 * (1.0 - scale * h) * (1.0 - scale * h))

/* The error count of a machine of several units with +-1 inputs. columns: (n_columns, n_patterns), site i reads column i % n_columns
 * and belongs to unit i / fan_in; field: (n_units, n_patterns), a unit votes +1 where it is >= 0; votes: (n_patterns,), label times
 * the sum (committee) or product (parity) of the votes. VOTES gives them anew from those before and the change of the unit's sign,
 * which is -1, 0 or 1 in `turn`; a pattern is wrong where they are negative. */
#define MACHINE(NAME, VOTES) \
    int64_t NAME(int64_t n_sites, int64_t fan_in, int64_t n_columns, int64_t n_patterns, const int8_t *columns, int16_t *field, \
                 int16_t *restrict votes, int8_t *weights, double beta, uint64_t state, int64_t n, double *last) \
    { \
        int16_t energy = 0; \
        for (int64_t mu = 0; mu < n_patterns; mu++) \
            energy += votes[mu] < 0; \
        int64_t accepted = 0; \
        for (int64_t k = 0; k < n; k++) { \
            const int64_t site = (next(&state) >> 32) * (uint64_t)n_sites >> 32; \
            const int8_t *restrict column = columns + site % n_columns * n_patterns; \
            int16_t *restrict unit = field + site / fan_in * n_patterns; \
            const int16_t step = 2 * weights[site]; \
            int16_t after = 0; \
            for (int64_t mu = 0; mu < n_patterns; mu++) { \
                const int16_t old = unit[mu], now = old - step * column[mu], v = votes[mu], turn = (now >> 15) - (old >> 15); \
                const int16_t next_votes = VOTES; \
                after += next_votes < 0; \
            } \
            const int16_t delta = after - energy; \
            if (delta <= 0 || uniform(&state) < exp(-beta * delta)) { \
                for (int64_t mu = 0; mu < n_patterns; mu++) { \
                    const int16_t old = unit[mu], now = old - step * column[mu], v = votes[mu], turn = (now >> 15) - (old >> 15); \
                    unit[mu] = now; \
                    votes[mu] = VOTES; \
                } \
                weights[site] = -weights[site]; \
                energy = after; \
                accepted++; \
            } \
        } \
        *last = energy; \
        return accepted; \
    }

MACHINE(committee_error_count, v + 2 * turn)
MACHINE(parity_error_count, turn ? -v : v)
