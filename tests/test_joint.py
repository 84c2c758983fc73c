"""Geweke's joint test (J. Amer. Statist. Assoc. 99 (2004) 799) of the exact samplers of continuous weights.

Weights from the prior, labels from the model, then some updates under the posterior of these labels: weights and
labels keep their joint law. So no function of the two may change in the mean. Replicates are independent; a change is
wrong beyond the normal quantile of FAMILY_ERROR over all functions and cases of this file. Data, model, gradient,
temperature, prior and sampler must agree for that, and nothing needs to be known about the posterior.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

import plain_moves
from mcmc import data
from mcmc.architectures import Architecture
from mcmc.losses import Loss
from mcmc.models import MODELS
from mcmc.reference import losses
from mcmc.samplers import CONTINUOUS
from moving import deviations, prior
from problems import PERCEPTRON, Machine

FAMILY_ERROR = 1e-3
N_CHANGES = 720
"""At least the number of functions in all cases of this file."""
THRESHOLD = float(stats.norm.isf(FAMILY_ERROR / N_CHANGES / 2))
SEED = 20240611

N_REPLICATES = 1200
N_COPIES = 8
"""Walkers of a replicate: all start at its weights."""

Floats = NDArray[np.float64]


class Case(NamedTuple):
    """A process that makes labels, and the loss whose posterior at beta inverts it.

    precision: of the Gaussian prior; None: spherical weights
    """

    machine: Machine
    loss: Loss
    beta: float
    precision: float | None
    inputs: data.InputLaw = "gaussian"

    @property
    def architecture(self) -> Architecture:
        return self.machine.of(6)

    def weights(self, n: int, rng: np.random.Generator) -> Floats:
        """From the prior, (n, n_weights)."""
        if self.precision is not None:
            return rng.normal(size=(n, self.architecture.n_weights)) / math.sqrt(self.precision)
        units = rng.normal(size=(n, self.machine.n_hidden, self.architecture.fan_in))
        units *= np.sqrt(units.shape[2] / (units**2).sum(2))[..., None]
        return units.reshape(n, -1)

    def labels(self, output: Floats, rng: np.random.Generator) -> Floats:
        """Labels of outputs."""
        if self.loss.name == "square":
            return output + rng.normal(size=output.shape) / math.sqrt(self.beta)
        signs = np.where(output >= 0, 1.0, -1.0)
        if self.loss.name == "logistic":
            right = special.expit(self.beta * np.abs(output))
        else:
            right = special.expit(self.beta)  # flipped with probability 1 / (1 + exp beta)
        return np.where(rng.random(output.shape) < right, signs, -signs)


def logistic(machine: Machine, gamma: float, precision: float | None, **other: str) -> Case:
    return Case(machine, Loss("logistic", sharpness=gamma), gamma, precision, **other)


def committee(activation: str = "sign", n_hidden: int = 3, name: str = "committee", sampled: bool = False) -> Machine:
    return Machine(name, n_hidden, activation, sampled)


SMOOTH = {
    "perceptron-logistic": logistic(PERCEPTRON, 2.0, 0.7),
    "perceptron-logistic-sphere": logistic(PERCEPTRON, 3.0, None, inputs="binary"),
    "committee-tanh-logistic": logistic(committee("tanh"), 4.0, 1.5, inputs="binary"),
    "tree-erf-logistic-sphere": logistic(committee("erf", name="tree-committee"), 5.0, None),
    "perceptron-square": Case(PERCEPTRON, Loss("square"), 1.4, 0.7),
    "committee-relu-square": Case(committee("relu", 2), Loss("square"), 2.0, 1.0),
    "committee-linear-square-sphere": Case(committee("linear", 2), Loss("square"), 2.0, None, "binary"),
    "tree-tanh-square": Case(committee("tanh", name="tree-committee"), Loss("square"), 4.0, 0.5),
    "two-layers-linear-square": Case(committee("linear", 2, sampled=True), Loss("square"), 2.0, 0.8),
    "two-layers-erf-logistic": logistic(committee("erf", name="tree-committee", sampled=True), 4.0, 0.7),
}
JUMPS = {
    "perceptron-flips": Case(PERCEPTRON, Loss("error-count"), 1.5, 0.7),
    "perceptron-flips-sphere": Case(PERCEPTRON, Loss("error-count"), 1.5, None),
    "committee-flips": Case(committee(), Loss("error-count"), 1.5, 1.0),
    "two-layers-flips": Case(committee(n_hidden=2, sampled=True), Loss("error-count"), 1.5, 1.0, "binary"),
    "tree-flips-sphere": Case(committee(name="tree-committee"), Loss("error-count"), 1.5, None),
    "parity-flips": Case(Machine("parity", 2), Loss("error-count"), 1.5, 1.0),
}
CASES = SMOOTH | JUMPS
N_PATTERNS = 10

UPDATES = {
    "mala": ({"step_size": 0.2}, 5),
    "hmc": ({"step_size": 0.5, "n_steps": 3}, 2),
    "pcn": ({"step_size": 0.5}, 5),
    "elliptical-slice": ({}, 2),
    "random-walk": ({"step_size": 0.5}, 8),
    "metropolis": ({"step_size": 0.8}, 2),
}
"""Exact samplers: parameters, and the number of updates."""


def is_possible(method: str, case: Case) -> bool:
    sampler = CONTINUOUS[method]
    law = "spherical" if case.precision is None else "gaussian"
    return (
        law in sampler.laws
        and not (sampler.needs_gradient and case.loss.name == "error-count")
        and not (sampler.by_coordinate and case.machine.second_layer)
    )


WITHOUT_GRADIENT = ("elliptical-slice", "random-walk", "metropolis")
RUNS = [(method, name) for name, case in CASES.items() for method in UPDATES if is_possible(method, case)]


class Joint(NamedTuple):
    """Replicates: inputs, and weights (n, n_weights) with their labels (n, n_patterns)."""

    inputs: data.Inputs
    weights: Floats
    labels: Floats
    typical_energy: float  # median in other replicates


def draw(case: Case, n: int) -> Joint:
    rng = np.random.default_rng(SEED)
    architecture = case.architecture
    inputs = data.random_instance(SEED, 0, architecture.n_inputs, N_PATTERNS, case.inputs).inputs
    weights = case.weights(2 * n, rng)
    output = architecture.output(inputs, weights)
    labels = case.labels(output, rng)
    typical = float(np.median(energies(case, output[n:], labels[n:])))
    return Joint(inputs, weights[:n], labels[:n], typical)


def energies(case: Case, output: Floats, labels: Floats) -> Floats:
    """E of outputs and labels (..., n_patterns)."""
    return losses.LOSSES[case.loss.name](output, labels, 0.0, case.loss.sharpness).sum(-1)


def updated(case: Case, joint: Joint, method: str, parameters: dict, sweeps: int, factor: float = 1.0) -> Floats:
    """Weights (n, N_COPIES, n_weights) after so many sweeps, at `factor` times the right beta."""
    architecture = case.architecture
    model, sampler = MODELS[architecture.name](architecture, case.loss), CONTINUOUS[method](**parameters)
    after = np.empty((len(joint.weights), N_COPIES, architecture.n_weights))
    for number, (weights, labels) in enumerate(zip(joint.weights, joint.labels, strict=True)):
        make = model.coordinate_block if sampler.by_coordinate else model.gradient_block
        block = make(data.Instance(joint.inputs, labels), np.tile(weights, (N_COPIES, 1)))
        chain = sampler.chain(
            block,
            prior=prior(case.precision),
            seed=SEED,
            beta=[factor * case.beta],
            instance=number,
            n_copies=N_COPIES,
            exchange_every=0,
            measure_every=0,
        )
        chain.advance(1, sweeps)
        after[number] = block.weights
    return after


def functions(case: Case, joint: Joint, weights: Floats) -> Floats:
    """Functions (..., n, n_functions) of weights (..., n, n_weights) and labels."""
    architecture, y = case.architecture, joint.labels
    energy = energies(case, architecture.output(joint.inputs, weights), y)
    fields = architecture.hidden_fields(joint.inputs, weights)[..., 0, :] / math.sqrt(architecture.fan_in)
    along = (y * fields).sum(-1)  # of the first unit with what labels and inputs alone say
    return np.stack(
        [
            energy,
            energy**2,
            np.where(energy < joint.typical_energy, 1.0, 0.0),
            along,
            along**2,
            fields[..., 0] ** 2,
            weights[..., 0] ** 2,
            weights[..., 0] * weights[..., 1],
            (weights**2).sum(-1) if case.precision else weights[..., -1] ** 4,
            np.where(np.abs(weights[..., -1]) < 0.5, 1.0, 0.0),
        ],
        axis=-1,
    )


def changes(case: Case, joint: Joint, after: Floats) -> Floats:
    """Standard errors by which each function changed in the mean; after: (n, copies, n_weights)."""
    new = np.stack([functions(case, joint, after[:, copy]) for copy in range(after.shape[1])]).mean(0)
    return deviations((new - functions(case, joint, joint.weights))[None], 0.0)


@pytest.mark.parametrize(("method", "name"), RUNS)
def test_updates_keep_the_joint_law(method, name):
    case = CASES[name]
    joint = draw(case, N_REPLICATES)
    assert np.abs(changes(case, joint, updated(case, joint, method, *UPDATES[method]))).max() < THRESHOLD


# What must be found


@pytest.mark.parametrize("name", SMOOTH)
def test_a_missing_decision_is_found(name):
    """Langevin dynamics is MALA without it."""
    case = SMOOTH[name]
    joint = draw(case, N_REPLICATES)
    step_size = 0.05 if case.machine.second_layer else 0.6  # E grows like w^4 there: long steps leave the numbers
    after = updated(case, joint, "langevin", {"step_size": step_size}, 5)
    assert np.abs(changes(case, joint, after)).max() > THRESHOLD


@pytest.mark.parametrize(("method", "name"), [run for run in RUNS if run[0] in WITHOUT_GRADIENT])
def test_a_wrong_beta_is_found(method, name):
    case = CASES[name]
    joint = draw(case, N_REPLICATES)
    after = updated(case, joint, method, *UPDATES[method], factor=1.5)
    assert np.abs(changes(case, joint, after)).max() > THRESHOLD


def faulty_mala(case: Case, joint: Joint, n_copies: int, step_size: float, **fault: float) -> Floats:
    """Ten updates in plain numpy of a perceptron under the logistic loss: (n, n_copies, n_weights)."""
    g, labels = joint.inputs.dense() / math.sqrt(joint.inputs.n_inputs), np.repeat(joint.labels, n_copies, axis=0)

    def evaluate(weights: Floats) -> tuple[Floats, Floats]:
        output = weights @ g.T
        return energies(case, output, labels), -(labels * special.expit(-case.beta * labels * output)) @ g

    target, rng = plain_moves.Target(evaluate, case.beta, case.precision), np.random.default_rng([SEED, 1])
    start, eps = np.repeat(joint.weights, n_copies, axis=0), math.sqrt(2 * step_size)
    after = plain_moves.hmc(target, start, eps, 1, 10, rng, plain_moves.Fault(**fault))[-1]
    return after.reshape(-1, n_copies, start.shape[1])


@pytest.mark.parametrize("precision", [0.7, None])
def test_faults_of_mala_are_found(precision):
    """Noise wrong by 10 % at the size of the tests above, by 3 % at a larger one; a missing decision; none if none."""
    case = logistic(PERCEPTRON, 2.0, precision)
    small, large = draw(case, N_REPLICATES), draw(case, 40000)

    def at_size(h: float, **fault: float) -> float:
        return np.abs(changes(case, small, faulty_mala(case, small, N_COPIES, h, **fault))).max()

    def at_large_size(h: float, **fault: float) -> float:
        return np.abs(changes(case, large, faulty_mala(case, large, 1, h, **fault))).max()

    for right in (at_size(0.2), at_size(0.6), at_large_size(0.2)):
        assert right < THRESHOLD
    for wrong in (
        at_size(0.6, accepts=False),
        at_size(0.2, noise=0.9),
        at_size(0.2, noise=1.1),
        at_large_size(0.2, noise=0.97),
        at_large_size(0.2, noise=1.03),
    ):
        assert wrong > THRESHOLD
