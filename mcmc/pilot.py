"""How many rungs a ladder needs: short runs in memory before sweep 0, where `ladder.beta.n` is "auto".

Each is twice as long as the one before and counts exchanges in its second half. They give the communication barrier
Lambda, and with it the next number of rungs, 2 Lambda + 1, for rejections of about 1/2, at equal steps of the barrier;
until those of two in turn agree within a tenth. Walkers and random numbers are not those of the run. A rank takes whole
instances, so that counts are all that ranks exchange.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcmc import ladder
from mcmc.errors import DivergenceError
from mcmc.parallel import Piece, Serial, World
from mcmc.part import Part
from mcmc.problem import Problem
from mcmc.stop import Stop

_PIECES = 32
"""Of a run, between which signals are noticed."""


class Found(NamedTuple):
    """The ladder to start with, and what the log says."""

    beta: list[float]
    lines: list[str]


def find(problem: Problem, world: World, stop: Stop) -> Found | None:
    """The same on all ranks; None after a reason to stop. DivergenceError on all ranks alike."""
    schedule, beta, lines = problem.config.schedule, problem.beta.tolist(), []
    for sweeps in ladder.pilot_sweeps(schedule.burn_in, problem.config.ladder.exchange_every):
        counts, errors = _count(problem.trial(np.array(beta), sweeps), world, stop)
        if world.start_maximum([stop.reason(0)])()[0]:
            return None
        _raise_first(world.collect([[*error.at, str(error)] for error in errors]))
        found = world.gather(counts[None])

        def move(before: list[float] = beta, found: NDArray | None = found) -> list[list[float]]:
            accepted, proposed = found.sum(axis=0)
            rejection = ladder.rejections(accepted, proposed)
            n = ladder.rungs_wanted(rejection)
            return [ladder.equal_shares(np.array(before), rejection, n).tolist(), rejection.tolist()]

        before = len(beta)
        beta, rejection = world.broadcast(move)
        lines.append(
            f"pilot of {sweeps} sweeps: {before} rungs, barrier {sum(rejection):.3g}, lowest acceptance "
            f"{1 - max(rejection):.2g}; next {len(beta)} rungs"
        )
        if len(lines) > 1 and abs(len(beta) - before) <= ladder.SETTLED * before:
            break  # not after the first one: the number that it began with was no finding
    return Found(beta, lines)


def _count(trial: Problem, world: World, stop: Stop) -> tuple[NDArray[np.int64], list[DivergenceError]]:
    """Accepted and proposed exchanges, (2, n_rungs - 1), of the instances that this rank takes; what has diverged."""
    counts, errors = np.zeros((2, trial.n_rungs - 1), dtype=np.int64), []
    sweeps = trial.config.schedule.sweeps
    ends = [sweeps * piece // _PIECES for piece in range(_PIECES + 1)]
    for number in range(world.rank, trial.n_instances, world.size):
        try:
            part = Part(trial, Piece(number, 0, trial.n_walkers), Serial())
        except DivergenceError as error:
            errors.append(error)
            continue
        for done, end in pairwise(ends):
            if stop.reason(0):
                return counts, errors
            part.advance(done + 1, end)
        if part.divergence is not None:
            errors.append(part.divergence)
        counts += [part.chain.exchange_accepted.sum(axis=0), part.chain.exchange_proposed.sum(axis=0)]
    return counts, errors


def _raise_first(told: list[list]) -> None:
    """DivergenceError if there is one, whatever the number of ranks."""
    if errors := [error for of_rank in told for error in of_rank]:
        *at, message = min(errors)
        raise DivergenceError(f"pilot run: {message}", tuple(at))
