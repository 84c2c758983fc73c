"""Simulated annealing in the burn-in: beta of every rung rises, in steps of whole sweeps, from one value to the rung's.

Kirkpatrick, Gelatt, Vecchi, Science 220, 671 (1983). The steps follow from the run file alone; after the burn-in the
rungs are those of the ladder.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mcmc import ladder
from mcmc.kernels import NEVER

STEPS = 1000
"""At most; a step is a sweep in shorter burn-ins."""


class Annealing:
    """The way to the ladder.

    first: beta of the first step; beta: float64 (n_rungs,), of the last one; spacing: see ladder.PATHS; sweeps: >= 2
    """

    def __init__(self, first: float, beta: NDArray[np.float64], spacing: str, sweeps: int) -> None:
        self.ends, self.spacing, self.sweeps = (first, beta), spacing, sweeps
        self.n_steps = min(sweeps, STEPS)

    def beta(self, sweep: int) -> NDArray[np.float64]:
        """At which a sweep >= 1 is made: float64 (n_rungs,)."""
        first, last = self.ends
        step = (min(sweep, self.sweeps) - 1) * self.n_steps // self.sweeps
        if step in (0, self.n_steps - 1):  # exactly
            return np.full(last.shape, first) if step == 0 else last
        return ladder.PATHS[self.spacing](first, last, step / (self.n_steps - 1))

    def end_of_step(self, sweep: int) -> int:
        """The last sweep that is made at the betas of this one; a number beyond every sweep for the last step."""
        step = (min(sweep, self.sweeps) - 1) * self.n_steps // self.sweeps
        return NEVER if step == self.n_steps - 1 else -(-(step + 1) * self.sweeps // self.n_steps)
