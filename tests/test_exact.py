"""Sampled averages against enumeration of all weights.

A case runs many copies of a short ladder on one small instance. Copies are independent, so that their means give every
standard error without a guess of autocorrelation times, and the effective sample size: the exact variance of one sample
over the squared standard error of the mean. Every statistic must reach EFFECTIVE_SAMPLES and lie within a Student
quantile of its exact value. The error rate of the whole file is FAMILY_RATE, shared equally among the cases and, inside
a case, among its statistics (Bonferroni).

The statistics: energy and its variance, every weight, the laws of the overlaps between copies and with the teacher,
acceptance, exchange rates, and two joint statistics of pairs of copies, which vanish if copies are independent: the
covariances of their energies, and of their decisions on the same swap in the same round. A swap uniform that copies
share leaves each copy by itself exactly right; the covariance of the decisions has the most power against it (72
standard errors in the control below, 29 for the energies, 10 for the overlap).

Negative controls put one fault into the same machinery, which must then fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from enumeration import Enumeration, all_states
from mcmc.architectures import ARCHITECTURES
from mcmc.kernels import flips
from mcmc.kernels.random import MOVES, SITES, SWAPS, stream_key
from mcmc.losses import LOSSES, Loss
from mcmc.priors import pack
from mcmc.reference import flips as twin
from mcmc.samplers import SAMPLERS
from problems import INPUT_LAWS, MULTI_UNIT_PAIRS, PAIRS, PERCEPTRON, Machine, Problem, label, problem, random_weights

EFFECTIVE_SAMPLES = 2e5
FAMILY_RATE = 1e-3
SEED = 11
N_COPIES = 128
BURN_IN = 500
RAREST = 2e-3
"""Overlaps less likely than this are one class: the mean of fewer events would not be normal."""


@dataclass(frozen=True)
class Case:
    loss: Loss
    inputs: Literal["binary", "gaussian"]
    n: int
    p: int
    beta: tuple[float, ...]
    method: str = "metropolis"
    order: str = "random"
    labels: Literal["random", "teacher"] = "teacher"
    label_noise: float = 0.0
    sweeps: int = 10000
    machine: Machine = PERCEPTRON
    n_copies: int = N_COPIES
    burn_in: int = BURN_IN

    @property
    def name(self) -> str:
        machine = "" if self.machine == PERCEPTRON else f"{label(self.machine)}-"
        loss = f"{self.loss.name}-{self.loss.margin}"
        return f"{machine}{loss}-{self.inputs}-N{self.n}-P{self.p}-{self.labels}-{self.method}-{self.order}"

    @property
    def n_weights(self) -> int:
        return self.machine.of(self.n).n_weights


COMMITTEE, TREE = Machine("committee", 3), Machine("tree-committee", 3)
CASES = [
    Case(Loss("error-count"), "binary", 11, 13, (0.4, 0.8, 1.2)),
    Case(Loss("error-count"), "binary", 10, 15, (0.5, 1.0), "heat-bath", labels="random"),
    Case(Loss("error-count"), "binary", 8, 600, (0.01, 0.02, 0.03), order="sequential", label_noise=0.2),
    Case(Loss("error-count"), "binary", 20, 24, (0.5, 0.75, 1.0), label_noise=0.1),
    Case(Loss("error-count", 0.5), "binary", 12, 9, (0.3, 0.6, 0.9), "heat-bath", "sequential", labels="random"),
    Case(Loss("error-count", -0.4), "gaussian", 10, 14, (0.5, 1.0, 1.5)),
    Case(Loss("error-count"), "gaussian", 9, 12, (0.4, 0.8), "heat-bath", labels="random"),
    Case(Loss("hinge", 0.5), "binary", 11, 12, (0.4, 0.8, 1.2), label_noise=0.2),
    Case(Loss("hinge"), "gaussian", 12, 10, (0.5, 1.0, 1.5), order="sequential", labels="random"),
    Case(Loss("squared-hinge", 0.8), "binary", 10, 8, (0.3, 0.6, 0.9), order="sequential"),
    Case(Loss("squared-hinge"), "gaussian", 9, 9, (0.4, 0.8, 1.2), "heat-bath", labels="random"),
    Case(Loss("square"), "binary", 13, 6, (0.2, 0.4, 0.6), label_noise=0.5),
    Case(Loss("square"), "gaussian", 10, 8, (0.2, 0.4, 0.6), "heat-bath", "sequential", labels="random"),
    Case(Loss("logistic", 0.3, 2.0), "binary", 12, 12, (0.5, 1.0, 1.5), "heat-bath", label_noise=0.1),
    Case(Loss("logistic"), "gaussian", 11, 11, (0.5, 1.0, 1.5), labels="random"),
    Case(Loss("symmetric", 0.7), "binary", 10, 8, (0.4, 0.8, 1.2), labels="random"),
    Case(Loss("symmetric", 1.0), "gaussian", 9, 10, (0.5, 1.0, 1.5), order="sequential"),
    Case(Loss("error-count"), "binary", 4, 14, (0.4, 0.8, 1.2), label_noise=0.1, machine=COMMITTEE),
    Case(Loss("error-count"), "binary", 12, 12, (0.4, 0.8, 1.2), "heat-bath", labels="random", machine=TREE),
    Case(Loss("hinge", 0.5), "binary", 12, 12, (0.4, 0.8, 1.2), labels="random", machine=TREE),
    Case(Loss("error-count"), "binary", 5, 12, (0.4, 0.8, 1.2), labels="random", machine=Machine("parity", 2)),
    Case(Loss("error-count"), "binary", 12, 12, (0.4, 0.8), "heat-bath", machine=Machine("tree-parity", 3)),
    Case(Loss("error-count"), "gaussian", 4, 12, (0.4, 0.8, 1.2), machine=COMMITTEE),
    Case(Loss("square"), "gaussian", 4, 8, (0.3, 0.6), label_noise=0.3, machine=Machine("committee", 3, "erf")),
    Case(Loss("logistic"), "binary", 12, 10, (0.5, 1.0), machine=Machine("tree-committee", 3, "tanh")),
    Case(Loss("error-count"), "binary", 11, 13, (0.4, 0.8, 1.2), "waiting-time", label_noise=0.2, sweeps=8000),
    Case(Loss("symmetric", 0.6), "binary", 12, 9, (0.4, 0.8), "waiting-time", labels="random"),
    Case(Loss("hinge", 0.3), "binary", 10, 11, (0.4, 0.8, 1.2), "waiting-time", sweeps=8000),
    Case(Loss("logistic"), "gaussian", 9, 10, (0.7, 1.4), "waiting-time", labels="random", sweeps=7000),
    Case(Loss("square"), "binary", 12, 7, (0.2, 0.4, 0.6), "waiting-time", label_noise=0.4, sweeps=8000),
    Case(Loss("square"), "gaussian", 10, 9, (0.2, 0.4, 0.6), "waiting-time", sweeps=8000),
    Case(Loss("error-count"), "binary", 7, 14, (0.7, 1.4, 2.1), "auto", labels="random", sweeps=15000),
    Case(Loss("hinge", 0.6), "gaussian", 9, 14, (0.5, 1.0, 1.5), "auto", "sequential"),
]
ALPHA = FAMILY_RATE / len(CASES)
"""Error rate of a case."""


def test_cases_cover_the_lists():
    def all_pairs(first, second):
        return {(a, b) for a in first for b in second}

    assert {(case.loss.name, case.inputs) for case in CASES} == all_pairs(LOSSES, INPUT_LAWS)
    assert {case.machine.name for case in CASES} == set(ARCHITECTURES)
    methods = {(method, order) for method, sampler in SAMPLERS.items() for order in sampler.orders}
    assert {(case.method, case.order) for case in CASES} == methods


# Samples


@dataclass
class Samples:
    """What a run recorded at every sweep after burn-in, by rung."""

    state: NDArray[np.uint32]  # (rows, n_copies, n_rungs)
    walker_at: NDArray[np.int32]  # (rows + 1, n_copies, n_rungs), from the row before the first one on
    first_sweep: int
    acceptance: NDArray[np.float64]  # (n_copies, n_rungs)
    exchange_rate: NDArray[np.float64]  # (n_copies, n_rungs - 1)


def samples_of(case: Case, states, walker_at, accepted, exchange_accepted, exchange_proposed) -> Samples:
    """From rows of every sweep 1, 2, ...; states (rows, n_copies, n_rungs) by rung of birth."""
    kept = slice(case.burn_in, None)
    return Samples(
        state=np.take_along_axis(states[kept], walker_at[kept], axis=2).astype(np.uint32),
        walker_at=walker_at[case.burn_in - 1 :],
        first_sweep=case.burn_in + 1,
        acceptance=accepted[kept].mean(axis=0) / case.n_weights,
        exchange_rate=exchange_accepted / exchange_proposed,
    )


def task_of(case: Case) -> Problem:
    law = {"labels": case.labels, "label_noise": case.label_noise}
    return problem(case.loss, case.inputs, case.n, case.p, case.machine, seed=3, **law)


@cache
def enumeration_of(case: Case) -> Enumeration:
    return Enumeration(task_of(case).energy, case.n_weights)


def chain_of(case: Case, beta: ArrayLike | None = None) -> flips.Flips:
    """The compiled kernel at random weights."""
    task, beta = task_of(case), case.beta if beta is None else beta
    block = task.model.block(task.instance, random_weights(case.n_copies * len(beta), case.n_weights, SEED))
    sampler = SAMPLERS[case.method](order=case.order)
    return sampler.chain(block, seed=SEED, beta=beta, n_copies=case.n_copies, burn_in=case.burn_in)


def run(case: Case, chain: flips.Flips) -> Samples:
    chain.advance(1, case.burn_in + case.sweeps)
    return taken(case, chain)


def taken(case: Case, chain: flips.Flips) -> Samples:
    """The rows that a chain holds; their energies must be those of their states."""
    energy, walker_at, accepted, bits = chain.take().values()
    fan_in = case.machine.of(case.n).fan_in
    states = np.zeros(energy.shape, dtype=np.uint64)  # the units of a row begin with a word of their own
    for unit in range(bits.shape[2]):
        states |= bits[:, :, unit, 0] << np.uint64(unit * fan_in)
    states = states.astype(np.intp)
    np.testing.assert_allclose(energy, enumeration_of(case).energy[states], rtol=1e-9, atol=1e-9)
    counts = chain.exchange_accepted, chain.exchange_proposed
    return samples_of(case, states.reshape(walker_at.shape), walker_at, accepted, *counts)


# Statistics


@dataclass
class Statistic:
    """Means over independent groups (copies, or disjoint pairs of them), against the exact mean and variance."""

    name: str
    means: NDArray[np.float64]  # (groups,)
    exact: float
    variance: float  # of one sample

    @property
    def error(self) -> float:
        return float(self.means.std(ddof=1) / np.sqrt(self.means.size))

    @property
    def effective_samples(self) -> float:
        return self.variance / self.error**2

    @property
    def p_value(self) -> float:
        if self.error == 0:
            return float(self.means[0] == self.exact)
        t = (self.means.mean() - self.exact) / self.error
        return float(2 * stats.t.sf(abs(t), self.means.size - 1))


def statistics(samples: Samples, exact: Enumeration, case: Case) -> list[Statistic]:
    """All statistics of a case but those without variance."""
    found, teacher = [], task_of(case).instance.teacher
    for rung, beta in enumerate(case.beta):
        state = samples.state[:, :, rung]  # (rows, n_copies)
        one, two = state[:, 0::2], state[:, 1::2]
        law, rule = exact.law(beta), twin.RULES[SAMPLERS[case.method].rule]
        mean = law @ exact.energy
        deviation = exact.energy - mean
        variance = law @ deviation**2
        found.append(Statistic(f"energy {rung}", exact.energy[state].mean(axis=0), mean, variance))
        second = deviation**2
        spread = law @ second**2 - variance**2
        found.append(Statistic(f"variance of energy {rung}", second[state].mean(axis=0), variance, spread))
        product = (deviation[one] * deviation[two]).mean(axis=0)
        found.append(Statistic(f"covariance of energies {rung}", product, 0.0, variance**2))
        for i, w in enumerate(exact.mean_weights(beta)):
            found.append(Statistic(f"weight {i} {rung}", 2 * (state >> i & 1).mean(axis=0) - 1, w, 1 - w**2))
        found += _overlaps(f"overlap {rung}", np.bitwise_count(one ^ two), exact.overlap_law(beta))
        if teacher is not None:
            reference = int(pack(teacher)[0])
            distance = np.bitwise_count(state ^ np.uint32(reference))
            found += _overlaps(f"teacher overlap {rung}", distance, exact.overlap_law(beta, reference))
        rate = exact.acceptance(beta, rule).mean()
        found.append(Statistic(f"acceptance {rung}", samples.acceptance[:, rung], rate, rate * (1 - rate)))
    for swap, (low, high) in enumerate(pairwise(case.beta)):
        rate = exact.exchange_rate(low, high)
        found.append(Statistic(f"exchange {swap}", samples.exchange_rate[:, swap], rate, rate * (1 - rate)))
        deviation = _decisions(samples, swap) - rate
        product = (deviation[:, 0::2] * deviation[:, 1::2]).mean(axis=0)
        found.append(Statistic(f"covariance of swaps {swap}", product, 0.0, (rate * (1 - rate)) ** 2))
    return [statistic for statistic in found if statistic.variance > 1e-12]


def _overlaps(name: str, distance: NDArray[np.uint8], law: NDArray[np.float64]) -> list[Statistic]:
    """One statistic for each overlap that is not too rare, and one for all the rare ones."""
    classes = [[int(d)] for d in np.flatnonzero(law >= RAREST)]
    rare = np.flatnonzero(law < RAREST).tolist()
    if law[rare].sum() >= RAREST:
        classes.append(rare)
    found = []
    for which in classes:
        p = law[which].sum()
        found.append(Statistic(f"{name} {which}", np.isin(distance, which).mean(axis=0), p, p * (1 - p)))
    return found


def _decisions(samples: Samples, swap: int) -> NDArray[np.bool_]:
    """Whether a swap was accepted, in each round that tried it: (rounds, n_copies)."""
    swapped = samples.walker_at[1:, :, swap] != samples.walker_at[:-1, :, swap]
    rounds = samples.first_sweep + np.arange(len(swapped))
    # in the rounds of the other parity it is the other neighbour's swaps that move a rung
    return swapped[rounds % 2 == swap % 2]


def failures(found: list[Statistic], error_rate: float = ALPHA) -> list[str]:
    """Names of the statistics that deviate, at that error rate for all of them together."""
    return [statistic.name for statistic in found if statistic.p_value < error_rate / len(found)]


def compare(samples: Samples, case: Case) -> list[Statistic]:
    return statistics(samples, enumeration_of(case), case)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_samples_agree_with_enumeration(case):
    samples = run(case, chain_of(case))
    found = compare(samples, case)
    assert failures(found) == []
    poorest = min(found, key=lambda statistic: statistic.effective_samples)
    assert poorest.effective_samples >= EFFECTIVE_SAMPLES, poorest.name
    # the same samples must not agree with a beta that is 2 % off
    wrong = replace(case, beta=tuple(1.02 * beta for beta in case.beta))
    assert failures(statistics(samples, enumeration_of(case), wrong)) != []


# Every machine under every loss and every sampler, with fewer samples: 8 to 10 weights at high temperature need no long
# burn-in. "auto" is left out: on each rung it is metropolis or waiting-time, bit for bit (test_waiting.py).

METHODS = [method for method in SAMPLERS if method != "auto"]


def n_inputs_of(machine: Machine) -> int:
    """Such that a machine has 8 to 10 weights."""
    return {1: 8, 2: 8, 3: 9}[machine.n_hidden] if machine.of(6).is_tree else {1: 8, 2: 5, 3: 3}[machine.n_hidden]


def brief_case(machine: Machine, loss: Loss, inputs: str, method: str) -> Case:
    beta = (
        (0.3, 0.7)
        if machine.activation in ("relu", "linear") and loss.name in ("square", "squared-hinge")
        else (0.5, 1.0)
    )
    brief = {"sweeps": 600, "n_copies": 64, "burn_in": 100}
    return Case(loss, inputs, n_inputs_of(machine), 11, beta, method, label_noise=0.2, machine=machine, **brief)


def is_constant(machine: Machine, loss: Loss) -> bool:
    """Whether all states have the same energy: relu outputs are never < 0, and run files cannot ask for that."""
    return machine.activation == "relu" and (loss.name, loss.margin) == ("error-count", 0)


COMBINATIONS = [
    brief_case(machine, loss, inputs, method)
    for machine, loss in MULTI_UNIT_PAIRS
    if not is_constant(machine, loss)
    for inputs in INPUT_LAWS
    for method in METHODS
]


@pytest.mark.slow
@pytest.mark.parametrize("case", COMBINATIONS, ids=lambda case: case.name)
def test_every_combination_agrees_with_enumeration(case):
    samples, error_rate = run(case, chain_of(case)), FAMILY_RATE / len(COMBINATIONS)
    assert failures(compare(samples, case), error_rate) == []
    # so few samples still tell a beta that is 20 % off
    wrong = replace(case, beta=tuple(1.2 * beta for beta in case.beta))
    assert failures(statistics(samples, enumeration_of(case), wrong), error_rate) != []


@pytest.mark.parametrize("inputs", INPUT_LAWS)
@pytest.mark.parametrize(("machine", "loss"), PAIRS, ids=label)
def test_energy_differences_of_all_flips_of_all_states(machine, loss, inputs):
    """With these every acceptance rule has detailed balance: no combination is left to statistics alone."""
    task = problem(loss, inputs, n_inputs_of(machine), 13, machine, seed=3)
    states = all_states(task.n_weights)
    energy = task.energy(states)
    block = task.model.block(task.instance, states)
    np.testing.assert_allclose(block.energy, energy, rtol=1e-12, atol=1e-9)
    number = np.arange(len(states))
    differences = np.stack([energy[number ^ 1 << i] - energy for i in range(task.n_weights)], axis=1)
    np.testing.assert_allclose(flips.energy_differences(block), differences, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rule", flips.RULES)
def test_sequential_sweeps_leave_the_law_invariant(rule):
    """Exactly, with the probabilities of the kernel; a sweep of one site after another is not reversible."""
    case = CASES[0]
    exact, beta = enumeration_of(case), case.beta[-1]
    p, s = exact.law(beta), np.arange(2**case.n)
    swept = p.copy()
    for i in range(case.n):
        flipped = s ^ 1 << i
        x = beta * (exact.energy[flipped] - exact.energy)
        flow = swept * np.array([flips.probability(rule, v) for v in x.tolist()])
        swept += flow[flipped] - flow
    np.testing.assert_allclose(swept, p, rtol=1e-12)


# Negative controls: one fault each, and the machinery without a fault beside it

CONTROL = Case(Loss("error-count"), "binary", 8, 10, (0.6, 1.2), labels="random", sweeps=4000)


def test_beta_wrong_by_two_percent_fails():
    case = replace(CASES[0], sweeps=4000)
    assert failures(compare(run(case, chain_of(case)), case)) == []
    assert failures(compare(run(case, chain_of(case, beta=[1.02 * beta for beta in case.beta])), case)) != []


def twin_samples(case: Case, rule: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Samples:
    """The numpy twin with a rule that may be wrong, on a single rung."""
    exact, sweeps = enumeration_of(case), BURN_IN + case.sweeps

    def energy(weights: NDArray[np.int8]) -> NDArray[np.float64]:
        return exact.energy[pack(weights)[:, 0]]

    rows = twin.run(
        energy,
        random_weights(N_COPIES, case.n_weights, SEED),
        seed=SEED,
        beta=np.array(case.beta),
        sweeps=sweeps,
        rule=rule,
        order=case.order,
        n_copies=N_COPIES,
        exchange_every=0,
    )
    states = pack(rows.weights)[..., 0].reshape(rows.walker_at.shape)
    counts = rows.exchange_accepted, rows.exchange_proposed
    return samples_of(case, states, rows.walker_at, rows.accepted, *counts)


WRONG_RULES: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "half of dE": lambda x: twin.metropolis(x / 2),
    "first order": lambda x: np.clip(1 - x, 0, 1),
    "ties refused": lambda x: np.where(x == 0, 0, twin.metropolis(x)),
    "heat bath's": twin.heat_bath,
}


def test_wrong_acceptance_rules_fail():
    case = replace(CONTROL, beta=(0.9,), sweeps=600)
    assert failures(compare(twin_samples(case, twin.metropolis), case)) == []
    for name, rule in WRONG_RULES.items():
        assert failures(compare(twin_samples(case, rule), case)) != [], name


def exchanging_with(case: Case, fault: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Samples:
    """The compiled kernel, whose exchange is told energies that may be wrong."""
    chain = chain_of(case)
    sweeps = BURN_IN + case.sweeps
    chain.reserve(sweeps)
    for sweep in range(1, sweeps + 1):
        chain.sweep(sweep, sweep)
        chain.exchange(sweep, fault(chain.block.energy))
        chain.record()
    return taken(case, chain)


WRONG_EXCHANGES: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "the wrong sign": lambda energy: -energy,
    "without the difference of beta": lambda energy: energy / (CONTROL.beta[1] - CONTROL.beta[0]),
    "always": lambda energy: 0 * energy,
    "half of the exponent": lambda energy: energy / 2,
}


def test_wrong_exchange_rules_fail():
    assert failures(compare(exchanging_with(CONTROL, lambda energy: energy), CONTROL)) == []
    for name, fault in WRONG_EXCHANGES.items():
        assert failures(compare(exchanging_with(CONTROL, fault), CONTROL)) != [], name


def test_swap_uniforms_shared_between_copies_fail():
    """Only joint statistics of two copies can tell."""
    case, keys = CONTROL, [stream_key(SEED, SWAPS, 0, copy // 2) for copy in range(N_COPIES)]
    walkers = [divmod(walker, len(case.beta)) for walker in range(N_COPIES * len(case.beta))]
    chain = flips.Flips(
        chain_of(case).block,
        rule=case.method,
        order=case.order,
        n_copies=N_COPIES,
        first=0,
        beta=np.array(case.beta),
        site_keys=np.array([stream_key(SEED, SITES, 0, copy) for copy in range(N_COPIES)], dtype=np.uint64),
        move_keys=np.array([stream_key(SEED, MOVES, 0, *walker) for walker in walkers], dtype=np.uint64),
        swap_keys=np.array(keys, dtype=np.uint64),
        exchange_every=1,
        burn_in=BURN_IN,
        measure_every=1,
    )
    failed = failures(compare(run(case, chain), case))
    assert "covariance of swaps 0" in failed
    assert all(name.startswith(("covariance", "overlap")) for name in failed)
