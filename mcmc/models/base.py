"""What a model is to the rest: a maker of blocks, and what a block is to the samplers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mcmc.architectures import Architecture
from mcmc.data import Inputs, Instance
from mcmc.kernels import fields, gradients
from mcmc.losses import Loss
from mcmc.priors import Weights

AnyFields = TypeVar("AnyFields", fields.Block, fields.RealBlock)


class Block(Protocol):
    """The walkers of one instance on one rank, in a kernel family; `capsule` is what the samplers drive."""

    weights: Weights  # (n_walkers, n_weights): int8 +-1, or float64
    energy: NDArray[np.float64]  # (n_walkers,)
    capsule: object

    def caches(self) -> dict[str, NDArray]:
        """Arrays (n_walkers, ...) that a checkpoint must hold besides the weights."""

    def restore(self, weights: Weights, caches: dict[str, NDArray]) -> None:
        """Continue from a checkpoint, bit for bit."""


class Model(ABC):
    """An architecture under a loss: E(w) = sum over patterns of loss(y, f).

    `block` holds Ising weights, `gradient_block` and `coordinate_block` real ones; a second layer has `gradient_block`
    alone. A subclass names the architectures that it is for and the losses they can have, and chooses the kernel family
    that holds Ising walkers. Raises ValueError for an architecture or a loss that is not its own.
    """

    architectures: ClassVar[tuple[str, ...]]
    losses: ClassVar[tuple[str, ...]]

    def __init__(self, architecture: Architecture, loss: Loss) -> None:
        if architecture.name not in self.architectures:
            raise ValueError(f"architecture: got {architecture.name}, expected one of {', '.join(self.architectures)}")
        if loss.name not in self.losses:
            raise ValueError(f"loss: got {loss.name}, expected for a {architecture.name} {', '.join(self.losses)}")
        self.architecture = architecture
        self.loss = loss

    @property
    def n_weights(self) -> int:
        return self.architecture.n_weights

    def block(self, instance: Instance, weights: NDArray[np.int8]) -> Block:
        """Walkers at the given weights, int8 (n_walkers, n_weights) of +-1.

        Raises ValueError if instance or weights do not fit the model.
        """
        self._check_one_layer()
        signs = self._check_instance(instance)
        inputs, labels = instance.inputs, instance.labels
        return self._block(self.family(inputs.binary, signs), inputs, labels, weights)

    def _check_instance(self, instance: Instance) -> bool:
        """Whether all labels are signs. Raises ValueError if the instance does not fit the model."""
        inputs, labels = instance.inputs, instance.labels
        if inputs.n_inputs != self.architecture.n_inputs:
            raise ValueError(f"instance: got {inputs.n_inputs} inputs, expected {self.architecture.n_inputs}")
        if not inputs.n_patterns:
            raise ValueError("instance: got no patterns")
        signs = bool((np.abs(labels) == 1).all())
        if self.loss.name != "square" and not signs:
            raise ValueError(f"labels: expected -1 and +1 only for the {self.loss.name} loss")
        return signs

    def _check_one_layer(self) -> None:
        if self.architecture.second_layer:
            raise ValueError("second_layer: got True, expected False where weights move one or two at a time")

    @abstractmethod
    def family(self, binary: bool, signs: bool = True) -> str:
        """Kernel family for inputs that are +-1 if `binary`, and labels that are +-1 if `signs`."""

    @abstractmethod
    def memory(self, n_patterns: int, binary: bool) -> tuple[int, int]:
        """Bytes that an instance (of +-1 inputs if `binary`) and each walker take, about."""

    @abstractmethod
    def _block(self, family: str, inputs: Inputs, labels: NDArray[np.float64], weights: NDArray[np.int8]) -> Block:
        """Walkers in that kernel family."""

    def fields_block(self, inputs: Inputs, labels: NDArray[np.float64], weights: NDArray[np.int8]) -> Block:
        """Walkers in the family of float64 fields, which can hold every machine."""
        return self._of_fields(fields.Block, inputs, labels, weights)

    @property
    def _machine(self) -> dict[str, Any]:
        """Arguments of the blocks that hold every machine."""
        architecture, loss = self.architecture, self.loss
        return {
            "n_units": architecture.n_hidden,
            "activation": "linear" if architecture.name == "perceptron" else architecture.activation,
            "parity": architecture.is_parity,
            "loss": loss.name,
            "margin": loss.margin,
            "sharpness": loss.sharpness,
        }

    def _of_fields(
        self, kind: type[AnyFields], inputs: Inputs, labels: NDArray[np.float64], weights: NDArray
    ) -> AnyFields:
        return kind(inputs.dense().T, labels, inputs.n_patterns, weights, **self._machine)

    def gradient_block(
        self, instance: Instance, weights: NDArray[np.float64], precision: str = "float64", batch_size: int = 0
    ) -> gradients.Block:
        """Walkers with real weights, float64 (n_walkers, n_weights), for samplers that move all weights at once.

        precision: "float64" or "float32", of the matrix products; batch_size: patterns of a minibatch, 0 for none.
        Raises ValueError as `block`.
        """
        self._check_instance(instance)
        inputs = instance.inputs
        return gradients.Block(
            inputs.columns if inputs.binary else inputs.values,
            instance.labels,
            weights,
            precision=precision,
            second_layer=self.architecture.second_layer,
            batch_size=batch_size,
            **self._machine,
        )

    def coordinate_block(self, instance: Instance, weights: NDArray[np.float64]) -> fields.RealBlock:
        """Walkers with real weights, float64 (n_walkers, n_weights), for moves of one or two weights at a time.

        Raises ValueError as `block`.
        """
        self._check_one_layer()
        self._check_instance(instance)
        return self._of_fields(fields.RealBlock, instance.inputs, instance.labels, weights)

    def _fields_memory(self, n_patterns: int) -> tuple[int, int]:
        arrays = 2 * self.architecture.n_hidden + 1
        return 8 * self.architecture.n_inputs * n_patterns, 8 * arrays * n_patterns

    def _bitslice_memory(self, n_patterns: int, n_masks: int) -> tuple[int, int]:
        words = -(-n_patterns // 512) * 64
        per_unit = self.architecture.fan_in.bit_length() + 3 + n_masks
        return self.architecture.n_inputs * words, words * per_unit * self.architecture.n_hidden


def votes_start(labels: NDArray[np.float64], fan_in: int) -> NDArray[np.int64]:
    """T of a unit where no weight agrees with label times input, such that its vote is right where T >= 0.

    2 T is label times field, up to the tie: sign(0) = +1, so a field of 0 is wrong for label -1.
    """
    return (-fan_in - np.where(labels > 0, 0, 1)) // 2


def scaled_integers(n: int) -> NDArray[np.float64]:
    """What n signs can add up to, -n, -n + 2, ..., n, over sqrt(n): float64 (n + 1,)."""
    return (2.0 * np.arange(n + 1) - n) / math.sqrt(n)
