/* quadratic.h for one instruction-set level: X^T X, and the three kinds of coupling. */

/* Entries 0 .. i of row i of X^T X for +-1 inputs, from the bits of two columns. */
ISA_CODE void FN(quadratic_gram_bits)(const uint64_t *columns, int64_t n_sites, int64_t words, int64_t n_patterns, int64_t i, int32_t *row)
{
    for (int64_t j = 0; j <= i; j++) {
        int64_t differ = 0;
        for (int64_t word = 0; word < words; word++)
            differ += __builtin_popcountll(columns[i * words + word] ^ columns[j * words + word]);
        row[j] = (int32_t)(n_patterns - 2 * differ);
    }
}

/* The same for real inputs (n_patterns, n_sites): patterns in order, lanes over j. */
ISA_CODE void FN(quadratic_gram_real)(const double *inputs, int64_t n_patterns, int64_t n_sites, int64_t i, double *row)
{
    memset(row, 0, sizeof(double) * (i + 1));
    for (int64_t mu = 0; mu < n_patterns; mu++) {
        const double *x = inputs + mu * n_sites, a = x[i];
        for (int64_t j = 0; j <= i; j++)
            row[j] += a * x[j];
    }
}

#define KIND int16
#define ITEM int16_t
#define FIELD int32_t
#include "quadratic_kind.h"

#define KIND int32
#define ITEM int32_t
#define FIELD int32_t
#include "quadratic_kind.h"

#define KIND float64
#define ITEM double
#define FIELD double
#include "quadratic_kind.h"
