"""Blocks of machines of sign units on +-1 inputs, by bit arithmetic; see bitslice.h."""
from flip_target cimport flip_capsule, flip_functions, flip_target, flip_target_set
from libc.stdint cimport int8_t, int32_t, int64_t, uint16_t, uint64_t

import numpy as np

from mcmc.kernels import aligned, check, checked_weights, cpu, fixed_point

cdef extern from "bitslice.h" nogil:
    ctypedef struct bitslice_model:
        int64_t n_sites, n_units, n_patterns, n_groups, n_planes, n_masks, skip
        const uint16_t *unit_of
        const uint64_t *columns
        int64_t top, n_count_planes
        const int64_t *threshold
        const int64_t *step
        int64_t least
        double unit
        const uint64_t *negative
        uint64_t *planes
        uint64_t *near
        uint64_t *counts
        uint64_t *masks
        int64_t *base
        int64_t *total
        int8_t *weights
        double *energy
    enum:
        BITSLICE_ERROR_COUNT
        BITSLICE_SYMMETRIC
        BITSLICE_RAMP
        BITSLICE_MAJORITY
        BITSLICE_VOTES
        BITSLICE_PARITY
    const flip_functions *bitslice_functions[6][3][3]
    void bitslice_load(bitslice_model *m, int64_t walker, const int32_t *start, int kind, int level)


cdef class Block:
    """Walkers of one instance.

    columns: uint64 (n_columns, words), bit mu set where label times input (parity: the input) is +1, words a multiple
        of 8, padding bits 0; n_columns: n_sites (a perceptron, a tree) or n_sites / n_units (units share the columns)
    start: int32 (64 words,): T of each pattern in a unit where no site agrees; padding patterns start beyond thresholds
    n_patterns: patterns that count
    weights: int8 (n_walkers, n_sites) of +-1, copied
    n_units: hidden units, n_sites / n_units sites each

    At most one of these; with none a pattern is wrong where T < 0 (one unit):
    top: wrong where T < 0 or T > top (one unit)
    ramp: (first, step): loss first + step (-1 - T) where T < 0, else 0 (one unit)
    losses: float64 (n_units + 1,): loss of a pattern by its number of right votes, a vote being right where T >= 0
    negative: uint64 (words,): bit mu set where the label is -1; wrong where the signs of T do not multiply to the label
    """

    cdef bitslice_model model
    cdef flip_target target
    cdef int kind
    cdef readonly object capsule, weights, energy
    cdef object columns, start, unit_of, threshold, step, negative, planes, near, counts, masks, base, total

    def __init__(self, const uint64_t[:, ::1] columns, const int32_t[::1] start, int64_t n_patterns, weights, *,
                 int64_t n_units=1, top=None, ramp=None, losses=None, negative=None):
        cdef int64_t n_columns = columns.shape[0], words = columns.shape[1]
        check(words > 0 and words % 8 == 0, f"columns: got {words} words, expected a multiple of 8")
        check(0 < n_patterns <= 64 * words == start.shape[0], "n_patterns, start: do not fit columns")
        check(0 < n_units <= 2**16, f"n_units: got {n_units}, expected 1 to {2**16}")
        cdef int64_t n_sites = n_columns if np.shape(weights)[1:] == (n_columns,) else n_columns * n_units
        weights = checked_weights(weights, n_sites)
        check(n_sites % n_units == 0, f"n_units: got {n_units}, expected a divisor of {n_sites} weights")
        cdef int64_t n_walkers = len(weights)
        given = (top is not None) + (ramp is not None) + (losses is not None) + (negative is not None)
        check(given <= 1, "top, ramp, losses, negative: one only")
        check(n_units == 1 or losses is not None or negative is not None, "n_units: several need losses or negative")
        self.columns, self.start = columns.base, start.base
        fan_in = n_sites // n_units
        self.unit_of = np.repeat(np.arange(n_units, dtype=np.uint16), fan_in)
        lowest, highest = int(np.min(start)), int(np.max(start)) + fan_in
        if ramp is None:
            self.threshold, self.step, least, unit = _steps(losses, n_units, n_patterns)
        else:
            self.threshold, self.step, least, unit = _ramp(*ramp, max(1, -lowest), n_patterns)
        self.negative = np.zeros(words, dtype=np.uint64) if negative is None else negative
        check(len(self.negative) == words, f"negative: got {len(self.negative)} words, expected {words}")
        n_masks, n_count_planes = 1, 1
        if top is not None:
            self.kind, n_masks = BITSLICE_SYMMETRIC, 2
        elif ramp is not None:
            self.kind, n_masks = BITSLICE_RAMP, 3
        elif negative is not None:
            self.kind, n_masks = BITSLICE_PARITY, 2
        elif losses is not None:
            n_masks, n_count_planes = len(self.threshold), n_units.bit_length()
            # a single step of 1 is an error count, with integer energies
            counted = n_masks == 1 and self.step[0] * unit == 1 and least == 0
            self.kind = BITSLICE_MAJORITY if counted else BITSLICE_VOTES
            if counted:
                self.step, unit = np.ones(1, dtype=np.int64), 1.0
        else:
            self.kind = BITSLICE_ERROR_COUNT
        n_planes = max(-lowest - 1, highest, 0 if top is None else top + 1).bit_length() + 1
        self.weights = aligned((n_walkers, n_sites), np.int8)
        self.energy = aligned((n_walkers,), np.float64)
        self.planes = aligned((n_walkers, n_units, words // 8, n_planes, 8), np.uint64)
        self.near = aligned((n_walkers, n_units, words), np.uint64)
        self.counts = aligned((n_walkers, words // 8, n_count_planes, 8), np.uint64)
        self.masks = aligned((n_walkers, n_units, n_masks, words), np.uint64)
        self.base = aligned((n_walkers, n_units, n_masks, 2), np.int64)
        self.total = aligned((n_walkers,), np.int64)
        cdef const uint16_t[::1] unit_of = self.unit_of
        cdef const int64_t[::1] threshold = self.threshold, step = self.step
        cdef const uint64_t[::1] label = self.negative
        cdef uint64_t[:, :, :, :, ::1] planes = self.planes
        cdef uint64_t[:, :, ::1] near = self.near
        cdef uint64_t[:, :, :, ::1] counts = self.counts, masks = self.masks
        cdef int64_t[:, :, :, ::1] base = self.base
        cdef int64_t[::1] total = self.total
        cdef int8_t[:, ::1] w = self.weights
        cdef double[::1] energy = self.energy
        self.model = bitslice_model(
            n_sites=n_sites, n_units=n_units, n_patterns=n_patterns, n_groups=words // 8, n_planes=n_planes,
            n_masks=n_masks, skip=fan_in if n_columns < n_sites else 0, unit_of=&unit_of[0],
            columns=&columns[0, 0], top=0 if top is None else top, n_count_planes=n_count_planes,
            threshold=&threshold[0], step=&step[0], least=least, unit=unit, negative=&label[0],
            planes=&planes[0, 0, 0, 0, 0], near=&near[0, 0, 0], counts=&counts[0, 0, 0, 0], masks=&masks[0, 0, 0, 0],
            base=&base[0, 0, 0, 0], total=&total[0], weights=&w[0, 0], energy=&energy[0],
        )
        groups = words // 8 if words <= 16 else 0
        real = self.kind in (BITSLICE_VOTES, BITSLICE_RAMP)
        flip_target_set(&self.target, &self.model, bitslice_functions[self.kind][<int>groups][<int>cpu.index()], NULL,
                        n_units, 8 * words, 0 if real else n_patterns, w, energy)
        self.capsule = flip_capsule(&self.target)
        self.load(weights)

    def load(self, weights):
        """Take over weights (n_walkers, n_sites) and rebuild everything from them."""
        weights = checked_weights(weights, self.target.n_sites)
        check(len(weights) == self.target.n_walkers, f"weights: expected {self.target.n_walkers} walkers")
        self.weights[...] = weights
        cdef const int32_t[::1] start = self.start
        cdef int64_t walker
        cdef int level = cpu.index()
        with nogil:
            for walker in range(self.target.n_walkers):
                bitslice_load(&self.model, walker, &start[0], self.kind, level)

    def caches(self):
        """What a checkpoint must hold besides the weights: nothing, all is exact."""
        return {}

    def restore(self, weights, caches):
        """Continue from a checkpoint."""
        self.load(weights)


def _steps(losses, n_units, n_patterns):
    """A loss by number of right votes as thresholds r (at least one), losses of C < r over C >= r, least loss, unit."""
    if losses is None:
        return np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.int64), 0, 1.0
    check(len(losses) == n_units + 1, f"losses: got {len(losses)} values, expected {n_units + 1}")
    table, unit = fixed_point(losses, n_patterns)
    steps = -np.diff(table)
    which = np.flatnonzero(steps) if steps.any() else np.zeros(1, dtype=np.intp)
    return which.astype(np.int64) + 1, steps[which], int(table[n_units]), unit


def _ramp(first, step, depth, n_patterns):
    """As _steps for a loss of first + step (-1 - T) at T = -1 ... -depth: weights of the masks T < 0, T = 0, T = -1."""
    _, unit = fixed_point(np.append(first + step * np.arange(depth)[::-1], 0.0), n_patterns)
    a, s = round(first / unit), round(step / unit)
    return np.zeros(1, dtype=np.int64), np.array([2 * s, a, a - s], dtype=np.int64), 0, unit
