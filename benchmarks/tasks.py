"""What the benchmarks of real weights sample: a machine on random patterns, at one beta, under a Gaussian prior."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from contenders import SEED
from numpy.typing import NDArray

from mcmc import data
from mcmc.architectures import Architecture
from mcmc.losses import Loss
from mcmc.models import MODELS, Model

Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """Labels are those of a teacher of the same architecture with normal weights: signs, or under the square loss its
    outputs."""

    architecture: Architecture
    loss: Loss
    inputs: data.InputLaw
    n_patterns: int
    beta: float = 1.0

    @property
    def model(self) -> Model:
        return MODELS[self.architecture.name](self.architecture, self.loss)

    @cached_property
    def dense(self) -> Reals:
        """(n_patterns, n_inputs)."""
        rng, shape = np.random.default_rng(SEED), (self.n_patterns, self.architecture.n_inputs)
        return rng.normal(size=shape) if self.inputs == "gaussian" else rng.choice([-1.0, 1.0], size=shape)

    @cached_property
    def views(self) -> Reals:
        """What each unit sees, (n_hidden, n_patterns, fan_in)."""
        shape = self.n_patterns, self.architecture.n_hidden, self.architecture.fan_in
        return np.ascontiguousarray(self.dense.reshape(shape).swapaxes(0, 1))

    @cached_property
    def labels(self) -> Reals:
        """(n_patterns,)."""
        units = self.draw(1, seed=SEED + 1).reshape(self.architecture.n_hidden, -1, 1)
        fields = (self.views @ units)[:, :, 0] / np.sqrt(self.architecture.fan_in)
        if self.architecture.is_committee:
            fields = np.tanh(fields)
        output = fields.sum(axis=0) / np.sqrt(len(fields))
        return output if self.loss.name == "square" else np.where(output < 0, -1.0, 1.0)

    @cached_property
    def instance(self) -> data.Instance:
        return data.Instance(data.Inputs.from_dense(self.dense), self.labels)

    def draw(self, n_walkers: int, seed: int = SEED) -> Reals:
        """Weights (n_walkers, n_weights) of the prior."""
        return np.random.default_rng(seed).normal(size=(n_walkers, self.architecture.n_weights))
