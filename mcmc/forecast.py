"""What a scan will take, for --dry-run: time by a short measurement, memory, and sizes of files."""

from __future__ import annotations

import json
import math
import time
from typing import NamedTuple

from mcmc import config, farm
from mcmc.config import Config
from mcmc.engine import series_bytes, size_in_words
from mcmc.parallel import Piece, Serial
from mcmc.part import Part
from mcmc.problem import Problem
from mcmc.progress import duration
from mcmc.scan import Scan

_MEASURED = 16
"""Kinds of tasks whose speed is measured; that of the others follows from the nearest one."""
_BUDGET = 0.2
"""Seconds of each measurement."""


class _Needs(NamedTuple):
    """Of a task on one rank."""

    file_bytes: int
    memory_bytes: float
    seconds: float
    n_walkers: int


def plan(scan: Scan, size: int) -> str:
    """What the scan needs on `size` ranks like this process."""
    needs = _needs(scan)
    groups = farm.cut(size, len(needs), max(task.n_walkers for task in needs))
    ranks = sum(map(len, groups))
    seconds, longest = sum(task.seconds for task in needs), max(task.seconds for task in needs)
    elapsed = max(seconds / ranks, longest * len(groups) / ranks)
    file_bytes = [task.file_bytes for task in needs]
    axes = " x ".join(f"{axis.name} {len(axis.points)}" for axis in scan.axes)
    lines = {
        "tasks": f"{len(needs)} ({axes or 'no axes'})",
        "files": f"{size_in_words(sum(file_bytes))} of time series before compression, the largest "
        f"{size_in_words(max(file_bytes))}",
        "memory": f"at most about {size_in_words(max(task.memory_bytes for task in needs))} on one rank, and Python's "
        "100 MB",
        "time": f"{duration(seconds)} on one core like this one, the longest task {duration(longest)}: measured by "
        "first sweeps, others may be slower or faster",
        "ranks": f"{size} in {len(groups)} groups: about {duration(elapsed)}",
    }
    return "\n".join(f"{name:<10} {value}" for name, value in lines.items())


def _needs(scan: Scan) -> list[_Needs]:
    """Of every task. Tasks that differ in seed and length alone are of one kind."""
    kinds: dict[str, list[Config]] = {}
    for task in map(scan.config, scan.tasks):
        kinds.setdefault(_kind(task.text), []).append(task)
    costs: dict[str, int] = {}
    sizes: list[tuple[str, Config, int, float, int]] = []
    for kind, tasks in kinds.items():
        problem = Problem(tasks[0])  # one at a time: its data may be large
        n_walkers = problem.n_instances * problem.n_walkers
        costs[kind] = n_walkers * problem.n_weights * problem.n_patterns
        memory = problem.memory(n_walkers, problem.n_instances)
        sizes += [(kind, task, series_bytes(problem, task), memory, n_walkers) for task in tasks]
    seconds = _seconds_per_sweep({kind: tasks[0] for kind, tasks in kinds.items()}, costs)
    return [
        _Needs(file_bytes, memory, seconds[kind] * task.schedule.sweeps, n_walkers)
        for kind, task, file_bytes, memory, n_walkers in sizes
    ]


def _kind(text: str) -> str:
    """A run file without what the cost of a sweep does not depend on."""
    raw = config.parse(text)
    schedule = {key: value for key, value in raw["schedule"].items() if key not in ("sweeps", "burn_in")}
    kept = {key: value for key, value in raw.items() if key not in ("seed", "checkpoint", "output")}
    return json.dumps(kept | {"schedule": schedule}, sort_keys=True, default=str)


def _seconds_per_sweep(tasks: dict[str, Config], costs: dict[str, int]) -> dict[str, float]:
    """By kind: measured for some, the others scaled from the one that is nearest in `costs`, proposals x patterns."""
    in_order = sorted(costs, key=lambda kind: costs[kind])
    measured = {kind: _measure(Problem(tasks[kind])) for kind in in_order[:: -(-len(in_order) // _MEASURED)]}
    seconds = {}
    for kind, cost in costs.items():
        near = min(measured, key=lambda other: abs(math.log(costs[other] / cost)))
        seconds[kind] = measured.get(kind, measured[near] * cost / costs[near])
    return seconds


def _measure(problem: Problem) -> float:
    """Seconds of this process for a sweep of all walkers, from those of the first instance, in memory."""
    part = Part(problem, Piece(0, 0, problem.n_walkers), Serial())
    sweep, stretch, last = 0, 1, problem.config.schedule.sweeps
    began = time.monotonic()
    while True:
        stretch = min(stretch, last - sweep)
        stretch_began = time.monotonic()
        part.advance(sweep + 1, sweep + stretch)
        part.take_rows()
        sweep += stretch
        seconds = time.monotonic() - stretch_began
        if sweep == last or time.monotonic() - began + 2 * seconds > _BUDGET:
            return problem.n_instances * seconds / stretch
        stretch *= 2
