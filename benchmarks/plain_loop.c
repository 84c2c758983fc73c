/* The yardstick of bench.py: Metropolis by one plain loop over the patterns, left to the compiler's vectoriser.
 *
 * What one would write first, and write well: contiguous columns (label times input), int16 fields and int8 inputs where inputs are +-1,
 * float64 otherwise, errors counted in int16 (fewer than 2^15 patterns), the energy kept so that a proposal sums the new losses only,
 * a cheap generator. Compiled with -O3 -ffast-math for one -march at a time.
 */
#include <math.h>
#include <stdint.h>

/* splitmix64 */
static inline uint64_t next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* n proposals at random sites; returns how many were accepted. d is the stability of a pattern, k the integer or unscaled field
 * y w.x; columns: (n_sites, n_patterns); field: (n_patterns,); weights: (n_sites,). */
#define PLAIN(NAME, FIELD, COLUMN, SUM, LOSS) \
    int64_t NAME(int64_t n_sites, int64_t n_patterns, const COLUMN *columns, FIELD *restrict field, int8_t *weights, \
                 double threshold, double beta, uint64_t state, int64_t n) \
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
            if (delta <= 0 || (next(&state) >> 11) * 0x1p-53 < exp(-beta * delta)) { \
                for (int64_t mu = 0; mu < n_patterns; mu++) \
                    field[mu] -= step * column[mu]; \
                weights[site] = -weights[site]; \
                energy = after; \
                accepted++; \
            } \
        } \
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
