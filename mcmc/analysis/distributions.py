"""Laws of observables on each rung: P(q), P(R) and energies from the time series, stabilities from snapshots.

What has a lattice is binned on it: an integer energy has a bin of its own, and so has each overlap 1 - 2 d/n of up to
MOST_EXACT Ising weights. Bins of more weights have as many overlaps each, because others would show the lattice as
waves, and an even number of them: on +-1 inputs, fields of weights that differ in an even number of places are equal
modulo 4, so that even d are more frequent than odd ones, far more at low temperatures. Bins of what is real are a fifth
of a standard deviation wide. Bins of overlaps and stabilities are symmetric about 0, of even n about -1/n; the last one
may hold fewer.

Thermal errors are from blocks of time, all copies and pairs together, several autocorrelation times long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mcmc.analysis import statistics
from mcmc.analysis.energies import COUNTING_LOSSES
from mcmc.analysis.generalisation import machines
from mcmc.analysis.permutations import SOURCES, aligned_series
from mcmc.analysis.results import Results
from mcmc.analysis.reweighting import Band
from mcmc.analysis.thermalisation import ALIGNED
from mcmc.architectures import Architecture
from mcmc.data import Inputs
from mcmc.errors import ConfigError

BINS_PER_SIGMA = 5
MOST_EXACT = 50
"""Weights."""
MAX_BINS = 1000
"""Of what has no lattice, and a few wild values."""
MAX_MACHINES = 256
"""Snapshots on a rung, of all copies of an instance, whose stabilities are taken."""
MIN_BLOCKS = 4
"""With fewer blocks of time there is no error."""

_BLOCKS = 64
"""Of time, before they are joined to blocks of BLOCK_TAUS autocorrelation times."""


@dataclass(frozen=True, eq=False)
class Distribution:
    """Law of a quantity on one rung. No bins at all where a value is no finite number."""

    beta: float
    """1/energy."""
    value: np.ndarray
    """The value of a bin, or the mean of those that it can have, increasing, in units of the quantity: (bins,)."""
    width: np.ndarray
    """In the same units; of a lattice, its spacing times the number of values in the bin: (bins,)."""
    probability: Band
    """Mean over instances and errors of the probability of a bin, (bins,) each; the errors are NaN for a bin without a
    visit."""
    by_instance: np.ndarray
    """The same of every instance: (instances, bins), rows sum to 1."""

    @property
    def density(self) -> Band:
        """Probability per unit of the quantity, P(q) for example, with errors: (bins,) each."""
        return Band(*(part / self.width for part in self.probability))


def distributions(results: Results) -> dict[str, list[Distribution]]:
    """Laws of what exists of energy, overlap and teacher_overlap by rung, from the rows after the burn-in.

    The overlaps are aligned_overlap and aligned_teacher_overlap where order or signs of the units mean nothing. Raises
    ConfigError without such rows.
    """
    config = results.config
    found: dict[str, list[Distribution]] = {}
    for some in results.by_rungs([name for name in ("energy", *ALIGNED, *SOURCES) if name in results.dataset]):
        series = {name: some[name] for name in ("energy", *ALIGNED) if name in some}
        for name, values in aligned_series(some, config).items():
            series |= {name: values} if name in ALIGNED.values() else {}
        for name, values in series.items():
            if ALIGNED.get(name) in series:
                continue
            chain = "pair" if "pair" in values.dims else "copy"
            by_rung = values.transpose("rung", "instance", chain, "sample").to_numpy()
            for beta, here in zip(some["beta"].to_numpy(), by_rung, strict=True):
                grid = _grid_of_series(name, here, config, int(some.attrs["n_weights"]))
                found.setdefault(name, []).append(_of_series(float(beta), here, grid))
    return found


def stabilities(results: Results) -> list[Distribution]:
    """Law of the stabilities D = y f of the patterns on each rung, from snapshots of the weights after the burn-in.

    Of the symmetric loss, for which labels play no part, that of the outputs f. Bins of reals end at the margin. Up to
    MAX_MACHINES snapshots of an instance, evenly spaced. Raises ConfigError without snapshots, without stored data
    (output.store_data, a run that goes on) or for labels that are not +-1.
    """
    weights = results.weights()
    weights = weights.isel(snapshot=weights["sweep"].to_numpy() > int(results.dataset.attrs["burn_in"]))
    if weights.sizes["snapshot"] == 0:
        raise ConfigError(f"{results.path}: no snapshots of the weights beyond the burn-in")
    kept = max(1, min(weights.sizes["snapshot"], MAX_MACHINES // weights.sizes["copy"]))
    weights = weights.isel(snapshot=np.arange(kept) * weights.sizes["snapshot"] // kept)
    by_rung = weights.transpose("rung", "instance", "copy", "snapshot", "weight").to_numpy()
    student, _ = machines(results.config)
    loss = results.config["model"]["loss"]
    is_symmetric, margin = loss["name"] == "symmetric", float(loss.get("margin", 0.0))
    found: list[list[_Counts]] = [[] for _ in by_rung]
    grids: list[_Grid] = []
    for number, (patterns, labels) in enumerate(results.patterns()):
        inputs = Inputs.from_dense(patterns)
        machine = Architecture(
            student["architecture"],
            inputs.n_inputs,
            student["n_hidden"],
            student["activation"],
            student["second_layer"] == "sampled",
        )
        signs = np.ones(len(labels)) if is_symmetric else labels
        if not (np.abs(signs) == 1).all():
            raise ConfigError(f"{results.path}: labels are not +-1, expected such for stabilities")
        sites = _sites_of_outputs(machine, inputs.binary and student["weights"] == "ising")
        for r, here in enumerate(by_rung[:, number]):
            outputs = signs * machine.output(inputs, here)  # (copies, snapshots, patterns)
            if number == 0:
                grids.append(_grid(outputs, sites, margin))
            found[r].append(_counts(outputs, _tau(outputs.mean(axis=-1)), grids[r]))
    return [_joined(*one) for one in zip(weights["beta"].to_numpy().tolist(), grids, found, strict=True)]


# --- bins ---


class _Grid(NamedTuple):
    """Bin b has the values x with b <= (scale x + offset) / step < b + 1 and |scale x| < limit."""

    scale: float
    offset: float
    step: float
    limit: float = np.inf

    def index(self, values: np.ndarray) -> np.ndarray:
        """The bin of each value: int64 of the same shape."""
        return np.floor((values * self.scale + self.offset) / self.step).astype(np.int64)

    def bins(self, first: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Middles and widths of n bins from `first` on: (n,) each."""
        edges = (np.arange(first, first + n + 1) * self.step - self.offset).clip(-self.limit, self.limit) / self.scale
        return (edges[1:] + edges[:-1]) / 2, np.diff(edges)


_WHOLE_NUMBERS = _Grid(1.0, 0.5, 1.0)


class _Sites(NamedTuple):
    """A lattice of values j / scale with j = -n, -n + 2, ..., n; sums of n signs. They come in groups of `group`."""

    n: int
    scale: float
    group: int = 1


def _grid(values: np.ndarray, sites: _Sites | None, edge: float = 0.0) -> _Grid:
    """Bins of a fifth of a standard deviation of some values, as a rule, on their lattice if they have one.

    edge: where reals are to have one, at +-edge, unless a bin is wider
    """
    width = float(values.std()) / BINS_PER_SIGMA
    if sites is None:
        width = max(width, float(np.ptp(values)) / MAX_BINS) or 1.0
        return _Grid(1.0, 0.0, abs(edge) / np.ceil(abs(edge) / width) if abs(edge) >= width else width)
    together = sites.group * max(1, int(width * sites.scale / (2 * sites.group)))
    if sites.n % 2 == 0 and sites.group == 1:  # with a site at 0, whose bin is to be symmetric
        together -= 1 - together % 2
    offset = 0 if sites.n % 2 else together if together % 2 else 1  # so that edges are between sites
    return _Grid(sites.scale, offset, 2 * together, sites.n + 1)


def _grid_of_series(name: str, values: np.ndarray, config: dict[str, Any], n_weights: int) -> _Grid:
    """Of the values of a rung, (instances, copies or pairs, rows)."""
    if name == "energy":
        is_whole = config["model"]["loss"]["name"] in COUNTING_LOSSES
        return _WHOLE_NUMBERS if is_whole else _grid(values, None)
    differ = (n_weights - n_weights * values[..., :_BLOCKS]) / 2  # a teacher from a file may be anything
    is_lattice = config["model"].get("weights", "ising") == "ising" and np.allclose(differ, np.rint(differ), atol=1e-6)
    if is_lattice and n_weights <= MOST_EXACT:
        return _Grid(n_weights, 1 - n_weights % 2, 2, n_weights + 1)
    return _grid(values, _Sites(n_weights, n_weights, 2) if is_lattice else None)


def _sites_of_outputs(machine: Architecture, is_integer: bool) -> _Sites | None:
    """The lattice of outputs, of integer fields or without."""
    if machine.is_parity:
        return _Sites(1, 1.0)
    if machine.is_committee:
        votes = machine.activation == "sign" and not machine.second_layer
        return _Sites(machine.n_hidden, machine.n_hidden**0.5) if votes else None
    return _Sites(machine.fan_in, machine.fan_in**0.5) if is_integer else None


# --- counts ---


class _Counts(NamedTuple):
    """A histogram of one instance by blocks of time."""

    first: int
    """Number of the first bin."""
    counts: np.ndarray
    """(blocks, bins)."""
    error_of: int
    """Blocks that are joined for an error; 0 if the autocorrelation time is not known, or the series too short."""


def _of_series(beta: float, values: np.ndarray, grid: _Grid) -> Distribution:
    """values: (instances, copies or pairs, rows)."""
    if not np.isfinite(values).all():
        nothing, none = np.empty(0), np.empty((len(values), 0))
        return Distribution(beta, nothing, nothing, Band(nothing, nothing, nothing, nothing), none)
    return _joined(beta, grid, [_counts(one[..., None], _tau(one), grid) for one in values])


def _tau(series: np.ndarray) -> float:
    """Autocorrelation time in rows of (chains, rows), of the values and of their distance from the mean."""
    both = np.stack([series, (series - series.mean()) ** 2])
    return float(np.max(series.size / statistics.effective_sample_size(both)))  # NaN if either is


def _counts(values: np.ndarray, tau: float, grid: _Grid) -> _Counts:
    """values: (chains, rows, values of a row)."""
    n_rows = values.shape[1]
    n_blocks = 1 << (min(_BLOCKS, n_rows).bit_length() - 1)
    index = grid.index(values)
    first = int(index.min())
    width = int(index.max()) - first + 1
    blocks = np.arange(n_rows) * n_blocks // n_rows
    index += (width * blocks - first)[:, None]
    counts = np.bincount(index.ravel(), minlength=n_blocks * width).reshape(n_blocks, width)
    join = 0 if np.isnan(tau) else 1 << int(np.ceil(np.log2(max(1.0, statistics.BLOCK_TAUS * tau * n_blocks / n_rows))))
    return _Counts(first, counts, join if n_blocks >= MIN_BLOCKS * join else 0)


def _joined(beta: float, grid: _Grid, instances: list[_Counts]) -> Distribution:
    """The law over instances, of bins that any of them has visited, and those between."""
    first = min(one.first for one in instances)
    n_bins = max(one.first + one.counts.shape[1] for one in instances) - first
    means, errors = np.zeros((2, len(instances), n_bins))
    for mean, error, one in zip(means, errors, instances, strict=True):
        own = slice(one.first - first, one.first - first + one.counts.shape[1])
        mean[own] = one.counts.sum(axis=0) / one.counts.sum()
        error[own] = _error(one)
    thermal, sample = statistics.errors_over_instances(means, errors)
    value, width = grid.bins(first, n_bins)
    mean = means.mean(axis=0)
    thermal[mean == 0] = sample[mean == 0] = np.nan
    return Distribution(
        beta, value, width, Band(mean, sample if len(instances) > 1 else thermal, thermal, sample), means
    )


def _error(one: _Counts) -> np.ndarray:
    """Standard errors of the probabilities of one instance, (bins,)."""
    if not one.error_of:
        return np.full(one.counts.shape[1], np.nan)
    joined = one.counts.reshape(-1, one.error_of, one.counts.shape[1]).sum(axis=1)
    n, sizes = len(joined), joined.sum(axis=1, keepdims=True)  # of neighbours by a row apart, at most
    deviations = joined - sizes * joined.sum(axis=0) / sizes.sum()
    return np.sqrt(n / (n - 1) * (deviations**2).sum(axis=0)) / sizes.sum() * statistics.student_factor(n)
