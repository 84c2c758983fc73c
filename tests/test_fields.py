"""The float64 kernel family against the numpy twin: every architecture, activation and loss, real and +-1 inputs.

Blocks are built here from arrays, so that +-1 inputs come to this family too, whichever a model would choose for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from mcmc.architectures import ACTIVATIONS, ARCHITECTURES, Architecture
from mcmc.data import Inputs, teacher_instance
from mcmc.kernels import cpu, fields
from mcmc.kernels.flips import Flips
from mcmc.losses import LOSSES, Loss
from mcmc.models import MODELS
from mcmc.priors import unpack
from mcmc.reference import flips as twin
from mcmc.reference import losses as reference_losses
from mcmc.reference import machines
from mcmc.reference.machines import Energy
from mcmc.samplers import Metropolis
from problems import INPUT_LAWS, label, random_weights

SEED = 5
BETA = np.array([0.0, 0.3, 0.8, 2.0])
N_COPIES = 2
REFRESH_EVERY = 1024  # of flips.h
STRETCH = 128  # of fields.h


@dataclass(frozen=True)
class Case:
    """A machine under a loss; `n_inputs` is a multiple of 1, 2 and 3."""

    architecture: Architecture
    loss: Loss

    def __str__(self) -> str:
        a = self.architecture
        return f"{a.name}-{a.n_hidden}-{a.activation}-{label(self.loss)}"


def architectures(n_inputs: int) -> list[Architecture]:
    """Every architecture of one, two and three hidden units, with every activation that it takes."""
    found = []
    for name in ARCHITECTURES:
        for n_hidden in (1, 2, 3):
            for activation in ACTIVATIONS:
                try:
                    found.append(Architecture(name, n_inputs, n_hidden, activation))
                except ValueError:
                    continue
    return found


def losses(architecture: Architecture) -> list[Loss]:
    """Those that the architecture takes."""
    if architecture.is_parity:
        return [Loss("error-count")]
    votes = architecture.is_committee and architecture.activation == "sign"
    found = [] if votes and architecture.n_hidden % 2 == 0 else [Loss("error-count")]
    found += [Loss(name, 0.35, 2.5) for name in LOSSES if name not in ("square", "symmetric")]
    if architecture.name == "perceptron":
        found.append(Loss("symmetric", 0.6))
    return [*found, Loss("square")]


def cases(n_inputs: int) -> list[Case]:
    return [Case(architecture, loss) for architecture in architectures(n_inputs) for loss in losses(architecture)]


CASES = cases(12)
ONE_OF_EACH = [
    case for case in cases(12) if case.architecture.n_hidden != 2 and case.loss == losses(case.architecture)[-1]
]

every_case = pytest.mark.parametrize("case", CASES, ids=str)
one_of_each = pytest.mark.parametrize("case", ONE_OF_EACH, ids=str)
laws = pytest.mark.parametrize("law", INPUT_LAWS)


@dataclass(frozen=True)
class Data:
    inputs: np.ndarray  # float64 (P, N)
    labels: np.ndarray  # float64 (P,)


def draw(case: Case, law: str, n_patterns: int) -> Data:
    rng = np.random.default_rng(SEED)
    inputs = rng.normal(size=(n_patterns, case.architecture.n_inputs))
    labels = rng.normal(size=n_patterns)
    return Data(
        np.where(inputs < 0, -1.0, 1.0) if law == "binary" else inputs,
        labels if case.loss.name == "square" else np.where(labels < 0, -1.0, 1.0),
    )


def block_of(case: Case, data: Data, weights: np.ndarray) -> fields.Block:
    model = MODELS[case.architecture.name](case.architecture, case.loss)
    return model.fields_block(Inputs.from_dense(data.inputs), data.labels, weights)


def energy_of(case: Case, data: Data) -> Energy:
    architecture, loss = case.architecture, case.loss
    return machines.energy(
        data.inputs,
        data.labels,
        loss.name,
        loss.margin,
        loss.sharpness,
        architecture.name,
        architecture.n_hidden,
        architecture.activation,
    )


def start_of(case: Case) -> np.ndarray:
    return random_weights(N_COPIES * BETA.size, case.architecture.n_weights)


def chain_of(case: Case, data: Data, weights: np.ndarray, **keywords: object) -> Flips:
    block = block_of(case, data, weights)
    return Metropolis().chain(block, seed=SEED, beta=BETA, n_copies=N_COPIES, **keywords)


def assert_same(case: Case, law: str, n_patterns: int, sweeps: int) -> None:
    """Kernel and twin go the same way."""
    data, start = draw(case, law, n_patterns), start_of(case)
    energy = energy_of(case, data)
    chain = chain_of(case, data, start)
    np.testing.assert_allclose(chain.block.energy, energy(start), rtol=1e-10, atol=1e-10)  # outputs on their grid
    chain.advance(1, sweeps)
    expected = twin.run(
        energy, start, seed=SEED, beta=BETA, n_copies=N_COPIES, sweeps=sweeps, rule=twin.metropolis, order="random"
    )
    got, walker_at, accepted, bits = chain.take().values()
    weights = unpack(bits, case.architecture.fan_in).reshape(expected.weights.shape)
    np.testing.assert_array_equal(weights, expected.weights)
    np.testing.assert_array_equal(walker_at, expected.walker_at)
    np.testing.assert_array_equal(accepted, expected.accepted)
    np.testing.assert_allclose(got, expected.energy, rtol=1e-9, atol=1e-9)
    assert 0 < accepted.sum() < accepted.size * case.architecture.n_weights


def test_the_lists_are_those_of_the_package():
    assert set(fields.LOSSES) == set(LOSSES)
    assert set(fields.ACTIVATIONS) == set(ACTIVATIONS) == set(machines.ACTIVATIONS)
    met = {(case.architecture.name, case.architecture.activation, case.loss.name) for case in CASES}
    assert {name for name, _, _ in met} == set(ARCHITECTURES)
    assert {activation for _, activation, _ in met} == set(ACTIVATIONS)
    assert {loss for _, _, loss in met} == set(LOSSES)


@every_case
@laws
def test_same_trajectory(case, law):
    assert_same(case, law, 29, 25)


# A part of a stretch, a whole one, one and a part; patterns that fill a vector and that do not.
@one_of_each
@pytest.mark.parametrize("n_patterns", [1, 7, 8, STRETCH, STRETCH + 1, 2 * STRETCH + 3])
def test_same_trajectory_at_edge_sizes(case, n_patterns):
    assert_same(case, "gaussian", n_patterns, 3)


@pytest.mark.parametrize("case", [case for case in ONE_OF_EACH if case.architecture.n_hidden == 3], ids=str)
def test_same_trajectory_across_a_refresh(case):
    assert_same(case, "gaussian", 10, REFRESH_EVERY + 20)


# +-1 inputs put fields, and sums of fields, at exactly zero: sign(0) = +1.
@pytest.mark.parametrize(
    ("n_hidden", "activation"),
    [(k, g) for k in (2, 3, 5, 6, 7) for g in ("sign", "relu", "linear") if k % 2 or g != "sign"],  # even votes can tie
)
@pytest.mark.parametrize("name", ["committee", "tree-committee"])
def test_ties_of_sums_over_units_are_exact(name, n_hidden, activation):
    n = 4 * n_hidden if name == "tree-committee" else 6
    case = Case(Architecture(name, n, n_hidden, activation), Loss("error-count"))
    data = draw(case, "binary", 200)
    weights = random_weights(50, case.architecture.n_weights)
    units = weights.reshape(50, n_hidden, -1).astype(int)
    inputs = data.inputs.astype(int)
    seen = np.split(inputs, n_hidden, axis=1) if name == "tree-committee" else [inputs] * n_hidden
    h = np.array([x @ units[:, k].T for k, x in enumerate(seen)])  # (K, P, walkers)
    g = {"sign": np.where(h >= 0, 1, -1), "relu": np.maximum(h, 0), "linear": h}[activation]
    total = g.sum(axis=0)
    assert (total == 0).any() or activation == "sign"
    expected = (np.where(total >= 0, 1, -1) != data.labels[:, None]).sum(axis=0)
    np.testing.assert_array_equal(block_of(case, data, weights).energy, expected)
    np.testing.assert_array_equal(energy_of(case, data)(weights), expected)
    if name == "committee":
        output = case.architecture.output(Inputs.from_dense(data.inputs), weights)
        np.testing.assert_array_equal(output >= 0, (total >= 0).T)


@pytest.mark.parametrize(
    ("n_hidden", "activation"), [(k, g) for k in (4, 5, 6, 8) for g in ACTIVATIONS if k % 2 or g != "sign"]
)
def test_units_that_cancel_do_so_in_any_order(activation, n_hidden):
    """A teacher makes no errors on its own labels, and neither does it with its units in another order."""
    teacher = Architecture("committee", 12, n_hidden, activation)
    instance = teacher_instance(SEED, 0, 12, 4000, teacher=teacher)
    fields_of_units = teacher.hidden_fields(instance.inputs, instance.teacher)
    paired = np.sort(fields_of_units, axis=0)
    if n_hidden == 4:
        assert (paired == -paired[::-1]).all(axis=0).any()  # ties are met
    units = instance.teacher.reshape(n_hidden, 12)
    rng = np.random.default_rng(SEED)
    weights = np.array([units[rng.permutation(n_hidden)].reshape(-1) for _ in range(20)])
    data = Data(instance.inputs.dense().astype(np.float64), instance.labels)
    block = block_of(Case(teacher, Loss("error-count")), data, weights)
    np.testing.assert_array_equal(block.energy, 0)
    np.testing.assert_array_equal(energy_of(Case(teacher, Loss("error-count")), data)(weights), 0)


# Instruction-set levels


@pytest.fixture
def levels():
    """Names of the instruction-set levels, portable first; the one in use is restored afterwards."""
    level = cpu.level()
    yield cpu.available()
    cpu.use(level)


def state_of(chain: Flips) -> list[bytes]:
    caches = chain.block.caches()
    arrays = [
        *chain.take().values(),
        chain.block.energy,
        chain.block.weights,
        *(caches[name] for name in sorted(caches)),
    ]
    return [np.ascontiguousarray(array).tobytes() for array in arrays]


@every_case
@laws
def test_levels_give_the_same_bytes(case, law, levels):
    data, start = draw(case, law, STRETCH + 13), start_of(case)
    states = {}
    for level in levels:
        cpu.use(level)
        chain = chain_of(case, data, start)
        chain.advance(1, 12)
        states[level] = state_of(chain)
    for level in levels:
        assert states[level] == states["portable"], level


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_equal_their_formulas(activation, levels):
    h = np.concatenate([np.linspace(-9, 9, 1801), [0.0, -0.0, 1e-300, np.inf, -np.inf]])
    for level in levels:
        cpu.use(level)
        for n in (1, 7, 8, h.size):
            expected = machines.ACTIVATIONS[activation](h[-n:])
            np.testing.assert_allclose(fields.activations(activation, h[-n:]), expected, rtol=1e-15, atol=2.0**-36)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_are_the_same_bytes_at_every_level(activation, levels):
    h = np.random.default_rng(SEED).normal(scale=2.0, size=20000)
    values = set()
    for level in levels:
        cpu.use(level)
        values.add(fields.activations(activation, h).tobytes())
    assert len(values) == 1


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_take_any_shape(loss, levels):
    margin = 0.5
    f, y = np.linspace(-2, 2, 35).reshape(5, 1, 7), np.array([[-1.0], [1.0]])
    for level in levels:
        cpu.use(level)
        expected = reference_losses.LOSSES[loss](*np.broadcast_arrays(f, y), margin, 1.0)
        values = fields.losses(loss, f, y, margin)
        assert values.shape == (5, 2, 7)
        np.testing.assert_allclose(values, expected, rtol=1e-14, atol=0)
        assert fields.losses(loss, f[:0], y).shape == (0, 2, 7)


# Caches


@one_of_each
@laws
def test_restored_block_goes_on_bit_for_bit(case, law):
    data, start = draw(case, law, 29), start_of(case)
    chain, other = (chain_of(case, data, start) for _ in range(2))
    chain.advance(1, 50)
    other.block.restore(chain.block.weights, {name: array.copy() for name, array in chain.block.caches().items()})
    other.restore(chain.state())
    chain.take()
    for c in (chain, other):
        c.advance(51, 90)
    assert state_of(chain) == state_of(other)


@one_of_each
def test_caches_are_refreshed_at_their_sweep_and_only_then(case):
    data = draw(case, "gaussian", 12)
    chain = chain_of(case, data, start_of(case), measure_every=0)

    def drift() -> float:
        fresh = block_of(case, data, chain.block.weights).caches()
        return max(np.abs(array - fresh[name]).max() for name, array in chain.block.caches().items())

    chain.advance(1, REFRESH_EVERY - 1)
    assert 0 < drift() < 1e-10
    chain.advance(REFRESH_EVERY, REFRESH_EVERY)
    assert drift() == 0


@one_of_each
@laws
def test_energy_and_fields_stay_those_of_the_weights(case, law):
    data, start = draw(case, law, 29), start_of(case)
    chain = chain_of(case, data, start)
    chain.advance(1, 30)
    fresh = block_of(case, data, chain.block.weights)
    np.testing.assert_allclose(chain.block.energy, fresh.energy, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(chain.block.caches()["field"], fresh.caches()["field"], rtol=1e-9, atol=1e-9)


# What does not fit

PLAIN = {"columns": (6, 16), "labels": 16, "n_patterns": 10, "weights": (2, 6)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": 8}, "n_patterns"),
        ({"columns": (6, 8)}, "n_patterns"),
        ({"n_patterns": 0}, "n_patterns"),
        ({"n_patterns": 17}, "n_patterns"),
        ({"weights": (2, 5)}, "weights"),
        ({"weights": (6,)}, "weights"),
        ({"weights": (2, 6), "n_units": 4}, "n_units"),
        ({"n_units": 0}, "n_units"),
        ({"weights": (2, 13), "n_units": 2}, "weights"),
        ({"loss": "absolute"}, "loss: got 'absolute'"),
        ({"activation": "cosine"}, "activation: got 'cosine'"),
        ({"parity": True}, "expected sign for parity"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(changes, message):
    sizes = PLAIN | changes
    columns, labels = np.zeros(sizes.pop("columns")), np.ones(sizes.pop("labels"))
    n_patterns, weights = sizes.pop("n_patterns"), np.ones(sizes.pop("weights"), dtype=np.int8)
    with pytest.raises(ValueError, match=message):
        fields.Block(columns, labels, n_patterns, weights, **sizes)


@pytest.mark.parametrize(("n_units", "n_weights"), [(1, 6), (2, 6), (3, 6), (2, 12), (4, 24)])
def test_columns_say_what_the_units_share(n_units, n_weights):
    """Six columns: six weights are units with inputs of their own, more are units that share."""
    rng = np.random.default_rng(SEED)
    columns, weights = rng.normal(size=(6, 8)), random_weights(2, n_weights)
    block = fields.Block(columns, np.ones(8), 8, weights, n_units=n_units, activation="tanh", loss="square")
    units = weights.reshape(2, n_units, -1)
    seen = [columns if n_weights > 6 else np.split(columns, n_units)[k] for k in range(n_units)]
    h = np.stack([units[:, k] @ seen[k] for k in range(n_units)], axis=1)
    np.testing.assert_allclose(block.caches()["field"], h, rtol=1e-12, atol=1e-12)
    outputs = machines.on_grid(np.tanh(h / math.sqrt(n_weights / n_units)))
    f = outputs.sum(axis=1) / math.sqrt(n_units)
    np.testing.assert_allclose(block.energy, ((1 - f) ** 2 / 2).sum(axis=1), rtol=1e-12)
