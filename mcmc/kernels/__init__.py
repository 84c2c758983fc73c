"""The compiled kernels (ext/*.pyx), one family per module, and the memory they like."""

from __future__ import annotations

import numpy as np

NEVER = 2**62
"""A sweep beyond every sweep."""


def aligned(shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> np.ndarray:
    """Zeros that start on a cache line (64 bytes), so that no vector load straddles two."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, dtype=np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def checked_weights(weights: np.ndarray, n_sites: int) -> np.ndarray:
    """Weights as int8 (n_walkers, n_sites); ValueError unless the shape is that and all are -1 or +1."""
    weights = _shaped(weights, n_sites)
    if not (np.abs(weights) == 1).all():
        raise ValueError("weights: expected -1 and +1 only")
    return weights.astype(np.int8)


def checked_reals(weights: np.ndarray, n_sites: int) -> np.ndarray:
    """Weights as float64 (n_walkers, n_sites); ValueError unless the shape is that and all are finite."""
    weights = _shaped(weights, n_sites).astype(np.float64)
    if not np.isfinite(weights).all():
        raise ValueError("weights: expected finite numbers only")
    return weights


def _shaped(weights: np.ndarray, n_sites: int) -> np.ndarray:
    weights = np.asarray(weights)
    if weights.ndim != 2 or weights.shape[1] != n_sites or not len(weights):
        raise ValueError(f"weights: got shape {weights.shape}, expected (n_walkers, {n_sites})")
    return weights


SPHERE_SLACK = 1e-9
"""Relative deviation of |w_k|^2 from the fan-in up to which weights are on the sphere."""


def check_on_sphere(weights: np.ndarray, n_units: int, first: int = 0) -> None:
    """ValueError unless every unit of weights (n_walkers, n_weights) has a square norm of its fan-in.

    first: number of the first walker, for the message
    """
    units = weights.reshape(len(weights), n_units, -1)
    wrong = np.argwhere(~(np.abs((units**2).mean(axis=2) - 1) <= SPHERE_SLACK))
    if wrong.size:
        walker, unit = wrong[0]
        raise ValueError(
            f"weights: unit {unit} of walker {first + walker} has a square norm of "
            f"{(units[walker, unit] ** 2).sum():g}, expected its fan-in, {units.shape[2]}"
        )


def check(condition: bool, what: str) -> None:
    """ValueError with `what` unless the condition holds: the compiled loops check nothing themselves."""
    if not condition:
        raise ValueError(what)


def fixed_point(losses: np.ndarray, n_patterns: int) -> tuple[np.ndarray, float]:
    """A table of losses, neighbours a flip apart, as multiples int64 of a unit, a power of two, with the unit.

    Sums over n_patterns of losses fit into 62 bits and those of differences into the 53 bits of a double, so that
    neither ever rounds; the rounding of the table, below 1e-10 of the largest loss, happens once.
    """
    losses = np.asarray(losses, dtype=np.float64)
    check(bool(np.isfinite(n_patterns * np.abs(losses).max())), "losses: not finite")
    _, total_bits = np.frexp(n_patterns * max(np.abs(losses).max(), 1e-300))
    _, delta_bits = np.frexp(n_patterns * max(np.abs(np.diff(losses)).max(initial=0), 1e-300))
    unit = 2.0 ** max(int(total_bits) - 61, int(delta_bits) - 52, -50)
    return np.rint(losses / unit).astype(np.int64), unit
