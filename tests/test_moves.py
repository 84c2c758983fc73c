"""Moves of all weights at once: trajectories of the twin, walkers whatever their block, restarts, tuning, divergence.

Which laws the moves sample in detail is the business of other tests; here each exact sampler meets the Gaussian
posterior, and an integrator without its decision fails there.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from gaussian_posterior import GaussianPosterior
from mcmc.data import Inputs, Instance
from mcmc.errors import DivergenceError
from mcmc.kernels import cpu, gradients, moves, tuning
from mcmc.kernels.cholesky import inverse_root
from mcmc.losses import Loss
from mcmc.reference import moves as twin
from mcmc.samplers import CONTINUOUS, preconditioners
from problems import Machine, Problem, of, problem

Reals = NDArray[np.float64]

SEED = 7
BETA = np.array([0.0, 0.5, 1.0, 2.0])
N_COPIES = 2
PRECISION = 1.7
PARAMETERS = {
    "langevin": {"step_size": 0.02},
    "sgld": {"step_size": 0.02, "batch_size": 7},
    "mala": {"step_size": [0.3, 0.2, 0.15, 0.1]},
    "hmc": {"step_size": 0.4, "n_steps": 3},
    "underdamped": {"step_size": 0.2, "friction": 1.5},
    "pcn": {"step_size": 0.5},
    "elliptical-slice": {},
    "random-walk": {"step_size": 0.3},
}
MOVES = {name: sampler for name, sampler in CONTINUOUS.items() if not sampler.by_coordinate}
CASES = [(method, law) for method, sampler in MOVES.items() for law in sampler.laws]
cases = pytest.mark.parametrize(("method", "law"), CASES)
PRECONDITIONED = [method for method, sampler in MOVES.items() if "preconditioner" in sampler.parameters]
KINDS = ("diagonal", "inputs")
VARIANTS = [(*case, "none") for case in CASES]
VARIANTS += [(method, "gaussian", kind) for method in PRECONDITIONED for kind in KINDS]
variants = pytest.mark.parametrize(("method", "law", "kind"), VARIANTS)
EXACT = [method for method, sampler in MOVES.items() if sampler.is_exact]
TUNED = [(method, law) for method, law in CASES if CONTINUOUS[method].target]


ADDED = ("accepted", "energy_error")
"""Rows by rung, each rank's own: over ranks they add up."""


@dataclass(frozen=True)
class Law:
    """A prior, as far as a sampler sees it."""

    name: str
    precision: float = PRECISION


COMMITTEE = Machine("committee", 3, "tanh")


def smooth(machine: Machine = COMMITTEE, loss: str = "logistic", n: int = 12) -> Problem:
    return problem(Loss(loss), "gaussian", n, 20, machine)


def parameters_of(method: str, kind: str = "none", **more: object) -> dict[str, object]:
    """PARAMETERS with those that the method has of `more`, and a preconditioner."""
    parameters = PARAMETERS[method] | {name: value for name, value in more.items() if name in PARAMETERS[method]}
    return parameters | ({} if kind == "none" else {"preconditioner": kind})


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
    block = task.model.gradient_block(task.instance, start, batch_size=sampler.batch_size)
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


CURVATURES = {"square": 1.0, "squared-hinge": 1.0, "logistic": 0.25, "hinge": 0.25}


def root_of(task: Problem, kind: str, largest_beta: float) -> Reals | None:
    """The twin's map from what is moved to the weights."""
    if kind == "none":
        return None
    machine = task.model.architecture
    stiffness = largest_beta * CURVATURES[task.model.loss.name] / machine.n_hidden
    tree = machine.name.startswith("tree-")
    return twin.inverse_root(task.instance.inputs.dense(), kind, PRECISION, stiffness, machine.n_hidden, tree)


def assert_same(
    task: Problem, method: str, law: str, n_copies: int, beta: Reals, sweeps: int = 12, kind: str = "none"
) -> int:
    """Kernel and twin go the same way, in two calls of the kernel; returns how many moves were accepted."""
    start = start_of(n_copies * len(beta), task, law)
    parameters = parameters_of(method, kind)
    if np.ndim(parameters.get("step_size", 0)):
        parameters = parameters | {"step_size": parameters["step_size"][: len(beta)]}
    around = {"seed": SEED, "beta": beta, "n_copies": n_copies, "exchange_every": 2, "burn_in": 3}
    chain = chain_of(task, method, law, start, parameters=parameters, **around)
    chain.advance(1, sweeps // 3)
    chain.advance(sweeps // 3 + 1, sweeps)
    rows = chain.take()
    shape = {"n_units": task.model.architecture.n_hidden, "precision": PRECISION}
    evaluate = chain.block.evaluate
    shape["root"] = root_of(task, parameters.pop("preconditioner", "none"), beta.max())
    if "batch_size" in parameters:
        shape |= {"evaluate_batch": evaluate, "n_patterns": task.instance.inputs.n_patterns}
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


@variants
@pytest.mark.parametrize("n_walkers", [1, 3])
def test_same_trajectory_of_few_walkers(method, law, kind, n_walkers):
    assert_same(smooth(), method, law, 1, BETA[1 : 1 + n_walkers], sweeps=40, kind=kind)


@pytest.mark.parametrize("method", PRECONDITIONED)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inputs", ["binary", "gaussian"])
@pytest.mark.parametrize(
    ("machine", "loss", "n"),
    [(Machine(), "square", 17), (COMMITTEE, "logistic", 11), (Machine("tree-committee", 3, "erf"), "hinge", 27)],
    ids=["perceptron", "committee", "tree"],
)
def test_same_trajectory_with_a_mass_matrix(method, kind, inputs, machine, loss, n):
    assert_same(problem(Loss(loss), inputs, n, 20, machine), method, "gaussian", N_COPIES, BETA, kind=kind)


@pytest.mark.parametrize(("method", "law"), [case for case in CASES if not CONTINUOUS[case[0]].needs_gradient])
@pytest.mark.parametrize("machine", [Machine(), Machine("committee", 3), Machine("parity", 2)], ids=lambda m: m.name)
def test_same_trajectory_without_derivatives(method, law, machine):
    assert_same(smooth(machine, "error-count", 14), method, law, N_COPIES, BETA)


# Walkers do not depend on their company


@variants
@pytest.mark.parametrize("cuts", [(0, 1, 16), (0, 3, 8, 16), (0, 5, 10, 15, 16), (0, 2, 3, 16), (0, 13, 40)])
def test_pieces_of_an_instance_are_the_same_walkers(method, law, kind, cuts):
    task, beta = smooth(), np.linspace(0.0, 2.0, 8)
    parameters = parameters_of(method, kind, step_size=0.1)
    start = start_of(cuts[-1], task, law)
    options = {"beta": beta, "n_copies": cuts[-1] // beta.size, "parameters": parameters}
    whole = chain_of(task, method, law, start, **options)
    pieces = [chain_of(task, method, law, start[a:b], first=a, **options) for a, b in pairwise(cuts)]
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
    for name in rows.keys() - {"walker_at"}:
        parts = np.stack if name in ADDED else np.concatenate
        joined = parts([piece[name] for piece in of_pieces], axis=1)
        joined = joined.sum(axis=1) if name in ADDED else joined
        assert joined.tobytes() == rows[name].tobytes(), name
    for name, array in whole.walker_state().items():
        assert np.concatenate([piece.walker_state()[name] for piece in pieces]).tobytes() == array.tobytes()


@variants
@pytest.mark.parametrize("n_walkers", [1, 3, 5, 16])
@pytest.mark.parametrize("machine", [COMMITTEE, Machine("tree-committee", 3, "erf")], ids=lambda m: m.name)
def test_every_level_gives_the_same_bits(method, law, kind, n_walkers, machine, levels):
    task, found = smooth(machine, n=33), []
    for level in levels:
        cpu.use(level)
        parameters = parameters_of(method, kind, step_size=0.1)
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


@variants
@pytest.mark.parametrize("n_walkers", [3, 8])
def test_restored_chain_goes_on_bit_for_bit(method, law, kind, n_walkers):
    task, beta = smooth(), np.linspace(0.2, 2.0, n_walkers)
    parameters = parameters_of(method, kind, step_size=0.1)
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
    half_turn = math.pi**2 / 2 if method == "mala" else math.pi
    largest = half_turn if law == "spherical" else moves.METHODS[method]["largest_step"]
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
        r"instance 0, walker (\d) \(copy \d\), sweep \d+, beta (0|0\.5|1|2), step_size 50: "
        r"weights or energy are not finite"
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


def gibbs_energy(task: Problem, beta: float) -> float:
    return posterior_of(task, beta).mean_energy()


def deviations(
    task: Problem,
    method: str,
    parameters: dict[str, object] | None = None,
    expected: Callable[[Problem, float], float] = gibbs_energy,
    exchange_every: int = 3,
) -> Reals:
    """z of <E> at each rung of 64 copies, each averaged over its sweeps, against the value expected."""
    n_copies, beta = 64, np.array([0.5, 1.0, 2.0, 4.0])
    start = start_of(n_copies * beta.size, task, "gaussian")
    around = {"n_copies": n_copies, "beta": beta, "exchange_every": exchange_every, "burn_in": 300}
    chain = chain_of(task, method, "gaussian", start, parameters=parameters, **around)
    chain.advance(1, 1500)
    rows = chain.take()
    order = rows["walker_at"]
    energy = np.take_along_axis(rows["energy"].reshape(order.shape), order, axis=2)[300:].mean(axis=0)  # (copy, rung)
    exact = np.array([expected(task, b) for b in beta])
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


# Mass matrices


def uneven() -> Problem:
    """A regression whose inputs have scales from 0.3 to 3."""
    drawn = problem(Loss("square"), "gaussian", 10, 20)
    inputs = drawn.instance.inputs.dense() * np.geomspace(0.3, 3.0, 10)
    return of(Instance(Inputs.from_dense(inputs), drawn.instance.labels), Loss("square"))


def moved(task: Problem, beta: float, kind: str) -> tuple[GaussianPosterior, Reals, Reals, Reals]:
    """Posterior, C, and curvatures and modes of U in u."""
    posterior, root = posterior_of(task, beta), root_of(task, kind, 4.0)
    return posterior, root, *np.linalg.eigh(root.T @ posterior.precision @ root)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["mala", "hmc", "underdamped"])
def test_the_energy_is_exact_with_any_mass(method, kind):
    """Also of BAOAB, whose weights have the exact law where U is quadratic."""
    parameters = {"preconditioner": kind} | ({"step_size": 0.2} if method == "underdamped" else {})
    assert np.abs(deviations(uneven(), method, parameters)).max() < BOUND


@pytest.mark.parametrize("kind", KINDS)
def test_langevin_has_the_biased_law_of_its_mass(kind):
    """And not that of another mass, nor the exact one: the negative controls."""

    def biased(by: str) -> Callable[[Problem, float], float]:
        def energy(task: Problem, beta: float) -> float:
            posterior, root, curvatures, modes = moved(task, beta, by)
            spread = root @ modes / np.sqrt(curvatures * (1 - 0.03 * curvatures / 2))
            return posterior.energy(posterior.mean) + np.trace(posterior.gram @ spread @ spread.T) / 2

        return energy

    parameters = {"preconditioner": kind, "step_size": 0.03}
    around = {"exchange_every": 0}
    other = next(name for name in KINDS if name != kind)
    assert np.abs(deviations(uneven(), "langevin", parameters, biased(kind), **around)).max() < BOUND
    for wrong in (gibbs_energy, biased(other)):
        assert np.abs(deviations(uneven(), "langevin", parameters, wrong, **around)).max() > 2 * BOUND


def test_all_directions_become_equally_steep():
    """Of the square loss at the largest beta; steps are as long as without, on average over the weights."""
    task = uneven()
    posterior, root, curvatures, _ = moved(task, 4.0, "inputs")
    np.testing.assert_allclose(curvatures, np.diag(posterior.precision).mean(), rtol=1e-10)
    block = task.model.gradient_block(task.instance, start_of(2, task, "gaussian"))
    np.testing.assert_allclose(preconditioners.root("inputs", block, 4.0, PRECISION)[0] @ root.T, root @ root.T)
    assert posterior.curvatures.max() > 20 * posterior.curvatures.min()


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_inverse_root(n):
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n + 3, n))
    mass = x.T @ x + 0.1 * np.eye(n)
    root = inverse_root(mass)
    np.testing.assert_array_equal(np.tril(root, -1), 0)
    np.testing.assert_allclose(root @ root.T @ mass, np.eye(n), rtol=0, atol=1e-10)
    mass[-1, -1] = -1.0
    with pytest.raises(ValueError, match=f"not positive definite at row {n - 1}"):
        inverse_root(mass)


@pytest.mark.parametrize("inputs", ["binary", "gaussian"])
@pytest.mark.parametrize("n_walkers", [1, 8])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_mass_matrices_see_the_inputs_of_every_form(inputs, n_walkers, precision):
    for machine, n_views in ((COMMITTEE, 1), (Machine("tree-committee", 3, "erf"), 3)):
        task = problem(Loss("square"), inputs, 33, 70, machine)
        block = task.model.gradient_block(task.instance, start_of(n_walkers, task, "gaussian"), precision)
        x = np.asarray(task.instance.inputs.dense(), dtype=precision).astype(np.float64)
        views = np.split(x, n_views, axis=1)
        np.testing.assert_allclose(block.gram(), [view.T @ view for view in views], rtol=0, atol=1e-12)


# Minibatches

FEW = {"step_size": 0.02, "batch_size": 2}


def few_patterns() -> Problem:
    return problem(Loss("square"), "gaussian", 3, 6)


def sgld_energy(task: Problem, beta: float) -> float:
    """<E> in the stationary state of sgld: the second moments of w' = T w + h b + sqrt(2h) xi over all minibatches, T =
    1 - h A and b those of a minibatch."""
    posterior, h = posterior_of(task, beta), FEW["step_size"]
    outputs, labels, n = posterior.outputs, posterior.labels, posterior.n_weights
    step, source = np.zeros((n * n, n * n)), 2 * h * np.eye(n)
    batches = [list(batch) for batch in combinations(range(len(labels)), FEW["batch_size"])]
    for batch in batches:
        scale, g = len(labels) / len(batch), outputs[batch]
        transfer = np.eye(n) - h * (beta * scale * g.T @ g + PRECISION * np.eye(n))
        drive = h * beta * scale * g.T @ labels[batch]
        mixed = np.outer(transfer @ posterior.mean, drive)
        step += np.kron(transfer, transfer) / len(batches)
        source += (mixed + mixed.T + np.outer(drive, drive)) / len(batches)
    moments = np.linalg.solve(np.eye(n * n) - step, source.ravel()).reshape(n, n)
    return labels @ labels / 2 - labels @ outputs @ posterior.mean + np.trace(outputs @ moments @ outputs.T) / 2


def test_minibatches_have_a_law_of_their_own():
    """The biased one that follows from the minibatches; and not the Gibbs measure, nor that of whole gradients."""
    task = few_patterns()

    def euler_maruyama(task: Problem, beta: float) -> float:
        posterior = posterior_of(task, beta)
        return posterior.mean_energy(posterior.euler_maruyama(FEW["step_size"]))

    assert np.abs(deviations(task, "sgld", FEW, sgld_energy, exchange_every=0)).max() < BOUND
    for wrong in (gibbs_energy, euler_maruyama):
        assert np.abs(deviations(task, "sgld", FEW, wrong, exchange_every=0)).max() > 2 * BOUND


def test_copies_have_minibatches_of_their_own():
    """Walkers of one start and one noise: those of a copy stay together, copies part."""
    task = few_patterns()
    start = np.repeat(start_of(1, task, "gaussian"), 8, axis=0)
    block = task.model.gradient_block(task.instance, start, batch_size=2)
    keys = {f"{name}_keys": np.zeros(8, dtype=np.uint64) for name in ("noise", "move")}
    keys |= {f"{name}_keys": np.arange(2, dtype=np.uint64) for name in ("swap", "batch")}
    chain = moves.Moves(
        block, method="sgld", precision=1.0, step_size=np.full(4, 0.1), n_copies=2, first=0,
        beta=np.ones(4), batch_size=2, **keys
    )  # fmt: skip
    chain.advance(1, 5)
    w = block.weights
    assert (w[:4] == w[0]).all()
    assert (w[4:] == w[4]).all()
    assert (w[0] != w[4]).all()


def test_minibatches_are_uniform():
    """Of 2 out of 6 patterns, 15 sets in 15000 sweeps: chi^2 with an error rate of 1e-5."""
    sets = Counter(frozenset(twin.minibatch(11, sweep, 6, 2).tolist()) for sweep in range(15000))
    assert len(sets) == 15
    assert {len(chosen) for chosen in sets} == {2}
    assert sum((count - 1000) ** 2 / 1000 for count in sets.values()) < stats.chi2(14).isf(1e-5)


@pytest.mark.parametrize("stops", [(5, 21, 22), (7, 14, 29)])
@pytest.mark.parametrize("n_walkers", [3, 16])
def test_energies_of_minibatches_do_not_depend_on_stretches(stops, n_walkers):
    """Nor on restarts: rows and exchange have the energies of all patterns at their sweep."""
    task, beta = smooth(), np.linspace(0.2, 2.0, n_walkers)
    keywords = {"beta": beta, "n_copies": 1, "exchange_every": 3, "measure_every": 5}
    start = start_of(n_walkers, task, "gaussian")
    whole, chain = (chain_of(task, "sgld", "gaussian", start, **keywords) for _ in range(2))
    whole.advance(1, 30)
    pieces = []
    for first, last in pairwise((0, *stops, 30)):
        chain.advance(first + 1, last)
        pieces.append(chain.take())
        chain = restored(chain, chain_of(task, "sgld", "gaussian", start, **keywords))
    rows = whole.take()
    for name, array in rows.items():
        assert np.concatenate([piece[name] for piece in pieces]).tobytes() == array.tobytes(), name
    energy = whole.block.evaluate(rows["weights"].reshape(-1, task.n_weights))[0]
    assert energy.tobytes() == rows["energy"].tobytes()
    assert (rows["walker_at"][0] != np.arange(n_walkers)).any()


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


@pytest.mark.parametrize("method", ["langevin", "hmc", "underdamped"])
def test_energy_error_is_that_of_the_rung_where_it_was_made(method):
    """At the sweep of an exchange round, too: it is what the chain without exchange has there."""
    task = smooth()
    start, parameters = start_of(8, task, "gaussian"), {"step_size": 0.1}
    errors = []
    for exchange_every in (0, 1):
        chain = chain_of(
            task, method, "gaussian", start, exchange_every=exchange_every, parameters=parameters, beta=BETA * 1e-3
        )
        chain.advance(1, 1)
        errors.append((rows := chain.take())["energy_error"])
    assert (rows["walker_at"] != np.arange(BETA.size)).any()  # neighbours have changed places
    assert errors[0].shape == (1, N_COPIES, BETA.size)
    assert errors[0].all()
    assert errors[0].tobytes() == errors[1].tobytes()


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
        ("sgld", {"step_size": 0.1}, "batch_size: missing, sgld needs it"),
        ("sgld", {"step_size": 0.1, "batch_size": 0}, "batch_size: got 0, expected that of the block, 0, and > 0"),
        ("sgld", {"step_size": 0.1, "batch_size": 21}, "batch_size: got 21, expected 0 to 20"),
        ("underdamped", {"step_size": 0.1, "friction": -1.0}, "friction: got -1"),
        ("mala", {"preconditioner": "full"}, "preconditioner: got 'full', expected one of none, diagonal, inputs"),
        ("pcn", {"preconditioner": "inputs"}, "preconditioner: not a parameter of pcn"),
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
    for method in PRECONDITIONED:
        parameters = parameters_of(method, "inputs")
        with pytest.raises(ValueError, match="preconditioner: got 'inputs', expected none for spherical weights"):
            chain_of(task, method, "spherical", start_of(8, task, "spherical"), parameters=parameters)
    counting = smooth(Machine("committee", 3), "error-count", 9)
    with pytest.raises(ValueError, match="expected one without a gradient"):
        chain_of(counting, "mala", "gaussian", start_of(8, counting, "gaussian"))


def test_a_second_layer_has_neither_mass_matrix_nor_sphere():
    x = np.random.default_rng(1).normal(size=(5, 4))
    block = gradients.Block(
        x, np.ones(5), np.ones((1, 10)), n_units=2, activation="tanh", loss="square", second_layer=True
    )
    with pytest.raises(ValueError, match="preconditioner: got one for weights of a second layer, expected none"):
        CONTINUOUS["mala"](step_size=0.1, preconditioner="inputs").chain(
            block, seed=1, beta=[1.0], prior=Law("gaussian")
        )
    with pytest.raises(ValueError, match="weights: got spherical, expected gaussian with a second layer"):
        CONTINUOUS["hmc"](step_size=0.1).chain(block, seed=1, beta=[1.0], prior=Law("spherical"))
