"""A scan file: a run file with the table [scan], to a list of tasks. Nothing here touches a disk.

Each key of [scan] is an axis, a list of values or a range of integers such as "0..99"; [scan.zip] is one axis, along
which several keys vary together; so is [[scan.runs]], a list of tables of settings. The tasks are the product of all
axes, of which the first varies slowest.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from mcmc import config
from mcmc.config import Config
from mcmc.errors import ConfigError, StorageError

_MOST = 100_000
"""Tasks of a scan."""
_PATHS = ("data.path", "constraint.path")
_PLAIN = re.compile(r"[A-Za-z0-9._+-]{1,32}")
_LONGEST_NAME = 200


class Axis(NamedTuple):
    """One dimension of a scan."""

    name: str
    """The key; "zip" or "runs" if there are several."""
    keys: tuple[str, ...]
    points: tuple[dict[str, Any], ...]
    """Settings by key; in [[scan.runs]] not every point sets every key."""


class Task(NamedTuple):
    """One run of a scan."""

    name: str
    """Of its directory. It depends on the settings alone."""
    settings: dict[str, Any]
    position: tuple[int, ...]
    """Index along each axis."""


class Scan:
    """What a scan file asks for: `axes` and `tasks`. Without [scan] there is one task."""

    def __init__(
        self, text: str, overrides: Sequence[str] = (), *, name: str = "scan file", directory: str = ""
    ) -> None:
        """From the text of a scan file. Overrides and directory as in config.loads; a key of an axis cannot be set.

        Raises ConfigError for what is wrong with [scan]; of the tasks `check` tells.
        """
        self.base = config.parse(text, overrides, name=name)
        self.text = tomli_w.dumps(self.base) if overrides else text
        self.directory = os.path.abspath(directory)
        asked = self.base.pop("scan", {})
        if not isinstance(asked, dict):
            raise _wrong("scan", asked, "a table [scan]")
        self.axes = _axes(asked)
        for override in overrides:
            key = override.partition("=")[0].strip()
            if key in self.keys:
                raise ConfigError(f"--set: got {override}, expected another key: the scan varies {key}")
        self.tasks = self._expand()

    @property
    def keys(self) -> tuple[str, ...]:
        """What the axes vary."""
        return tuple(key for axis in self.axes for key in axis.keys)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis.points) for axis in self.axes)

    def config(self, task: Task) -> Config:
        """The checked configuration of a task; relative paths have become absolute ones.

        Raises ConfigError, which names the task.
        """
        raw = copy.deepcopy(self.base)
        try:
            config.assign(raw, copy.deepcopy(task.settings), "scan")
            for key in _PATHS:
                table, _, name = key.partition(".")
                path = raw.get(table, {}).get(name) if isinstance(raw.get(table, {}), dict) else None
                if isinstance(path, str) and path:
                    raw[table][name] = os.path.join(self.directory, path)
            return config.load(raw)
        except ConfigError as error:
            raise ConfigError(f"task {task.name}: {error}" if self.axes else str(error)) from None

    def value(self, task: Task, key: str) -> Any:
        """What a key is in a task; None if neither the task nor the file says."""
        found: Any = copy.deepcopy(self.base)
        config.assign(found, copy.deepcopy(task.settings), "scan")  # one key may replace another
        for step in key.split("."):
            found = found.get(step) if isinstance(found, dict) else None
        return found

    def walltime(self) -> float | None:
        """Seconds for all tasks together, from the file; None without."""
        return self.config(self.tasks[0]).checkpoint.walltime

    def check(self) -> None:
        """Raises ConfigError if a task is wrong."""
        for task in self.tasks:
            self.config(task)

    def changes_since(self, text: str) -> list[str]:
        """In what, apart from the axes, this differs from the scan of `text`; what a run may change is left out.

        Another path is a difference: tasks to come would have other data than those that are complete.
        """
        earlier = Scan(text, directory=self.directory)
        before, now = (scan.config(scan.tasks[0]) for scan in (earlier, self))
        varied = {*earlier.keys, *self.keys}
        if varied & {"data.alpha", "data.n_patterns"}:
            varied |= {"data.alpha", "data.n_patterns"}

        def is_varied(leaf: str) -> bool:
            return any(key == leaf or key.startswith(f"{leaf}.") for key in varied)

        return [line for line in now.changes_since(before.text, paths=True) if not is_varied(line.partition(" ")[0])]

    def check_run(self, task: Task, directory: Path, text: str) -> None:
        """StorageError if the run of `text` in the directory of a task is another one.

        The scan may be reached by another path now: of files only what the scan file itself says of the path counts.
        """
        try:
            found = config.parse(text)
            changes = self.config(task).changes_since(text, paths=True)
        except ConfigError as error:
            raise StorageError(f"{directory}: damaged: {error}") from None

        def is_same_file(key: str) -> bool:
            table, _, name = key.partition(".")
            asked = Path(str(self.value(task, key))).parts
            return key in _PATHS and Path(str(found.get(table, {}).get(name))).parts[-len(asked) :] == asked

        changes = [line for line in changes if not is_same_file(line.partition(" ")[0])]
        if changes:
            raise StorageError(f"{directory}: holds another run than the task of this name: {'; '.join(changes)}")

    @cached_property
    def labels(self) -> dict[str, str]:
        """What a key is called in names: its last part, unless two keys of the scan share it."""
        last = [key.rpartition(".")[2] for key in self.keys]
        return {key: name if last.count(name) == 1 else key for key, name in zip(self.keys, last, strict=True)}

    def _expand(self) -> list[Task]:
        if (n_tasks := math.prod(self.shape)) > _MOST:
            raise ConfigError(f"scan: got {n_tasks} tasks, expected at most {_MOST}")
        tasks: dict[str, Task] = {}
        for position in itertools.product(*map(range, self.shape)):
            points = [axis.points[index] for axis, index in zip(self.axes, position, strict=True)]
            settings = {key: value for point in points for key, value in point.items()}
            task = Task(self._name(settings), settings, position)
            if task.name in tasks:
                raise ConfigError(f"scan: got two tasks {task.name}, expected each once")
            tasks[task.name] = task
        return list(tasks.values())

    def _name(self, settings: Mapping[str, Any]) -> str:
        if not settings:
            return "run"
        name = ",".join(f"{self.labels[key]}={_in_name(settings[key])}" for key in sorted(settings))
        if len(name) <= _LONGEST_NAME:
            return name
        return f"{name[: _LONGEST_NAME - 9]}~{_digest(name)}"


def _axes(asked: Mapping[str, Any]) -> list[Axis]:
    """The axes in the order of the file. Raises ConfigError."""
    axes = []
    for name, value in asked.items():
        if name == "zip":
            axes.append(_zip(value))
        elif name == "runs":
            axes.append(_runs(value))
        else:
            for key, values in _leaves({name: value}):
                points = _values(f"scan.{key}", values)
                axes.append(Axis(key, (key,), tuple({key: point} for point in points)))
    keys = [key for axis in axes for key in axis.keys]
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigError(f"scan: got {key} on two axes, expected it on one")
        above = next((other for other in keys if key.startswith(f"{other}.")), None)
        if above is not None:
            raise ConfigError(f"scan: got {key} and {above}, expected one of the two: the second sets the first")
    return axes


def _zip(asked: Any) -> Axis:
    if not isinstance(asked, dict) or not asked:
        raise _wrong("scan.zip", asked, "a table of lists of one length")
    columns = {key: _values(f"scan.zip.{key}", values) for key, values in _leaves(asked)}
    lengths = {key: len(values) for key, values in columns.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise ConfigError(f"scan.zip: got lists of lengths {found}, expected one length")
    points = tuple(dict(zip(columns, point, strict=True)) for point in zip(*columns.values(), strict=True))
    return Axis("zip", tuple(columns), points)


def _runs(asked: Any) -> Axis:
    if not isinstance(asked, list) or not asked or not all(isinstance(run, dict) for run in asked):
        raise _wrong("scan.runs", asked, "tables [[scan.runs]]")
    points = tuple(dict(_settings(run)) for run in asked)
    return Axis("runs", tuple(dict.fromkeys(key for point in points for key in point)), points)


def _leaves(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Keys with what is no table: "data.alpha" = ... and data = { alpha = ... } are the same."""
    for name, value in table.items():
        key = f"{path}{name}"
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{key}.")
        else:
            yield key, value


def _settings(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Keys with their values, which may be tables: what is not one of the run file's own tables."""
    for name, value in table.items():
        key = f"{path}{name}"
        if isinstance(value, dict) and key in config.TABLES and key != "ladder.beta":
            yield from _settings(value, f"{key}.")
        else:
            yield key, value


def _values(key: str, asked: Any) -> Sequence[Any]:
    """The values along an axis."""
    expected = 'a list, or a range of integers such as "0..99"'
    if isinstance(asked, list):
        if not asked:
            raise _wrong(key, asked, "at least one value")
        return asked
    limits = re.fullmatch(r"\s*(-?\d{1,18})\s*\.\.\s*(-?\d{1,18})\s*", asked) if isinstance(asked, str) else None
    if limits is None:
        raise _wrong(key, asked, expected)
    first, last = map(int, limits.groups())
    if first > last:
        raise _wrong(key, asked, "a range that does not go down")
    if last - first >= _MOST:
        raise _wrong(key, asked, f"at most {_MOST} values")
    return range(first, last + 1)


def _in_name(value: Any) -> str:
    """A value in the name of a directory: as TOML writes it, or a digest; 1.0 is 1."""
    value = _canonical(value)
    text = value if isinstance(value, str) else str(value).lower()
    return text if _PLAIN.fullmatch(text) else _digest(json.dumps(value, default=str))


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _wrong(key: str, value: Any, expected: str) -> ConfigError:
    text = " ".join(repr(value).split())
    got = text if len(text) <= 60 else f"{text[:57]}..."
    return ConfigError(f"{' '.join(key.split())}: got {got}, expected {expected}")
