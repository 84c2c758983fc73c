"""Single and pair flips by proposals, single ones by waiting times, of walkers of any kernel family; see flips.h."""
from flip_target cimport flip_target, flip_target_of
from libc.stdint cimport int8_t, int32_t, int64_t, uint64_t
from mcmc.kernels.chain cimport Chain, chain_run
from mcmc.kernels.visits cimport prepare_visits, visits
from memory cimport address

from functools import lru_cache

import numpy as np

from mcmc.kernels import NEVER, check, cpu

cdef extern from "flips.h" nogil:
    int acceptance_rule(int rule, double beta)
    double acceptance_probability(int rule, double x)
    uint64_t acceptance_threshold(double probability)
    enum:
        METROPOLIS
        HEAT_BATH
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
        visits visits
        int rule
        const uint64_t *threshold
        const int8_t *reference
        waiting_times waiting
        int64_t n_words
        double limits[2][256][2]
    void acceptance_limits(int rule, double (*limits)[2])
    ctypedef void (*flips_sum_weights_fn)(const uint64_t *rows, int64_t n_rows, int64_t stride, int64_t n_sites,
                                          int64_t *sum) noexcept
    flips_sum_weights_fn flips_sum_weights[3]
    int64_t flips_sweep(void *run, int64_t sweep) noexcept
    void flips_record(void *run, int64_t row) noexcept

RULES = {"metropolis": METROPOLIS, "heat-bath": HEAT_BATH}


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
    """Runs a block of walkers.

    block: of a kernel family, with `capsule`
    rule: one of RULES; order: one of visits.ORDERS
    site_keys uint64 (n_copies,), move_keys uint64 (n_walkers,): random streams
    reference: int8 (n_weights,) of +-1, from which every walker must differ in n_differ weights: then the moves are
        pair flips that keep that number, and site_keys are those of the walkers, uint64 (n_walkers,)
    waiting_keys: None, or uint64 (n_walkers,): streams of waiting times, for the rule "metropolis"
    waiting_below: with waiting_keys, the rungs that are sampled by waiting times: all where it is infinite; otherwise,
        from the end of the burn-in on, those whose walkers made fewer flips a sweep in its second half, which are the
        `counts`, int64 (n_copies, n_rungs), that the chain adapts by
    around: as of Chain

    waits int8 (n_rungs,), kept from call to call: 1 where a rung is sampled by waiting times. Rows have weights uint64
    (rows, n_walkers, n_units, words), packed bits. ValueError for sizes that do not fit together.
    """

    cdef flip_run run
    cdef readonly object waits
    cdef object reference, thresholds, probabilities
    cdef str rule
    cdef int64_t n_differ
    cdef double waiting_below
    cdef bint chooses
    """Whether the end of the burn-in decides which rungs are sampled by waiting times."""

    def __init__(self, block, *, str rule, str order, site_keys, move_keys, const int8_t[::1] reference=None,
                 int64_t n_differ=0, waiting_keys=None, double waiting_below=float("inf"), **around):
        cdef const flip_target *t = flip_target_of(block.capsule)
        cdef flip_run *r = &self.run
        super().__init__(block, t.n_walkers, t.n_sites, t.n_sites, **around)
        self.chain.energy, self.chain.sampler = t.energy, r
        self.chain.sweep, self.chain.record = flips_sweep, flips_record
        r.chain, r.target = &self.chain, t
        r.rule = RULES[rule]
        r.n_words = (t.n_sites // t.n_units + 63) // 64
        self.record_into("weights", (t.n_walkers, t.n_units, r.n_words), np.uint64, &self.chain.row_weights)
        n_site_keys = self.chain.n_copies if reference is None else t.n_walkers
        prepare_visits(&r.visits, self, order, t.site_bytes, site_keys, n_site_keys, move_keys)
        if reference is not None:
            check(reference.shape[0] == t.n_sites and order != "sequential",
                  f"reference: got {reference.shape[0]} weights and {order} order, expected {t.n_sites} and random "
                  "order")
            self.reference, self.n_differ, r.reference = reference.base, n_differ, &reference[0]
            self._check_overlap()
        self.rule = rule
        for code in RULES.values():
            acceptance_limits(code, r.limits[<int>code])
        self._prepare_waiting(rule, waiting_keys, waiting_below)
        self._take_tables()

    def _prepare_waiting(self, rule, keys, double below):
        """Which rungs have waiting times, and memory for them; without streams only what says that nothing is known."""
        cdef const flip_target *t = self.run.target
        cdef waiting_times *w = &self.run.waiting
        cdef int64_t n_walkers = t.n_walkers, n_classes = min(t.n_sites, 2 * t.max_delta + 1) + 1
        self.chooses, self.waiting_below = keys is not None and np.isfinite(below), below
        check(not self.chooses or self.chain.burn_in >= 2,
              f"burn_in: got {self.chain.burn_in}, expected an integer >= 2 to choose the method by")
        self.waits = np.full(self.chain.n_rungs, keys is not None and not self.chooses, dtype=np.int8)
        self.run.visits.absent = <const int8_t *>address(self.waits)
        if self.chooses:
            self.count((self.chain.n_copies, self.chain.n_rungs))
        w.walkers = <waiting_walker *>self.scratch((n_walkers, sizeof(waiting_walker)), np.uint8)
        if keys is None:
            return
        check(rule == "metropolis", f"waiting_keys: got some with {rule!r}, expected metropolis")
        w.target, w.level, w.beta, w.key = t, cpu.index(), self.chain.beta, self.keys("waiting", keys, n_walkers)
        w.stride = (t.n_sites + WAITING_BLOCK - 1) // WAITING_BLOCK * WAITING_BLOCK
        if t.max_delta:
            w.deltas = self.scratch((n_walkers, 2, w.stride), np.int32)
            w.most_classes, w.classes = n_classes, <int32_t *>self.scratch((n_walkers, 2, n_classes, 2), np.int32)
            w.counts = <int32_t *>self.scratch((2 * t.max_delta + 1, 4), np.int32)
        else:
            w.deltas = self.scratch((n_walkers, w.stride), np.float64)
            w.rates = <double *>self.scratch((n_walkers, w.stride), np.float64)

    def _take_tables(self):
        """Probabilities of exact energy differences, which depend on the inverse temperatures."""
        cdef const flip_target *t = self.run.target
        beta = tuple(self.beta)
        self.thresholds = _shared_thresholds(self.rule, beta, t.max_delta * (1 if self.reference is None else 2))
        self.run.threshold = <const uint64_t *>address(self.thresholds)
        if self.run.waiting.target != NULL and t.max_delta:
            self.probabilities = _shared_probabilities(self.rule, beta, t.max_delta)
            self.run.waiting.probability = <const double *>address(self.probabilities)

    def set_beta(self, beta):
        """As of Chain; what waiting times know of the walkers is worked out anew."""
        Chain.set_beta(self, beta)
        self._take_tables()
        self._forget()

    def _forget(self):
        cdef int64_t walker
        for walker in range(self.chain.n_walkers):
            waiting_forget(&self.run.waiting, walker)

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
        return Chain.state(self) | ({"waits": self.waits} if self.chooses else {})

    def restore(self, state):
        """Continue from a state, the block having been restored before.

        ValueError unless each row of walker_at is a permutation of the rungs, and the weights keep the constraint.
        """
        Chain.restore(self, state)
        self._forget()
        if self.reference is not None:
            self._check_overlap()

    def _check_overlap(self):
        differ = (self.block.weights != self.reference).sum(axis=1)
        wrong = np.flatnonzero(differ != self.n_differ)
        if wrong.size:
            raise ValueError(f"weights: walker {self.chain.first + wrong[0]} differs from the reference in "
                             f"{differ[wrong[0]]} weights, expected {self.n_differ}")
