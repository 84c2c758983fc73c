"""Waiting times and the choice between them and Metropolis: trajectories, exact laws in time, and the method "auto".

Laws in time are those of the generator Q of the process on all 2^N states, Q(s, s') = a_i(s) for a flip of weight i:
after t sweeps the law is a row of exp(t Q). It belongs to the random-site Metropolis chain with matrix P = 1 + Q/N for
one proposal. If an eigenvector of P has the eigenvalue l, its part of the integrated autocorrelation time is, in
proposals, 1/2 + l + l^2 + ... = 1/(1 - l) - 1/2 for the chain and the integral of exp(-(1 - l) t), 1/(1 - l), for the
process: tau in continuous time is tau of the chain and half a proposal.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.linalg import expm

from enumeration import Enumeration, all_states
from mcmc.cli import run_command
from mcmc.kernels import cpu, flips
from mcmc.losses import Loss
from mcmc.priors import pack, unpack
from mcmc.reference import waiting as twin
from mcmc.samplers import SAMPLERS, Auto
from mcmc.samplers.auto import FLIPS_PER_SWEEP
from problems import INPUT_LAWS, VARIANTS, Problem, label, problem, random_weights
from running import contents, write_run_file

SEED = 7
BETA = np.array([0.0, 0.4, 0.8, 1.5])
N_COPIES = 2
REFRESH_EVERY = 1024  # of flips.h
EDGES = [(1, 1), (1, 9), (2, 1), (2, 64), (3, 512), (63, 8), (64, 65), (65, 513), (7, 1100)]
"""Numbers of inputs and patterns at or next to the sizes of words, groups and blocks."""
FAMILIES = [Loss("error-count"), Loss("symmetric", 0.5), Loss("hinge", 0.5), Loss("square")]
"""A loss for each kind of kernel."""

losses = pytest.mark.parametrize("loss", VARIANTS, ids=label)
families = pytest.mark.parametrize("loss", FAMILIES, ids=label)
laws = pytest.mark.parametrize("inputs", INPUT_LAWS)


@pytest.fixture
def levels():
    """Names of the instruction-set levels, portable first; the one in use is restored afterwards."""
    level = cpu.level()
    yield cpu.available()
    cpu.use(level)


def chain_of(task: Problem, walkers: NDArray[np.int8], method: str = "waiting-time", **keywords: object) -> flips.Flips:
    return SAMPLERS[method]().chain(task.model.block(task.instance, walkers), seed=SEED, **keywords)


def is_exact(loss: Loss, inputs: str) -> bool:
    """Whether the kernel has integer energies."""
    return inputs == "binary" and loss.name in ("error-count", "symmetric")


# Trajectories


def assert_same(loss: Loss, inputs: str, n: int, p: int, sweeps: int, **keywords: object) -> None:
    """Kernel and twin go the same way, in two calls of the kernel and one of the twin."""
    task = problem(loss, inputs, n, p)
    keywords = {"beta": BETA, "n_copies": N_COPIES} | keywords
    start = random_weights(keywords["n_copies"] * len(keywords["beta"]), n)
    chain = chain_of(task, start, **keywords)
    rows = []
    for first, last in ((1, sweeps // 3), (sweeps // 3 + 1, sweeps)):
        chain.advance(first, last)
        rows.append(chain.take().values())
    energy, walker_at, accepted, bits = (np.concatenate(pieces) for pieces in zip(*rows, strict=True))
    by_energy = is_exact(loss, inputs)
    expected = twin.run(task.energy, start, seed=SEED, sweeps=sweeps, by_energy=by_energy, **keywords)
    np.testing.assert_array_equal(unpack(bits[:, :, 0], n), expected.weights)
    np.testing.assert_array_equal(walker_at, expected.walker_at)
    np.testing.assert_array_equal(accepted, expected.accepted)
    np.testing.assert_array_equal(chain.exchange_accepted, expected.exchange_accepted)
    np.testing.assert_array_equal(chain.exchange_proposed, expected.exchange_proposed)
    if by_energy:
        np.testing.assert_array_equal(energy, expected.energy)
    else:
        np.testing.assert_allclose(energy, expected.energy, rtol=1e-9, atol=1e-9)
    assert accepted.sum() > 0


@losses
@laws
def test_same_trajectory(loss, inputs):
    assert_same(loss, inputs, 21, 29, 20, measure_every=2, burn_in=7, exchange_every=3)


@families
@laws
def test_same_trajectory_of_a_larger_problem(loss, inputs):
    assert_same(loss, inputs, 133, 523, 3, beta=np.array([0.0, 2.0]), n_copies=1)


@families
@laws
@pytest.mark.parametrize(("n", "p"), EDGES)
def test_same_trajectory_at_edge_sizes(loss, inputs, n, p):
    assert_same(loss, inputs, n, p, 9 if n < 10 else 3, beta=BETA[[0, -1]] / p**0.5, n_copies=1)


@families
@laws
def test_same_trajectory_across_a_refresh(loss, inputs):
    assert_same(loss, inputs, 5, 12, REFRESH_EVERY + 20, beta=np.array([2.0, 6.0]), n_copies=1)


@families
@laws
def test_rare_flips(loss, inputs):
    """At huge beta a walker goes downhill and stays; from there a flip costs too much to be seen."""
    task = problem(loss, inputs, 33, 40)
    chain = chain_of(task, random_weights(3, 33), beta=[1e3, 1e6, 1e9], exchange_every=0)
    chain.advance(1, 3000)
    energy = chain.take()["energy"]
    assert (np.diff(energy, axis=0) <= 1e-9).all()
    assert (energy[-1] < energy[0]).any()


def everything(chain: flips.Flips) -> list[bytes]:
    """What a run leaves behind, in bytes."""
    caches = chain.block.caches()
    arrays = [
        *chain.take().values(),
        chain.block.energy,
        chain.block.weights,
        *(caches[name] for name in sorted(caches)),
    ]
    return [np.ascontiguousarray(array).tobytes() for array in arrays + list(chain.state().values())]


@losses
@laws
@pytest.mark.parametrize("method", ["waiting-time", "auto"])
@pytest.mark.parametrize(("n", "p", "sweeps", "beta"), [(21, 29, 100, 0.0), (130, 523, 6, 0.5), (140, 1100, 3, 4.0)])
def test_levels_give_the_same_bytes(loss, inputs, method, n, p, sweeps, beta, levels):
    task = problem(loss, inputs, n, p)
    states = {}
    for level in levels:
        cpu.use(level)
        chain = chain_of(task, random_weights(4, n), method, beta=[beta, beta + 4], n_copies=2, burn_in=2)
        chain.advance(1, sweeps)
        states[level] = everything(chain)
    for level in levels:
        assert states[level] == states["portable"], level


@losses
@laws
@pytest.mark.parametrize("method", ["waiting-time", "auto"])
@pytest.mark.parametrize("stop", [30, 50, 61])
def test_restored_block_goes_on_bit_for_bit(loss, inputs, method, stop):
    """Restored, a chain knows no differences; the other has those of many flips before."""
    task = problem(loss, inputs, 21, 29)
    start = random_weights(BETA.size, 21)
    chain, other = (chain_of(task, start, method, beta=3 * BETA, burn_in=50) for _ in range(2))
    chain.advance(1, stop)
    other.advance(1, 3)  # has something to forget
    other.block.restore(chain.block.weights, {name: array.copy() for name, array in chain.block.caches().items()})
    other.restore({name: array.copy() for name, array in chain.state().items()})
    for c in (chain, other):
        c.take()
        for sweep in range(stop + 1, stop + 51):
            c.advance(sweep, sweep)
    assert everything(chain) == everything(other)


@losses
@laws
@pytest.mark.parametrize("method", ["waiting-time", "auto"])
@pytest.mark.parametrize("cuts", [(0, 1, 8), (0, 3, 5, 8), tuple(range(9))])
def test_pieces_of_an_instance_are_the_same_walkers(loss, inputs, method, cuts):
    task = problem(loss, inputs, 21, 29)
    start = random_weights(N_COPIES * BETA.size, 21)
    keywords = {"beta": 3 * BETA, "n_copies": N_COPIES, "exchange_every": 2, "burn_in": 20}
    whole = chain_of(task, start, method, **keywords)
    pieces = [chain_of(task, start[a:b], method, first=a, **keywords) for a, b in pairwise(cuts)]
    whole.advance(1, 40)
    for sweep in range(2, 41, 2):
        for piece in pieces:
            piece.sweep(sweep - 1, sweep)
        energies = np.concatenate([piece.block.energy for piece in pieces])
        for piece in pieces:
            piece.exchange(sweep, energies)
        if sweep == pieces[0].next_adaptation(sweep - 2):
            counted = sum(piece.counts for piece in pieces)
            for piece in pieces:
                piece.adapt(sweep, counted)
    np.testing.assert_array_equal(np.concatenate([piece.block.weights for piece in pieces]), whole.block.weights)
    assert np.concatenate([piece.block.energy for piece in pieces]).tobytes() == whole.block.energy.tobytes()
    np.testing.assert_array_equal(sum(piece.accepted for piece in pieces), whole.take()["accepted"].sum(axis=0))
    for piece in pieces:
        np.testing.assert_array_equal(piece.waits, whole.waits)
        np.testing.assert_array_equal(piece.walker_at, whole.walker_at)


# Laws in time

N = 6
N_WALKERS = 20000
ERROR_RATE = 1e-3
"""Of all comparisons of a test together."""


def generator(exact: Enumeration, beta: float) -> NDArray[np.float64]:
    """Q per sweep, (2^n, 2^n), with the probabilities of the kernel."""
    rule = "metropolis" if beta else "heat-bath"
    states = np.arange(2**exact.n)
    q = np.zeros((states.size, states.size))
    for i in range(exact.n):
        flipped = states ^ 1 << i
        x = beta * (exact.energy[flipped] - exact.energy)
        q[states, flipped] = [flips.probability(rule, v) for v in x.tolist()]
    q[states, states] = -q.sum(axis=1)
    return q


def p_value(states: NDArray[np.integer], law: NDArray[np.float64]) -> float:
    """Chi-square of a sample of states; those with less than 10 expected are one class."""
    counts, expected = np.bincount(states, minlength=law.size), states.size * law
    common = expected >= 10
    counts = np.append(counts[common], counts[~common].sum())
    expected = np.append(expected[common], expected[~common].sum())
    if expected[-1] < 10:  # joins the smallest of the others
        at = np.argmin(expected[:-1])
        counts[at], expected[at] = counts[at] + counts[-1], expected[at] + expected[-1]
        counts, expected = counts[:-1], expected[:-1]
    return float(stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue)


@families
@laws
@pytest.mark.parametrize("beta", [0.0, 0.5, 2.0])
def test_law_after_one_and_three_sweeps(loss, inputs, beta):
    """From the worst state, by the matrix exponential; and the mean number of flips on the way."""
    task = problem(loss, inputs, N, 9)
    exact = Enumeration(task.energy, N)
    worst = int(np.argmax(exact.energy))
    start = np.repeat(all_states(N)[worst : worst + 1], N_WALKERS, axis=0)
    chain = chain_of(task, start, beta=[beta], n_copies=N_WALKERS)
    chain.advance(1, 3)
    _, _, accepted, bits = chain.take().values()
    q, tests = generator(exact, beta), 3 * 3 * len(FAMILIES) * len(INPUT_LAWS)
    for row, sweeps in ((0, 1), (2, 3)):
        assert p_value(bits[row, :, 0, 0].astype(np.int64), expm(sweeps * q)[worst]) > ERROR_RATE / tests
    # d<flips>/dt = <A>; the top right corner of the exponential is the integral over one sweep
    joined = np.zeros((q.shape[0] + 1,) * 2)
    joined[:-1, :-1], joined[:-1, -1] = q, -np.diag(q)
    flipped = accepted[0, :, 0]
    t = (flipped.mean() - expm(joined)[worst, -1]) / (flipped.std(ddof=1) / np.sqrt(N_WALKERS))
    assert abs(t) < stats.norm.isf(ERROR_RATE / tests / 2)


FAULTS: dict[str, dict[str, object]] = {
    "sites are chosen uniformly": {"choose": lambda rates, u: int(u * len(rates))},
    "the flip that overshoots is kept": {"keep_overshoot": True},
}


def test_faults_change_the_law():
    """Negative controls: the twin with one fault each, and without."""
    task = problem(Loss("error-count"), "binary", N, 9)
    exact, beta, n_walkers = Enumeration(task.energy, N), 0.8, 700
    worst = int(np.argmax(exact.energy))
    start = np.repeat(all_states(N)[worst : worst + 1], n_walkers, axis=0)
    law = expm(generator(exact, beta))[worst]

    def energy(weights: NDArray[np.int8]) -> NDArray[np.float64]:
        return exact.energy[pack(weights)[:, 0]]

    def after_a_sweep(**fault: object) -> float:
        keywords = {"beta": np.array([beta]), "n_copies": n_walkers, "exchange_every": 0}
        rows = twin.run(energy, start, seed=SEED, sweeps=1, by_energy=True, **keywords, **fault)
        return p_value(pack(rows.weights[0])[:, 0].astype(np.int64), law)

    assert after_a_sweep() > ERROR_RATE
    for name, fault in FAULTS.items():
        assert after_a_sweep(**fault) < 1e-6, name


# Autocorrelation times


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_tau_is_that_of_metropolis_and_half_a_proposal(beta):
    exact = Enumeration(problem(Loss("error-count"), "binary", N, 9).energy, N)
    q, law = generator(exact, beta), exact.law(beta)
    f = exact.energy - law @ exact.energy
    variance = law @ f**2
    # continuous: f integrated over all times solves -Q F = f
    integral = np.linalg.lstsq(-q, f, rcond=None)[0]
    continuous = N * (law * f) @ integral / variance
    proposal, moved, discrete = np.eye(2**N) + q / N, f, 0.5
    while True:
        moved = proposal @ moved
        correlation = (law * f) @ moved / variance
        discrete += correlation
        if correlation < 1e-15:
            break
    assert continuous == pytest.approx(discrete + 0.5, rel=1e-9)


def tau_by_sweeps(step: NDArray[np.float64], law: NDArray[np.float64], f: NDArray[np.float64], lags: int) -> float:
    """1/2 + the correlations of f at lags 1 .. `lags` of a chain that makes `step` from row to row."""
    moved, total = f, 0.5
    for _ in range(lags):
        moved = step @ moved
        total += (law * f) @ moved / (law @ f**2)
    return total


def test_simulated_tau_is_the_exact_one():
    """tau of E in rows of every sweep, for both samplers, and each is far from the other's. Error rate 6e-5 each."""
    task, beta, lags, n_copies = problem(Loss("error-count"), "binary", N, 9), 1.0, 25, 400
    exact = Enumeration(task.energy, N)
    q, law = generator(exact, beta), exact.law(beta)
    f = exact.energy - law @ exact.energy
    expected = {
        "waiting-time": tau_by_sweeps(expm(q), law, f, lags),
        "metropolis": tau_by_sweeps(np.linalg.matrix_power(np.eye(2**N) + q / N, N), law, f, lags),
    }
    for method, tau in expected.items():
        chain = chain_of(task, random_weights(n_copies, N), method, beta=[beta], n_copies=n_copies)
        chain.advance(1, 200)
        chain.take()
        chain.advance(201, 10200)
        deviation = chain.take()["energy"] - law @ exact.energy  # (rows, n_copies)
        products = [(deviation[lag:] * deviation[: len(deviation) - lag]).mean(axis=0) for lag in range(1, lags + 1)]
        taus = 0.5 + np.sum(products, axis=0) / (law @ f**2)
        mean, error = taus.mean(), taus.std(ddof=1) / np.sqrt(n_copies)
        assert abs(mean - tau) < 4 * error, (method, mean, error, tau)
        other = next(value for name, value in expected.items() if name != method)
        assert abs(mean - other) > 6 * error, (method, mean, error, other)


# The method "auto"


def auto_chain(task: Problem, start: NDArray[np.int8], method: str, **keywords: object) -> flips.Flips:
    keywords = {"beta": [0.5, 2.0, 6.0, 30.0], "n_copies": N_COPIES, "exchange_every": 0, "burn_in": 41} | keywords
    return chain_of(task, start, method, **keywords)


@pytest.mark.parametrize("loss", [Loss("error-count"), Loss("hinge")], ids=label)
@laws
def test_auto_is_one_sampler_and_then_the_other(loss, inputs):
    """Without exchange each walker is Metropolis' all the way, or goes on as one of waiting times does."""
    task, burn_in = problem(loss, inputs, 51, 80), 41
    start = random_weights(N_COPIES * BETA.size, 51)
    auto, metropolis = (auto_chain(task, start, method) for method in ("auto", "metropolis"))
    auto.advance(1, burn_in - 1)
    assert not auto.waits.any()
    counted_before = auto.counts.copy()
    metropolis.advance(1, burn_in)
    going_on = auto_chain(task, metropolis.block.weights, "waiting-time")
    going_on.block.restore(metropolis.block.weights, metropolis.block.caches())
    auto.advance(burn_in, 100)  # passes the end of the burn-in within a call
    metropolis.advance(burn_in + 1, 100)
    going_on.advance(burn_in + 1, 100)

    rows, of_metropolis, of_waiting = (chain.take() for chain in (auto, metropolis, going_on))
    second_half = slice(burn_in // 2, burn_in)
    counted = of_metropolis["accepted"][second_half].sum(axis=0)
    np.testing.assert_array_equal(counted_before, counted - of_metropolis["accepted"][burn_in - 1])
    assert not auto.counts.any()
    waits = counted.sum(axis=0) / (N_COPIES * (burn_in - burn_in // 2)) < FLIPS_PER_SWEEP
    np.testing.assert_array_equal(auto.waits, waits)
    assert 0 < waits.sum() < waits.size
    here = np.tile(waits, N_COPIES)  # walkers stay on their rungs
    for which, expected in ((~here, of_metropolis), (here, of_waiting)):
        for name in ("energy", "weights"):
            found = rows[name][burn_in:, which]
            np.testing.assert_array_equal(found, expected[name][-len(found) :][:, which])
    np.testing.assert_array_equal(rows["weights"][:burn_in], of_metropolis["weights"][:burn_in])


def test_auto_needs_a_burn_in():
    task = problem(Loss("error-count"), "binary", 9, 9)
    with pytest.raises(ValueError, match=r"burn_in: got 1, expected an integer >= 2"):
        auto_chain(task, random_weights(8, 9), "auto", burn_in=1)
    part = auto_chain(task, random_weights(3, 9), "auto")
    with pytest.raises(ValueError, match="a part of its instance"):
        part.advance(1, 2)


def test_orders_play_no_part():
    assert Auto(order="sequential").order == "sequential"
    with pytest.raises(ValueError, match="order: got 'sequential', expected one of random"):
        SAMPLERS["waiting-time"](order="sequential")


ASKED = {"sampler.method": "auto", "data.n_instances": 2, "ladder.beta": [0.5, 2.0, 4.0, 6.0], "data.alpha": 2.0}


@pytest.fixture
def run_of(tmp_path: Path) -> Callable[[dict[str, object]], Path]:
    """Runs BASE with changes and returns the output directory."""

    def run(changes: dict[str, object]) -> Path:
        out = tmp_path / "out"
        assert run_command(["run", str(write_run_file(tmp_path / "run.toml", changes)), "-o", str(out), "--quiet"]) == 0
        return out

    return run


def test_the_choice_is_recorded(run_of):
    out = run_of(ASKED)
    found = contents(out / "results.h5")
    kind, shape, methods = found["method"]
    names = np.frombuffer(methods, dtype=kind if kind.startswith("<U") else "<U12").reshape(shape)
    assert shape == (2, 4)
    assert set(names.ravel()) == {"metropolis", "waiting-time"}
    assert (names[:, 0] == "metropolis").all()
    by_rung = ", ".join(f"{n} of 2" for n in (names == "waiting-time").sum(axis=0))
    log = (out / "run.log").read_text()
    assert log.count(f"waiting times instead of metropolis, instances by rung: {by_rung}") == 1


@pytest.mark.parametrize("method", ["metropolis", "waiting-time"])
def test_without_a_choice_none_is_recorded(method, run_of):
    out = run_of({"sampler.method": method})
    assert "method" not in contents(out / "results.h5")
    assert "instead of" not in (out / "run.log").read_text()
