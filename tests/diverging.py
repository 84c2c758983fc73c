"""A program for tests: runs run files that diverge one after the other, and notes what each rank raises.

    python diverging.py SECONDS FILE.toml ... OUT

Results go to OUT/FILE, the text of the DivergenceError to OUT/FILE.RANK, the number of communicators that were made and
not freed to OUT/left.RANK. SECONDS is the length of a stretch. Samplers
that tune their step sizes reject what is no number; chains of theirs are made to diverge at sweep 31.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import mcmc
from mcmc import config, engine, parallel, part

SWEEP, INSTANCE, WALKER = 31, 1, 2


class Diverging:
    """A chain that loses a walker after it has swept."""

    def __init__(self, chain: Any, instance: int) -> None:
        self._chain, self._instance = chain, instance

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain, name)

    def _until_lost(self, advance: Any, first: int, last: int) -> None:
        advance(first, min(last, SWEEP))
        if last >= SWEEP:
            at = SWEEP, self._instance, WALKER
            raise mcmc.DivergenceError(f"made to diverge at sweep {SWEEP}", at)

    def advance(self, first: int, last: int) -> None:
        self._until_lost(self._chain.advance, first, last)

    def sweep(self, first: int, last: int) -> None:
        self._until_lost(self._chain.sweep, first, last)


class Mpi(parallel.Mpi):
    n_left = -1
    """The world itself is never freed."""

    def __init__(self, comm: Any) -> None:
        super().__init__(comm)
        Mpi.n_left += 1

    def free(self) -> None:
        super().free()
        Mpi.n_left -= 1


class Part(part.Part):
    def __init__(self, problem: Any, piece: Any, group: Any) -> None:
        super().__init__(problem, piece, group)
        is_tuned = self.chain.next_adaptation(0) < part.NEVER
        if is_tuned and piece.instance == INSTANCE and piece.start <= WALKER < piece.stop:
            self.chain = Diverging(self.chain, piece.instance)


if __name__ == "__main__":
    engine._STRETCH = float(sys.argv[1])
    engine.Part = Part
    parallel.Mpi = Mpi
    world = parallel.world()
    *files, out = map(Path, sys.argv[2:])
    for file in files:
        try:
            engine.run(config.load(file), out / file.stem, world, quiet=True)
        except mcmc.DivergenceError as error:
            out.joinpath(f"{file.stem}.{world.rank}").write_text(str(error))
    out.joinpath(f"left.{world.rank}").write_text(str(Mpi.n_left))
