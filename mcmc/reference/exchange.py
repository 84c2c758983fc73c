"""Even-odd exchange of neighbouring rungs. Twin of ext/include/exchange.h."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mcmc.reference import philox


def swap_probability(beta: float, next_beta: float, energy: float, next_energy: float) -> float:
    """Probability to swap a rung (beta, energy) with the next one."""
    return float(np.exp(min(0.0, (beta - next_beta) * (energy - next_energy))))


def exchange_round(
    beta: NDArray[np.float64],
    energy: NDArray[np.float64],
    key: int,
    number: int,
    walker_at: NDArray[np.int32],
    probability: Callable[[float, float, float, float], float] = swap_probability,
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Round `number` = 1, 2, ... of one copy: it tries the pairs (s, s + 1) with s of the round's parity.

    beta: (n_rungs,); energy: (n_rungs,) by walker; walker_at: (n_rungs,), the walker on each rung.
    Returns the new walker_at, and (n_rungs - 1,) whether rungs s and s + 1 swapped.
    """
    walker_at = walker_at.copy()
    swapped = np.zeros(len(beta) - 1, dtype=bool)
    for s in range(number % 2, len(beta) - 1, 2):
        here, there = walker_at[s], walker_at[s + 1]
        if philox.uniforms(key, number, s) < probability(beta[s], beta[s + 1], energy[here], energy[there]):
            walker_at[s], walker_at[s + 1] = there, here
            swapped[s] = True
    return walker_at, swapped
