"""Parity machines, fully connected or trees: f = prod_k sign(h_k), with errors counted.

+-1 inputs are held by the bit-sliced kernel, real ones by that of float64 fields.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcmc.architectures import Architecture
from mcmc.data import Inputs
from mcmc.kernels import bitslice
from mcmc.losses import Loss
from mcmc.models.base import Block, Model, votes_start
from mcmc.models.columns import negative, padded


class Parity(Model):
    """A parity machine; its output is +-1 and leaves no place for a margin."""

    architectures = ("parity", "tree-parity")
    losses = ("error-count",)

    def __init__(self, architecture: Architecture, loss: Loss) -> None:
        super().__init__(architecture, loss)
        if loss.margin != 0:
            raise ValueError(
                f"margin: got {loss.margin}, expected 0 for a {architecture.name} machine, whose output is +-1"
            )

    def family(self, binary: bool, signs: bool = True) -> str:
        """Kernel family, see the head of the file."""
        return "bitslice" if binary else "fields"

    def memory(self, n_patterns: int, binary: bool) -> tuple[int, int]:
        """Bytes that an instance (of +-1 inputs if `binary`) and each walker take, about."""
        return self._bitslice_memory(n_patterns, 2) if binary else self._fields_memory(n_patterns)

    def _block(self, family: str, inputs: Inputs, labels: NDArray[np.float64], weights: NDArray[np.int8]) -> Block:
        if family == "fields":
            return self.fields_block(inputs, labels, weights)
        start = votes_start(np.ones_like(labels), self.architecture.fan_in)  # the sign of the field itself
        return bitslice.Block(
            inputs.columns,
            padded(start, inputs, 1),
            inputs.n_patterns,
            weights,
            n_units=self.architecture.n_hidden,
            negative=negative(inputs, labels),
        )
