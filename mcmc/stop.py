"""Reasons to stop early at a checkpoint: the walltime, and signals."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)

REASONS = ("", "walltime", *(s.name for s in _SIGNALS))
"""By code; 0 is no reason."""


class Stop:
    """Watches clock and signals while it is entered; signals may come any number of times.

    walltime: seconds from the construction. Signals are watched in the main thread only, as Python demands. One that is
    entered inside another one knows of the same signals, whenever they came.
    """

    def __init__(self, walltime: float | None) -> None:
        self._deadline = None if walltime is None else time.monotonic() + walltime
        self._signals: list[int] = []
        """Codes of those that came."""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        outer = getattr(signal.getsignal(_SIGNALS[0]), "__self__", None)
        if isinstance(outer, Stop):
            self._signals = outer._signals
        elif threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signals.append(REASONS.index(signal.Signals(number).name))

    def left(self) -> float | None:
        """Seconds of the walltime that are left; None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def reason(self, reserve: float) -> int:
        """Code of the reason to stop now, 0 for none; `reserve`: seconds that the stop itself will take."""
        if self._signals:
            return self._signals[-1]
        return int(self._deadline is not None and time.monotonic() + reserve >= self._deadline)
