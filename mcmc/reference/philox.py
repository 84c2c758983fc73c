"""Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC'11) on arrays of integers, and the addresses of random numbers.

Twin of ext/include/philox.h. Arguments broadcast against each other; everything is held in uint64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

PURPOSES = (
    "inputs",
    "labels",
    "teacher",
    "weights",
    "sites",
    "moves",
    "swaps",
    "test-inputs",
    "constrained",
    "waiting",
    "noise",
    "partners",
    "batches",
    "lengths",
)
"""Streams, in the order of their numbers."""

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_HIGH_WORD, _LOW_WORD = 0, 1


def philox(counter: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike], key: ArrayLike) -> NDArray[np.uint64]:
    """One block: four 32-bit words for four counter words and a 64-bit key, uint64 (..., 4)."""
    key = np.asarray(key, dtype=np.uint64)
    a, b, c, d, k0, k1 = np.broadcast_arrays(*(np.asarray(x, np.uint64) for x in counter), key & _LOW, key >> _HALF)
    for _ in range(10):
        p, q = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b, c, d = (q >> _HALF) ^ b ^ k0, q & _LOW, (p >> _HALF) ^ d ^ k1, p & _LOW
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & _LOW, (k1 + np.uint64(0xBB67AE85)) & _LOW
    return np.stack([a, b, c, d], axis=-1)


def stream_key(seed: int, purpose: str, instance: int = 0, copy: int = 0, rung: int = 0) -> int:
    """64-bit key of a stream."""
    words = philox((PURPOSES.index(purpose), instance, copy, rung), seed)
    return int(words[1]) << 32 | int(words[0])


def _word(key: ArrayLike, row: ArrayLike, slot: ArrayLike, half: int) -> NDArray[np.uint64]:
    row, slot = np.asarray(row, dtype=np.uint64), np.asarray(slot, dtype=np.uint64)
    block = philox((slot // np.uint64(4), half, row & _LOW, row >> _HALF), key)
    position = np.broadcast_to((slot % np.uint64(4)).astype(np.intp), block.shape[:-1])
    return np.take_along_axis(block, position[..., None], axis=-1)[..., 0]


def words(key: ArrayLike, row: ArrayLike, slot: ArrayLike) -> NDArray[np.uint64]:
    """The 32-bit numbers of slots: the high halves of their uniforms."""
    return _word(key, row, slot, _HIGH_WORD)


def uniforms64(key: ArrayLike, row: ArrayLike, slot: ArrayLike) -> NDArray[np.uint64]:
    """The 64-bit uniforms of slots."""
    return _word(key, row, slot, _HIGH_WORD) << _HALF | _word(key, row, slot, _LOW_WORD)


def move_uniforms64(key: ArrayLike, row: ArrayLike, slot: ArrayLike) -> NDArray[np.uint64]:
    """The uniforms on which moves are decided: 16 high bits (two slots to a word), 32 low ones, and half a cell."""
    slot = np.asarray(slot, dtype=np.uint64)
    pair = _word(key, row, slot // np.uint64(2), _HIGH_WORD)
    high = pair >> np.uint64(16) * (slot % np.uint64(2)) & np.uint64(0xFFFF)
    return high << np.uint64(48) | _word(key, row, slot, _LOW_WORD) << np.uint64(16) | np.uint64(0x8000)


def move_uniforms(key: ArrayLike, row: ArrayLike, slot: ArrayLike) -> NDArray[np.float64]:
    """The same in (0, 1)."""
    return ((move_uniforms64(key, row, slot) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def uniforms(key: ArrayLike, row: ArrayLike, slot: ArrayLike) -> NDArray[np.float64]:
    """The uniforms in (0, 1): midpoints of 2^52 equal cells."""
    return ((uniforms64(key, row, slot) >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def noise(keys: ArrayLike, row: ArrayLike, n: int) -> NDArray[np.float64]:
    """Standard normal numbers of 32 bits in slots 0 .. n-1 of a row of each stream: (n, len(keys)), to rounding."""
    return ndtri((words(keys, row, np.arange(n)[:, None]) + 0.5) * 2.0**-32)


def visits(key: int, sweep: ArrayLike, n: int) -> NDArray[np.int64]:
    """The n sites that a sweep in random order visits, along the last axis."""
    return (words(key, sweep, np.arange(n)) * np.uint64(n) >> _HALF).astype(np.int64)
