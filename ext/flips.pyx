"""Single and pair flips by proposals, single ones by waiting times, of walkers of any kernel family; see flips.h."""
from flip_target cimport flip_target, flip_target_of
from libc.stdint cimport int8_t, int32_t, int64_t, uint16_t, uint64_t
from mcmc.kernels.chain cimport NEVER, Chain, chain_run, grown

from functools import lru_cache

import numpy as np

from mcmc.kernels import aligned, cpu

cdef extern from "flips.h" nogil:
    int acceptance_rule(int rule, double beta)
    double acceptance_probability(int rule, double x)
    uint64_t acceptance_threshold(double probability)
    enum:
        METROPOLIS
        HEAT_BATH
        ORDER_RANDOM
        ORDER_SEQUENTIAL
        WAITING_BLOCK
    ctypedef struct waiting_walker:
        pass
    ctypedef struct waiting_times:
        const flip_target *target
        int level
        const double *beta
        const double *probability
        const uint64_t *key
        waiting_walker *walkers
        int64_t stride
        void *deltas
        int64_t most_classes
        int32_t *classes
        int32_t *counts
        double *rates
    void waiting_forget(const waiting_times *t, int64_t walker)
    ctypedef struct flip_run:
        chain_run *chain
        const flip_target *target
        int level, rule, order
        const uint64_t *threshold
        const int8_t *reference
        const uint64_t *site_key
        const uint64_t *move_key
        waiting_times waiting
        int8_t *waits
        int64_t *burn_in_flips
        int64_t n_words
        uint64_t *row_weights
        int32_t *sites
        uint16_t *high
        double limits[2][256][2]
    int CHUNK
    void acceptance_limits(int rule, double (*limits)[2])
    ctypedef void (*flips_sum_weights_fn)(const uint64_t *rows, int64_t n_rows, int64_t stride, int64_t n_sites,
                                          int64_t *sum) noexcept
    flips_sum_weights_fn flips_sum_weights[3]
    int64_t flips_sweep(void *run, int64_t sweep) noexcept
    void flips_record(void *run, int64_t row) noexcept

RULES = {"metropolis": METROPOLIS, "heat-bath": HEAT_BATH}
ORDERS = {"random": ORDER_RANDOM, "sequential": ORDER_SEQUENTIAL}


def probability(str rule, double x):
    """Probability to accept a flip with beta dE = x."""
    return acceptance_probability(RULES[rule], x)


def thresholds(str rule, const double[::1] beta, int64_t max_delta):
    """Largest 64-bit uniform that accepts: uint64 (n_rungs, 2 max_delta + 1) by dE = -max_delta .. max_delta."""
    cdef int code = RULES[rule]
    cdef int64_t rung, d
    out = np.empty((beta.shape[0], 2 * max_delta + 1), dtype=np.uint64)
    cdef uint64_t[:, ::1] view = out
    with nogil:
        for rung in range(beta.shape[0]):
            for d in range(-max_delta, max_delta + 1):
                view[rung, d + max_delta] = acceptance_threshold(
                    acceptance_probability(acceptance_rule(code, beta[rung]), beta[rung] * d))
    return out


def probabilities(str rule, const double[::1] beta, int64_t max_delta):
    """Probabilities to accept: float64 (n_rungs, 2 max_delta + 1) by dE = -max_delta .. max_delta."""
    cdef int code = RULES[rule]
    cdef int64_t rung, d
    out = np.empty((beta.shape[0], 2 * max_delta + 1))
    cdef double[:, ::1] view = out
    with nogil:
        for rung in range(beta.shape[0]):
            for d in range(-max_delta, max_delta + 1):
                view[rung, d + max_delta] = acceptance_probability(acceptance_rule(code, beta[rung]), beta[rung] * d)
    return out


@lru_cache(maxsize=4)
def _shared_probabilities(rule, beta, max_delta):
    """One table for all instances, as above."""
    return probabilities(rule, np.array(beta), max_delta)


@lru_cache(maxsize=4)
def _shared_thresholds(rule, beta, max_delta):
    """One table for all instances; a dummy for real energies, which need none."""
    return thresholds(rule, np.array(beta), max_delta) if max_delta else np.zeros((1, 1), dtype=np.uint64)


def sum_weights(const uint64_t[:, :, ::1] rows, int64_t fan_in):
    """Sum over rows of packed weights uint64 (rows, units, words), of all walkers' units: int64 (units, fan_in).

    ValueError for a fan_in that does not fit into the words.
    """
    if not 0 < fan_in <= 64 * rows.shape[2]:
        raise ValueError(f"fan_in: got {fan_in}, expected 1 to {64 * rows.shape[2]}")
    total = np.zeros((rows.shape[1], fan_in), dtype=np.int64)
    cdef int64_t[:, ::1] view = total
    cdef int64_t unit
    cdef int level = cpu.index()
    if rows.shape[0]:
        with nogil:
            for unit in range(rows.shape[1]):
                flips_sum_weights[level](&rows[0, unit, 0], rows.shape[0], rows.shape[1] * rows.shape[2], fan_in,
                                         &view[unit, 0])
    return total


def energy_differences(block):
    """Energy change of every single flip: float64 (n_walkers, n_weights)."""
    cdef const flip_target *target = flip_target_of(block.capsule)
    exact = target.max_delta > 0
    out = np.empty((target.n_walkers, target.n_sites), dtype=np.int32 if exact else np.float64)
    cdef char[:, ::1] view = out.view(np.int8)
    cdef int64_t walker
    with nogil:
        for walker in range(target.n_walkers):
            target.call.deltas(target.model, walker, &view[walker, 0])
    return out.astype(np.float64)


cdef class Flips(Chain):
    """Runs a block: walkers first .. first + n_walkers - 1 of the flattened (copy, rung of birth) of one instance.

    block: of a kernel family, with `capsule`
    beta: float64 (n_rungs,), finite and >= 0
    site_keys, swap_keys uint64 (n_copies,), move_keys uint64 (n_walkers,): random streams
    exchange_every: 0 for none; burn_in: sweeps before exchanges are counted; measure_every: sweeps between rows
    reference: int8 (n_weights,) of +-1, from which every walker must differ in n_differ weights: then the moves are
        pair flips that keep that number, and site_keys are those of the walkers, uint64 (n_walkers,)
    waiting_keys: None, or uint64 (n_walkers,): streams of waiting times, for the rule "metropolis"
    waiting_below: with waiting_keys, the rungs that are sampled by waiting times: all where it is infinite; otherwise,
        from the end of the burn-in on, those whose walkers made fewer flips a sweep in its second half, which are the
        `counts`, int64 (n_copies, n_rungs), that the chain adapts by

    waits int8 (n_rungs,), kept from call to call: 1 where a rung is sampled by waiting times. ValueError for sizes that
    do not fit together.
    """

    cdef flip_run run
    cdef readonly object waits
    cdef object waiting_keys, probability, waiting_walkers, deltas, classes, rates, class_sizes
    cdef double waiting_below
    cdef bint chooses
    """Whether the end of the burn-in decides which rungs are sampled by waiting times."""
    cdef object table, site_keys, move_keys, sites, high, reference, row_weights
    cdef int64_t n_differ

    def __init__(self, block, *, str rule, str order, int64_t n_copies, int64_t first, const double[::1] beta,
                 const uint64_t[::1] site_keys, const uint64_t[::1] move_keys, const uint64_t[::1] swap_keys,
                 int64_t exchange_every, int64_t burn_in, int64_t measure_every, const int8_t[::1] reference=None,
                 int64_t n_differ=0, const uint64_t[::1] waiting_keys=None, double waiting_below=float("inf"),
                 int64_t instance=0):
        cdef const flip_target *target = flip_target_of(block.capsule)
        cdef int64_t n_rungs = beta.shape[0]
        self.join(block, target.energy, target.n_walkers, instance, n_copies, first, beta, swap_keys, exchange_every,
                  burn_in, measure_every)
        n_keys = (move_keys.shape[0], site_keys.shape[0])
        expected = (target.n_walkers, n_copies if reference is None else target.n_walkers)
        if n_keys != expected:
            raise ValueError(f"keys: got {n_keys} of moves and sites, expected {expected}")
        self.chooses = waiting_keys is not None and np.isfinite(waiting_below)
        if self.chooses and burn_in < 2:
            raise ValueError(f"burn_in: got {burn_in}, expected an integer >= 2 to choose the method by")
        self.site_keys, self.move_keys = site_keys.base, move_keys.base
        if reference is not None:
            if reference.shape[0] != target.n_sites or order == "sequential":
                raise ValueError(f"reference: got {reference.shape[0]} weights and {order} order, expected "
                                 f"{target.n_sites} and random order")
            self.reference, self.n_differ, self.run.reference = reference.base, n_differ, &reference[0]
            self._check_overlap()
        self.table = _shared_thresholds(rule, tuple(beta), target.max_delta * (1 if reference is None else 2))
        self.waits = np.full(n_rungs, waiting_keys is not None and not self.chooses, dtype=np.int8)
        self.sites = aligned((target.n_sites + 4,), np.int32)
        cdef const uint64_t[:, ::1] table = self.table
        cdef int8_t[::1] waits = self.waits
        cdef int32_t[::1] sites = self.sites
        self.chain.sampler, self.chain.sweep, self.chain.record = &self.run, flips_sweep, flips_record
        self.run.chain, self.run.target = &self.chain, target
        self.run.level, self.run.rule, self.run.order = cpu.index(), RULES[rule], ORDERS[order]
        self.run.threshold = &table[0, 0]
        self.run.site_key, self.run.move_key = &site_keys[0], &move_keys[0]
        self.run.n_words, self.run.sites = (target.n_sites // target.n_units + 63) // 64, &sites[0]
        self.run.waits = &waits[0]
        cdef int64_t[:, ::1] counts
        if self.chooses:
            self.counts = counts = np.zeros((n_copies, n_rungs), dtype=np.int64)
            self.run.burn_in_flips = &counts[0, 0]
        self.high = aligned((target.n_walkers, CHUNK), np.uint16)
        cdef uint16_t[:, ::1] high = self.high
        self.run.high = &high[0, 0]
        for code in RULES.values():
            acceptance_limits(code, self.run.limits[<int>code])
        self.waiting_below = waiting_below
        self._prepare_waiting(rule, waiting_keys)

    def _prepare_waiting(self, rule, const uint64_t[::1] keys):
        """Memory of the waiting times; without streams only what says that nothing is known."""
        cdef const flip_target *target = self.run.target
        cdef waiting_times *waiting = &self.run.waiting
        cdef int64_t n_walkers = target.n_walkers, n_classes = min(target.n_sites, 2 * target.max_delta + 1) + 1
        self.waiting_walkers = aligned((n_walkers, sizeof(waiting_walker)), np.uint8)
        cdef unsigned char[:, ::1] walkers = self.waiting_walkers
        waiting.walkers = <waiting_walker *>&walkers[0, 0]
        if keys is None:
            return
        if rule != "metropolis" or keys.shape[0] != n_walkers:
            raise ValueError(f"waiting_keys: got {keys.shape[0]} with {rule!r}, expected {n_walkers} with metropolis")
        self.waiting_keys = keys.base
        waiting.target, waiting.level, waiting.beta, waiting.key = target, self.run.level, self.chain.beta, &keys[0]
        waiting.stride = (target.n_sites + WAITING_BLOCK - 1) // WAITING_BLOCK * WAITING_BLOCK
        cdef const double[:, ::1] probability
        cdef double[:, ::1] reals, rates
        cdef int32_t[:, :, ::1] integers
        cdef int32_t[:, :, :, ::1] classes
        cdef int32_t[:, ::1] sizes
        if target.max_delta:
            self.probability = _shared_probabilities(rule, tuple(self.beta), target.max_delta)
            self.deltas = integers = aligned((n_walkers, 2, waiting.stride), np.int32)
            self.classes = classes = aligned((n_walkers, 2, n_classes, 2), np.int32)
            self.class_sizes = sizes = aligned((2 * target.max_delta + 1, 4), np.int32)
            probability = self.probability
            waiting.probability, waiting.deltas = &probability[0, 0], &integers[0, 0, 0]
            waiting.most_classes, waiting.classes, waiting.counts = n_classes, &classes[0, 0, 0, 0], &sizes[0, 0]
        else:
            self.deltas = reals = aligned((n_walkers, waiting.stride), np.float64)
            self.rates = rates = aligned((n_walkers, waiting.stride), np.float64)
            waiting.deltas, waiting.rates = &reals[0, 0], &rates[0, 0]

    cdef int grow(self, int64_t held, int64_t room) except -1:
        Chain.grow(self, held, room)
        shape = (self.chain.n_walkers, self.run.target.n_units, self.run.n_words)
        cdef uint64_t[:, :, :, ::1] weights = grown(self.row_weights, held, room, shape, np.uint64)
        self.row_weights, self.run.row_weights = weights.base, &weights[0, 0, 0, 0]
        return 0

    cdef dict rows(self, int64_t n):
        """With weights uint64 (n, n_walkers, n_units, words), packed bits."""
        return Chain.rows(self, n) | {"weights": self.row_weights[:n]}

    @property
    def n_weights(self):
        """Weights of a walker."""
        return self.run.target.n_sites

    @property
    def proposals(self):
        """Proposals of a walker in a sweep."""
        return self.run.target.n_sites

    def next_adaptation(self, int64_t done):
        """The end of the burn-in, where it decides which rungs go on with waiting times."""
        return self.chain.burn_in if self.chooses and done < self.chain.burn_in else NEVER

    def adapt(self, int64_t sweep, counts):
        """Decide that; counts: those of all blocks of the instance added."""
        sweeps = self.chain.n_copies * (self.chain.burn_in - self.chain.burn_in // 2)
        self.waits[...] = np.asarray(counts).sum(axis=0) < self.waiting_below * sweeps
        self.counts[...] = 0

    def state(self):
        """Permutation and counters, what a checkpoint must hold besides the block: name -> array, not copied."""
        return Chain.state(self) | ({"waits": self.waits, "counts": self.counts} if self.chooses else {})

    def restore(self, state):
        """Continue from a state, the block having been restored before.

        ValueError unless each row of walker_at is a permutation of the rungs, and the weights keep the constraint.
        """
        Chain.restore(self, state)
        cdef int64_t walker
        for walker in range(self.chain.n_walkers):
            waiting_forget(&self.run.waiting, walker)
        if self.reference is not None:
            self._check_overlap()

    def _check_overlap(self):
        differ = (self.block.weights != self.reference).sum(axis=1)
        wrong = np.flatnonzero(differ != self.n_differ)
        if wrong.size:
            raise ValueError(f"weights: walker {self.chain.first + wrong[0]} differs from the reference in "
                             f"{differ[wrong[0]]} weights, expected {self.n_differ}")
