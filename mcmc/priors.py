"""Laws of the weights before any data: where walkers start, and how their weights are packed.

Ising weights: uniform on {-1, +1}^n, or on its states at a fixed overlap with a reference. Packed, bit i % 64 of word
i // 64 is set where w_i = +1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcmc.kernels.random import CONSTRAINED, WEIGHTS, stream_key, uniforms64, words


def draw_ising(seed: int, instance: int, walkers: range, n_rungs: int, n_weights: int) -> NDArray[np.int8]:
    """Weights int8 (len(walkers), n_weights) of walkers numbered copy * n_rungs + rung of birth."""
    drawn = np.empty((len(walkers), n_weights), dtype=np.int8)
    for row, walker in zip(drawn, walkers, strict=True):
        key = stream_key(seed, WEIGHTS, instance, *divmod(walker, n_rungs))
        bits = np.unpackbits(words(key, 0, 1, -(-n_weights // 32)).view(np.uint8), count=n_weights, bitorder="little")
        row[:] = 2 * bits.astype(np.int8) - 1
    return drawn


def constrained(seed: int) -> int:
    """The seed of the walkers' streams under a constraint.

    A reference may be a sample of the run of the same seed without the constraint: the streams that led to it must not
    drive the walkers that are compared with it.
    """
    return stream_key(seed, CONSTRAINED)


def attainable(overlap: float, n_weights: int) -> int:
    """The number of weights that differ at the attainable overlap nearest to `overlap`, halves rounded up."""
    return math.floor(n_weights * (1 - overlap) / 2 + 0.5)


@dataclass(frozen=True)
class FixedOverlap:
    """The states that differ from a reference in a given number of weights.

    reference: int8 (n_weights,) of +-1
    """

    reference: NDArray[np.int8]
    n_differ: int

    def draw(self, seed: int, instance: int, walkers: range, n_rungs: int) -> NDArray[np.int8]:
        """As `draw_ising`, uniform among these states: the sites with the smallest of n uniforms differ."""
        drawn = np.tile(self.reference, (len(walkers), 1))
        for row, walker in zip(drawn, walkers, strict=True):
            key = stream_key(constrained(seed), WEIGHTS, instance, *divmod(walker, n_rungs))
            order = np.argsort(uniforms64(key, 0, 1, row.size)[0], kind="stable")  # a tie goes to the first
            row[order[: self.n_differ]] *= -1
        return drawn


def pack(weights: NDArray[np.int8]) -> NDArray[np.uint64]:
    """Weights +-1 (..., n) to bits uint64 (..., ceil(n/64))."""
    n = weights.shape[-1]
    octets = np.zeros((*weights.shape[:-1], -(-n // 64) * 8), dtype=np.uint8)
    packed = np.packbits(weights > 0, axis=-1, bitorder="little")
    octets[..., : packed.shape[-1]] = packed
    return octets.view(np.uint64)


def unpack(bits: NDArray[np.uint64], n: int) -> NDArray[np.int8]:
    """Inverse of `pack`."""
    octets = np.ascontiguousarray(bits).view(np.uint8)
    weights = np.unpackbits(octets, axis=-1, count=n, bitorder="little").view(np.int8)
    weights *= 2
    weights -= 1
    return weights
