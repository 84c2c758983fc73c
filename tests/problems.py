"""Small problems for the tests of the kernels: every loss on every kind of inputs, with its energy in plain numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mcmc.architectures import Architecture
from mcmc.data import Instance, random_instance, teacher_instance
from mcmc.losses import LOSSES, Loss
from mcmc.models import Perceptron
from mcmc.priors import draw_ising
from mcmc.reference import machines
from mcmc.reference.machines import Energy

INPUT_LAWS = ("binary", "gaussian")


def variants(name: str) -> list[Loss]:
    """A loss with and without the parameters that it takes."""
    if name == "square":
        return [Loss(name)]
    if name == "symmetric":  # without a margin all is wrong at odd N
        return [Loss(name, margin=0.6), Loss(name, margin=1.3)]
    sharpness = 2.5 if name == "logistic" else 1.0
    return [Loss(name), Loss(name, margin=0.6, sharpness=sharpness)]


VARIANTS = [loss for name in LOSSES for loss in variants(name)]


@dataclass(frozen=True)
class Problem:
    """An instance under a loss; `energy` maps weights (n, N) to (n,)."""

    instance: Instance
    model: Perceptron
    energy: Energy


def problem(
    loss: Loss,
    inputs: Literal["binary", "gaussian"],
    n: int,
    p: int,
    *,
    seed: int = 1,
    labels: Literal["random", "teacher"] = "teacher",
    label_noise: float = 0.1,
) -> Problem:
    """Labels of a teacher are noisy signs, or noisy reals for the square loss."""
    if labels == "random":
        instance = random_instance(seed, 0, n, p, inputs)
    else:
        law = "real" if loss.name == "square" else "sign"
        instance = teacher_instance(seed, 0, n, p, inputs, law, label_noise=label_noise, output_noise=label_noise)
    return of(instance, loss)


def of(instance: Instance, loss: Loss) -> Problem:
    energy = machines.energy(instance.inputs.dense(), instance.labels, loss.name, loss.margin, loss.sharpness)
    return Problem(instance, Perceptron(Architecture("perceptron", instance.inputs.n_inputs), loss), energy)


def random_weights(n_walkers: int, n: int, seed: int = 1) -> np.ndarray:
    """int8 (n_walkers, n)."""
    return draw_ising(seed, 0, range(n_walkers), n_walkers, n)


def label(value: object) -> str | None:
    """Name of a test parameter."""
    return f"{value.name}-{value.margin}" if isinstance(value, Loss) else None
