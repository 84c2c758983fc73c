"""`mcmc merge`: a scan as one file with its axes as dimensions, and the segments of a run as results.h5."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tomli_w

from mcmc import farm
from mcmc._version import __version__
from mcmc.errors import StorageError
from mcmc.netcdf import Joined, write_scan
from mcmc.scan import Axis, Scan, Task
from mcmc.schema import VARIABLES
from mcmc.storage import RESULTS, ROOT_ATTRIBUTES, RunDirectory

SCAN = "scan.h5"

_COORDINATES = ("beta", "sweep", "waiting_time", "lag_time")
_OF_TASK = {
    "n_patterns": Joined((), "i8", "1", "patterns of an instance"),
    "n_weights": Joined((), "i8", "1", "weights of a walker"),
    "burn_in": Joined((), "i8", "sweeps", "sweeps of the burn-in"),
    "complete": Joined((), "i1", "1", "1 if the task was complete"),
    "task": Joined((), "str", "1", "directory of the task"),
}
"""Variables with one value for each task; numbers are root attributes of its results."""


class _Results(NamedTuple):
    """The results of a task that is complete."""

    task: Task
    files: RunDirectory
    shapes: dict[str, tuple[int, ...]]
    attrs: dict[str, Any]


def merge(scan: Scan, directory: Path, path: Path) -> list[str]:
    """Writes the results of all tasks to `path`, with the scan's axes as first dimensions.

    Returns warnings: tasks that are not complete, or not what the scan asks for; their values are missing. Raises
    StorageError if there is no other one, or if the file cannot be written.
    """
    found, missing, damaged = _find(scan, directory)
    if not found:
        raise StorageError(f"{directory}: no task is complete yet{''.join(f'; {line}' for line in damaged[:1])}")
    axes = dimensions(scan)
    sizes = dict(zip(axes, scan.shape, strict=True))
    variables = coordinates(scan)
    of_axes = list(variables.keys() - sizes.keys())
    for name, variable in VARIABLES.items():
        shapes = [results.shapes[name] for results in found if name in results.shapes]
        if shapes:
            dims = variable.dims_of(max(map(len, shapes)))
            for shape in shapes:
                whole = shape if len(shape) == len(dims) else (*shape, shape[-1])  # a diagonal among matrices
                for dim, size in zip(dims, whole, strict=True):
                    sizes[dim] = max(size, sizes.get(dim, 0))
            variables[name] = Joined((*axes, *dims), variable.dtype, variable.units, variable.long_name)
    variables |= {name: joined._replace(dims=axes) for name, joined in _OF_TASK.items()}
    names = [*sorted(of_axes), *(name for name in _COORDINATES if name in variables), "task"]
    attrs = {"mcmc_version": __version__, "scan_toml": scan.text, "complete": int(len(found) == len(scan.tasks))}
    n_dims = {name: len(variable.dims) - len(axes) for name, variable in variables.items()}
    write_scan(path, sizes, variables, names, _pieces(scan, found, n_dims, sizes["copy"]), attrs)
    return damaged + warnings_of(scan, missing)


def warnings_of(scan: Scan, missing: Sequence[str]) -> list[str]:
    """What to say of tasks that are not complete, by their names: a line, or nothing."""
    if not missing:
        return []
    shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    return [f"{len(missing)} of {len(scan.tasks)} tasks are not complete: {shown}"]


def compact(directory: Path, announce: Callable[[str], object] = print) -> Path:
    """Writes the segments of a run that is not complete yet as results.h5, which is that of a complete one.

    Raises StorageError, also if the run goes on (HeldError) or has no checkpoint yet.
    """
    files = RunDirectory(directory)
    if _is_complete(files):  # nothing is written, and the lock not taken: the directory may be read-only
        return files.path / RESULTS
    files.lock(announce)
    try:
        if _is_complete(files):  # by now
            return files.path / RESULTS
        checkpoint = files.read_checkpoint()
        if checkpoint is None:
            raise StorageError(f"{directory}: holds no checkpoint {files.not_yet}")
        constants = {
            name: array
            for name, array in checkpoint.arrays.items()
            if name in VARIABLES and "sample" not in VARIABLES[name].dims
        }
        attrs = {name: value for name, value in checkpoint.attrs.items() if name in ROOT_ATTRIBUTES}
        files.write_results(constants, None, attrs | {"complete": 0}, checkpoint.segments)
    finally:
        files.unlock()
    return files.path / RESULTS


def _is_complete(files: RunDirectory) -> bool:
    """Whether the run says so; StorageError if its results are not there."""
    if (files.read_status() or {}).get("state") != "complete":
        return False
    if not files.results_are_whole():
        raise StorageError(f"{files.path / RESULTS}: missing or damaged; mcmc run makes it anew")
    return True


def _find(scan: Scan, directory: Path) -> tuple[list[_Results], list[str], list[str]]:
    """Results of the complete tasks, names of the others, and what is wrong with damaged and foreign ones."""
    found, missing, damaged = [], [], []
    for task, status in zip(scan.tasks, farm.statuses(scan, directory), strict=True):
        if status.get("state") != "complete":
            missing.append(task.name)
            continue
        files = RunDirectory(directory / task.name)
        try:
            results = _Results(task, files, *files.results_shapes())
            scan.check_run(task, files.path, str(results.attrs["run_toml"]))
            found.append(results)
        except StorageError as error:
            damaged.append(f"{error}; without it, mcmc scan makes it anew")
    return found, missing, damaged


def _pieces(
    scan: Scan, found: Sequence[_Results], n_dims: Mapping[str, int], most_copies: int
) -> Iterator[tuple[tuple[int, ...], str, np.ndarray]]:
    for task in scan.tasks:
        yield task.position, "task", np.array(task.name)
        yield task.position, "complete", np.array(0, dtype=np.int8)
    for task, files, shapes, attrs in found:
        n_copies = shapes["energy"][VARIABLES["energy"].dims.index("copy")]
        for name in ("n_patterns", "n_weights", "burn_in", "complete"):
            yield task.position, name, np.array(attrs[name])
        for name, array in files.results_arrays():
            if "pair" in VARIABLES[name].dims and n_copies < most_copies:
                array = _among_pairs(array, VARIABLES[name].dims.index("pair"), n_copies, most_copies)
            yield task.position, name, array if array.ndim == n_dims[name] else _as_matrix(array)


def _among_pairs(array: np.ndarray, axis: int, n_copies: int, most: int) -> np.ndarray:
    """The pairs of n_copies copies at their places among those of `most`, NaN at the others."""
    pairs = list(combinations(range(most), 2))
    whole = np.full((*array.shape[:axis], len(pairs), *array.shape[axis + 1 :]), np.nan)
    whole[(slice(None),) * axis + ([b < n_copies for _, b in pairs],)] = array
    return whole


def _as_matrix(diagonal: np.ndarray) -> np.ndarray:
    """(..., n) as (..., n, n), NaN beside the diagonal."""
    n = diagonal.shape[-1]
    matrix = np.full((*diagonal.shape, n), np.nan)
    matrix[..., range(n), range(n)] = diagonal
    return matrix


# --- axes ---


def dimensions(scan: Scan) -> tuple[str, ...]:
    """What the axes are called in the file."""
    return tuple(_dimension(scan, axis) for axis in scan.axes)


def _dimension(scan: Scan, axis: Axis) -> str:
    return {"zip": "zip", "runs": "run"}.get(axis.name) or _coordinate(scan, axis.keys[0])


def _coordinate(scan: Scan, key: str) -> str:
    """What a key is called: as in the names of directories, unless results have something of that name."""
    taken = {*VARIABLES, *_OF_TASK, "zip", "run", *(dim for variable in VARIABLES.values() for dim in variable.dims)}
    label = scan.labels[key]
    return key if label in taken else label


def coordinates(scan: Scan) -> dict[str, Joined]:
    """The values of every key along its axis, by what the key is called in the file."""
    found = {}
    for axis in scan.axes:
        for key in axis.keys:
            array = _array([scan.value(Task("", point, ()), key) for point in axis.points])
            dtype = "str" if array.dtype.kind == "U" else array.dtype.str[1:]
            found[_coordinate(scan, key)] = Joined((_dimension(scan, axis),), dtype, "", key, array)
    return found


def _array(values: Sequence[Any]) -> np.ndarray:
    """Integers, reals (what is not given is NaN), or else strings, as TOML has them."""
    kinds = {type(value) for value in values}
    if kinds == {int} and all(abs(value) < 2**63 for value in values):
        return np.array(values, dtype=np.int64)
    if kinds <= {int, float, type(None)}:
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    texts = [value if isinstance(value, str) else "" if value is None else _toml(value) for value in values]
    return np.array(texts)


def _toml(value: Any) -> str:
    return " ".join(tomli_w.dumps({"value": value}).removeprefix("value = ").split())
