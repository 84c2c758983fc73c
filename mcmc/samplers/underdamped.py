"""Underdamped Langevin dynamics by BAOAB (Leimkuhler, Matthews, Appl. Math. Res. Express 2013, 34), without a decision.

Unit mass and temperature 1; momenta persist from sweep to sweep. Of a quadratic U the weights have the exact law.
"""

from __future__ import annotations

from typing import ClassVar

from mcmc.samplers import preconditioners
from mcmc.samplers.base import Parameter, Parameters
from mcmc.samplers.moves import MoveSampler


class Underdamped(MoveSampler):
    """Unadjusted underdamped Langevin."""

    name = "underdamped"
    parameters: ClassVar[Parameters] = {
        "step_size": Parameter(None, "time step; a number or one for each rung"),
        "friction": Parameter(1.0, "rate at which momenta forget"),
        "preconditioner": preconditioners.PARAMETER,
    }
