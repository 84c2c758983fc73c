"""Machines with real weights: energy and gradient of blocks of walkers.

Against the plain formulas and against numerical derivatives for every machine under every loss; the same bits whatever
the number of walkers, their place in the block and the instruction set, in both precisions; against sums in the order
that products.h states, with exact arithmetic in between; and what float32 costs in accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from mcmc.data import Inputs, Instance
from mcmc.kernels import cpu, gradients
from mcmc.losses import Loss
from mcmc.models import MODELS
from mcmc.reference import gradients as twin
from problems import INPUT_LAWS, PAIRS, PERCEPTRON, Machine, label

PRECISIONS = tuple(gradients.PRECISIONS)
SMOOTH = [(machine, loss) for machine, loss in PAIRS if loss.name not in ("error-count", "symmetric")]
SMOOTH = [(m, loss) for m, loss in SMOOTH if m == PERCEPTRON or (m.activation != "sign" and m.name.endswith("ttee"))]
SHAPES = [(6, 5), (24, 70), (60, 130), (132, 65)]
"""Inputs and patterns: with parts of words, tiles and vectors left over."""


def draw(machine: Machine, loss: Loss, law: str, n: int, p: int, n_walkers: int) -> tuple[Instance, np.ndarray]:
    """An instance with random labels and normal weights (n_walkers, n_weights)."""
    rng = np.random.default_rng([n, p])
    inputs, labels = rng.normal(size=(p, n)), rng.normal(size=p)
    weights = rng.normal(size=(n_walkers, machine.of(n).n_weights))
    instance = Instance(
        Inputs.from_dense(np.where(inputs < 0, -1.0, 1.0) if law == "binary" else inputs),
        labels if loss.name == "square" else np.where(labels < 0, -1.0, 1.0),
    )
    return instance, weights


def block_of(machine: Machine, loss: Loss, instance: Instance, weights: np.ndarray, precision: str = "float64"):
    model = MODELS[machine.name](machine.of(instance.inputs.n_inputs), loss)
    return model.gradient_block(instance, weights, precision)


def formulas(machine: Machine, loss: Loss, instance: Instance) -> twin.Evaluate:
    machine_of = (machine.name, machine.n_hidden, machine.activation)
    return twin.evaluate(instance.inputs.dense(), instance.labels, loss.name, loss.margin, loss.sharpness, *machine_of)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("law", INPUT_LAWS)
@pytest.mark.parametrize(("machine", "loss"), PAIRS, ids=label)
def test_energy_and_gradient_are_the_formulas(machine: Machine, loss: Loss, law: str, shape: tuple[int, int]) -> None:
    instance, weights = draw(machine, loss, law, *shape, 5)
    block = block_of(machine, loss, instance, weights)
    energy, gradient = block.evaluate(weights)
    expected_energy, expected_gradient = formulas(machine, loss, instance)(weights)
    np.testing.assert_allclose(energy, expected_energy, rtol=1e-12)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(block.energy, energy)


@pytest.mark.parametrize("law", INPUT_LAWS)
@pytest.mark.parametrize(("machine", "loss"), SMOOTH, ids=label)
def test_gradient_is_the_derivative_of_the_energy(machine: Machine, loss: Loss, law: str) -> None:
    """Central differences in random directions; kinks of hinge and relu lie within a step with negligible chance."""
    instance, weights = draw(machine, loss, law, 12, 30, 8)
    block = block_of(machine, loss, instance, weights)
    direction = np.random.default_rng(3).normal(size=weights.shape)
    step = 1e-6
    up, down = (block.evaluate(weights + sign * step * direction)[0] for sign in (1, -1))
    slope = (block.evaluate(weights)[1] * direction).sum(axis=1)
    np.testing.assert_allclose((up - down) / (2 * step), slope, rtol=1e-5, atol=1e-6)


@pytest.fixture
def level() -> Iterator[None]:
    used = cpu.level()
    yield
    cpu.use(used)


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("law", INPUT_LAWS)
@pytest.mark.parametrize("machine", [PERCEPTRON, Machine("committee", 3, "tanh"), Machine("tree-committee", 3, "erf")])
def test_bits_do_not_depend_on_the_block_nor_on_the_instruction_set(machine: Machine, law: str, precision: str) -> None:
    for shape in SHAPES:
        instance, weights = draw(machine, Loss("logistic", 0.2, 1.5), law, *shape, 40)
        expected = None
        for name in cpu.available():
            cpu.use(name)
            for n_walkers in (1, 3, 4, 9, 21, 40):
                block = block_of(machine, Loss("logistic", 0.2, 1.5), instance, weights[:n_walkers], precision)
                found = block.evaluate(weights)
                expected = found if expected is None else expected
                np.testing.assert_array_equal(found[0], expected[0], err_msg=f"{name}, {n_walkers} walkers")
                np.testing.assert_array_equal(found[1], expected[1], err_msg=f"{name}, {n_walkers} walkers")


@pytest.mark.parametrize("n_walkers", [1, 9])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_sums_of_real_inputs_have_the_stated_order(precision: str, n_walkers: int) -> None:
    """Every fused multiply-add by exact fractions, rounded once: field and gradient of one pattern after the other."""
    real = gradients.PRECISIONS[precision]
    instance, weights = draw(PERCEPTRON, Loss("square"), "gaussian", 21, 11, n_walkers)
    x, y, w = instance.inputs.values.astype(real), instance.labels, weights[0].astype(real)

    def fused(a: np.floating, b: np.floating, c: np.floating) -> np.floating:
        exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
        return _rounded(exact, real)

    order = 64 // np.dtype(real).itemsize
    field = np.empty(len(x))
    for mu, row in enumerate(x):
        partial = np.zeros(order, dtype=real)
        for i, (a, b) in enumerate(zip(row, w, strict=True)):
            partial[i % order] = fused(a, b, partial[i % order])
        while len(partial) > 1:
            half = len(partial) // 2
            partial = partial[:half] + partial[half:]
        field[mu] = partial[0]
    scale = 1.0 / np.sqrt(21.0)
    force = ((field * scale - y) * scale).astype(real)
    gradient = np.zeros(21, dtype=real)
    for row, d in zip(x, force, strict=True):
        for i, a in enumerate(row):
            gradient[i] = fused(a, d, gradient[i])
    found = block_of(PERCEPTRON, Loss("square"), instance, weights, precision).evaluate(weights)[1][0]
    np.testing.assert_array_equal(found, gradient)


def _rounded(exact: Fraction, real: type[np.floating]) -> np.floating:
    """The nearest number of a type, ties to even: between the neighbours of a first guess."""
    guess = real(float(exact))
    near = (np.nextafter(guess, real(-np.inf)), guess, np.nextafter(guess, real(np.inf)))
    distances = [abs(Fraction(float(number)) - exact) for number in near]
    best = min(distances)
    tied = [number for number, distance in zip(near, distances, strict=True) if distance == best]
    return min(tied, key=lambda number: int(number.view(f"i{number.itemsize}")) % 2)


@pytest.mark.parametrize("n_walkers", [1, 9])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_sums_of_signs_have_the_stated_order(precision: str, n_walkers: int) -> None:
    """Groups of four, ((+-a +-b) + (+-c +-d)), in order."""
    real = gradients.PRECISIONS[precision]
    instance, weights = draw(PERCEPTRON, Loss("square"), "binary", 70, 75, n_walkers)
    x, y = instance.inputs.dense().astype(real), instance.labels

    def grouped(terms: np.ndarray) -> np.ndarray:
        """(n, ...) added up."""
        room = np.zeros((-(-len(terms) // 64) * 64, *terms.shape[1:]), dtype=real)
        room[: len(terms)] = terms
        total = np.zeros(terms.shape[1:], dtype=real)
        for a, b, c, d in room.reshape(-1, 4, *terms.shape[1:]):
            total = total + ((a + b) + (c + d))
        return total

    scale = 1.0 / np.sqrt(70.0)
    field = grouped(x.T * weights[0].astype(real)[:, None]).astype(np.float64)
    force = ((field * scale - y) * scale).astype(real)
    found = block_of(PERCEPTRON, Loss("square"), instance, weights, precision).evaluate(weights)[1][0]
    np.testing.assert_array_equal(found, grouped(x * force[:, None]))


@pytest.mark.parametrize("law", INPUT_LAWS)
def test_single_precision_is_as_good_as_it_can_be(law: str) -> None:
    """Energies are off by about the rounding of the fields, which is random from pattern to pattern."""
    instance, weights = draw(PERCEPTRON, Loss("logistic"), law, 132, 200, 9)
    exact, single = (
        block_of(PERCEPTRON, Loss("logistic"), instance, weights, precision).evaluate(weights)
        for precision in ("float64", "float32")
    )
    difference = np.abs(single[0] - exact[0]).max()
    assert 0 < difference < 1e-7 * np.sqrt(132 * 200)
    assert np.abs(single[1] - exact[1]).max() < 1e-6 * np.abs(exact[1]).max()


@pytest.mark.parametrize("n_walkers", [2, 7])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("law", INPUT_LAWS)
@pytest.mark.parametrize("machine", [PERCEPTRON, Machine("committee", 3, "tanh"), Machine("tree-committee", 3, "relu")])
def test_a_minibatch_is_an_instance_of_its_own(machine: Machine, law: str, precision: str, n_walkers: int) -> None:
    """The same bits as a block of these patterns alone; one of each size, also with a pattern that is chosen twice."""
    loss = Loss("squared-hinge", 0.4)
    instance, weights = draw(machine, loss, law, 132, 200, n_walkers)
    dense, labels = instance.inputs.dense(), instance.labels
    for batch_size in (1, 9, 70):
        chosen = np.random.default_rng(batch_size).integers(0, 200, batch_size)
        model = MODELS[machine.name](machine.of(132), loss)
        block = model.gradient_block(instance, weights, precision, batch_size=batch_size)
        whole = block.evaluate(weights)
        found = block.evaluate(weights, chosen)
        alone = Instance(Inputs.from_dense(dense[chosen]), labels[chosen])
        expected = block_of(machine, loss, alone, weights, precision).evaluate(weights)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])
        np.testing.assert_array_equal(block.evaluate(weights)[1], whole[1])


@pytest.mark.parametrize("n_walkers", [2, 7])
@pytest.mark.parametrize("law", INPUT_LAWS)
@pytest.mark.parametrize("activation", ["erf", "tanh", "relu", "linear"])
def test_second_layer(activation: str, law: str, n_walkers: int) -> None:
    """Its weights follow all others; with all of them 1 it is the committee without."""
    n, p, k = 12, 75, 3
    instance, first = draw(Machine("committee", k, activation), Loss("square"), law, n, p, n_walkers)
    inputs = instance.inputs.columns if instance.inputs.binary else instance.inputs.values
    weights = np.concatenate([first, np.random.default_rng(2).normal(size=(n_walkers, k))], axis=1)
    machine = {"n_units": k, "activation": activation, "loss": "square"}
    block = gradients.Block(inputs, instance.labels, weights, second_layer=True, **machine)
    formula = twin.evaluate(
        instance.inputs.dense(), instance.labels, "square", 0.0, 1.0, "committee", k, activation, second_layer=True
    )
    energy, gradient = block.evaluate(weights)
    np.testing.assert_allclose(energy, formula(weights)[0], rtol=1e-12)
    np.testing.assert_allclose(gradient, formula(weights)[1], rtol=1e-9, atol=1e-12)
    weights[:, -k:] = 1.0
    plain = gradients.Block(inputs, instance.labels, first, **machine).evaluate(first)
    np.testing.assert_allclose(block.evaluate(weights)[0], plain[0], rtol=1e-14)
    np.testing.assert_allclose(block.evaluate(weights)[1][:, :-k], plain[1], rtol=1e-13, atol=1e-15)


def test_padding_lanes_stay_out() -> None:
    instance, weights = draw(PERCEPTRON, Loss("hinge"), "binary", 24, 20, 11)
    block = block_of(PERCEPTRON, Loss("hinge"), instance, weights)
    assert block.weights.shape == (11, 24)
    assert block.energy.shape == (11,)
    np.testing.assert_array_equal(block.weights, weights)
    block.restore(weights[::-1], block.caches())
    np.testing.assert_array_equal(block.energy, block.evaluate(weights[::-1])[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": np.zeros((2, 5))}, r"weights: got shape \(2, 5\)"),
        ({"labels": np.ones(3)}, "labels: got 3"),
        ({"precision": "float16"}, "precision: got 'float16', expected one of float64, float32"),
        ({"loss": "cubic"}, "loss: got 'cubic'"),
        ({"activation": "step"}, "activation: got 'step'"),
        ({"parity": True, "activation": "tanh"}, "expected sign for parity"),
        ({"parity": True, "activation": "sign", "second_layer": True}, "second_layer: got true for parity"),
        ({"batch_size": 5}, "batch_size: got 5, expected 0 to 4"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict, message: str) -> None:
    given = {"inputs": np.ones((4, 6)), "labels": np.ones(4), "weights": np.zeros((2, 6))} | change
    with pytest.raises(ValueError, match=message):
        gradients.Block(given.pop("inputs"), given.pop("labels"), given.pop("weights"), **given)
