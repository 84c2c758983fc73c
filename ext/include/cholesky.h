/* Roots of symmetric positive definite matrices by plain loops: every element is a sum in one stated order, lanes over columns, so that the
 * bits are the same on every machine, as LAPACK's are not.
 */
#ifndef MCMC_CHOLESKY_H
#define MCMC_CHOLESKY_H

#include <math.h>
#include <stdint.h>

/* M (n, n), of which the upper triangle is read, becomes R with M = R^T R, upper triangular (the lower one is left as it is). Products are
 * subtracted from an element in the order of their rows. Returns the first row whose pivot is not > 0, or -1. */
static int64_t cholesky_factor(int64_t n, double *restrict m)
{
    for (int64_t k = 0; k < n; k++) {
        double *restrict row = m + k * n;
        if (!(row[k] > 0.0))
            return k;
        row[k] = sqrt(row[k]);
        for (int64_t j = k + 1; j < n; j++)
            row[j] /= row[k];
        for (int64_t i = k + 1; i < n; i++) {
            double *restrict below = m + i * n;
            for (int64_t j = i; j < n; j++)
                below[j] -= row[i] * row[j];
        }
    }
    return -1;
}

/* C = R^-1 (n, n), all of it, from the upper triangle of R. Rows from the last to the first, the rows below added in order. */
static void cholesky_invert(int64_t n, const double *restrict r, double *restrict c)
{
    for (int64_t i = n - 1; i >= 0; i--) {
        double *restrict row = c + i * n;
        for (int64_t j = 0; j < n; j++)
            row[j] = 0.0;
        for (int64_t k = i + 1; k < n; k++)
            for (int64_t j = k; j < n; j++)
                row[j] -= r[i * n + k] * c[k * n + j];
        row[i] = 1.0;
        for (int64_t j = i; j < n; j++)
            row[j] /= r[i * n + i];
    }
}

#endif
