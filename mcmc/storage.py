"""The files of one run: segments, checkpoint, results, status and log. The only file that writes HDF5.

Design. A file never changes under its final name: it is written whole under a temporary one, flushed to the disk and
renamed. Segments are immutable, and what no checkpoint lists does not exist; so the rename that commits a checkpoint
commits the segments before it. Each HDF5 file ends with a seal, a line of ASCII behind the end of the HDF5 data, where
HDF5 readers ignore it: kind of file, format version, and the sha256 of all bytes before the seal. It is compared with
the raw bytes before HDF5 sees them, because the HDF5 library does not survive every damaged file.
`head -c -128 FILE | sha256sum` does the same by hand.

Segments are stored as they are, because the run waits for them. In the results a time series is chunked by instance and
rung: a chunk holds all copies and as many rows as fit into 256 KiB, of one rung in long runs and of several in short
ones, so that reading one instance, or one rung over all times, touches few bytes needlessly. gzip level 1 shrinks
series of few different values five times; the shuffle filter would tear these values apart (docs/output.md has
figures). Nothing in a file depends on the clock or on how the rows were cut into segments.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import re
import secrets
import socket
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import h5py
import numpy as np

from mcmc import lock
from mcmc.errors import ConfigError, StorageError
from mcmc.priors import unpack
from mcmc.schema import FORMAT_VERSION, OLDEST_VERSIONS, PACKED, SNAPSHOTS, VARIABLES, Variable

if TYPE_CHECKING:
    import xarray

RUN_TOML = "run.toml"
STATUS = "status.json"
LOG = "run.log"
SEGMENTS = "segments"
CHECKPOINT = "checkpoint.h5"
PREVIOUS = "checkpoint.prev.h5"
RESULTS = "results.h5"
LOCK = "lock"
WEIGHTS = "weights"
"""Group of the snapshots."""

ROOT_ATTRIBUTES = (
    "format_version",
    "mcmc_version",
    "seed",
    "run_toml",
    "burn_in",
    "n_weights",
    "n_patterns",
    "complete",
)
"""Root attributes of results.h5; a checkpoint that carries them too gives the same dataset while the run goes on."""

_COORDINATES = ("beta", "sweep", "waiting_time", "lag_time")
_DATA = {
    "inputs": Variable(("instance", "pattern", "input"), "", "1", "input patterns"),
    "labels": Variable(("instance", "pattern"), "f8", "1", "label of each pattern"),
    "teacher": Variable(("instance", "teacher_weight"), "", "1", "weights of the teacher"),
    "reference": Variable(("instance", "weight"), "", "1", "weights with which the constraint fixes the overlap"),
}
_PURE_DIMENSION = "This is a netCDF dimension but not a netCDF variable."  # the words by which netCDF-4 knows one
_CHUNK_BYTES = 1 << 18
_PENDING_BYTES = 1 << 26
"""What may wait to be written: a row of chunks, of all instances and rungs."""
_COMPRESSION = {"compression": "gzip", "compression_opts": 1}
Deflate = Callable[[Sequence[bytes]], Iterable[bytes]]
"""Does `deflated` to each of many chunks."""
_BLOCK = 1 << 20
_SEAL_BYTES = 128
_SEAL = re.compile(rb"\nmcmc (\w+) format_version=(\d+) sha256=([0-9a-f]{64}) *\n")
_STALE_SECONDS = 600.0
_ADVICE = {
    errno.ENOSPC: "make room on the disk; then the same command continues",
    errno.EDQUOT: "make room within the quota; then the same command continues",
    errno.EFBIG: "raise the limit of the size of files, ulimit -f; then the same command continues",
    errno.EROFS: "make the file system writable; then the same command continues",
    errno.EACCES: "it needs the right to do so; then the same command continues",
    errno.EIO: "when the disk is mended, the same command continues",
}
"""What to do, by the error of the operating system."""
_REAL = (int, float)
_STATUS_TYPES: dict[str, Any] = {
    **dict.fromkeys(("state", "message", "run_file_directory"), str),
    **dict.fromkeys(("sweep", "sweeps", "ranks", "pid"), int),
    **dict.fromkeys(("rate_proposals_per_s", "seconds_left", "heartbeat", "started", "elapsed_seconds"), _REAL),
    "hosts": list,
}
"""What status.json may say, as far as it is read; null says nothing."""


class Segment(NamedTuple):
    """A committed piece of the time series: rows `first_row .. first_row + n_rows - 1` of the run."""

    name: str
    first_row: int
    n_rows: int
    sha256: str


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds; `warning` says in one line why it is not the latest one written, where that is so."""

    arrays: dict[str, np.ndarray]
    attrs: dict[str, int | float | str]
    segments: list[Segment]
    warning: str | None = None


class RunDirectory:
    """The output directory of one run. One process writes it (rank 0), from `lock` to `unlock`; any number may read.

    Every method raises StorageError, one line that names file and cause, when the disk fails or a file is damaged.
    After a failed write the files read as before, and nothing temporary is left.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._newest: str | None = None  # name of the newest checkpoint known to be good
        self._lock: lock.Lock | None = None
        self._made: list[Path] = []  # directories made for the lock, innermost first

    # --- the lock ---

    def lock(self, announce: Callable[[str], object] | None = None, stop: Callable[[], bool] = lambda: False) -> bool:
        """Takes the directory for this process, making it where it is missing.

        announce, stop: of waiting for a process on another host, see lock.clear; without announce none is waited for.
        Returns False, without the lock, if `stop` has ended that.
        Raises HeldError if another process is at work here, ConfigError if the path cannot be the directory of a run.
        """
        if os.path.lexists(self.path) and not self._holds_run():
            self._refuse_foreign()
        self._made = [path for path in (self.path, *self.path.absolute().parents) if not os.path.lexists(path)]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if announce is not None and not lock.clear([self.path / LOCK], announce, stop):
                return False
            self._lock = lock.take(self.path / LOCK)
            return True
        except OSError as error:
            if self._holds_run():
                raise _cannot("write", self.path / LOCK, error) from error
            _remove_directories(self._made)
            raise ConfigError(f"output: cannot create {self.path}: {_reason(error)}") from error

    def unlock(self) -> None:
        """Gives the directory back; removes it if `lock` made it and nothing came of it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
            _remove_directories(self._made)

    def _confirm(self) -> None:
        """Right before every renaming: StorageError if the lock has been lost to another process."""
        if self._lock is None:
            return
        try:
            held = self._lock.is_ours()
        except OSError as error:
            raise _cannot("touch", self.path / LOCK, error) from error
        if not held:
            raise StorageError(
                f"{self.path}: another process has taken over this run, because this one was silent for too long"
            )

    # --- the directory itself, run.toml, status, log ---

    def create(self, run_toml: str) -> None:
        """Makes the directory for a new run whose configuration is `run_toml`.

        Raises ConfigError, having created nothing, if the path is a file, cannot be made, or is a directory in use.
        """
        if os.path.lexists(self.path):
            if self._holds_run():
                raise ConfigError(f"output: {self.path} already holds a run")
            self._refuse_foreign()
        # segments/ comes before run.toml: a directory that holds both is a run, whenever the process was killed
        paths = (self.path / SEGMENTS, self.path, *self.path.absolute().parents)
        made = [path for path in paths if not os.path.lexists(path)]
        try:
            (self.path / SEGMENTS).mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / RUN_TOML, lambda file: file.write(run_toml.encode()), confirm=self._confirm)
            _sync_directory(self.path.absolute().parent)
        except (OSError, StorageError) as error:
            self._confirm()  # what stands there may be somebody else's by now
            with suppress(OSError):  # it may stand already, while its directory cannot be synced
                (self.path / RUN_TOML).unlink(missing_ok=True)
            _remove_directories(made)
            if isinstance(error, StorageError):
                raise
            raise ConfigError(f"output: cannot create {self.path}: {_reason(error)}") from error

    def _refuse_foreign(self) -> None:
        try:
            found = set(os.listdir(self.path))
            segments = os.listdir(self.path / SEGMENTS) if SEGMENTS in found else []
        except OSError as error:
            raise ConfigError(f"output: {self.path} is not a usable directory: {_reason(error)}") from error
        ours = {name for name in found if _owner(name) or name.partition(".")[0] == LOCK}
        interrupted_creation = {SEGMENTS, STATUS, LOG} | ours
        if segments or found - interrupted_creation:
            raise ConfigError(f"output: {self.path} is not empty and holds no run of mcmc; choose another directory")

    def _holds_run(self) -> bool:
        ours = (SEGMENTS, CHECKPOINT, PREVIOUS, RESULTS)
        return os.path.isfile(self.path / RUN_TOML) and any(os.path.exists(self.path / name) for name in ours)

    def run_toml(self) -> str | None:
        """The configuration of the run in this directory; None if there is no run."""
        if not self._holds_run():
            return None
        path = self.path / RUN_TOML
        try:
            return path.read_bytes().decode()
        except OSError as error:
            raise _cannot("read", path, error) from error
        except UnicodeDecodeError as error:
            raise StorageError(f"{path}: damaged: is not UTF-8 text") from error

    def replace_run_toml(self, text: str) -> None:
        """Replaces the stored configuration, atomically."""
        write_atomically(self.path / RUN_TOML, lambda file: file.write(text.encode()), confirm=self._confirm)

    def write_status(self, status: Mapping[str, Any]) -> None:
        """Replaces status.json, atomically but not durably: it is rewritten every few seconds."""
        text = json.dumps(status, indent=1) + "\n"
        write_atomically(
            self.path / STATUS, lambda file: file.write(text.encode()), durable=False, confirm=self._confirm
        )

    def read_status(self) -> dict[str, Any] | None:
        """What status.json says; None if it is missing, was lost with the machine, or is none of ours."""
        try:
            status = json.loads((self.path / STATUS).read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _cannot("read", self.path / STATUS, error) from error
        except ValueError:
            return None
        return status if _is_status(status) else None

    def log(self, line: str) -> None:
        """Appends to run.log, with the local time before every line."""
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        text = "".join(f"{now} {part}\n" for part in line.splitlines())
        try:
            with open(self.path / LOG, "a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise _cannot("write", self.path / LOG, error) from error

    def clean(self) -> list[str]:
        """Removes what a killed process left: temporary files, and segments that no checkpoint lists.

        Returns the names of what it removed. Only the process that is about to write the run may call it. If every
        checkpoint there is is damaged, StorageError, and nothing is removed.
        """
        lists, problems = self._lists()
        if problems and not lists:
            raise _no_checkpoint(problems)
        listed = {segment.name for segments in lists for segment in segments}
        segments = self.path / SEGMENTS
        doomed = [path for path in sorted(segments.glob("*.h5")) if path.name not in listed]
        doomed += [path for folder in (self.path, segments) for path in sorted(folder.glob(".*.tmp")) if _stale(path)]
        for path in doomed:
            self._confirm()
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise _cannot("remove", path, error) from error
        return [str(path.relative_to(self.path)) for path in doomed]

    # --- segments and checkpoint ---

    def write_segment(
        self,
        index: int,
        first_row: int,
        series: Mapping[str, np.ndarray],
        attrs: Mapping[str, int | float | str],
        snapshots: Mapping[str, np.ndarray] | None = None,
    ) -> Segment:
        """Writes rows `first_row ...` of the time series as segment number `index`.

        `series`: by name of schema.VARIABLES, shapes as its dims say (the sample axis in its place), `sweep` among
        them. `snapshots`: those of schema.SNAPSHOTS taken meanwhile, weights float64 or packed to uint64; None if the
        run takes none. The segment counts once a checkpoint lists what this returns. Its name has the token of the
        lock: who has lost it, and does not know that yet, replaces no file of the new owner's.
        """
        for name in series:
            if "sample" not in VARIABLES[name].dims:
                raise ValueError(f"{name} is no time series")
        arrays = {name: _typed(name, VARIABLES[name].dtype, values) for name, values in series.items()}

        def fill(h5: h5py.File) -> None:
            _set_attributes(h5, attrs)
            _create_root(h5, {name: array.shape for name, array in arrays.items()}, compress=False)
            for name, array in arrays.items():
                h5[name][...] = array
            if snapshots is not None:
                group = _create_snapshots(h5, snapshots["weights"].shape, snapshots["weights"].dtype, compress=False)
                for name, array in snapshots.items():
                    group[name][...] = array

        owner = "" if self._lock is None else f"-{self._lock.token}"
        path = self.path / SEGMENTS / f"{index:06d}{owner}.h5"
        sha256 = _write_sealed(path, "segment", fill, confirm=self._confirm)
        return Segment(path.name, first_row, len(arrays["sweep"]), sha256)

    def write_checkpoint(
        self, arrays: Mapping[str, np.ndarray], attrs: Mapping[str, int | float | str], segments: Sequence[Segment]
    ) -> None:
        """Commits a checkpoint that lists `segments`; the one before becomes checkpoint.prev.h5.

        `arrays`: any shapes; boolean, integer, float or str dtype; names without a slash.
        """
        if self._newest is None:
            self.read_checkpoint()

        def fill(h5: h5py.File) -> None:
            h5.attrs["segments"] = json.dumps(segments)
            _set_attributes(h5.create_group("attrs"), attrs)
            group = h5.create_group("arrays")
            for name, values in arrays.items():
                array = np.asarray(values)
                dtype = h5py.string_dtype() if array.dtype.kind in "UO" else array.dtype
                group.create_dataset(name, array.shape, dtype, track_times=False)[...] = _storable(array)

        path = self.path / CHECKPOINT
        # a current checkpoint that is damaged must not push out the good one before it
        keep = self.path / PREVIOUS if self._newest == CHECKPOINT and path.exists() else None
        _write_sealed(path, "checkpoint", fill, keep, self._confirm)
        self._newest = CHECKPOINT

    def read_checkpoint(self, segments: bool = True) -> Checkpoint | None:
        """The newest checkpoint that is whole, with all segments that it lists; None if none was ever written.

        segments: False for who wants the state of the walkers alone: no segment is looked at.
        Raises StorageError if there are checkpoints but none is usable.
        """
        names = self._checkpoint_names()
        problems = [] if CHECKPOINT in names else [f"{self.path / CHECKPOINT}: missing"]
        for name in names:
            try:
                checkpoint = self._load_checkpoint(name)
                for segment in checkpoint.segments if segments else ():
                    _open_verified(self.path / SEGMENTS / segment.name, "segment", segment.sha256).close()
            except StorageError as error:
                problems.append(str(error))
                continue
            self._newest = name
            return replace(checkpoint, warning=f"{problems[0]}; using {name}" if problems else None)
        if names:
            raise _no_checkpoint(problems)
        return None

    def previous_checkpoint(self) -> Checkpoint | None:
        """The checkpoint before the newest one, without a look at its segments; None if there is none."""
        return self._load_checkpoint(PREVIOUS) if os.path.exists(self.path / PREVIOUS) else None

    def _checkpoint_names(self) -> list[str]:
        return [name for name in (CHECKPOINT, PREVIOUS) if os.path.exists(self.path / name)]

    def _load_checkpoint(self, name: str) -> Checkpoint:
        with _open_sealed(self.path / name, "checkpoint") as h5:
            return Checkpoint(
                arrays={key: _read_array(dataset) for key, dataset in h5["arrays"].items()},
                attrs=_attributes(h5["attrs"]),
                segments=_segment_list(h5),
            )

    def _lists(self) -> tuple[list[list[Segment]], list[str]]:
        """What every readable checkpoint lists, and what is wrong with the others."""
        lists, problems = [], []
        for name in self._checkpoint_names():
            try:
                with _open_sealed(self.path / name, "checkpoint") as h5:
                    lists.append(_segment_list(h5))
            except StorageError as error:
                problems.append(str(error))
        return lists, problems

    # --- results ---

    def write_results(
        self,
        constants: Mapping[str, np.ndarray],
        data: Mapping[str, Any] | None,
        root_attrs: Mapping[str, int | float | str],
        segments: Sequence[Segment],
        deflate: Deflate | None = None,
    ) -> None:
        """Joins the segments to results.h5, holding one of them in memory at a time.

        `constants`: by name of schema.VARIABLES, the ones without a sample axis. `root_attrs`: see ROOT_ATTRIBUTES;
        the format version is added here. `data`: the group `data`, with labels (instance, pattern), teacher and
        reference (instance, weight) if there is one, and inputs, an iterable that gives one (n_patterns, n_inputs)
        array for each instance (used one by one: a generator keeps memory small), int8 or float64. `deflate`:
        by default one chunk after the other; most of the work is there.
        """
        deflate = deflate or (lambda chunks: map(deflated, chunks))
        fixed = {name: _typed(name, VARIABLES[name].dtype, values) for name, values in constants.items()}

        def fill(h5: h5py.File) -> None:
            _set_attributes(h5, root_attrs)
            shapes = self.series_shapes(segments)
            _create_root(h5, shapes | {name: array.shape for name, array in fixed.items()}, compress=True)
            for name, array in fixed.items():
                h5[name][...] = array
            for name in shapes:
                _write_rows(h5[name], VARIABLES[name].dims.index("sample"), self.rows(name, segments), deflate)
            self._write_snapshots(h5, segments, deflate)
            if data is not None:
                _write_data(h5.create_group("data"), data)

        _write_sealed(self.path / RESULTS, "results", fill, confirm=self._confirm)

    def results_are_whole(self) -> bool:
        """Whether results.h5 is there and matches its checksum."""
        try:
            _open_verified(self.path / RESULTS, "results").close()
        except StorageError:
            return False
        return True

    @contextmanager
    def results(self) -> Iterator[h5py.File]:
        """The verified contents of results.h5."""
        with _open_sealed(self.path / RESULTS, "results") as h5:
            yield h5

    def results_shapes(self) -> tuple[dict[str, tuple[int, ...]], dict[str, int | float | str]]:
        """The shape of every variable of results.h5, and its root attributes."""
        with _open_sealed(self.path / RESULTS, "results") as h5:
            return {name: h5[name].shape for name in VARIABLES if name in h5}, _attributes(h5)

    def results_arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """The variables of results.h5, one after the other."""
        with _open_sealed(self.path / RESULTS, "results") as h5:
            for name in VARIABLES:
                if name in h5:
                    yield name, _read_array(h5[name])

    def series_shapes(self, segments: Sequence[Segment]) -> dict[str, tuple[int, ...]]:
        """The shape of every time series of all segments together, which are verified on the way."""
        common: dict[str, tuple[int, ...]] = {}
        for segment in segments:
            path = self.path / SEGMENTS / segment.name
            with _open_sealed(path, "segment", segment.sha256) as h5:
                found = {name: h5[name].shape for name in VARIABLES if name in h5}
            common = common or found
            expected = {name: _with_rows(name, shape, segment.n_rows) for name, shape in common.items()}
            for name in VARIABLES:
                if found.get(name) != expected.get(name):
                    have, want = found.get(name), expected.get(name)
                    raise StorageError(f"{path}: does not fit the other segments: {name} {have}, expected {want}")
        n_rows = sum(segment.n_rows for segment in segments)
        return {name: _with_rows(name, shape, n_rows) for name, shape in (common or {"sweep": (0,)}).items()}

    def snapshot_shapes(self, segments: Sequence[Segment]) -> dict[str, tuple[int, ...]]:
        """Of all segments together: the shapes of schema.SNAPSHOTS; empty if the run takes none."""
        shapes, n_snapshots = {}, 0
        for segment in segments:
            with _open(self.path / SEGMENTS / segment.name) as file, h5py.File(file, "r") as h5:
                shapes = {name: h5[WEIGHTS][name].shape for name in SNAPSHOTS if WEIGHTS in h5}
            n_snapshots += shapes["sweep"][0] if shapes else 0
        return {
            name: _replaced(shape, SNAPSHOTS[name].dims.index("snapshot"), n_snapshots)
            for name, shape in shapes.items()
        }

    def _write_snapshots(self, h5: h5py.File, segments: Sequence[Segment], deflate: Deflate) -> None:
        shapes = self.snapshot_shapes(segments)
        if not shapes:
            return
        (dtype,) = {piece.dtype for piece in self.rows(f"{WEIGHTS}/weights", segments[:1])}
        group = _create_snapshots(h5, shapes["weights"], dtype, compress=True)
        for name, variable in SNAPSHOTS.items():
            rows = self.rows(f"{WEIGHTS}/{name}", segments)
            _write_rows(group[name], variable.dims.index("snapshot"), rows, deflate)

    def rows(self, name: str, segments: Iterable[Segment]) -> Iterator[np.ndarray]:
        """One time series, segment after segment; `series_shapes` has verified them."""
        for segment in segments:
            with _open(self.path / SEGMENTS / segment.name) as file, h5py.File(file, "r") as h5:
                yield h5[name][...]


def read_dataset(path: str | os.PathLike[str]) -> xarray.Dataset:
    """The root group of the run in directory `path`, loaded into memory; also while the run goes on.

    From results.h5, unless a checkpoint lists more rows than it holds. From a checkpoint come the time series of the
    segments, its arrays that schema.VARIABLES names, its attributes that ROOT_ATTRIBUTES names, and complete = 0.
    """
    directory = RunDirectory(path)
    results = directory.path / RESULTS
    if os.path.exists(results):
        dataset = _results_dataset(results)
        lists, _ = directory._lists()
        if dataset.sizes["sample"] >= max((sum(s.n_rows for s in segments) for segments in lists), default=0):
            return dataset
    checkpoint = directory.read_checkpoint()
    if checkpoint is None:
        raise StorageError(f"{path}: holds neither results nor a checkpoint (yet)")
    return _running_dataset(directory, checkpoint)


def _results_dataset(path: Path) -> xarray.Dataset:
    import xarray  # takes longer to import than all the rest

    with _open_verified(path, "results") as file, xarray.open_dataset(file, engine="h5netcdf") as dataset:
        dataset.load()
    dataset.attrs = {name: _plain(value) for name, value in dataset.attrs.items()}
    return dataset


def _running_dataset(directory: RunDirectory, checkpoint: Checkpoint) -> xarray.Dataset:
    import xarray

    arrays = {name: array for name, array in checkpoint.arrays.items() if name in VARIABLES}
    shapes = directory.series_shapes(checkpoint.segments)
    for name, shape in shapes.items():
        none = np.empty(_with_rows(name, shape, 0), VARIABLES[name].dtype)
        rows = directory.rows(name, checkpoint.segments)
        arrays[name] = np.concatenate([none, *rows], VARIABLES[name].dims.index("sample"))
    variables = {
        name: (
            variable.dims_of(arrays[name].ndim),
            arrays[name],
            {"units": variable.units, "long_name": variable.long_name},
        )
        for name, variable in VARIABLES.items()
        if name in arrays
    }
    attrs = {name: checkpoint.attrs[name] for name in ROOT_ATTRIBUTES if name in checkpoint.attrs}
    attrs |= {"format_version": FORMAT_VERSION, "complete": 0}
    dataset = xarray.Dataset(variables, attrs=attrs)
    return dataset.set_coords([name for name in _COORDINATES if name in variables])


def read_weights(path: str | os.PathLike[str]) -> xarray.DataArray | None:
    """The snapshots of the run in directory `path`, +-1 as int8; also while the run goes on. None if it takes none.

    Dims (instance, snapshot, copy, rung, weight), with the coordinates beta and sweep.
    """
    directory = RunDirectory(path)
    results = directory.path / RESULTS
    if os.path.exists(results):
        lists, _ = directory._lists()
        with _open_sealed(results, "results") as h5:
            if len(h5["sweep"]) >= max((sum(s.n_rows for s in segments) for segments in lists), default=0):
                if WEIGHTS not in h5:
                    return None
                arrays = {name: h5[WEIGHTS][name][...] for name in SNAPSHOTS}
                return _weights(arrays, h5["beta"][...], int(h5.attrs["n_weights"]))
    checkpoint = directory.read_checkpoint()
    if checkpoint is None:
        raise StorageError(f"{path}: holds neither results nor a checkpoint (yet)")
    if not directory.snapshot_shapes(checkpoint.segments):
        return None
    arrays = {}
    for name, variable in SNAPSHOTS.items():
        pieces = list(directory.rows(f"{WEIGHTS}/{name}", checkpoint.segments))
        arrays[name] = np.concatenate(pieces, variable.dims.index("snapshot"))
    return _weights(arrays, checkpoint.arrays["beta"], int(checkpoint.attrs["n_weights"]))


def _weights(arrays: Mapping[str, np.ndarray], beta: np.ndarray, n_weights: int) -> xarray.DataArray:
    import xarray

    weights = arrays["weights"]
    if weights.dtype == np.uint64:
        weights = unpack(weights, n_weights)
    coordinates = {"beta": ("rung", beta), "sweep": ("snapshot", arrays["sweep"])}
    return xarray.DataArray(weights, coordinates, SNAPSHOTS["weights"].dims, name="weights")


# --- scans ---


class Joined(NamedTuple):
    """A variable of the file of a scan: an entry for each task, or a coordinate."""

    dims: tuple[str, ...]
    dtype: str
    units: str = "1"
    long_name: str = ""
    values: np.ndarray | None = None
    """Of a coordinate."""


def write_scan(
    path: Path,
    sizes: Mapping[str, int],
    variables: Mapping[str, Joined],
    coordinates: Iterable[str],
    pieces: Iterable[tuple[tuple[int, ...], str, np.ndarray]],
    attrs: Mapping[str, int | float | str],
) -> None:
    """Writes the tasks of a scan as one file, holding one array of `pieces` in memory at a time.

    sizes: of every dimension; a variable of the same name holds its values. pieces: position of a task along the axes
    of the scan, which are the first dimensions, name, and an array that goes to the corner at 0 of what follows. What
    no piece fills is NaN, -1 or "".
    """
    named = list(coordinates)

    def fill(h5: h5py.File) -> None:
        _set_attributes(h5, attrs)
        _create_scales(h5, {dim: size for dim, size in sizes.items() if dim not in variables})
        for name in sorted(variables, key=lambda name: name not in sizes):
            variable = variables[name]
            dataset = _create_joined(h5, name, variable, sizes)
            inside = [other for other in named if set(variables[other].dims) <= set(variable.dims)]
            if name not in named and name not in sizes and inside:
                dataset.attrs["coordinates"] = " ".join(inside)
        for position, name, array in pieces:
            h5[name][(*position, *map(slice, array.shape))] = _storable(array)

    _write_sealed(path, "scan", fill)


def _create_joined(h5: h5py.File, name: str, variable: Joined, sizes: Mapping[str, int]) -> h5py.Dataset:
    """One variable of the file of a scan; the scales of its dimensions are there."""
    shape = tuple(sizes[dim] for dim in variable.dims)
    storage: dict[str, Any] = {}
    if variable.dtype == "str":
        dtype = h5py.string_dtype()
    else:
        dtype = np.dtype(variable.dtype)
        storage["fillvalue"] = math.nan if dtype.kind == "f" else -1
    if "sample" in variable.dims and 0 not in shape:
        of_task = VARIABLES[name]
        n_axes = variable.dims.index(of_task.dims[0])
        storage |= _series_storage(of_task, shape[n_axes:])
        storage["chunks"] = (1,) * n_axes + storage["chunks"]
    dataset = h5.create_dataset(name, shape, dtype, track_times=False, **storage)
    if variable.values is not None:
        dataset[...] = _storable(variable.values)
    if name in sizes:
        dataset.make_scale(name)
    else:
        for axis, dim in enumerate(variable.dims):
            dataset.dims[axis].attach_scale(h5[dim])
    _set_attributes(dataset, {"units": variable.units, "long_name": variable.long_name or name})
    return dataset


# --- whole files ---


def write_atomically(
    path: str | os.PathLike[str],
    writer: Callable[[BinaryIO], object],
    *,
    durable: bool = True,
    keep: Path | None = None,
    confirm: Callable[[], object] = lambda: None,
) -> None:
    """Makes or replaces the file `path` with what `writer` puts into the open file that it is given.

    At every instant `path` is the old or the new file (with `keep`, where the old one is moved: or missing for a moment
    while the old one is there). `durable`: on the disk when this returns. `confirm`: called right before every
    renaming, as writing may have taken long; if it raises, that one is not done. Raises StorageError when the disk
    fails.
    """
    path = Path(path)
    temporary = path.with_name(
        f".{path.name}.{secrets.token_hex(4)}.{os.getpid()}@{socket.gethostname()}.tmp"  # see _owner
    )
    try:
        try:
            with open(temporary, "x+b") as file:
                writer(file)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            if keep is not None:
                confirm()
                os.replace(path, keep)
            confirm()
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        if durable:
            _sync_directory(path.parent)
    except OSError as error:
        raise _cannot("write", path, error) from error


def _write_sealed(
    path: Path,
    kind: str,
    fill: Callable[[h5py.File], None],
    keep: Path | None = None,
    confirm: Callable[[], object] = lambda: None,
) -> str:
    """Writes a sealed HDF5 file whose contents `fill` makes; returns the sha256 of its seal."""
    digests = []

    def writer(file: BinaryIO) -> None:
        disk = _Disk(file)
        try:
            with h5py.File(disk, "w", libver=("earliest", "v110")) as h5:
                h5.attrs["format_version"] = FORMAT_VERSION
                fill(h5)
        finally:
            if disk.error is not None:
                raise disk.error
        n_bytes = file.seek(0, os.SEEK_END)
        digests.append(_sha256(file, n_bytes))
        file.seek(n_bytes)
        file.write(_seal(kind, digests[0]))

    write_atomically(path, writer, keep=keep, confirm=confirm)
    return digests[0]


class _Disk(io.RawIOBase):
    """A file as HDF5 sees it: after the first operation that fails, all others pretend to succeed.

    HDF5 cannot close a file that it cannot write to, and may crash at exit on one that it could not close.
    Like this it closes always, and the error is raised afterwards.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def _attempt(self, operation: Callable[..., int], *args: Any, otherwise: int) -> int:
        if self.error is None:
            try:
                return operation(*args)
            except OSError as error:
                self.error = error
        return otherwise

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._attempt(self._file.seek, offset, whence, otherwise=offset)

    def readinto(self, buffer: memoryview) -> int:
        return self._attempt(self._file.readinto, buffer, otherwise=len(buffer))  # type: ignore[attr-defined]

    def write(self, buffer: memoryview) -> int:
        return self._attempt(self._file.write, buffer, otherwise=len(buffer))

    def truncate(self, size: int) -> int:
        return self._attempt(self._file.truncate, size, otherwise=size)

    def flush(self) -> None:
        """Nothing: `write_atomically` flushes once, at the end."""


def _seal(kind: str, sha256: str) -> bytes:
    line = f"\nmcmc {kind} format_version={FORMAT_VERSION} sha256={sha256}"
    return line.encode().ljust(_SEAL_BYTES - 1) + b"\n"


def _sha256(file: BinaryIO, n_bytes: int) -> str:
    """Of the first `n_bytes` of the file."""
    digest = hashlib.sha256()
    file.seek(0)
    while n_bytes > 0 and (block := file.read(min(_BLOCK, n_bytes))):
        digest.update(block)
        n_bytes -= len(block)
    return digest.hexdigest()


@contextmanager
def _open_sealed(path: Path, kind: str, sha256: str | None = None) -> Iterator[h5py.File]:
    # HDF5 reads through our file, not by name: these are the bytes that were verified, and no lock is taken on them
    with _open_verified(path, kind, sha256) as file, h5py.File(file, "r") as h5:
        yield h5


def _open_verified(path: Path, kind: str, sha256: str | None = None) -> BinaryIO:
    """Opens the file after comparing it with its seal (and with the digest that a checkpoint lists)."""
    file = _open(path)
    try:
        _verify(file, path, kind, sha256)
    except OSError as error:
        file.close()
        raise _cannot("read", path, error) from error
    except StorageError:
        file.close()
        raise
    file.seek(0)
    return file


def _open(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError as error:
        raise StorageError(f"{path}: missing") from error
    except OSError as error:
        raise _cannot("read", path, error) from error


def _verify(file: BinaryIO, path: Path, kind: str, sha256: str | None) -> None:
    n_bytes = file.seek(0, os.SEEK_END) - _SEAL_BYTES
    file.seek(max(n_bytes, 0))
    seal = _SEAL.fullmatch(file.read()) if n_bytes > 0 else None
    if seal is None:
        raise StorageError(f"{path}: damaged: no checksum at its end (cut short, or changed by another program)")
    found, version, expected = (group.decode() for group in seal.groups())
    if found != kind:
        raise StorageError(f"{path}: is a {found} file, expected a {kind} file")
    if not OLDEST_VERSIONS.get(kind, FORMAT_VERSION) <= int(version) <= FORMAT_VERSION:
        raise StorageError(f"{path}: has format version {version}, this mcmc reads version {FORMAT_VERSION}")
    if _sha256(file, n_bytes) != expected:
        raise StorageError(f"{path}: damaged: its bytes do not match its checksum")
    if sha256 not in (None, expected):
        raise StorageError(f"{path}: is not the file that the checkpoint lists (its checksum differs)")


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot
            raise
    finally:
        os.close(descriptor)


def _owner(name: str) -> tuple[int, str] | None:
    """Process and host of a temporary file, from its name; None for any other name."""
    match = re.fullmatch(r"\..+\.[0-9a-f]{8}\.(\d+)@(.*)\.tmp", name)
    return (int(match[1]), match[2]) if match else None


def _stale(path: Path) -> bool:
    """Whether a temporary file's writer is dead; of one on another host, whether it has been quiet for ten minutes."""
    owner = _owner(path.name)
    if owner is None:
        return False
    process, host = owner
    if host == socket.gethostname() and (process == os.getpid() or not lock.runs(process)):
        return True  # of this number: an earlier one, this process is not writing now
    with suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime > _STALE_SECONDS
    return False


def _remove_directories(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.rmdir()


def _is_status(found: Any) -> bool:
    """Whether this is a table, and what others read in it has the types that they expect."""
    if not isinstance(found, dict):
        return False
    said = {name: value for name, value in found.items() if name in _STATUS_TYPES and value is not None}
    of_types = "state" in said or "state" not in found
    for name, value in said.items():
        of_types &= isinstance(value, _STATUS_TYPES[name]) and not isinstance(value, bool)
        of_types &= not isinstance(value, float) or abs(value) < 1e18  # nor NaN
    return of_types and all(isinstance(host, str) for host in found.get("hosts") or ())


def _no_checkpoint(problems: Iterable[str]) -> StorageError:
    return StorageError(
        f"{'; '.join(dict.fromkeys(problems))}; no usable checkpoint is left: "
        "restore the file from a backup, or run again into another directory"
    )


def _cannot(verb: str, path: Path, error: OSError) -> StorageError:
    return StorageError(f"{path}: cannot {verb}: {_reason(error)}")


def _reason(error: OSError) -> str:
    advice = _ADVICE.get(error.errno)
    return (error.strerror or " ".join(str(error).split())) + (f" ({advice})" if advice else "")


# --- inside the HDF5 files ---


def _segment_list(h5: h5py.File) -> list[Segment]:
    return [Segment(*row) for row in json.loads(h5.attrs["segments"])]


def _create_root(h5: h5py.File, shapes: Mapping[str, tuple[int, ...]], compress: bool) -> None:
    """Creates the named variables of schema.VARIABLES, without values, and the scales of their dimensions."""
    sizes: dict[str, int] = {}
    for name, shape in shapes.items():
        for dim, size in zip(VARIABLES[name].dims_of(len(shape)), shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                raise ValueError(f"{name}: {size} along {dim}, other variables have {sizes[dim]}")
    _create_scales(h5, sizes)
    for name, variable in VARIABLES.items():
        if name not in shapes:
            continue
        dtype = h5py.string_dtype() if variable.dtype == "str" else np.dtype(variable.dtype)
        storage = _series_storage(variable, shapes[name]) if compress else {}
        dataset = _create_variable(h5, name, variable, shapes[name], dtype, storage)
        coordinates = [c for c in _COORDINATES if c in shapes and set(VARIABLES[c].dims) <= set(variable.dims)]
        if coordinates and name not in _COORDINATES:
            dataset.attrs["coordinates"] = " ".join(coordinates)


def _create_snapshots(h5: h5py.File, shape: tuple[int, ...], dtype: np.dtype, compress: bool) -> h5py.Group:
    """The group of the snapshots, without values; shape, dtype: of the weights."""
    group = h5.create_group(WEIGHTS)
    variables = SNAPSHOTS if dtype == np.float64 else SNAPSHOTS | {"weights": PACKED}
    sizes = dict(zip(variables["weights"].dims, shape, strict=True))
    _create_scales(group, sizes)
    for name, variable in variables.items():
        of_name = tuple(sizes[dim] for dim in variable.dims)
        storage = _series_storage(variable, of_name, "snapshot") if compress else {}
        _create_variable(group, name, variable, of_name, np.dtype(variable.dtype), storage)
    group["weights"].attrs["coordinates"] = "sweep"
    return group


def _create_scales(group: h5py.Group, sizes: Mapping[str, int]) -> None:
    """Dimensions without values of their own, in the way of netCDF-4: scales that are never written."""
    for dim, size in sizes.items():
        scale = group.create_dataset(dim, (size,), ">f4", track_times=False)
        scale.make_scale(f"{_PURE_DIMENSION}{size:10d}")


def _create_variable(
    group: h5py.Group, name: str, variable: Variable, shape: tuple[int, ...], dtype: Any, storage: dict[str, Any]
) -> h5py.Dataset:
    dataset = group.create_dataset(name, shape, dtype, track_times=False, **storage)
    for axis, dim in enumerate(variable.dims_of(len(shape))):
        dataset.dims[axis].attach_scale(group[dim])
    _set_attributes(dataset, {"units": variable.units, "long_name": variable.long_name})
    return dataset


def _series_storage(variable: Variable, shape: tuple[int, ...], along: str = "sample") -> dict[str, Any]:
    """Chunks and filters of a time series, see the head of the file; constants and empty series have none."""
    if along not in variable.dims or 0 in shape:
        return {}
    dims = variable.dims_of(len(shape))
    chunk = {dim: 1 if dim == "instance" else size for dim, size in zip(dims, shape, strict=True)}
    n_rows, n_rungs = chunk.pop(along), chunk.pop("rung", 1)
    row_bytes = np.dtype(variable.dtype).itemsize * math.prod(chunk.values())  # of one rung
    n_instances = math.prod(shape) // (n_rows * n_rungs * math.prod(chunk.values()))
    fitting = min(_CHUNK_BYTES // row_bytes, _PENDING_BYTES // (row_bytes * n_rungs * n_instances))
    chunk[along] = min(n_rows, max(1, fitting))
    chunk["rung"] = min(n_rungs, max(1, _CHUNK_BYTES // (row_bytes * chunk[along])))
    return {"chunks": tuple(chunk[dim] for dim in dims), **_COMPRESSION}


def deflated(chunk: bytes) -> bytes:
    """A chunk as HDF5's gzip filter stores it."""
    return zlib.compress(chunk, _COMPRESSION["compression_opts"])


def _write_rows(
    dataset: h5py.Dataset,
    axis: int,
    pieces: Iterable[np.ndarray],
    deflate: Deflate,
) -> None:
    """Fills a dataset of compressed chunks with pieces that follow each other along one axis.

    Always one chunk of rows at a time: each chunk is compressed once, and the file does not depend on the pieces.
    """
    if 0 in dataset.shape:
        return
    before = (slice(None),) * axis
    block = np.empty(_replaced(dataset.shape, axis, dataset.chunks[axis]), dataset.dtype)
    start = n_held = 0
    for piece in pieces:
        n_used, n_piece = 0, piece.shape[axis]
        while n_used < n_piece:
            n_full = min(dataset.chunks[axis], dataset.shape[axis] - start)
            n_rows = min(n_full - n_held, n_piece - n_used)
            if n_rows == 0:
                raise ValueError(f"{dataset.name}: more than {start} rows")
            block[(*before, slice(n_held, n_held + n_rows))] = piece[(*before, slice(n_used, n_used + n_rows))]
            n_held += n_rows
            n_used += n_rows
            if n_held == n_full:
                _write_chunks(dataset, axis, start, block[(*before, slice(n_full))], deflate)
                start, n_held = start + n_full, 0
    if start != dataset.shape[axis]:
        raise ValueError(f"{dataset.name}: {start + n_held} rows, expected {dataset.shape[axis]}")


def _write_chunks(
    dataset: h5py.Dataset,
    axis: int,
    start: int,
    values: np.ndarray,
    deflate: Deflate,
) -> None:
    """Writes all chunks that begin at `start` along one axis; values: theirs, without what is beyond the edges."""
    corners = list(product(*(range(0, size, step) for size, step in zip(values.shape, dataset.chunks, strict=True))))
    chunks = []
    for corner in corners:
        inside = values[tuple(slice(at, at + step) for at, step in zip(corner, dataset.chunks, strict=True))]
        chunk = np.zeros(dataset.chunks, dataset.dtype)  # HDF5, too, fills up with zeros
        chunk[tuple(map(slice, inside.shape))] = inside
        chunks.append(chunk.tobytes())
    for corner, chunk in zip(corners, deflate(chunks), strict=True):
        dataset.id.write_direct_chunk((*corner[:axis], start, *corner[axis + 1 :]), chunk)


def _write_data(group: h5py.Group, data: Mapping[str, Any]) -> None:
    inputs = iter(data["inputs"])
    first = _numeric("inputs", next(inputs))
    arrays = {name: np.asarray(data[name]) for name in ("labels", "teacher", "reference") if name in data}
    n_instances = len(arrays["labels"])
    sizes = dict(zip(_DATA["inputs"].dims, (n_instances, *first.shape), strict=True))
    for name in arrays:
        if name != "labels":
            sizes[_DATA[name].dims[1]] = arrays[name].shape[1]
    _create_scales(group, sizes)
    shape = (n_instances, *first.shape)
    storage: dict[str, Any] = {}
    if first.dtype == np.int8:  # +-1 take one bit when compressed; random reals do not shrink
        storage = {"chunks": (1, min(first.shape[0], max(1, _BLOCK // first.shape[1])), first.shape[1]), **_COMPRESSION}
    dataset = _create_variable(group, "inputs", _DATA["inputs"], shape, first.dtype, storage)
    instance = 0
    dataset[instance] = first
    for instance, values in enumerate(inputs, start=1):
        if instance == n_instances:
            raise ValueError(f"inputs of more than {n_instances} instances")
        dataset[instance] = _numeric("inputs", values)
    if instance + 1 != n_instances:
        raise ValueError(f"inputs of {instance + 1} instances, labels of {n_instances}")
    for name, array in arrays.items():
        array = _typed(name, "f8", array) if name == "labels" else _numeric(name, array)
        _create_variable(group, name, _DATA[name], array.shape, array.dtype, {})[...] = array


def _numeric(name: str, values: np.ndarray) -> np.ndarray:
    """int8 stays, all else becomes float64."""
    array = np.asarray(values)
    return array if array.dtype == np.int8 else _typed(name, "f8", array)


def _typed(name: str, dtype: str, values: np.ndarray) -> np.ndarray:
    """The values in the stated type; TypeError if that type cannot hold what they are."""
    array = np.asarray(values)
    if dtype == "str":
        return array.astype(object)
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise TypeError(f"{name}: got {array.dtype}, expected {dtype}")
    return array.astype(dtype, copy=False)


def _storable(array: np.ndarray) -> np.ndarray:
    return array.astype(object) if array.dtype.kind == "U" else array


def _read_array(dataset: h5py.Dataset) -> np.ndarray:
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return np.asarray(dataset.asstr()[...]).astype(str)
    return np.asarray(dataset[...])


def _set_attributes(node: h5py.Group | h5py.Dataset, attrs: Mapping[str, int | float | str]) -> None:
    for name, value in attrs.items():
        node.attrs[name] = value


def _attributes(node: h5py.Group) -> dict[str, int | float | str]:
    return {name: _plain(value) for name, value in node.attrs.items()}


def _plain(value: Any) -> Any:
    """A Python number or str, where HDF5 gives a numpy scalar."""
    return value.item() if isinstance(value, np.generic) else value


def _with_rows(name: str, shape: tuple[int, ...], n_rows: int) -> tuple[int, ...]:
    return _replaced(shape, VARIABLES[name].dims.index("sample"), n_rows)


def _replaced(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])
