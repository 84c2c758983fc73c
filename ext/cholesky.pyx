"""Inverse roots of symmetric positive definite matrices; see cholesky.h."""
from libc.stdint cimport int64_t

import numpy as np

from mcmc.kernels import check

cdef extern from "cholesky.h" nogil:
    int64_t cholesky_factor(int64_t n, double *m)
    void cholesky_invert(int64_t n, const double *r, double *c)


def inverse_root(matrix):
    """C with C C^T = M^-1, upper triangular: the inverse of R in M = R^T R. float64 (n, n) for M of that shape.

    ValueError unless M is positive definite.
    """
    cdef double[:, ::1] r = np.array(matrix, dtype=np.float64), c = np.empty_like(r)
    cdef int64_t n = r.shape[0], lost
    check(n > 0 and r.shape[1] == n, f"matrix: got shape {r.base.shape}, expected a square")
    with nogil:
        lost = cholesky_factor(n, &r[0, 0])
        if lost < 0:
            cholesky_invert(n, &r[0, 0], &c[0, 0])
    check(lost < 0, f"matrix: got one that is not positive definite at row {lost}")
    return c.base
