"""Random-walk Metropolis of all weights at once: w' = w + h xi, on the sphere along great circles.

Acceptance 0.234 is the best for many weights (Roberts, Gelman, Gilks, Ann. Appl. Probab. 7 (1997) 110).
"""

from __future__ import annotations

from typing import ClassVar

from mcmc.samplers.base import Parameter, Parameters
from mcmc.samplers.moves import MoveSampler
from mcmc.samplers.real import AUTO


class RandomWalk(MoveSampler):
    """Global Gaussian random walk."""

    name = "random-walk"
    target = 0.234
    parameters: ClassVar[Parameters] = {
        "step_size": Parameter(AUTO, "h of w' = w + h xi; a number, one for each rung or auto")
    }

    def first_step(self, n_weights: int, precision: float) -> float:
        return (precision * n_weights) ** -0.5
