"""Preconditioned Crank-Nicolson (Cotter, Roberts, Stuart, White, Stat. Sci. 28 (2013) 424): keeps the Gaussian prior.

w' = sqrt(1 - b^2) w + b xi / sqrt(prior_precision), b the step size; b = 1 proposes a fresh draw from the prior.
"""

from __future__ import annotations

from typing import ClassVar

from mcmc.samplers.base import Parameter, Parameters
from mcmc.samplers.moves import MoveSampler
from mcmc.samplers.real import AUTO


class Pcn(MoveSampler):
    """Preconditioned Crank-Nicolson."""

    name = "pcn"
    target = 0.3
    parameters: ClassVar[Parameters] = {
        "step_size": Parameter(AUTO, "b of w' = sqrt(1 - b^2) w + b xi; in (0, 1], one for each rung or auto")
    }

    def first_step(self, n_weights: int, precision: float) -> float:
        return 0.2
