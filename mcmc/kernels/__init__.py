"""The compiled kernels (ext/*.pyx), one family per module, and the memory they like."""

from __future__ import annotations

import numpy as np


def aligned(shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> np.ndarray:
    """Zeros that start on a cache line (64 bytes), so that no vector load straddles two."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)
