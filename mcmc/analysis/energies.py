"""The energies of a ladder, kept as sums over blocks of time: all that free energies and reweighting need of a run.

A block has the same rows of all rungs of one copy, because exchange correlates rungs; copies are independent. A
jackknife over blocks then needs no model of the correlations, if blocks are long against the autocorrelation time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from mcmc.analysis import results, statistics

COUNTING_LOSSES = ("error-count", "symmetric")
"""Losses that count patterns: energies are whole numbers."""
MAX_BLOCKS = 128
"""Of an instance, over all copies."""
MIN_BLOCKS_PER_COPY = 8
MIN_BLOCK_ROWS = 8
MAX_POINTS = 1000
"""Energies kept of a rung and instance where they are no whole numbers."""

_MAX_ROWS_OF_TAU = 4096

MEAN, SQUARE, UP, UP_SQUARE, DOWN, DOWN_SQUARE = range(6)
"""Columns of Ladder.moments."""


class Points(NamedTuple):
    """Energies that were seen. `energy`: (points,); `counts`: how often in each block, over rungs: (blocks, points)."""

    energy: np.ndarray
    counts: np.ndarray
    n_rows: int
    """Rows of one rung in one block: counts.sum() is blocks x rungs x n_rows."""


@dataclass(frozen=True)
class Ladder:
    """Energies of some copies of one instance, rungs in order of increasing beta."""

    beta: np.ndarray
    """(rungs,)."""
    low: np.ndarray
    high: np.ndarray
    """Lowest and highest energy seen on each rung: (rungs,)."""
    tau: np.ndarray
    """Integrated autocorrelation time of the energy in rows, (rungs,); NaN where it never changes, or of few rows. Of
    long series no less than a 4096th of the rows, against which blocks are long anyway."""
    tau_of_sum: np.ndarray
    """Of the integral of the energy from the first rung: (rungs,). Where walkers exchange rungs, sums over rungs forget
    later than any rung."""
    at_zero: np.ndarray
    """Fraction of rows with E = 0: (rungs,)."""
    n_copies: int
    n_rows: int
    """Of a copy on a rung, over all blocks."""
    moments: np.ndarray
    """Means over blocks, (blocks, rungs, 6), of E - low and its square, of u = exp(-(beta_next - beta)(E - low)) and
    u^2, of v = exp((beta - beta_previous)(E - high)) and v^2. beta_previous of the first rung is 0; u of the last is 1.
    Blocks of one copy follow each other in time."""
    seen: tuple[np.ndarray, ...]
    """By rung. Whole energies: counts (blocks, 1 + high - low) of low, low + 1, ...; others: energies (blocks, rows),
    some of the rows of each block, evenly spaced."""
    stride: float
    """Rows to one of `seen`."""
    is_whole: bool

    @property
    def n_blocks(self) -> int:
        return len(self.moments)

    def merged(self, level: int) -> Ladder:
        """Blocks joined by 2^level, but not over copies."""
        join = min(2**level, self.n_blocks // self.n_copies)
        if join == 1:
            return self
        moments = self.moments.reshape(-1, join, *self.moments.shape[1:]).mean(axis=1)
        if self.is_whole:
            seen = tuple(counts.reshape(-1, join, counts.shape[1]).sum(axis=1) for counts in self.seen)
        else:
            seen = tuple(energies.reshape(-1, join * energies.shape[1]) for energies in self.seen)
        return replace(self, moments=moments, seen=seen)

    def points(self, n_rungs: int) -> Points:
        """What was seen on the first n_rungs rungs."""
        if self.is_whole:
            first, last = int(self.low[:n_rungs].min()), int(self.high[:n_rungs].max())
            counts = np.zeros((self.n_blocks, last - first + 1))
            for low, here in zip(self.low, self.seen[:n_rungs], strict=False):
                start = int(low) - first
                counts[:, start : start + here.shape[1]] += here
            found = counts.any(axis=0)
            return Points(first + np.flatnonzero(found).astype(float), counts[:, found], int(self.seen[0][0].sum()))
        energies = np.stack(self.seen[:n_rungs])
        blocks = np.broadcast_to(np.arange(self.n_blocks)[:, None], energies.shape)
        counts = (blocks.ravel() == np.arange(self.n_blocks)[:, None]).astype(float)
        return Points(energies.ravel(), counts, energies.shape[-1])

    def levels(self) -> np.ndarray:
        """By how much blocks must be merged so that a quantity of the rungs up to each one has long enough blocks.

        int (rungs,); rungs that never change ask for nothing.
        """
        slowest = np.fmax.accumulate(np.fmax(self.tau, self.tau_of_sum))
        length = self.n_rows * self.n_copies / self.n_blocks
        asked = np.ceil(np.log2(np.fmax(statistics.BLOCK_TAUS * slowest / length, 1.0)))
        return np.minimum(asked, np.log2(self.n_blocks // self.n_copies)).astype(int)

    def is_moving(self) -> np.ndarray:
        """Whether all rungs up to each one have an autocorrelation time, without which there is no error: (rungs,)."""
        return ~np.isnan(np.maximum.accumulate(self.tau))


def ladders(data: xr.Dataset, config: dict[str, Any], groups: Sequence[np.ndarray]) -> Iterator[tuple[Ladder, ...]]:
    """For every instance the ladders of groups of copies (index arrays).

    Reads the energy once, results.BYTES_AT_A_TIME together or else one rung of an instance.

    data: rows after the burn-in; config: the run file
    """
    energy = data["energy"].variable  # xarray gathers the values one by one if axes change before it reads
    order = np.argsort(data["beta"].to_numpy(), kind="stable")
    beta = data["beta"].to_numpy()[order].astype(float)
    n_instances = energy.sizes["instance"]
    step = int(max(1, n_instances * results.BYTES_AT_A_TIME // energy.nbytes))
    is_counting = config["model"]["loss"]["name"] in COUNTING_LOSSES
    for first in range(0, n_instances, step):
        piece = energy.isel(instance=slice(first, first + step))
        if piece.nbytes <= results.BYTES_AT_A_TIME:
            piece = piece.load()
        for number in range(piece.sizes["instance"]):
            rungs = (_read(piece.isel(instance=number, rung=r)) for r in order)
            yield _of_instance(rungs, beta, groups, is_counting)


def _read(energy: xr.Variable) -> np.ndarray:
    """Of one rung of an instance: float64 (copies, rows)."""
    return energy.load().transpose("copy", "sample").to_numpy().astype(float, copy=False)


def _of_instance(
    rungs: Iterator[np.ndarray], beta: np.ndarray, groups: Sequence[np.ndarray], is_counting: bool
) -> tuple[Ladder, ...]:
    """rungs: energies (copies, rows) of one rung after the other."""
    steps = np.diff(beta, prepend=0.0, append=beta[-1])
    parts: list[list[_Rung]] = [[] for _ in groups]
    binned = []
    for r, energies in enumerate(rungs):
        if r == 0:
            is_whole = is_counting and bool((energies == np.rint(energies)).all())
        for part, group in zip(parts, groups, strict=True):
            part.append(_Rung.of(energies[group], steps[r + 1], steps[r], is_whole))
        binned.append(_binned(energies))
    series = np.array(binned)
    widths = np.maximum(np.gradient(beta), np.finfo(float).tiny) if len(beta) > 1 else np.ones(1)
    sums = np.cumsum(series * widths[:, None, None], axis=0)
    bin_rows = energies.shape[1] / series.shape[2]
    ladders = []
    for part, group in zip(parts, groups, strict=True):
        tau, tau_of_sum = bin_rows * _tau(np.stack([series[:, group], sums[:, group]]))
        ladders.append(_joined(part, beta, len(group), is_whole, tau, tau_of_sum))
    return tuple(ladders)


class _Rung(NamedTuple):
    """What Ladder has of one rung."""

    low: float
    high: float
    at_zero: float
    n_rows: int
    moments: np.ndarray
    seen: np.ndarray
    stride: float

    @classmethod
    def of(cls, energies: np.ndarray, step_up: float, step_down: float, is_whole: bool) -> _Rung:
        """energies: (copies, rows)."""
        n_copies, n_rows = energies.shape
        per_copy = _blocks_per_copy(n_copies, n_rows)
        length = n_rows // per_copy
        cut = energies[:, n_rows - per_copy * length :].reshape(n_copies * per_copy, length)
        low, high = cut.min(), cut.max()
        up, down = np.exp(-step_up * (cut - low)), np.exp(step_down * (cut - high))
        centred = cut - low
        moments = [(x**power).mean(axis=1) for x in (centred, up, down) for power in (1, 2)]
        if is_whole:
            seen, stride = _histograms(centred.astype(np.int64), int(high - low) + 1), 1.0
        else:
            kept = max(1, min(length, MAX_POINTS // len(cut)))
            seen, stride = cut[:, np.arange(kept) * length // kept], length / kept
        zero = float((cut == 0).mean())
        return cls(low, high, zero, per_copy * length, np.stack(moments, axis=1), seen, stride)


def _joined(
    rungs: list[_Rung], beta: np.ndarray, n_copies: int, is_whole: bool, tau: np.ndarray, tau_of_sum: np.ndarray
) -> Ladder:
    return Ladder(
        beta=beta,
        low=np.array([rung.low for rung in rungs]),
        high=np.array([rung.high for rung in rungs]),
        tau=tau,
        tau_of_sum=tau_of_sum,
        at_zero=np.array([rung.at_zero for rung in rungs]),
        n_copies=n_copies,
        n_rows=rungs[0].n_rows,
        moments=np.stack([rung.moments for rung in rungs], axis=1),
        seen=tuple(rung.seen for rung in rungs),
        stride=rungs[0].stride,
        is_whole=is_whole,
    )


def _blocks_per_copy(n_copies: int, n_rows: int) -> int:
    """A power of 2, so that blocks can be joined by twos."""
    most = min(max(MAX_BLOCKS // n_copies, MIN_BLOCKS_PER_COPY), n_rows // MIN_BLOCK_ROWS)
    return 1 << max(0, most.bit_length() - 1)


def _histograms(values: np.ndarray, width: int) -> np.ndarray:
    """Counts of 0 .. width - 1 in each row of `values`: (blocks, width)."""
    blocks = np.arange(len(values))[:, None] * width
    return np.bincount((values + blocks).ravel(), minlength=len(values) * width).reshape(-1, width)


def _binned(energies: np.ndarray) -> np.ndarray:
    """Means over so many rows each that there are no more than some thousand: (copies, rows) -> (copies, bins)."""
    n_copies, n_rows = energies.shape
    length = -(-n_rows // _MAX_ROWS_OF_TAU)
    n_bins = n_rows // length
    return energies[:, n_rows - n_bins * length :].reshape(n_copies, n_bins, length).mean(axis=-1)


def _tau(series: np.ndarray) -> np.ndarray:
    """Autocorrelation times in rows of the series (..., copies, rows): (...); 1 at least."""
    size = statistics.effective_sample_size(series)
    return series.shape[-1] * series.shape[-2] / size
