"""Reasons to stop early at a checkpoint: the walltime, the end of the job, and signals."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)
_ASK_EVERY = 300.0
"""Seconds between two questions for the end of the job: limits get extended."""
_BEFORE_JOB_END = 30.0
"""Seconds before the end of the job at which everything must be written: the batch script wants to act, too."""

REASONS = ("", "walltime", "end of the job", *(s.name for s in _SIGNALS))
"""By code; 0 is no reason."""
_WALLTIME, _JOB_END = 1, 2


class Stop:
    """Watches clock and signals while it is entered; signals may come any number of times.

    walltime: seconds from the construction.
    job_left: tells the seconds until the batch system ends the job, or None; a thread asks, now and again.
    Signals are watched in the main thread only, as Python demands. One that is entered inside another one knows of the
    same signals, whenever they came, and of the same end of the job.
    """

    def __init__(self, walltime: float | None, job_left: Callable[[], float | None] | None = None) -> None:
        self._deadline = None if walltime is None else time.monotonic() + walltime
        self._job_left = job_left
        self._job: list[float] = []
        """By the monotonic clock, when the job ends, as far as is known; the last holds."""
        self._left = threading.Event()
        self._signals: list[int] = []
        """Codes of those that came."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        outer = getattr(signal.getsignal(_SIGNALS[0]), "__self__", None)
        if isinstance(outer, Stop):
            self._signals, self._job = outer._signals, outer._job
            return self
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        if self._job_left is not None:
            threading.Thread(target=self._ask, args=(self._job_left,), name="end of the job", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signals.append(REASONS.index(signal.Signals(number).name))

    def _ask(self, job_left: Callable[[], float | None]) -> None:
        while True:
            seconds = job_left()
            if seconds is not None:
                self.end_job_in(seconds)
            if self._left.wait(_ASK_EVERY):
                return

    def end_job_in(self, seconds: float) -> None:
        """From now."""
        self._job.append(time.monotonic() + seconds - _BEFORE_JOB_END)

    def left(self) -> float | None:
        """Seconds of the walltime that are left; None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def reason(self, reserve: float) -> int:
        """Code of the reason to stop now, 0 for none; `reserve`: seconds that the stop itself will take."""
        if self._signals:
            return self._signals[-1]
        then = time.monotonic() + reserve
        if self._deadline is not None and then >= self._deadline:
            return _WALLTIME
        return _JOB_END if self._job and then >= self._job[-1] else 0
