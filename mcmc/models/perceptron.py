"""The perceptron: f = h = w.x / sqrt(N).

Data and loss decide which kernel family holds the walkers:

    inputs   loss                        kernel
    +-1      error-count, symmetric      bitslice   bit arithmetic, exact integers
    +-1      hinge                       bitslice   the same, sums in fixed point
    +-1      square                      quadratic  integer couplings and local fields
    +-1      the others                  tabulated  tables over integer fields, sums in fixed point
    real     square                      quadratic  float64 couplings and local fields
    real     the others                  fields     float64 fields
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mcmc.architectures import Architecture
from mcmc.data import Inputs
from mcmc.kernels import bitslice, quadratic, tabulated
from mcmc.losses import LOSSES, Loss
from mcmc.models.base import Block, Model, scaled_integers, votes_start
from mcmc.models.columns import SLACK, lowest_right, padded, signed


class Perceptron(Model):
    """A perceptron under any loss."""

    architectures = ("perceptron",)
    losses = tuple(LOSSES)

    def __init__(self, architecture: Architecture, loss: Loss) -> None:
        super().__init__(architecture, loss)
        self._bitsliced = {"error-count": self._error_count, "symmetric": self._symmetric, "hinge": self._hinge}

    def family(self, binary: bool, signs: bool = True) -> str:
        """Kernel family, see the head of the file."""
        if self.loss.name == "square":
            return "quadratic"
        if not binary:
            return "fields"
        return "bitslice" if self.loss.name in self._bitsliced else "tabulated"

    def memory(self, n_patterns: int, binary: bool) -> tuple[int, int]:
        """Bytes that an instance (of +-1 inputs if `binary`) and each walker take, about."""
        n, words = self.n_weights, -(-n_patterns // 512) * 64
        coupling = (2 if n_patterns < 2**15 else 4) if binary else 8
        return {
            "bitslice": self._bitslice_memory(n_patterns, 3),
            "tabulated": (n * words, 96 * words),
            "quadratic": (n * n * coupling, (4 if binary else 8) * n),
            "fields": self._fields_memory(n_patterns),
        }[self.family(binary)]

    def _block(self, family: str, inputs: Inputs, labels: NDArray[np.float64], weights: NDArray[np.int8]) -> Block:
        builders = {
            "bitslice": self._bitsliced.get(self.loss.name),
            "tabulated": self._tabulated,
            "quadratic": self._quadratic,
            "fields": self.fields_block,
        }
        return builders[family](inputs, labels, weights)

    # In the bit-sliced kernel T is an integer by which a pattern is judged, 2 T = D sqrt(N) - threshold, rounded down.

    def _error_count(self, inputs: Inputs, labels: NDArray[np.float64], weights: NDArray[np.int8]) -> Block:
        n = self.n_weights
        if self.loss.margin == 0:
            start = votes_start(labels, n)
        else:
            start = np.full(labels.shape, (-n - lowest_right(self.loss.margin, n)) // 2)
        return bitslice.Block(signed(inputs, labels), padded(start, inputs, 1), inputs.n_patterns, weights)

    def _symmetric(self, inputs: Inputs, labels: NDArray[np.float64], weights: NDArray[np.int8]) -> Block:
        n = self.n_weights
        largest = min(math.floor(self.loss.margin * math.sqrt(n) + SLACK), n + 2)
        largest -= (largest - n) % 2  # fields have the parity of N
        start = padded(np.full(inputs.n_patterns, (largest - n) // 2), inputs, padding=largest + 2)
        return bitslice.Block(inputs.columns, start, inputs.n_patterns, weights, top=largest)

    def _hinge(self, inputs: Inputs, labels: NDArray[np.float64], weights: NDArray[np.int8]) -> Block:
        n = self.n_weights
        # the first number of agreements without a loss; beyond those that occur all are alike
        free = max(0, min(math.ceil((n + self.loss.margin * math.sqrt(n)) / 2 - SLACK), n + 1))
        first = max(0.0, self.loss.margin - (2 * (free - 1) - n) / math.sqrt(n))
        start = padded(np.full(labels.shape, -free), inputs, 1)
        ramp = (first, 2 / math.sqrt(n))
        return bitslice.Block(signed(inputs, labels), start, inputs.n_patterns, weights, ramp=ramp)

    def _tabulated(self, inputs: Inputs, labels: NDArray[np.float64], weights: NDArray[np.int8]) -> Block:
        table = self.loss.values(scaled_integers(self.n_weights), 1.0)
        return tabulated.Block(signed(inputs, labels), table, inputs.n_patterns, weights)

    def _quadratic(self, inputs: Inputs, labels: NDArray[np.float64], weights: NDArray[np.int8]) -> Block:
        n = self.n_weights
        if inputs.binary:
            coupling = quadratic.couplings_of_bits(inputs.columns, inputs.n_patterns)
            if n * inputs.n_patterns >= 2**31:  # fields might not fit into int32; float64 is exact for these integers
                coupling = coupling.astype(np.float64)
        else:
            coupling = quadratic.couplings_of_reals(inputs.values)
        bias = _ordered_sum(inputs, labels) / math.sqrt(n)
        constant = 0.5 * math.fsum(labels * labels)
        return quadratic.Block(coupling, 1.0 / n, bias, constant, weights)


def _ordered_sum(inputs: Inputs, labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """X^T y, patterns added in order: float64 (n_inputs,)."""
    total = np.zeros(inputs.n_inputs)
    for rows, block in inputs.blocks():
        for label, pattern in zip(labels[rows], block, strict=True):
            total += label * pattern
    return total
