"""What the chains of all samplers have in common: rungs, exchange, adaptation and rows; see chain.h."""
from libc.string cimport memcpy
from memory cimport address

import math

import numpy as np

from mcmc.errors import DivergenceError
from mcmc.kernels import NEVER, aligned, check, check_on_sphere
from mcmc.kernels.tuning import Tuning


LADDER_COUNTS = {"accepted": LADDER_ACCEPTED, "proposed": LADDER_PROPOSED, "from_first": LADDER_FROM_FIRST,
                 "from_last": LADDER_FROM_LAST, "arrived": LADDER_ARRIVED}
"""Rows of what the ladder is tuned by: exchanges of a rung with the next one, visits by walkers that come from the
first and from the last rung, arrivals at an end from the other one."""


cdef class Chain:
    """Walkers of one instance under exchange; a subclass moves them.

    block: of a kernel family, with `capsule`: walkers first .. first + n_walkers - 1 of the flattened (copy, rung of
        birth) of the instance, with n_weights weights each
    proposals: of a walker in a sweep; 0 where there is nothing to accept
    beta: float64 (n_rungs,), finite and >= 0
    swap_keys: uint64 (n_copies,), random streams of the exchange
    exchange_every: 0 for none; burn_in: sweeps before exchanges are counted; measure_every: sweeps between rows
    tuned_until: the last sweep after which `ladder_counts` are taken; 0 for none

    notes_passage: whether `first_passage` is noted

    ValueError for sizes that do not fit together.

    Arrays kept from call to call: walker_at int32 (n_copies, n_rungs), the walker on each rung; accepted int64
    (n_copies, n_rungs), moves at each rung since the last row; counts int64, what was counted by the walkers of this
    block since the last adaptation; exchange_accepted and exchange_proposed int64 (n_copies, n_rungs - 1), after
    burn-in; ladder_counts int64 (len(LADDER_COUNTS), n_rungs), of all copies since the ladder was last tuned, or None;
    first_passage int64 (n_walkers,), the first sweep at whose end the energy of a walker was 0, -1 before it, or None.

    A subclass sets energy, sampler, sweep and record of `chain`, calls `record_into` for its weights, and where
    something adapts, `count`; then it has next_adaptation and adapt(sweep, counts), which adapts at the end of such a
    sweep by what all blocks of the instance have counted together.
    """

    def __init__(self, block, int64_t n_walkers, int64_t n_weights, int64_t proposals, *, int64_t n_copies,
                 int64_t first, const double[::1] beta, swap_keys, int64_t exchange_every=0, int64_t burn_in=0,
                 int64_t measure_every=1, int64_t instance=0, int64_t tuned_until=0, bint notes_passage=False):
        cdef int64_t n_rungs = beta.shape[0]
        n = n_copies * n_rungs
        check(0 <= first < first + n_walkers <= n,
              f"block: got walkers {first} to {first + n_walkers - 1}, expected some of the {n} of {n_copies} copies x "
              f"{n_rungs} rungs")
        check(min(exchange_every, burn_in, measure_every, tuned_until) >= 0,
              "exchange_every, burn_in, measure_every, tuned_until: expected integers >= 0")
        self.block, self.instance, self.beta = block, instance, np.empty(n_rungs)
        Chain.set_beta(self, beta)
        self.n_weights, self.proposals = n_weights, proposals
        self.memory, self.row_kinds, self.row_arrays = [], {}, {}
        self.walker_at = np.tile(np.arange(n_rungs, dtype=np.int32), (n_copies, 1))
        self.rung_of = self.walker_at.copy()
        self.accepted = np.zeros((n_copies, n_rungs), dtype=np.int64)
        self.counts = np.zeros(0, dtype=np.int64)
        self.exchange_accepted = np.zeros((n_copies, n_rungs - 1), dtype=np.int64)
        self.exchange_proposed = np.zeros((n_copies, n_rungs - 1), dtype=np.int64)
        cdef chain_run *c = &self.chain
        c.n_copies, c.n_rungs, c.first, c.n_walkers = n_copies, n_rungs, first, n_walkers
        c.beta, c.swap_key = <const double *>address(self.beta), self.keys("swaps", swap_keys, n_copies)
        c.walker_at, c.rung_of = <int32_t *>address(self.walker_at), <int32_t *>address(self.rung_of)
        c.accepted = <int64_t *>address(self.accepted)
        c.exchange_accepted = <int64_t *>address(self.exchange_accepted)
        c.exchange_proposed = <int64_t *>address(self.exchange_proposed)
        c.swapped = <int8_t *>self.scratch((n_rungs,), np.int8)
        c.exchange_every, c.burn_in, c.measure_every = exchange_every, burn_in, measure_every
        if tuned_until:
            self.ladder_counts = np.zeros((N_LADDER_COUNTS, n_rungs), dtype=np.int64)
            self.last_end = np.zeros((n_copies, n_rungs), dtype=np.int8)
            c.ladder_counts = <int64_t *>address(self.ladder_counts)
            c.last_end = <int8_t *>address(self.last_end)
            c.tuned_until = tuned_until
        if notes_passage:
            self.first_passage = np.full(n_walkers, -1, dtype=np.int64)
            c.first_passage = <int64_t *>address(self.first_passage)
        self.record_into("energy", (n_walkers,), np.float64, &c.row_energy)
        self.record_into("walker_at", (n_copies, n_rungs), np.int32, &c.row_walker_at)
        self.record_into("accepted", (n_copies, n_rungs), np.int64, &c.row_accepted)

    # --- for a subclass ---

    cdef const uint64_t *keys(self, str what, keys, int64_t n) except NULL:
        """Keys of n random streams, kept. ValueError for another number of them."""
        check(np.shape(keys) == (n,), f"keys: got {np.size(keys)} of {what}, expected {n}")
        self.memory.append(np.ascontiguousarray(keys, dtype=np.uint64))
        return <const uint64_t *>address(self.memory[len(self.memory) - 1])

    cdef void *scratch(self, shape, dtype) except NULL:
        """Zeros, kept."""
        self.memory.append(aligned(shape, dtype))
        return address(self.memory[len(self.memory) - 1])

    cdef int record_into(self, str name, tuple shape, dtype, void *pointer) except -1:
        """Rows have an array of that name and shape; `pointer` leads to the kernel's pointer to the first of them."""
        self.row_kinds[name] = shape, dtype, <size_t>pointer
        return 0

    cdef int count(self, tuple shape) except -1:
        """The kernel counts what this chain adapts by."""
        self.counts = np.zeros(shape, dtype=np.int64)
        self.chain.counts = <int64_t *>address(self.counts)
        return 0

    # --- the ladder ---

    def set_beta(self, beta):
        """New inverse temperatures, copied: float64 (n_rungs,); every walker stays on its rung.

        ValueError unless they are finite numbers >= 0, one for each rung.
        """
        given = np.asarray(beta)
        check(given.shape == self.beta.shape and bool((np.isfinite(given) & (given >= 0)).all()),
              f"beta: expected {len(self.beta)} finite numbers >= 0")
        self.beta[...] = given

    # --- adaptation ---

    @property
    def step_size(self):
        """Step size of each rung as used, float64 (n_rungs,), or None."""
        return None

    def next_adaptation(self, int64_t done):
        """The first sweep after `done` at whose end the chain adapts; a number beyond every sweep if there is none."""
        return NEVER

    # --- rows ---

    @property
    def measure_every(self):
        """Sweeps between two rows."""
        return self.chain.measure_every

    def reserve(self, int64_t rows):
        """Make room for that many rows besides those that are held."""
        cdef int64_t held = self.chain.n_rows
        cdef void *first
        if held + rows <= self.room:
            return
        self.room = held + rows
        for name, (shape, dtype, pointer) in self.row_kinds.items():
            array = np.empty((self.room, *shape), dtype=dtype)
            if held:
                array[:held] = self.row_arrays[name][:held]
            self.row_arrays[name] = array
            first = address(array)
            memcpy(<void *><size_t>pointer, &first, sizeof(first))  # whatever type it points to

    def record(self):
        """Append a row."""
        self.reserve(1)
        chain_record(&self.chain)

    def take(self):
        """The rows since the last call, which are forgotten here: name -> array, copies.

        energy float64 (rows, n_walkers); walker_at int32 and accepted int64 (rows, n_copies, n_rungs); weights
        (rows, n_walkers, ...), and what else the sampler records, by walker or by rung. Of what is by rung accepted and
        energy_error are those of this block, 0 elsewhere: over ranks they add up.
        """
        self.reserve(1)
        n, self.chain.n_rows = self.chain.n_rows, 0
        return {name: array[:n].copy() for name, array in self.row_arrays.items()}

    # --- checkpoints ---

    def state(self):
        """Permutation and counters, what a checkpoint must hold of the instance: name -> array, not copied."""
        state = {"walker_at": self.walker_at, "accepted": self.accepted, "exchange_accepted": self.exchange_accepted,
                 "exchange_proposed": self.exchange_proposed}
        if self.ladder_counts is not None:
            state |= {"ladder_counts": self.ladder_counts, "last_end": self.last_end}
        return state | ({} if self.chain.counts == NULL else {"counts": self.counts})

    def walker_state(self):
        """What a checkpoint must hold of the walkers besides the block: name -> array (n_walkers, ...), copies."""
        return {} if self.first_passage is None else {"first_passage": self.first_passage.copy()}

    def restore(self, state):
        """Continue from a state, the block having been restored before.

        ValueError unless each row of walker_at is a permutation of the rungs.
        """
        if not (np.sort(state["walker_at"], axis=1) == np.arange(self.chain.n_rungs)).all():
            raise ValueError("walker_at: expected permutations of the rungs")
        for name, array in self.state().items():
            array[...] = state[name]
        rungs = np.arange(self.chain.n_rungs, dtype=np.int32)[None, :]
        np.put_along_axis(self.rung_of, self.walker_at, rungs, axis=1)

    def restore_walkers(self, state):
        """Continue from a walker_state."""
        if self.first_passage is not None:
            self.first_passage[...] = state["first_passage"]

    # --- time ---

    def advance(self, int64_t first, int64_t last):
        """Sweeps first .. last with exchange, adaptation and rows.

        ValueError unless the block holds its instance whole; DivergenceError as `sweep`.
        """
        cdef bint whole = self.chain.n_walkers == self.chain.n_copies * self.chain.n_rungs
        if not whole and (self.chain.exchange_every or self.next_adaptation(0) != NEVER):
            raise ValueError("advance: the block holds a part of its instance: use sweep, exchange and record")
        if self.chain.measure_every:
            self.reserve(max(0, last // self.chain.measure_every - (first - 1) // self.chain.measure_every))
        cdef int64_t adaptation, stop, lost
        while first <= last:
            adaptation = self.next_adaptation(first - 1)
            stop = min(last, adaptation)
            with nogil:
                lost = chain_advance(&self.chain, &first, stop)
            if lost >= 0:
                self._raise_divergence(lost, first)
            if stop == adaptation:
                self.adapt(stop, self.counts)

    def sweep(self, int64_t first, int64_t last):
        """Sweeps first .. last and nothing else, for a block that shares its instance with other ranks.

        DivergenceError if the weights or the energy of a walker are not finite; the chain is then of no more use.
        """
        cdef int64_t lost
        with nogil:
            lost = chain_sweep(&self.chain, &first, last)
        if lost >= 0:
            self._raise_divergence(lost, first)

    def _raise_divergence(self, walker, sweep):
        copy, birth = divmod(self.chain.first + walker, self.chain.n_rungs)
        rung = self.rung_of[copy, birth]
        step_size = "" if self.step_size is None else f", step_size {self.step_size[rung]:g}"
        raise DivergenceError(f"instance {self.instance}, walker {self.chain.first + walker} (copy {copy}), "
                              f"sweep {sweep}, beta {self.beta[rung]:g}{step_size}: weights or energy are not finite",
                              (sweep, self.instance, self.chain.first + walker))

    def exchange(self, int64_t sweep, const double[::1] energy):
        """The exchange round due after a sweep; energy: (n_copies * n_rungs,) by walker, of the whole instance."""
        if not self.chain.exchange_every or energy.shape[0] != self.chain.n_copies * self.chain.n_rungs:
            raise ValueError(f"exchange: got {energy.shape[0]} energies, exchange_every = {self.chain.exchange_every}; "
                             f"expected {self.chain.n_copies * self.chain.n_rungs} and > 0")
        chain_exchange(&self.chain, sweep, sweep // self.chain.exchange_every, &energy[0])


cdef class RealChain(Chain):
    """A chain of real weights, with the step sizes of its moves.

    n_units: units of n_weights / n_units weights each
    precision: of the gaussian prior, > 0; None for spherical weights, every unit on |w_k|^2 = fan-in
    step_size: float64 (n_rungs,), > 0 and at most largest_step, copied; None where moves have none
    target: mean acceptance to which the step size of each rung is tuned in the burn-in; None leaves it alone
    half_turn: step size beyond which there is nothing new on the sphere
    full_count: what a walker whose proposals are accepted with certainty adds to the `counts`, int64 (n_rungs,), in a
        sweep

    Rows have weights float64 (rows, n_walkers, n_weights). ValueError for what does not fit together.
    """

    def __init__(self, block, int64_t n_walkers, int64_t n_weights, int64_t proposals, *, int64_t n_units, precision,
                 step_size, target, double largest_step, double half_turn, double full_count, **around):
        super().__init__(block, n_walkers, n_weights, proposals, **around)
        check(precision is None or 0 < precision < math.inf,
              f"precision: got {precision}, expected a finite number > 0")
        self.n_units, self.spherical, self.precision = n_units, precision is None, precision or 0.0
        self._check_norms()
        self.record_into("weights", (n_walkers, n_weights), np.float64, &self.chain.row_weights)
        if step_size is None:
            return
        self.steps = np.array(step_size, dtype=np.float64)
        check(self.steps.shape == (self.chain.n_rungs,) and bool(np.isfinite(self.steps).all())
              and bool(((self.steps > 0) & (self.steps <= largest_step)).all()),
              f"step_size: got {step_size}, expected {self.chain.n_rungs} finite numbers > 0 and <= {largest_step:g}")
        if target is not None:
            largest = min(largest_step, half_turn) if self.spherical else largest_step
            self.tuning, self.full_count = Tuning(self.steps, target, largest, self.chain.burn_in), full_count
            self.count((self.chain.n_rungs,))

    cdef const double *step_sizes(self) noexcept:
        """The kernel's view of them, or NULL."""
        if self.steps is None:
            return NULL
        return <const double *>address(self.steps)

    def _check_norms(self):
        if self.spherical:
            check_on_sphere(self.block.weights, self.n_units, self.chain.first)

    @property
    def step_size(self):
        """Step size of each rung as used, float64 (n_rungs,), a copy; None where moves have none."""
        return None if self.steps is None else self.steps.copy()

    def next_adaptation(self, int64_t done):
        """The end of the next window of the burn-in, while step sizes are tuned."""
        return self.tuning.next(done) if self.tuning else NEVER

    def adapt(self, int64_t sweep, counts):
        """Tune the step sizes; counts: int64 (n_rungs,) of the window, of all blocks of the instance."""
        sweeps = self.tuning.sweeps(sweep) * self.chain.n_copies
        self.tuning.adapt(sweep, np.asarray(counts) / (self.full_count * sweeps))
        self.counts[...] = 0

    def state(self):
        """Permutation, counters and tuning: name -> array, not copied."""
        return Chain.state(self) | (self.tuning.state() if self.tuning else {})

    def restore(self, state):
        """Continue from a state, the block having been restored before. ValueError as in __init__, for weights."""
        Chain.restore(self, state)
        self._check_norms()
