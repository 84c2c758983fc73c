"""The ladder of inverse temperatures: rules that space it, the same bits on every machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcmc.kernels import special


def linear(low: float, high: float, n: int) -> NDArray[np.float64]:
    """n values of beta from low to high in equal steps of beta."""
    return _exact_ends(low, high, low + (high - low) * _fractions(n))


def geometric(low: float, high: float, n: int) -> NDArray[np.float64]:
    """Equal ratios of neighbouring betas (and temperatures); low > 0."""
    return _exact_ends(low, high, low * special.exp(special.log(high / low) * _fractions(n)))


def linear_temperature(low: float, high: float, n: int) -> NDArray[np.float64]:
    """Equal steps of T = 1/beta; low > 0."""
    return _exact_ends(low, high, 1.0 / (1.0 / low + (1.0 / high - 1.0 / low) * _fractions(n)))


SPACINGS = {"linear": linear, "geometric": geometric, "linear-temperature": linear_temperature}
"""Rules by name, each a function (low, high, n)."""


def _fractions(n: int) -> NDArray[np.float64]:
    return np.arange(n) / max(n - 1, 1)


def _exact_ends(low: float, high: float, beta: NDArray[np.float64]) -> NDArray[np.float64]:
    beta[0], beta[-1] = low, high
    return beta
