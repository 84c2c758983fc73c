"""Exact averages of small Ising problems by enumeration of all 2^N weights.

State s of the enumeration has w_i = +1 where bit i of s is set, as in a packed row of weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def all_states(n: int) -> NDArray[np.int8]:
    """int8 (2^n, n)."""
    octets = np.arange(2**n, dtype="<u4").view(np.uint8).reshape(-1, 4)
    return 2 * np.unpackbits(octets, axis=1, count=n, bitorder="little").view(np.int8) - 1


class Enumeration:
    """All states of n weights. `energy`: float64 (2^n,) by state."""

    def __init__(self, energy: Callable[[NDArray[np.int8]], Floats], n: int) -> None:
        self.n = n
        states = all_states(n)
        self.energy = np.concatenate([energy(states[k : k + 2**14]) for k in range(0, 2**n, 2**14)])

    def law(self, beta: float) -> Floats:
        """Probability of each state."""
        p = np.exp(-beta * (self.energy - self.energy.min()))
        return p / p.sum()

    def mean_weights(self, beta: float) -> Floats:
        """<w_i>, (n,)."""
        p = self.law(beta)
        return np.array([2 * p[np.arange(p.size) >> i & 1 == 1].sum() - 1 for i in range(self.n)])

    def overlap_law(self, beta: float, reference: int | None = None) -> Floats:
        """Law of the number of weights that differ between a state and a reference, or another state: (n + 1,).

        A number d is an overlap of 1 - 2 d/n.
        """
        p = self.law(beta)
        differs = np.bitwise_count(np.arange(p.size))
        if reference is None:
            p = _walsh_hadamard(_walsh_hadamard(p) ** 2) / p.size  # law of s ^ s'
        else:
            differs = differs[np.arange(p.size) ^ reference]
        return np.bincount(differs, weights=p, minlength=self.n + 1)

    def acceptance(self, beta: float, rule: Callable[[Floats], Floats]) -> Floats:
        """Mean probability to flip each site under an acceptance rule, a function of beta dE: (n,)."""
        p, s = self.law(beta), np.arange(self.energy.size)
        return np.array([p @ rule(beta * (self.energy[s ^ 1 << i] - self.energy)) for i in range(self.n)])

    def exchange_rate(self, low: float, high: float) -> float:
        """Mean probability to swap two rungs at low <= high: min(1, exp((low - high) (E - E')))."""
        p, q = self.law(low), self.law(high)
        order = np.argsort(self.energy)
        e, p, q = self.energy[order], p[order], q[order]
        below = np.searchsorted(e, e)  # number of states E' < E; at E' >= E the swap is certain
        certain = 1 - np.concatenate([[0], np.cumsum(q)])[below]
        boltzmann = np.exp((high - low) * (e - e[0]))
        tilted = np.concatenate([[0], np.cumsum(q * boltzmann)])[below]
        return float(p @ (certain + tilted / boltzmann))


def _walsh_hadamard(values: Floats) -> Floats:
    """Sums over states with signs (-1)^popcount(s & t), by t."""
    values = values.copy()
    step = 1
    while step < values.size:
        pairs = values.reshape(-1, 2, step)
        values = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(-1)
        step *= 2
    return values
