"""Observables of packed rows against the dense formulas of the contract."""

from __future__ import annotations

import dataclasses
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import erf

import mcmc
from mcmc import data, observables
from mcmc.architectures import ACTIVATIONS, ARCHITECTURES, Architecture
from mcmc.losses import Loss
from mcmc.models import MODELS
from mcmc.observables import Rows
from mcmc.priors import Ising, pack, unpack
from mcmc.reference.machines import energy
from mcmc.schema import VARIABLES
from running import tables

N_ROWS, N_COPIES, N_RUNGS = 5, 3, 4


def multi_unit(name: str, n_inputs: int, n_hidden: int) -> Architecture:
    return Architecture(name, n_inputs, 1 if name == "perceptron" else n_hidden)


class Made:
    """Rows with random weights, and the same as dense arrays (rows, copies, rungs, ...)."""

    def __init__(
        self,
        architecture: Architecture,
        n_copies: int = N_COPIES,
        n_rungs: int = N_RUNGS,
        seed: int = 0,
        real: bool = False,
    ) -> None:
        n, units = architecture.n_weights, (architecture.n_hidden, architecture.fan_in)
        self.architecture = architecture
        rng = np.random.default_rng([seed, n])
        shape = (N_ROWS, n_copies, n_rungs)
        by_walker = rng.choice(np.array([-1, 1], dtype=np.int8), (N_ROWS, n_copies * n_rungs, n))
        if real:
            by_walker = rng.normal(size=by_walker.shape)
        self.real, self.tolerance = real, 1e-12 if real else 1e-15
        energy = rng.normal(size=by_walker.shape[:2])
        order = rng.permuted(np.tile(np.arange(n_rungs, dtype=np.int32), (*shape[:2], 1)), axis=2)
        self.accepted = rng.integers(0, 10 * n, shape)
        stored = by_walker if real else pack(by_walker.reshape(*by_walker.shape[:2], *units))
        self.kinetic = rng.normal(size=energy.shape)
        self.error = rng.normal(size=shape)
        told = {"kinetic": self.kinetic, "energy_error": self.error} if real else {}
        machine = architecture.n_hidden, architecture.second_layer
        self.rows = Rows.by_rung(energy, stored, order, self.accepted, n, 10 * n, *machine, **told)
        self.weights = np.empty((*shape, n))
        self.energy = np.empty(shape)
        for row, copy, rung in np.ndindex(shape):
            walker = copy * n_rungs + order[row, copy, rung]
            self.weights[row, copy, rung] = by_walker[row, walker]
            self.energy[row, copy, rung] = energy[row, walker]
        self.order = order
        self.units = self.weights[..., : architecture.n_first].reshape(*shape, *units)

    @property
    def embedded(self) -> NDArray[np.float64]:
        """Units as vectors over all inputs: (rows, copies, rungs, n_hidden, n_inputs)."""
        return embed(self.units, self.architecture)


def embed(units: NDArray, architecture: Architecture) -> NDArray[np.float64]:
    """Units (..., n_hidden, fan_in) as vectors over the inputs, zero where they see nothing."""
    out = np.zeros((*units.shape[:-1], architecture.n_inputs))
    for k in range(architecture.n_hidden):
        start = k * architecture.fan_in if architecture.is_tree else 0
        out[..., k, start : start + architecture.fan_in] = units[..., k, :]
    return out


SHAPES = [("perceptron", n, 1) for n in (1, 7, 63, 64, 65, 200)]
SHAPES += [("committee", 1, 3), ("committee", 65, 2), ("parity", 130, 3), ("committee", 7, 1)]
SHAPES += [("tree-committee", 3, 3), ("tree-parity", 192, 3), ("tree-committee", 195, 3), ("tree-parity", 140, 2)]
TWO_LAYERS = [
    ("committee", 7, 3, "erf", True),
    ("tree-committee", 12, 3, "linear", True),
    ("committee", 5, 1, "relu", True),
]
MADE = [(shape, False) for shape in SHAPES] + [(shape, True) for shape in (*SHAPES, *TWO_LAYERS)]


@pytest.fixture(params=MADE, ids=str)
def made(request: pytest.FixtureRequest) -> Made:
    shape, real = request.param
    return Made(Architecture(*shape), real=real)


def dense(rows: Rows) -> NDArray[np.int8] | NDArray[np.float64]:
    weights = rows.weights if rows.are_real else unpack(rows.weights, rows.fan_in)
    return weights.reshape(*rows.energy.shape, rows.n_weights)


def test_rows_are_in_the_order_of_the_rungs(made: Made) -> None:
    assert np.array_equal(made.rows.energy, made.energy)
    assert np.array_equal(made.rows.walker, made.order)
    assert np.array_equal(dense(made.rows), made.weights)
    later = made.rows.since(2)
    assert np.array_equal(later.energy, made.energy[2:])
    assert np.array_equal(dense(later), made.weights[2:])
    assert np.array_equal(np.array([later.numbers(row) for row in range(N_ROWS - 2)]), made.weights[2:])
    assert later.as_reals().weights.dtype == np.float64
    assert np.array_equal(later.as_reals().weights, made.weights[2:])
    assert np.array_equal(later.as_reals().units, made.units[2:])
    assert set(made.rows.more) == ({"kinetic_temperature", "energy_error"} if made.real else set())
    if not made.real:
        return
    kinetic = made.rows.more["kinetic_temperature"]
    for row, copy, rung in np.ndindex(kinetic.shape):
        assert kinetic[row, copy, rung] == made.kinetic[row, copy * kinetic.shape[2] + made.order[row, copy, rung]]
    assert np.array_equal(later.more["kinetic_temperature"], kinetic[2:])
    assert np.array_equal(made.rows.more["energy_error"], made.error)  # it is by rung from the start
    assert np.array_equal(later.more["energy_error"], made.error[2:])


def test_overlap(made: Made) -> None:
    pairs = list(combinations(range(N_COPIES), 2))
    expected = np.stack([(made.weights[:, a] * made.weights[:, b]).mean(-1) for a, b in pairs], axis=1)
    found = observables.overlap(made.rows)
    assert found.shape == (N_ROWS, len(pairs), N_RUNGS)
    assert np.allclose(found, expected, rtol=0, atol=made.tolerance)


def matrix(a: NDArray, b: NDArray, architecture: Architecture) -> NDArray[np.float64]:
    """Overlaps of units (..., n_hidden, fan_in); of a tree the diagonal."""
    found = np.einsum("...ki,...li->...kl", a, b) / architecture.fan_in
    return np.einsum("...kk->...k", found) if architecture.is_tree else found


def test_overlaps_of_units(made: Made) -> None:
    pairs = list(combinations(range(N_COPIES), 2))
    expected = np.stack([matrix(made.units[:, a], made.units[:, b], made.architecture) for a, b in pairs], axis=1)
    exact = {"rtol": 0, "atol": made.tolerance if made.real else 0}
    np.testing.assert_allclose(observables.hidden_overlap(made.rows, made.architecture), expected, **exact)
    expected = matrix(made.units, made.units, made.architecture)
    np.testing.assert_allclose(observables.hidden_self_overlap(made.rows, made.architecture), expected, **exact)


@pytest.mark.parametrize("student", ARCHITECTURES)
@pytest.mark.parametrize("teacher", ARCHITECTURES)
@pytest.mark.parametrize(("n_hidden", "n_teacher"), [(3, 3), (2, 3), (6, 2), (1, 1)])
@pytest.mark.parametrize("real", [(False, False), (True, False), (False, True), (True, True)], ids=str)
def test_units_against_any_teacher(
    student: str, teacher: str, n_hidden: int, n_teacher: int, real: tuple[bool, bool]
) -> None:
    """As vectors over the inputs, in units of sqrt(fan-in of the one x fan-in of the other)."""
    one, other = multi_unit(student, 210, n_hidden), multi_unit(teacher, 210, n_teacher)
    if student == teacher == "perceptron":
        assert "hidden_teacher_overlap" not in observables.hidden_shapes(one, other)
        return
    made = Made(one, real=real[0])
    weights = np.random.default_rng(2).choice(np.array([-1, 1], dtype=np.int8), other.n_weights)
    if real[1]:
        weights = weights * np.random.default_rng(3).exponential(size=other.n_weights)
    found = observables.hidden_teacher_overlap(made.rows, one, weights, other)
    units = embed(weights.reshape(other.n_hidden, other.fan_in), other)
    expected = made.embedded @ units.T / np.sqrt(one.fan_in * other.fan_in)
    if one.is_tree and other.is_tree and one.n_hidden == other.n_hidden:
        assert observables.same_shape(one, other)
        assert (expected[..., ~np.eye(one.n_hidden, dtype=bool)] == 0).all()
        expected = np.einsum("...kk->...k", expected)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 if any(real) else 1e-15)
    if observables.same_shape(one, other):
        overlap = observables.teacher_overlap(made.rows, weights)
        np.testing.assert_allclose(overlap, made.weights @ weights / one.n_weights, rtol=0, atol=1e-12)


def test_units_of_different_fan_in_are_compared_by_their_hidden_fields() -> None:
    """The overlap is the correlation of the two fields over random patterns."""
    one, other = Architecture("committee", 12, 2), Architecture("tree-committee", 12, 3)
    made = Made(one)
    weights = np.random.default_rng(3).choice(np.array([-1, 1], dtype=np.int8), other.n_weights)
    patterns = np.array(list(product([-1, 1], repeat=12)), dtype=np.int8)
    h = np.einsum("...ki,pi->...kp", made.units, patterns) / np.sqrt(one.fan_in)
    u = np.einsum("mi,pmi->mp", weights.reshape(3, 4), patterns.reshape(-1, 3, 4)) / np.sqrt(other.fan_in)
    found = observables.hidden_teacher_overlap(made.rows, one, weights, other)
    np.testing.assert_allclose(found, np.einsum("...kp,mp->...km", h, u) / len(patterns), atol=1e-14)


def test_acceptance(made: Made) -> None:
    assert np.array_equal(observables.acceptance(made.rows), made.accepted / (10 * made.rows.n_weights))


def test_acceptance_without_an_accept_step() -> None:
    rows = Made(Architecture("perceptron", 5), real=True).rows
    assert np.isnan(observables.acceptance(dataclasses.replace(rows, proposals=0))).all()


def test_sum_of_weights(made: Made) -> None:
    """Row by row: it does not matter how many rows come at a time."""
    whole, pieces = (np.zeros(made.weights.shape[1:], np.float64 if made.real else np.int64) for _ in range(2))
    observables.add_weights(made.rows, whole)
    if made.real:
        expected = np.zeros(whole.shape)
        for row in made.weights:
            expected += row
    else:
        expected = made.weights.sum(axis=0)
    assert np.array_equal(whole, expected)
    first = dataclasses.replace(made.rows, energy=made.rows.energy[:3], weights=made.rows.weights[:3])
    for part in (first, made.rows.since(3), made.rows.since(N_ROWS)):
        observables.add_weights(part, pieces)
    assert np.array_equal(pieces, whole)


def test_norm(made: Made) -> None:
    np.testing.assert_allclose(observables.norm(made.rows.as_reals()), (made.weights**2).mean(-1), rtol=1e-13)
    np.testing.assert_allclose(observables.norm_of(made.weights[0, 0, 0]), (made.weights[0, 0, 0] ** 2).mean())


def test_regression_on_a_test_set(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of (f - label)^2 / 2 over all test patterns."""
    monkeypatch.setattr(observables, "_TEST_CHUNK", 512)
    student = made.architecture
    fresh = data.random_instance(1, 0, student.n_inputs, 700, inputs="gaussian")
    labels = np.random.default_rng(4).normal(size=700)
    found = observables.squared_test_error(made.rows, student, fresh.inputs, labels)
    output = student.output(fresh.inputs, made.weights)
    np.testing.assert_allclose(found, ((output - labels) ** 2).mean(-1) / 2, rtol=1e-12)


@pytest.mark.parametrize("inputs", ["binary", "gaussian"])
def test_with_a_teacher_and_a_test_set(made: Made, inputs: data.InputLaw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observables, "_TEST_CHUNK", 512)  # the last piece is not full
    student = made.architecture
    teacher = np.random.default_rng(1).choice(np.array([-1, 1], dtype=np.int8), student.n_weights)
    expected = (made.weights * teacher).mean(-1)
    assert np.allclose(observables.teacher_overlap(made.rows, teacher), expected, rtol=0, atol=made.tolerance)
    fresh = data.random_instance(1, 0, student.n_inputs, 700, inputs=inputs)
    if student.second_layer:
        output = student.output(fresh.inputs, made.weights)
    else:
        fields = np.einsum("rctki,pi->rctkp", made.embedded, fresh.inputs.dense())
        signs = np.where(fields >= 0, 1.0, -1.0)
        output = signs.prod(axis=-2) if student.is_parity else signs.sum(axis=-2)
    wrong = np.where(output >= 0, 1.0, -1.0) != fresh.labels
    assert np.array_equal(observables.test_error(made.rows, student, fresh.inputs, fresh.labels), wrong.mean(-1))


@pytest.mark.parametrize("second_layer", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_test_error_of_every_activation(activation: str, second_layer: bool) -> None:
    made = Made(Architecture("committee", 33, 3, activation, second_layer), real=second_layer)
    fresh = data.random_instance(1, 0, 33, 300, inputs="gaussian")  # f = 0 only where it is exact, for relu
    h = np.einsum("rctki,pi->rctkp", made.units, fresh.inputs.dense()) / np.sqrt(33)
    g = {"sign": np.where(h >= 0, 1.0, -1.0), "erf": erf(h / np.sqrt(2)), "tanh": np.tanh(h), "relu": np.maximum(h, 0)}
    v = made.weights[..., 99:] if second_layer else np.ones(3)
    f = (v[..., None] * g.get(activation, h)).sum(axis=-2)
    wrong = (f >= 0) != (fresh.labels > 0)
    found = observables.test_error(made.rows, made.architecture, fresh.inputs, fresh.labels)
    np.testing.assert_array_equal(found, wrong.mean(-1))


def test_ties_of_the_test_set_count_as_plus_one() -> None:
    inputs = data.Inputs.from_dense(np.array([[1, 1], [1, -1]], dtype=np.int8))
    instance = data.Instance(inputs, np.ones(2), None, (inputs, np.array([1.0, -1.0])))
    weights = pack(np.ones((1, 1, 1, 1, 2), dtype=np.int8))  # fields 2 and 0
    rows = Rows(np.zeros((1, 1, 1)), np.zeros((1, 1, 1), np.int32), np.zeros((1, 1, 1), np.int64), weights, 2, 1, 2, 2)
    assert observables.test_error(rows, Architecture("perceptron", 2), *instance.test) == 0.5


ALWAYS = {"energy", "walker", "acceptance"}


def test_series_holds_what_there_is() -> None:
    perceptron = Architecture("perceptron", 9)
    several, single = Made(perceptron).rows, Made(perceptron, n_copies=1, n_rungs=1).rows
    taught = data.teacher_instance(1, 0, 9, 5, n_test=3)
    teacher = (taught.teacher, perceptron)
    assert observables.series(single, perceptron, None, None).keys() == ALWAYS
    assert observables.series(several, perceptron, None, None).keys() == ALWAYS | {"overlap"}
    found = observables.series(single, perceptron, teacher, taught.test)
    assert found.keys() == ALWAYS | {"teacher_overlap", "test_error"}
    reals = Made(perceptron, n_copies=1, real=True).rows
    found = observables.series(reals, perceptron, teacher, None, has_norm=True)
    assert found.keys() == ALWAYS | {"teacher_overlap", "norm", "kinetic_temperature", "energy_error"}
    found = observables.series(several, perceptron, teacher, taught.test)
    shapes = {name: values.shape for name, values in found.items()}
    assert shapes.pop("overlap") == (N_ROWS, 3, N_RUNGS)
    assert set(shapes.values()) == {(N_ROWS, N_COPIES, N_RUNGS)}


def test_series_of_a_second_layer() -> None:
    """The v_k themselves; R exists where the teacher has a second layer, too, the overlaps of units always."""
    one, fixed = Architecture("committee", 7, 3, "tanh", True), Architecture("committee", 7, 3, "tanh")
    for other in (one, fixed):
        teacher = np.random.default_rng(1).normal(size=other.n_weights)
        found = observables.series(Made(one, real=True).rows, one, (teacher, other), None)
        assert ("teacher_overlap" in found) == (other == one)
        assert found["hidden_teacher_overlap"].shape[3:] == (3, 3)
        assert "second_layer" in found
    made = Made(one, real=True)
    np.testing.assert_array_equal(
        observables.series(made.rows, one, None, None)["second_layer"], made.weights[..., -3:]
    )
    assert "second_layer" not in observables.series(Made(fixed, real=True).rows, fixed, None, None)


@pytest.mark.parametrize("n_copies", [1, 3])
@pytest.mark.parametrize("student", ARCHITECTURES)
@pytest.mark.parametrize("teacher", [None, *ARCHITECTURES])
def test_series_of_several_units(student: str, teacher: str | None, n_copies: int) -> None:
    one = multi_unit(student, 12, 3)
    other = None if teacher is None else multi_unit(teacher, 12, 3)
    taught = None if other is None else (np.ones(other.n_weights, dtype=np.int8), other)
    found = observables.series(Made(one, n_copies).rows, one, taught, None)
    expected = set(ALWAYS)
    if n_copies > 1:
        expected |= {"overlap"} if student == "perceptron" else {"overlap", "hidden_overlap"}
    if student != "perceptron":
        expected.add("hidden_self_overlap")
    if other is not None and (one.fan_in, one.n_weights) == (other.fan_in, other.n_weights):
        expected.add("teacher_overlap")
    if other is not None and {student, teacher} != {"perceptron"}:
        expected.add("hidden_teacher_overlap")
    assert found.keys() == expected
    last = observables.hidden_shapes(one, other)
    for name in [name for name in found if name.startswith("hidden")]:
        assert found[name].shape == (N_ROWS, 3 if n_copies > 1 else 1, N_RUNGS, *last[name])
        assert VARIABLES[name].dims_of(1 + found[name].ndim)[:4] == (
            "instance",
            "sample",
            "pair" if name == "hidden_overlap" else "copy",
            "rung",
        )


@given(st.integers(1, 300), st.integers(0, 2**32))
def test_packing_is_reversible(n: int, seed: int) -> None:
    weights = np.random.default_rng(seed).choice(np.array([-1, 1], dtype=np.int8), (2, 3, n))
    bits = pack(weights)
    assert bits.shape == (2, 3, -(-n // 64))
    assert np.array_equal(unpack(bits, n), weights)
    flat = np.unpackbits(bits.view(np.uint8), axis=-1, bitorder="little")
    assert np.array_equal(flat[..., :n], weights > 0)
    assert not flat[..., n:].any()


def test_initial_weights_belong_to_the_walker() -> None:
    """Whoever draws them, alone or with others; and no two are alike."""
    together: NDArray[np.int8] = Ising().walkers(1, 2, range(12), 4, 1, 101)
    assert np.array_equal(together[5:9], Ising().walkers(1, 2, range(5, 9), 4, 1, 101))
    assert len(np.unique(together, axis=0)) == 12
    assert not np.array_equal(together, Ising().walkers(1, 3, range(12), 4, 1, 101))
    assert abs(together.mean()) < 5 / np.sqrt(together.size)


@pytest.mark.parametrize(
    ("name", "loss"),
    [(name, loss) for name in MODELS for loss in ("error-count", "square", "hinge") if loss in MODELS[name].losses],
)
def test_energies_of_rows_are_those_of_their_weights(name: str, loss: str) -> None:
    """The energy that a chain records belongs to the weights that it records; units end within a word."""
    from mcmc.samplers import SAMPLERS

    beta = [0.5, 1.0, 1.5]
    student = multi_unit(name, 210, 3)
    n = student.n_weights
    instance = data.teacher_instance(4, 0, 210, 40, label_noise=0.2)
    block = MODELS[name](student, Loss(loss)).block(instance, Ising().walkers(4, 0, range(6), 3, 1, n))
    chain = SAMPLERS["metropolis"]().chain(block, seed=4, beta=beta, n_copies=2, measure_every=7)
    chain.advance(1, 70)
    rows = Rows.of(chain, student)
    assert rows.weights.shape == (10, 2, 3, student.n_hidden, -(-student.fan_in // 64))
    dense_inputs = instance.inputs.dense()
    twin = energy(dense_inputs, instance.labels, loss, architecture=name, n_hidden=student.n_hidden)
    expected = twin(dense(rows).reshape(-1, n)).reshape(rows.energy.shape)
    assert np.allclose(rows.energy, expected, rtol=1e-12, atol=1e-9)
    assert (observables.acceptance(rows) <= 1).all()
    none = rows.since(len(rows.energy))
    assert observables.overlap(none).shape == (0, 1, 3)


@pytest.mark.parametrize("teacher", [None, "perceptron", "committee"])
@pytest.mark.parametrize("name", MODELS)
def test_variables_of_a_run(name: str, teacher: str | None, tmp_path: Path) -> None:
    """What the results of a run hold of the units, with its dimensions, opened as the contract says."""
    student = multi_unit(name, 66, 3)
    other = student if teacher is None else multi_unit(teacher, 66, 5)
    changes = {"model": {"architecture": name, "n_inputs": 66, "loss": {"name": "error-count"}}, "data.n_test": 20}
    if name != "perceptron":
        changes["model"]["n_hidden"] = 3
    if teacher is not None:
        changes["data.teacher"] = {"architecture": teacher} | ({} if teacher == "perceptron" else {"n_hidden": 5})
    mcmc.run(tables(changes), tmp_path, quiet=True)
    with xr.open_dataset(tmp_path / "results.h5", engine="h5netcdf") as found:
        expected = observables.hidden_shapes(student, other)
        assert {variable for variable in found if variable.startswith("hidden")} == expected.keys()
        for variable, last in expected.items():
            assert found[variable].dims == VARIABLES[variable].dims_of(4 + len(last))
            assert found[variable].shape[4:] == last
        assert ("teacher_overlap" in found) == observables.same_shape(student, other)
        if "hidden_overlap" in found:
            units = found["hidden_overlap"].to_numpy()
            diagonal = units if student.is_tree else np.einsum("...kk->...k", units)
            np.testing.assert_allclose(diagonal.mean(axis=-1), found["overlap"], atol=1e-14)
        if {"hidden_teacher_overlap", "teacher_overlap"} <= set(found):
            units = found["hidden_teacher_overlap"].to_numpy()
            diagonal = units if units.ndim == 5 else np.einsum("...kk->...k", units)
            np.testing.assert_allclose(diagonal.mean(axis=-1), found["teacher_overlap"], atol=1e-14)
    summary = mcmc.load(tmp_path).summary()
    assert "generalisation_error" in summary.rungs[0].estimates
    aligned = {"committee", "parity", "tree-parity"}
    assert ("aligned_overlap" in summary.rungs[0].estimates) == (name in aligned)
    assert ("aligned_teacher_overlap" in summary.rungs[0].estimates) == (name in aligned and teacher is None)
