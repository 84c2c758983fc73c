"""A sampled second layer: exact laws of the two-layer linear network, the balance of its layers, and what runs hold.

An average is wrong beyond the normal quantile of FAMILY_ERROR over all averages of this file.
"""

from __future__ import annotations

import copy
import math
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import mcmc
from mcmc import config
from mcmc.analysis.permutations import aligned_layers, aligned_series
from mcmc.data import Inputs
from mcmc.errors import ConfigError
from mcmc.losses import Loss
from mcmc.models import Committee
from mcmc.problem import Problem as RunProblem
from mcmc.reference import gradients as reference
from moving import Floats, Rows, deviations, run
from problems import Machine, Problem, problem
from running import tables
from two_layers import TwoLayers

FAMILY_ERROR = 1e-3
N_AVERAGES = 400
"""At least the number of averages in this file."""
THRESHOLD = float(stats.norm.isf(FAMILY_ERROR / N_AVERAGES / 2))
RNG_SEED = 20240619

BETA, PRECISION = 1.3, 0.8


def linear(n_hidden: int) -> Machine:
    return Machine("committee", n_hidden, "linear", second_layer=True)


# The integral itself


def test_the_integral_is_that_over_the_weights():
    """One input, one unit: a grid of both weights."""
    x, y = np.array([[0.7], [-1.2]]), np.array([0.4, 1.5])
    law = TwoLayers(x, y, 1, BETA, PRECISION)
    axis = np.linspace(-11, 11, 2001)
    w, v = np.meshgrid(axis, axis)
    energy = sum((label - v * w * value[0]) ** 2 for value, label in zip(x, y, strict=True)) / 2
    weight = np.exp(-PRECISION * (w**2 + v**2) / 2)
    log_z = np.log((weight * np.exp(-BETA * energy)).sum() / weight.sum())
    weight *= np.exp(-BETA * energy)
    weight /= weight.sum()
    mean = (weight * energy).sum()
    assert law.log_z == pytest.approx(log_z, rel=1e-9)
    assert law.mean_energy == pytest.approx(mean, rel=1e-9)
    assert law.variance_of_energy == pytest.approx((weight * (energy - mean) ** 2).sum(), rel=1e-9)
    assert law.second_square == pytest.approx((weight * v**2).sum(), rel=1e-9)
    assert law.second_fourth == pytest.approx((weight * v**4).sum(), rel=1e-9)
    assert law.first_square == pytest.approx((weight * w**2).sum(), rel=1e-9)


@pytest.mark.parametrize("n_hidden", [1, 2, 5])
def test_the_integral_is_consistent(n_hidden):
    """Derivatives of log Z by beta; the prior at beta = 0."""
    rng = np.random.default_rng(RNG_SEED)
    x, y = rng.normal(size=(9, 6)), rng.normal(size=9)
    low, middle, high = (TwoLayers(x, y, n_hidden, BETA + change, PRECISION) for change in (-1e-4, 0, 1e-4))
    assert (low.log_z - high.log_z) / 2e-4 == pytest.approx(middle.mean_energy, rel=1e-7)
    assert (low.mean_energy - high.mean_energy) / 2e-4 == pytest.approx(middle.variance_of_energy, rel=1e-6)
    prior = TwoLayers(x, y, n_hidden, 0.0, PRECISION)
    assert prior.log_z == pytest.approx(0.0, abs=1e-10)
    assert prior.second_square == pytest.approx(n_hidden / PRECISION, rel=1e-10)
    assert prior.second_fourth == pytest.approx(n_hidden * (n_hidden + 2) / PRECISION**2, rel=1e-10)


# Samplers

SAMPLERS = {
    "mala": ({"step_size": 0.02}, 4000),
    "hmc": ({"step_size": 0.15, "n_steps": 6}, 1000),
    "elliptical-slice": ({}, 1500),
    "pcn": ({"step_size": 0.3}, 3000),
    "random-walk": ({"step_size": 0.2}, 4000),
}
"""What exact samplers are given, and sweeps that 1000 walkers need to tell a beta that is off by 5 %."""


def layer_deviations(law: TwoLayers, weights: Floats, energy: Floats) -> Floats:
    """Of energy and its square, and of moments of both layers; weights (rows, walkers, n_weights)."""
    first, second = np.split(weights, [law.n_inputs * law.n_hidden], axis=-1)
    squares = (second**2).sum(-1)
    return np.array(
        [
            deviations(energy, law.mean_energy),
            deviations((energy - law.mean_energy) ** 2, law.variance_of_energy),
            deviations(squares, law.second_square),
            deviations(squares**2, law.second_fourth),
            deviations((first**2).sum(-1), law.first_square),
            *deviations(second, 0.0),
            *deviations(second**2, law.second_square / law.n_hidden),
        ]
    )


def task_of(machine: Machine, n: int = 5, p: int = 10) -> Problem:
    """Noisy outputs of a teacher without a second layer."""
    architecture, loss = machine.of(n), Loss("square")
    instance = problem(loss, "gaussian", n, p, Machine("committee", 2, "linear"), label_noise=0.5).instance
    energy = reference.evaluate(
        instance.inputs.dense(),
        instance.labels,
        loss.name,
        architecture=machine.name,
        n_hidden=machine.n_hidden,
        activation=machine.activation,
        second_layer=True,
    )
    return Problem(instance, Committee(architecture, loss), lambda weights: energy(weights)[0])


def sampled(task: Problem, method: str, parameters: dict[str, Any], **other: int) -> Rows:
    """A thousand walkers. They start near 0: U grows like w^4, and far out the steps below are too long to be taken."""
    start = 0.5 * np.random.default_rng(RNG_SEED).normal(size=(1000, task.n_weights))
    return run(task, method, parameters, start, beta=BETA, precision=PRECISION, burn_in=500, **other)


@pytest.mark.parametrize("n_hidden", [1, 3])
@pytest.mark.parametrize("method", SAMPLERS)
def test_exact_samplers_have_the_law_of_two_layers(method, n_hidden):
    task = task_of(linear(n_hidden))
    parameters, sweeps = SAMPLERS[method]
    rows = sampled(task, method, parameters, sweeps=sweeps, every=10)
    data = task.instance.inputs.dense(), task.instance.labels
    right, wrong = (TwoLayers(*data, n_hidden, beta, PRECISION) for beta in (BETA, 0.95 * BETA))
    assert np.abs(layer_deviations(right, rows.weights, rows.energy)).max() < THRESHOLD
    assert np.abs(layer_deviations(wrong, rows.weights, rows.energy)).max() > THRESHOLD


def balance(task: Problem, rows: Rows) -> Floats:
    """Deviations of lambda (|w_k|^2 - v_k^2) from fan-in - 1, of every unit."""
    machine = task.model.architecture
    units, second = machine.units(rows.weights), rows.weights[..., machine.n_first :]
    return deviations(PRECISION * ((units**2).sum(-1) - second**2), machine.fan_in - 1)


@pytest.mark.parametrize("machine", ["committee", "tree-committee"])
@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_the_layers_are_balanced(activation, machine):
    """E is the same for (c w_k, v_k / c), so <w_k dU/dw_k> = fan-in and <v_k dU/dv_k> = 1 leave the priors alone.

    The conservation law of gradient flow, as it stands in equilibrium: exact for every instance, at every beta. The
    control is an activation that is not homogeneous.
    """
    hmc = "hmc", {"step_size": 0.2, "n_steps": 4}
    homogeneous, other = (task_of(Machine(machine, 2, g, True), 4) for g in (activation, "erf"))
    assert np.abs(balance(homogeneous, sampled(homogeneous, *hmc, sweeps=600, every=5))).max() < THRESHOLD
    assert np.abs(balance(other, sampled(other, *hmc, sweeps=600, every=5))).max() > THRESHOLD


# Runs

RUN = {
    "model": {"architecture": "committee", "n_inputs": 8, "n_hidden": 2, "activation": "linear"}
    | {"weights": "gaussian", "second_layer": "sampled", "loss": {"name": "square"}},
    "data": {"source": "teacher", "labels": "real", "inputs": "gaussian", "alpha": 0.75, "n_test": 15},
    "ladder": {"beta": [0.0, 0.5, 2.0], "n_copies": 3},
    "schedule": {"sweeps": 60, "burn_in": 50, "measure_every": 10},
    "sampler": {"method": "hmc", "n_steps": 3},
}
MACHINES = [("committee", g) for g in ("linear", "erf", "relu", "sign")] + [("tree-committee", "linear")]


def asked(changes: dict[str, Any]) -> dict[str, Any]:
    """RUN with changes, as `running.tables`."""
    return tables(copy.deepcopy(RUN) | {"seed": 5} | changes)


def pairs_of(values: Floats) -> Floats:
    """Products of values (instance, copy, ...) of two copies: (instance, pair, ...)."""
    return np.stack([values[:, a] * values[:, b] for a, b in combinations(range(values.shape[1]), 2)], axis=1)


@pytest.mark.parametrize(("name", "activation"), MACHINES)
def test_results_are_those_of_the_weights(name: str, activation: str, tmp_path: Path) -> None:
    """The last row against the formulas, from the weights: the mean over the only row after the burn-in."""
    changes = {"model.architecture": name, "model.activation": activation, "data.n_instances": 2}
    if activation == "sign":
        changes["sampler"] = {"method": "pcn"}
    found = mcmc.run(asked(changes), tmp_path, quiet=True).dataset.isel(sample=-1)
    made = RunProblem(config.load(asked(changes)))
    machine, weights = made.architecture, found["magnetisation"].to_numpy()
    assert weights.shape == (2, 3, 3, machine.n_first + 2)
    assert made.n_patterns == math.floor(0.75 * made.n_weights + 0.5)
    np.testing.assert_array_equal(found["second_layer"], weights[..., -2:])
    np.testing.assert_allclose(found["norm"], (weights**2).mean(-1), rtol=1e-13)
    np.testing.assert_allclose(found["overlap"], pairs_of(weights).mean(-1), atol=1e-13)
    own = np.einsum("...ki,...li->...kl", *[machine.units(weights)] * 2) / machine.fan_in
    own = np.einsum("...kk->...k", own) if machine.is_tree else own
    np.testing.assert_allclose(found["hidden_self_overlap"], own, atol=1e-13)
    for number in range(2):
        instance, flat = made.instance(number), weights[number].reshape(9, -1)
        np.testing.assert_array_equal(found["teacher_second_layer"][number], instance.teacher[-2:])
        overlap = weights[number] @ instance.teacher / made.n_weights
        np.testing.assert_allclose(found["teacher_overlap"][number], overlap, atol=1e-13)
        for variable, (inputs, labels), n in (
            ("energy", (instance.inputs, instance.labels), 1),
            ("test_error", instance.test, 15),
        ):
            evaluate = reference.evaluate(
                inputs.dense(), labels, "square", 0.0, 1.0, name, 2, activation, second_layer=True
            )
            np.testing.assert_allclose(found[variable][number], evaluate(flat)[0].reshape(3, 3) / n, rtol=1e-10)


def test_a_teacher_without_a_second_layer(tmp_path: Path) -> None:
    """Its units can be compared, the machines as a whole cannot."""
    found = mcmc.run(asked({"data.teacher.second_layer": "fixed", "schedule.sweeps": 100}), tmp_path, quiet=True)
    assert "teacher_overlap" not in found.dataset
    assert "teacher_second_layer" not in found.dataset
    assert found.dataset["hidden_teacher_overlap"].shape[-2:] == (2, 2)
    estimates = found.summary().rungs[0].estimates
    assert "aligned_overlap" in estimates
    assert "aligned_teacher_overlap" not in estimates


def test_machines_of_one_unit_are_alike(tmp_path: Path) -> None:
    """Tree or not: the overlaps with the teacher are a matrix of one entry, those of the trees a diagonal."""
    changes = {"model.architecture": "tree-committee", "model.n_hidden": 1, "schedule.sweeps": 100}
    run_file = asked(changes | {"data.teacher.architecture": "committee"})
    results = mcmc.run(run_file, tmp_path, quiet=True)
    data = results.dataset
    aligned = aligned_series(data, results.config)
    for name in ("teacher_overlap", "overlap"):
        np.testing.assert_allclose(aligned[f"aligned_{name}"], np.abs(data[name]), rtol=1e-12)


@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_nishimori(noise: float, tmp_path: Path) -> None:
    """Labels of the law that the student assumes: <E>/P is noise / 2 at beta = 1 / noise, from random starts."""
    changes = {
        "data.output_noise": noise,
        "data.n_test": 0,
        "data.n_instances": 400,
        "ladder": {"beta": [0.5 / noise, 1 / noise], "n_copies": 1},
        "schedule": {"sweeps": 400, "burn_in": 100, "measure_every": 2},
        "output.store_data": False,
        "checkpoint.every": 60,
    }
    found = mcmc.run(asked(changes), tmp_path, quiet=True).dataset
    energy = found["energy"].isel(sample=found["sweep"] > 100).mean(["sample", "copy"]).to_numpy()
    z = deviations((energy / found.attrs["n_patterns"])[None], noise / 2)
    assert np.abs(z[1]) < THRESHOLD
    assert z[0] > THRESHOLD


def test_teacher_files(tmp_path: Path) -> None:
    """v stands last; a teacher without it is refused."""
    rng = np.random.default_rng(1)
    inputs, teacher = rng.normal(size=(20, 8)), rng.normal(size=18)
    output = RunProblem(config.load(asked({}))).architecture.output(Inputs.from_dense(inputs), teacher)
    text = asked({"data": {"source": "file", "path": str(tmp_path / "task.npz")}, "schedule.start": "teacher"})
    np.savez(tmp_path / "task.npz", inputs=inputs, labels=output, teacher=teacher)
    made = RunProblem(config.load(text))
    start = made.initial_weights(0, made.instance(0), range(4))
    np.testing.assert_array_equal(start, [teacher] * 4)
    np.testing.assert_allclose(made.block(made.instance(0), start).energy, 0, atol=1e-20)
    np.savez(tmp_path / "task.npz", inputs=inputs, labels=output, teacher=teacher[:16])
    with pytest.raises(ConfigError, match=r"got shape \(16,\), expected \(18,\), .* a committee, second layer last$"):
        RunProblem(config.load(text))


def test_what_moves_one_weight_at_a_time_is_refused() -> None:
    task = task_of(linear(2))
    for block in (task.model.block, task.model.coordinate_block):
        with pytest.raises(ValueError, match="second_layer: got True, expected False"):
            block(task.instance, np.ones((1, task.n_weights)))


# The best overlap over the symmetries


def symmetric_partners(activation: str, tree: bool, n: int, rng: np.random.Generator) -> list[Floats]:
    """Matrices S, such that a machine of units (w_k, v_k) is the same with units S (w_k, v_k)."""
    orders = [range(n)] if tree else permutations(range(n))
    signs = [(1,) * n] if activation == "relu" else list(product([1, -1], repeat=n))
    found = [np.diag(sign)[list(order)] for order in orders for sign in signs]
    if activation == "linear" and not tree:
        found += [np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in range(200)]
    return found


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize(("tree", "activation"), [(False, g) for g in ("relu", "erf", "linear")] + [(True, "tanh")])
def test_aligned_layers(activation: str, tree: bool, n: int) -> None:
    """The machine does not change under the symmetry; the best overlap is that of the best partner."""
    rng = np.random.default_rng([RNG_SEED, n])
    machine = Machine("tree-committee" if tree else "committee", n, activation, True).of(6)
    fan_in = machine.fan_in
    inputs = Inputs.from_dense(rng.normal(size=(30, 6)))
    one, other = (rng.normal(size=(n, fan_in + 1)) for _ in range(2))

    def output(units: Floats) -> Floats:
        return machine.output(inputs, np.concatenate([units[:, :-1].ravel(), units[:, -1]]))

    partners = symmetric_partners(activation, tree, n, rng)
    if activation == "linear":  # the best rotation, by singular values
        left, _, right = np.linalg.svd(one @ other.T)
        partners.append(left @ right)
    for partner in partners[:60] + partners[-5:]:
        np.testing.assert_allclose(output(partner @ other), output(other), atol=1e-12)
    overlaps = [(one * (partner @ other)).mean() for partner in partners]
    hidden = one @ other.T / (fan_in + 1)
    best = aligned_layers(np.diag(hidden) if tree else hidden, activation, tree)
    assert best == pytest.approx(max(overlaps), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "activation"), [("committee", "erf"), ("committee", "linear"), ("tree-committee", "erf")]
)
def test_aligned_overlaps_of_a_run(name: str, activation: str, tmp_path: Path) -> None:
    """Of every sample and pair, from the recorded variables; a copy of itself has its norm."""
    changes = {"model.architecture": name, "model.activation": activation}
    results = mcmc.run(asked(changes), tmp_path, quiet=True)
    found, tree = results.dataset, name == "tree-committee"
    teacher = RunProblem(config.load(asked(changes))).instance(0).teacher
    weights = found["magnetisation"].to_numpy()[0]
    machine = RunProblem(config.load(asked(changes))).architecture

    def whole(weights: Floats) -> Floats:
        return np.concatenate([machine.units(weights), weights[..., machine.n_first :, None]], axis=-1)

    def best(a: Floats, b: Floats) -> float:
        hidden = np.einsum("...ki,...li->...kl", a, b) / (machine.fan_in + 1)
        return aligned_layers(np.einsum("...kk->...k", hidden) if tree else hidden, activation, tree)

    aligned = aligned_series(results.equilibrium(), results.config)
    pairs = [best(whole(weights[a]), whole(weights[b])) for a, b in combinations(range(3), 2)]
    np.testing.assert_allclose(aligned["aligned_overlap"].to_numpy()[0, -1], pairs, atol=1e-12)
    np.testing.assert_allclose(
        aligned["aligned_teacher_overlap"].to_numpy()[0, -1], best(whole(weights), whole(teacher)), atol=1e-12
    )
    assert aligned.keys() == {"aligned_overlap", "aligned_teacher_overlap"}
