"""The exact laws of the generalisation error against enumeration of all inputs and against the Gaussian limit."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import xarray as xr

from mcmc.analysis.generalisation import (
    binary_disagreement,
    disagreement_probability,
    exact_law,
    generalisation_error,
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


@pytest.mark.parametrize(
    ("run_file", "law"),
    [
        (config(), "binary"),
        (config(inputs="binary", label_noise=0.1), "binary"),
        (config(inputs="gaussian"), "gaussian"),
        (config({"weights": "spherical"}, inputs="gaussian"), "gaussian"),
        (config({"weights": "spherical"}), None),
        (config({"weights": "gaussian"}, inputs="gaussian"), None),
        (config({"architecture": "committee"}), None),
        (config(teacher={"architecture": "committee"}), None),
        (config(teacher={"weights": "spherical"}), None),
        (config(labels="real"), None),
        (config(source="random"), None),
        (config(source="file"), None),
    ],
)
def test_which_law_is_exact(run_file: dict[str, Any], law: str | None) -> None:
    assert exact_law(run_file) == law


def test_gaussian_inputs() -> None:
    data = synthetic(n_samples=20, inputs="gaussian")
    found = generalisation_error(data, config(inputs="gaussian"))
    xr.testing.assert_allclose(found, np.arccos(data["teacher_overlap"]) / np.pi)


def test_test_set_where_no_law_is_exact() -> None:
    data = synthetic(n_samples=20, source="random")
    assert generalisation_error(data, config(source="file")) is None
    data["test_error"] = data["energy"] / 100
    xr.testing.assert_identical(generalisation_error(data, config(source="file")), data["test_error"])
