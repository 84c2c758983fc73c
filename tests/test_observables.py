"""Observables of packed rows against the dense formulas of the contract."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mcmc import data, observables
from mcmc.losses import Loss
from mcmc.models import MODELS
from mcmc.observables import Rows
from mcmc.priors import draw_ising, pack, unpack

N_ROWS, N_COPIES, N_RUNGS = 5, 3, 4


class Made:
    """Rows with random weights, and the same as dense arrays (rows, copies, rungs, ...)."""

    def __init__(self, n: int, n_copies: int = N_COPIES, n_rungs: int = N_RUNGS, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, n])
        shape = (N_ROWS, n_copies, n_rungs)
        by_walker = rng.choice(np.array([-1, 1], dtype=np.int8), (N_ROWS, n_copies * n_rungs, n))
        energy = rng.normal(size=by_walker.shape[:2])
        order = rng.permuted(np.tile(np.arange(n_rungs, dtype=np.int32), (*shape[:2], 1)), axis=2)
        self.accepted = rng.integers(0, 10 * n, shape)
        self.rows = Rows.by_rung(energy, pack(by_walker), order, self.accepted, n, 10 * n)
        self.weights = np.empty((*shape, n))
        self.energy = np.empty(shape)
        for row, copy, rung in np.ndindex(shape):
            walker = copy * n_rungs + order[row, copy, rung]
            self.weights[row, copy, rung] = by_walker[row, walker]
            self.energy[row, copy, rung] = energy[row, walker]
        self.order = order


@pytest.fixture(params=[1, 7, 63, 64, 65, 200])
def made(request: pytest.FixtureRequest) -> Made:
    return Made(request.param)


def test_rows_are_in_the_order_of_the_rungs(made: Made) -> None:
    assert np.array_equal(made.rows.energy, made.energy)
    assert np.array_equal(made.rows.walker, made.order)
    assert np.array_equal(unpack(made.rows.weights, made.rows.n_weights), made.weights)
    later = made.rows.since(2)
    assert np.array_equal(later.energy, made.energy[2:])
    assert np.array_equal(unpack(later.weights, later.n_weights), made.weights[2:])


def test_overlap(made: Made) -> None:
    pairs = list(combinations(range(N_COPIES), 2))
    expected = np.stack([(made.weights[:, a] * made.weights[:, b]).mean(-1) for a, b in pairs], axis=1)
    found = observables.overlap(made.rows)
    assert found.shape == (N_ROWS, len(pairs), N_RUNGS)
    assert np.allclose(found, expected, rtol=0, atol=1e-15)


def test_acceptance(made: Made) -> None:
    assert np.array_equal(observables.acceptance(made.rows), made.accepted / (10 * made.rows.n_weights))


def test_weight_sum(made: Made) -> None:
    assert np.array_equal(observables.weight_sum(made.rows), made.weights.sum(axis=0))
    assert not observables.weight_sum(made.rows.since(N_ROWS)).any()


@pytest.mark.parametrize("inputs", ["binary", "gaussian"])
def test_with_a_teacher_and_a_test_set(made: Made, inputs: data.InputLaw) -> None:
    n = made.rows.n_weights
    instance = data.teacher_instance(1, 0, n, 2 * n, inputs=inputs, n_test=40)
    expected = (made.weights * instance.teacher).mean(-1)
    assert np.allclose(observables.teacher_overlap(made.rows, instance.teacher), expected, rtol=0, atol=1e-15)
    test_inputs, test_labels = instance.test
    fields = np.einsum("rctn,pn->rctp", made.weights, test_inputs.dense())
    wrong = np.where(fields >= 0, 1.0, -1.0) != test_labels
    assert np.array_equal(observables.test_error(made.rows, *instance.test), wrong.mean(-1))


def test_ties_of_the_test_set_count_as_plus_one() -> None:
    inputs = data.Inputs.from_dense(np.array([[1, 1], [1, -1]], dtype=np.int8))
    instance = data.Instance(inputs, np.ones(2), None, (inputs, np.array([1.0, -1.0])))
    weights = pack(np.ones((1, 1, 1, 2), dtype=np.int8))  # fields 2 and 0
    rows = Rows(np.zeros((1, 1, 1)), np.zeros((1, 1, 1), np.int32), np.zeros((1, 1, 1), np.int64), weights, 2, 2)
    assert observables.test_error(rows, *instance.test) == 0.5


def test_series_holds_what_there_is() -> None:
    several, single = Made(9).rows, Made(9, n_copies=1, n_rungs=1).rows
    plain = data.random_instance(1, 0, 9, 5)
    taught = data.teacher_instance(1, 0, 9, 5, n_test=3)
    always = {"energy", "walker", "acceptance"}
    assert observables.series(single, plain.teacher, plain.test).keys() == always
    assert observables.series(several, plain.teacher, plain.test).keys() == always | {"overlap"}
    assert observables.series(single, taught.teacher, taught.test).keys() == always | {"teacher_overlap", "test_error"}
    shapes = {name: values.shape for name, values in observables.series(several, taught.teacher, taught.test).items()}
    assert shapes.pop("overlap") == (N_ROWS, 3, N_RUNGS)
    assert set(shapes.values()) == {(N_ROWS, N_COPIES, N_RUNGS)}


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
    together: NDArray[np.int8] = draw_ising(1, 2, range(12), 4, 101)
    assert np.array_equal(together[5:9], draw_ising(1, 2, range(5, 9), 4, 101))
    assert len(np.unique(together, axis=0)) == 12
    assert not np.array_equal(together, draw_ising(1, 3, range(12), 4, 101))
    assert abs(together.mean()) < 5 / np.sqrt(together.size)


@pytest.mark.parametrize("loss", ["error-count", "square", "hinge"])
def test_energies_of_rows_are_those_of_their_weights(loss: str) -> None:
    """The energy that a chain records belongs to the weights that it records."""
    from mcmc.samplers import SAMPLERS

    n, beta = 33, [0.5, 1.0, 1.5]
    instance = data.teacher_instance(4, 0, n, 40, label_noise=0.2)
    block = MODELS["perceptron"](n, Loss(loss)).block(instance, draw_ising(4, 0, range(6), 3, n))
    chain = SAMPLERS["metropolis"]().chain(block, seed=4, beta=beta, n_copies=2, measure_every=7)
    chain.advance(1, 70)
    energy, bits, walker_at, accepted = chain.take()
    rows = Rows.by_rung(energy, bits, walker_at, accepted, n, 7 * n)
    fields = unpack(rows.weights, n) @ instance.inputs.dense().T.astype(float) / np.sqrt(n)
    expected = Loss(loss).values(fields, instance.labels).sum(-1)
    assert np.allclose(rows.energy, expected, rtol=1e-12, atol=1e-9)
    assert (observables.acceptance(rows) <= 1).all()
