"""Two-time correlations C(t_w, t_w + t) = w(t_w).w(t_w + t) / n_weights of each walker, for studies of ageing.

Waiting times t_w are given, in sweeps from the start of the run, burn-in or not; lags t lie on a logarithmic grid. A
walker is followed from its start, so its rung must stay: there is no exchange in such a run.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcmc.kernels import NEVER
from mcmc.observables import machine_overlap

PER_DECADE = 8
"""Lags to a decade, where there are as many whole numbers."""


def lags(longest: int) -> NDArray[np.int64]:
    """0, 1, 2, 3, 4, 6, 7, 10, 13, ...: whole numbers next to 10^(k / PER_DECADE), up to `longest`: int64."""
    n = PER_DECADE * len(str(longest))
    grid = {0} | {round(10 ** (k / PER_DECADE)) for k in range(n + 1)}
    return np.array(sorted(lag for lag in grid if lag <= longest), dtype=np.int64)


class TwoTime:
    """The correlations of the walkers of a part.

    waiting: increasing sweeps t_w, below `sweeps`, the length of the run; stored weights are those of Prior.stored
    """

    def __init__(self, waiting: list[int], sweeps: int, n_walkers: int, n_weights: int) -> None:
        self.waiting, self.n_weights = waiting, n_weights
        self.lags = lags(sweeps - waiting[0]) if waiting else np.zeros(0, dtype=np.int64)
        self.correlation = np.full((n_walkers, len(waiting), self.lags.size), np.nan)
        """(n_walkers, n_waiting, n_lags), NaN where the time has not come."""
        self.kept: NDArray | None = None
        """Stored weights (n_walkers, n_waiting, ...) at the waiting times that have passed."""
        self._events = np.unique(np.add.outer(np.array(waiting, dtype=np.int64), self.lags))

    def next_event(self, done: int) -> int:
        """The first sweep after `done` at which `record` is due; a number beyond every sweep if there is none."""
        at = int(np.searchsorted(self._events, done, side="right"))
        return int(self._events[at]) if at < self._events.size else NEVER

    def record(self, sweep: int, stored: NDArray) -> None:
        """What is due at a sweep, with the stored weights (n_walkers, ...) after it."""
        if self.kept is None:
            self.kept = np.zeros((len(stored), len(self.waiting), *stored.shape[1:]), dtype=stored.dtype)
        for number, time in enumerate(self.waiting):
            if time == sweep:
                self.kept[:, number] = stored
            found = np.flatnonzero(self.lags == sweep - time)
            if found.size:
                pair = self.kept[:, number], stored
                self.correlation[:, number, found[0]] = machine_overlap(*pair, self.n_weights)

    # --- what a checkpoint holds ---

    def state(self) -> dict[str, NDArray]:
        """Arrays (n_walkers, ...); none if there are no waiting times, or none of them has come."""
        return {} if self.kept is None else {"correlation": self.correlation, "waiting_weights": self.kept}

    def restore(self, state: dict[str, NDArray]) -> None:
        """Continue from a state, perhaps of a shorter run, which has fewer lags."""
        self.kept = state["waiting_weights"].copy()
        self.correlation[:, :, : state["correlation"].shape[2]] = state["correlation"]
