"""How many rungs a ladder needs: what pilot runs before sweep 0 tell, where `ladder.beta.n` is "auto".

Each is twice as long as the one before and counts exchanges in its second half. They give the communication barrier
Lambda, and with it the next number of rungs, 2 Lambda + 1, for rejections of about 1/2, at equal steps of the barrier;
until those of two in turn agree within a tenth. Walkers and random numbers are not those of the run.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcmc import ladder


class Finding(NamedTuple):
    """What comes of a pilot run."""

    beta: list[float]
    """The ladder of the next run."""
    settled: bool
    """Whether that shall be the run itself."""
    line: str
    """For the log."""


def judge(number: int, beta: NDArray[np.float64], accepted: NDArray[np.int64], proposed: NDArray[np.int64]) -> Finding:
    """Of pilot run `number`, from 1, on the ladder beta (n_rungs,).

    accepted, proposed: exchanges of each pair, (n_rungs - 1,), of all copies and instances
    """
    rejection = ladder.rejections(accepted, proposed)
    barrier = float(np.cumsum(rejection)[-1])  # one after the other
    n = max(ladder.LEAST_TUNED, ladder.rungs_wanted(barrier))
    # not after the first one: the number that it began with was no finding
    settled = number > 1 and abs(n - beta.size) <= ladder.SETTLED * beta.size
    line = f"barrier {barrier:.3g}, lowest acceptance {1 - rejection.max():.2g}; next {n} rungs"
    return Finding(ladder.equal_shares(beta, rejection, n).tolist(), settled, line)
