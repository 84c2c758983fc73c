"""Hamiltonian Monte Carlo (Duane, Kennedy, Pendleton, Roweth, Phys. Lett. B 195 (1987) 216).

The number of leapfrog steps is uniform on 1 .. 2 n_steps - 1, so that no mode returns to where it began at every sweep.
"""

from __future__ import annotations

from typing import ClassVar

from mcmc.samplers import preconditioners
from mcmc.samplers.base import Parameter, Parameters
from mcmc.samplers.moves import MoveSampler
from mcmc.samplers.real import AUTO


class Hmc(MoveSampler):
    """Trajectories of leapfrog steps; on the sphere along great circles."""

    name = "hmc"
    target = 0.7
    parameters: ClassVar[Parameters] = {
        "step_size": Parameter(AUTO, "time step of the leapfrog; a number, one for each rung or auto"),
        "n_steps": Parameter(20, "mean number of leapfrog steps of a trajectory"),
        "preconditioner": preconditioners.PARAMETER,
    }

    def first_step(self, n_weights: int, precision: float) -> float:
        return 0.5 / (precision**0.5 * n_weights**0.25)
