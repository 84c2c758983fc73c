"""`mcmc verify`: a run, or a part of it, once more on one process, compared with its files byte for byte."""

from __future__ import annotations

import math
import operator
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mcmc import config
from mcmc._version import __version__
from mcmc.config import Config
from mcmc.engine import FIRST_BETA, STOPPED, Replay, check_sources
from mcmc.errors import ConfigError, DivergenceError, StorageError
from mcmc.netcdf import PURE_DIMENSION, WEIGHTS, replaced
from mcmc.problem import Problem
from mcmc.schema import FORMAT_VERSION, SNAPSHOTS, VARIABLES
from mcmc.stop import Stop
from mcmc.storage import (
    CHECKPOINT,
    PREVIOUS,
    RESULTS,
    ROOT_ATTRIBUTES,
    RUN_TOML,
    SEGMENTS,
    Checkpoint,
    RunDirectory,
    Segment,
)

_BLOCK = 8 << 20
"""Bytes of a dataset that are compared at a time, about: compressed chunks are read whole."""
_VERSION, _RUN_TOML = "mcmc_version", "run_toml"
"""Attributes that may differ: results.h5 can be of a later version, and checkpoint.* may have changed."""


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
    is_whole: bool
    """Whether they are the last that the files have; otherwise rows alone were compared."""
    n_rows: int
    n_datasets: int
    differences: list[Difference]
    seconds: float
    version: str
    """Of the mcmc that made the run."""

    def __str__(self) -> str:
        if not self.differences:
            rows = f"{self.n_rows} rows after sweep {self.first}, up to sweep {self.last}"
            what = "" if self.is_whole else "rows only, "
            return f"identical: {what}{self.n_datasets} datasets, {rows}; {self.seconds:.1f} s"
        first = self.differences[0]
        words = f"differs: {first}"
        others = list(dict.fromkeys(found.name for found in self.differences if found.name != first.name))
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
    """Replay the run in `directory` in a temporary directory and compare its segments, checkpoint.h5 and results.h5.

    Of a run that is not complete results.h5 (of `mcmc merge`, or of fewer sweeps) is left out.
    fraction: of the sweeps, from the first on, of which rows alone are compared; from_checkpoint: instead the sweeps
    from checkpoint.prev.h5, or the first one where there is none, to checkpoint.h5. relative_to: where relative paths
    of the run file start; by default where they did for the run.
    Raises StorageError if files are damaged, missing or of another run, ConfigError if the run cannot be made here,
    DivergenceError if the replay diverges, and KeyboardInterrupt after a signal; nothing is left behind.
    """
    began = time.monotonic()
    files = RunDirectory(directory)
    target = _target(files)
    asked = _config(files, target, relative_to)
    has_results = _has_results(files, target, asked)
    start = _previous(files, target, asked) if from_checkpoint else None
    problem = _problem(asked, target)
    check_sources(problem, target, directory)
    first, end = (0 if start is None else int(start.attrs["sweep"])), int(target.attrs["sweep"])
    if not end:
        raise StorageError(f"{files.path / CHECKPOINT}: is of sweep 0, there is nothing to verify yet")
    if first >= end:
        raise StorageError(f"{files.path / PREVIOUS}: is of sweep {first}, {CHECKPOINT} of sweep {end}")
    last = min(end, max(math.ceil(fraction * end), asked.schedule.measure_every))
    with Stop(None) as stop, tempfile.TemporaryDirectory(prefix="mcmc-verify-") as temporary:
        replay = RunDirectory(Path(temporary) / "replay")
        try:
            outcome = Replay(problem, replay.path, last, start, quiet).execute(stop)
        except DivergenceError as error:
            raise DivergenceError(f"{directory}: the replay has diverged: {error}", error.at) from None
        except StorageError as error:
            raise StorageError(f"{directory}: the replay has failed: {error}") from None
        if outcome == STOPPED:
            raise KeyboardInterrupt
        comparison = _Comparison(files, target, asked, replay, first, last, stop)
        comparison.run(has_results)
    differences = sorted(comparison.differences, key=lambda found: math.inf if found.sweep is None else found.sweep)
    every = asked.schedule.measure_every
    n_rows = last // every - first // every
    seconds, version = time.monotonic() - began, str(target.attrs["mcmc_version"])
    return Report(first, last, comparison.is_whole, n_rows, comparison.n_datasets, differences, seconds, version)


def _target(files: RunDirectory) -> Checkpoint:
    checkpoint = files.read_checkpoint()
    if checkpoint is None:
        missing = f"holds no checkpoint{'' if (files.path / RESULTS).exists() else f' {files.not_yet}'}"
        raise StorageError(f"{files.path}: {missing}: nothing to compare a replay with")
    if checkpoint.warning:
        raise StorageError(checkpoint.warning)
    return checkpoint


def _previous(files: RunDirectory, target: Checkpoint, asked: Config) -> Checkpoint | None:
    """The checkpoint before `target`, None if there is none; StorageError if it is of another run."""
    checkpoint = files.previous_checkpoint()
    if checkpoint is None:
        return None
    try:
        changes = asked.changes_since(str(checkpoint.attrs.get(_RUN_TOML)))
    except ConfigError as error:
        changes = [str(error)]
    for name in ("fingerprint", "reference"):
        if checkpoint.attrs.get(name) != target.attrs[name]:
            changes.append(f"{name} was {checkpoint.attrs.get(name)!r}, is {target.attrs[name]!r}")
    if changes:
        raise StorageError(f"{files.path / PREVIOUS}: is of another run than {CHECKPOINT}: {'; '.join(changes)}")
    return checkpoint


def _has_results(files: RunDirectory, target: Checkpoint, asked: Config) -> bool:
    """Whether results.h5 is that of `target`. StorageError if it is missing though it has been written."""
    if target.attrs["sweep"] != asked.schedule.sweeps:
        return False
    path = files.path / RESULTS
    if path.exists():
        return True
    if (files.read_status() or {}).get("state") in ("running", "stopped", "failed"):  # before the results were written
        return False
    raise StorageError(f"{path}: missing, and the run is complete: mcmc run or mcmc scan makes it anew")


def _config(files: RunDirectory, target: Checkpoint, relative_to: Path | None) -> Config:
    """What the checkpoint says was asked for; StorageError if run.toml says anything else."""
    where = relative_to or (files.read_status() or {}).get("run_file_directory", "")
    asked = config.loads(str(target.attrs["run_toml"]), directory=str(where))
    text = files.run_toml()
    if text is None:
        raise StorageError(f"{files.path / RUN_TOML}: missing: nothing says which run the files should be of")
    try:
        changes = config.loads(text, directory=str(where)).changes_since(asked.text)
    except ConfigError as error:
        raise StorageError(f"{files.path / RUN_TOML}: damaged: {error}") from None
    if changes:
        raise StorageError(f"{files.path / RUN_TOML}: has been changed since the run: {'; '.join(changes)}")
    return asked


def _problem(asked: Config, target: Checkpoint) -> Problem:
    """A sample of another run is in the checkpoint; other files that were read must still be there."""
    try:
        made = Problem(asked, target.arrays.get("reference") if asked.constraint.reference == "run" else None)
        return made.on_ladder(target.arrays[FIRST_BETA]) if asked.seeks_rungs else made
    except ConfigError as error:
        relative = [path for path in (asked.data.path, asked.constraint.path) if path and not Path(path).is_absolute()]
        hint = "; --relative-to DIR says where relative paths of the run file start" if relative else ""
        raise ConfigError(f"{error}{hint}") from None


_Pair = tuple[tuple[int, ...], np.ndarray, np.ndarray]
"""Two pieces to compare, of a run and its replay, and the index at which they start."""


class _Comparison:
    """Of the files of a run with those of its replay, which has the sweeps first + 1 .. last."""

    def __init__(
        self,
        files: RunDirectory,
        target: Checkpoint,
        asked: Config,
        replay: RunDirectory,
        first: int,
        last: int,
        stop: Stop,
    ) -> None:
        self.files, self.target, self.asked, self.replay = files, target, asked, replay
        self.first, self.last, self.stop = first, last, stop
        self.is_whole = last == target.attrs["sweep"]
        """Whether the replay goes to the end of the files."""
        self.n_datasets = 0
        self.differences: list[Difference] = []

    def run(self, has_results: bool) -> None:
        """All files, results.h5 if it is there; KeyboardInterrupt after a signal."""
        found = self.replay.read_checkpoint()
        if found is None:
            raise RuntimeError("the replay has left no checkpoint")
        if has_results:
            with self.files.results() as results:
                self._results(results, found)
        self._series(None, found)
        if self.is_whole:
            self._attributes(CHECKPOINT, self.target.attrs, found.attrs)
            self._arrays(CHECKPOINT, self.target.arrays, found.arrays, lambda _: self.last)

    # --- what is compared ---

    def _results(self, results: Any, found: Checkpoint) -> None:
        """Everything in results.h5; `data` first, in which a difference would be at sweep 0."""
        version = int(results.attrs["format_version"])
        if version != FORMAT_VERSION:
            where = self.files.path / RESULTS
            raise StorageError(f"{where}: has format version {version}, a replay has version {FORMAT_VERSION}")
        expected = {name: found.attrs[name] for name in ROOT_ATTRIBUTES if name in found.attrs}
        self._attributes(RESULTS, results.attrs, expected | {"format_version": version, "complete": 1})
        if self.is_whole:
            with self.replay.results() as replayed:
                constants = [{n: d for n, d in _datasets(file) if not _is_series(n)} for file in (results, replayed)]
                self._arrays(RESULTS, *constants, lambda name: 0 if name.startswith("data/") else None)
        self._series(results, found)

    def _attributes(self, file: str, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
        for name in dict.fromkeys([*expected, *found]):
            shown = [repr(np.asarray(side[name]).tolist()) if name in side else "missing" for side in (found, expected)]
            if name == _RUN_TOML:
                shown = self._run_files(str(found.get(name, "")))
            if shown[0] != shown[1] and name != _VERSION:
                self.differences.append(Difference(f"attribute {name}", file, (), None, *shown))

    def _run_files(self, text: str) -> list[str]:
        """What is shown of a run file, and of that of the replay: alike if they ask for the same."""
        try:
            earlier = config.loads(text, directory=self.asked.directory)
            changes = self.asked.changes_since(text) or earlier.changes_since(self.asked.text)
        except ConfigError as error:
            changes = [str(error)]
        return ["another run file", f"that of {CHECKPOINT} ({'; '.join(changes)})"] if changes else ["", ""]

    def _arrays(
        self, file: str, left: Mapping[str, Any], right: Mapping[str, Any], sweep_of: Callable[[str], int | None]
    ) -> None:
        """Arrays or HDF5 datasets that are no series, of the sweep sweep_of(name)."""
        for name in self._common(left, right, file):
            sweep = sweep_of(name)
            if self._is_alike(name, file, left[name].shape, right[name].shape, sweep):
                self._compare(name, file, _by_region(left[name], right[name]), lambda _, sweep=sweep: sweep)

    def _series(self, results: Any, found: Checkpoint) -> None:
        """Time series: the rows of the replay with those of results.h5; of segments if it is None."""
        if not found.segments:  # no row between two checkpoints
            return
        replayed = _shapes(self.replay, found.segments)
        if results is None:
            shapes = _shapes(self.files, self.target.segments)
        else:
            shapes = {name: dataset.shape for name, dataset in _datasets(results) if _is_series(name)}
        file = SEGMENTS if results is None else RESULTS
        for name in self._common(shapes, replayed, file):
            every, axis = self._rhythm(name)
            first, n_replayed = self.first // every, replayed[name][axis]
            last = None if self.is_whole else first + n_replayed
            expected = replaced(replayed[name], axis, first + n_replayed)
            if not self._is_alike(name, file, _cut_shape(shapes[name], axis, last), expected):
                continue
            if results is None:
                here = _cut(self.files.rows(name, self.target.segments), axis, first, last)
            else:
                here = _blocks(results[name], axis, first, expected[axis])
            pieces = _together(here, self.replay.rows(name, found.segments), axis, first)
            self._compare(name, file, pieces, lambda index, of=(every, axis): of[0] * (index[of[1]] + 1), axis)

    def _rhythm(self, name: str) -> tuple[int, int]:
        """Sweeps from row to row of a series, and the axis of the rows."""
        if name in VARIABLES:
            return self.asked.schedule.measure_every, VARIABLES[name].dims.index("sample")
        variable = SNAPSHOTS[name.removeprefix(f"{WEIGHTS}/")]
        return self.asked.output.weights_every, variable.dims.index("snapshot")

    # --- how ---

    def _common(self, left: Mapping[str, Any], right: Mapping[str, Any], file: str) -> list[str]:
        """Names that both have; one that is missing is a difference."""
        for name in sorted(left.keys() ^ right.keys()):
            found, replayed = ("there" if name in side else "missing" for side in (left, right))
            self.differences.append(Difference(name, file, found=found, replayed=replayed))
        return [name for name in left if name in right]

    def _is_alike(
        self, name: str, file: str, found: tuple[int, ...], expected: tuple[int, ...], sweep: int | None = None
    ) -> bool:
        """Whether two shapes are the same."""
        self.n_datasets += 1
        if found != expected:
            self.differences.append(Difference(name, file, (), sweep, f"shape {found}", f"shape {expected}"))
        return found == expected

    def _compare(
        self,
        name: str,
        file: str,
        pieces: Iterable[_Pair],
        sweep_of: Callable[[tuple[int, ...]], int | None],
        axis: int = 0,
    ) -> None:
        """Notes the first difference, in the order of the given axis; sweep_of(index) is its sweep."""
        for start, a, b in pieces:
            if self.stop.reason(0):
                raise KeyboardInterrupt
            kinds = [f"{side.dtype} of shape {side.shape}" for side in (a, b)]
            if kinds[0] != kinds[1]:
                self.differences.append(Difference(name, file, (), sweep_of(start), *kinds))
                return
            place = _first_difference(a, b, axis)
            if place is not None:
                index = tuple(map(operator.add, start, place))
                self.differences.append(Difference(name, file, index, sweep_of(index), *_shown(a[place], b[place])))
                return


def _datasets(group: Any) -> list[tuple[str, Any]]:
    """The datasets of a file with their paths, those of groups first; without those that are dimensions only."""
    found: list[tuple[str, Any]] = []
    group.visititems(lambda name, node: found.append((name, node)) if hasattr(node, "shape") else None)
    found = [(name, node) for name, node in found if not _is_pure_dimension(node)]
    return sorted(found, key=lambda item: "/" not in item[0])


def _is_pure_dimension(dataset: Any) -> bool:
    return bytes(dataset.attrs.get("NAME", b"")).startswith(PURE_DIMENSION.encode())


def _is_series(name: str) -> bool:
    return name.startswith(f"{WEIGHTS}/") or (name in VARIABLES and "sample" in VARIABLES[name].dims)


def _shapes(files: RunDirectory, segments: Sequence[Segment]) -> dict[str, tuple[int, ...]]:
    """Of all series in segments, snapshots among them, by their paths."""
    snapshots = {f"{WEIGHTS}/{name}": shape for name, shape in files.snapshot_shapes(segments).items()}
    return files.series_shapes(segments) | snapshots


def _cut_shape(shape: tuple[int, ...], axis: int, last: int | None) -> tuple[int, ...]:
    """Of the rows 0 .. last - 1, as far as they are there; of all for None."""
    return shape if last is None or len(shape) <= axis else replaced(shape, axis, min(last, shape[axis]))


def _by_region(left: Any, right: Any) -> Iterator[_Pair]:
    """Two arrays or HDF5 datasets of one shape, some bytes at a time."""
    for region in _regions(left.shape, left.dtype.itemsize, getattr(left, "chunks", None) or (1,) * len(left.shape)):
        start = tuple(part.start for part in region) + (0,) * (len(left.shape) - len(region))
        yield start, np.asarray(left[region]), np.asarray(right[region])


def _regions(shape: tuple[int, ...], itemsize: int, chunks: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Regions of whole chunks, in order: along the first axis, or along the second where one row is too large."""
    if not shape:
        yield ()
        return
    step = _step(shape, 0, itemsize, chunks)
    cut_further = step == 1 and len(shape) > 1 and itemsize * math.prod(shape[1:]) > _BLOCK
    for start in range(0, shape[0], step):
        inner = _regions(shape[1:], itemsize, chunks[1:]) if cut_further else [()]
        for region in inner:
            yield slice(start, start + step), *region


def _step(shape: tuple[int, ...], axis: int, itemsize: int, chunks: tuple[int, ...]) -> int:
    """Rows of a block, whole chunks."""
    row_bytes = itemsize * math.prod(replaced(shape, axis, 1))
    return chunks[axis] * max(1, _BLOCK // max(1, row_bytes * chunks[axis]))


def _blocks(dataset: Any, axis: int, first: int, last: int) -> Iterator[np.ndarray]:
    """Rows first .. last - 1 of an HDF5 dataset, some at a time; each chunk is read once."""
    step = _step(dataset.shape, axis, dataset.dtype.itemsize, dataset.chunks or (1,) * dataset.ndim)
    while first < last:
        following = min(last, (first // step + 1) * step)
        yield dataset[_rows(axis, first, following)]
        first = following


def _cut(pieces: Iterable[np.ndarray], axis: int, first: int, last: int | None) -> Iterator[np.ndarray]:
    """Rows first .. last - 1 of pieces that follow each other; all from `first` on for None."""
    row = 0
    for piece in pieces:
        yield piece[_rows(axis, max(0, first - row), None if last is None else max(0, last - row))]
        row += piece.shape[axis]


def _rows(axis: int, first: int, last: int | None) -> tuple[slice, ...]:
    """What cuts rows first .. last - 1 out of an array."""
    return (*(slice(None),) * axis, slice(first, last))


def _together(left: Iterable[np.ndarray], right: Iterable[np.ndarray], axis: int, first: int) -> Iterator[_Pair]:
    """Two sequences of pieces with equally many rows, from row `first` on, cut alike."""
    others = filter(lambda piece: piece.shape[axis], right)
    b = None
    for a in left:
        while a.shape[axis]:
            if b is None or not b.shape[axis]:
                b = next(others)
            n = min(a.shape[axis], b.shape[axis])
            start = tuple(first if k == axis else 0 for k in range(a.ndim))
            yield start, a[_rows(axis, 0, n)], b[_rows(axis, 0, n)]
            a, b, first = a[_rows(axis, n, None)], b[_rows(axis, n, None)], first + n


def _first_difference(a: np.ndarray, b: np.ndarray, axis: int) -> tuple[int, ...] | None:
    """Index of the first element that differs in a bit, in the order of the given axis."""
    if a.dtype.kind not in "OU":  # no copies: the views have the strides of the arrays
        a, b = (side.view(f"u{side.dtype.itemsize}") for side in (a, b))
    differ = np.asarray(a != b)
    if not differ.any():
        return None
    if differ.ndim == 0:
        return ()
    # by row first, so that of several differences the earliest is found
    moved = np.moveaxis(differ, axis, 0)
    row, *rest = map(int, np.unravel_index(int(np.argmax(moved)), moved.shape))
    return (*rest[:axis], row, *rest[axis:])


def _shown(a: Any, b: Any) -> tuple[str, str]:
    """Two values that differ, with their bits where they are printed alike."""
    shown = [repr(value.item() if isinstance(value, np.generic) else value) for value in (a, b)]
    if shown[0] == shown[1]:
        shown = [
            f"{text} (0x{np.asarray(value).tobytes()[::-1].hex()})" for text, value in zip(shown, (a, b), strict=True)
        ]
    return shown[0], shown[1]
