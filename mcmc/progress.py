"""How far a run is: a bar on a terminal, now and then a plain line in a log file; times and sizes in words."""

from __future__ import annotations

import sys
import time
from typing import TextIO

_LINE_SECONDS = 10.0
_LINE_FRACTION = 0.05


class Progress:
    """Shows the progress of the sweeps `start_sweep` to `total_sweeps` on `stream` (default stderr).

    The rate counts only what this process did: a continued run starts at `start_sweep`. Without a terminal two lines
    are at least 10 s and 5 % of the run apart. With `quiet` nothing is shown. `name` stands before everything.
    """

    def __init__(
        self,
        total_sweeps: int,
        start_sweep: int,
        proposals_per_sweep: int,
        quiet: bool = False,
        name: str = "",
        stream: TextIO | None = None,
    ) -> None:
        self._total = total_sweeps
        self._start = self._sweep = self._shown_sweep = start_sweep
        self._proposals = proposals_per_sweep
        self._stream = sys.stderr if stream is None else stream
        self._quiet, self._name = quiet, name
        self._began = self._shown_at = time.monotonic()
        self._bar = None if quiet or not self._stream.isatty() else _Bar(total_sweeps, start_sweep, name, self._stream)

    def update(self, sweep: int) -> None:
        """The run has finished `sweep`."""
        self._sweep = sweep
        if self._bar is not None:
            self._bar.show(sweep, *self._speed())
        elif not self._quiet and self._line_is_due():
            self._line()

    def close(self) -> None:
        """The last word; may be called twice."""
        if self._bar is not None:
            self._bar.close()
        elif not self._quiet and self._sweep > self._shown_sweep:
            self._line()

    def _line_is_due(self) -> bool:
        return (
            time.monotonic() - self._shown_at >= _LINE_SECONDS
            and self._sweep - self._shown_sweep >= _LINE_FRACTION * self._total
        )

    def _line(self) -> None:
        self._shown_at, self._shown_sweep = time.monotonic(), self._sweep
        rate, left = self._speed()
        percent = 100 * self._sweep / self._total
        print(
            f"{self._name}sweep {self._sweep} of {self._total} ({percent:.1f} %), {rate}, {left} left",
            file=self._stream,
            flush=True,
        )

    def _speed(self) -> tuple[str, str]:
        """Rate in proposals/s and time left, in words."""
        elapsed, done = time.monotonic() - self._began, self._sweep - self._start
        if elapsed <= 0 or done <= 0:
            return "rate unknown", "time unknown"
        left = (self._total - self._sweep) * elapsed / done
        return f"{done * self._proposals / elapsed:.3g} proposals/s", duration(left)


class _Bar:
    """rich's bar; imported here, because only a terminal needs it."""

    def __init__(self, total: int, start: int, name: str, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn(name + "sweep {task.completed:.0f} of {task.total:.0f}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}, {task.fields[left]} left"),
            console=Console(file=stream),
        )
        self._task = self._bar.add_task("", total=total, completed=start, rate="rate unknown", left="time unknown")
        self._bar.start()

    def show(self, sweep: int, rate: str, left: str) -> None:
        self._bar.update(self._task, completed=sweep, rate=rate, left=left)

    def close(self) -> None:
        self._bar.stop()


def duration(seconds: float) -> str:
    """Seconds in words with two units: "3 d 2 h", "5 min 10 s", "12 s"."""
    whole = round(seconds)
    for size, unit, small, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // small} {small_unit}"
    return f"{whole} s"


def size_in_words(n_bytes: float) -> str:
    """Bytes with a unit of powers of ten: "4.2 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} TB"
