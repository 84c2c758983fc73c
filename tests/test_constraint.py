"""Pair flips at a fixed overlap with a reference: kernel against twin, samples against enumeration of the states of
that overlap, and the run file's table [constraint].

The statistics, their error rate and the effective samples they must reach are those of test_exact.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

import launchers
import mcmc
from enumeration import Enumeration, all_states
from launchers import Launcher
from mcmc import engine
from mcmc.cli import run_command
from mcmc.errors import ConfigError, StorageError
from mcmc.kernels import cpu, flips
from mcmc.kernels.random import stream_key
from mcmc.losses import LOSSES, Loss
from mcmc.priors import FixedOverlap, attainable, constrained, pack, unpack
from mcmc.reference import flips as single_twin
from mcmc.reference import pairs as twin
from mcmc.reference import philox
from mcmc.samplers import SAMPLERS
from mcmc.storage import RunDirectory
from problems import INPUT_LAWS, PERCEPTRON, VARIANTS, Machine, Problem, label, problem, random_weights
from running import MCMC, assert_same_results, contents, tables, write_run_file
from test_exact import (
    BURN_IN,
    EFFECTIVE_SAMPLES,
    N_COPIES,
    Case,
    failures,
    run,
    samples_of,
    statistics,
    task_of,
)

SEED = 7
BETA = np.array([0.0, 0.4, 0.8, 1.5])
REFRESH_EVERY = 64  # PAIRS_REFRESH_EVERY of flips.h
METHODS = [name for name, sampler in SAMPLERS.items() if sampler.flips_pairs]
FAMILIES = [Loss("error-count"), Loss("symmetric", 0.5), Loss("hinge", 0.5), Loss("squared-hinge", 0.5), Loss("square")]
"""A loss for each kind of kernel."""


def constraint_of(n: int, n_differ: int) -> FixedOverlap:
    return FixedOverlap(random_weights(1, n, seed=5)[0], n_differ)


def pairs_of(task: Problem, method: str, constraint: FixedOverlap, **keywords: object) -> flips.Flips:
    """A chain at its initial weights; keywords: at least beta and n_copies."""
    n_walkers = keywords["n_copies"] * len(keywords["beta"])
    walkers = keywords.pop("walkers", range(n_walkers))
    start = constraint.draw(SEED, 0, walkers, len(keywords["beta"]))
    block = task.model.block(task.instance, start)
    return SAMPLERS[method]().chain(block, seed=SEED, first=walkers[0], constraint=constraint, **keywords)


def test_methods_that_flip_pairs() -> None:
    assert {"metropolis", "heat-bath"} <= set(METHODS)


# Kernel and twin


@pytest.mark.parametrize("loss", VARIANTS, ids=label)
@pytest.mark.parametrize("inputs", INPUT_LAWS)
@pytest.mark.parametrize("method", METHODS)
def test_same_trajectory(loss: Loss, inputs: str, method: str) -> None:
    assert_same(problem(loss, inputs, 21, 29), method, constraint_of(21, 8), sweeps=60, measure_every=2, burn_in=9)


# Beyond a chunk of 256 proposals, several words of weights, a second group of patterns; and next to no choice.
@pytest.mark.parametrize("loss", FAMILIES, ids=label)
@pytest.mark.parametrize("inputs", INPUT_LAWS)
@pytest.mark.parametrize(("n", "p", "n_differ", "sweeps"), [(261, 531, 100, 1), (2, 9, 1, 50), (65, 3, 64, 5)])
def test_same_trajectory_at_edge_sizes(loss: Loss, inputs: str, n: int, p: int, n_differ: int, sweeps: int) -> None:
    assert_same(problem(loss, inputs, n, p), "metropolis", constraint_of(n, n_differ), sweeps=sweeps)


@pytest.mark.parametrize("loss", [Loss("hinge", 0.5), Loss("square")], ids=label)
def test_same_trajectory_across_a_refresh(loss: Loss) -> None:
    task = problem(loss, "gaussian", 8, 12)
    assert_same(task, "metropolis", constraint_of(8, 3), sweeps=200, measure_every=5)


@pytest.mark.parametrize("loss", [Loss("hinge", 0.5), Loss("square")], ids=label)
def test_caches_are_refreshed_at_their_sweep(loss: Loss) -> None:
    task = problem(loss, "gaussian", 9, 12)
    chain = pairs_of(task, "metropolis", constraint_of(9, 4), beta=BETA, n_copies=1, measure_every=0)
    for last, exact in ((REFRESH_EVERY - 1, False), (REFRESH_EVERY, True), (2 * REFRESH_EVERY - 1, False)):
        chain.advance(last, last) if exact else chain.advance(last - REFRESH_EVERY + 2, last)
        fresh = task.model.block(task.instance, chain.block.weights).caches()
        drift = max(np.abs(cache - fresh[name]).max() for name, cache in chain.block.caches().items())
        assert drift == 0 if exact else 0 < drift < 1e-11


def assert_same(task: Problem, method: str, constraint: FixedOverlap, sweeps: int, **keywords: int) -> None:
    n = constraint.reference.size
    keywords = {"beta": BETA, "n_copies": 2, "exchange_every": 3} | keywords
    chain = pairs_of(task, method, constraint, **keywords)
    start = chain.block.weights.copy()
    chain.advance(1, sweeps // 3)
    chain.advance(sweeps // 3 + 1, sweeps)
    energy, walker_at, accepted, bits = chain.take().values()
    expected = twin.run(
        task.energy,
        start,
        reference=constraint.reference,
        seed=SEED,
        sweeps=sweeps,
        rule=single_twin.RULES[method],
        **keywords,
    )
    np.testing.assert_array_equal(unpack(bits[:, :, 0], n), expected.weights)
    np.testing.assert_array_equal(walker_at, expected.walker_at)
    np.testing.assert_array_equal(accepted, expected.accepted)
    np.testing.assert_array_equal(chain.exchange_accepted, expected.exchange_accepted)
    np.testing.assert_allclose(energy, expected.energy, rtol=1e-9, atol=1e-9)
    assert ((unpack(bits[:, :, 0], n) != constraint.reference).sum(axis=-1) == constraint.n_differ).all()
    assert accepted.sum() > 0


@pytest.mark.parametrize("loss", FAMILIES, ids=label)
@pytest.mark.parametrize("inputs", INPUT_LAWS)
@pytest.mark.parametrize(("n", "p", "sweeps"), [(21, 29, 200), (301, 1100, 3)])
def test_levels_give_the_same_bytes(loss: Loss, inputs: str, n: int, p: int, sweeps: int) -> None:
    used, states = cpu.level(), {}
    for level in cpu.available():
        cpu.use(level)
        chain = pairs_of(problem(loss, inputs, n, p), "metropolis", constraint_of(n, n // 3), beta=BETA, n_copies=2)
        chain.advance(1, sweeps)
        arrays = [*chain.take().values(), *chain.block.caches().values(), chain.block.weights]
        states[level] = [np.ascontiguousarray(array).tobytes() for array in arrays]
    cpu.use(used)
    assert all(state == states["portable"] for state in states.values())


@pytest.mark.parametrize("loss", FAMILIES, ids=label)
@pytest.mark.parametrize("inputs", INPUT_LAWS)
def test_pieces_and_restored_blocks_are_the_same_walkers(loss: Loss, inputs: str) -> None:
    task, constraint = problem(loss, inputs, 21, 29), constraint_of(21, 8)
    keywords = {"beta": BETA, "n_copies": 2, "exchange_every": 2}
    whole = pairs_of(task, "metropolis", constraint, **keywords)
    pieces = [
        pairs_of(task, "metropolis", constraint, walkers=range(a, b), **keywords) for a, b in pairwise((0, 3, 5, 8))
    ]
    whole.advance(1, 40)
    for sweep in range(2, 41, 2):
        for piece in pieces:
            piece.sweep(sweep - 1, sweep)
        energies = np.concatenate([piece.block.energy for piece in pieces])
        for piece in pieces:
            piece.exchange(sweep, energies)
        if sweep == 20:  # a checkpoint holds no more than this
            kept = pieces[1]
            pieces[1] = pairs_of(task, "metropolis", constraint, walkers=range(3, 5), **keywords)
            caches = {name: array.copy() for name, array in kept.block.caches().items()}
            pieces[1].block.restore(kept.block.weights, caches)
            pieces[1].restore(kept.state())
    assert np.concatenate([piece.block.energy for piece in pieces]).tobytes() == whole.block.energy.tobytes()
    np.testing.assert_array_equal(np.concatenate([piece.block.weights for piece in pieces]), whole.block.weights)


def test_weights_off_the_constraint_are_refused() -> None:
    task, constraint = problem(Loss("error-count"), "binary", 11, 9), constraint_of(11, 4)
    chain = pairs_of(task, "metropolis", constraint, beta=BETA, n_copies=1)
    damaged = chain.block.weights.copy()
    damaged[2, 5] *= -1
    differ = (damaged[2] != constraint.reference).sum()
    with pytest.raises(ValueError, match=f"walker 2 differs from the reference in {differ} weights, expected 4"):
        SAMPLERS["metropolis"]().chain(
            task.model.block(task.instance, damaged), seed=1, beta=BETA, constraint=constraint
        )
    chain.block.restore(damaged, chain.block.caches())
    with pytest.raises(ValueError, match="walker 2 differs"):
        chain.restore(chain.state())
    with pytest.raises(ValueError, match="constraint: got one, expected none for waiting-time"):
        SAMPLERS["waiting-time"]().chain(chain.block, seed=1, beta=BETA, constraint=constraint)
    with pytest.raises(ValueError, match="random order"):
        SAMPLERS["metropolis"](order="sequential").chain(
            task.model.block(task.instance, constraint.draw(1, 0, range(4), 4)),
            seed=1,
            beta=BETA,
            constraint=constraint,
        )


# Choice of the pair, and initial states


@pytest.mark.parametrize(("n_agree", "n_differ"), [(1, 1), (3, 4), (5, 2), (1000, 1), (1, 999)])
def test_every_pair_has_the_same_share_of_the_uniforms(n_agree: int, n_differ: int) -> None:
    """The places are monotonous in the 64 bits, so the first uniform of each pair tells them all."""
    pairs = n_agree * n_differ
    firsts = [-(-k * 2**64 // pairs) for k in range(pairs)]
    for k, first in enumerate(firsts):
        assert twin.places(first, n_agree, n_differ) == divmod(k, n_differ)
        assert k == 0 or twin.places(first - 1, n_agree, n_differ) == divmod(k - 1, n_differ)
    shares = np.diff([*firsts, 2**64])
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize(
    ("overlap", "n", "n_differ"), [(0.5, 101, 25), (0.0, 5, 3), (0.6, 5, 1), (-0.6, 5, 4), (0.2, 10, 4)]
)
def test_the_nearest_attainable_overlap(overlap: float, n: int, n_differ: int) -> None:
    assert attainable(overlap, n) == n_differ


@pytest.mark.parametrize(("overlap", "n"), [(1.0, 5), (-1.0, 5), (0.99, 11), (0.529, 2)])
def test_a_single_state_is_refused(overlap: float, n: int) -> None:
    with pytest.raises(
        ConfigError, match=rf"constraint\.overlap: got {overlap}, .* n_weights = {n} it leaves a single"
    ):
        attainable(overlap, n)


def test_initial_states_are_uniform_and_addressed() -> None:
    constraint, n = constraint_of(6, 2), 30000
    drawn = constraint.draw(SEED, 3, range(n), 10)
    assert ((drawn != constraint.reference).sum(axis=1) == 2).all()
    counts = Counter(map(bytes, drawn))
    assert len(counts) == math.comb(6, 2)
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4
    np.testing.assert_array_equal(constraint.draw(SEED, 3, range(17, 40), 10), drawn[17:40])
    key = philox.stream_key(philox.stream_key(SEED, "constrained"), "weights", 3, 1, 7)
    order = np.argsort(philox.uniforms64(key, 0, np.arange(6)))
    np.testing.assert_array_equal(np.flatnonzero(drawn[17] != constraint.reference), np.sort(order[:2]))


def test_no_stream_is_that_of_a_run_without_constraint() -> None:
    assert constrained(SEED) == philox.stream_key(SEED, "constrained") != SEED
    numbers = {stream_key(seed, purpose) for seed in (SEED, constrained(SEED)) for purpose in range(9)}
    assert len(numbers) == 18


# Against enumeration


class Restricted(Enumeration):
    """The states that keep a constraint; all others have probability 0."""

    def __init__(self, energy: Callable[[NDArray], NDArray], constraint: FixedOverlap) -> None:
        super().__init__(energy, constraint.reference.size)
        self.reference = int(pack(constraint.reference)[0])
        states = np.arange(2**self.n)
        self.n_differ = constraint.n_differ
        self.allowed = np.bitwise_count(states ^ self.reference) == self.n_differ

    def law(self, beta: float) -> NDArray[np.float64]:
        p = np.exp(-beta * (self.energy - self.energy[self.allowed].min())) * self.allowed
        return p / p.sum()

    def transitions(self, beta: float, rule: Callable[[NDArray], NDArray]) -> NDArray[np.float64]:
        """Probabilities of a pair proposal to lead from one allowed state to another, by their order."""
        states = np.flatnonzero(self.allowed)
        pair = np.bitwise_count(states[:, None] ^ states) == 2
        x = beta * (self.energy[states] - self.energy[states][:, None])
        matrix = np.where(pair, rule(x), 0) / (self.n_differ * (self.n - self.n_differ))
        return matrix + np.diag(1 - matrix.sum(axis=1))

    def acceptance(self, beta: float, rule: Callable[[NDArray], NDArray]) -> NDArray[np.float64]:
        """Mean probability to accept a pair, (1,)."""
        matrix = self.transitions(beta, rule)
        return np.array([self.law(beta)[self.allowed] @ (1 - np.diag(matrix))])


COMMITTEE, PARITY, SOFT = Machine("committee", 3), Machine("parity", 2), Machine("committee", 3, "tanh")
CASES = [
    (Case(Loss("error-count"), "binary", 11, 13, (0.4, 0.8, 1.2)), "teacher", 3),
    (Case(Loss("error-count", 0.5), "binary", 12, 9, (0.3, 0.6), "heat-bath", labels="random"), "magnetisation", 6),
    (Case(Loss("symmetric", 0.7), "binary", 10, 8, (0.4, 0.8, 1.2), labels="random"), "magnetisation", 4),
    (Case(Loss("hinge", 0.5), "binary", 11, 12, (0.4, 0.8), "heat-bath", label_noise=0.2), "teacher", 7),
    (Case(Loss("squared-hinge", 0.8), "binary", 11, 9, (0.3, 0.6)), "teacher", 5),
    (Case(Loss("hinge", 0.5), "gaussian", 10, 9, (0.3, 0.6)), "other", 5),
    (Case(Loss("square"), "binary", 13, 6, (0.2, 0.4, 0.6), label_noise=0.5), "teacher", 4),
    (Case(Loss("square"), "gaussian", 10, 8, (0.2, 0.4), "heat-bath", labels="random"), "magnetisation", 3),
    (Case(Loss("logistic", 0.3, 2.0), "gaussian", 12, 12, (0.5, 1.0), label_noise=0.1, sweeps=8000), "other", 8),
    (Case(Loss("error-count"), "binary", 4, 14, (0.4, 0.8, 1.2), label_noise=0.1, machine=COMMITTEE), "teacher", 5),
    (
        Case(Loss("hinge", 0.5), "binary", 4, 10, (0.3, 0.6, 0.9), "heat-bath", labels="random", machine=COMMITTEE),
        "magnetisation",
        4,
    ),
    (Case(Loss("error-count"), "binary", 6, 12, (0.4, 0.8, 1.2), label_noise=0.1, machine=PARITY), "other", 6),
    (Case(Loss("square"), "gaussian", 4, 8, (0.3, 0.6), label_noise=0.3, sweeps=8000, machine=SOFT), "teacher", 5),
]


def exact_of(case: Case, reference: str, n_differ: int) -> tuple[FixedOverlap, Restricted]:
    task = task_of(case)
    n = case.n_weights
    chosen = {"teacher": task.instance.teacher, "magnetisation": np.ones(n, dtype=np.int8)}
    constraint = FixedOverlap(chosen.get(reference, random_weights(1, n)[0]), n_differ)
    return constraint, Restricted(task.energy, constraint)


def test_cases_cover_the_families_and_methods() -> None:
    def family(case: Case) -> tuple[str, str]:
        return task_of(case).model.family(case.inputs == "binary"), case.method

    assert {case.loss.name for case, *_ in CASES} <= set(LOSSES)
    assert {case.machine for case, *_ in CASES} == {PERCEPTRON, COMMITTEE, PARITY, SOFT}
    found = {family(case) for case, *_ in CASES}
    assert {name for name, _ in found} == {"bitslice", "tabulated", "quadratic", "fields"}
    assert {name for _, name in found} == set(METHODS)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "reference", "n_differ"), CASES, ids=lambda value: getattr(value, "name", None))
def test_samples_agree_with_enumeration(case: Case, reference: str, n_differ: int) -> None:
    constraint, exact = exact_of(case, reference, n_differ)
    chain = pairs_of(task_of(case), case.method, constraint, beta=case.beta, n_copies=N_COPIES, burn_in=BURN_IN)
    samples = run(case, chain)
    assert exact.allowed[samples.state].all()
    found = statistics(samples, exact, case)
    assert failures(found) == []
    poorest = min(found, key=lambda statistic: statistic.effective_samples)
    assert poorest.effective_samples >= EFFECTIVE_SAMPLES, poorest.name
    # neither a beta that is 2 % off nor all states would do
    wrong = replace(case, beta=tuple(1.02 * beta for beta in case.beta))
    assert failures(statistics(samples, exact, wrong)) != []
    assert failures(statistics(samples, Enumeration(task_of(case).energy, case.n_weights), case)) != []


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("loss", FAMILIES, ids=label)
def test_a_sweep_is_n_reversible_proposals(method: str, loss: Loss) -> None:
    """Detailed balance holds exactly, and from any state a sweep of the kernel leads where n proposals lead."""
    n, constraint, each = 4, constraint_of(4, 2), 4000
    task = problem(loss, "binary", n, 3)
    exact = Restricted(task.energy, constraint)
    states = np.flatnonzero(exact.allowed)
    start = np.repeat(all_states(n)[states], each, axis=0)
    for beta in (0.0, 0.5):
        rule = np.vectorize(lambda x, beta=beta: flips.probability(method if beta else "heat-bath", x))
        proposal = exact.transitions(beta, rule)
        flow = exact.law(beta)[states, None] * proposal
        np.testing.assert_allclose(flow, flow.T, rtol=1e-12)
        block = task.model.block(task.instance, start)
        chain = SAMPLERS[method]().chain(
            block, seed=SEED, beta=[beta], n_copies=len(start), exchange_every=0, constraint=constraint
        )
        chain.advance(1, 1)
        reached = np.searchsorted(states, pack(chain.block.weights)[:, 0]).reshape(len(states), each)
        for came_from, probabilities in zip(reached, np.linalg.matrix_power(proposal, n), strict=True):
            counts = np.bincount(came_from, minlength=len(states))
            assert stats.chisquare(counts, each * probabilities).pvalue > 1e-5


def test_two_sites_at_beta_0_do_not_alternate() -> None:
    """Every accepted pair leads to the other of two states: a sweep of two that are always accepted leads nowhere."""
    constraint = constraint_of(2, 1)
    chain = pairs_of(problem(Loss("error-count"), "binary", 2, 3), "metropolis", constraint, beta=[0.0], n_copies=4000)
    start = chain.block.weights.copy()
    chain.advance(1, 1)
    assert 1800 < (chain.block.weights != start).any(axis=1).sum() < 2200


# Negative control: the numpy twin with a fault in the choice of the pair


def lopsided(uniform: int, n_agree: int, n_differ: int) -> tuple[int, int]:
    """Sites of small numbers are preferred among those that agree: there are not as many ways back."""
    first, second = twin.places(uniform, n_agree, n_differ)
    return min(first, n_agree // 2), second


def test_a_choice_without_symmetry_fails() -> None:
    case = Case(Loss("error-count"), "binary", 8, 10, (0.9,), labels="random", sweeps=700)
    constraint, exact = exact_of(case, "other", 4)

    def failed(choice: twin.Choice) -> list[str]:
        rows = twin.run(
            lambda weights: exact.energy[pack(weights)[:, 0]],
            constraint.draw(SEED, 0, range(N_COPIES), 1),
            reference=constraint.reference,
            seed=SEED,
            beta=np.array(case.beta),
            sweeps=BURN_IN + case.sweeps,
            rule=single_twin.metropolis,
            n_copies=N_COPIES,
            exchange_every=0,
            choice=choice,
        )
        states = pack(rows.weights)[..., 0].reshape(rows.walker_at.shape)
        counts = rows.exchange_accepted, rows.exchange_proposed
        return failures(statistics(samples_of(case, states, rows.walker_at, rows.accepted, *counts), exact, case))

    assert failed(twin.places) == []
    assert failed(lopsided) != []


# Runs


def asked(**constraint: object) -> dict[str, object]:
    """A short run with a constraint."""
    return tables({"constraint": constraint, "model.n_inputs": 12, "ladder.n_copies": 2})


def test_a_reference_of_another_run_must_fit(tmp_path: Path) -> None:
    mcmc.run(tables({"model.n_inputs": 12}), tmp_path / "reference", quiet=True)
    good = {"reference": "run", "overlap": 0.5, "path": str(tmp_path / "reference"), "copy": 1, "beta": 0.7}
    wrong = [
        ({}, {"seed": 12}, "constraint.path: .*same disorder: seed is 11 there, 12 here"),
        ({}, {"data.alpha": 1.0}, "same disorder: data.alpha is 0.8 there, 1.0 here"),
        ({}, {"model.loss.name": "hinge"}, "same disorder: model.loss.name is 'error-count' there"),
        ({"copy": 2}, {}, "constraint.copy: got 2, expected an integer from 0 to 1"),
        ({"beta": 0.8}, {}, "constraint.beta: got 0.8, expected one of 0.3, 0.7, 1.1, 1.5"),
        ({"beta": None}, {}, "constraint.beta: missing, expected one of 0.3, 0.7, 1.1, 1.5"),
        ({"path": str(tmp_path)}, {}, "constraint.path: .*a run with a checkpoint"),
    ]
    for constraint, changes, message in wrong:
        settings = asked(**{key: value for key, value in (good | constraint).items() if value is not None})
        for key, value in changes.items():
            table, _, name = key.rpartition(".")
            part = settings
            for step in table.split(".") if table else ():
                part = part[step]
            part[name] = value
        with pytest.raises(ConfigError, match=message):
            mcmc.run(settings, tmp_path / "out", quiet=True)
        assert not (tmp_path / "out").exists()
    mcmc.run(asked(**good), tmp_path / "out", quiet=True)


def test_a_reference_is_no_sample_of_the_burn_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same run serves once it is beyond: it is stopped after every second sweep."""
    monkeypatch.setattr(engine, "_STRETCH", 1e-9)
    small = {"model.n_inputs": 12, "schedule.burn_in": 4}
    there = write_run_file(tmp_path / "there.toml", small | {"schedule.annealing": {"beta": 0.1}})
    constraint = {"reference": "run", "overlap": 0.5, "path": "there", "copy": 1, "beta": 0.7}
    here = write_run_file(tmp_path / "here.toml", small | {"constraint": constraint})
    codes = []
    for _ in range(3):
        assert run_command(["run", str(there), "-o", str(tmp_path / "there"), "--walltime", "0.000001"]) == 75
        capsys.readouterr()
        codes.append(run_command(["run", str(here), "--dry-run"]))
        told, sweep = capsys.readouterr().err, 2 * len(codes)
        expected = f"there: expected a run beyond its burn-in of 4 sweeps: its latest checkpoint is of sweep {sweep}\n"
        assert codes[-1] == 0 or told.endswith(expected)
    assert codes == [2, 2, 0]


@pytest.fixture
def of_a_run(tmp_path: Path) -> Path:
    """Run file with a sample of the run in `reference` as its reference, and its results in `out`."""
    mcmc.run(tables({"model.n_inputs": 12, "data.n_instances": 3}), tmp_path / "reference", quiet=True)
    constraint = {"reference": "run", "overlap": 0.5, "path": "reference", "copy": 1, "beta": 0.7}
    file = write_run_file(
        tmp_path / "run.toml", {"constraint": constraint, "model.n_inputs": 12, "data.n_instances": 3}
    )
    assert run_command(["run", str(file), "-o", str(tmp_path / "out"), "--quiet"]) == 0
    return file


def go_on(directory: Path) -> None:
    """Continues the run from which the reference comes: all of its walkers are elsewhere."""
    before = RunDirectory(directory).read_checkpoint().arrays["weights"]
    longer = {"model.n_inputs": 12, "data.n_instances": 3, "schedule.sweeps": 220}
    mcmc.run(tables(longer), directory, quiet=True)
    assert (RunDirectory(directory).read_checkpoint().arrays["weights"] != before).any(axis=-1).mean() > 0.5


def vanish(directory: Path) -> None:
    directory.rename(directory.with_name("moved"))


@pytest.mark.parametrize("event", [go_on, vanish])
def test_the_run_of_a_reference_is_read_once(
    event: Callable[[Path], None], of_a_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever happens to it: a finished run says so, a stopped one goes on as if nothing had happened."""
    folder = of_a_run.parent
    stopped = ["run", str(of_a_run), "-o", str(folder / "stopped")]
    assert run_command([*stopped, "--walltime", "0.000001", "--quiet"]) == 75
    event(folder / "reference")
    assert run_command(["run", str(of_a_run), "-o", str(folder / "out")]) == 0
    assert "complete already, 120 sweeps" in capsys.readouterr().out
    assert run_command([*stopped, "--dry-run"]) == 0
    assert run_command(stopped) == 0
    assert_same_results(folder / "stopped", folder / "out")
    log = (folder / "stopped" / "run.log").read_text()
    assert f"with the sample of {folder / 'reference'} that the checkpoint holds: 3 of 12 weights differ" in log
    if event is go_on:  # a run that begins now has another reference
        assert run_command(["run", str(of_a_run), "-o", str(folder / "new"), "--quiet"]) == 0
        references = [contents(folder / name / "results.h5")["data/reference"] for name in ("new", "out")]
        assert references[0] != references[1]


def test_the_run_of_a_reference_by_another_path(of_a_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = of_a_run.parent
    (folder / "link").symlink_to("reference")
    mcmc.run(tables({"model.n_inputs": 12, "data.n_instances": 3}), folder / "other", quiet=True)
    command = ["run", str(of_a_run), "-o", str(folder / "out"), "--set", "schedule.sweeps=160", "--quiet"]
    assert run_command([*command, "--set", "constraint.path=link"]) == 0
    assert run_command([*command, "--set", "constraint.path=other"]) == 3
    assert "constraint.path was 'link', is 'other'" in capsys.readouterr().err


def test_ranks_go_on_with_the_reference_of_the_checkpoint(of_a_run: Path, launcher: Launcher) -> None:
    folder = of_a_run.parent
    command = [*MCMC, "run", str(of_a_run), "-o", str(folder / "stopped"), "--quiet"]
    assert launchers.run(launcher, 2, [*command, "--walltime", "0.000001"]).returncode == 75
    go_on(folder / "reference")
    for _ in range(2):  # the second time it is complete already
        finished = launchers.run(launcher, 2, command)
        assert (finished.returncode, finished.stderr) == (0, "")
    assert_same_results(folder / "stopped", folder / "out")


def test_a_reference_that_changes_stops_the_run_from_going_on(tmp_path: Path) -> None:
    path = tmp_path / "reference.npz"
    rng = np.random.default_rng(1)
    np.savez(path, weights=rng.choice([-1, 1], 12))
    settings = asked(reference="file", overlap=0.2, path=str(path))
    mcmc.run(settings, tmp_path / "out", quiet=True)
    settings["schedule"]["sweeps"] += 10
    mcmc.run(settings, tmp_path / "out", quiet=True)
    np.savez(path, weights=rng.choice([-1, 1], 12))
    settings["schedule"]["sweeps"] += 10
    with pytest.raises(StorageError, match=r"reference\.npz: has changed since the run"):
        mcmc.run(settings, tmp_path / "out", quiet=True)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"w": np.ones(12)}, "no array 'weights', it has 'w'"),
        ({"weights": np.ones(11)}, r"got shape \(11,\), expected \(12,\) or \(1, 12\)"),
        ({"weights": np.zeros(12)}, r"expected -1 and \+1 only"),
        ({"weights": np.array(["1"] * 12)}, r"expected -1 and \+1 only"),
        ({"weights": np.array([None] * 12)}, "cannot be read"),
    ],
)
def test_a_reference_file_must_fit(arrays: dict[str, NDArray], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "reference.npz", **arrays)
    with pytest.raises(ConfigError, match=f"constraint.path: .*{message}"):
        mcmc.run(asked(reference="file", overlap=0.2, path=str(tmp_path / "reference.npz")), tmp_path / "out")


def test_the_overlap_in_use_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = mcmc.run(asked(reference="magnetisation", overlap=0.3), tmp_path / "out", quiet=True).dataset
    assert (dataset.reference_overlap == 4 / 12).all()
    assert dataset.reference_overlap.dims == ("instance", "sample", "copy", "rung")
    told = "overlap 0.333333 with all weights +1: 4 of 12 weights differ"
    assert told in (tmp_path / "out" / "run.log").read_text()
    assert run_command(["run", str(tmp_path / "out" / "run.toml"), "--dry-run"]) == 0
    assert f"constraint {told}\n" in capsys.readouterr().out


def test_rows_off_the_constraint_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The constraint is broken from outside: single flips in the place of pairs."""
    chain = SAMPLERS["metropolis"].chain
    monkeypatch.setattr(
        SAMPLERS["metropolis"], "chain", lambda self, block, *, constraint, **keywords: chain(self, block, **keywords)
    )
    with pytest.raises(RuntimeError, match=r"instance 0, copy \d, walker \d, sweep 10: overlap .* expected 0\.3333"):
        mcmc.run(asked(reference="magnetisation", overlap=0.3), tmp_path / "out", quiet=True)


def test_a_method_without_pair_flips_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SAMPLERS["heat-bath"], "flips_pairs", False)
    settings = asked(reference="magnetisation", overlap=0.3) | {"sampler": {"method": "heat-bath"}}
    with pytest.raises(ConfigError, match=r"sampler\.method: got 'heat-bath', expected one of metropolis.*pair flips"):
        mcmc.run(settings, tmp_path / "out", quiet=True)
