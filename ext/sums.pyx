"""Scalar products of real weights, the same bits on every machine; see sums.h."""
from libc.stdint cimport int64_t

import numpy as np

from mcmc.kernels import check, cpu

cdef extern from "sums.h" nogil:
    ctypedef double (*sums_dot_fn)(const double *a, const double *b, int64_t n) noexcept
    sums_dot_fn sums_dot[3]


def products(const double[:, :, ::1] a, const double[:, :, ::1] b):
    """Scalar products of all rows of a with all rows of b, matrix by matrix.

    a: (n, rows of a, length); b: (n or 1, rows of b, length), one matrix serving all of a -> float64 (n, rows of a,
    rows of b). ValueError for shapes that do not fit together.
    """
    check(b.shape[0] in (1, a.shape[0]) and a.shape[2] == b.shape[2] > 0, "products: shapes do not fit together")
    out = np.empty((a.shape[0], a.shape[1], b.shape[1]))
    cdef double[:, :, ::1] view = out
    cdef sums_dot_fn dot = sums_dot[<int>cpu.index()]
    cdef int64_t n, i, j, of_b = b.shape[0] > 1
    if out.size:
        with nogil:
            for n in range(a.shape[0]):
                for i in range(a.shape[1]):
                    for j in range(b.shape[1]):
                        view[n, i, j] = dot(&a[n, i, 0], &b[n * of_b, j, 0], a.shape[2])
    return out
