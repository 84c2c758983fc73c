"""The observables: one function each, of the rows of an instance.

A row holds, by walker, the energies and the weights, and which walker sits on which rung. Here they are put in the
order of the rungs and reduced to numbers; shapes start with (rows, n_copies, n_rungs). Ising weights are packed unit
after unit, each from a word of its own, so that overlaps of units are popcounts: exact integers over the fan-in.
Products of real weights are summed in an order of their own (ext/include/sums.h), the same on every machine.

Units of two machines of different shape are compared as vectors over the inputs, zero where a unit sees nothing: their
overlap w.t / sqrt(fan-in of w x fan-in of t) is the correlation of the two hidden fields for random inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mcmc.architectures import Architecture
from mcmc.data import Inputs
from mcmc.kernels.flips import sum_weights
from mcmc.kernels.sums import products
from mcmc.priors import Weights, pack, unpack

if TYPE_CHECKING:
    from mcmc.kernels.chain import Chain

_TEST_CHUNK = 4096
"""Test patterns at a time, which bounds the memory that their hidden fields take."""

BY_WALKER = {"kinetic": "kinetic_temperature"}
"""What some samplers tell of every walker in a row, and the time series that it becomes."""
BY_RUNG = {"energy_error": "energy_error"}
"""The same of every rung, where the walker was when it moved."""
TOLD = BY_WALKER | BY_RUNG


@dataclass(frozen=True)
class Rows:
    """Rows of one instance, in the order of the rungs.

    energy: float64 (rows, n_copies, n_rungs); walker: int32, likewise; accepted: int64, likewise, since the row before
    weights: uint64 (rows, n_copies, n_rungs, n_units, words), packed bits of each unit; real weights: float64 (rows,
        n_copies, n_rungs, n_weights), those of a second layer last
    n_weights: weights of a walker, n_units * fan_in of them in the first layer
    proposals: proposals per walker and row, 0 without an accept step
    more: by name of a time series float64 (rows, n_copies, n_rungs), what the sampler tells of its walkers
    """

    energy: NDArray[np.float64]
    walker: NDArray[np.int32]
    accepted: NDArray[np.int64]
    weights: NDArray[np.uint64] | NDArray[np.float64]
    n_weights: int
    n_units: int
    fan_in: int
    proposals: int
    more: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @classmethod
    def by_rung(
        cls,
        energy: NDArray[np.float64],
        weights: NDArray[np.uint64] | NDArray[np.float64],
        walker_at: NDArray[np.int32],
        accepted: NDArray[np.int64],
        n_weights: int,
        proposals: int,
        n_units: int = 1,
        second_layer: bool = False,
        **told: NDArray[np.float64],
    ) -> Rows:
        """Rows from what a chain of the whole instance has taken, by walker.

        energy (rows, walkers); weights (rows, walkers, n_units, words) packed, or (rows, walkers, n_weights) real, of
        n_units units and perhaps a second layer; told: those of BY_WALKER (rows, walkers) and BY_RUNG (rows, n_copies,
        n_rungs) that it has
        """

        row, copy = np.ogrid[: walker_at.shape[0], : walker_at.shape[1]]

        def ordered(values: NDArray) -> NDArray:
            return values.reshape(*walker_at.shape, *values.shape[2:])[row[..., None], copy[..., None], walker_at]

        if weights.dtype != np.float64:
            n_units = weights.shape[2]
        fan_in = n_weights // n_units - second_layer
        more = {BY_WALKER[name]: ordered(told[name]) for name in told.keys() & BY_WALKER.keys()}
        more |= {BY_RUNG[name]: told[name] for name in told.keys() & BY_RUNG.keys()}
        shape = n_weights, n_units, fan_in
        return cls(ordered(energy), walker_at, accepted, ordered(weights), *shape, proposals, more)

    @classmethod
    def of(cls, chain: Chain, student: Architecture) -> Rows:
        """The rows that a chain, whole on this process, has taken since they were last asked for."""
        proposals = chain.proposals * chain.measure_every
        machine = {"n_units": student.n_hidden, "second_layer": student.second_layer}
        return cls.by_rung(**chain.take(), n_weights=student.n_weights, proposals=proposals, **machine)

    @property
    def are_real(self) -> bool:
        """Whether the weights are real numbers."""
        return self.weights.dtype == np.float64

    @property
    def vectors(self) -> NDArray[np.uint64] | NDArray[np.float64]:
        """All weights in a row of words or numbers: (rows, n_copies, n_rungs, words of all units or n_weights)."""
        return self.weights.reshape(*self.weights.shape[:3], math.prod(self.weights.shape[3:]))

    @property
    def units(self) -> NDArray[np.uint64] | NDArray[np.float64]:
        """The first layer: (rows, n_copies, n_rungs, n_units, words or fan_in)."""
        if not self.are_real:
            return self.weights
        first = self.weights[..., : self.n_units * self.fan_in]
        return first.reshape(*first.shape[:-1], self.n_units, self.fan_in)

    @property
    def second_layer(self) -> NDArray[np.float64]:
        """Of real weights that have one: (rows, n_copies, n_rungs, n_units)."""
        return self.weights[..., self.n_units * self.fan_in :]

    def numbers(self, row: int) -> Weights:
        """The weights of a row, int8 +-1 or float64: (n_copies, n_rungs, n_weights)."""
        weights = self.weights[row]
        return weights if self.are_real else unpack(weights, self.fan_in).reshape(*weights.shape[:2], self.n_weights)

    def stored(self, which: NDArray[np.bool_]) -> NDArray[np.uint64] | NDArray[np.float64]:
        """The weights of some rows, as Prior.stored has them: (rows, n_copies, n_rungs, words or n_weights)."""
        if self.are_real or self.n_units == 1:
            return self.vectors[which]
        chosen = unpack(self.weights[which], self.fan_in)
        return pack(chosen.reshape(*chosen.shape[:3], self.n_weights))

    def as_reals(self) -> Rows:
        """The same rows with Ising weights as float64."""
        if self.are_real:
            return self
        numbers = unpack(self.weights, self.fan_in).astype(np.float64)
        return replace(self, weights=numbers.reshape(*numbers.shape[:3], self.n_weights))

    def since(self, first: int) -> Rows:
        """The rows from number `first` on."""
        parts = {name: getattr(self, name)[first:] for name in ("energy", "walker", "accepted", "weights")}
        return replace(self, **parts, more={name: values[first:] for name, values in self.more.items()})


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
        diagonal = student.is_tree and teacher.is_tree and student.n_hidden == teacher.n_hidden
        shapes["hidden_teacher_overlap"] = (n,) if diagonal else (n, teacher.n_hidden)
    return shapes


def same_shape(one: Architecture, other: Architecture) -> bool:
    """Whether the weights of two machines mean the same: as many units that see the same inputs, as many layers."""
    return (one.n_hidden, one.fan_in, one.second_layer) == (other.n_hidden, other.fan_in, other.second_layer)


def overlap(rows: Rows) -> NDArray[np.float64]:
    """q between pairs of copies at the same rung, pairs as itertools.combinations: (rows, pairs, n_rungs)."""
    return _of_pairs(rows.vectors, lambda a, b: machine_overlap(a, b, rows.n_weights))


def teacher_overlap(rows: Rows, teacher: Weights) -> NDArray[np.float64]:
    """R with a teacher of the same shape, weights (n_weights,): (rows, n_copies, n_rungs)."""
    if rows.are_real or teacher.dtype == np.float64:
        return machine_overlap(rows.as_reals().vectors, teacher.astype(np.float64), rows.n_weights)
    return machine_overlap(rows.vectors, pack(teacher.reshape(rows.n_units, rows.fan_in)).ravel(), rows.n_weights)


def hidden_overlap(rows: Rows, student: Architecture) -> NDArray[np.float64]:
    """Between units of both copies of a pair: (rows, pairs, n_rungs, n_units of the first, n_units of the second).

    Trees: (rows, pairs, n_rungs, n_units), the diagonal.
    """
    return _of_pairs(rows.units, lambda a, b: _unit_overlap(a, b, student))


def hidden_self_overlap(rows: Rows, student: Architecture) -> NDArray[np.float64]:
    """Between units of one machine: (rows, n_copies, n_rungs, n_units, n_units); trees: without the last axis."""
    return _unit_overlap(rows.units, rows.units, student)


def hidden_teacher_overlap(
    rows: Rows, student: Architecture, teacher: Weights, architecture: Architecture
) -> NDArray[np.float64]:
    """Between units and those of a teacher of any architecture on the same inputs, weights (teacher's n_weights,).

    (rows, n_copies, n_rungs, n_units, units of the teacher); trees of one shape: the diagonal, without the last axis.
    """
    last = hidden_shapes(student, architecture)["hidden_teacher_overlap"]
    real = rows.are_real or teacher.dtype == np.float64
    own, others = (rows.as_reals() if real else rows).units, architecture.units(teacher)
    if len(last) == 1:
        return _unit_overlap(own, others.astype(np.float64) if real else pack(others), student)
    units = np.zeros((architecture.n_hidden, architecture.n_inputs), dtype=teacher.dtype)
    for m, unit in enumerate(others):
        units[m, _inputs_of(architecture, m)] = unit
    found = np.empty((*rows.energy.shape, *last))
    products_of = _real_products if real else _bit_products
    for k in range(student.n_hidden):
        found[..., k, :] = products_of(own[..., k, :], units[:, _inputs_of(student, k)])
    return found / math.sqrt(student.fan_in * architecture.fan_in)


def test_error(rows: Rows, student: Architecture, inputs: Inputs, labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fraction of test patterns whose sign is wrong, sign(0) = +1: (rows, n_copies, n_rungs)."""
    return _test_mean(rows, student, inputs, labels, _wrong_signs)


def squared_test_error(
    rows: Rows, student: Architecture, inputs: Inputs, labels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean of (output - label)^2 / 2 over test patterns with real labels: (rows, n_copies, n_rungs)."""
    return _test_mean(rows, student, inputs, labels, _half_squares)


def acceptance(rows: Rows) -> NDArray[np.float64]:
    """Accepted over proposed moves at each rung since the row before: (rows, n_copies, n_rungs); NaN without any."""
    return rows.accepted / rows.proposals if rows.proposals else np.full(rows.accepted.shape, np.nan)


def norm(rows: Rows) -> NDArray[np.float64]:
    """w.w / n_weights: (rows, n_copies, n_rungs)."""
    return machine_overlap(rows.vectors, rows.vectors, rows.n_weights)


def norm_of(weights: Weights) -> NDArray[np.float64]:
    """w.w / n_weights of one machine (n_weights,)."""
    real = weights.astype(np.float64)
    return _dots(real, real) / real.size


def add_weights(rows: Rows, total: NDArray) -> None:
    """Add each weight of every row to total (n_copies, n_rungs, n_weights), int64 for Ising weights, else float64.

    Row after row, so that it does not matter how many come at a time.
    """
    if rows.are_real:
        for row in rows.weights:
            total += row
        return
    n_rows, n_copies, n_rungs, n_units, n_words = rows.weights.shape
    flat = np.ascontiguousarray(rows.weights).reshape(n_rows, n_copies * n_rungs * n_units, n_words)
    total += sum_weights(flat, rows.fan_in).reshape(total.shape)


def series(
    rows: Rows,
    student: Architecture,
    teacher: tuple[Weights, Architecture] | None,
    test: tuple[Inputs, NDArray[np.float64]] | None,
    *,
    regression: bool = False,
    has_norm: bool = False,
) -> dict[str, NDArray]:
    """All time series that exist for an instance, by name of schema.VARIABLES, without the instance axis.

    teacher: weights (its n_weights,) and architecture; test: fresh patterns and their labels, real outputs with
    regression; has_norm: whether the norm of the weights is free.
    """
    several = rows.weights.shape[1] > 1
    found = {"energy": rows.energy, "walker": rows.walker, "acceptance": acceptance(rows), **rows.more}
    if has_norm:
        found["norm"] = norm(rows)
    if student.second_layer:
        found["second_layer"] = rows.second_layer.copy()
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
        found["test_error"] = (squared_test_error if regression else test_error)(rows, student, *test)
    return found


def _test_mean(
    rows: Rows,
    student: Architecture,
    inputs: Inputs,
    labels: NDArray[np.float64],
    total_of: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray],
) -> NDArray[np.float64]:
    """Mean over patterns, total_of(outputs (..., patterns), labels) adding up some: (rows, n_copies, n_rungs)."""
    total = np.zeros(rows.energy.shape)
    for patterns, chunk in inputs.chunks(_TEST_CHUNK):
        for row, sums in enumerate(total):
            sums += total_of(student.output(chunk, rows.numbers(row)), labels[patterns])
    return total / inputs.n_patterns


def _wrong_signs(output: NDArray[np.float64], labels: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.count_nonzero((output >= 0) != (labels >= 0), axis=-1)


def _half_squares(output: NDArray[np.float64], labels: NDArray[np.float64]) -> NDArray[np.float64]:
    return _dots(output - labels, output - labels) / 2


def _of_pairs(weights: NDArray, function: Callable[[NDArray, NDArray], NDArray[np.float64]]) -> NDArray[np.float64]:
    """A function of weights (rows, n_copies, n_rungs, ...) of two copies, for all pairs: (rows, pairs, ...)."""
    # pair by pair: the temporary arrays are no larger than the weights of one copy (of one unit against all)
    pairs = combinations(range(weights.shape[1]), 2)
    return np.stack([function(weights[:, a], weights[:, b]) for a, b in pairs], axis=1)


def _inputs_of(architecture: Architecture, unit: int) -> slice:
    """The inputs that a unit sees."""
    start = unit * architecture.fan_in if architecture.is_tree else 0
    return slice(start, start + architecture.fan_in)


def machine_overlap(a: NDArray, b: NDArray, n: int) -> NDArray[np.float64]:
    """Overlap of machines (..., words or n), of all their weights as one vector, over n."""
    if a.dtype == np.float64:
        return _dots(a, b) / n
    differ = np.bitwise_count(a ^ b).sum(axis=-1, dtype=np.int64)
    return (n - 2 * differ) / n


def _unit_overlap(a: NDArray, b: NDArray, student: Architecture) -> NDArray[np.float64]:
    """Overlaps of units of machines (..., n_units, words or fan_in): (..., n_units, n_units), trees (..., n_units).

    b may be one machine (n_units, words or fan_in).
    """
    n = student.fan_in
    if a.dtype == np.float64:
        if student.is_tree:
            return _dots(a, b) / n
        left, right = (np.ascontiguousarray(x).reshape(-1, *x.shape[-2:]) for x in (a, b))
        return products(left, right).reshape(*a.shape[:-1], b.shape[-2]) / n
    if student.is_tree:
        differ = np.bitwise_count(a ^ b).sum(axis=-1, dtype=np.int64)
    else:
        differ = np.empty((*a.shape[:-1], b.shape[-2]), dtype=np.int64)
        for k in range(a.shape[-2]):
            np.bitwise_count(a[..., k, None, :] ^ b).sum(axis=-1, dtype=np.int64, out=differ[..., k, :])
    return (n - 2 * differ) / n


def _bit_products(unit: NDArray[np.uint64], others: NDArray[np.int8]) -> NDArray[np.float64]:
    """w.t of a packed unit (..., words) with each of others (m, fan_in) of 0 and +-1: (..., m)."""
    both = pack(others != 0)  # the inputs that the units share
    differ = np.bitwise_count((unit[..., None, :] ^ pack(others)) & both).sum(axis=-1, dtype=np.int64)
    return np.count_nonzero(others, axis=-1) - 2 * differ


def _real_products(unit: NDArray[np.float64], others: Weights) -> NDArray[np.float64]:
    """w.t of a unit (..., fan_in) with each of others (m, fan_in): (..., m)."""
    left = np.ascontiguousarray(unit).reshape(1, -1, unit.shape[-1])
    return products(left, np.ascontiguousarray(others, dtype=np.float64)[None]).reshape(*unit.shape[:-1], len(others))


def _dots(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scalar products along the last axis, b of the shape of a or of its last axes."""
    pairs = (np.ascontiguousarray(x).reshape(-1, 1, a.shape[-1]) for x in (a, np.broadcast_to(b, a.shape)))
    return products(*pairs).reshape(a.shape[:-1])
