"""Two-time correlations against what is exactly known.

Many copies start from the prior and do not interact, so their mean has a standard error without a guess of correlation
times. Every number must lie within a Student quantile of its exact value, with the error rate FAMILY_RATE shared
equally among all numbers of a test (Bonferroni). A wrong lag fails.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from enumeration import all_states
from mcmc import config
from mcmc.errors import ConfigError
from mcmc.kernels import NEVER
from mcmc.losses import Loss
from mcmc.priors import Gaussian, Ising, Prior
from mcmc.samplers import CONTINUOUS, SAMPLERS
from mcmc.two_time import TwoTime, lags
from problems import PERCEPTRON, problem
from running import tables

FAMILY_RATE = 1e-3


def correlations(chain, block, prior: Prior, waiting: list[int], sweeps: int) -> TwoTime:
    """The two-time correlations of a chain that has not moved yet."""
    two_time = TwoTime(waiting, sweeps, len(block.energy), block.weights.shape[1])
    done = -1
    while (event := two_time.next_event(done)) <= sweeps:
        chain.advance(max(done, 0) + 1, event)
        two_time.record(event, prior.stored(block.weights))
        done = event
    return two_time


def deviations(found: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Means over walkers (n_walkers, ...) minus exact values, in quantiles: beyond 1 is too far."""
    n = len(found)
    error = found.std(axis=0, ddof=1) / np.sqrt(n)
    quantile = stats.t.isf(FAMILY_RATE / 2 / exact.size, n - 1)
    return np.abs(found.mean(axis=0) - exact) / np.maximum(quantile * error, 1e-12)


def gaussian_recursion(instance, h: float, beta: float, waiting: list[int], grid: np.ndarray) -> np.ndarray:
    """C(t_w, t_w + t) of Euler-Maruyama on the square loss from the prior: (n_waiting, n_lags)."""
    g = instance.inputs.dense() / np.sqrt(instance.inputs.n_inputs)
    n = g.shape[1]
    a, b = beta * g.T @ g + np.eye(n), beta * g.T @ instance.labels
    step = np.eye(n) - h * a
    mean, covariance, found = np.zeros(n), np.eye(n), []
    for sweep in range(max(waiting) + 1):
        if sweep in waiting:
            then, power, row = mean.copy(), np.eye(n), []
            for lag in range(grid[-1] + 1):
                if lag in grid:
                    row.append((np.trace(covariance @ power.T) + mean @ then) / n)
                then, power = step @ then + h * b, step @ power
            found.append(row)
        mean, covariance = step @ mean + h * b, step @ covariance @ step.T + 2 * h * np.eye(n)
    return np.array(found)


def test_langevin_follows_the_gaussian_recursion() -> None:
    loss, waiting, sweeps, h, beta = Loss("square"), [0, 3, 20], 60, 0.05, 1.5
    task = problem(loss, "gaussian", 8, 12, labels="teacher")
    n_copies = 20_000
    weights = Gaussian().walkers(7, 0, range(n_copies), 1, 1, 8)
    block = task.model.gradient_block(task.instance, weights)
    sampler = CONTINUOUS["langevin"](step_size=h)
    chain = sampler.chain(block, seed=7, beta=[beta], prior=Gaussian(), n_copies=n_copies, measure_every=0)
    two_time = correlations(chain, block, Gaussian(), waiting, sweeps)
    exact = gaussian_recursion(task.instance, h, beta, waiting, two_time.lags)
    come = ~np.isnan(two_time.correlation[0])
    assert (come == (np.add.outer(waiting, two_time.lags) <= sweeps)).all()
    assert (deviations(two_time.correlation[:, come], exact[come]) < 1).all()
    late = gaussian_recursion(task.instance, h, beta, [time + 1 for time in waiting], two_time.lags)
    assert (deviations(two_time.correlation[:, come], late[come]) > 1).any()


def transition_matrix(task, beta: float) -> np.ndarray:
    """One Metropolis proposal at a random site: (n_states, n_states)."""
    states = all_states(task.n_weights)
    energy = task.energy(states)
    n_states, n = states.shape
    matrix = np.zeros((n_states, n_states))
    for site in range(n):
        flipped = np.arange(n_states) ^ (1 << site)
        probability = np.exp(-beta * np.maximum(energy[flipped] - energy, 0.0))
        matrix[np.arange(n_states), flipped] += probability / n
        matrix[np.arange(n_states), np.arange(n_states)] += (1 - probability) / n
    return matrix


def test_metropolis_follows_the_transition_matrix() -> None:
    waiting, sweeps, beta, n = [0, 2, 10], 24, 1.2, 11
    task = problem(Loss("error-count"), "binary", n, 14, PERCEPTRON, labels="random")
    n_copies = 20_000
    block = task.model.block(task.instance, Ising().walkers(3, 0, range(n_copies), 1, 1, n))
    chain = SAMPLERS["metropolis"](order="random").chain(block, seed=3, beta=[beta], n_copies=n_copies, measure_every=0)
    two_time = correlations(chain, block, Ising(), waiting, sweeps)
    states = all_states(n).astype(float)
    sweep_of = np.linalg.matrix_power(transition_matrix(task, beta), n)
    law, exact = np.full(len(states), 1 / len(states)), []
    for sweep in range(max(waiting) + 1):
        if sweep in waiting:
            later, row = states.copy(), []
            for lag in range(int(two_time.lags[-1]) + 1):
                if lag in two_time.lags:
                    row.append((law[:, None] * states * later).sum() / n)
                later = sweep_of @ later
            exact.append(row)
        law = law @ sweep_of
    come = ~np.isnan(two_time.correlation[0])
    assert (deviations(two_time.correlation[:, come], np.array(exact)[come]) < 1).all()
    fast = np.roll(np.array(exact), -1, axis=1)[:, :-1]  # a lag that is one too long
    assert (deviations(two_time.correlation[:, :, :-1][:, come[:, :-1]], fast[come[:, :-1]]) > 1).any()


def test_lags_are_logarithmic_and_nested() -> None:
    long = lags(100_000)
    np.testing.assert_array_equal(long[:12], [0, 1, 2, 3, 4, 6, 7, 10, 13, 18, 24, 32])
    assert long[-1] == 100_000
    for longest in (0, 1, 5, 10, 99, 1000, 1001):
        shorter = lags(longest)
        np.testing.assert_array_equal(shorter, long[: shorter.size])
        assert shorter[-1] <= longest < (long[shorter.size] if shorter.size < long.size else np.inf)


def test_nothing_is_due_without_waiting_times() -> None:
    two_time = TwoTime([], 100, 3, 5)
    assert two_time.next_event(0) == NEVER
    assert two_time.state() == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output.waiting_times": [3, 3]}, r"output.waiting_times: got \[3, 3\], expected a strictly increasing list"),
        ({"output.waiting_times": [10**6]}, "output.waiting_times: .* expected numbers below schedule.sweeps"),
        ({"output.waiting_times": [-1]}, r"output.waiting_times\[0\]"),
        ({"output.waiting_times": [1]}, "ladder.exchange_every: got 2?.* expected 0 with output.waiting_times"),
    ],
)
def test_what_makes_no_sense_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.load(tables({"ladder.exchange_every": 2} | change))
