"""The teacher is one more equilibrium copy when the data come from the law that the student assumes (Nishimori).

Exact at every N, for every architecture, kernel and sampler: a chain that starts at the teacher is stationary from its
first sweep, and no function of the weights tells the teacher from an equilibrium copy. Instances are independent, so
every statistic is a mean over instances; it counts as wrong beyond the normal quantile of FAMILY_ERROR over all tests
of this file.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from mcmc import data
from mcmc.losses import Loss
from mcmc.models import MODELS
from mcmc.priors import Ising, unpack
from mcmc.samplers import SAMPLERS
from problems import PERCEPTRON, Machine

FAMILY_ERROR = 1e-3
N_STATISTICS = 360
"""At least the number of statistics in this file."""
THRESHOLD = float(stats.norm.isf(FAMILY_ERROR / N_STATISTICS / 2))


class Case(NamedTuple):
    """A process that makes data, and the student whose posterior at `beta` inverts it."""

    loss: Loss
    beta: float
    labels: data.LabelLaw = "sign"
    inputs: data.InputLaw = "binary"
    label_noise: float = 0.0
    output_noise: float = 0.0
    machine: Machine = PERCEPTRON


def flipped(beta: float, **other: object) -> Case:
    """Labels flipped with the probability that error-count at `beta` inverts."""
    return Case(Loss("error-count"), beta, label_noise=1 / (1 + math.exp(beta)), **other)


COMMITTEE, TREE, PARITY = Machine("committee", 3), Machine("tree-committee", 3), Machine("parity", 3)
CASES = {  # each drives another kernel, or another machine in it
    "error-count": flipped(1.0),
    "error-count-real": flipped(1.0, inputs="gaussian"),
    "logistic": Case(Loss("logistic", sharpness=2.0), 2.0, "logistic"),
    "logistic-real": Case(Loss("logistic", sharpness=1.5), 1.5, "logistic", "gaussian"),
    "square": Case(Loss("square"), 0.8, "real", output_noise=1 / 0.8),
    "square-real": Case(Loss("square"), 1.25, "real", "gaussian", output_noise=0.8),
    "committee": flipped(1.0, machine=COMMITTEE),
    "tree-committee": flipped(1.0, machine=TREE),
    "parity": flipped(1.0, machine=PARITY),
    "committee-votes": Case(Loss("logistic", sharpness=2.0), 2.0, "logistic", machine=COMMITTEE),
    "tree-committee-real": flipped(1.0, inputs="gaussian", machine=TREE),
    "committee-erf": Case(Loss("square"), 5.0, "real", output_noise=0.2, machine=Machine("committee", 3, "erf")),
}
SAMPLED = {
    method: (method, sampler.orders[number % len(sampler.orders)])
    for number, (method, sampler) in enumerate(SAMPLERS.items())
}


class Rows(NamedTuple):
    energy: NDArray[np.float64]  # (n_instances, n_rows, 2) of the copies
    teacher_energy: NDArray[np.float64]  # (n_instances,)
    overlap: NDArray[np.float64]  # (n_instances, n_rows) between the copies
    teacher_overlap: NDArray[np.float64]  # (n_instances, n_rows, 2)


def sample(
    case: Case,
    n_weights: int,
    n_instances: int,
    sweeps: list[int],
    *,
    planted: tuple[bool, bool],
    alpha: float = 1.0,
    factor: float = 1.0,
    sampler: tuple[str, str] = ("metropolis", "random"),
) -> Rows:
    """Rows at the given sweeps of two copies, planted at the teacher or random, at `factor` times the right beta.

    n_weights: divisible by the number of units
    """
    n = n_weights if case.machine.of(3).is_tree else n_weights // case.machine.n_hidden
    architecture = case.machine.of(n)
    model = MODELS[architecture.name](architecture, case.loss)
    found = []
    for number in range(n_instances):
        instance = data.teacher_instance(
            3,
            number,
            n,
            math.floor(alpha * n_weights + 0.5),
            inputs=case.inputs,
            labels=case.labels,
            label_noise=case.label_noise,
            output_noise=case.output_noise,
            sharpness=case.loss.sharpness,
            teacher=architecture,
        )
        weights = Ising().walkers(3, number, range(2), 1, 1, n_weights)
        weights[list(planted)] = instance.teacher
        method, order = sampler
        chain = SAMPLERS[method](order=order).chain(
            model.block(instance, weights), seed=3, beta=[factor * case.beta], instance=number, n_copies=2, burn_in=2
        )
        chain.advance(1, sweeps[-1])
        energy, _, _, bits = chain.take().values()
        rows = np.array(sweeps) - 1
        copies = unpack(bits[rows], architecture.fan_in).astype(np.int64).reshape(len(rows), 2, n_weights)
        overlap, teacher_overlap = (copies[:, 0] * copies[:, 1]).mean(-1), (copies @ instance.teacher) / n_weights
        reference = model.block(instance, instance.teacher[None]).energy[0]
        found.append((energy[rows], reference, overlap, teacher_overlap))
    return Rows(*(np.array(column) for column in zip(*found, strict=True)))


def z(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over the first axis, which are 0 by theory, in units of their standard errors."""
    return differences.mean(axis=0) / (differences.std(axis=0, ddof=1) / math.sqrt(len(differences)))


@pytest.mark.parametrize("sampler", SAMPLED)
@pytest.mark.parametrize("name", CASES)
def test_planted_chains_are_stationary(name: str, sampler: str) -> None:
    """The law of the energy is that of the teacher's at every sweep; with a wrong beta it drifts away."""
    case, how = CASES[name], {"planted": (True, True), "sampler": SAMPLED[sampler]}
    n_weights = 51 if sampler == "waiting-time" else 99  # a sweep of many flips costs it n_weights^2 P
    rows = sample(case, n_weights, 200, [1, 10, 40], **how)
    drift = rows.energy.mean(axis=2) - rows.teacher_energy[:, None]
    spread = (rows.energy**2).mean(axis=2) - rows.teacher_energy[:, None] ** 2
    assert np.abs([z(drift), z(spread)]).max() < THRESHOLD
    wrong = sample(case, n_weights, 120, [1, 10, 40], factor=1.4, **how)
    assert z(wrong.energy.mean(axis=2) - wrong.teacher_energy[:, None])[-1] < -THRESHOLD


@pytest.mark.parametrize("name", ["error-count", "committee", "tree-committee", "parity"])
def test_planted_at_a_thousand_weights(name: str) -> None:
    """Without burn-in, copy 0 random and copy 1 at the teacher: a draw from the posterior, like the teacher.

    So copy 1 has e = 1/(1 + e^beta) at every sweep, and copy 0, wherever it is on its way, cannot tell the two apart.
    (Copies that both start at the teacher are no independent draws: they overlap less than each with the teacher.)
    """
    case = CASES[name]
    rows = sample(case, 999, 120, [1, 10, 30, 100], planted=(False, True))
    assert np.abs(z(rows.energy[:, :, 1] / 999 - case.label_noise)).max() < THRESHOLD
    assert np.abs(z(rows.overlap - rows.teacher_overlap[:, :, 0])).max() < THRESHOLD
    assert np.abs(z(rows.overlap**2 - rows.teacher_overlap[:, :, 0] ** 2)).max() < THRESHOLD


def equilibrium(label_noise: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """z of e - 1/(1 + e^beta), and of four moments of R less those of q, at N = 51 from random starts."""
    case = CASES["error-count"]._replace(label_noise=label_noise)
    rows = sample(case, 51, 500, list(range(150, 750, 20)), planted=(False, False))
    energy = z(rows.energy.mean(axis=(1, 2)) / 51 - CASES["error-count"].label_noise)
    moments = np.arange(1, 5)[:, None, None]
    of_q = (rows.overlap[:, None] ** moments[:, :, 0]).mean(axis=2)
    of_r = (rows.teacher_overlap[:, None] ** moments).mean(axis=(2, 3))
    return energy, z(of_r - of_q)


def test_equilibrium() -> None:
    energy, overlaps = equilibrium(CASES["error-count"].label_noise)
    assert abs(energy) < THRESHOLD
    assert np.abs(overlaps).max() < THRESHOLD


def test_equilibrium_with_too_clean_labels() -> None:
    """The negative control: labels of beta = 1.2, students at beta = 1."""
    energy, overlaps = equilibrium(1 / (1 + math.exp(1.2)))
    assert energy < -THRESHOLD
    assert overlaps[0] > THRESHOLD
