"""Committee machines, fully connected or trees: f = (1/sqrt K) sum_k v_k g(h_k), v_k = 1 or, of real weights, sampled.

Data and activation decide which kernel family holds walkers of Ising weights:

    inputs   activation   labels   kernel
    +-1      sign         +-1      bitslice   the loss is a function of the number of right votes
    all others                     fields     float64 fields
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcmc.architectures import Architecture
from mcmc.data import Inputs
from mcmc.kernels import bitslice
from mcmc.losses import LOSSES, Loss
from mcmc.models.base import Block, Model, scaled_integers, votes_start
from mcmc.models.columns import lowest_right, padded, signed


class Committee(Model):
    """A committee under any loss but the symmetric one. K must be odd where equal votes can tie at margin 0."""

    architectures = ("committee", "tree-committee")
    losses = tuple(name for name in LOSSES if name != "symmetric")

    def __init__(self, architecture: Architecture, loss: Loss) -> None:
        super().__init__(architecture, loss)
        votes = architecture.activation == "sign" and not architecture.second_layer
        ties = votes and architecture.n_hidden % 2 == 0
        if ties and loss.name == "error-count" and loss.margin == 0:
            raise ValueError(
                f"n_hidden: got {architecture.n_hidden}, expected an odd number: an even one has ties of votes"
            )

    def family(self, binary: bool, signs: bool = True) -> str:
        """Kernel family, see the head of the file."""
        return "bitslice" if binary and signs and self.architecture.activation == "sign" else "fields"

    def memory(self, n_patterns: int, binary: bool) -> tuple[int, int]:
        """Bytes that an instance (of +-1 inputs if `binary`) and each walker take, about."""
        if self.family(binary) == "fields":
            return self._fields_memory(n_patterns)
        return self._bitslice_memory(n_patterns, 1 if self.loss.name == "error-count" else self.architecture.n_hidden)

    def _block(self, family: str, inputs: Inputs, labels: NDArray[np.float64], weights: NDArray[np.int8]) -> Block:
        if family == "fields":
            return self.fields_block(inputs, labels, weights)
        start = padded(votes_start(labels, self.architecture.fan_in), inputs, 1)
        return bitslice.Block(
            signed(inputs, labels),
            start,
            inputs.n_patterns,
            weights,
            n_units=self.architecture.n_hidden,
            losses=self._losses(),
        )

    def _losses(self) -> NDArray[np.float64]:
        """Loss by the number of right votes, label times the vote sum being -K, -K + 2, ..., K."""
        k = self.architecture.n_hidden
        if self.loss.name == "error-count":
            votes = 2 * np.arange(k + 1) - k
            return np.where(votes < lowest_right(self.loss.margin, k), 1.0, 0.0)
        return self.loss.values(scaled_integers(k), 1.0)
