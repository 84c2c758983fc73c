"""Blocks of perceptrons with +-1 inputs and any loss, by tables in fixed point; see tabulated.h."""
from flip_target cimport flip_capsule, flip_functions, flip_target, flip_target_set
from libc.stdint cimport int8_t, int32_t, int64_t, uint64_t

import numpy as np

from mcmc.kernels import aligned, check, checked_weights, cpu, fixed_point

cdef extern from "tabulated.h" nogil:
    ctypedef struct tabulated_model:
        int64_t n_sites, n_patterns, words
        double unit
        const uint64_t *columns
        const int64_t *change
        int32_t *count
        int64_t *gaps
        int64_t *sums
        int64_t *total
        int8_t *weights
        double *energy
    void tabulated_load(const tabulated_model *m, int64_t walker, const int64_t *loss)
    const flip_functions *tabulated_functions[3]


cdef class Block:
    """Walkers of one instance.

    columns: uint64 (n_sites, words), bit mu set where label times input is +1, words a multiple of 8, padding bits 0
    loss: float64 (n_sites + 1,): loss of a pattern with u = 0 .. n_sites agreements
    n_patterns: patterns that count
    weights: int8 (n_walkers, n_sites) of +-1, copied
    """

    cdef tabulated_model model
    cdef flip_target target
    cdef readonly object capsule, weights, energy
    cdef readonly object loss
    """int64 (n_sites + 1,): the table in use, in multiples of `unit`."""
    cdef readonly double unit
    cdef object columns, change, count, gaps, sums, total

    def __init__(self, const uint64_t[:, ::1] columns, loss, int64_t n_patterns, weights):
        cdef int64_t n_walkers = weights.shape[0], n_sites = columns.shape[0], words = columns.shape[1]
        weights = checked_weights(weights, n_sites)
        check(words > 0 and words % 8 == 0, f"columns: got {words} words, expected a multiple of 8")
        check(0 < n_patterns <= 64 * words, "n_patterns: does not fit columns")
        check(len(loss) == n_sites + 1, f"loss: got {len(loss)} values, expected {n_sites + 1}")
        self.columns = columns.base
        self.loss, self.unit = fixed_point(loss, n_patterns)
        grow, drop = np.append(np.diff(self.loss), 0), np.append(0, -np.diff(self.loss))
        self.change = aligned((n_sites + 1, 2), np.int64)
        self.change[:, 0], self.change[:, 1] = drop - grow, grow
        self.weights = aligned((n_walkers, n_sites), np.int8)
        self.energy = aligned((n_walkers,), np.float64)
        self.count = aligned((n_walkers, 64 * words), np.int32)
        self.gaps = aligned((n_walkers, 64 * words), np.int64)
        self.sums = aligned((n_walkers, 2), np.int64)
        self.total = aligned((n_walkers,), np.int64)
        cdef const int64_t[:, ::1] change = self.change
        cdef int32_t[:, ::1] count = self.count
        cdef int64_t[:, ::1] gaps = self.gaps, sums = self.sums
        cdef int64_t[::1] total = self.total
        cdef int8_t[:, ::1] w = self.weights
        cdef double[::1] energy = self.energy
        self.model = tabulated_model(
            n_sites=n_sites, n_patterns=n_patterns, words=words, unit=self.unit, columns=&columns[0, 0],
            change=&change[0, 0], count=&count[0, 0], gaps=&gaps[0, 0], sums=&sums[0, 0], total=&total[0],
            weights=&w[0, 0], energy=&energy[0],
        )
        flip_target_set(&self.target, &self.model, tabulated_functions[<int>cpu.index()], NULL, 1, 8 * words, 0, w,
                        energy)
        self.capsule = flip_capsule(&self.target)
        self.load(weights)

    def load(self, weights):
        """Take over weights (n_walkers, n_sites) and rebuild everything from them."""
        weights = checked_weights(weights, self.target.n_sites)
        check(len(weights) == self.target.n_walkers, f"weights: expected {self.target.n_walkers} walkers")
        self.weights[...] = weights
        cdef const int64_t[::1] loss = self.loss
        cdef int64_t walker
        with nogil:
            for walker in range(self.target.n_walkers):
                tabulated_load(&self.model, walker, &loss[0])

    def caches(self):
        """What a checkpoint must hold besides the weights: nothing, all is exact."""
        return {}

    def restore(self, weights, caches):
        """Continue from a checkpoint."""
        self.load(weights)
