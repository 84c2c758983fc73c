"""Small problems for the tests of the kernels: every machine under every loss, with its energy in plain numpy.

The lists are made from those of the package, so that what is added there is tested.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mcmc.architectures import ACTIVATIONS, ARCHITECTURES, Architecture
from mcmc.data import Instance, random_instance, teacher_instance
from mcmc.losses import LOSSES, Loss
from mcmc.models import MODELS, Model
from mcmc.priors import Ising
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
class Machine:
    """An architecture but for its number of inputs."""

    name: str = "perceptron"
    n_hidden: int = 1
    activation: str = "sign"
    second_layer: bool = False

    def of(self, n_inputs: int) -> Architecture:
        return Architecture(self.name, n_inputs, self.n_hidden, self.activation, self.second_layer)

    def takes(self, loss: Loss) -> bool:
        """Whether the model can have the loss; it decides on the loss before it sees any data."""
        try:
            MODELS[self.name](self.of(2 * self.n_hidden), loss)
        except ValueError:
            return False
        return True


PERCEPTRON = Machine()


def machines_of(name: str) -> list[Machine]:
    """An architecture with one unit, an even and an odd number of them, and every activation that it can have."""
    if name == "perceptron":
        return [PERCEPTRON]
    machines = [Machine(name, n_hidden) for n_hidden in (1, 2, 3)]
    if name.endswith("committee"):
        machines += [Machine(name, 3, activation) for activation in ACTIVATIONS if activation != "sign"]
    return machines


MACHINES = [machine for name in ARCHITECTURES for machine in machines_of(name)]
PAIRS = [(machine, loss) for machine in MACHINES for loss in VARIANTS if machine.takes(loss)]
"""Machines with the losses they can have."""
MULTI_UNIT_PAIRS = [(machine, loss) for machine, loss in PAIRS if machine != PERCEPTRON]


@dataclass(frozen=True)
class Problem:
    """An instance under a loss; `energy` maps weights (n, n_weights) to (n,)."""

    instance: Instance
    model: Model
    energy: Energy

    @property
    def n_weights(self) -> int:
        return self.model.n_weights


def problem(
    loss: Loss,
    inputs: Literal["binary", "gaussian"],
    n: int,
    p: int,
    machine: Machine = PERCEPTRON,
    *,
    seed: int = 1,
    labels: Literal["random", "teacher"] = "teacher",
    label_noise: float = 0.1,
) -> Problem:
    """Labels of a teacher, the same machine, are noisy signs, or noisy reals for the square loss."""
    if labels == "random":
        instance = random_instance(seed, 0, n, p, inputs)
    else:
        law = "real" if loss.name == "square" else "sign"
        noise = {"label_noise": label_noise, "output_noise": label_noise}
        instance = teacher_instance(seed, 0, n, p, inputs, law, **noise, teacher=machine.of(n))
    return of(instance, loss, machine)


def of(instance: Instance, loss: Loss, machine: Machine = PERCEPTRON) -> Problem:
    energy = machines.energy(
        instance.inputs.dense(),
        instance.labels,
        loss.name,
        loss.margin,
        loss.sharpness,
        machine.name,
        machine.n_hidden,
        machine.activation,
    )
    return Problem(instance, MODELS[machine.name](machine.of(instance.inputs.n_inputs), loss), energy)


def random_weights(n_walkers: int, n: int, seed: int = 1) -> np.ndarray:
    """int8 (n_walkers, n)."""
    return Ising().walkers(seed, 0, range(n_walkers), n_walkers, 1, n)


def label(value: object) -> str | None:
    """Name of a test parameter."""
    if isinstance(value, Machine):
        return f"{value.name}-{value.n_hidden}-{value.activation}"
    return f"{value.name}-{value.margin}" if isinstance(value, Loss) else None
