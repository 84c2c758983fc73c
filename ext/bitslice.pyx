"""Blocks of perceptrons with +-1 inputs and threshold losses, by bit arithmetic; see bitslice.h."""
from flip_target cimport flip_capsule, flip_functions, flip_target, flip_target_set
from libc.stdint cimport int8_t, int32_t, int64_t, uint64_t

import numpy as np

from mcmc.kernels import aligned, check, checked_weights, cpu

cdef extern from "bitslice.h" nogil:
    ctypedef struct bitslice_model:
        int64_t n_sites, n_groups, n_planes, n_masks, top
        const uint64_t *columns
        uint64_t *planes
        uint64_t *masks
        int64_t *base
        int8_t *weights
        double *energy
    int64_t bitslice_load(const bitslice_model *m, int64_t walker, const int32_t *start, int64_t n_patterns)
    const flip_functions *bitslice_functions[2][3]


cdef class Block:
    """Walkers of one instance.

    columns: uint64 (n_sites, words), bit mu set where label times input is +1, words a multiple of 8, padding bits 0
    start: int32 (64 words,): T of each pattern with no site in agreement; padding patterns start beyond every threshold
    top: None for an error where T < 0; else also where T > top
    n_patterns: patterns that count
    weights: int8 (n_walkers, n_sites) of +-1, copied
    """

    cdef bitslice_model model
    cdef flip_target target
    cdef readonly object capsule, weights, energy
    cdef object columns, start, planes, masks, base
    cdef int64_t n_patterns

    def __init__(self, const uint64_t[:, ::1] columns, const int32_t[::1] start, top, int64_t n_patterns, weights):
        cdef int64_t n_walkers = weights.shape[0], n_sites = columns.shape[0], words = columns.shape[1]
        weights = checked_weights(weights, n_sites)
        check(words > 0 and words % 8 == 0, f"columns: got {words} words, expected a multiple of 8")
        check(0 < n_patterns <= 64 * words == start.shape[0], "n_patterns, start: do not fit columns")
        both = top is not None
        self.columns, self.start, self.n_patterns = columns.base, start.base, n_patterns
        self.weights = aligned((n_walkers, n_sites), np.int8)
        self.energy = aligned((n_walkers,), np.float64)
        lowest, highest = int(np.min(start)), int(np.max(start)) + n_sites
        n_planes = max(-lowest - 1, highest, 0 if top is None else top + 1).bit_length() + 1
        self.planes = aligned((n_walkers, words // 8, n_planes, 8), np.uint64)
        self.masks = aligned((n_walkers, 1 + both, words), np.uint64)
        self.base = aligned((n_walkers, 2), np.int64)
        cdef uint64_t[:, :, :, ::1] planes = self.planes
        cdef uint64_t[:, :, ::1] masks = self.masks
        cdef int64_t[:, ::1] base = self.base
        cdef int8_t[:, ::1] w = self.weights
        cdef double[::1] energy = self.energy
        self.model = bitslice_model(
            n_sites=n_sites, n_groups=words // 8, n_planes=n_planes, n_masks=1 + both, top=top if both else 0,
            columns=&columns[0, 0], planes=&planes[0, 0, 0, 0], masks=&masks[0, 0, 0], base=&base[0, 0],
            weights=&w[0, 0], energy=&energy[0],
        )
        cdef const flip_functions *call = bitslice_functions[1 if both else 0][<int>cpu.index()]
        flip_target_set(&self.target, &self.model, call, NULL, 1, n_patterns, w, energy)
        self.capsule = flip_capsule(&self.target)
        self.load(weights)

    def load(self, weights):
        """Take over weights (n_walkers, n_sites) and rebuild everything from them."""
        weights = checked_weights(weights, self.target.n_sites)
        check(len(weights) == self.target.n_walkers, f"weights: expected {self.target.n_walkers} walkers")
        self.weights[...] = weights
        cdef const int32_t[::1] start = self.start
        cdef int64_t walker
        with nogil:
            for walker in range(self.target.n_walkers):
                bitslice_load(&self.model, walker, &start[0], self.n_patterns)

    def caches(self):
        """What a checkpoint must hold besides the weights: nothing, all is exact."""
        return {}

    def restore(self, weights, caches):
        """Continue from a checkpoint."""
        self.load(weights)
