"""Moves of all weights at once: trajectories of the twin, walkers whatever their block, restarts, tuning, divergence.

Which laws the moves sample in detail is the business of other tests; here each exact sampler meets the Gaussian
posterior, and an integrator without its decision fails there.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from gaussian_posterior import GaussianPosterior
from mcmc.errors import DivergenceError
from mcmc.kernels import cpu, moves, tuning
from mcmc.losses import Loss
from mcmc.reference import moves as twin
from mcmc.samplers import CONTINUOUS
from problems import Machine, Problem, problem

Reals = NDArray[np.float64]

SEED = 7
BETA = np.array([0.0, 0.5, 1.0, 2.0])
N_COPIES = 2
PRECISION = 1.7
PARAMETERS = {
    "langevin": {"step_size": 0.02},
    "mala": {"step_size": [0.3, 0.2, 0.15, 0.1]},
    "hmc": {"step_size": 0.25, "n_steps": 3},
    "underdamped": {"step_size": 0.2, "friction": 1.5},
    "pcn": {"step_size": 0.5},
    "elliptical-slice": {},
    "random-walk": {"step_size": 0.3},
}
MOVES = {name: sampler for name, sampler in CONTINUOUS.items() if not sampler.by_coordinate}
CASES = [(method, law) for method, sampler in MOVES.items() for law in sampler.laws]
cases = pytest.mark.parametrize(("method", "law"), CASES)
EXACT = [method for method, sampler in MOVES.items() if sampler.adjusted]
TUNED = [(method, law) for method, law in CASES if CONTINUOUS[method].target]


@dataclass(frozen=True)
class Law:
    """A prior, as far as a sampler sees it."""

    name: str
    precision: float = PRECISION


COMMITTEE = Machine("committee", 3, "tanh")


def smooth(machine: Machine = COMMITTEE, loss: str = "logistic", n: int = 12) -> Problem:
    return problem(Loss(loss), "gaussian", n, 20, machine)


def start_of(n_walkers: int, task: Problem, law: str, seed: int = 3) -> Reals:
    """Weights (n_walkers, n_weights) of the prior."""
    w = np.random.default_rng(seed).normal(size=(n_walkers, task.n_weights))
    if law == "gaussian":
        return w / math.sqrt(PRECISION)
    units = w.reshape(n_walkers, task.model.architecture.n_hidden, -1)
    return (units * np.sqrt(units.shape[2] / (units**2).sum(axis=2, keepdims=True))).reshape(w.shape)


def chain_of(task: Problem, method: str, law: str, start: Reals, **keywords: object) -> moves.Moves:
    keywords = {"seed": SEED, "beta": BETA, "n_copies": N_COPIES, "exchange_every": 2, "parameters": None} | keywords
    parameters = keywords.pop("parameters")
    sampler = CONTINUOUS[method](**(PARAMETERS[method] if parameters is None else parameters))
    block = task.model.gradient_block(task.instance, start)
    return sampler.chain(block, prior=Law(law), **keywords)


def everything(chain: moves.Moves) -> dict[str, bytes]:
    """Rows, states and momenta, bit for bit."""
    arrays = chain.take() | chain.walker_state() | chain.state()
    arrays |= {"weights now": chain.block.weights, "energy now": chain.block.energy}
    return {name: array.tobytes() for name, array in arrays.items()}


@pytest.fixture
def levels():
    """Names of the instruction-set levels, portable first; the one in use is restored afterwards."""
    level = cpu.level()
    yield cpu.available()
    cpu.use(level)


# The twin


def assert_same(task: Problem, method: str, law: str, n_copies: int, beta: Reals, sweeps: int = 12) -> int:
    """Kernel and twin go the same way, in two calls of the kernel; returns how many moves were accepted."""
    start = start_of(n_copies * len(beta), task, law)
    parameters = PARAMETERS[method]
    if np.ndim(parameters.get("step_size", 0)):
        parameters = parameters | {"step_size": parameters["step_size"][: len(beta)]}
    around = {"seed": SEED, "beta": beta, "n_copies": n_copies, "exchange_every": 2, "burn_in": 3}
    chain = chain_of(task, method, law, start, parameters=parameters, **around)
    chain.advance(1, sweeps // 3)
    chain.advance(sweeps // 3 + 1, sweeps)
    rows = chain.take()
    shape = {"n_units": task.model.architecture.n_hidden, "precision": PRECISION}
    evaluate = chain.block.evaluate
    expected = twin.run(evaluate, start, method=method, prior=law, sweeps=sweeps, **around, **shape, **parameters)
    np.testing.assert_allclose(rows["weights"], expected.weights, rtol=0, atol=1e-10)
    np.testing.assert_allclose(rows["energy"], expected.energy, rtol=1e-10, atol=1e-10)
    for name in ("walker_at", "accepted"):
        np.testing.assert_array_equal(rows[name], getattr(expected, name))
    for name in ("exchange_accepted", "exchange_proposed"):
        np.testing.assert_array_equal(getattr(chain, name), getattr(expected, name))
    return int(rows["accepted"].sum())


@cases
@pytest.mark.parametrize(
    ("machine", "loss", "n"),
    [
        (Machine(), "logistic", 29),
        (Machine(), "square", 8),
        (Machine("committee", 3, "tanh"), "squared-hinge", 11),
        (Machine("tree-committee", 2, "erf"), "square", 18),
        (Machine("tree-committee", 3, "relu"), "hinge", 21),
    ],
    ids=["perceptron", "regression", "committee", "tree", "relu"],
)
def test_same_trajectory(method, law, machine, loss, n):
    accepted = assert_same(smooth(machine, loss, n), method, law, N_COPIES, BETA, sweeps=20)
    if method in ("mala", "hmc", "pcn", "random-walk"):
        assert 0 < accepted < N_COPIES * BETA.size * 20
    else:
        assert accepted == 0


@cases
@pytest.mark.parametrize("n_walkers", [1, 3])
def test_same_trajectory_of_few_walkers(method, law, n_walkers):
    assert_same(smooth(), method, law, 1, BETA[1 : 1 + n_walkers], sweeps=40)


@pytest.mark.parametrize(("method", "law"), [case for case in CASES if not CONTINUOUS[case[0]].needs_gradient])
@pytest.mark.parametrize("machine", [Machine(), Machine("committee", 3), Machine("parity", 2)], ids=lambda m: m.name)
def test_same_trajectory_without_derivatives(method, law, machine):
    assert_same(smooth(machine, "error-count", 14), method, law, N_COPIES, BETA)


# Walkers do not depend on their company


@cases
@pytest.mark.parametrize("cuts", [(0, 1, 16), (0, 3, 8, 16), (0, 5, 10, 15, 16), (0, 2, 3, 16)])
def test_pieces_of_an_instance_are_the_same_walkers(method, law, cuts):
    task, beta = smooth(), np.linspace(0.0, 2.0, 8)
    parameters = {name: 0.1 if name == "step_size" else value for name, value in PARAMETERS[method].items()}
    start = start_of(16, task, law)
    whole = chain_of(task, method, law, start, beta=beta, parameters=parameters)
    pieces = [
        chain_of(task, method, law, start[a:b], beta=beta, first=a, parameters=parameters) for a, b in pairwise(cuts)
    ]
    whole.advance(1, 8)
    for sweep in range(1, 9):
        for piece in pieces:
            piece.sweep(sweep, sweep)
        if sweep % 2 == 0:
            energies = np.concatenate([piece.block.energy for piece in pieces])
            for piece in pieces:
                piece.exchange(sweep, energies)
        for piece in pieces:
            piece.record()
    rows, of_pieces = whole.take(), [piece.take() for piece in pieces]
    for name in rows.keys() - {"walker_at", "accepted"}:
        joined = np.concatenate([piece[name] for piece in of_pieces], axis=1)
        assert joined.tobytes() == rows[name].tobytes(), name
    np.testing.assert_array_equal(sum(piece["accepted"] for piece in of_pieces), rows["accepted"])
    for name, array in whole.walker_state().items():
        assert np.concatenate([piece.walker_state()[name] for piece in pieces]).tobytes() == array.tobytes()


@cases
@pytest.mark.parametrize("n_walkers", [1, 3, 5, 16])
@pytest.mark.parametrize("machine", [COMMITTEE, Machine("tree-committee", 3, "erf")], ids=lambda m: m.name)
def test_every_level_gives_the_same_bits(method, law, n_walkers, machine, levels):
    task, found = smooth(machine, n=33), []
    for level in levels:
        cpu.use(level)
        parameters = PARAMETERS[method] | ({"step_size": 0.1} if "step_size" in PARAMETERS[method] else {})
        beta = np.linspace(0.0, 2.0, n_walkers)
        start = start_of(n_walkers, task, law)
        chain = chain_of(task, method, law, start, beta=beta, n_copies=1, parameters=parameters)
        chain.advance(1, 8)
        found.append(everything(chain))
    assert all(one == found[0] for one in found)


# Checkpoints


def restored(chain: moves.Moves, other: moves.Moves) -> moves.Moves:
    """`other`, continuing from the state of `chain`."""
    other.block.restore(chain.block.weights, {name: array.copy() for name, array in chain.block.caches().items()})
    other.restore({name: array.copy() for name, array in chain.state().items()})
    other.restore_walkers({name: array.copy() for name, array in chain.walker_state().items()})
    return other


@cases
@pytest.mark.parametrize("n_walkers", [3, 8])
def test_restored_chain_goes_on_bit_for_bit(method, law, n_walkers):
    task, beta = smooth(), np.linspace(0.2, 2.0, n_walkers)
    parameters = PARAMETERS[method] | ({"step_size": 0.1} if "step_size" in PARAMETERS[method] else {})
    keywords = {"beta": beta, "n_copies": 1, "parameters": parameters}
    chain, other = (chain_of(task, method, law, start_of(n_walkers, task, law), **keywords) for _ in range(2))
    chain.advance(1, 21)
    other.advance(1, 2)  # has something to forget
    restored(chain, other)
    for c in (chain, other):
        c.take()
        c.advance(22, 40)
    assert everything(chain) == everything(other)


# Step sizes that tune themselves


def tuned(method: str, law: str, burn_in: int, n_copies: int = 4, **keywords: object) -> moves.Moves:
    task = smooth(Machine(), n=40)
    start = start_of(n_copies * BETA.size, task, law)
    return chain_of(task, method, law, start, n_copies=n_copies, burn_in=burn_in, parameters={}, **keywords)


@pytest.mark.parametrize(("method", "law"), TUNED)
@pytest.mark.parametrize("burn_in", [100, 1000])
def test_acceptance_is_tuned_and_then_frozen(method, law, burn_in):
    chain = tuned(method, law, burn_in)
    chain.advance(1, burn_in)
    steps = chain.step_size
    chain.take()
    chain.advance(burn_in + 1, burn_in + 400)
    assert steps.tobytes() == chain.step_size.tobytes()
    assert chain.next_adaptation(burn_in) > 2**60
    acceptance = chain.take()["accepted"].mean(axis=(0, 1))  # (n_rungs,), 1600 proposals each
    largest = moves.largest_step(method, law)
    at_most = np.isclose(steps, largest)
    wanted = CONTINUOUS[method].target
    assert (np.abs(acceptance - wanted)[~at_most] < (0.1 if burn_in > 500 else 0.2)).all()
    assert (acceptance[at_most] > wanted).all()
    assert not at_most[-1]  # at small beta everything may be accepted


@pytest.mark.parametrize("stop", [37, 60, 100, 104])
def test_tuning_goes_on_after_a_restart(stop):
    chain, other = (tuned("mala", "gaussian", 103) for _ in range(2))
    chain.advance(1, stop)
    other.advance(1, 5)
    restored(chain, other)
    for c in (chain, other):
        c.take()
        c.advance(stop + 1, 120)
    assert everything(chain) == everything(other)


def test_tuning_of_pieces_is_that_of_the_whole():
    task, keywords = smooth(Machine(), n=40), {"burn_in": 50, "exchange_every": 0, "parameters": {}}
    start = start_of(8, task, "gaussian")
    whole = chain_of(task, "hmc", "gaussian", start, **keywords)
    pieces = [chain_of(task, "hmc", "gaussian", start[a:b], first=a, **keywords) for a, b in ((0, 3), (3, 8))]
    whole.advance(1, 60)
    done = 0
    while done < 60:
        stop = min(60, whole.next_adaptation(done))
        for piece in pieces:
            piece.sweep(done + 1, stop)
        if stop <= 50:
            counts = sum(piece.counts for piece in pieces)
            for piece in pieces:
                piece.adapt(stop, counts)
        done = stop
    for piece in pieces:
        assert piece.step_size.tobytes() == whole.step_size.tobytes()
    assert np.concatenate([piece.block.weights for piece in pieces]).tobytes() == whole.block.weights.tobytes()
    with pytest.raises(ValueError, match="a part of its instance"):
        pieces[0].advance(61, 62)


def test_windows_end_with_the_burn_in():
    for burn_in in range(tuning.LEAST_BURN_IN, 3000):
        ends = tuning.Tuning(np.ones(1), 0.5, math.inf, burn_in).ends
        assert ends[-1] == burn_in
        assert min(np.diff([0, *ends])) >= tuning.LEAST_WINDOW
        assert 10 <= len(ends) <= tuning.MOST_WINDOWS


# Divergence


def test_a_walker_that_diverges_is_named():
    task = smooth(Machine(), "square", 30)
    chain = chain_of(task, "langevin", "gaussian", start_of(8, task, "gaussian"), parameters={"step_size": 50.0})
    pattern = re.compile(
        r"instance 0, walker (\d) \(copy \d\), sweep \d+, beta (0|0\.5|1|2), step_size 50: energy is not finite"
    )
    with pytest.raises(DivergenceError) as raised:
        chain.advance(1, 2000)
    assert pattern.fullmatch(str(raised.value))


@pytest.mark.parametrize("method", ["langevin", "underdamped"])
@pytest.mark.parametrize("loss", ["hinge", "square"])
def test_weights_that_are_no_numbers_are_a_divergence(method, loss):
    """Also where the loss hides them."""
    task = smooth(Machine(), loss, 30)
    chain = chain_of(task, method, "gaussian", start_of(8, task, "gaussian"), parameters={"step_size": 1e200})
    with pytest.raises(DivergenceError, match=r"instance 3, .*step_size 1e\+200"):
        CONTINUOUS[method](step_size=1e200).chain(
            chain.block, seed=1, beta=BETA, n_copies=N_COPIES, prior=Law("gaussian"), instance=3
        ).advance(1, 20)


@pytest.mark.parametrize("method", ["mala", "hmc"])
@pytest.mark.parametrize("law", ["gaussian", "spherical"])
def test_a_proposal_that_diverges_is_rejected(method, law):
    task = smooth(Machine(), "square", 30)
    start = start_of(8, task, law)
    chain = chain_of(task, method, law, start, parameters={"step_size": 1e160}, exchange_every=0, beta=BETA + 1)
    chain.advance(1, 10)
    np.testing.assert_array_equal(chain.block.weights, start)
    assert not chain.take()["accepted"].any()


# Laws, in brief


def posterior_of(task: Problem, beta: float) -> GaussianPosterior:
    n = task.n_weights
    return GaussianPosterior(task.instance.inputs.dense() / math.sqrt(n), task.instance.labels, beta, PRECISION)


def deviations(task: Problem, method: str, parameters: dict[str, object] | None = None) -> Reals:
    """z of <E> at each rung of 64 copies, each averaged over its sweeps, against the exact value."""
    n_copies, beta = 64, np.array([0.5, 1.0, 2.0, 4.0])
    start = start_of(n_copies * beta.size, task, "gaussian")
    around = {"n_copies": n_copies, "beta": beta, "exchange_every": 3, "burn_in": 300, "parameters": parameters}
    chain = chain_of(task, method, "gaussian", start, **around)
    chain.advance(1, 1500)
    rows = chain.take()
    order = rows["walker_at"]
    energy = np.take_along_axis(rows["energy"].reshape(order.shape), order, axis=2)[300:].mean(axis=0)  # (copy, rung)
    exact = np.array([posterior_of(task, b).mean_energy() for b in beta])
    return (energy.mean(axis=0) - exact) / (energy.std(axis=0, ddof=1) / math.sqrt(n_copies))


BOUND = float(stats.t(63).isf(1e-5))
"""Of one in 24 comparisons together: an error rate of 5e-4."""


@pytest.mark.parametrize("method", EXACT)
def test_exact_samplers_have_the_exact_energy(method):
    assert np.abs(deviations(smooth(Machine(), "square", 10), method)).max() < BOUND


def test_an_integrator_without_decision_fails_there():
    """The negative control."""
    found = deviations(smooth(Machine(), "square", 10), "langevin", {"step_size": 0.2})
    assert np.abs(found).max() > 2 * BOUND


@pytest.mark.parametrize("law", ["gaussian", "spherical"])
def test_momenta_have_temperature_one(law):
    task = smooth()
    chain = chain_of(task, "underdamped", law, start_of(64, task, law), n_copies=16, parameters={"step_size": 0.05})
    chain.advance(1, 400)
    kinetic = chain.take()["kinetic"].mean(axis=0)
    assert abs(kinetic.mean() - 1) < 5 * kinetic.std() / math.sqrt(kinetic.size) + 0.01


@cases
def test_weights_stay_on_their_spheres(method, law):
    if law == "gaussian":
        return
    task = smooth()
    chain = chain_of(task, method, law, start_of(8, task, law))
    chain.advance(1, 2000)
    units = chain.block.weights.reshape(8, 3, -1)
    np.testing.assert_allclose((units**2).mean(axis=2), 1, rtol=0, atol=4e-15)
    if method == "underdamped":
        momenta = chain.walker_state()["momentum"].reshape(units.shape)
        assert np.abs((momenta * units).sum(axis=2)).max() < 1e-12


def test_energy_error_falls_with_the_square_of_the_step():
    """H' - H of a trajectory of given length: a wrong gradient would leave it large."""
    task = smooth()
    errors = []
    for steps in (8, 16, 32):
        parameters = {"step_size": 0.8 / steps, "friction": 0.0}
        chain = chain_of(task, "underdamped", "gaussian", start_of(8, task, "gaussian"), parameters=parameters)
        chain.advance(1, 20)
        errors.append(np.abs(chain.take()["energy_error"][-1]).max() * steps)
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.7)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.7)


# What is refused


@pytest.mark.parametrize(
    ("method", "parameters", "message"),
    [
        ("mala", {"step_size": -1.0}, "step_size"),
        ("mala", {"step_size": [0.1, 0.2]}, "step_size: got 2 numbers, expected one, or one for each of 4 rungs"),
        ("mala", {"step_size": math.nan}, "step_size"),
        ("mala", {"step_size": "auto"}, "burn_in: got 0, expected an integer >= 40"),
        ("mala", {"step_size": "fast"}, "step_size: got 'fast', expected numbers > 0 or 'auto' for mala"),
        ("langevin", {"step_size": "auto"}, "step_size: got 'auto', expected numbers > 0 for langevin"),
        ("langevin", {}, "step_size: missing, langevin needs it"),
        ("langevin", {"step_size": 0.1, "n_steps": 3}, "n_steps: not a parameter of langevin"),
        ("hmc", {"step_size": 0.1, "n_steps": 0}, "n_steps: got 0"),
        ("underdamped", {"step_size": 0.1, "friction": -1.0}, "friction: got -1"),
        ("pcn", {"step_size": 1.5}, "step_size"),
        ("elliptical-slice", {"step_size": 1.5}, "step_size: not a parameter of elliptical-slice"),
    ],
)
def test_parameters_that_cannot_be_are_refused(method, parameters, message):
    task = smooth()
    with pytest.raises(ValueError, match=re.escape(message)):
        chain_of(task, method, "gaussian", start_of(8, task, "gaussian"), parameters=parameters)


def test_what_does_not_fit_the_weights_is_refused():
    task = smooth()
    for method in ("pcn", "elliptical-slice"):
        with pytest.raises(ValueError, match=f"weights: got spherical, expected gaussian for {method}"):
            chain_of(task, method, "spherical", start_of(8, task, "spherical"))
    with pytest.raises(ValueError, match="unit 0 of walker 0 has a square norm"):
        chain_of(task, "hmc", "spherical", start_of(8, task, "gaussian"))
    chain = chain_of(task, "hmc", "spherical", start_of(8, task, "spherical"))
    chain.block.restore(start_of(8, task, "gaussian"), {})
    with pytest.raises(ValueError, match="square norm"):
        chain.restore(chain.state())
    counting = smooth(Machine("committee", 3), "error-count", 9)
    with pytest.raises(ValueError, match="expected one without a gradient"):
        chain_of(counting, "mala", "gaussian", start_of(8, counting, "gaussian"))
