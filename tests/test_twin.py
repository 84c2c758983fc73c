"""Compiled kernels against their numpy twins: the same trajectory from the same seed, at every instruction-set level.

Weights, walkers and counters must be equal. Energies of integer kernels too; those of the others are sums of rounded
terms and agree to 1e-9.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from mcmc.data import Inputs, Instance
from mcmc.kernels import cpu, flips, visits
from mcmc.kernels.random import MOVES, SITES, SWAPS, stream_key
from mcmc.losses import LOSSES, Loss
from mcmc.priors import unpack
from mcmc.reference import flips as twin
from mcmc.reference import losses as reference_losses
from mcmc.reference import philox
from mcmc.samplers import SAMPLERS
from problems import INPUT_LAWS, MULTI_UNIT_PAIRS, VARIANTS, Machine, Problem, label, of, problem, random_weights

SEED = 7
BETA = np.array([0.0, 0.4, 0.8, 1.5])
N_COPIES = 2
REFRESH_EVERY = 1024  # of flips.h
CHUNK = 256  # of flips.h
EDGES = [(1, 1), (1, 9), (2, 1), (2, 64), (3, 512), (63, 8), (64, 65), (65, 513), (7, 1100)]
"""Numbers of inputs and patterns at or next to the sizes of words and groups."""
FAMILIES = [Loss("error-count"), Loss("symmetric", 0.5), Loss("hinge", 0.5), Loss("logistic"), Loss("square")]
"""A loss for each kind of kernel."""

losses = pytest.mark.parametrize("loss", VARIANTS, ids=label)
pairs = pytest.mark.parametrize(("machine", "loss"), MULTI_UNIT_PAIRS, ids=label)
laws = pytest.mark.parametrize("inputs", INPUT_LAWS)
methods = pytest.mark.parametrize("method", flips.RULES)
orders = pytest.mark.parametrize("order", visits.ORDERS)


@pytest.fixture
def levels():
    """Names of the instruction-set levels, portable first; the one in use is restored afterwards."""
    level = cpu.level()
    yield cpu.available()
    cpu.use(level)


def chain_of(task: Problem, method: str, order: str, walkers: np.ndarray, **keywords: object) -> flips.Flips:
    return SAMPLERS[method](order=order).chain(task.model.block(task.instance, walkers), seed=SEED, **keywords)


def assert_same(task: Problem, method: str, order: str, sweeps: int, *, exact: bool, **keywords: object) -> None:
    """Kernel and twin go the same way, in two calls of the kernel and one of the twin."""
    n = task.n_weights
    start = random_weights(N_COPIES * BETA.size, n)
    keywords = {"beta": BETA, "n_copies": N_COPIES} | keywords
    chain = chain_of(task, method, order, start, **keywords)
    rows = []
    for first, last in ((1, sweeps // 3), (sweeps // 3 + 1, sweeps)):
        chain.advance(first, last)
        rows.append(chain.take().values())
    energy, walker_at, accepted, bits = (np.concatenate(pieces) for pieces in zip(*rows, strict=True))

    expected = twin.run(task.energy, start, seed=SEED, sweeps=sweeps, rule=twin.RULES[method], order=order, **keywords)
    np.testing.assert_array_equal(unpack(bits, n // bits.shape[2]).reshape(expected.weights.shape), expected.weights)
    np.testing.assert_array_equal(walker_at, expected.walker_at)
    np.testing.assert_array_equal(accepted, expected.accepted)
    np.testing.assert_array_equal(chain.exchange_accepted, expected.exchange_accepted)
    np.testing.assert_array_equal(chain.exchange_proposed, expected.exchange_proposed)
    np.testing.assert_array_equal(chain.block.weights, expected.weights[-1])
    if exact:
        np.testing.assert_array_equal(energy, expected.energy)
    else:
        np.testing.assert_allclose(energy, expected.energy, rtol=1e-9, atol=1e-9)
    assert 0 < accepted.sum() < accepted.size * n * sweeps / len(energy)


def is_exact(loss: Loss, inputs: str) -> bool:
    return inputs == "binary" and loss.name in ("error-count", "symmetric")


def small(loss: Loss, inputs: str, machine: Machine) -> Problem:
    """Some ten weights to a unit."""
    return problem(loss, inputs, 7 * machine.n_hidden if machine.of(6).is_tree else 8, 25, machine)


def test_twins_cover_the_lists():
    assert set(twin.RULES) == set(flips.RULES)
    assert set(SAMPLERS) == {*flips.RULES, "waiting-time", "auto"}  # the last two: test_waiting.py
    assert set(reference_losses.LOSSES) == set(LOSSES)


@losses
@laws
@methods
@orders
def test_same_trajectory(loss, inputs, method, order):
    n = 21 if order == "random" else 20
    task = problem(loss, inputs, n, 29)
    assert_same(task, method, order, 200, exact=is_exact(loss, inputs), measure_every=2, burn_in=31, exchange_every=3)


@pairs
@laws
@pytest.mark.parametrize(("method", "order"), [("metropolis", "random"), ("heat-bath", "sequential")])
def test_same_trajectory_of_several_units(machine, loss, inputs, method, order):
    task = small(loss, inputs, machine)
    exact = loss.name == "error-count"
    assert_same(task, method, order, 90, exact=exact, measure_every=2, burn_in=31, exchange_every=3)


# More than a group of 512 patterns, units that end within a word, so many units that the counter of votes has carries.
@pytest.mark.parametrize("loss", [Loss("error-count"), Loss("hinge", 0.5), Loss("logistic")], ids=label)
@pytest.mark.parametrize(
    ("name", "n_hidden", "n", "p"),
    [
        ("committee", 5, 65, 1100),
        ("committee", 33, 9, 520),
        ("tree-committee", 7, 7 * 31, 513),
        ("parity", 4, 70, 1600),
        ("tree-parity", 9, 9 * 13, 600),
        ("tree-committee", 65, 65, 1030),
    ],
)
def test_same_trajectory_of_larger_machines(loss, name, n_hidden, n, p):
    machine = Machine(name, n_hidden)
    if machine.takes(loss):
        task = problem(loss, "binary", n, p, machine)
        assert_same(task, "metropolis", "random", 2, exact=loss.name == "error-count", beta=BETA / 10)


@pytest.mark.parametrize("name", ["committee", "tree-committee"])
@methods
@orders
def test_one_unit_is_a_perceptron(name, method, order):
    """Trajectory for trajectory."""
    task = problem(Loss("error-count"), "binary", 41, 60)
    one = of(task.instance, Loss("error-count"), Machine(name, 1))
    start = random_weights(N_COPIES * BETA.size, 41)
    rows = []
    for machine in (task, one):
        chain = chain_of(machine, method, order, start, beta=BETA, n_copies=N_COPIES)
        chain.advance(1, 60)
        rows.append([array.tobytes() for array in chain.take().values()])
    assert rows[0] == rows[1]


# Two chunks of visits, several words of weights, a second group of 512 patterns, padding everywhere.
@losses
@laws
@pytest.mark.parametrize(("n", "order"), [(299, "random"), (258, "sequential")])
def test_same_trajectory_of_a_larger_problem(loss, inputs, n, order):
    task = problem(loss, inputs, n, 531)
    assert_same(task, "metropolis", order, 1, exact=is_exact(loss, inputs))


@pytest.mark.parametrize("loss", FAMILIES, ids=label)
@laws
@pytest.mark.parametrize(("n", "p"), EDGES)
def test_same_trajectory_at_edge_sizes(loss, inputs, n, p):
    task = problem(loss, inputs, n, p)
    start = random_weights(N_COPIES * BETA.size, n)
    keywords = {"beta": BETA / p**0.5, "n_copies": N_COPIES}
    chain = chain_of(task, "heat-bath", "random", start, **keywords)
    chain.advance(1, 20)
    expected = twin.run(task.energy, start, seed=SEED, sweeps=20, rule=twin.heat_bath, order="random", **keywords)
    energy, walker_at, _, bits = chain.take().values()
    np.testing.assert_array_equal(unpack(bits, n // bits.shape[2]).reshape(expected.weights.shape), expected.weights)
    np.testing.assert_array_equal(walker_at, expected.walker_at)
    np.testing.assert_allclose(energy, expected.energy, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("margin", [0.0, 1.0])
@methods
def test_ties_of_integer_inputs_in_the_float_kernel(margin, method):
    rng = np.random.default_rng(5)
    inputs = Inputs.from_dense(rng.integers(-1, 2, size=(40, 16)))
    task = of(Instance(inputs, labels=rng.choice([-1.0, 1.0], 40)), Loss("error-count", margin))
    assert not inputs.binary
    assert (np.abs(inputs.fields(random_weights(50, 16))) == margin * 4).mean() > 0.1  # ties are met
    assert_same(task, method, "random", 100, exact=True)


# A margin kappa = m/sqrt(N) lies on the lattice of the fields: D = kappa is no error, and |h| = kappa is none.
@pytest.mark.parametrize("n", [9, 12, 16, 25, 49, 50])
def test_margins_on_the_lattice(n):
    instance = problem(Loss("error-count"), "binary", n, 200, labels="random").instance
    weights = random_weights(30, n)
    field = weights.astype(int) @ instance.inputs.dense().T.astype(int)
    for m in range(-n - 1, n + 2):
        if m == 0:
            continue
        block = of(instance, Loss("error-count", m / math.sqrt(n))).model.block(instance, weights)
        np.testing.assert_array_equal(block.energy, (instance.labels * field < m).sum(axis=1))
        if m > 0:
            block = of(instance, Loss("symmetric", m / math.sqrt(n))).model.block(instance, weights)
            np.testing.assert_array_equal(block.energy, (np.abs(field) > m).sum(axis=1))


def test_margins_beyond_all_fields():
    instance = problem(Loss("error-count"), "binary", 9, 20, labels="random").instance
    for name, margin, energy in (("error-count", 99, 20), ("error-count", -99, 0), ("symmetric", 99, 0)):
        task = of(instance, Loss(name, float(margin)))
        chain = chain_of(task, "metropolis", "random", random_weights(3, 9), beta=[1.0, 2.0, 3.0])
        chain.advance(1, 50)
        assert (chain.take()["energy"] == energy).all()


@pytest.mark.parametrize("margin", [-99.0, -4 / 3, -1.0, 1 / 3, 1.0, 10 / 3, 99.0])
def test_hinge_borders(margin):
    """All patterns beyond the border, none, and borders on the lattice of the fields or not."""
    for n in (9, 10):
        task = problem(Loss("hinge", margin), "binary", n, 70)
        states = random_weights(200, n)
        block = task.model.block(task.instance, states)
        np.testing.assert_allclose(block.energy, task.energy(states), rtol=1e-12, atol=1e-9)
        for i, changes in enumerate(flips.energy_differences(block).T):
            flipped = states.copy()
            flipped[:, i] *= -1
            np.testing.assert_allclose(changes, task.energy(flipped) - task.energy(states), rtol=1e-9, atol=1e-8)


# The 64-bit uniform of integer energies: its low half is looked up only when the high half ties with the threshold.


def tie_at(slot: int, above: bool) -> tuple[Problem, np.ndarray, float]:
    """A problem, a start and a beta whose threshold for proposal `slot` of sweep 1 is just above or below its uniform.

    The way to that proposal depends on beta, which depends on the energy difference met there: sought by iteration.
    """
    n, key = slot + 3, stream_key(SEED, MOVES)
    uniform = int(philox.move_uniforms64(key, 1, slot))
    target = uniform + (2**22 if above else -(2**22))
    for seed in range(1, 200):
        task = problem(Loss("error-count"), "binary", n, 40, seed=seed, labels="random")
        start, beta = random_weights(1, n, seed), 0.5
        for _ in range(8):
            states = twin_states(task, start, beta, slot)
            delta = int(np.diff(task.energy(states))[0])
            if delta <= 0:
                break
            previous, beta = beta, -math.log(target / 2**64) / delta
            if beta == previous:
                threshold = int(flips.thresholds("metropolis", np.array([beta]), 40)[0, delta + 40])
                assert threshold >> 32 == uniform >> 32
                assert (threshold >= uniform) is above
                return task, start, beta
    raise AssertionError("no problem found")


def twin_states(task: Problem, start: np.ndarray, beta: float, slot: int) -> np.ndarray:
    """The weights before and after a flip at `slot` of the first sweep in sequential order, int8 (2, N)."""
    uniforms = philox.move_uniforms(stream_key(SEED, MOVES), 1, np.arange(slot))
    w = start[0].copy()
    for site in range(slot):
        flipped = w.copy()
        flipped[site] *= -1
        if uniforms[site] < twin.metropolis(beta * np.diff(task.energy(np.stack([w, flipped]))))[0]:
            w = flipped
    flipped = w.copy()
    flipped[slot] *= -1
    return np.stack([w, flipped])


@pytest.mark.parametrize("slot", [0, 5, CHUNK - 1, CHUNK, CHUNK + 39])
@pytest.mark.parametrize("above", [True, False])
def test_low_half_of_the_uniform_decides_a_tie(slot, above, levels):
    task, start, beta = tie_at(slot, above)
    expected = twin_states(task, start, beta, slot)[int(above), : slot + 1]
    for level in levels:
        cpu.use(level)
        chain = chain_of(task, "metropolis", "sequential", start, beta=[beta])
        chain.advance(1, 1)
        np.testing.assert_array_equal(chain.block.weights[0, : slot + 1], expected)


# Instruction-set levels


def state_of(task: Problem, method: str, order: str, sweeps: int) -> list[bytes]:
    """Everything that a run leaves behind, in bytes."""
    start = random_weights(N_COPIES * BETA.size, task.n_weights)
    chain = chain_of(task, method, order, start, beta=BETA, n_copies=N_COPIES, measure_every=7)
    chain.advance(1, sweeps)
    caches = chain.block.caches()
    arrays = [
        *chain.take().values(),
        chain.block.energy,
        chain.block.weights,
        *(caches[name] for name in sorted(caches)),
    ]
    return [np.ascontiguousarray(array).tobytes() for array in arrays]


def assert_levels_agree(task: Problem, method: str, sweeps: int, levels: list[str]) -> None:
    states = {}
    for level in levels:
        cpu.use(level)
        states[level] = state_of(task, method, "random", sweeps)
    for level in levels:
        assert states[level] == states["portable"], level


@losses
@laws
@methods
@pytest.mark.parametrize(("n", "p", "sweeps"), [(21, 29, 300), (130, 523, 30), (301, 1100, 7)])
def test_levels_give_the_same_bytes(loss, inputs, method, n, p, sweeps, levels):
    assert_levels_agree(problem(loss, inputs, n, p), method, sweeps, levels)


@pairs
@laws
@pytest.mark.parametrize(("n", "p", "sweeps"), [(12, 29, 60), (132, 523, 4)])
def test_levels_give_the_same_bytes_of_several_units(machine, loss, inputs, n, p, sweeps, levels):
    assert_levels_agree(problem(loss, inputs, n, p, machine), "metropolis", sweeps, levels)


# Float caches


@pytest.mark.parametrize("loss", [Loss("hinge", 0.5), Loss("square")], ids=label)
def test_caches_are_refreshed_at_their_sweep_and_only_then(loss):
    task = problem(loss, "gaussian", 9, 12)
    chain = chain_of(task, "metropolis", "random", random_weights(BETA.size, 9), beta=BETA, measure_every=0)

    def drift() -> float:
        fresh = task.model.block(task.instance, chain.block.weights)
        caches = chain.block.caches()
        return max(np.abs(caches[name] - fresh.caches()[name]).max() for name in caches)

    # the call that passes the sweep does not matter, only the sweep
    for first, last in ((1, 1000), (1001, REFRESH_EVERY - 1)):
        chain.advance(first, last)
        assert 0 < drift() < 1e-10
    chain.advance(REFRESH_EVERY, REFRESH_EVERY)
    assert drift() == 0
    chain.advance(REFRESH_EVERY + 1, 2 * REFRESH_EVERY - 1)
    assert 0 < drift() < 1e-10
    chain.advance(2 * REFRESH_EVERY, 2 * REFRESH_EVERY)
    assert drift() == 0


@pytest.mark.parametrize("loss", [Loss("hinge", 0.5), Loss("square"), Loss("logistic")], ids=label)
@laws
def test_same_trajectory_across_a_refresh(loss, inputs):
    assert_same(problem(loss, inputs, 8, 12), "metropolis", "random", REFRESH_EVERY + 100, exact=False)


@losses
@laws
def test_restored_block_goes_on_bit_for_bit(loss, inputs):
    assert_restores(problem(loss, inputs, 21, 29))


@pairs
@laws
def test_restored_block_of_several_units_goes_on_bit_for_bit(machine, loss, inputs):
    assert_restores(small(loss, inputs, machine))


def assert_restores(task: Problem) -> None:
    start = random_weights(BETA.size, task.n_weights)
    chain = chain_of(task, "metropolis", "random", start, beta=BETA)
    chain.advance(1, 50)
    other = chain_of(task, "metropolis", "random", start, beta=BETA)
    other.block.restore(chain.block.weights, {name: array.copy() for name, array in chain.block.caches().items()})
    other.restore(chain.state())
    chain.take()
    for c in (chain, other):
        c.advance(51, 120)
    one, two = chain.take(), other.take()
    for name in ("energy", "weights", "walker_at"):
        assert one[name].tobytes() == two[name].tobytes()


# Blocks that hold a piece of an instance


@losses
@laws
@pytest.mark.parametrize("cuts", [(0, 1, 8), (0, 3, 5, 8), tuple(range(9))])
def test_pieces_of_an_instance_are_the_same_walkers(loss, inputs, cuts):
    task = problem(loss, inputs, 21, 29)
    start = random_weights(N_COPIES * BETA.size, 21)
    keywords = {"beta": BETA, "n_copies": N_COPIES, "exchange_every": 2}
    whole = chain_of(task, "metropolis", "random", start, **keywords)
    pieces = [chain_of(task, "metropolis", "random", start[a:b], first=a, **keywords) for a, b in pairwise(cuts)]
    whole.advance(1, 40)
    for sweep in range(2, 41, 2):
        for piece in pieces:
            piece.sweep(sweep - 1, sweep)
        energies = np.concatenate([piece.block.energy for piece in pieces])
        for piece in pieces:
            piece.exchange(sweep, energies)
    assert np.concatenate([piece.block.energy for piece in pieces]).tobytes() == whole.block.energy.tobytes()
    np.testing.assert_array_equal(np.concatenate([piece.block.weights for piece in pieces]), whole.block.weights)
    accepted = sum(piece.accepted for piece in pieces)
    np.testing.assert_array_equal(accepted, whole.take()["accepted"].sum(axis=0))
    for piece in pieces:
        np.testing.assert_array_equal(piece.walker_at, whole.walker_at)
        np.testing.assert_array_equal(piece.exchange_accepted, whole.exchange_accepted)


def test_streams_of_the_chain_are_those_of_the_twin():
    for purpose, number in (("moves", MOVES), ("sites", SITES), ("swaps", SWAPS)):
        assert philox.stream_key(SEED, purpose, 3, 1, 2) == stream_key(SEED, number, 3, 1, 2)
    task = problem(Loss("error-count"), "binary", 21, 29)
    assert_same(task, "metropolis", "random", 20, exact=True, instance=3)
