"""What `results.h5` holds: every variable with its dimensions, type, unit and description.

The one place where the table of the output format lives: the engine fills it, storage writes it, the analysis reads it.
"""

from __future__ import annotations

from typing import NamedTuple

FORMAT_VERSION = 2
"""2: variables of several hidden units, `method`, `reference_overlap`; another use of random numbers, so that a run of
version 1 cannot be continued bit for bit."""
OLDEST_VERSIONS = {"results": 1}
"""By kind of file, where older versions than FORMAT_VERSION can still be read: all that version 1 has, 2 has too."""


class Variable(NamedTuple):
    """One variable of the root group."""

    dims: tuple[str, ...]
    dtype: str
    units: str
    long_name: str
    is_matrix: bool = False
    """The last two dimensions are units of two machines; trees have the diagonal only, and so one dimension less."""

    def dims_of(self, n_dims: int) -> tuple[str, ...]:
        """The dimensions of an array with so many axes: all, or those of a diagonal. ValueError for other numbers."""
        if n_dims == len(self.dims):
            return self.dims
        if self.is_matrix and n_dims == len(self.dims) - 1:
            return self.dims[:-1]
        raise ValueError(f"{self.long_name}: got {n_dims} axes, expected {', '.join(self.dims)}")


_PER_COPY = ("instance", "sample", "copy", "rung")
_PER_PAIR = ("instance", "sample", "pair", "rung")

VARIABLES: dict[str, Variable] = {
    "beta": Variable(("rung",), "f8", "1/energy", "inverse temperature, as used"),
    "sweep": Variable(("sample",), "i8", "sweeps", "sweep at which the row was taken"),
    "annealed_beta": Variable(("sample", "rung"), "f8", "1/energy", "inverse temperature of the row, under annealing"),
    "energy": Variable(_PER_COPY, "f8", "energy", "energy E, extensive"),
    "overlap": Variable(_PER_PAIR, "f8", "1", "overlap q between two copies"),
    "teacher_overlap": Variable(_PER_COPY, "f8", "1", "overlap R with the teacher"),
    "reference_overlap": Variable(_PER_COPY, "f8", "1", "overlap with the reference of the constraint"),
    "hidden_overlap": Variable(
        (*_PER_PAIR, "hidden", "hidden_b"), "f8", "1", "overlap of units of the first and the second copy", True
    ),
    "hidden_self_overlap": Variable(
        (*_PER_COPY, "hidden", "hidden_b"), "f8", "1", "overlap of units of the same copy", True
    ),
    "hidden_teacher_overlap": Variable(
        (*_PER_COPY, "hidden", "teacher_hidden"), "f8", "1", "overlap of units with those of the teacher", True
    ),
    "norm": Variable(_PER_COPY, "f8", "1", "norm w.w / n_weights"),
    "second_layer": Variable((*_PER_COPY, "hidden"), "f8", "1", "weights v_k of the second layer"),
    "test_error": Variable(
        _PER_COPY, "f8", "1", "fraction of fresh test patterns misclassified; real labels: mean of (f - label)^2 / 2"
    ),
    "kinetic_temperature": Variable(_PER_COPY, "f8", "1", "kinetic temperature, p.p per degree of freedom"),
    "energy_error": Variable(_PER_COPY, "f8", "1", "change H' - H by the integrator at the sweep of the row"),
    "walker": Variable(_PER_COPY, "i4", "1", "walker (rung of birth) that sits on the rung"),
    "acceptance": Variable(_PER_COPY, "f8", "1", "accepted / proposed since the previous row"),
    "magnetisation": Variable(
        ("instance", "copy", "rung", "weight"), "f8", "1", "mean of each weight over the rows after burn-in"
    ),
    "exchange_accepted": Variable(("instance", "copy", "swap"), "i8", "1", "accepted exchanges after burn-in"),
    "exchange_proposed": Variable(("instance", "copy", "swap"), "i8", "1", "proposed exchanges after burn-in"),
    "start": Variable(("copy",), "str", "1", "initial condition of the copy"),
    "step_size": Variable(("instance", "rung"), "f8", "1", "step size of the sampler, as used"),
    "teacher_norm": Variable(("instance",), "f8", "1", "norm of the teacher t.t / n_weights"),
    "teacher_second_layer": Variable(
        ("instance", "teacher_hidden"), "f8", "1", "weights of the second layer of the teacher"
    ),
    "waiting_time": Variable(("waiting",), "i8", "sweeps", "waiting time t_w"),
    "lag_time": Variable(("lag",), "i8", "sweeps", "lag t"),
    "correlation": Variable(
        ("instance", "copy", "rung", "waiting", "lag"), "f8", "1", "correlation w(t_w).w(t_w + t) / n_weights"
    ),
    "first_passage": Variable(
        ("instance", "copy", "rung"),
        "i8",
        "sweeps",
        "sweep at which a walker, by rung of birth, first had E = 0; or -1",
    ),
    "method": Variable(("instance", "rung"), "str", "1", "how the rung was sampled after the burn-in"),
}
"""Variables by name, in the order in which they are written.

A variable with the dimension `sample` is a time series and comes in segments; the others are written once.
"""

SNAPSHOTS: dict[str, Variable] = {
    "sweep": Variable(("snapshot",), "i8", "sweeps", "sweep at which the snapshot was taken"),
    "weights": Variable(("instance", "snapshot", "copy", "rung", "weight"), "f8", "1", "weights"),
}
"""The group `weights`: all weights at some sweeps, in segments as the time series."""
PACKED = Variable(
    ("instance", "snapshot", "copy", "rung", "word"), "u8", "1", "weights: bit i of word j is weight 64 j + i, 1 is +1"
)
"""What `weights` is there of weights that are +-1."""
