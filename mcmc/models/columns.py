"""Patterns in the form that the bit-sliced kernels read: packed columns, thresholds, labels as bits."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mcmc.data import Inputs
from mcmc.kernels import aligned

SLACK = 1e-9
"""Integers are compared with margin sqrt(n) up to this, so that the rounding of the root decides nothing."""


def signed(inputs: Inputs, labels: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Columns of label times input: uint64 (n_inputs, words), padding 0."""
    columns = aligned(inputs.columns.shape, np.uint64)
    np.bitwise_xor(inputs.columns, negative(inputs, labels), out=columns)
    return columns


def negative(inputs: Inputs, labels: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Bits (words,), set where the label is -1."""
    bits = np.zeros(inputs.columns.shape[1] * 64, dtype=np.uint8)
    bits[: labels.size] = labels < 0
    return np.packbits(bits, bitorder="little").view(np.uint64)


def padded(start: NDArray[np.int64], inputs: Inputs, padding: int) -> NDArray[np.int32]:
    """A number for each pattern, and `padding` up to the width of the columns."""
    full = np.full(inputs.columns.shape[1] * 64, padding, dtype=np.int32)
    full[: start.size] = start
    return full


def lowest_right(margin: float, n: int) -> int:
    """The smallest integer s that is no error where errors have s / sqrt(n) < margin; within [-n - 2, n + 2]."""
    return max(-n - 2, min(math.ceil(margin * math.sqrt(n) - SLACK), n + 2))
