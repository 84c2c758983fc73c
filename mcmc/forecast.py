"""What a run or a scan will take, for --dry-run: sizes, memory, files, layout; of a scan time, by a measurement."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import NamedTuple

from mcmc import config, engine, farm
from mcmc.annealing import STEPS
from mcmc.config import Config
from mcmc.parallel import Piece, Serial, layout
from mcmc.part import Part
from mcmc.problem import Problem
from mcmc.progress import duration, size_in_words
from mcmc.scan import Scan

_MEASURED = 16
"""Kinds of tasks whose speed is measured; that of the others follows from the nearest one."""
_BUDGET = 0.2
"""Seconds of each measurement."""
_OF_PILOTS = "found by pilot runs before sweep 0; sizes and times here are those of their first ladder"
_PLACES = 4
"""Along the way of an annealed task, at which it is measured."""


def of_run(asked: Config, size: int, directory: Path | None = None) -> str:
    """What a run needs, for --dry-run: sizes, memory, files, and the layout over `size` ranks.

    directory: where it would run
    """
    problem = Problem(asked, None if directory is None else engine.kept_sample(asked, directory))
    pieces = layout(problem.n_instances, problem.n_walkers, size)
    schedule = asked.schedule
    n_rows = schedule.sweeps // schedule.measure_every
    files = f"{size_in_words(problem.series_bytes(asked))} of time series"
    if asked.output.weights_every:
        files += f" and {schedule.sweeps // asked.output.weights_every} snapshots of the weights"
    busiest = max(sum(piece.stop - piece.start for piece in mine) for mine in pieces)
    memory = problem.memory(busiest, max(map(len, pieces)))
    lines = {
        "weights": f"{problem.n_weights} per walker ({problem.architecture.shape}), {problem.n_patterns} patterns",
        "walkers": f"{problem.n_instances} instances x {problem.n_copies} copies x {problem.n_rungs} rungs",
        "beta": ", ".join(f"{beta:.4g}" for beta in problem.beta),
        "sampler": _sampler(problem),
        "proposals": f"{problem.proposals_per_sweep * schedule.sweeps:.3g}",
        "rows": f"{n_rows} (every {schedule.measure_every} sweeps, burn-in {schedule.burn_in})",
        "files": f"{files} before compression",
        "memory": f"about {size_in_words(memory)} on the busiest rank, and Python's 100 MB",
        "ranks": f"{size}, {busiest} walkers on the busiest, {sum(not mine for mine in pieces)} idle",
    }
    if problem.tuning_sweeps:
        moves = ", ".join(map(str, problem.tuning_sweeps))
        lines["beta"] += f" at first; tuned ({asked.ladder.tune}) at the end of sweeps {moves}"
    if asked.seeks_rungs:
        lines["rungs"] = _OF_PILOTS
    if problem.constraint is not None:
        lines["constraint"] = str(problem.constraint)
    return "\n".join(f"{name:<10} {value}" for name, value in lines.items())


def _sampler(problem: Problem) -> str:
    asked = problem.config.sampler
    words = [f"{asked.method} of {problem.prior.name} weights"]
    if "step_size" in problem.sampler.parameters:
        steps = asked.step_size if isinstance(asked.step_size, list) else [asked.step_size]
        tuned = "tuned in the burn-in"
        words.append("step size " + ", ".join(tuned if s in (None, "auto") else f"{s:.4g}" for s in steps))
    return ", ".join(words)


class _Speed(NamedTuple):
    """Seconds of one core, for all walkers: of a sweep in the burn-in and after it, and to take the betas of a step."""

    burn_in: float
    after: float
    step: float

    def scaled(self, factor: float) -> _Speed:
        return _Speed(*(factor * seconds for seconds in self))

    def seconds(self, task: Config) -> float:
        """Of a task with this speed. Annealing has as many steps however long it takes, up to a sweep a step."""
        schedule = task.schedule
        in_burn_in = schedule.burn_in * self.burn_in + min(schedule.burn_in, STEPS) * self.step
        return in_burn_in + (schedule.sweeps - schedule.burn_in) * self.after


class _Needs(NamedTuple):
    """Of a task on one rank."""

    file_bytes: int
    memory_bytes: float
    seconds: float
    n_walkers: int


def of_scan(scan: Scan, size: int) -> str:
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
    if any(task.seeks_rungs for task in map(scan.config, scan.tasks)):
        lines["rungs"] = _OF_PILOTS
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
        sizes += [(kind, task, problem.series_bytes(task), memory, n_walkers) for task in tasks]
    speeds = _speeds({kind: tasks[0] for kind, tasks in kinds.items()}, costs)
    return [
        _Needs(file_bytes, memory, speeds[kind].seconds(task), n_walkers)
        for kind, task, file_bytes, memory, n_walkers in sizes
    ]


def _kind(text: str) -> str:
    """A run file without what the cost of a sweep does not depend on."""
    raw = config.parse(text)
    schedule = {key: value for key, value in raw["schedule"].items() if key not in ("sweeps", "burn_in")}
    kept = {key: value for key, value in raw.items() if key not in ("seed", "checkpoint", "output")}
    return json.dumps(kept | {"schedule": schedule}, sort_keys=True, default=str)


def _speeds(tasks: dict[str, Config], costs: dict[str, int]) -> dict[str, _Speed]:
    """By kind: measured for some, the others scaled from the one that is nearest in `costs`, proposals x patterns."""
    in_order = sorted(costs, key=lambda kind: costs[kind])
    measured = {kind: _measure(Problem(tasks[kind])) for kind in in_order[:: -(-len(in_order) // _MEASURED)]}
    speeds = {}
    for kind, cost in costs.items():
        near = min(measured, key=lambda other: abs(math.log(costs[other] / cost)))
        speeds[kind] = measured[kind] if kind in measured else measured[near].scaled(cost / costs[near])
    return speeds


def _measure(problem: Problem) -> _Speed:
    """The speed of this process, from the walkers of the first instance, in memory.

    An annealed task takes the betas of some places on its way, then those of its end: the fewer moves are accepted, the
    faster a sweep is. The steps of a short burn-in are told apart, for a long one has no more of them.
    """
    part = Part(problem, Piece(0, 0, problem.n_walkers), Serial())
    annealing, problem.annealing = problem.annealing, None  # from here on the betas are set by hand
    ladders, burn_in = [problem.beta], problem.config.schedule.burn_in
    if annealing is not None:
        halves = range(1, 2 * _PLACES, 2)
        ladders = [annealing.beta(1 + burn_in * half // (2 * _PLACES)) for half in halves] + ladders
    began, done, per_sweep, per_step = time.monotonic(), 0, [], []
    for beta in ladders:
        step_began = time.monotonic()
        part.chain.set_beta(beta)
        step = time.monotonic() - step_began
        first, seconds, done = _sweep(part, done, _BUDGET / len(ladders))
        per_sweep.append(seconds)
        per_step.append(step + max(0.0, first - seconds))
        if time.monotonic() - began > _BUDGET:  # of a large task one place has to do
            break
    on_the_way = per_sweep[:-1] or per_sweep
    # what is done for the first time takes longer
    speed = _Speed(sum(on_the_way) / len(on_the_way), per_sweep[-1], 0.0 if annealing is None else min(per_step))
    return speed.scaled(problem.n_instances)


def _sweep(part: Part, done: int, budget: float) -> tuple[float, float, int]:
    """Sweeps on for some seconds; returns those of the first sweep, and of one among many, and the last sweep."""
    first, stretch, last = 0.0, 1, done + part.problem.config.schedule.sweeps
    began = time.monotonic()
    while True:
        stretch = min(stretch, last - done)
        stretch_began = time.monotonic()
        part.advance(done + 1, done + stretch)
        part.take_rows()
        done += stretch
        seconds = time.monotonic() - stretch_began
        first = first or seconds
        if done == last or time.monotonic() - began + 2 * seconds > budget:
            return first, seconds / stretch, done
        stretch *= 2
