"""The observables: one function each, of the rows of an instance.

A row holds, by walker, the energies and the packed weights, and which walker sits on which rung. Here they are put in
the order of the rungs and reduced to numbers; shapes start with (rows, n_copies, n_rungs). Weights are packed unit
after unit, each from a word of its own, so that overlaps of units are popcounts: exact integers over the fan-in.

Units of two machines of different shape are compared as vectors over the inputs, zero where a unit sees nothing: their
overlap w.t / sqrt(fan-in of w x fan-in of t) is the correlation of the two hidden fields for random inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mcmc.architectures import Architecture
from mcmc.data import Inputs
from mcmc.kernels.flips import sum_weights
from mcmc.priors import pack, unpack

if TYPE_CHECKING:
    from mcmc.samplers.flips import Chain

_TEST_CHUNK = 4096
"""Test patterns at a time, which bounds the memory that their hidden fields take."""


@dataclass(frozen=True)
class Rows:
    """Rows of one instance, in the order of the rungs.

    energy: float64 (rows, n_copies, n_rungs); walker: int32, likewise; accepted: int64, likewise, since the row before
    weights: uint64 (rows, n_copies, n_rungs, n_units, words), packed bits of each unit
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
        """Rows from energies (rows, walkers) and weights (rows, walkers, n_units, words), both by walker."""
        energy = np.take_along_axis(energy.reshape(walker_at.shape), walker_at, axis=2)
        weights = weights.reshape(*walker_at.shape, *weights.shape[2:])
        weights = np.take_along_axis(weights, walker_at[..., None, None], axis=2)
        return cls(energy, walker_at, accepted, weights, n_weights, proposals)

    @classmethod
    def of(cls, chain: Chain) -> Rows:
        """The rows that a chain, whole on this process, has taken since they were last asked for."""
        proposals = chain.proposals * chain.measure_every
        return cls.by_rung(**chain.take(), n_weights=chain.n_weights, proposals=proposals)

    @property
    def n_units(self) -> int:
        return self.weights.shape[3]

    @property
    def fan_in(self) -> int:
        """Weights of a unit."""
        return self.n_weights // self.n_units

    def since(self, first: int) -> Rows:
        """The rows from number `first` on."""
        parts = (self.energy[first:], self.walker[first:], self.accepted[first:], self.weights[first:])
        return Rows(*parts, self.n_weights, self.proposals)


def hidden_shapes(student: Architecture, teacher: Architecture | None = None) -> dict[str, tuple[int, ...]]:
    """The last axes of the overlaps of units: by name of schema.VARIABLES, those that exist.

    Machines of several units have them; two perceptrons have nothing but the total overlap. For trees on the same
    blocks of inputs only the diagonal can differ from zero, and only that is kept.
    """
    n, shapes = student.n_hidden, {}
    if student.name != "perceptron":
        own = (n,) if student.is_tree else (n, n)
        shapes = {"hidden_overlap": own, "hidden_self_overlap": own}
    if teacher is not None and not student.name == teacher.name == "perceptron":
        diagonal = student.is_tree and teacher.is_tree and same_shape(student, teacher)
        shapes["hidden_teacher_overlap"] = (n,) if diagonal else (n, teacher.n_hidden)
    return shapes


def same_shape(one: Architecture, other: Architecture) -> bool:
    """Whether the weights of two machines mean the same: as many units that see the same inputs."""
    return (one.n_hidden, one.fan_in) == (other.n_hidden, other.fan_in)


def overlap(rows: Rows) -> NDArray[np.float64]:
    """q between pairs of copies at the same rung, pairs as itertools.combinations: (rows, pairs, n_rungs)."""
    return _of_pairs(rows, lambda a, b: _overlap(a, b, rows.n_weights))


def teacher_overlap(rows: Rows, teacher: NDArray[np.int8]) -> NDArray[np.float64]:
    """R with a teacher of the same shape, weights +-1 (n_weights,): (rows, n_copies, n_rungs)."""
    return _overlap(rows.weights, pack(teacher.reshape(rows.n_units, rows.fan_in)), rows.n_weights)


def hidden_overlap(rows: Rows, student: Architecture) -> NDArray[np.float64]:
    """Between units of both copies of a pair: (rows, pairs, n_rungs, n_units of the first, n_units of the second).

    Trees: (rows, pairs, n_rungs, n_units), the diagonal.
    """
    return _of_pairs(rows, lambda a, b: _unit_overlap(a, b, student))


def hidden_self_overlap(rows: Rows, student: Architecture) -> NDArray[np.float64]:
    """Between units of one machine: (rows, n_copies, n_rungs, n_units, n_units); trees: without the last axis."""
    return _unit_overlap(rows.weights, rows.weights, student)


def hidden_teacher_overlap(
    rows: Rows, student: Architecture, teacher: NDArray[np.int8], architecture: Architecture
) -> NDArray[np.float64]:
    """Between units and those of a teacher of any architecture on the same inputs, weights +-1 (teacher's n_weights,).

    (rows, n_copies, n_rungs, n_units, units of the teacher); trees of one shape: the diagonal, without the last axis.
    """
    last = hidden_shapes(student, architecture)["hidden_teacher_overlap"]
    if len(last) == 1:
        return _unit_overlap(rows.weights, pack(teacher.reshape(*last, -1)), student)
    units = np.zeros((architecture.n_hidden, architecture.n_inputs), dtype=np.int8)
    for m, unit in enumerate(teacher.reshape(architecture.n_hidden, architecture.fan_in)):
        units[m, _inputs_of(architecture, m)] = unit
    found = np.empty((*rows.energy.shape, *last))
    for k in range(student.n_hidden):
        seen = units[:, _inputs_of(student, k)]
        both = pack(seen != 0)  # the inputs that unit k and the teacher's units share
        differ = np.bitwise_count((rows.weights[..., k, None, :] ^ pack(seen)) & both).sum(axis=-1, dtype=np.int64)
        found[..., k, :] = np.count_nonzero(seen, axis=-1) - 2 * differ
    return found / math.sqrt(student.fan_in * architecture.fan_in)


def test_error(rows: Rows, student: Architecture, inputs: Inputs, labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fraction of test patterns whose sign is wrong, sign(0) = +1: (rows, n_copies, n_rungs)."""
    wrong = np.zeros(rows.energy.shape, dtype=np.int64)
    for patterns, chunk in inputs.chunks(_TEST_CHUNK):
        expected = labels[patterns] >= 0
        for row, bits in zip(wrong, rows.weights, strict=True):
            weights = unpack(bits, rows.fan_in).reshape(*row.shape, rows.n_weights)
            row += np.count_nonzero((student.output(chunk, weights) >= 0) != expected, axis=-1)
    return wrong / inputs.n_patterns


def acceptance(rows: Rows) -> NDArray[np.float64]:
    """Accepted over proposed flips at each rung since the row before: (rows, n_copies, n_rungs)."""
    return rows.accepted / rows.proposals


def weight_sum(rows: Rows) -> NDArray[np.int64]:
    """Sum over rows of each weight: int64 (n_copies, n_rungs, n_weights)."""
    n_rows, n_copies, n_rungs, n_units, n_words = rows.weights.shape
    flat = np.ascontiguousarray(rows.weights).reshape(n_rows, n_copies * n_rungs * n_units, n_words)
    return sum_weights(flat, rows.fan_in).reshape(n_copies, n_rungs, rows.n_weights)


def series(
    rows: Rows,
    student: Architecture,
    teacher: tuple[NDArray[np.int8], Architecture] | None,
    test: tuple[Inputs, NDArray[np.float64]] | None,
) -> dict[str, NDArray]:
    """All time series that exist for an instance, by name of schema.VARIABLES, without the instance axis.

    teacher: weights +-1 (its n_weights,) and architecture; test: fresh patterns and their labels.
    """
    several = rows.weights.shape[1] > 1
    found = {"energy": rows.energy, "walker": rows.walker, "acceptance": acceptance(rows)}
    if several:
        found["overlap"] = overlap(rows)
    if teacher is not None and same_shape(student, teacher[1]):
        found["teacher_overlap"] = teacher_overlap(rows, teacher[0])
    hidden = hidden_shapes(student, None if teacher is None else teacher[1])
    if several and "hidden_overlap" in hidden:
        found["hidden_overlap"] = hidden_overlap(rows, student)
    if "hidden_self_overlap" in hidden:
        found["hidden_self_overlap"] = hidden_self_overlap(rows, student)
    if "hidden_teacher_overlap" in hidden:
        found["hidden_teacher_overlap"] = hidden_teacher_overlap(rows, student, *teacher)
    if test is not None:
        found["test_error"] = test_error(rows, student, *test)
    return found


def _of_pairs(
    rows: Rows, function: Callable[[NDArray[np.uint64], NDArray[np.uint64]], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """A function of the weights (rows, n_rungs, n_units, words) of two copies, for all pairs: (rows, pairs, ...)."""
    # pair by pair: the temporary arrays are no larger than the weights of one copy (of one unit against all)
    pairs = combinations(range(rows.weights.shape[1]), 2)
    return np.stack([function(rows.weights[:, a], rows.weights[:, b]) for a, b in pairs], axis=1)


def _inputs_of(architecture: Architecture, unit: int) -> slice:
    """The inputs that a unit sees."""
    start = unit * architecture.fan_in if architecture.is_tree else 0
    return slice(start, start + architecture.fan_in)


def _overlap(a: NDArray[np.uint64], b: NDArray[np.uint64], n: int) -> NDArray[np.float64]:
    """Overlap of packed machines (..., n_units, words): an exact integer over n."""
    differ = np.bitwise_count(a ^ b).sum(axis=(-2, -1), dtype=np.int64)
    return (n - 2 * differ) / n


def _unit_overlap(a: NDArray[np.uint64], b: NDArray[np.uint64], student: Architecture) -> NDArray[np.float64]:
    """Overlaps of the units of packed machines (..., n_units, words): (..., n_units, n_units), trees (..., n_units)."""
    n = student.fan_in
    if student.is_tree:
        differ = np.bitwise_count(a ^ b).sum(axis=-1, dtype=np.int64)
    else:
        differ = np.empty((*a.shape[:-1], b.shape[-2]), dtype=np.int64)
        for k in range(a.shape[-2]):
            np.bitwise_count(a[..., k, None, :] ^ b).sum(axis=-1, dtype=np.int64, out=differ[..., k, :])
    return (n - 2 * differ) / n
