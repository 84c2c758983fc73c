"""Overdamped Langevin dynamics by Euler and Maruyama: w' = w - h dU + sqrt(2h) xi, without a decision.

The stationary law differs from the Gibbs measure by terms of order h; `mala` removes them.
"""

from __future__ import annotations

from typing import ClassVar

from mcmc.samplers import preconditioners
from mcmc.samplers.base import Parameter, Parameters
from mcmc.samplers.moves import MoveSampler


class Langevin(MoveSampler):
    """Unadjusted Langevin."""

    name = "langevin"
    parameters: ClassVar[Parameters] = {
        "step_size": Parameter(None, "h of w' = w - h dU + sqrt(2h) xi; a number or one for each rung"),
        "preconditioner": preconditioners.PARAMETER,
    }
