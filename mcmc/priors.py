"""Laws of the weights before any data: where walkers start, and how their weights are packed.

Ising weights: uniform on {-1, +1}^n. Packed, bit i % 64 of word i // 64 is set where w_i = +1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcmc.kernels.random import WEIGHTS, stream_key, words


def draw_ising(seed: int, instance: int, walkers: range, n_rungs: int, n_weights: int) -> NDArray[np.int8]:
    """Weights int8 (len(walkers), n_weights) of walkers numbered copy * n_rungs + rung of birth."""
    drawn = np.empty((len(walkers), n_weights), dtype=np.int8)
    for row, walker in zip(drawn, walkers, strict=True):
        key = stream_key(seed, WEIGHTS, instance, *divmod(walker, n_rungs))
        bits = np.unpackbits(words(key, 0, 1, -(-n_weights // 32)).view(np.uint8), count=n_weights, bitorder="little")
        row[:] = 2 * bits.astype(np.int8) - 1
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
