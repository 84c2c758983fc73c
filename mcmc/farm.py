"""The tasks of a scan on groups of ranks.

The groups do not talk to each other: every one goes through the tasks from a place of its own, and takes those that are
not complete and that nobody holds. The lock of a task's directory decides, so that groups of several jobs, on any
hosts, may work at one scan. A task that is broken is noted, and the group goes on.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mcmc import engine, lock, sealed, slurm
from mcmc.errors import ConfigError, DivergenceError, HeldError, StorageError
from mcmc.parallel import World
from mcmc.progress import duration
from mcmc.scan import Scan, Task
from mcmc.stop import Stop
from mcmc.storage import LOCK, RESULTS, RunDirectory
from mcmc.watchdog import watchdog

SCAN_TOML = "scan.toml"
BROKEN = 1
"""What `run` returns if a task is broken and all that can be done is done."""


def run(
    scan: Scan,
    directory: Path,
    world: World,
    walltime: float | None = None,
    quiet: bool = False,
    ranks_per_task: int | None = None,
) -> int:
    """Run all tasks that are not complete, each on a group of ranks.

    Returns engine.DONE, engine.STOPPED after a walltime or a signal or near the end of the job, or BROKEN. Tasks that
    another job is running are left to it. Raises ConfigError (nothing has been created) and StorageError on every rank
    alike.
    """
    if ranks_per_task is not None and ranks_per_task > world.size:
        raise ConfigError(f"--ranks-per-task: got {ranks_per_task}, expected at most {world.size}, the ranks there are")
    with Stop(walltime) as stop, watchdog(world):
        job_left = world.broadcast(slurm.seconds_left)  # asked once: groups that do not talk must not stop at two times
        if job_left is not None:
            stop.end_job_in(job_left)
        *lists, n_walkers = world.broadcast(lambda: _prepare(scan, directory))
        outcomes: list[_Outcome] = []
        for pending in lists:
            stopped = any(outcome.state == "stopped" for outcome in outcomes)
            if world.start_maximum([stopped])()[0] or not pending:
                continue
            groups = cut(world.size, len(pending), n_walkers, ranks_per_task)
            if world.rank == 0 and (n_idle := world.size - sum(map(len, groups))):
                _warn(f"{n_idle} of {world.size} ranks are idle: {len(pending)} tasks, {n_walkers} walkers at most")
            for number, ranks in enumerate(groups):
                if world.rank in ranks:
                    first = len(pending) * number // len(groups)
                    group = _Group(scan, directory, world.group(ranks), stop, quiet)
                    outcomes += group.work(pending[first:] + pending[:first])
                    group.world.free()
        return _tell(scan, directory, world, outcomes, quiet)


def run_task(
    scan: Scan, directory: Path, index: int, world: World, walltime: float | None = None, quiet: bool = False
) -> int:
    """Run one task on all ranks, as engine.run does."""
    if index >= len(scan.tasks):
        raise ConfigError(f"--task: got {index}, expected a number from 0 to {len(scan.tasks) - 1}")
    world.broadcast(lambda: _keep(scan, directory))
    task = scan.tasks[index]
    return engine.run(scan.config(task), directory / task.name, world, walltime, quiet)


def load(directory: Path) -> Scan | None:
    """The scan that is kept in a directory; None if there is none. Raises StorageError."""
    text = _kept(directory)
    try:
        return None if text is None else Scan(text)
    except ConfigError as error:
        raise StorageError(f"{directory / SCAN_TOML}: damaged: {error}") from None


def statuses(scan: Scan, directory: Path) -> list[dict[str, Any]]:
    """What status.json says of each task; empty where there is none. What was complete with fewer sweeps is stopped."""
    found = [_status(directory / task.name) for task in scan.tasks]
    for task, status in zip(scan.tasks, found, strict=True):
        if status.get("state") == "complete" and status.get("sweep") != scan.value(task, "schedule.sweeps"):
            status["state"] = "stopped"
    return found


def cut(n_ranks: int, n_tasks: int, n_walkers: int, ranks_per_task: int | None = None) -> list[range]:
    """Groups of ranks, each for a task at a time; n_walkers is the most that a task has.

    One rank a group if there are enough tasks; otherwise the ranks are shared evenly, but no group has idle ones.
    """
    n_groups = min(n_tasks, n_ranks if ranks_per_task is None else n_ranks // ranks_per_task)
    largest = n_walkers if ranks_per_task is None else ranks_per_task
    starts = [n_ranks * number // n_groups for number in range(n_groups + 1)]
    return [range(start, min(stop, start + largest)) for start, stop in pairwise(starts)]


# --- before ---


def _prepare(scan: Scan, directory: Path) -> tuple[list[int], list[int], int]:
    """Rank 0: keeps the scan file; indices of the tasks that are not complete, and the most walkers of one of them.

    Those that failed are apart, and come last: what fails unexpectedly ends the job, and would do so before the others
    have begun, each time.
    """
    _keep(scan, directory)
    pending, failed, n_walkers = [], [], 1
    for index, task in enumerate(scan.tasks):
        asked, path = scan.config(task), directory / task.name
        if _is_complete(RunDirectory(path), asked.text):
            RunDirectory(path).remove_stale_lock()
            continue
        (failed if _status(path).get("state") == "failed" else pending).append(index)
        n_walkers = max(n_walkers, asked.data.n_instances * asked.ladder.n_copies * asked.n_rungs)
    return pending, failed, n_walkers


def _keep(scan: Scan, directory: Path) -> None:
    """Rank 0: makes the directory, with the scan file in it, after a check of every task; nothing if it is there."""
    kept = _kept(directory)
    if kept == scan.text:
        return
    scan.check()
    if kept is not None:
        try:
            changes = scan.changes_since(kept)
        except ConfigError as error:
            raise StorageError(f"{directory / SCAN_TOML}: damaged: {error}") from None
        if changes:
            raise StorageError(
                f"{directory}: holds a scan with another configuration: {'; '.join(changes)}; choose another directory "
                "(only axes, checkpoint.* and a larger schedule.sweeps may change)"
            )
    else:
        _make(directory)
    sealed.write_atomically(directory / SCAN_TOML, lambda file: file.write(scan.text.encode()))
    with suppress(OSError):
        for path in filter(sealed.stale, directory.glob(f".{SCAN_TOML}.*.tmp")):  # of one that was killed right here
            path.unlink(missing_ok=True)


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        found = [name for name in os.listdir(directory) if not name.startswith(f".{SCAN_TOML}.")]
    except OSError as error:
        raise ConfigError(f"output: cannot create {directory}: {sealed.reason(error)}") from None
    if found and _kept(directory) is None:  # not even by another job, meanwhile
        raise ConfigError(f"output: {directory} is not empty and holds no scan of mcmc; choose another directory")


def _kept(directory: Path) -> str | None:
    """The scan file in a directory."""
    try:
        return (directory / SCAN_TOML).read_bytes().decode()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise sealed.cannot("read", directory / SCAN_TOML, error) from error
    except UnicodeDecodeError:
        raise StorageError(f"{directory / SCAN_TOML}: damaged: is not UTF-8 text") from None


def _is_complete(files: RunDirectory, text: str) -> bool:
    """Whether a run of this configuration is complete, as far as it says; its files are not verified."""
    with suppress(StorageError):
        if _status(files.path).get("state") == "complete":
            return files.run_toml() == text and os.path.exists(files.path / RESULTS)
    return False


def _status(directory: Path) -> dict[str, Any]:
    with suppress(StorageError):
        return RunDirectory(directory).read_status() or {}
    return {}


# --- the work of a group ---


_STOPPED = -1
"""In the place of the next task."""


class _Outcome(NamedTuple):
    """What became of a task that a group has taken."""

    task: str
    state: str
    """complete, stopped or broken."""
    message: str = ""


class _Group:
    """Ranks that run one task after the other; rank 0 decides which."""

    def __init__(self, scan: Scan, directory: Path, world: World, stop: Stop, quiet: bool) -> None:
        self.scan, self.directory, self.world, self.stop, self.quiet = scan, directory, world, stop, quiet
        self.queue: deque[int] = deque()
        self.held: list[int] = []
        """Tasks that others were found to run."""
        self.waited = False

    def work(self, pending: Sequence[int]) -> list[_Outcome]:
        """The tasks of these indices, as far as they are free; what became of them, on every rank.

        What every rank of one group raises alike must not leave it: the other groups would wait for it at the end.
        """
        self.queue.extend(pending)
        outcomes = []
        while True:
            reason = self.world.start_maximum([self.stop.reason(0)])()[0]
            index = self.world.broadcast(lambda stops=reason > 0: self._next(stops))
            if index is None:
                return outcomes
            if reason or index == _STOPPED:
                return [*outcomes, _Outcome("", "stopped")]
            outcome = self._run(index, self.scan.tasks[index])
            if outcome is not None:
                outcomes.append(outcome)
                if outcome.state == "stopped":
                    return outcomes

    def _next(self, stops: bool) -> int | None:
        """Rank 0: the next task that is neither complete nor held; None if there is none.

        At the end it waits, once, for a sign of life of the holders on other hosts; _STOPPED if a reason to stop, such
        as that one of the ranks has (`stops`), ends that.
        """
        while self.queue:
            index = self.queue.popleft()
            task = self.scan.tasks[index]
            if _is_complete(RunDirectory(self.directory / task.name), self.scan.config(task).text):
                continue
            if not lock.is_held(self.directory / task.name / LOCK):
                return index
            self.held.append(index)
        if self.held and not self.waited:
            self.waited = True
            paths = [self.directory / self.scan.tasks[index].name / LOCK for index in self.held]
            with suppress(OSError):
                if not lock.clear(paths, self._announce, lambda: stops or self.stop.reason(0) > 0):
                    return _STOPPED
            self.queue.extend(self.held)
            self.held = []
            return self._next(stops)
        return None

    def _announce(self, line: str) -> None:
        if not self.quiet:
            print(line, flush=True)

    def _run(self, index: int, task: Task) -> _Outcome | None:
        """None if somebody else was quicker."""
        began = time.monotonic()
        try:
            asked = self.scan.config(task)
            code = engine.run(asked, self.directory / task.name, self.world, self.stop.left(), quiet=True)
            outcome = _Outcome(task.name, "complete" if code == engine.DONE else "stopped")
        except HeldError:
            self.held.append(index)
            return None
        except (ConfigError, StorageError, DivergenceError) as error:
            outcome = _Outcome(task.name, "broken", " ".join(str(error).split()))
        except Exception as error:  # it ends all ranks; the next command shall not begin with this task
            _note_failure(RunDirectory(self.directory / task.name), error)
            raise
        if self.world.rank == 0 and not self.quiet:
            print(f"{task.name}: {outcome.state}, {duration(time.monotonic() - began)}", flush=True)
        return outcome


def _note_failure(files: RunDirectory, error: Exception) -> None:
    """Says so in status.json, unless the run has done that itself: then it has the lock."""
    with suppress(ConfigError, StorageError):
        files.lock()
        try:
            files.write_status((files.read_status() or {}) | {"state": "failed", "message": repr(error)})
        finally:
            files.unlock()


# --- after ---


def _tell(scan: Scan, directory: Path, world: World, outcomes: list[_Outcome], quiet: bool) -> int:
    """Names what is broken and counts the rest, on rank 0; the exit code, on all."""
    lines = "".join(json.dumps(outcome) + "\n" for outcome in outcomes).encode()
    gathered = world.gather(np.frombuffer(lines, dtype=np.uint8))

    def code() -> int:
        # each rank of a group has told the same
        told = dict.fromkeys(_Outcome(*json.loads(line)) for line in gathered.tobytes().splitlines())
        broken = [outcome for outcome in told if outcome.state == "broken"]
        for outcome in broken:
            print(f"mcmc: error: task {outcome.task}: {outcome.message}", file=sys.stderr, flush=True)
        n_tasks = len(scan.tasks)
        names = {outcome.task for outcome in broken}
        found = zip(scan.tasks, statuses(scan, directory), strict=True)
        n_complete = sum(task.name not in names and status.get("state") == "complete" for task, status in found)
        stopped = any(outcome.state == "stopped" for outcome in told)
        if not quiet:
            rest = n_tasks - n_complete - len(broken)
            others = "left; the same command continues" if stopped else "with others"
            words = [f"{n_complete} of {n_tasks} tasks complete"]
            words += [f"{len(broken)} broken"] if broken else []
            words += [f"{rest} {others}"] if rest else []
            print(f"{directory}: {', '.join(words)}", flush=True)
        if stopped:
            return engine.STOPPED
        return BROKEN if broken else engine.DONE

    return world.broadcast(code)


def _warn(line: str) -> None:
    print(f"mcmc: warning: {line}", file=sys.stderr, flush=True)
