"""The losses as formulas: what an output f costs on a pattern with label y. Twin of ext/include/losses.h."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def sign(f: Values) -> Values:
    """+-1, with sign(0) = +1."""
    return np.where(f >= 0, 1.0, -1.0)


def error_count(f: Values, y: Values, margin: float, sharpness: float) -> Values:
    wrong = sign(f) != y if margin == 0 else y * f < margin
    return np.where(wrong, 1.0, 0.0)


def hinge(f: Values, y: Values, margin: float, sharpness: float) -> Values:
    return np.maximum(0.0, margin - y * f)


def squared_hinge(f: Values, y: Values, margin: float, sharpness: float) -> Values:
    return np.maximum(0.0, margin - y * f) ** 2 / 2


def square(f: Values, y: Values, margin: float, sharpness: float) -> Values:
    return (y - f) ** 2 / 2


def logistic(f: Values, y: Values, margin: float, sharpness: float) -> Values:
    return np.logaddexp(0.0, -sharpness * (y * f - margin)) / sharpness


def symmetric(f: Values, y: Values, margin: float, sharpness: float) -> Values:
    return np.where(np.abs(f) > margin, 1.0, 0.0)


LOSSES: dict[str, Callable[[Values, Values, float, float], Values]] = {
    "error-count": error_count,
    "hinge": hinge,
    "squared-hinge": squared_hinge,
    "square": square,
    "logistic": logistic,
    "symmetric": symmetric,
}
"""By name, each a function (f, y, margin, sharpness) of arrays that broadcast."""
