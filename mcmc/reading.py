"""The dataset of a run; a large one is read from its files when and as far as it is needed.

Files are verified when the dataset is made. At every reading they are known again by what the file system says of them,
because a run that goes on may have replaced them meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import h5py
import numpy as np
import xarray
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from mcmc import netcdf, sealed
from mcmc.errors import StorageError
from mcmc.priors import unpack
from mcmc.schema import FORMAT_VERSION, SNAPSHOTS, VARIABLES
from mcmc.storage import LOG, RESULTS, ROOT_ATTRIBUTES, SEGMENTS, Checkpoint, RunDirectory

_SMALL = 1 << 27
"""Bytes."""


def read_dataset(path: str | os.PathLike[str]) -> xarray.Dataset:
    """The root group of the run in directory `path`; also while the run goes on.

    A small one is loaded into memory; of a large one values are read when they are first used, and kept.
    From results.h5, unless a checkpoint lists more rows than it holds. From a checkpoint come the time series of the
    segments, its arrays that schema.VARIABLES names, its attributes that ROOT_ATTRIBUTES names, and complete = 0.
    Raises StorageError if there is no run or if its files are damaged, and at a later use if they have been replaced.
    """
    dataset = xarray.open_dataset(os.fspath(path), engine=_Run)
    return dataset.load() if dataset.nbytes <= _SMALL else dataset


def read_weights(path: str | os.PathLike[str]) -> xarray.DataArray | None:
    """The snapshots of the run in directory `path`, +-1 as int8; also while the run goes on. None if it takes none.

    Dims (instance, snapshot, copy, rung, weight), with the coordinates beta and sweep.
    """
    directory = RunDirectory(path)
    with _newest(directory) as (results, checkpoint):
        if results is not None:
            h5 = results.h5
            if netcdf.WEIGHTS not in h5:
                return None
            arrays = {name: h5[netcdf.WEIGHTS][name][...] for name in SNAPSHOTS}
            return _weights(arrays, h5["beta"][...], int(h5.attrs["n_weights"]))
        if not directory.snapshot_shapes(checkpoint.segments):
            return None
        arrays = {}
        for name, variable in SNAPSHOTS.items():
            pieces = list(directory.rows(f"{netcdf.WEIGHTS}/{name}", checkpoint.segments))
            arrays[name] = np.concatenate(pieces, variable.dims.index("snapshot"))
        return _weights(arrays, checkpoint.arrays["beta"], int(checkpoint.attrs["n_weights"]))


def read_patterns(path: str | os.PathLike[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Inputs (n_patterns, n_inputs), int8 -1 and +1 or float64, and labels float64 (n_patterns,) of each instance.

    Nothing if there are no results.h5 with data: the run goes on, or does not store them.
    """
    file = RunDirectory(path).path / RESULTS
    if not file.exists():
        return
    with sealed.open_verified(file, "results") as raw, h5py.File(raw, "r") as h5:
        if "data" in h5:
            yield from zip(h5["data/inputs"], h5["data/labels"], strict=True)


def read_fingerprints(path: str | os.PathLike[str]) -> dict[str, str]:
    """SHA-256, in hexadecimal, of what the run in directory `path` has read besides its run file; from its checkpoint.

    `fingerprint`: of the data file, "" for generated data; `reference`: of the constraint, of what came from a file or
    another run, else "". Raises StorageError if there is no checkpoint or if it is damaged.
    """
    directory = RunDirectory(path)
    checkpoint = directory.read_checkpoint(segments=False)
    if checkpoint is None:
        raise StorageError(f"{directory.path}: holds no checkpoint, which knows what was read")
    return {name: str(checkpoint.attrs[name]) for name in ("fingerprint", "reference")}


def read_status(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What status.json of the run in directory `path` says of state, times, hosts and ranks; empty without it."""
    with suppress(StorageError):
        return RunDirectory(path).read_status() or {}
    return {}


def read_log(path: str | os.PathLike[str]) -> str:
    """run.log of the run in directory `path`; "" if it cannot be read."""
    with suppress(OSError):
        return Path(path, LOG).read_text(encoding="utf-8", errors="replace")
    return ""


def _weights(arrays: Mapping[str, np.ndarray], beta: np.ndarray, n_weights: int) -> xarray.DataArray:
    weights = arrays["weights"]
    if weights.dtype == np.uint64:
        weights = unpack(weights, n_weights)
    coordinates = {"beta": ("rung", beta), "sweep": ("snapshot", arrays["sweep"])}
    return xarray.DataArray(weights, coordinates, SNAPSHOTS["weights"].dims, name="weights")


class _Results(NamedTuple):
    """results.h5, verified and open."""

    file: BinaryIO
    h5: h5py.File


@contextmanager
def _newest(directory: RunDirectory) -> Iterator[tuple[_Results | None, Checkpoint | None]]:
    """Where to read from: results.h5, unless a checkpoint lists more rows than it holds."""
    path = directory.path / RESULTS
    if path.exists():
        with sealed.open_verified(path, "results") as file, h5py.File(file, "r") as h5:
            if len(h5["sweep"]) >= directory.listed_rows():
                yield _Results(file, h5), None
                return
    checkpoint = directory.read_checkpoint()
    if checkpoint is None:
        raise StorageError(f"{directory.path}: holds neither results nor a checkpoint {directory.not_yet}")
    yield None, checkpoint


class _Run(BackendEntrypoint):
    """How xarray opens the directory of a run."""

    description = "directory of a run of mcmc"

    def open_dataset(self, filename_or_obj: Any, *, drop_variables: Any = None) -> xarray.Dataset:
        directory = RunDirectory(filename_or_obj)
        with _newest(directory) as (results, checkpoint):
            variables, attributes = (
                _of_checkpoint(directory, checkpoint) if results is None else _of_results(directory, results)
            )
        dataset = xarray.Dataset({name: variables[name] for name in VARIABLES if name in variables}, attrs=attributes)
        return dataset.set_coords([name for name in netcdf.COORDINATES if name in variables])


_Found = tuple[dict[str, xarray.Variable], dict[str, int | float | str]]
"""Variables by name, and root attributes."""


def _of_results(directory: RunDirectory, results: _Results) -> _Found:
    h5 = results.h5
    piece = _Piece(directory.path / RESULTS, sealed.identity(results.file), len(h5["sweep"]))
    variables = {}
    for name in VARIABLES:
        if name in h5:
            is_small = h5[name].ndim <= 1 or h5[name].dtype.kind == "O"
            values = netcdf.read_array(h5[name]) if is_small else _Stored(name, h5[name].shape, [piece])
            variables[name] = _variable(name, values)
    return variables, netcdf.attributes(h5)


def _of_checkpoint(directory: RunDirectory, checkpoint: Checkpoint) -> _Found:
    pieces = []
    for segment in checkpoint.segments:
        path = directory.path / SEGMENTS / segment.name
        with sealed.open_file(path) as file:
            pieces.append(_Piece(path, sealed.identity(file), segment.n_rows))
    variables = {name: _variable(name, array) for name, array in checkpoint.arrays.items() if name in VARIABLES}
    for name, shape in directory.series_shapes(checkpoint.segments).items():
        variables[name] = _variable(name, _Stored(name, shape, pieces))
    attributes = {name: checkpoint.attrs[name] for name in ROOT_ATTRIBUTES if name in checkpoint.attrs}
    return variables, attributes | {"format_version": FORMAT_VERSION, "complete": 0}


def _variable(name: str, values: np.ndarray | _Stored) -> xarray.Variable:
    known = VARIABLES[name]
    data = indexing.LazilyIndexedArray(values) if isinstance(values, _Stored) else values
    return xarray.Variable(known.dims_of(len(values.shape)), data, {"units": known.units, "long_name": known.long_name})


class _Piece(NamedTuple):
    """A file with some of the rows, or all."""

    path: Path
    identity: tuple[int, ...]
    n_rows: int

    @contextmanager
    def opened(self) -> Iterator[h5py.File]:
        with sealed.open_file(self.path) as file:
            if sealed.identity(file) != self.identity:
                raise StorageError(f"{self.path}: has been replaced since the run was loaded; load it again")
            with h5py.File(file, "r") as h5:
                yield h5


class _Stored(BackendArray):
    """A variable in files, whose rows follow each other."""

    def __init__(self, name: str, shape: tuple[int, ...], pieces: Sequence[_Piece]) -> None:
        self.name, self.shape, self.dtype = name, shape, np.dtype(VARIABLES[name].dtype)
        self._pieces, self._dims = pieces, VARIABLES[name].dims

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[int | slice, ...]) -> np.ndarray:
        """key: for every axis a number, or a slice with a positive step."""
        region = [part if isinstance(part, slice) else slice(part, part + 1) for part in key]
        if "sample" in self._dims:
            axis = self._dims.index("sample")
            found = self._rows(region, axis)
        else:
            with self._pieces[0].opened() as h5:
                found = h5[self.name][tuple(region)]
        return found[tuple(slice(None) if isinstance(part, slice) else 0 for part in key)]

    def _rows(self, region: list[slice], axis: int) -> np.ndarray:
        rows = range(*region[axis].indices(self.shape[axis]))
        n_before, found = 0, []
        for piece in self._pieces:
            inside = _between(rows, n_before, n_before + piece.n_rows)
            if inside:
                here = slice(inside.start - n_before, inside.stop - n_before, inside.step)
                with piece.opened() as h5:
                    found.append(h5[self.name][(*region[:axis], here, *region[axis + 1 :])])
            n_before += piece.n_rows
        if not found:
            sizes = [len(range(*part.indices(size))) for part, size in zip(region, self.shape, strict=True)]
            return np.empty(sizes, self.dtype)
        return found[0] if len(found) == 1 else np.concatenate(found, axis)


def _between(rows: range, first: int, end: int) -> range:
    """Those of `rows` (step > 0) from first to end - 1."""
    skipped = max(0, -((rows.start - first) // rows.step))  # rounded up
    return range(rows.start + skipped * rows.step, min(rows.stop, end), rows.step)
