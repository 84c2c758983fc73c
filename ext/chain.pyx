"""What the chains of all samplers have in common: rungs, exchange, adaptation and rows; see chain.h."""
import numpy as np

from mcmc.errors import DivergenceError


cdef grown(held, int64_t n, int64_t room, shape, dtype):
    """An array of `room` rows of the given shape that begins with the n rows held."""
    out = np.empty((room, *shape), dtype=dtype)
    if n:
        out[:n] = held[:n]
    return out


cdef class Chain:
    """Walkers first, first + 1, ... of the flattened (copy, rung of birth) of one instance; a subclass moves them.

    Arrays kept from call to call: walker_at int32 (n_copies, n_rungs), the walker on each rung; accepted int64
    (n_copies, n_rungs), moves at each rung since the last row; counts int64, what was counted by the walkers of this
    block since the last adaptation; exchange_accepted and exchange_proposed int64 (n_copies, n_rungs - 1), after
    burn-in.
    """

    cdef int join(self, block, const double *energy, int64_t n_walkers, int64_t instance, int64_t n_copies,
                  int64_t first, const double[::1] beta, const uint64_t[::1] swap_keys, int64_t exchange_every,
                  int64_t burn_in, int64_t measure_every) except -1:
        """Take a block, whose energies (n_walkers,) stay where they are. ValueError for sizes that do not fit."""
        cdef int64_t n_rungs = beta.shape[0]
        n = n_copies * n_rungs
        if not 0 <= first < first + n_walkers <= n:
            raise ValueError(f"block: got walkers {first} to {first + n_walkers - 1}, expected some of the {n} "
                             f"of {n_copies} copies x {n_rungs} rungs")
        if swap_keys.shape[0] != n_copies:
            raise ValueError(f"keys: got {swap_keys.shape[0]} of swaps, expected {n_copies}")
        if not (np.isfinite(beta) & (np.asarray(beta) >= 0)).all():
            raise ValueError("beta: expected finite numbers >= 0")
        if min(exchange_every, burn_in, measure_every) < 0:
            raise ValueError("exchange_every, burn_in, measure_every: expected integers >= 0")
        self.block, self.instance, self.beta, self.swap_keys = block, instance, beta.base, swap_keys.base
        self.walker_at = np.tile(np.arange(n_rungs, dtype=np.int32), (n_copies, 1))
        self.rung_of = self.walker_at.copy()
        self.accepted = np.zeros((n_copies, n_rungs), dtype=np.int64)
        self.counts = np.zeros(0, dtype=np.int64)
        self.exchange_accepted = np.zeros((n_copies, n_rungs - 1), dtype=np.int64)
        self.exchange_proposed = np.zeros((n_copies, n_rungs - 1), dtype=np.int64)
        self.swapped = np.zeros(n_rungs, dtype=np.int8)
        cdef int32_t[:, ::1] walker_at = self.walker_at, rung_of = self.rung_of
        cdef int64_t[:, ::1] accepted = self.accepted
        cdef int64_t[:, ::1] exchange_accepted = self.exchange_accepted, exchange_proposed = self.exchange_proposed
        cdef int8_t[::1] swapped = self.swapped
        cdef chain_run *c = &self.chain
        c.n_copies, c.n_rungs, c.first, c.n_walkers = n_copies, n_rungs, first, n_walkers
        c.beta, c.energy, c.swap_key = &beta[0], energy, &swap_keys[0]
        c.walker_at, c.rung_of, c.accepted = &walker_at[0, 0], &rung_of[0, 0], &accepted[0, 0]
        if n_rungs > 1:
            c.exchange_accepted, c.exchange_proposed = &exchange_accepted[0, 0], &exchange_proposed[0, 0]
        c.swapped = &swapped[0]
        c.exchange_every, c.burn_in, c.measure_every = exchange_every, burn_in, measure_every
        return 0

    # --- what a subclass says ---

    cdef int grow(self, int64_t held, int64_t room) except -1:
        """Give the arrays of rows room for `room` rows, of which `held` are kept."""
        copies_rungs = (self.chain.n_copies, self.chain.n_rungs)
        cdef double[:, ::1] energy = grown(self.row_energy, held, room, (self.chain.n_walkers,), np.float64)
        cdef int32_t[:, :, ::1] walker_at = grown(self.row_walker_at, held, room, copies_rungs, np.int32)
        cdef int64_t[:, :, ::1] accepted = grown(self.row_accepted, held, room, copies_rungs, np.int64)
        self.row_energy, self.row_walker_at, self.row_accepted = energy.base, walker_at.base, accepted.base
        self.chain.row_energy = &energy[0, 0]
        self.chain.row_walker_at, self.chain.row_accepted = &walker_at[0, 0, 0], &accepted[0, 0, 0]
        return 0

    cdef dict rows(self, int64_t n):
        """The first n rows: name -> array, not copied."""
        return {"energy": self.row_energy[:n], "walker_at": self.row_walker_at[:n], "accepted": self.row_accepted[:n]}

    @property
    def proposals(self):
        """Proposals of a walker in a sweep; 0 where there is nothing to accept."""
        raise NotImplementedError

    @property
    def step_size(self):
        """Step size of each rung as used, float64 (n_rungs,), or None."""
        return None

    def next_adaptation(self, int64_t done):
        """The first sweep after `done` at whose end the chain adapts; a number beyond every sweep if there is none."""
        return NEVER

    def adapt(self, int64_t sweep, counts):
        """Adapt at the end of such a sweep; counts: those of all blocks of the instance added."""
        raise NotImplementedError

    # --- rows ---

    @property
    def measure_every(self):
        """Sweeps between two rows."""
        return self.chain.measure_every

    def reserve(self, int64_t rows):
        """Make room for that many rows besides those that are held."""
        if self.chain.n_rows + rows > self.room:
            self.grow(self.chain.n_rows, self.chain.n_rows + rows)
            self.room = self.chain.n_rows + rows

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
        return {name: array.copy() for name, array in self.rows(n).items()}

    # --- checkpoints ---

    def state(self):
        """Permutation and counters, what a checkpoint must hold of the instance: name -> array, not copied."""
        return {"walker_at": self.walker_at, "accepted": self.accepted, "exchange_accepted": self.exchange_accepted,
                "exchange_proposed": self.exchange_proposed}

    def walker_state(self):
        """What a checkpoint must hold of the walkers besides the block: name -> array (n_walkers, ...), copies."""
        return {}

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
                              f"sweep {sweep}, beta {self.beta[rung]:g}{step_size}: weights or energy are not finite")

    def exchange(self, int64_t sweep, const double[::1] energy):
        """The exchange round due after a sweep; energy: (n_copies * n_rungs,) by walker, of the whole instance."""
        if not self.chain.exchange_every or energy.shape[0] != self.chain.n_copies * self.chain.n_rungs:
            raise ValueError(f"exchange: got {energy.shape[0]} energies, exchange_every = {self.chain.exchange_every}; "
                             f"expected {self.chain.n_copies * self.chain.n_rungs} and > 0")
        chain_exchange(&self.chain, sweep, sweep // self.chain.exchange_every, &energy[0])
