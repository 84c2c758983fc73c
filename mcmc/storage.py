"""The files of one run: segments, checkpoint, results, status and log.

Design. A file never changes under its final name: it is written whole under a temporary one, flushed to the disk and
renamed. Segments are immutable, and what no checkpoint lists does not exist; so the rename that commits a checkpoint
commits the segments before it. HDF5 files are sealed, see sealed.py; what is inside them is in netcdf.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from mcmc import lock, netcdf, sealed
from mcmc.errors import ConfigError, StorageError
from mcmc.schema import SNAPSHOTS, VARIABLES

RUN_TOML = "run.toml"
STATUS = "status.json"
LOG = "run.log"
SEGMENTS = "segments"
CHECKPOINT = "checkpoint.h5"
PREVIOUS = "checkpoint.prev.h5"
RESULTS = "results.h5"
LOCK = "lock"
PILOTS = "pilots"

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

    def __init__(self, path: str | os.PathLike[str], outer: RunDirectory | None = None) -> None:
        """outer: the directory whose lock is that of this one, too."""
        self.path, self._outer = Path(path), outer
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
                raise sealed.cannot("write", self.path / LOCK, error) from error
            sealed.remove_directories(self._made)
            raise ConfigError(f"output: cannot create {self.path}: {sealed.reason(error)}") from error

    def unlock(self) -> None:
        """Gives the directory back; removes it if `lock` made it and nothing came of it."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
            sealed.remove_directories(self._made)

    def remove_stale_lock(self) -> None:
        """Removes the lock that a process of this host has left which was killed right after its last word."""
        lock.remove_stale(self.path / LOCK)

    def _confirm(self) -> None:
        """Right before every renaming: StorageError if the lock has been lost to another process."""
        if self._outer is not None:
            self._outer._confirm()
        if self._lock is None:
            return
        try:
            held = self._lock.is_ours()
        except OSError as error:
            raise sealed.cannot("touch", self.path / LOCK, error) from error
        if not held:
            raise StorageError(
                f"{self.path}: another process has taken over this run, because this one was silent for too long"
            )

    # --- pilot runs ---

    @cached_property
    def pilots(self) -> RunDirectory:
        """Where pilot runs keep their checkpoint until the run has one."""
        return RunDirectory(self.path / PILOTS, self)

    def make(self) -> None:
        """Makes this directory inside another one, if it is missing."""
        try:
            self.path.mkdir(exist_ok=True)
            sealed.sync_directory(self.path.parent)
        except OSError as error:
            raise sealed.cannot("create", self.path, error) from error

    @property
    def not_yet(self) -> str:
        """What to say where there is no checkpoint."""
        return "(yet: pilot runs seek its number of rungs)" if self.pilots.has_rows() else "(yet)"

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
            sealed.write_atomically(
                self.path / RUN_TOML, lambda file: file.write(run_toml.encode()), confirm=self._confirm
            )
            sealed.sync_directory(self.path.absolute().parent)
            self._made = []  # something has come of them
        except (OSError, StorageError) as error:
            self._confirm()  # what stands there may be somebody else's by now
            with suppress(OSError):  # it may stand already, while its directory cannot be synced
                (self.path / RUN_TOML).unlink(missing_ok=True)
            sealed.remove_directories(made)
            if isinstance(error, StorageError):
                raise
            raise ConfigError(f"output: cannot create {self.path}: {sealed.reason(error)}") from error

    def _refuse_foreign(self) -> None:
        try:
            found = set(os.listdir(self.path))
            segments = os.listdir(self.path / SEGMENTS) if SEGMENTS in found else []
        except OSError as error:
            raise ConfigError(f"output: {self.path} is not a usable directory: {sealed.reason(error)}") from error
        ours = {name for name in found if sealed.owner(name) or name.partition(".")[0] == LOCK}
        interrupted_creation = {SEGMENTS, STATUS, LOG} | ours
        if segments or found - interrupted_creation:
            raise ConfigError(f"output: {self.path} is not empty and holds no run of mcmc; choose another directory")

    def _holds_run(self) -> bool:
        return os.path.isfile(self.path / RUN_TOML) and (os.path.exists(self.path / SEGMENTS) or self.has_rows())

    def has_rows(self) -> bool:
        """Whether a run has come as far as a checkpoint here."""
        return any(os.path.exists(self.path / name) for name in (CHECKPOINT, PREVIOUS, RESULTS))

    def run_toml(self) -> str | None:
        """The configuration of the run in this directory; None if there is no run."""
        if not self._holds_run():
            return None
        path = self.path / RUN_TOML
        try:
            return path.read_bytes().decode()
        except OSError as error:
            raise sealed.cannot("read", path, error) from error
        except UnicodeDecodeError as error:
            raise StorageError(f"{path}: damaged: is not UTF-8 text") from error

    def replace_run_toml(self, text: str) -> None:
        """Replaces the stored configuration, atomically."""
        sealed.write_atomically(self.path / RUN_TOML, lambda file: file.write(text.encode()), confirm=self._confirm)

    def write_status(self, status: Mapping[str, Any]) -> None:
        """Replaces status.json, atomically but not durably: it is rewritten every few seconds."""
        text = json.dumps(status, indent=1) + "\n"
        sealed.write_atomically(
            self.path / STATUS, lambda file: file.write(text.encode()), durable=False, confirm=self._confirm
        )

    def read_status(self) -> dict[str, Any] | None:
        """What status.json says; None if it is missing, was lost with the machine, or is none of ours."""
        try:
            status = json.loads((self.path / STATUS).read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise sealed.cannot("read", self.path / STATUS, error) from error
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
            raise sealed.cannot("write", self.path / LOG, error) from error

    def clean(self) -> list[str]:
        """Removes what a killed process left: temporary files, and segments that no checkpoint lists.

        With a checkpoint also those of the pilot runs before it.

        Returns the names of what it removed. Only the process that is about to write the run may call it. If every
        checkpoint there is is damaged, StorageError, and nothing is removed.
        """
        lists, problems = self._lists()
        if problems and not lists:
            raise _no_checkpoint(problems)
        listed = {segment.name for segments in lists for segment in segments}
        segments = self.path / SEGMENTS
        doomed = [path for path in sorted(segments.glob("*.h5")) if path.name not in listed]
        folders, pilots = (self.path, segments, self.pilots.path), self.pilots
        doomed += [path for folder in folders for path in sorted(folder.glob(".*.tmp")) if sealed.stale(path)]
        doomed += [pilots.path / name for name in pilots._checkpoint_names() if lists]
        for path in doomed:
            self._confirm()
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise sealed.cannot("remove", path, error) from error
        if lists:
            sealed.remove_directories([pilots.path])
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
        arrays = {name: netcdf.typed(name, VARIABLES[name].dtype, values) for name, values in series.items()}

        def fill(h5: h5py.File) -> None:
            netcdf.set_attributes(h5, attrs)
            netcdf.create_root(h5, {name: array.shape for name, array in arrays.items()}, compress=False)
            for name, array in arrays.items():
                h5[name][...] = array
            if snapshots is not None:
                group = netcdf.create_snapshots(
                    h5, snapshots["weights"].shape, snapshots["weights"].dtype, compress=False
                )
                for name, array in snapshots.items():
                    group[name][...] = array

        owner = "" if self._lock is None else f"-{self._lock.token}"
        path = self.path / SEGMENTS / f"{index:06d}{owner}.h5"
        sha256 = sealed.write(path, "segment", fill, confirm=self._confirm)
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
            netcdf.set_attributes(h5.create_group("attrs"), attrs)
            group = h5.create_group("arrays")
            for name, values in arrays.items():
                array = np.asarray(values)
                dtype = h5py.string_dtype() if array.dtype.kind in "UO" else array.dtype
                group.create_dataset(name, array.shape, dtype, track_times=False)[...] = netcdf.storable(array)

        path = self.path / CHECKPOINT
        # a current checkpoint that is damaged must not push out the good one before it
        keep = self.path / PREVIOUS if self._newest == CHECKPOINT and path.exists() else None
        sealed.write(path, "checkpoint", fill, keep, self._confirm)
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
                    sealed.open_verified(self.path / SEGMENTS / segment.name, "segment", segment.sha256).close()
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
        with sealed.opened(self.path / name, "checkpoint") as h5:
            return Checkpoint(
                arrays={key: netcdf.read_array(dataset) for key, dataset in h5["arrays"].items()},
                attrs=netcdf.attributes(h5["attrs"]),
                segments=_segment_list(h5),
            )

    def _lists(self) -> tuple[list[list[Segment]], list[str]]:
        """What every readable checkpoint lists, and what is wrong with the others."""
        lists, problems = [], []
        for name in self._checkpoint_names():
            try:
                with sealed.opened(self.path / name, "checkpoint") as h5:
                    lists.append(_segment_list(h5))
            except StorageError as error:
                problems.append(str(error))
        return lists, problems

    def listed_rows(self) -> int:
        """The most rows that a readable checkpoint lists."""
        return max((sum(segment.n_rows for segment in segments) for segments in self._lists()[0]), default=0)

    # --- results ---

    def write_results(
        self,
        constants: Mapping[str, np.ndarray],
        data: Mapping[str, Any] | None,
        root_attrs: Mapping[str, int | float | str],
        segments: Sequence[Segment],
        deflate: netcdf.Deflate | None = None,
    ) -> None:
        """Joins the segments to results.h5, holding one of them in memory at a time.

        `constants`: by name of schema.VARIABLES, the ones without a sample axis. `root_attrs`: see ROOT_ATTRIBUTES;
        the format version is added here. `data`: the group `data`, with labels (instance, pattern), teacher and
        reference (instance, weight) if there is one, and inputs, an iterable that gives one (n_patterns, n_inputs)
        array for each instance (used one by one: a generator keeps memory small), int8 or float64. `deflate`:
        by default one chunk after the other; most of the work is there.
        """
        deflate = deflate or (lambda chunks: map(netcdf.deflated, chunks))
        fixed = {name: netcdf.typed(name, VARIABLES[name].dtype, values) for name, values in constants.items()}

        def fill(h5: h5py.File) -> None:
            netcdf.set_attributes(h5, root_attrs)
            shapes = self.series_shapes(segments)
            netcdf.create_root(h5, shapes | {name: array.shape for name, array in fixed.items()}, compress=True)
            for name, array in fixed.items():
                h5[name][...] = array
            for name in shapes:
                netcdf.write_rows(h5[name], VARIABLES[name].dims.index("sample"), self.rows(name, segments), deflate)
            self._write_snapshots(h5, segments, deflate)
            if data is not None:
                netcdf.write_data(h5.create_group("data"), data)

        sealed.write(self.path / RESULTS, "results", fill, confirm=self._confirm)

    def results_are_whole(self) -> bool:
        """Whether results.h5 is there and matches its checksum."""
        try:
            sealed.open_verified(self.path / RESULTS, "results").close()
        except StorageError:
            return False
        return True

    @contextmanager
    def results(self) -> Iterator[h5py.File]:
        """The verified contents of results.h5."""
        with sealed.opened(self.path / RESULTS, "results") as h5:
            yield h5

    def results_shapes(self) -> tuple[dict[str, tuple[int, ...]], dict[str, int | float | str]]:
        """The shape of every variable of results.h5, and its root attributes."""
        with sealed.opened(self.path / RESULTS, "results") as h5:
            return {name: h5[name].shape for name in VARIABLES if name in h5}, netcdf.attributes(h5)

    def results_arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """The variables of results.h5, one after the other."""
        with sealed.opened(self.path / RESULTS, "results") as h5:
            for name in VARIABLES:
                if name in h5:
                    yield name, netcdf.read_array(h5[name])

    def series_shapes(self, segments: Sequence[Segment]) -> dict[str, tuple[int, ...]]:
        """The shape of every time series of all segments together, which are verified on the way."""
        common: dict[str, tuple[int, ...]] = {}
        for segment in segments:
            path = self.path / SEGMENTS / segment.name
            with sealed.opened(path, "segment", segment.sha256) as h5:
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
            with sealed.open_file(self.path / SEGMENTS / segment.name) as file, h5py.File(file, "r") as h5:
                shapes = {name: h5[netcdf.WEIGHTS][name].shape for name in SNAPSHOTS if netcdf.WEIGHTS in h5}
            n_snapshots += shapes["sweep"][0] if shapes else 0
        return {
            name: netcdf.replaced(shape, SNAPSHOTS[name].dims.index("snapshot"), n_snapshots)
            for name, shape in shapes.items()
        }

    def _write_snapshots(self, h5: h5py.File, segments: Sequence[Segment], deflate: netcdf.Deflate) -> None:
        shapes = self.snapshot_shapes(segments)
        if not shapes:
            return
        (dtype,) = {piece.dtype for piece in self.rows(f"{netcdf.WEIGHTS}/weights", segments[:1])}
        group = netcdf.create_snapshots(h5, shapes["weights"], dtype, compress=True)
        for name, variable in SNAPSHOTS.items():
            rows = self.rows(f"{netcdf.WEIGHTS}/{name}", segments)
            netcdf.write_rows(group[name], variable.dims.index("snapshot"), rows, deflate)

    def rows(self, name: str, segments: Iterable[Segment]) -> Iterator[np.ndarray]:
        """One time series, segment after segment; `series_shapes` has verified them."""
        for segment in segments:
            with sealed.open_file(self.path / SEGMENTS / segment.name) as file, h5py.File(file, "r") as h5:
                yield h5[name][...]


def _is_status(found: Any) -> bool:
    """Whether this is a table, and what others read in it has the types that they expect."""
    if not isinstance(found, dict):
        return False
    said = {name: value for name, value in found.items() if name in _STATUS_TYPES and value is not None}
    of_types = "state" in said or "state" not in found
    for name, value in said.items():
        of_types &= isinstance(value, _STATUS_TYPES[name]) and not isinstance(value, bool)
        of_types &= not isinstance(value, int | float) or abs(value) < 1e18  # nor NaN
    return of_types and all(isinstance(host, str) for host in found.get("hosts") or ())


def _no_checkpoint(problems: Iterable[str]) -> StorageError:
    return StorageError(
        f"{'; '.join(dict.fromkeys(problems))}; no usable checkpoint is left: "
        "restore the file from a backup, or run again into another directory"
    )


def _segment_list(h5: h5py.File) -> list[Segment]:
    return [Segment(*row) for row in json.loads(h5.attrs["segments"])]


def _with_rows(name: str, shape: tuple[int, ...], n_rows: int) -> tuple[int, ...]:
    return netcdf.replaced(shape, VARIABLES[name].dims.index("sample"), n_rows)
