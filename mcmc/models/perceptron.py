"""The perceptron with Ising weights: f = h = w.x / sqrt(N), E(w) = sum over patterns of loss(y, f).

Data and loss decide which kernel family holds the walkers:

    inputs   loss                        kernel
    +-1      error-count, symmetric      bitslice   bit arithmetic, exact integers
    +-1      square                      quadratic  integer couplings and local fields
    +-1      the others                  tabulated  tables over integer fields, sums in fixed point
    real     square                      quadratic  float64 couplings and local fields
    real     the others                  fields     float64 fields
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mcmc.data import Inputs, Instance
from mcmc.kernels import aligned, bitslice, fields, quadratic, tabulated
from mcmc.losses import Loss
from mcmc.models.base import Block

_SLACK = 1e-9
"""Integer fields are compared with margin sqrt(N) up to this, so that the rounding of the root decides nothing."""


class Perceptron:
    """A perceptron of n_inputs Ising weights under a loss."""

    def __init__(self, n_inputs: int, loss: Loss) -> None:
        self.n_inputs = n_inputs
        self.loss = loss

    @property
    def n_weights(self) -> int:
        return self.n_inputs

    def block(self, instance: Instance, weights: NDArray[np.int8]) -> Block:
        """Walkers at the given weights, int8 (n_walkers, n_weights) of +-1.

        Raises ValueError if instance or weights do not fit the model.
        """
        inputs, labels = instance.inputs, instance.labels
        if inputs.n_inputs != self.n_inputs:
            raise ValueError(f"instance: got {inputs.n_inputs} inputs, expected {self.n_inputs}")
        if not inputs.n_patterns:
            raise ValueError("instance: got no patterns")
        if self.loss.name != "square" and not (np.abs(labels) == 1).all():
            raise ValueError(f"labels: expected -1 and +1 only for the {self.loss.name} loss")
        builders = {
            "bitslice": self._error_count if self.loss.name == "error-count" else self._symmetric,
            "tabulated": self._tabulated,
            "quadratic": self._quadratic,
            "fields": self._fields,
        }
        return builders[self.family(inputs.binary)](inputs, labels, weights)

    def family(self, binary: bool) -> str:
        """Kernel family for +-1 (or real) inputs, see the head of the file."""
        if self.loss.name == "square":
            return "quadratic"
        if not binary:
            return "fields"
        return "bitslice" if self.loss.name in ("error-count", "symmetric") else "tabulated"

    def memory(self, n_patterns: int, binary: bool) -> tuple[int, int]:
        """Bytes that an instance (of +-1 inputs if `binary`) and each walker take, about."""
        n, words = self.n_inputs, -(-n_patterns // 512) * 64
        coupling = (2 if n_patterns < 2**15 else 4) if binary else 8
        return {
            "bitslice": (n * words, words * (n.bit_length() + 2)),
            "tabulated": (n * words, 96 * words),
            "quadratic": (n * n * coupling, (4 if binary else 8) * n),
            "fields": (8 * n * n_patterns, 16 * n_patterns),
        }[self.family(binary)]

    # In the bit-sliced kernel T is an integer by which a pattern is judged, 2 T = D sqrt(N) - threshold, rounded down.

    def _error_count(self, inputs: Inputs, labels: NDArray[np.float64], weights: NDArray[np.int8]) -> Block:
        n = self.n_inputs
        if self.loss.margin == 0:
            threshold = np.where(labels > 0, 0, 1)  # sign(0) = +1: a field of 0 is an error for label -1
        else:
            threshold = np.full(labels.shape, _clamped(math.ceil(self.loss.margin * math.sqrt(n) - _SLACK), n))
        start = _padded((-n - threshold) // 2, inputs, padding=1)
        return bitslice.Block(_signed(inputs.columns, labels), start, None, inputs.n_patterns, weights)

    def _symmetric(self, inputs: Inputs, labels: NDArray[np.float64], weights: NDArray[np.int8]) -> Block:
        n = self.n_inputs
        largest = _clamped(math.floor(self.loss.margin * math.sqrt(n) + _SLACK), n)
        largest -= (largest - n) % 2  # fields have the parity of N
        start = _padded(np.full(inputs.n_patterns, (largest - n) // 2), inputs, padding=largest + 2)
        return bitslice.Block(inputs.columns, start, largest, inputs.n_patterns, weights)

    def _tabulated(self, inputs: Inputs, labels: NDArray[np.float64], weights: NDArray[np.int8]) -> Block:
        stability = (2.0 * np.arange(self.n_inputs + 1) - self.n_inputs) / math.sqrt(self.n_inputs)
        table = self.loss.values(stability, 1.0)
        return tabulated.Block(_signed(inputs.columns, labels), table, inputs.n_patterns, weights)

    def _quadratic(self, inputs: Inputs, labels: NDArray[np.float64], weights: NDArray[np.int8]) -> Block:
        n = self.n_inputs
        if inputs.binary:
            coupling = quadratic.couplings_of_bits(inputs.columns, inputs.n_patterns)
            if n * inputs.n_patterns >= 2**31:  # fields might not fit into int32; float64 is exact for these integers
                coupling = coupling.astype(np.float64)
        else:
            coupling = quadratic.couplings_of_reals(inputs.values)
        bias = _ordered_sum(inputs, labels) / math.sqrt(n)
        constant = 0.5 * math.fsum(labels * labels)
        return quadratic.Block(coupling, 1.0 / n, bias, constant, weights)

    def _fields(self, inputs: Inputs, labels: NDArray[np.float64], weights: NDArray[np.int8]) -> Block:
        loss = {"loss": self.loss.name, "margin": self.loss.margin, "sharpness": self.loss.sharpness}
        return fields.Block(inputs.values.T, labels, inputs.n_patterns, weights, **loss)


def _signed(columns: NDArray[np.uint64], labels: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Columns of label times input: uint64 (n_inputs, words), padding 0."""
    negative = np.zeros(columns.shape[1] * 64, dtype=np.uint8)
    negative[: labels.size] = labels < 0
    signed = aligned(columns.shape, np.uint64)
    np.bitwise_xor(columns, np.packbits(negative, bitorder="little").view(np.uint64), out=signed)
    return signed


def _padded(start: NDArray[np.int64], inputs: Inputs, padding: int) -> NDArray[np.int32]:
    padded = np.full(inputs.columns.shape[1] * 64, padding, dtype=np.int32)
    padded[: start.size] = start
    return padded


def _clamped(threshold: int, n: int) -> int:
    """A threshold on fields in [-n, n]; beyond n + 2 all are alike."""
    return max(-n - 2, min(threshold, n + 2))


def _ordered_sum(inputs: Inputs, labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """X^T y, patterns added in order: float64 (n_inputs,)."""
    total = np.zeros(inputs.n_inputs)
    for rows, block in inputs.blocks():
        for label, pattern in zip(labels[rows], block, strict=True):
            total += label * pattern
    return total
