"""Metropolis moves of one or two real weights at a time, of walkers of any kernel family; see coordinates.h."""
from coordinate_target cimport coordinate_target, coordinate_target_of
from libc.stdint cimport int32_t, int64_t, uint64_t
from mcmc.kernels.chain cimport RealChain, chain_run
from mcmc.kernels.visits cimport prepare_visits, visits

import math

import numpy as np

from mcmc.kernels import check

cdef extern from "coordinates.h" nogil:
    enum:
        METROPOLIS
        COORDINATES_REFRESH_EVERY
    ctypedef struct coordinate_run:
        chain_run *chain
        const coordinate_target *target
        visits visits
        bint spherical
        double precision
        const double *step
        const uint64_t *partner_key
        const uint64_t *noise_key
        int32_t *others
        double *noise
        double limits[256][2]
    void acceptance_limits(int rule, double (*limits)[2])
    int64_t coordinates_sweep(void *run, int64_t sweep) noexcept
    void coordinates_record(void *run, int64_t row) noexcept

REFRESH_EVERY = COORDINATES_REFRESH_EVERY
"""Sweeps between refreshes of what rounding lets drift, counted from the start of the run."""
LARGEST_STEP = 1e5
"""Beyond it there is nothing new; angles of rotations are exact up to ten times it."""


cdef class Coordinates(RealChain):
    """Runs a block of walkers.

    block: of a kernel family, with `capsule`
    step_size: standard deviation of the step of a weight, or of the angle of a rotation in radians
    order: one of visits.ORDERS
    site_keys, partner_keys uint64 (n_copies,), noise_keys, move_keys uint64 (n_walkers,): random streams
    precision, target: as of RealChain, on the sphere with a fan-in >= 2; around: as of Chain

    ValueError for sizes that do not fit together.
    """

    cdef coordinate_run run

    def __init__(self, block, *, str order, precision, step_size, target=None, site_keys, partner_keys, noise_keys,
                 move_keys, **around):
        cdef const coordinate_target *t = coordinate_target_of(block.capsule)
        cdef int64_t n_walkers = t.n_walkers, n = t.n_sites
        check(precision is not None or n // t.n_units > 1,
              "weights: got units of 1 weight, expected at least 2 to rotate on a sphere")
        super().__init__(block, n_walkers, n, n, n_units=t.n_units, precision=precision, step_size=step_size,
                         target=target, largest_step=LARGEST_STEP, half_turn=math.pi, full_count=n, **around)
        self.chain.energy, self.chain.sampler = t.energy, &self.run
        self.chain.sweep, self.chain.record = coordinates_sweep, coordinates_record
        self.run.chain, self.run.target = &self.chain, t
        self.run.spherical, self.run.precision, self.run.step = self.spherical, self.precision, self.step_sizes()
        prepare_visits(&self.run.visits, self, order, t.site_bytes, site_keys, self.chain.n_copies, move_keys)
        self.run.partner_key = self.keys("partners", partner_keys, self.chain.n_copies)
        self.run.noise_key = self.keys("noise", noise_keys, n_walkers)
        self.run.others = <int32_t *>self.scratch((n + 4,), np.int32)
        self.run.noise = <double *>self.scratch((n, n_walkers), np.float64)
        acceptance_limits(METROPOLIS, self.run.limits)
