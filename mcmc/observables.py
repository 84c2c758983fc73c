"""The observables: one function each, of the rows of an instance.

A row holds, by walker, the energies and the packed weights, and which walker sits on which rung. Here they are put in
the order of the rungs and reduced to numbers; shapes start with (rows, n_copies, n_rungs).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mcmc.data import Inputs
from mcmc.kernels.flips import sum_weights
from mcmc.priors import pack, unpack

if TYPE_CHECKING:
    from mcmc.samplers.flips import Chain


@dataclass(frozen=True)
class Rows:
    """Rows of one instance, in the order of the rungs.

    energy: float64 (rows, n_copies, n_rungs); walker: int32, likewise; accepted: int64, likewise, since the row before
    weights: uint64 (rows, n_copies, n_rungs, words), packed bits
    n_weights: weights of a walker; proposals: proposals per walker and row
    """

    energy: NDArray[np.float64]
    walker: NDArray[np.int32]
    accepted: NDArray[np.int64]
    weights: NDArray[np.uint64]
    n_weights: int
    proposals: int

    @classmethod
    def by_rung(
        cls,
        energy: NDArray[np.float64],
        weights: NDArray[np.uint64],
        walker_at: NDArray[np.int32],
        accepted: NDArray[np.int64],
        n_weights: int,
        proposals: int,
    ) -> Rows:
        """Rows from energies (rows, walkers) and weights (rows, walkers, words) in the order of the walkers."""
        energy = np.take_along_axis(energy.reshape(walker_at.shape), walker_at, axis=2)
        weights = np.take_along_axis(weights.reshape(*walker_at.shape, -1), walker_at[..., None], axis=2)
        return cls(energy, walker_at, accepted, weights, n_weights, proposals)

    @classmethod
    def of(cls, chain: Chain) -> Rows:
        """The rows that a chain, whole on this process, has taken since they were last asked for."""
        return cls.by_rung(*chain.take(), chain.n_weights, chain.n_weights * chain.measure_every)

    def since(self, first: int) -> Rows:
        """The rows from number `first` on."""
        parts = (self.energy[first:], self.walker[first:], self.accepted[first:], self.weights[first:])
        return Rows(*parts, self.n_weights, self.proposals)


def overlap(rows: Rows) -> NDArray[np.float64]:
    """q between pairs of copies at the same rung, pairs as itertools.combinations: (rows, pairs, n_rungs)."""
    pairs = list(combinations(range(rows.weights.shape[1]), 2))
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    return _overlap(rows.weights[:, first], rows.weights[:, second], rows.n_weights)


def teacher_overlap(rows: Rows, teacher: NDArray[np.int8]) -> NDArray[np.float64]:
    """R with the teacher, weights +-1 (n_weights,): (rows, n_copies, n_rungs)."""
    return _overlap(rows.weights, pack(teacher), rows.n_weights)


def test_error(rows: Rows, inputs: Inputs, labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fraction of test patterns whose sign is wrong, sign(0) = +1: (rows, n_copies, n_rungs)."""
    wrong = np.empty(rows.energy.shape)
    for row, bits in zip(wrong, rows.weights, strict=True):
        positive = inputs.fields(unpack(bits, rows.n_weights)) >= 0
        row[...] = np.mean(positive != (labels >= 0), axis=-1)
    return wrong


def acceptance(rows: Rows) -> NDArray[np.float64]:
    """Accepted over proposed flips at each rung since the row before: (rows, n_copies, n_rungs)."""
    return rows.accepted / rows.proposals


def weight_sum(rows: Rows) -> NDArray[np.int64]:
    """Sum over rows of each weight: int64 (n_copies, n_rungs, n_weights)."""
    n_rows, n_copies, n_rungs, n_words = rows.weights.shape
    flat = np.ascontiguousarray(rows.weights).reshape(n_rows, n_copies * n_rungs, n_words)
    return sum_weights(flat, rows.n_weights).reshape(n_copies, n_rungs, rows.n_weights)


def series(
    rows: Rows, teacher: NDArray[np.int8] | None, test: tuple[Inputs, NDArray[np.float64]] | None
) -> dict[str, NDArray]:
    """All time series that exist for an instance, by name of schema.VARIABLES, without the instance axis."""
    found = {"energy": rows.energy, "walker": rows.walker, "acceptance": acceptance(rows)}
    if rows.weights.shape[1] > 1:
        found["overlap"] = overlap(rows)
    if teacher is not None:
        found["teacher_overlap"] = teacher_overlap(rows, teacher)
    if test is not None:
        found["test_error"] = test_error(rows, *test)
    return found


def _overlap(a: NDArray[np.uint64], b: NDArray[np.uint64], n: int) -> NDArray[np.float64]:
    """Overlap of packed Ising weights (..., words): an exact integer over n."""
    differ = np.bitwise_count(a ^ b).sum(axis=-1, dtype=np.int64)
    return (n - 2 * differ) / n
