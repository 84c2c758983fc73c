"""Moves of all weights at once, of walkers of any machine with real weights; see moves.h."""
from gradient_target cimport gradient_target, gradient_target_of
from libc.stdint cimport int64_t, uint64_t
from mcmc.kernels.chain cimport NEVER, Chain, chain_run, grown

import math

import numpy as np

from mcmc.kernels import aligned, check, check_on_sphere, cpu
from mcmc.kernels.tuning import Tuning

cdef extern from "moves.h" nogil:
    enum:
        LANGEVIN
        MALA
        HMC
        UNDERDAMPED
        PCN
        ELLIPTICAL_SLICE
        RANDOM_WALK
    ctypedef struct moves_lanes:
        double *beta
        double *step
        double *a
        double *b
        double *c
        double *dot
        double *energy
        double *norm
        double *kinetic
        double *before
        double *angle
        double *low
        double *high
        double *one
    ctypedef struct moves_run:
        chain_run *chain
        const gradient_target *target
        int level, method, sphere
        double precision
        const double *step_size
        int64_t n_steps
        double friction
        const uint64_t *noise_key
        const uint64_t *move_key
        uint64_t length_key
        int64_t *counts
        int known
        double *gradient
        double *momentum
        double *norm
        double *kinetic
        double *energy_error
        double *noise
        double *weights
        double *proposed_gradient
        double *unit_square
        double *partial
        int64_t *mask
        moves_lanes lanes
        double *row_weights
        double *row_kinetic
        double *row_energy_error
    int64_t moves_sweep(void *run, int64_t sweep) noexcept
    void moves_record(void *run, int64_t row) noexcept
    void moves_draw_momenta(const moves_run *r)

METHODS = {"langevin": LANGEVIN, "mala": MALA, "hmc": HMC, "underdamped": UNDERDAMPED, "pcn": PCN,
           "elliptical-slice": ELLIPTICAL_SLICE, "random-walk": RANDOM_WALK}
WITH_GRADIENT = ("langevin", "mala", "hmc", "underdamped")
"""Methods that drive the gradient."""
WITHOUT_ACCEPTANCE = ("langevin", "underdamped", "elliptical-slice")
"""Methods that reject nothing."""


def largest_step(method, prior):
    """The step size beyond which there is nothing new: a whole prior draw, or half a great circle at unit speed."""
    if method == "pcn":
        return 1.0
    return {"gaussian": math.inf, "spherical": math.pi**2 / 2 if method == "mala" else math.pi}[prior]


cdef class Moves(Chain):
    """Runs a block: walkers first .. first + n_walkers - 1 of the flattened (copy, rung of birth) of one instance.

    block: of a family with real weights, with `capsule`
    method: one of METHODS; prior: "gaussian" with `precision`, or "spherical"
    step_size: float64 (n_rungs,), > 0, or None for the elliptical slice, which has none
    target: mean acceptance probability to which the step size of each rung is tuned in the burn-in; 0 leaves it alone
    n_steps: mean number of leapfrog steps of hmc; friction: of underdamped dynamics
    beta: float64 (n_rungs,), finite and >= 0
    noise_keys, move_keys uint64 (n_walkers,), swap_keys uint64 (n_copies,), length_key: random streams
    exchange_every: 0 for none; burn_in: sweeps before exchanges are counted; measure_every: sweeps between rows

    Besides energy and weights float64 (rows, n_walkers, n_weights) rows hold, by walker, energy_error where there is an
    integrator, H' - H at the sweep of the row, and kinetic for underdamped dynamics, |p|^2 per degree of freedom.
    ValueError for what does not fit together.
    """

    cdef moves_run run
    cdef readonly str method, prior
    cdef object steps, tuning
    cdef object noise_keys, move_keys, gradient, momentum, norm, kinetic, energy_error
    cdef object noise, weights, proposed_gradient, unit_square, partial, mask, lanes
    cdef object row_weights, row_kinetic, row_energy_error

    def __init__(self, block, *, str method, str prior, double precision, step_size, int64_t n_copies, int64_t first,
                 const double[::1] beta, noise_keys, move_keys, const uint64_t[::1] swap_keys, uint64_t length_key=0,
                 double target=0.0, int64_t n_steps=1, double friction=1.0, int64_t exchange_every=0,
                 int64_t burn_in=0, int64_t measure_every=1, int64_t instance=0):
        cdef const gradient_target *t = gradient_target_of(block.capsule)
        self.join(block, t.energy, t.n_walkers, instance, n_copies, first, beta, swap_keys, exchange_every, burn_in,
                  measure_every)
        check(method in METHODS, f"method: got {method!r}, expected one of {', '.join(METHODS)}")
        check(prior in ("gaussian", "spherical"), f"prior: got {prior!r}, expected gaussian or spherical")
        check(method not in ("pcn", "elliptical-slice") or prior == "gaussian",
              f"prior: got {prior}, expected gaussian for {method}")
        check(method not in WITH_GRADIENT or t.has_gradient,
              f"method: got {method}, expected one without a gradient: the energy has none")
        check(0 < precision < math.inf, f"precision: got {precision}, expected a finite number > 0")
        check(n_steps >= 1, f"n_steps: got {n_steps}, expected an integer >= 1")
        check(0 <= friction < math.inf, f"friction: got {friction}, expected a finite number >= 0")
        check(len(noise_keys) == len(move_keys) == t.n_walkers,
              f"keys: got {len(noise_keys)} of noise and {len(move_keys)} of moves, expected {t.n_walkers}")
        self.method, self.prior = method, prior
        self.chain.sampler, self.chain.sweep, self.chain.record = &self.run, moves_sweep, moves_record
        self.run.chain, self.run.target, self.run.level = &self.chain, t, cpu.index()
        self.run.method, self.run.sphere = METHODS[method], prior == "spherical"
        self.run.precision = 0.0 if prior == "spherical" else precision
        self.run.n_steps, self.run.friction, self.run.length_key = n_steps, friction, length_key
        self.noise_keys, self.move_keys = self._padded(noise_keys), self._padded(move_keys)
        cdef const uint64_t[::1] noise_key = self.noise_keys, move_key = self.move_keys
        self.run.noise_key, self.run.move_key = &noise_key[0], &move_key[0]
        self._take_steps(step_size, target)
        self._allocate()
        self._check_norms()
        if method == "underdamped":
            moves_draw_momenta(&self.run)

    def _padded(self, keys):
        room = self.run.target.n_packs * self.run.target.width
        return np.concatenate([keys, np.repeat(keys[len(keys) - 1:], room - len(keys))]).astype(np.uint64)

    def _take_steps(self, step_size, target):
        """Step sizes of the rungs and what tunes them."""
        n_rungs = self.chain.n_rungs
        if step_size is None:
            check(self.method == "elliptical-slice", f"step_size: got None, expected numbers for {self.method}")
            return
        self.steps = np.array(step_size, dtype=np.float64)
        largest = 1.0 if self.method == "pcn" else math.inf
        check(self.steps.shape == (n_rungs,) and bool(((self.steps > 0) & (self.steps <= largest)).all())
              and bool(np.isfinite(self.steps).all()),
              f"step_size: got {self.steps}, expected {n_rungs} finite numbers > 0 and <= {largest}")
        cdef double[::1] steps = self.steps
        self.run.step_size = &steps[0]
        if not target:
            return
        check(self.method not in WITHOUT_ACCEPTANCE, f"step_size: got auto, expected a number for {self.method}")
        self.tuning = Tuning(self.steps, target, largest_step(self.method, self.prior), self.chain.burn_in)
        cdef int64_t[::1] counts = np.zeros(n_rungs, dtype=np.int64)
        self.counts, self.run.counts = counts.base, &counts[0]

    def _allocate(self):
        cdef moves_run *r = &self.run
        cdef int64_t n = r.target.n_weights, width = r.target.width, n_packs = r.target.n_packs
        cdef int64_t copies = 8 if width == 1 else width
        cdef double[:, ::1] noise, weights, proposed_gradient, unit_square, lanes, norm, kinetic, energy_error, partial
        cdef double[:, :, ::1] gradient, momentum
        self.noise = noise = aligned((n, width), np.float64)
        self.weights = weights = aligned((n, width), np.float64)
        self.partial = partial = aligned((8, width), np.float64)
        self.unit_square = unit_square = aligned((r.target.n_units, copies), np.float64)
        cdef int64_t[::1] mask = aligned((width,), np.int64)
        self.mask = mask.base
        self.lanes = lanes = aligned((14, copies), np.float64)
        self.lanes[13] = 1.0
        self.norm = norm = aligned((n_packs, width), np.float64)
        r.noise, r.weights, r.partial, r.unit_square = &noise[0, 0], &weights[0, 0], &partial[0, 0], &unit_square[0, 0]
        r.mask, r.norm = &mask[0], &norm[0, 0]
        r.lanes = moves_lanes(
            beta=&lanes[0, 0], step=&lanes[1, 0], a=&lanes[2, 0], b=&lanes[3, 0], c=&lanes[4, 0], dot=&lanes[5, 0],
            energy=&lanes[6, 0], norm=&lanes[7, 0], kinetic=&lanes[8, 0], before=&lanes[9, 0], angle=&lanes[10, 0],
            low=&lanes[11, 0], high=&lanes[12, 0], one=&lanes[13, 0])
        if self.method in WITH_GRADIENT:
            self.gradient = gradient = aligned((n_packs, n, width), np.float64)
            self.energy_error = energy_error = aligned((n_packs, width), np.float64)
            r.gradient, r.energy_error = &gradient[0, 0, 0], &energy_error[0, 0]
        if self.method in ("mala", "hmc"):
            self.proposed_gradient = proposed_gradient = aligned((n, width), np.float64)
            r.proposed_gradient = &proposed_gradient[0, 0]
        if self.method == "underdamped":
            self.momentum = momentum = aligned((n_packs, n, width), np.float64)
            self.kinetic = kinetic = aligned((n_packs, width), np.float64)
            r.momentum, r.kinetic = &momentum[0, 0, 0], &kinetic[0, 0]

    def _check_norms(self):
        """ValueError unless all weights are where the prior is."""
        if self.prior == "spherical":
            check_on_sphere(self.block.weights, self.run.target.n_units, self.chain.first)

    cdef int grow(self, int64_t held, int64_t room) except -1:
        Chain.grow(self, held, room)
        shape = (self.chain.n_walkers, self.run.target.n_weights)
        cdef double[:, :, ::1] weights = grown(self.row_weights, held, room, shape, np.float64)
        cdef double[:, ::1] kinetic, energy_error
        self.row_weights, self.run.row_weights = weights.base, &weights[0, 0, 0]
        if self.energy_error is not None:
            energy_error = grown(self.row_energy_error, held, room, (self.chain.n_walkers,), np.float64)
            self.row_energy_error, self.run.row_energy_error = energy_error.base, &energy_error[0, 0]
        if self.kinetic is not None:
            kinetic = grown(self.row_kinetic, held, room, (self.chain.n_walkers,), np.float64)
            self.row_kinetic, self.run.row_kinetic = kinetic.base, &kinetic[0, 0]
        return 0

    cdef dict rows(self, int64_t n):
        rows = Chain.rows(self, n) | {"weights": self.row_weights[:n]}
        if self.energy_error is not None:
            rows["energy_error"] = self.row_energy_error[:n]
        if self.kinetic is not None:
            rows["kinetic"] = self.row_kinetic[:n]
        return rows

    @property
    def n_weights(self):
        """Weights of a walker."""
        return self.run.target.n_weights

    @property
    def proposals(self):
        """Proposals of a walker in a sweep; 0 where there is nothing to accept."""
        return int(self.method not in WITHOUT_ACCEPTANCE)

    @property
    def step_size(self):
        """Step size of each rung as used, float64 (n_rungs,), a copy, or None."""
        return None if self.steps is None else self.steps.copy()

    def next_adaptation(self, int64_t done):
        """The end of the next window of the burn-in, while a step size is tuned."""
        return self.tuning.next(done) if self.tuning else NEVER

    def adapt(self, int64_t sweep, counts):
        """Tune the step sizes.

        counts: int64 (n_rungs,), acceptance probabilities of the window in units of 2^-32, of all blocks of the
        instance.
        """
        self.tuning.adapt(sweep, np.asarray(counts) / (2.0**32 * self.chain.n_copies * self.tuning.sweeps(sweep)))
        self.counts[...] = 0

    def state(self):
        """Permutation, counters and tuning: name -> array, not copied."""
        return Chain.state(self) | ({"counts": self.counts} | self.tuning.state() if self.tuning else {})

    def restore(self, state):
        """Continue from a state, the block having been restored before. ValueError as in __init__, for weights."""
        Chain.restore(self, state)
        self._check_norms()
        self.run.known = 0

    def walker_state(self):
        """Momenta float64 (n_walkers, n_weights) of underdamped dynamics, copies."""
        if self.momentum is None:
            return {}
        momenta = self.momentum.swapaxes(1, 2).reshape(-1, self.run.target.n_weights)
        return {"momentum": np.ascontiguousarray(momenta[: self.chain.n_walkers])}

    def restore_walkers(self, state):
        """Continue with momenta."""
        cdef const gradient_target *t = self.run.target
        if self.momentum is not None:
            lanes = np.minimum(np.arange(t.n_packs * t.width), t.n_walkers - 1)
            momenta = state["momentum"][lanes].reshape(t.n_packs, t.width, t.n_weights)
            self.momentum[...] = momenta.swapaxes(1, 2)
        self.run.known = 0
