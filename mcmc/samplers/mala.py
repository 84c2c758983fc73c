"""Langevin steps with Metropolis' decision (Roberts, Tweedie, Bernoulli 2 (1996) 341).

Acceptance 0.574 is the best for many weights (Roberts, Rosenthal, J. R. Stat. Soc. B 60 (1998) 255).
"""

from __future__ import annotations

from typing import ClassVar

from mcmc.samplers import preconditioners
from mcmc.samplers.base import Parameter, Parameters
from mcmc.samplers.moves import MoveSampler
from mcmc.samplers.real import AUTO


class Mala(MoveSampler):
    """Metropolis-adjusted Langevin."""

    name = "mala"
    target = 0.574
    parameters: ClassVar[Parameters] = {
        "step_size": Parameter(AUTO, "h of w' = w - h dU + sqrt(2h) xi; a number, one for each rung or auto"),
        "preconditioner": preconditioners.PARAMETER,
    }

    def first_step(self, n_weights: int, precision: float) -> float:
        return 0.5 / (precision * n_weights ** (1 / 3))
