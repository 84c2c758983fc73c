"""`mcmc status`: how far a run is, or a whole scan, also while it runs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mcmc.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from mcmc.scan import Scan

_LOST_AFTER = 300.0  # seconds without a heartbeat
_STATES = ("complete", "running", "stopped", "failed", "lost", "new")


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def status(directory: Path) -> None:
    """Progress, rate, time left and state of a run, or of a whole scan; also while it runs."""
    from mcmc import farm

    scan = farm.load(directory)
    if scan is None:
        lines = _run_lines(_read_status(directory), time.time())
    else:
        lines = _scan_lines(scan, farm.statuses(scan, directory), time.time())
    for name, value in lines:
        click.echo(f"{name:<10} {value}")


def no_run(directory: Path) -> ConfigError:
    """The error of a command that needs the directory of a run."""
    what = "no run has started in this directory" if directory.is_dir() else "no such directory"
    if directory.is_file():
        what = "is a file"
    elif (directory / "scan.toml").exists():
        what = "holds a scan (its tasks are the directories in it)"
    return ConfigError(f"{directory}: {what}, expected the output directory of a run")


def state_of(found: Mapping[str, Any], now: float) -> str:
    """The state that status.json tells; "lost" if the heartbeat is stale, "new" if there is nothing yet."""
    state, heartbeat = found.get("state", "new"), found.get("heartbeat")
    is_lost = state == "running" and heartbeat is not None and now - heartbeat > _LOST_AFTER
    return "lost" if is_lost else state


def _read_status(directory: Path) -> dict[str, Any]:
    """What `status.json` says."""
    from mcmc.storage import RunDirectory

    run = RunDirectory(directory)
    if run.run_toml() is None:
        raise no_run(directory)
    found = run.read_status()
    if found is None or "state" not in found:
        raise StorageError(f"{directory / 'status.json'}: missing or damaged; running again writes a new one")
    return found


def _run_lines(found: Mapping[str, Any], now: float) -> Iterator[tuple[str, str]]:
    """What is printed of a run, line by line; `now` and the heartbeat in seconds of unix time."""
    from mcmc.progress import duration

    heartbeat, started, state = found.get("heartbeat"), found.get("started"), state_of(found, now)
    silent = None if heartbeat is None else max(0.0, now - heartbeat)
    yield "state", f"lost (running, but no heartbeat for {duration(silent)})" if state == "lost" else state
    sweep, sweeps = found.get("sweep"), found.get("sweeps")
    if sweep is not None and sweeps:
        yield "sweep", f"{sweep} of {sweeps} ({100 * sweep / sweeps:.1f} %)"
    if found.get("rate_proposals_per_s"):
        yield "rate", f"{found['rate_proposals_per_s']:.3g} proposals/s"
    if state == "running":
        if found.get("seconds_left") is not None:
            yield "left", duration(found["seconds_left"])
        if silent is not None:
            yield "heartbeat", f"{duration(silent)} ago"
    if found.get("elapsed_seconds") is not None:
        yield "elapsed", duration(found["elapsed_seconds"])
    if started is not None:
        yield "started", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(started))
    if found.get("hosts"):
        yield "hosts", f"{', '.join(found['hosts'])} (ranks: {found.get('ranks', '?')}, pid: {found.get('pid', '?')})"
    if found.get("message"):
        yield "message", found["message"]


def _scan_lines(scan: Scan, found: Sequence[Mapping[str, Any]], now: float) -> Iterator[tuple[str, str]]:
    """What is printed of a scan; found: of each task."""
    from mcmc.progress import duration

    states = [state_of(status, now) for status in found]
    counts = Counter(states)
    yield "tasks", f"{len(states)}: " + ", ".join(f"{counts[state]} {state}" for state in _STATES if counts[state])
    done = sum(status.get("sweep") or 0 for status in found)
    total = sum(scan.value(task, "schedule.sweeps") or 0 for task in scan.tasks)
    yield "sweeps", f"{done} of {total} ({100 * done / max(total, 1):.1f} %)"
    left = _seconds_left(found, states)
    if left is not None:
        yield "left", f"about {duration(left)} at the present rate"
    for task, status, state in zip(scan.tasks, found, states, strict=True):
        if state in ("failed", "lost"):
            silent = f"{duration(now - status['heartbeat'])} silent" if state == "lost" else ""
            yield state, f"{task.name}: {status.get('message') or silent}"
    for task, status, state in zip(scan.tasks, found, states, strict=True):
        if state == "running":
            fraction = 100 * (status.get("sweep") or 0) / max(status.get("sweeps") or 1, 1)
            what = f", {status['message']}" if status.get("message") else ""
            yield state, f"{task.name}: {fraction:.1f} %, {', '.join(status.get('hosts') or ['?'])}{what}"


def _seconds_left(found: Sequence[Mapping[str, Any]], states: Sequence[str]) -> float | None:
    """By the tasks that run now; those that have not begun take as long as others. None if none runs."""
    running = [status for status, state in zip(found, states, strict=True) if state == "running"]
    left = [status["seconds_left"] for status in running if status.get("seconds_left") is not None]
    if not left:
        return None
    whole = [
        (status.get("elapsed_seconds") or 0) + (status.get("seconds_left") or 0)
        for status, state in zip(found, states, strict=True)
        if state in ("complete", "running")
    ]
    waiting = sum(state in ("new", "stopped", "lost") for state in states)
    return (sum(left) + waiting * sum(whole) / len(whole)) / len(left)
