"""Moves of all weights at once, of walkers of any machine with real weights; see moves.h."""
from gradient_target cimport gradient_target, gradient_target_of
from libc.stdint cimport int8_t, int32_t, int64_t, uint32_t, uint64_t
from memory cimport address
from mcmc.kernels.chain cimport RealChain, chain_run
from mcmc.kernels.products cimport Products, backward_fn, forward_fn, products

import math

import numpy as np

from mcmc.kernels import aligned, check, cpu

cdef extern from "moves.h" nogil:
    ctypedef struct moves_method:
        const char *name
        bint follows_gradient, decides, is_exact, keeps_prior, of_langevin, integrates, keeps_momenta, in_batches
        double largest_step
    const moves_method moves_methods[]
    ctypedef struct passes:
        int64_t width, lanes
        double *partial
    enum:
        N_MOVES_METHODS
        N_MOVES_LANES
    ctypedef struct moves_run:
        chain_run *chain
        const gradient_target *target
        const moves_method *method
        int level, sphere
        double precision
        const double *step_size
        int64_t n_steps
        double friction
        const uint64_t *noise_key
        const uint64_t *move_key
        uint64_t length_key
        const uint64_t *batch_key
        uint32_t *batch_words
        int32_t *batch
        int8_t *in_batch
        const double *diagonal
        const products *root
        forward_fn root_forward
        backward_fn root_backward
        double *rows
        double *force
        double *mapped
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
        int64_t *mask
        passes passes
        double *row_kinetic
        double *row_energy_error
    void moves_set_lanes(moves_run *r, double *memory)
    int64_t moves_sweep(void *run, int64_t sweep) noexcept
    void moves_record(void *run, int64_t row) noexcept
    void moves_draw_momenta(const moves_run *r)

_CODES = {moves_methods[code].name.decode(): code for code in range(N_MOVES_METHODS)}
METHODS = {name: {key: value for key, value in moves_methods[<int>code].items() if key != "name"}
           for name, code in _CODES.items()}
"""The facts of moves_run.h about each method, by name."""


cdef class Moves(RealChain):
    """Runs a block of walkers.

    block: of a family with real weights, with `capsule`
    method: one of METHODS
    step_size: None for the elliptical slice, which has none
    n_steps: mean number of leapfrog steps of hmc; friction: of underdamped dynamics
    batch_size: patterns of a minibatch of sgld, that of the block
    root: of methods with a gradient, the map C of weights w = C u of which u is moved: float64 (n_weights,), its
        diagonal, or (1 or n_units, fan_in, fan_in), of all units or each; None for w = u
    noise_keys, move_keys uint64 (n_walkers,), batch_keys uint64 (n_copies,), length_key: random streams
    precision, target: as of RealChain; around: as of Chain

    Besides energy and weights rows hold, where there is an integrator, energy_error float64 (rows, n_copies, n_rungs),
    H' - H at the rung where the sweep of the row made it, before the exchange, and 0 where this block has no walker;
    and where momenta are kept, by walker, kinetic, |p|^2 per degree of freedom.
    ValueError for what does not fit together.
    """

    cdef moves_run run
    cdef readonly str method
    cdef object momentum
    cdef Products root

    def __init__(self, block, *, str method, precision, step_size, target=None, int64_t n_steps=1,
                 double friction=1.0, int64_t batch_size=0, root=None, noise_keys, move_keys, batch_keys=None,
                 uint64_t length_key=0, **around):
        cdef const gradient_target *t = gradient_target_of(block.capsule)
        check(method in METHODS, f"method: got {method!r}, expected one of {', '.join(METHODS)}")
        cdef const moves_method *m = &moves_methods[<int>_CODES[method]]
        check(not m.keeps_prior or precision is not None, f"prior: got spherical, expected gaussian for {method}")
        check(not m.follows_gradient or t.has_gradient,
              f"method: got {method}, expected one without a gradient: the energy has none")
        check(step_size is not None or m.largest_step == 0, f"step_size: got None, expected numbers for {method}")
        check(target is None or m.decides, f"step_size: got auto, expected a number for {method}")
        check(n_steps >= 1, f"n_steps: got {n_steps}, expected an integer >= 1")
        check(0 <= friction < math.inf, f"friction: got {friction}, expected a finite number >= 0")
        super().__init__(block, t.n_walkers, t.n_weights, m.decides, n_units=t.n_units, precision=precision,
                         step_size=step_size, target=target, largest_step=m.largest_step,
                         half_turn=math.pi**2 / 2 if m.of_langevin else math.pi, full_count=2.0**32, **around)
        self.method = method
        self.chain.energy, self.chain.sampler = t.energy, &self.run
        self.chain.sweep, self.chain.record = moves_sweep, moves_record
        self.run.chain, self.run.target, self.run.method, self.run.level = &self.chain, t, m, cpu.index()
        self.run.sphere, self.run.precision, self.run.step_size = self.spherical, self.precision, self.step_sizes()
        self.run.n_steps, self.run.friction, self.run.length_key = n_steps, friction, length_key
        self.run.noise_key = self.keys("noise", self._padded(noise_keys), t.n_packs * t.width)
        self.run.move_key = self.keys("moves", self._padded(move_keys), t.n_packs * t.width)
        self._allocate()
        if m.in_batches:
            self._take_batches(batch_size, batch_keys)
        if root is not None:
            self._take_root(np.asarray(root, dtype=np.float64))
        if m.keeps_momenta:
            moves_draw_momenta(&self.run)

    def _padded(self, keys):
        """Keys (n_walkers,) of all lanes."""
        cdef const gradient_target *t = self.run.target
        check(len(keys) == t.n_walkers, f"keys: got {len(keys)}, expected {t.n_walkers}")
        return np.concatenate([keys, np.repeat(keys[len(keys) - 1:], t.n_packs * t.width - len(keys))])

    def _allocate(self):
        """Memory for the walkers and for one pack, by what the method needs."""
        cdef moves_run *r = &self.run
        cdef const moves_method *m = r.method
        cdef int64_t n = r.target.n_weights, width = r.target.width, n_packs = r.target.n_packs
        r.passes.width, r.passes.lanes = width, 8 if width == 1 else width
        r.passes.partial = <double *>self.scratch((8, width), np.float64)
        moves_set_lanes(r, <double *>self.scratch((N_MOVES_LANES, r.passes.lanes), np.float64))
        r.noise = <double *>self.scratch((n, width), np.float64)
        r.weights = <double *>self.scratch((n, width), np.float64)
        r.unit_square = <double *>self.scratch((r.target.n_units, r.passes.lanes), np.float64)
        r.mask = <int64_t *>self.scratch((width,), np.int64)
        r.norm = <double *>self.scratch((n_packs, width), np.float64)
        if m.follows_gradient:
            r.gradient = <double *>self.scratch((n_packs, n, width), np.float64)
            r.proposed_gradient = <double *>self.scratch((n, width), np.float64)
        if m.integrates:
            shape = (self.chain.n_copies, self.chain.n_rungs)
            r.energy_error = <double *>self.scratch(shape, np.float64)
            self.record_into("energy_error", shape, np.float64, &r.row_energy_error)
        if m.keeps_momenta:
            self.momentum = aligned((n_packs, n, width), np.float64)
            r.momentum = <double *>address(self.momentum)
            r.kinetic = <double *>self.scratch((n_packs, width), np.float64)
            self.record_into("kinetic", (r.target.n_walkers,), np.float64, &r.row_kinetic)

    def _take_batches(self, batch_size, batch_keys):
        """Room for the minibatches of sgld."""
        cdef moves_run *r = &self.run
        check(0 < batch_size == r.target.batch_size,
              f"batch_size: got {batch_size}, expected that of the block, {r.target.batch_size}, and > 0")
        r.batch_key = self.keys("batches", batch_keys, self.chain.n_copies)
        r.batch_words = <uint32_t *>self.scratch(((batch_size + 3) // 4 * 4,), np.uint32)
        r.batch = <int32_t *>self.scratch((batch_size,), np.int32)
        r.in_batch = <int8_t *>self.scratch((r.target.n_patterns,), np.int8)

    def _take_root(self, root):
        """The map C."""
        cdef moves_run *r = &self.run
        cdef int64_t n = r.target.n_weights, n_units = r.target.n_units, width = r.target.width, fan_in = n // n_units
        check(r.method.follows_gradient, f"preconditioner: got one for {self.method}, expected none")
        check(not self.spherical, "preconditioner: got one for spherical weights, expected none")
        check(root.shape in ((n,), (1, fan_in, fan_in), (n_units, fan_in, fan_in)) and n_units * fan_in == n,
              f"preconditioner: got shape {root.shape}, expected ({n},) or (1 or {n_units}, {fan_in}, {fan_in})")
        check(bool(np.isfinite(root).all()), "preconditioner: expected finite numbers")
        r.force = <double *>self.scratch((n, width), np.float64)
        r.mapped = <double *>self.scratch((n, width), np.float64)
        if root.ndim == 1:
            self.memory.append(np.repeat(root[:, None], width, axis=1))
            r.diagonal = <double *>address(self.memory[len(self.memory) - 1])
            return
        self.root = Products(n_units, fan_in, fan_in * len(root), fan_in, width, False)
        self.root.fill(root.swapaxes(0, 1).reshape(fan_in, -1))
        r.root, r.root_forward, r.root_backward = &self.root.p, self.root.forward, self.root.backward
        r.rows = <double *>self.scratch((self.root.p.rows, width), np.float64)

    def restore(self, state):
        """Continue from a state, the block having been restored before. ValueError as in __init__, for weights."""
        RealChain.restore(self, state)
        self.run.known = 0

    def walker_state(self):
        """As of RealChain, and momenta float64 (n_walkers, n_weights) where they are kept."""
        state = RealChain.walker_state(self)
        if self.momentum is None:
            return state
        momenta = self.momentum.swapaxes(1, 2).reshape(-1, self.run.target.n_weights)
        return state | {"momentum": np.ascontiguousarray(momenta[: self.chain.n_walkers])}

    def restore_walkers(self, state):
        """As of RealChain, with momenta."""
        RealChain.restore_walkers(self, state)
        cdef const gradient_target *t = self.run.target
        if self.momentum is not None:
            lanes = np.minimum(np.arange(t.n_packs * t.width), t.n_walkers - 1)
            momenta = state["momentum"][lanes].reshape(t.n_packs, t.width, t.n_weights)
            self.momentum[...] = momenta.swapaxes(1, 2)
        self.run.known = 0
