"""The exact laws of the generalisation error against enumeration of all inputs and against the Gaussian limit."""

from __future__ import annotations

import time
import tracemalloc
from itertools import product
from typing import Any

import numpy as np
import pytest
import xarray as xr

from mcmc.analysis.generalisation import (
    CHUNK_BYTES,
    binary_disagreement,
    disagreement_probability,
    exact_law,
    generalisation_error,
    machines,
    tie_probability,
    tree_disagreement,
    unit_disagreement,
)
from synthetic import synthetic


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 10, 13])
def test_binary_law_is_the_count_over_all_inputs(n: int) -> None:
    inputs = np.array(list(product([-1, 1], repeat=n)))
    teacher = np.ones(n, dtype=int)
    for agreeing in range(n + 1):
        student = np.where(np.arange(n) < agreeing, 1, -1)
        expected = np.mean((inputs @ teacher >= 0) != (inputs @ student >= 0))
        assert disagreement_probability(agreeing, n) == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("n", [10_000, 10_001, 100_001])
def test_binary_law_at_large_size(n: int) -> None:
    agreeing = np.linspace(n // 2, n - n // 20, 40).astype(int)
    found = [disagreement_probability(int(m), n) for m in agreeing]
    np.testing.assert_allclose(found, np.arccos(2 * agreeing / n - 1) / np.pi, atol=0.5 / np.sqrt(n))
    assert disagreement_probability(n, n) == 0.0
    if n % 2:  # no ties: turning the student round turns every answer
        turned = [disagreement_probability(int(n - m), n) for m in agreeing]
        np.testing.assert_allclose(np.add(found, turned), 1.0, atol=1e-13)


def test_one_wrong_weight_at_large_size() -> None:
    # Student and teacher disagree where the other n - 1 fields sum to 0, and the last one decides: C(2k, k) / 4^k.
    k = 5000
    expected = np.exp(np.sum(np.log1p(-0.5 / np.arange(1, k + 1))))
    assert disagreement_probability(2 * k, 2 * k + 1) == pytest.approx(expected, rel=1e-12)


def test_table_over_samples() -> None:
    n = 51
    agreeing = np.random.default_rng(1).integers(0, n + 1, size=(2, 30, 2, 3))
    found = binary_disagreement((2 * agreeing - n) / n, n)
    assert found.shape == agreeing.shape
    assert found[1, 7, 0, 2] == disagreement_probability(int(agreeing[1, 7, 0, 2]), n)


def config(model: dict[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    return {"model": {"loss": {"name": "error-count"}} | (model or {}), "data": {"source": "teacher"} | data}


TREE = {"architecture": "tree-committee", "n_hidden": 3}


@pytest.mark.parametrize(
    ("run_file", "law"),
    [
        (config(), "binary"),
        (config(inputs="binary", label_noise=0.1), "binary"),
        (config(inputs="gaussian"), "gaussian"),
        (config({"weights": "spherical"}, inputs="gaussian"), "gaussian"),
        (config({"weights": "spherical"}), None),
        (config({"weights": "gaussian"}, inputs="gaussian"), "gaussian"),
        (config({"weights": "gaussian"}), None),
        (config(TREE | {"weights": "gaussian"}, inputs="gaussian"), None),
        (config(TREE | {"weights": "spherical"}, inputs="gaussian"), "gaussian"),
        (config({"architecture": "committee", "n_hidden": 3}), None),
        (config({"architecture": "parity", "n_hidden": 3}), None),
        (config(teacher={"architecture": "committee", "n_hidden": 3}), None),
        (config({"architecture": "committee", "n_hidden": 1}, teacher={"architecture": "perceptron"}), "binary"),
        (config({"architecture": "committee", "n_hidden": 1, "activation": "relu"}), None),
        (
            config(teacher={"architecture": "committee", "n_hidden": 1, "activation": "erf"}, inputs="gaussian"),
            "gaussian",
        ),
        (config(TREE), "binary"),
        (config(TREE, inputs="gaussian"), "gaussian"),
        (config(TREE, labels="real"), None),
        (config(TREE, teacher={"architecture": "tree-parity"}), "binary"),
        (config(TREE, teacher={"n_hidden": 5}), None),
        (config(TREE, teacher={"architecture": "committee"}), None),
        (config(TREE, teacher={"architecture": "perceptron"}), None),
        (config(TREE | {"activation": "erf"}), None),
        (config(TREE | {"activation": "erf"}, teacher={"architecture": "tree-parity"}), None),
        (config(teacher={"weights": "spherical"}), None),
        (config(labels="real"), None),
        (config(source="random"), None),
        (config(source="file"), None),
    ],
)
def test_which_law_is_exact(run_file: dict[str, Any], law: str | None) -> None:
    assert exact_law(run_file) == law


def test_no_law_is_exact_with_a_second_layer() -> None:
    """The sign of the output is not that of the field of one unit, even if there is only one; of neither machine."""
    model = {"architecture": "committee", "n_hidden": 1, "weights": "gaussian", "activation": "erf"}
    sampled = {"second_layer": "sampled"}
    data = {"source": "teacher", "inputs": "gaussian"}
    assert exact_law({"model": model, "data": data}) == "gaussian"
    assert exact_law({"model": model | sampled, "data": data}) is None
    assert exact_law({"model": model, "data": data | {"teacher": sampled}}) is None
    student = exact_law({"model": model | sampled, "data": data | {"teacher": {"architecture": "perceptron"}}})
    assert student is None
    teachers = [{}, {"architecture": "parity"}, {"weights": "ising"}]
    found = [machines({"model": model | sampled, "data": data | {"teacher": teacher}})[1] for teacher in teachers]
    assert [teacher["second_layer"] for teacher in found] == ["sampled", "fixed", "fixed"]


@pytest.mark.parametrize("norms", [{}, {"norm"}, {"teacher_norm"}, {"norm", "teacher_norm"}])
def test_the_cosine_counts_where_norms_are_free(norms: set[str]) -> None:
    """R and norms of real vectors against the angle between them, and that angle against fresh patterns."""
    data = synthetic(n_samples=3, n_copies=1, beta=(1.0,), inputs="gaussian")
    rng = np.random.default_rng(3)
    student, teacher = rng.normal(size=(*data["teacher_overlap"].shape, 101)), rng.normal(size=(1, 101))
    student, teacher = student * 3 + 2 * teacher[:, None, None, None], teacher * 2
    given = {"norm": (student**2).mean(-1), "teacher_norm": (teacher**2).mean(-1)}
    if "norm" not in norms:
        student /= np.sqrt(given["norm"])[..., None]
    if "teacher_norm" not in norms:
        teacher /= np.sqrt(given["teacher_norm"])[..., None]
    data["teacher_overlap"].values[...] = (student * teacher[:, None, None, None]).mean(-1)
    dims = {"norm": data["teacher_overlap"].dims, "teacher_norm": ("instance",)}
    data = data.assign({name: (dims[name], given[name]) for name in norms})
    found = generalisation_error(data, config({"weights": "gaussian"}, inputs="gaussian"))
    assert found.dims == data["teacher_overlap"].dims
    inputs = rng.normal(size=(100_000, 101))
    one, other = inputs @ student[0, -1, 0, 0], inputs @ teacher[0]
    chance = found.to_numpy()[0, -1, 0, 0]
    assert abs(np.mean(one * other < 0) - chance) < 4 * np.sqrt(chance * (1 - chance) / len(inputs))


def test_gaussian_inputs() -> None:
    data = synthetic(n_samples=20, inputs="gaussian")
    found = generalisation_error(data, config(inputs="gaussian"))
    xr.testing.assert_allclose(found, np.arccos(data["teacher_overlap"]) / np.pi)


TREES = pytest.mark.parametrize(("student", "teacher"), list(product(["tree-committee", "tree-parity"], repeat=2)))


def random_trees(n_inputs: int, n_hidden: int, seed: int) -> np.ndarray:
    """Weights of student and teacher (2, n_hidden, fan_in), a third of them different."""
    rng = np.random.default_rng(seed)
    teacher = rng.choice([-1, 1], (n_hidden, n_inputs // n_hidden))
    return np.stack([np.where(rng.random(teacher.shape) < 1 / 3, -teacher, teacher), teacher])


def outputs(architecture: str, n_hidden: int, weights: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Signs (patterns,) of a tree, by the formulas."""
    fields = np.einsum("ki,pki->pk", weights, inputs.reshape(len(inputs), n_hidden, -1))
    signs = np.where(fields >= 0, 1, -1)
    output = signs.prod(axis=1) if architecture == "tree-parity" else signs.sum(axis=1)
    return np.where(output >= 0, 1, -1)


@TREES
@pytest.mark.parametrize(("n_inputs", "n_hidden"), [(9, 3), (12, 3), (12, 2), (12, 4), (10, 5), (5, 5), (7, 1)])
def test_trees_on_all_binary_inputs(n_inputs: int, n_hidden: int, student: str, teacher: str) -> None:
    """Odd and even numbers of units, odd and even (ties of fields) fan-in."""
    inputs, fan_in = np.array(list(product([-1, 1], repeat=n_inputs))), n_inputs // n_hidden
    for seed in range(5):
        one, other = random_trees(n_inputs, n_hidden, seed)
        errors = binary_disagreement((one * other).mean(axis=1), fan_in)
        signs = outputs(student, n_hidden, one, inputs), outputs(teacher, n_hidden, other, inputs)
        found = tree_disagreement(errors, tie_probability(fan_in), student, teacher)
        assert found == pytest.approx(np.mean(signs[0] != signs[1]), abs=1e-14)


@TREES
@pytest.mark.parametrize("n_hidden", [2, 3])
def test_trees_on_gaussian_inputs(n_hidden: int, student: str, teacher: str) -> None:
    """Random patterns: the count is off by more than 4 standard errors with chance 6e-5 in each of the 8 cases."""
    one, other = random_trees(12, n_hidden, n_hidden)
    inputs = np.random.default_rng(1).normal(size=(200_000, 12))
    wrong = outputs(student, n_hidden, one, inputs) != outputs(teacher, n_hidden, other, inputs)
    errors = unit_disagreement("gaussian", (one * other).mean(axis=1), 12 // n_hidden)
    found = tree_disagreement(errors, 0.0, student, teacher)
    assert abs(wrong.mean() - found) < 4 * np.sqrt(found * (1 - found) / len(inputs))


def disagreement_by_joint_law(errors: np.ndarray, ties: float, student: str, teacher: str) -> float:
    """Of one sample, from the joint law of the numbers of positive units, adding the pairs of units one by one."""
    n = errors.size
    law = np.zeros((n + 2, n + 2))  # the last entries stay 0: what is rolled in at the front
    law[0, 0] = 1.0
    for e in errors:
        both, one, other = (np.roll(law, shift, (0, 1)) for shift in ((1, 1), (1, 0), (0, 1)))
        law = ((1 - ties - e) * law + (1 + ties - e) * both + e * one + e * other) / 2
    count = np.arange(n + 1)
    signs = {"tree-committee": 2 * count >= n, "tree-parity": (n - count) % 2 == 0}
    return float(law[:-1, :-1][signs[student][:, None] != signs[teacher]].sum())


@TREES
@pytest.mark.parametrize(("n_hidden", "fan_in"), [(30, 4), (31, 101)])
def test_trees_of_many_units(n_hidden: int, fan_in: int, student: str, teacher: str) -> None:
    """More samples than are worked on at a time, every one on its own."""
    n_samples = CHUNK_BYTES // (8 * (n_hidden + 1)) + 40
    ties = tie_probability(fan_in)
    errors = (1 - ties) * np.random.default_rng(2).random((2, n_samples // 2, n_hidden)) ** 3
    found = tree_disagreement(errors, ties, student, teacher)
    assert found.shape == errors.shape[:-1]
    for place in [(0, 0), (0, 77), (1, 3), (1, -1)]:
        expected = disagreement_by_joint_law(errors[place], ties, student, teacher)
        assert found[place] == pytest.approx(expected, abs=1e-13)


@TREES
def test_large_trees_take_little_time_and_memory(student: str, teacher: str) -> None:
    """A joint law of each of these samples would take 2 GB, and minutes; two committees have a known limit."""
    n_hidden, overlap = 500, 0.8
    errors = np.full((1000, n_hidden), np.arccos(overlap) / np.pi)
    began = time.process_time()
    tracemalloc.start()
    found = tree_disagreement(errors, 0.0, student, teacher)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.process_time() - began < 20
    assert peak < 100e6
    assert np.ptp(found) < 1e-14
    limit = np.arccos(1 - 2 * errors[0, 0]) / np.pi if student == teacher == "tree-committee" else 1 / 2
    assert found[0] == pytest.approx(limit, abs=1 / np.sqrt(n_hidden))


@pytest.mark.parametrize("architecture", ["tree-committee", "tree-parity"])
def test_trees_without_error_agree(architecture: str) -> None:
    found = tree_disagreement(np.zeros((2, 5)), tie_probability(4), architecture, architecture)
    assert np.array_equal(found, [0.0, 0.0])


def test_tie_probability() -> None:
    assert [tie_probability(n) for n in (1, 2, 3, 4, 101)] == pytest.approx([0, 1 / 2, 0, 3 / 8, 0])
    assert tie_probability(10**6) == pytest.approx(np.sqrt(2 / np.pi / 10**6), rel=1e-6)


@pytest.mark.parametrize("inputs", ["binary", "gaussian"])
@pytest.mark.parametrize("architecture", ["tree-committee", "tree-parity"])
def test_trees_by_sample(architecture: str, inputs: str) -> None:
    """Every sample from its own overlaps, never from averaged ones."""
    data = synthetic(n_samples=20, architecture=architecture, n_hidden=3, n_weights=102, inputs=inputs)
    model = {"architecture": architecture, "n_hidden": 3}
    found = generalisation_error(data.transpose("hidden", ...), config(model, inputs=inputs))
    assert set(found.dims) == {"instance", "sample", "copy", "rung"}
    one = {"instance": 0, "sample": 17, "copy": 1, "rung": 2}
    overlaps = data["hidden_teacher_overlap"].isel(one).to_numpy()
    errors, ties = np.arccos(overlaps) / np.pi, 0.0
    if inputs == "binary":
        errors = np.array([disagreement_probability(round(34 * (1 + r) / 2), 34) for r in overlaps])
        ties = tie_probability(34)
    expected = tree_disagreement(errors, ties, architecture, architecture)
    assert found.isel(one).item() == pytest.approx(float(expected), abs=1e-15)


def test_machine_of_one_unit_is_a_perceptron() -> None:
    data = synthetic(n_samples=20, architecture="committee", n_hidden=1)
    found = generalisation_error(data, config({"architecture": "committee", "n_hidden": 1}))
    xr.testing.assert_identical(found, generalisation_error(data, config()))


def test_test_set_where_no_law_is_exact() -> None:
    data = synthetic(n_samples=20, source="random")
    assert generalisation_error(data, config(source="file")) is None
    data["test_error"] = data["energy"] / 100
    xr.testing.assert_identical(generalisation_error(data, config(source="file")), data["test_error"])
