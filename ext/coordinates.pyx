"""Metropolis moves of one or two real weights at a time, of walkers of any kernel family; see coordinates.h."""
from coordinate_target cimport coordinate_target, coordinate_target_of
from libc.stdint cimport int32_t, int64_t, uint16_t, uint64_t
from mcmc.kernels.chain cimport Chain, chain_run, grown

import numpy as np

from mcmc.kernels import aligned, check, check_on_sphere, cpu
from mcmc.kernels.tuning import NEVER, Tuning

cdef extern from "coordinates.h" nogil:
    enum:
        METROPOLIS
        ORDER_RANDOM
        ORDER_SEQUENTIAL
        CHUNK
        COORDINATES_REFRESH_EVERY
    ctypedef struct coordinate_run:
        chain_run *chain
        const coordinate_target *target
        int level, order
        bint spherical
        double precision
        const double *step
        const uint64_t *site_key
        const uint64_t *partner_key
        const uint64_t *noise_key
        const uint64_t *move_key
        int64_t *counts
        double *row_weights
        int32_t *sites
        int32_t *others
        double *noise
        uint16_t *high
        double limits[256][2]
    void acceptance_limits(int rule, double (*limits)[2])
    int64_t coordinates_sweep(void *run, int64_t sweep) noexcept
    void coordinates_record(void *run, int64_t row) noexcept

ORDERS = {"random": ORDER_RANDOM, "sequential": ORDER_SEQUENTIAL}
REFRESH_EVERY = COORDINATES_REFRESH_EVERY
"""Sweeps between refreshes of what rounding lets drift, counted from the start of the run."""
LARGEST_STEP = 1e5
"""Beyond it there is nothing new; angles of rotations are exact up to ten times it."""
TARGET = 0.44
"""Acceptance to which step sizes are tuned: the best for one coordinate of a Gaussian (Gelman, Roberts, Gilks 1996)."""


cdef class Coordinates(Chain):
    """Runs a block: walkers first .. first + n_walkers - 1 of the flattened (copy, rung of birth) of one instance.

    block: of a kernel family, with `capsule`
    precision: of the gaussian prior, > 0; None for spherical weights, every unit on |w_k|^2 = fan-in >= 2
    step_size: float64 (n_rungs,), finite and > 0, copied: standard deviation of the step of a weight, or of the angle
        of a rotation in radians
    tuned: whether it is tuned in the burn-in, by the `counts`, int64 (n_rungs,), of accepted moves
    beta: float64 (n_rungs,), finite and >= 0
    site_keys, partner_keys, swap_keys uint64 (n_copies,), noise_keys, move_keys uint64 (n_walkers,): random streams
    exchange_every: 0 for none; burn_in: sweeps before exchanges are counted; measure_every: sweeps between rows

    ValueError for sizes that do not fit together.
    """

    cdef coordinate_run run
    cdef object tuning, steps, site_keys, partner_keys, noise_keys, move_keys, sites, others, noise, high, row_weights

    def __init__(self, block, *, precision, step_size, str order, int64_t n_copies, int64_t first,
                 const double[::1] beta, const uint64_t[::1] site_keys, const uint64_t[::1] partner_keys,
                 const uint64_t[::1] noise_keys, const uint64_t[::1] move_keys, const uint64_t[::1] swap_keys,
                 int64_t exchange_every, int64_t burn_in, int64_t measure_every, int64_t instance=0,
                 bint tuned=False):
        cdef const coordinate_target *target = coordinate_target_of(block.capsule)
        cdef int64_t n_rungs = beta.shape[0], n_walkers = target.n_walkers, n = target.n_sites
        self.join(block, target.energy, n_walkers, instance, n_copies, first, beta, swap_keys, exchange_every, burn_in,
                  measure_every)
        n_keys = (site_keys.shape[0], partner_keys.shape[0], noise_keys.shape[0], move_keys.shape[0])
        expected = (n_copies, n_copies, n_walkers, n_walkers)
        check(n_keys == expected, f"keys: got {n_keys} of sites, partners, noise and moves, expected {expected}")
        self.steps = np.array(step_size, dtype=np.float64)
        check(self.steps.shape == (n_rungs,) and bool(((self.steps > 0) & (self.steps <= LARGEST_STEP)).all()),
              f"step_size: got {step_size}, expected {n_rungs} numbers > 0, at most {LARGEST_STEP:g}")
        check(precision is None or 0 < precision < np.inf, f"precision: got {precision}, expected a finite number > 0")
        check(precision is not None or n // target.n_units > 1,
              "weights: got units of 1 weight, expected at least 2 to rotate on a sphere")
        if precision is None:
            check_on_sphere(block.weights, target.n_units, first)
        self.site_keys, self.partner_keys = site_keys.base, partner_keys.base
        self.noise_keys, self.move_keys = noise_keys.base, move_keys.base
        self.sites, self.others = aligned((n + 4,), np.int32), aligned((n + 4,), np.int32)
        self.noise, self.high = aligned((n, n_walkers), np.float64), aligned((n_walkers, CHUNK), np.uint16)
        cdef int32_t[::1] sites = self.sites, others = self.others
        cdef double[:, ::1] noise = self.noise
        cdef uint16_t[:, ::1] high = self.high
        cdef const double[::1] step = self.steps
        self.chain.sampler, self.chain.sweep, self.chain.record = &self.run, coordinates_sweep, coordinates_record
        self.run.chain, self.run.target = &self.chain, target
        self.run.level, self.run.order = cpu.index(), ORDERS[order]
        self.run.spherical, self.run.precision = precision is None, precision or 0.0
        self.run.step = &step[0]
        self.run.site_key, self.run.partner_key = &site_keys[0], &partner_keys[0]
        self.run.noise_key, self.run.move_key = &noise_keys[0], &move_keys[0]
        self.run.sites, self.run.others = &sites[0], &others[0]
        self.run.noise, self.run.high = &noise[0, 0], &high[0, 0]
        acceptance_limits(METROPOLIS, self.run.limits)
        cdef int64_t[::1] counts
        if tuned:
            self.tuning = Tuning(self.steps, TARGET, np.pi if precision is None else LARGEST_STEP, burn_in)
            self.counts = counts = np.zeros(n_rungs, dtype=np.int64)
            self.run.counts = &counts[0]

    cdef int grow(self, int64_t held, int64_t room) except -1:
        Chain.grow(self, held, room)
        shape = (self.chain.n_walkers, self.run.target.n_sites)
        cdef double[:, :, ::1] weights = grown(self.row_weights, held, room, shape, np.float64)
        self.row_weights, self.run.row_weights = weights.base, &weights[0, 0, 0]
        return 0

    cdef dict rows(self, int64_t n):
        """With weights float64 (n, n_walkers, n_weights)."""
        return Chain.rows(self, n) | {"weights": self.row_weights[:n]}

    @property
    def n_weights(self):
        """Weights of a walker."""
        return self.run.target.n_sites

    @property
    def proposals(self):
        """Proposals of a walker in a sweep."""
        return self.run.target.n_sites

    @property
    def step_size(self):
        """Step size of each rung as used, float64 (n_rungs,), a copy."""
        return self.steps.copy()

    def next_adaptation(self, int64_t done):
        """The end of the next window of the burn-in, while step sizes are tuned."""
        return self.tuning.next(done) if self.tuning else NEVER

    def adapt(self, int64_t sweep, counts):
        """Tune the step sizes; counts: int64 (n_rungs,), accepted in the window, of all blocks of the instance."""
        proposals = self.tuning.sweeps(sweep) * self.chain.n_copies * self.run.target.n_sites
        self.tuning.adapt(sweep, np.asarray(counts) / proposals)
        self.counts[...] = 0

    def state(self):
        """Permutation, counters and tuning: name -> array, not copied."""
        return Chain.state(self) | ({"counts": self.counts} | self.tuning.state() if self.tuning else {})

    def restore(self, state):
        """Continue from a state, the block having been restored before. ValueError as in __init__, for weights."""
        Chain.restore(self, state)
        if self.run.spherical:
            check_on_sphere(self.block.weights, self.run.target.n_units, self.chain.first)
