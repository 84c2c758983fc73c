"""What is inside the HDF5 files: variables, dimensions as netCDF-4 has them, chunks, compression.

Segments are stored as they are, because the run waits for them. In the results a time series is chunked by instance and
rung: a chunk holds all copies and as many rows as fit into 256 KiB, of one rung in long runs and of several in short
ones, so that reading one instance, or one rung over all times, touches few bytes needlessly. gzip level 1 shrinks
series of few different values five times; the shuffle filter would tear these values apart (docs/output.md has
figures). Nothing in a file depends on the clock or on how the rows were cut into segments.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from mcmc import sealed
from mcmc.schema import PACKED, SNAPSHOTS, VARIABLES, Variable

WEIGHTS = "weights"
"""Group of the snapshots."""

COORDINATES = ("beta", "sweep", "waiting_time", "lag_time")
_DATA = {
    "inputs": Variable(("instance", "pattern", "input"), "", "1", "input patterns"),
    "labels": Variable(("instance", "pattern"), "f8", "1", "label of each pattern"),
    "teacher": Variable(("instance", "teacher_weight"), "", "1", "weights of the teacher"),
    "reference": Variable(("instance", "weight"), "", "1", "weights with which the constraint fixes the overlap"),
}
PURE_DIMENSION = "This is a netCDF dimension but not a netCDF variable."  # the words by which netCDF-4 knows one
_CHUNK_BYTES = 1 << 18
_PENDING_BYTES = 1 << 26
"""What may wait to be written: a row of chunks, of all instances and rungs."""
_COMPRESSION = {"compression": "gzip", "compression_opts": 1}
Deflate = Callable[[Sequence[bytes]], Iterable[bytes]]
"""Does `deflated` to each of many chunks."""
_BLOCK = 1 << 20


def create_root(h5: h5py.File, shapes: Mapping[str, tuple[int, ...]], compress: bool) -> None:
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
        coordinates = [c for c in COORDINATES if c in shapes and set(VARIABLES[c].dims) <= set(variable.dims)]
        if coordinates and name not in COORDINATES:
            dataset.attrs["coordinates"] = " ".join(coordinates)


def create_snapshots(h5: h5py.File, shape: tuple[int, ...], dtype: np.dtype, compress: bool) -> h5py.Group:
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
        scale.make_scale(f"{PURE_DIMENSION}{size:10d}")


def _create_variable(
    group: h5py.Group, name: str, variable: Variable, shape: tuple[int, ...], dtype: Any, storage: dict[str, Any]
) -> h5py.Dataset:
    dataset = group.create_dataset(name, shape, dtype, track_times=False, **storage)
    for axis, dim in enumerate(variable.dims_of(len(shape))):
        dataset.dims[axis].attach_scale(group[dim])
    set_attributes(dataset, {"units": variable.units, "long_name": variable.long_name})
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


def write_rows(
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
    block = np.empty(replaced(dataset.shape, axis, dataset.chunks[axis]), dataset.dtype)
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


def write_data(group: h5py.Group, data: Mapping[str, Any]) -> None:
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
        array = typed(name, "f8", array) if name == "labels" else _numeric(name, array)
        _create_variable(group, name, _DATA[name], array.shape, array.dtype, {})[...] = array


def _numeric(name: str, values: np.ndarray) -> np.ndarray:
    """int8 stays, all else becomes float64."""
    array = np.asarray(values)
    return array if array.dtype == np.int8 else typed(name, "f8", array)


def typed(name: str, dtype: str, values: np.ndarray) -> np.ndarray:
    """The values in the stated type; TypeError if that type cannot hold what they are."""
    array = np.asarray(values)
    if dtype == "str":
        return array.astype(object)
    if not np.can_cast(array.dtype, dtype, "same_kind"):
        raise TypeError(f"{name}: got {array.dtype}, expected {dtype}")
    return array.astype(dtype, copy=False)


def storable(array: np.ndarray) -> np.ndarray:
    return array.astype(object) if array.dtype.kind == "U" else array


def read_array(dataset: h5py.Dataset) -> np.ndarray:
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return np.asarray(dataset.asstr()[...]).astype(str)
    return np.asarray(dataset[...])


def set_attributes(node: h5py.Group | h5py.Dataset, attrs: Mapping[str, int | float | str]) -> None:
    for name, value in attrs.items():
        node.attrs[name] = value


def attributes(node: h5py.Group) -> dict[str, int | float | str]:
    return {name: plain(value) for name, value in node.attrs.items()}


def plain(value: Any) -> Any:
    """A Python number or str, where HDF5 gives a numpy scalar."""
    return value.item() if isinstance(value, np.generic) else value


def replaced(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])


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
        set_attributes(h5, attrs)
        _create_scales(h5, {dim: size for dim, size in sizes.items() if dim not in variables})
        for name in sorted(variables, key=lambda name: name not in sizes):
            variable = variables[name]
            dataset = _create_joined(h5, name, variable, sizes)
            inside = [other for other in named if set(variables[other].dims) <= set(variable.dims)]
            if name not in named and name not in sizes and inside:
                dataset.attrs["coordinates"] = " ".join(inside)
        for position, name, array in pieces:
            h5[name][(*position, *map(slice, array.shape))] = storable(array)

    sealed.write(path, "scan", fill)


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
        dataset[...] = storable(variable.values)
    if name in sizes:
        dataset.make_scale(name)
    else:
        for axis, dim in enumerate(variable.dims):
            dataset.dims[axis].attach_scale(h5[dim])
    set_attributes(dataset, {"units": variable.units, "long_name": variable.long_name or name})
    return dataset
