"""Metropolis of coordinates on real weights: the kernel against its numpy twin, invariance to the bit, exact laws.

Exact laws are judged by independent copies: every average over the time of a copy is one number, and the numbers of the
copies have the exact value as their mean. All deviations of a case together have an error rate of 1e-3 (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from mcmc.architectures import Architecture
from mcmc.data import Inputs, Instance
from mcmc.errors import DivergenceError
from mcmc.kernels import cpu, visits
from mcmc.kernels.coordinates import REFRESH_EVERY, Coordinates
from mcmc.losses import Loss
from mcmc.models import MODELS
from mcmc.priors import Gaussian, Prior, Spherical
from mcmc.reference import coordinates as twin
from mcmc.reference import machines, philox
from mcmc.reference.flips import Trajectory
from mcmc.samplers.coordinates import CoordinateMetropolis
from problems import INPUT_LAWS, PAIRS, PERCEPTRON, Machine, Problem, label, problem

SEED = 5
BETA = np.array([0.0, 0.3, 0.8, 2.0])
STEP = np.array([1.2, 0.9, 0.6, 0.4])
N_COPIES = 2
N_WALKERS = N_COPIES * BETA.size


GAUSSIAN, SPHERICAL = Gaussian(1.5), Spherical()


def precision_of(prior: Prior) -> float | None:
    """None on the sphere."""
    return getattr(prior, "precision", None)


priors = pytest.mark.parametrize("prior", [GAUSSIAN, SPHERICAL], ids=lambda prior: prior.name)
laws = pytest.mark.parametrize("law", INPUT_LAWS)
orders = pytest.mark.parametrize("order", visits.ORDERS)
every_pair = pytest.mark.parametrize(("machine", "loss"), PAIRS, ids=label)
SOME = [
    (PERCEPTRON, Loss("error-count")),
    (PERCEPTRON, Loss("logistic", 0.6, 2.5)),
    (PERCEPTRON, Loss("square")),
    (Machine("committee", 3, "tanh"), Loss("hinge", 0.6)),
    (Machine("tree-committee", 3, "sign"), Loss("error-count")),
    (Machine("parity", 2), Loss("error-count")),
]
some = pytest.mark.parametrize(("machine", "loss"), SOME, ids=label)


def start_of(task: Problem, prior: Prior, n_walkers: int = N_WALKERS) -> np.ndarray:
    """Weights of the prior: (n_walkers, n_weights)."""
    architecture = task.model.architecture
    return prior.walkers(SEED, 0, range(n_walkers), n_walkers, architecture.n_hidden, architecture.fan_in)


def chain_of(
    task: Problem, prior: Prior, weights: np.ndarray, *, step: object = STEP, order: str = "random", **keywords: object
) -> Coordinates:
    block = task.model.coordinate_block(task.instance, weights)
    keywords = {"seed": SEED, "beta": BETA, "n_copies": N_COPIES} | keywords
    return CoordinateMetropolis(step_size=step, order=order).chain(block, prior=prior, **keywords)


def assert_same(task: Problem, prior: Prior, sweeps: int, order: str = "random", **keywords: object) -> None:
    """Kernel and twin go the same way, in two calls of the kernel and one of the twin."""
    start = start_of(task, prior)
    chain = chain_of(task, prior, start, order=order, **keywords)
    np.testing.assert_allclose(chain.block.energy, task.energy(start), rtol=1e-12, atol=1e-12)
    chain.advance(1, sweeps // 2)
    chain.advance(sweeps // 2 + 1, sweeps)
    around = {"seed": SEED, "beta": BETA, "n_copies": N_COPIES} | keywords
    n_units = task.model.architecture.n_hidden
    expected = twin.run(
        task.energy,
        start,
        step=STEP,
        sweeps=sweeps,
        precision=precision_of(prior),
        n_units=n_units,
        order=order,
        **around,
    )
    got = chain.take()
    np.testing.assert_array_equal(got["walker_at"], expected.walker_at)
    np.testing.assert_array_equal(got["accepted"], expected.accepted)
    np.testing.assert_allclose(got["weights"], expected.weights, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(got["energy"], expected.energy, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(chain.exchange_accepted, expected.exchange_accepted)
    np.testing.assert_array_equal(chain.exchange_proposed, expected.exchange_proposed)
    assert got["accepted"].sum() > 0


# --- the twin ---


@every_pair
@laws
@priors
def test_same_trajectory(machine, loss, law, prior):
    assert_same(problem(loss, law, 12, 29, machine), prior, 8)


@some
@priors
@orders
def test_same_trajectory_in_both_orders(machine, loss, prior, order):
    assert_same(problem(loss, "gaussian", 12, 29, machine), prior, 20, order, exchange_every=3, measure_every=2)


@some
@priors
@pytest.mark.parametrize("n_patterns", [1, 7, 8, 128, 129])
def test_same_trajectory_at_edge_sizes(machine, loss, prior, n_patterns):
    assert_same(problem(loss, "gaussian", 12, n_patterns, machine), prior, 3)


@priors
@pytest.mark.parametrize("n", [2, 3, 255, 256, 257])  # around the 256 proposals that are prepared at a time
def test_same_trajectory_at_edge_numbers_of_weights(prior, n):
    assert_same(problem(Loss("hinge", 0.6), "gaussian", n, 9), prior, 4)


@some
@priors
def test_same_trajectory_across_a_refresh(machine, loss, prior):
    assert_same(problem(loss, "gaussian", 12, 5, machine), prior, REFRESH_EVERY + 6)


@every_pair
@laws
def test_energies_are_those_of_the_gradients(machine, loss, law):
    task = problem(loss, law, 12, 29, machine)
    start = start_of(task, GAUSSIAN)
    real = task.model.coordinate_block(task.instance, start)
    np.testing.assert_allclose(real.energy, task.energy(start), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(real.energy, task.model.gradient_block(task.instance, start).energy, rtol=1e-12)


def test_partners_are_the_others_of_a_unit():
    keys = np.array([philox.stream_key(SEED, "partners", 0, copy) for copy in range(3)], dtype=np.uint64)
    sites = np.tile(np.arange(12), (3, 1))
    drawn = np.concatenate([twin.partners(keys, sweep, sites, 4) for sweep in range(1, 400)])
    assert (drawn // 4 == np.arange(12) // 4).all()
    for site in range(12):
        others = sorted(set(range(site // 4 * 4, site // 4 * 4 + 4)) - {site})
        values, counts = np.unique(drawn[:, site], return_counts=True)
        assert values.tolist() == others
        assert stats.chisquare(counts).pvalue > 1e-4


# --- to the bit ---


def state_of(chain: Coordinates) -> dict[str, bytes]:
    arrays = chain.take() | chain.state() | chain.block.caches() | {"last": chain.block.weights}
    return {name: np.ascontiguousarray(array).tobytes() for name, array in arrays.items()}


@pytest.fixture
def levels():
    """Names of the instruction-set levels, portable first; the one in use is restored afterwards."""
    level = cpu.level()
    yield cpu.available()
    cpu.use(level)


@every_pair
@priors
def test_levels_give_the_same_bytes(machine, loss, prior, levels):
    task, states = problem(loss, "gaussian", 12, 141, machine), {}
    for level in levels:
        cpu.use(level)
        chain = chain_of(task, prior, start_of(task, prior), step="auto", burn_in=40)
        chain.advance(1, 3)
        chain.advance(4, 45)
        states[level] = state_of(chain)
    for level in levels:
        assert states[level] == states["portable"], level


def advance_together(parts: list[Coordinates], sweeps: int, exchange_every: int) -> None:
    """What ranks do that share an instance."""
    for sweep in range(1, sweeps + 1):
        for part in parts:
            part.sweep(sweep, sweep)
        energies = np.concatenate([part.block.energy for part in parts])
        for part in parts:
            if sweep % exchange_every == 0:
                part.exchange(sweep, energies)
            part.record()
        counts = sum(part.counts for part in parts)
        for part in parts:
            if part.next_adaptation(sweep - 1) == sweep:
                part.adapt(sweep, counts)


@some
@priors
@pytest.mark.parametrize("sizes", [(8,), (1, 7), (3, 5), (2, 4, 2), (1,) * 8], ids=str)
def test_walkers_do_not_depend_on_the_block(machine, loss, prior, sizes):
    task, burn_in, sweeps = problem(loss, "gaussian", 12, 29, machine), 44, 70
    start = start_of(task, prior)
    whole = chain_of(task, prior, start, step="auto", burn_in=burn_in, exchange_every=2)
    whole.advance(1, sweeps)
    cut = pairwise(np.cumsum([0, *sizes]))
    keywords = {"step": "auto", "burn_in": burn_in, "exchange_every": 2}
    parts = [chain_of(task, prior, start[a:b], first=int(a), **keywords) for a, b in cut]
    advance_together(parts, sweeps, 2)
    rows, of_parts = whole.take(), [part.take() for part in parts]
    for name in ("energy", "weights"):
        assert np.concatenate([part[name] for part in of_parts], axis=1).tobytes() == rows[name].tobytes()
    np.testing.assert_array_equal(sum(part["accepted"] for part in of_parts), rows["accepted"])
    for part, taken in zip(parts, of_parts, strict=True):
        np.testing.assert_array_equal(taken["walker_at"], rows["walker_at"])
        assert part.step_size.tobytes() == whole.step_size.tobytes()
    caches = np.concatenate([part.block.caches()["field"] for part in parts])
    assert caches.tobytes() == whole.block.caches()["field"].tobytes()


@some
@laws
@priors
@pytest.mark.parametrize("stop", [5, 30, 50])  # before, within and after the tuning of the step
def test_restored_chain_goes_on_bit_for_bit(machine, loss, law, prior, stop):
    task = problem(loss, law, 12, 29, machine)
    keywords = {"step": "auto", "burn_in": 44}
    chain = chain_of(task, prior, start_of(task, prior), **keywords)
    other = chain_of(task, prior, start_of(task, prior)[::-1], **keywords)
    chain.advance(1, stop)
    caches = {name: array.copy() for name, array in chain.block.caches().items()}
    other.block.restore(chain.block.weights.copy(), caches)
    other.restore({name: array.copy() for name, array in chain.state().items()})
    chain.take()
    for c in (chain, other):
        c.advance(stop + 1, 70)
    assert state_of(chain) == state_of(other)


@some
@priors
def test_caches_are_refreshed_at_their_sweep_and_only_then(machine, loss, prior):
    task = problem(loss, "gaussian", 12, 29, machine)
    chain = chain_of(task, prior, start_of(task, prior), measure_every=0)

    def drift() -> float:
        fresh = task.model.coordinate_block(task.instance, chain.block.weights).caches()
        return max(np.abs(array - fresh[name]).max() for name, array in chain.block.caches().items())

    chain.advance(1, REFRESH_EVERY - 1)
    assert 0 < drift() < 1e-11
    chain.advance(REFRESH_EVERY, REFRESH_EVERY)
    assert drift() == 0


@some
def test_units_stay_on_their_spheres(machine, loss):
    task = problem(loss, "gaussian", 12, 9, machine)
    chain = chain_of(task, SPHERICAL, start_of(task, SPHERICAL), measure_every=0)
    chain.advance(1, 20 * REFRESH_EVERY + 17)
    units = chain.block.weights.reshape(N_WALKERS, machine.n_hidden, -1)
    np.testing.assert_allclose((units**2).mean(axis=2), 1, rtol=0, atol=3e-15)


# --- exact laws ---

ERROR_RATE = 1e-3
Averages = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""What is averaged, (..., k), of weights (..., n) and energies (...)."""


def deviates(values: np.ndarray, exact: np.ndarray) -> bool:
    """Whether averages of independent copies, (n_copies, ...), contradict the exact values (...)."""
    n = len(values)
    t = (values.mean(axis=0) - exact) / (values.std(axis=0, ddof=1) / math.sqrt(n))
    return bool((np.abs(t) > stats.t.ppf(1 - ERROR_RATE / (2 * t.size), n - 1)).any())


@dataclass(frozen=True)
class Case:
    """A small problem with known averages: `exact` (n_rungs, k) of what `averages` gives."""

    task: Problem
    prior: Prior
    beta: np.ndarray
    averages: Averages
    exact: np.ndarray

    def start(self, n_copies: int) -> np.ndarray:
        return start_of(self.task, self.prior, n_copies * self.beta.size)

    def of_rows(self, energy: np.ndarray, weights: np.ndarray, walker_at: np.ndarray) -> np.ndarray:
        """Averages over rows at each rung: (n_copies, n_rungs, k)."""
        rows, n_copies, n_rungs = walker_at.shape
        values = self.averages(weights, energy).reshape(rows, n_copies, n_rungs, -1)
        return np.take_along_axis(values, walker_at[..., None], axis=2).mean(axis=0)

    def kernel(self, step: float, order: str, *, beta: np.ndarray | None = None, exchange_every: int = 2) -> np.ndarray:
        """Of 400 copies, 1500 rows each."""
        chain = chain_of(
            self.task,
            self.prior,
            self.start(400),
            step=step,
            order=order,
            beta=self.beta if beta is None else beta,
            n_copies=400,
            exchange_every=exchange_every,
            burn_in=100,
        )
        chain.advance(1, 100)
        chain.take()
        total, n_pieces = 0.0, 5
        for piece in range(n_pieces):
            chain.advance(101 + 300 * piece, 400 + 300 * piece)
            rows = chain.take()
            total = total + self.of_rows(rows["energy"], rows["weights"], rows["walker_at"])
        return total / n_pieces

    def twin(self, step: float = 0.8, **faults: object) -> np.ndarray:
        """Of 200 copies, without exchange, which would mix right rungs with wrong ones."""
        trajectory: Trajectory = twin.run(
            self.task.energy,
            self.start(200),
            seed=SEED,
            beta=self.beta,
            step=np.full(self.beta.size, step),
            sweeps=300,
            precision=precision_of(self.prior),
            n_copies=200,
            exchange_every=0,
            **faults,
        )
        late = slice(40, None)
        return self.of_rows(trajectory.energy[late], trajectory.weights[late], trajectory.walker_at[late])


def small(loss: Loss, inputs: np.ndarray, labels: np.ndarray) -> Problem:
    instance = Instance(Inputs.from_dense(inputs), labels, None)
    model = MODELS["perceptron"](Architecture("perceptron", inputs.shape[1]), loss)
    return Problem(instance, model, machines.energy(inputs, labels, loss.name, loss.margin, loss.sharpness))


def posterior() -> Case:
    """Square loss, linear perceptron, gaussian prior: a Gaussian law."""
    rng = np.random.default_rng(SEED)
    x, y = rng.normal(size=(4, 3)), rng.normal(size=4) * 1.5
    beta, g = np.array([0.0, 0.7, 3.0]), x / math.sqrt(3)
    pairs = np.triu_indices(3)
    exact = []
    for b in beta:
        cov = np.linalg.inv(b * g.T @ g + GAUSSIAN.precision * np.eye(3))
        mean = b * cov @ g.T @ y
        residual, spread = g @ mean - y, g.T @ g @ cov
        energy = residual @ residual / 2 + np.trace(spread) / 2
        variance = np.trace(spread @ spread) / 2 + residual @ g @ cov @ g.T @ residual
        second = (cov + np.outer(mean, mean))[pairs]
        exact.append([*mean, *second, energy, variance + energy**2])

    def averages(weights: np.ndarray, energy: np.ndarray) -> np.ndarray:
        second = weights[..., pairs[0]] * weights[..., pairs[1]]
        return np.concatenate([weights, second, energy[..., None], energy[..., None] ** 2], axis=-1)

    return Case(small(Loss("square"), x, y), GAUSSIAN, beta, averages, np.array(exact))


def circle() -> Case:
    """Errors of two weights on the circle: constant on the arcs between the zeros of the fields."""
    rng = np.random.default_rng(SEED)
    x, y = rng.normal(size=(5, 2)), np.where(rng.normal(size=5) < 0, -1.0, 1.0)
    task, beta = small(Loss("error-count"), x, y), np.array([0.0, 0.6, 1.5])
    zeros = np.arctan2(x[:, 1], x[:, 0]) + math.pi / 2
    ends = np.sort(np.concatenate([zeros, zeros + math.pi]) % (2 * math.pi))
    low, high = ends, np.append(ends[1:], ends[0] + 2 * math.pi)
    middle = (low + high) / 2
    energy = task.energy(math.sqrt(2) * np.stack([np.cos(middle), np.sin(middle)], axis=1))
    levels = np.unique(energy)
    # integrals of cos and sin of phi and of 2 phi over an arc
    moments = [np.sin(high) - np.sin(low), np.cos(low) - np.cos(high)]
    moments += [(np.sin(2 * high) - np.sin(2 * low)) / 2, (np.cos(2 * low) - np.cos(2 * high)) / 2]
    exact = []
    for b in beta:
        density = np.exp(-b * energy)
        z = (density * (high - low)).sum()
        share = [(density * (high - low))[energy == level].sum() / z for level in levels[1:]]
        exact.append([*share, *((density * moment).sum() / z for moment in moments)])

    def averages(weights: np.ndarray, energy: np.ndarray) -> np.ndarray:
        c, s = (weights / math.sqrt(2)).transpose(-1, *range(weights.ndim - 1))
        share = energy[..., None] == levels[1:]
        return np.concatenate([share, np.stack([c, s, c * c - s * s, 2 * c * s], axis=-1)], axis=-1)

    return Case(task, SPHERICAL, beta, averages, np.array(exact))


def sphere() -> Case:
    """Logistic loss of three weights, by quadrature over the sphere."""
    rng = np.random.default_rng(SEED)
    x, y = rng.normal(size=(6, 3)), np.where(rng.normal(size=6) < 0, -1.0, 1.0)
    task, beta = small(Loss("logistic", 0.3, 2.0), x, y), np.array([0.0, 1.0, 4.0])
    z, weight = np.polynomial.legendre.leggauss(80)
    phi = np.arange(160) * math.pi / 80
    ring = np.sqrt(1 - z * z)[:, None]
    states = np.stack([ring * np.cos(phi), ring * np.sin(phi), np.broadcast_to(z[:, None], (80, 160))], axis=-1)
    states = math.sqrt(3) * states.reshape(-1, 3)
    pairs = np.triu_indices(3)

    def averages(weights: np.ndarray, energy: np.ndarray) -> np.ndarray:
        second = (weights[..., pairs[0]] * weights[..., pairs[1]])[..., :-1]  # the last follows from the norm
        fourth = (weights**4).sum(axis=-1, keepdims=True)  # the first moment that the axes of a cube may change
        return np.concatenate([weights, second, fourth, energy[..., None], energy[..., None] ** 2], axis=-1)

    energy, exact = task.energy(states), []
    for b in beta:
        law = np.repeat(weight, 160) * np.exp(-b * energy)
        exact.append(law @ averages(states, energy) / law.sum())
    return Case(task, SPHERICAL, beta, averages, np.array(exact))


CASES = {"posterior": posterior, "circle": circle, "sphere": sphere}
cases = pytest.mark.parametrize("name", CASES)


@cases
@orders
@pytest.mark.parametrize("step", [0.5, 1.5])
def test_averages_are_exact(name, order, step):
    case = CASES[name]()
    assert not deviates(case.kernel(step, order), case.exact)


@cases
def test_averages_are_exact_without_exchange(name):
    case = CASES[name]()
    assert not deviates(case.kernel(1.0, "random", exchange_every=0), case.exact)


@cases
def test_beta_wrong_by_two_percent_is_noticed(name):
    case = CASES[name]()
    assert deviates(case.kernel(1.0, "random", beta=1.02 * case.beta), case.exact)


def test_precision_wrong_by_two_percent_is_noticed():
    case = posterior()
    values = Case(case.task, Gaussian(1.02 * GAUSSIAN.precision), case.beta, case.averages, case.exact)
    assert deviates(values.kernel(1.0, "random"), case.exact)


# Faults of the twin, which is right without them. Partners from a law of their own, i < j say, would be no fault: any
# law of the pair that does not look at the weights keeps the measure.


@cases
def test_twin_is_exact(name):
    case = CASES[name]()
    assert not deviates(case.twin(), case.exact)


@cases
def test_wrong_sign_of_the_acceptance_is_noticed(name):
    case = CASES[name]()
    right = twin.spherical if case.prior == SPHERICAL else twin.gaussian(case.prior.precision)
    assert deviates(case.twin(log_law=lambda beta, energy, weights: right(-beta, energy, weights)), case.exact)


def test_missing_prior_is_noticed():
    case = posterior()
    assert deviates(case.twin(log_law=twin.spherical), case.exact)


def test_partner_chosen_by_the_weights_is_noticed():
    def with_the_larger(weights: np.ndarray, i: np.ndarray, j: np.ndarray, angle: np.ndarray) -> np.ndarray:
        others = np.abs(weights)
        others[np.arange(len(weights)), i] = -1.0
        return twin.rotate(weights, i, others.argmax(axis=1), angle)

    case = sphere()
    assert deviates(case.twin(move=with_the_larger), case.exact)


@pytest.mark.parametrize("name", ["circle", "sphere"])
def test_step_that_is_scaled_back_to_the_sphere_is_noticed(name):
    def scaled_back(weights: np.ndarray, i: np.ndarray, j: np.ndarray, step: np.ndarray) -> np.ndarray:
        moved = twin.walk(weights, i, j, step)
        return moved * np.sqrt(weights.shape[1] / (moved**2).sum(axis=1, keepdims=True))

    case = CASES[name]()
    assert deviates(case.twin(step=2.5, move=scaled_back), case.exact)


# --- step sizes ---


@some
@priors
def test_tuned_step_gives_the_acceptance_wanted(machine, loss, prior):
    """Or rotations by any angle are accepted more often. A cold rung of few walkers may still be on its way."""
    task, burn_in = problem(loss, "gaussian", 24, 60, machine), 400
    chain = chain_of(task, prior, start_of(task, prior), step="auto", burn_in=burn_in, measure_every=400)
    chain.advance(1, burn_in)
    tuned = chain.step_size
    chain.take()
    chain.advance(burn_in + 1, 3 * burn_in)
    np.testing.assert_array_equal(chain.step_size, tuned)  # frozen
    acceptance = chain.take()["accepted"].sum(axis=(0, 1)) / (2 * burn_in * N_COPIES * task.n_weights)
    wanted = CoordinateMetropolis.target
    wide = (tuned > 3.1) & (acceptance > wanted)
    assert ((np.abs(acceptance - wanted) < 0.06) | (wide & (prior == SPHERICAL))).all(), (acceptance, tuned)


def test_given_steps_stay():
    task = problem(Loss("hinge"), "gaussian", 12, 29)
    chain = chain_of(task, GAUSSIAN, start_of(task, GAUSSIAN), burn_in=100)
    assert chain.next_adaptation(0) >= 2**62
    chain.advance(1, 120)
    np.testing.assert_array_equal(chain.step_size, STEP)
    assert chain.proposals == 12


@priors
def test_all_rotations_are_accepted_at_infinite_temperature(prior):
    task = problem(Loss("hinge"), "gaussian", 12, 29)
    chain = chain_of(task, prior, start_of(task, prior), exchange_every=0)
    chain.advance(1, 20)
    rejected = 12 - chain.take()["accepted"][..., 0]
    assert (rejected == 0).all() == (prior == SPHERICAL)


# --- what does not fit ---


def test_energy_that_is_not_finite_is_named():
    task = problem(Loss("square"), "gaussian", 12, 29)
    start = start_of(task, GAUSSIAN)
    start[6] = 1e200
    chain = chain_of(task, GAUSSIAN, start)
    with pytest.raises(DivergenceError, match=r"walker 6 \(copy 1\), sweep 1, beta 0.8, step_size 0.6"):
        chain.advance(1, 5)


def test_sizes_that_do_not_fit_are_refused():
    task = problem(Loss("hinge"), "gaussian", 12, 29)
    start = start_of(task, SPHERICAL)
    off = start.copy()
    off[3] *= 1.001
    with pytest.raises(ValueError, match="weights: unit 0 of walker 3 has a square norm"):
        chain_of(task, SPHERICAL, off)
    single = problem(Loss("error-count"), "gaussian", 3, 29, Machine("tree-committee", 3))
    with pytest.raises(ValueError, match="units of 1 weight"):
        chain_of(single, SPHERICAL, np.ones((N_WALKERS, 3)))
    for step in (0.0, -1.0, math.nan, 1e6, [0.1, 0.2]):
        with pytest.raises(ValueError, match="step_size: got"):
            chain_of(task, GAUSSIAN, start, step=step)
    with pytest.raises(ValueError, match="step_size: got 'large'"):
        chain_of(task, GAUSSIAN, start, step="large")
    with pytest.raises(ValueError, match="order: got 'backwards'"):
        chain_of(task, GAUSSIAN, start, order="backwards")
    with pytest.raises(ValueError, match="precision: got 0"):
        chain_of(task, Gaussian(0.0), start)
    with pytest.raises(ValueError, match="burn_in: got 39"):
        chain_of(task, GAUSSIAN, start, step="auto", burn_in=39)
    with pytest.raises(ValueError, match="expected finite numbers"):
        chain_of(task, GAUSSIAN, np.full((N_WALKERS, 12), np.inf))
