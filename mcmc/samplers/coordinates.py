"""Metropolis on real weights (et al., J. Chem. Phys. 21 (1953) 1087), one coordinate at a time, any loss.

A weight of a gaussian prior makes a Gaussian step, two weights of a unit on its sphere are rotated by a Gaussian
angle; a proposal is accepted with probability min(1, P(w') / P(w)). No gradient is needed, and the fields of one unit
change by one or two pattern columns, so a sweep of n_weights proposals costs about as much as a few energies.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from mcmc.kernels import coordinates, visits
from mcmc.kernels.random import MOVES, NOISE, PARTNERS, SITES
from mcmc.priors import Prior
from mcmc.samplers.base import Parameter, Parameters, Streams
from mcmc.samplers.real import AUTO, RealSampler

if TYPE_CHECKING:
    from mcmc.kernels.fields import RealBlock


class CoordinateMetropolis(RealSampler):
    """Steps of one weight (gaussian prior), rotations of two (spherical weights).

    step_size: standard deviation of the step of a weight, or of the angle of a rotation in radians
    order: "random" (each visit uniform over the sites) or "sequential" (0, 1, ..., stationary but not reversible)

    Acceptance 0.44 is the best for one coordinate of a Gaussian (Gelman, Roberts, Gilks 1996).
    """

    name = "metropolis"
    parameters: ClassVar[Parameters] = {
        "order": Parameter("random", "of the visits: random or sequential"),
        "step_size": Parameter(
            AUTO,
            "deviation of the step of a weight, or of the angle of a rotation; a number, one for each rung or auto",
        ),
    }
    by_coordinate = True
    target = 0.44
    orders = tuple(visits.ORDERS)
    largest_step = coordinates.LARGEST_STEP

    def first_step(self, n_weights: int, precision: float) -> float:
        return min(1.0 / math.sqrt(precision), coordinates.LARGEST_STEP)

    def _chain(
        self, block: RealBlock, prior: Prior, constraint: None, streams: Streams, around: dict[str, Any]
    ) -> coordinates.Coordinates:
        return coordinates.Coordinates(
            block,
            order=self.order,
            site_keys=streams.of_copies(SITES),
            partner_keys=streams.of_copies(PARTNERS),
            noise_keys=streams.of_walkers(NOISE),
            move_keys=streams.of_walkers(MOVES),
            **self._prior_and_steps(around["beta"].size, block.weights.shape[1], prior),
            **around,
        )
