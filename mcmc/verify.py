"""`mcmc verify`: a run, or a part of it, once more on one process, compared with its files byte for byte."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mcmc import config
from mcmc._version import __version__
from mcmc.config import Config
from mcmc.engine import STOPPED, Replay, check_sources
from mcmc.errors import ConfigError, StorageError
from mcmc.problem import Problem
from mcmc.schema import FORMAT_VERSION, SNAPSHOTS, VARIABLES
from mcmc.stop import Stop
from mcmc.storage import CHECKPOINT, PREVIOUS, RESULTS, RUN_TOML, SEGMENTS, WEIGHTS, Checkpoint, RunDirectory, Segment

_BLOCK = 8 << 20
"""Bytes of a dataset that are compared at a time."""
_COMPARED_ATTRIBUTES = ("seed", "burn_in", "n_weights", "n_patterns", "complete")
"""The others name the version of mcmc and the run file, in which checkpoint.* may have changed."""


class Difference(NamedTuple):
    """The first element in which a dataset differs from the replay."""

    name: str
    file: str
    index: tuple[int, ...] = ()
    sweep: int | None = None
    found: str = ""
    replayed: str = ""

    def __str__(self) -> str:
        index = f"[{', '.join(map(str, self.index))}]" if self.index else ""
        sweep = "" if self.sweep is None else f" at sweep {self.sweep}"
        return f"{self.name}{index}{sweep}: {self.found} in {self.file}, {self.replayed} in the replay"


@dataclass
class Report:
    """What was compared, and where it differs: the earliest sweep first."""

    first: int
    last: int
    """Sweeps of the replay: those after `first`, up to `last`."""
    n_rows: int
    n_datasets: int
    differences: list[Difference]
    seconds: float
    version: str
    """Of the mcmc that made the run."""

    def __str__(self) -> str:
        if not self.differences:
            rows = f"{self.n_rows} rows after sweep {self.first}, up to sweep {self.last}"
            return f"identical: {self.n_datasets} datasets, {rows}; {self.seconds:.1f} s"
        words = f"differs: {self.differences[0]}"
        others = list(dict.fromkeys(found.name for found in self.differences[1:]))
        if others:
            words += f"; {len(others)} more datasets differ: {', '.join(others[:4])}{', ...' * (len(others) > 4)}"
        if self.version != __version__:
            words += f" (made by mcmc {self.version}, this is {__version__})"
        return words


def verify(
    directory: Path,
    fraction: float = 1.0,
    from_checkpoint: bool = False,
    relative_to: Path | None = None,
    quiet: bool = False,
) -> Report:
    """Replay the run in `directory` in a temporary directory and compare all that there is of it.

    fraction: of the sweeps, from the first on; from_checkpoint: instead the sweeps from checkpoint.prev.h5 to
    checkpoint.h5. relative_to: where relative paths of the run file start; by default where they did for the run.
    Raises StorageError if files are damaged or of another run, ConfigError if the run cannot be made here, and
    KeyboardInterrupt after a signal; nothing is left behind.
    """
    began = time.monotonic()
    files = RunDirectory(directory)
    start = _previous(files) if from_checkpoint else None
    target = _target(files)
    asked = _config(files, target, relative_to)
    problem = _problem(asked, target)
    check_sources(problem, target, directory)
    first, end = (0 if start is None else int(start.attrs["sweep"])), int(target.attrs["sweep"])
    if from_checkpoint and first >= end:
        raise ConfigError(f"--from-checkpoint: {directory}: {PREVIOUS} and {CHECKPOINT} are of the same sweep {end}")
    last = min(end, max(math.ceil(fraction * end), asked.schedule.measure_every))
    with tempfile.TemporaryDirectory(prefix="mcmc-verify-") as temporary:
        replay = RunDirectory(Path(temporary) / "replay")
        with Stop(None) as stop:
            if Replay(problem, replay.path, last, start, quiet).execute(stop) == STOPPED:
                raise KeyboardInterrupt
        comparison = _Comparison(files, target, asked, replay, first, last)
        comparison.run()
    differences = sorted(comparison.differences, key=lambda found: math.inf if found.sweep is None else found.sweep)
    every = asked.schedule.measure_every
    n_rows = last // every - first // every
    seconds, version = time.monotonic() - began, str(target.attrs["mcmc_version"])
    return Report(first, last, n_rows, comparison.n_datasets, differences, seconds, version)


def _target(files: RunDirectory) -> Checkpoint:
    checkpoint = files.read_checkpoint()
    if checkpoint is None:
        missing = f"holds no checkpoint{'' if (files.path / RESULTS).exists() else ' (yet)'}"
        raise StorageError(f"{files.path}: {missing}: nothing to compare a replay with")
    if checkpoint.warning:
        raise StorageError(checkpoint.warning)
    return checkpoint


def _previous(files: RunDirectory) -> Checkpoint:
    checkpoint = files.previous_checkpoint()
    if checkpoint is None:
        raise ConfigError(f"--from-checkpoint: {files.path}: holds no {PREVIOUS}, the run has written one checkpoint")
    return checkpoint


def _config(files: RunDirectory, target: Checkpoint, relative_to: Path | None) -> Config:
    """What the checkpoint says was asked for; StorageError if run.toml says anything else."""
    where = relative_to or (files.read_status() or {}).get("run_file_directory", "")
    asked = config.loads(str(target.attrs["run_toml"]), directory=str(where))
    try:
        changes = config.loads(files.run_toml() or "", directory=str(where)).changes_since(asked.text)
    except ConfigError as error:
        raise StorageError(f"{files.path / RUN_TOML}: damaged: {error}") from None
    if changes:
        raise StorageError(f"{files.path / RUN_TOML}: has been changed since the run: {'; '.join(changes)}")
    return asked


def _problem(asked: Config, target: Checkpoint) -> Problem:
    """A sample of another run is in the checkpoint; other files that were read must still be there."""
    try:
        return Problem(asked, target.arrays.get("reference") if asked.constraint.reference == "run" else None)
    except ConfigError as error:
        relative = [path for path in (asked.data.path, asked.constraint.path) if path and not Path(path).is_absolute()]
        hint = "; --relative-to DIR says where relative paths of the run file start" if relative else ""
        raise ConfigError(f"{error}{hint}") from None


class _Comparison:
    """Of the files of a run with those of its replay, which has the sweeps first + 1 .. last."""

    def __init__(
        self, files: RunDirectory, target: Checkpoint, asked: Config, replay: RunDirectory, first: int, last: int
    ) -> None:
        self.files, self.target, self.asked, self.replay = files, target, asked, replay
        self.first, self.last = first, last
        self.n_datasets = 0
        self.differences: list[Difference] = []

    def run(self) -> None:
        found = self.replay.read_checkpoint()
        if found is None:
            raise RuntimeError("the replay has left no checkpoint")
        is_complete = self.target.attrs["sweep"] == self.asked.schedule.sweeps and (self.files.path / RESULTS).exists()
        with ExitStack() as stack:
            results = stack.enter_context(self.files.results()) if is_complete else None
            if results is not None:
                self._check_results(results)
            if results is not None and self.last == self.asked.schedule.sweeps:
                self._constants(results, stack.enter_context(self.replay.results()))
            self._series(results, found)
        if self.last == self.target.attrs["sweep"]:
            self._state(found)

    def _check_results(self, results: Any) -> None:
        version = int(results.attrs["format_version"])
        if version != FORMAT_VERSION:
            where = self.files.path / RESULTS
            raise StorageError(f"{where}: has format version {version}, a replay has version {FORMAT_VERSION}")

    # --- what is compared ---

    def _constants(self, results: Any, replayed: Any) -> None:
        """Everything in results.h5 but time series; `data` first, in which a difference would be at sweep 0."""
        for name in _COMPARED_ATTRIBUTES:
            values = [np.asarray(file.attrs.get(name, "missing")) for file in (results, replayed)]
            self._compare(f"attribute {name}", RESULTS, [values[0]], [values[1]])
        left, right = ({n: d for n, d in _datasets(file) if not _is_series(n)} for file in (results, replayed))
        for name in self._common(left, right, RESULTS):
            pieces = (_blocks(file[name], 0, 0, None) for file in (left, right))
            self._compare(name, RESULTS, *pieces, origin=0 if name.startswith("data/") else None)

    def _series(self, results: Any, found: Checkpoint) -> None:
        """Time series: the rows of the replay with those of results.h5, or of segments where there are no results."""
        if not found.segments:  # no row between two checkpoints
            return
        replayed = _shapes(self.replay, found.segments)
        file = SEGMENTS if results is None else RESULTS
        if results is None:
            shapes = _shapes(self.files, self.target.segments)
        else:
            shapes = {name: dataset.shape for name, dataset in _datasets(results) if _is_series(name)}
        for name in self._common(shapes, replayed, file):
            every, axis = self._rhythm(name)
            first, last = self.first // every, self.last // every
            if results is None:
                here = _cut(self.files.rows(name, self.target.segments), axis, first, last)
            else:
                here = _blocks(results[name], axis, first, last)
            self._compare(name, file, here, self.replay.rows(name, found.segments), axis, first, every)

    def _rhythm(self, name: str) -> tuple[int, int]:
        """Sweeps from row to row of a series, and the axis of the rows."""
        if name in VARIABLES:
            return self.asked.schedule.measure_every, VARIABLES[name].dims.index("sample")
        variable = SNAPSHOTS[name.removeprefix(f"{WEIGHTS}/")]
        return self.asked.output.weights_every, variable.dims.index("snapshot")

    def _state(self, found: Checkpoint) -> None:
        """The walkers themselves, and what has been counted, at the last sweep."""
        for name in self._common(self.target.arrays, found.arrays, CHECKPOINT):
            self._compare(name, CHECKPOINT, [self.target.arrays[name]], [found.arrays[name]], origin=self.last)

    # --- how ---

    def _common(self, left: Mapping[str, Any], right: Mapping[str, Any], file: str) -> list[str]:
        """Names that both have; one that is missing is a difference."""
        for name in left.keys() ^ right.keys():
            found, replayed = ("there" if name in side else "missing" for side in (left, right))
            self.differences.append(Difference(name, file, found=found, replayed=replayed))
        return [name for name in left if name in right]

    def _compare(
        self,
        name: str,
        file: str,
        left: Iterable[np.ndarray],
        right: Iterable[np.ndarray],
        axis: int = 0,
        first: int = 0,
        every: int | None = None,
        origin: int | None = None,
    ) -> None:
        """Pieces that follow each other along an axis, from row `first` on; a row is `every` sweeps.

        origin: the sweep of what is no series
        """
        self.n_datasets += 1
        row = first
        for a, b in _together(left, right, axis):
            kinds = [f"{side.dtype} of shape {side.shape}" for side in (a, b)]
            if kinds[0] != kinds[1]:
                self.differences.append(Difference(name, file, (), origin, *kinds))
                return
            place = _first_difference(a, b, axis)
            if place is not None:
                index = (*place[:axis], place[axis] + row, *place[axis + 1 :]) if place else ()
                sweep = origin if every is None else every * (index[axis] + 1)
                self.differences.append(Difference(name, file, index, sweep, *_shown(a[place], b[place])))
                return
            row += a.shape[axis] if a.ndim else 0


def _datasets(group: Any) -> list[tuple[str, Any]]:
    """The datasets of a file with their paths, those of groups first; without those that are dimensions only."""
    found: list[tuple[str, Any]] = []
    group.visititems(lambda name, node: found.append((name, node)) if hasattr(node, "shape") else None)
    found = [(name, node) for name, node in found if not _is_pure_dimension(node)]
    return sorted(found, key=lambda item: "/" not in item[0])


def _is_pure_dimension(dataset: Any) -> bool:
    return bytes(dataset.attrs.get("NAME", b"")).startswith(b"This is a netCDF dimension but not")


def _is_series(name: str) -> bool:
    return name.startswith(f"{WEIGHTS}/") or (name in VARIABLES and "sample" in VARIABLES[name].dims)


def _shapes(files: RunDirectory, segments: Sequence[Segment]) -> dict[str, tuple[int, ...]]:
    """Of all series in segments, snapshots among them, by their paths."""
    snapshots = {f"{WEIGHTS}/{name}": shape for name, shape in files.snapshot_shapes(segments).items()}
    return files.series_shapes(segments) | snapshots


def _blocks(dataset: Any, axis: int, first: int, last: int | None) -> Iterator[np.ndarray]:
    """Rows first .. last - 1 of an HDF5 dataset, some at a time."""
    if not dataset.shape:
        yield np.asarray(dataset[()])
        return
    last = dataset.shape[axis] if last is None else min(last, dataset.shape[axis])
    row_bytes = max(1, dataset.size // max(1, dataset.shape[axis])) * dataset.dtype.itemsize
    step = max(1, _BLOCK // row_bytes)
    for start in range(first, last, step):
        yield dataset[(*(slice(None),) * axis, slice(start, min(last, start + step)))]


def _cut(pieces: Iterable[np.ndarray], axis: int, first: int, last: int) -> Iterator[np.ndarray]:
    """Rows first .. last - 1 of pieces that follow each other."""
    row = 0
    for piece in pieces:
        n = piece.shape[axis]
        yield piece[(*(slice(None),) * axis, slice(max(0, first - row), max(0, last - row)))]
        row += n


def _together(
    left: Iterable[np.ndarray], right: Iterable[np.ndarray], axis: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Two sequences of pieces, cut alike; at their ends, what is left over beside an empty piece."""
    sources = [iter(left), iter(right)]
    held: list[np.ndarray | None] = [None, None]
    while True:
        for side, source in enumerate(sources):
            while held[side] is None or (held[side].ndim and not held[side].shape[axis]):
                following = next(source, None)
                if following is None:
                    break
                held[side] = following
        a, b = held
        if a is None or b is None:
            if a is not b:
                present = a if b is None else b
                none = present[(*(slice(None),) * axis, slice(0, 0))]
                yield (present, none) if b is None else (none, present)
            return
        if a.ndim == 0 or b.ndim == 0:
            yield a, b
            return
        n = min(a.shape[axis], b.shape[axis])
        if n == 0:
            if a.shape[axis] != b.shape[axis]:
                yield a, b
            return
        before = (slice(None),) * axis
        yield a[(*before, slice(0, n))], b[(*before, slice(0, n))]
        held = [a[(*before, slice(n, None))], b[(*before, slice(n, None))]]


def _first_difference(a: np.ndarray, b: np.ndarray, axis: int) -> tuple[int, ...] | None:
    """Index of the first element that differs in a bit, in the order of the given axis."""
    a, b = np.ascontiguousarray(a).reshape(a.shape), np.ascontiguousarray(b).reshape(b.shape)
    if a.dtype.kind in "OU":
        differ = np.asarray(a != b)
    elif a.tobytes() == b.tobytes():
        return None
    else:
        bits = (side.view(np.uint8).reshape(*side.shape, -1) for side in (_with_axis(a), _with_axis(b)))
        differ = np.not_equal(*bits).any(axis=-1).reshape(a.shape)
    if not differ.any():
        return None
    if a.ndim == 0:
        return ()
    # by row first, so that of several differences the earliest is found
    moved = np.moveaxis(differ, axis, 0)
    row, *rest = map(int, np.unravel_index(int(np.argmax(moved)), moved.shape))
    return (*rest[:axis], row, *rest[axis:])


def _with_axis(array: np.ndarray) -> np.ndarray:
    return array.reshape(1) if array.ndim == 0 else array


def _shown(a: Any, b: Any) -> tuple[str, str]:
    """Two values that differ, with their bits where they are printed alike."""
    shown = [repr(value.item() if isinstance(value, np.generic) else value) for value in (a, b)]
    if shown[0] == shown[1]:
        shown = [
            f"{text} (0x{np.asarray(value).tobytes()[::-1].hex()})" for text, value in zip(shown, (a, b), strict=True)
        ]
    return shown[0], shown[1]
