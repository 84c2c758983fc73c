"""Where the time of a run goes: wall and CPU seconds of this rank, by section.

    ledger.py TABLES.json DIRECTORY             under a launcher: rank 0 prints the books of all ranks

Ranks that share cores wait for each other; what they wait is in wall time, and where an MPI library spins, in CPU time
of the sections that wait. The sections that work (sweeps, measurement, writing) have CPU time of their own only.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from mcmc import config, engine, parallel
from mcmc.engine import _Run
from mcmc.part import Part
from mcmc.storage import RunDirectory

SECTIONS = (
    (_Run, "execute", "start and end"),
    (_Run, "_advance_to_end", "loop"),
    (Part, "_unless_diverged", "sweeps"),
    (Part, "_advance_together", "exchange"),
    (Part, "_collect", "measurement"),
    (parallel.Mpi, "gather", "gathering"),
    (parallel.Mpi, "broadcast", "waiting for rank 0"),
    (RunDirectory, "write_segment", "segments"),
    (RunDirectory, "write_checkpoint", "checkpoints"),
    (RunDirectory, "write_results", "results"),
)
"""Where a section begins; it ends where another begins inside it. Agreement is in `loop`."""


class Ledger:
    """Seconds by section: wall, CPU of this thread, how often it began, and wall with the sections inside it."""

    def __init__(self) -> None:
        self.booked: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0, 0.0])
        self._open: list[str] = []
        self._mark = (0.0, 0.0)

    def _book(self) -> None:
        now = (time.perf_counter(), time.thread_time())
        if self._open:
            entry = self.booked[self._open[-1]]
            entry[0] += now[0] - self._mark[0]
            entry[1] += now[1] - self._mark[1]
        self._mark = now

    def timed(self, section: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._book()
            self._open.append(section)
            self.booked[section][2] += 1
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._book()
                self.booked[section][3] += time.perf_counter() - began
                self._open.pop()

        return call

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Sections are booked inside the block."""
        with ExitStack() as stack:
            for owner, name, section in SECTIONS:
                stack.enter_context(mock.patch.object(owner, name, self.timed(section, getattr(owner, name))))
            yield


def run(tables: dict[str, Any], directory: Path, world: parallel.World) -> dict[str, list[float]]:
    """The books of this rank over a whole run."""
    ledger = Ledger()
    with ledger.watching():
        engine.run(config.load(tables), directory, world, quiet=True)
    return dict(ledger.booked)


def main(tables: str, directory: str) -> None:
    world = parallel.world()
    cores = sorted(os.sched_getaffinity(0))
    if world.size <= len(cores):  # as launchers arrange it on clusters
        os.sched_setaffinity(0, cores[world.rank : world.rank + 1])
    books = world.collect(run(json.loads(Path(tables).read_text()), Path(directory), world))
    if world.rank == 0:
        print("result " + json.dumps(books), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("MCMC_WATCHDOG", "off")
    main(*sys.argv[1:])
