"""Overlaps up to permutations and signs of units, against all of them one by one."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from mcmc.analysis import permutations as subject
from mcmc.analysis.permutations import aligned_overlap, aligned_series, aligned_signs, log_n_images, specialisation
from synthetic import synthetic

BOTH = pytest.mark.parametrize("parity", [False, True])


def matrices(n: int, seed: int = 0) -> np.ndarray:
    """Overlaps of random units (4, 5, n, n), on a lattice so that ties occur."""
    return np.random.default_rng([seed, n]).integers(-6, 7, size=(4, 5, n, n)) / 6


def brute_force(matrix: np.ndarray, parity: bool) -> float:
    n = len(matrix)
    signs = [s for s in product([1, -1], repeat=n) if np.prod(s) == 1] if parity else [(1,) * n]
    return max(np.mean(s * matrix[range(n), pi]) for s in signs for pi in permutations(range(n)))


@BOTH
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_against_all_permutations_and_signs(n: int, parity: bool) -> None:
    hidden = matrices(n)
    expected = [[brute_force(matrix, parity) for matrix in row] for row in hidden]
    np.testing.assert_allclose(aligned_overlap(hidden, parity), expected, atol=1e-15)


@BOTH
def test_many_units(monkeypatch: pytest.MonkeyPatch, parity: bool) -> None:
    """The way for many units: exact for committees, a lower bound within what it says for parity machines."""
    hidden = matrices(5)
    exact = aligned_overlap(hidden, parity)
    monkeypatch.setattr(subject, "MAX_EXACT", 4)
    found = aligned_overlap(hidden, parity)
    if not parity:
        np.testing.assert_allclose(found, exact, atol=1e-15)
        return
    bound = aligned_overlap(np.abs(hidden))
    assert (found <= exact + 1e-15).all()
    assert (exact <= bound + 1e-15).all()
    assert (found == exact).mean() > 0.5
    assert aligned_overlap(np.eye(12)[::-1], parity) == 1


@BOTH
@pytest.mark.parametrize("n", [2, 3, 7, 9])
def test_symmetries(n: int, parity: bool) -> None:
    rng = np.random.default_rng(n)
    hidden = np.random.default_rng(1).normal(size=(30, n, n))
    turned = hidden[:, rng.permutation(n)][:, :, rng.permutation(n)]
    if parity:  # an even number of units of each of the two machines
        signs = rng.choice([-1.0, 1.0], (2, n))
        signs[:, 0] *= signs.prod(axis=1)
        turned = turned * signs[0][:, None] * signs[1]
    for function in (aligned_overlap, specialisation):
        np.testing.assert_allclose(function(turned, parity), function(hidden, parity), atol=1e-14)
        np.testing.assert_allclose(function(np.swapaxes(turned, -1, -2), parity), function(hidden, parity), atol=1e-14)


def test_an_odd_number_of_signs_is_another_machine() -> None:
    minus = np.diag([1.0, 1.0, -1.0])
    assert aligned_overlap(minus, parity=True) == pytest.approx(1 / 3)
    assert aligned_overlap(np.diag([1.0, -1.0, -1.0]), parity=True) == 1
    assert aligned_overlap(minus) == pytest.approx(1 / 3)
    assert specialisation(minus, parity=True) == 1


@pytest.mark.parametrize("n", [2, 3, 5, 9])
def test_planted(n: int) -> None:
    """A student that is its teacher up to the symmetry, and one whose units are all alike."""
    rng = np.random.default_rng(n)
    teacher = rng.choice([-1, 1], (n, 4001))
    order = rng.permutation(n)
    same = teacher[order] @ teacher.T / 4001
    assert aligned_overlap(same) == 1
    assert specialisation(same) == pytest.approx(1, abs=0.06)
    signs = np.where(np.arange(n) < 2, -1, 1)
    assert aligned_overlap(signs[:, None] * same, parity=True) == 1
    assert aligned_overlap(same[:, ::-1], parity=True) == 1
    np.testing.assert_allclose(aligned_overlap(np.full((n, n), 0.4)), 0.4)
    np.testing.assert_allclose(specialisation(np.full((n, n), 0.4)), 0, atol=1e-15)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_signs_alone(n: int) -> None:
    """Trees: against all signs with product +1; the same as if permutations were allowed, since all else is zero."""
    overlaps = np.random.default_rng(n).integers(-5, 6, size=(6, 50, n)) / 5
    signs = np.array([s for s in product([1, -1], repeat=n) if np.prod(s) == 1])
    expected = (overlaps[..., None, :] * signs).mean(axis=-1).max(axis=-1)
    np.testing.assert_allclose(aligned_signs(overlaps), expected, atol=1e-15)
    diagonal = overlaps[..., None] * np.eye(n)
    np.testing.assert_allclose(aligned_overlap(diagonal, parity=True), expected, atol=1e-15)


@pytest.mark.parametrize("architecture", ["committee", "parity", "tree-parity"])
def test_of_every_sample(architecture: str) -> None:
    data = synthetic(n_samples=20, n_copies=3, architecture=architecture, n_hidden=3, n_weights=303)
    found = aligned_series(data.transpose("teacher_hidden", "hidden", ..., missing_dims="ignore"), tables(architecture))
    assert found.keys() == NAMES if architecture != "tree-parity" else NAMES - {"specialisation"}
    for name, values in found.items():
        source = data["hidden_overlap" if name == "aligned_overlap" else "hidden_teacher_overlap"]
        chain = "pair" if name == "aligned_overlap" else "copy"
        assert set(values.dims) == {"instance", "sample", chain, "rung"}
        one = {"instance": 0, "sample": 110, chain: 2, "rung": 1}
        hidden = source.isel(one).to_numpy()
        if architecture == "tree-parity":
            expected = aligned_signs(hidden)
        elif name == "specialisation":
            expected = specialisation(hidden, architecture == "parity")
        else:
            expected = aligned_overlap(hidden, architecture == "parity")
        assert values.isel(one).item() == pytest.approx(float(expected), abs=1e-15)


NAMES = {"aligned_overlap", "aligned_teacher_overlap", "specialisation"}


def tables(architecture: str) -> dict[str, dict[str, str]]:
    return {"model": {"architecture": architecture}}


@pytest.mark.parametrize("architecture", ["committee", "tree-committee", "parity", "tree-parity"])
def test_number_of_images(architecture: str) -> None:
    """By counting the states of 3 x 3 Ising weights that give the outputs of one whose units differ in more than signs.

    A fully connected parity machine of three units that are e, f, g up to signs: 3! orders and 4 even sign changes.
    """
    tree, parity = architecture.startswith("tree-"), architecture.endswith("parity")
    states = 1.0 - 2.0 * ((np.arange(512)[:, None] >> np.arange(9)) & 1)
    inputs = np.random.default_rng(3).normal(size=(4000, 3, 3) if tree else (4000, 1, 3))
    fields = np.einsum("skn,pkn->spk", states.reshape(512, 3, 3), np.broadcast_to(inputs, (4000, 3, 3)))
    outputs = np.sign(fields).prod(axis=-1) if parity else np.sign(fields).sum(axis=-1)
    reference = int(np.flatnonzero((states == [1, 1, 1, 1, 1, -1, 1, -1, 1]).all(axis=1))[0])
    n_same = (outputs == outputs[reference]).all(axis=1).sum()
    machine = {"architecture": architecture, "n_hidden": 3, "weights": "ising", "activation": "sign"}
    assert log_n_images(machine) == pytest.approx(np.log(n_same))
    assert log_n_images(machine | {"weights": "gaussian"}) is None
    assert log_n_images(machine | {"activation": "linear"}) is None


def test_nothing_where_units_have_an_order() -> None:
    for architecture, n_hidden in (("perceptron", 1), ("tree-committee", 3), ("committee", 1)):
        data = synthetic(n_samples=5, architecture=architecture, n_hidden=n_hidden, n_weights=303)
        assert aligned_series(data, tables(architecture)) == {}
    assert aligned_series(synthetic(n_samples=5), {"model": {}}) == {}


def test_a_teacher_of_other_size_has_no_partners() -> None:
    data = synthetic(n_samples=5, architecture="committee", n_hidden=3, n_weights=303)
    assert aligned_series(data.isel(teacher_hidden=slice(2)), tables("committee")).keys() == {"aligned_overlap"}


def test_more_matrices_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = matrices(3)
    expected = aligned_overlap(hidden)
    monkeypatch.setattr(subject, "CHUNK", 7)
    assert np.array_equal(aligned_overlap(hidden), expected)


def test_wrong_shapes_are_told() -> None:
    with pytest.raises(ValueError, match="expected"):
        aligned_overlap(np.zeros((4, 2, 3)))
    with pytest.raises(ValueError, match="at least 2"):
        specialisation(np.zeros((4, 1, 1)))
