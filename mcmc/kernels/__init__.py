"""The compiled kernels (ext/*.pyx), one family per module, and the memory they like."""

from __future__ import annotations

import numpy as np


def aligned(shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> np.ndarray:
    """Zeros that start on a cache line (64 bytes), so that no vector load straddles two."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def checked_weights(weights: np.ndarray, n_sites: int) -> np.ndarray:
    """Weights as int8 (n_walkers, n_sites); ValueError unless the shape is that and all are -1 or +1."""
    weights = np.asarray(weights)
    if weights.ndim != 2 or weights.shape[1] != n_sites or not len(weights):
        raise ValueError(f"weights: got shape {weights.shape}, expected (n_walkers, {n_sites})")
    if not (np.abs(weights) == 1).all():
        raise ValueError("weights: expected -1 and +1 only")
    return weights.astype(np.int8)


def check(condition: bool, what: str) -> None:
    """ValueError with `what` unless the condition holds: the compiled loops check nothing themselves."""
    if not condition:
        raise ValueError(what)
