"""Metropolis on real weights (et al., J. Chem. Phys. 21 (1953) 1087), one coordinate at a time, any loss.

A weight of a gaussian prior makes a Gaussian step, two weights of a unit on its sphere are rotated by a Gaussian
angle; a proposal is accepted with probability min(1, P(w') / P(w)). No gradient is needed, and the fields of one unit
change by one or two pattern columns, so a sweep of n_weights proposals costs about as much as a few energies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from mcmc.kernels import coordinates, tuning
from mcmc.kernels.random import MOVES, NOISE, PARTNERS, SITES, SWAPS, stream_key
from mcmc.samplers.base import Parameter, Parameters, Sampler

if TYPE_CHECKING:
    from mcmc.kernels.fields import RealBlock
    from mcmc.priors import Prior


class CoordinateMetropolis(Sampler):
    """Steps of one weight (gaussian prior), rotations of two (spherical weights).

    step_size: standard deviation of the step of a weight, or of the angle of a rotation in radians: one for all
        rungs, a sequence with one per rung, or "auto": tuned at each rung through the burn-in to an acceptance of 0.44
    order: "random" (each visit uniform over the sites) or "sequential" (0, 1, ..., stationary but not reversible)
    """

    name = "metropolis"
    laws = ("gaussian", "spherical")
    parameters: ClassVar[Parameters] = {
        "order": Parameter("random", "of the visits: random or sequential"),
        "step_size": Parameter("auto", "deviation of the step of a weight, or of the angle of a rotation; or auto"),
    }
    by_coordinate = True
    target = coordinates.TARGET
    orders = tuple(coordinates.ORDERS)
    largest_step = coordinates.LARGEST_STEP
    least_burn_in = tuning.LEAST_BURN_IN

    def __init__(self, step_size: float | Sequence[float] | str = "auto", order: str = "random") -> None:
        if order not in self.orders:
            raise ValueError(f"order: got {order!r}, expected one of {', '.join(self.orders)}")
        if isinstance(step_size, str) and step_size != "auto":
            raise ValueError(f"step_size: got {step_size!r}, expected 'auto' or numbers > 0")
        self.step_size, self.order = step_size, order

    def chain(
        self,
        block: RealBlock,
        *,
        prior: Prior,
        seed: int,
        beta: ArrayLike,
        instance: int = 0,
        n_copies: int = 1,
        first: int = 0,
        exchange_every: int = 1,
        burn_in: int = 0,
        measure_every: int = 1,
    ) -> coordinates.Coordinates:
        """The walkers of a block under this sampler and exchange.

        block: walkers first, first + 1, ... of the flattened (copy, rung of birth) of the instance
        prior: gaussian, with a precision, or spherical
        beta: (n_rungs,) inverse temperatures; walker (copy, rung) is born at beta[rung]
        """
        if prior.name not in self.laws:
            raise ValueError(f"weights: got {prior.name}, expected {' or '.join(self.laws)} for real {self.name}")
        beta = np.ascontiguousarray(beta, dtype=np.float64)
        precision = None if prior.name == "spherical" else prior.precision
        tuned = isinstance(self.step_size, str)
        walkers = [divmod(walker, beta.size) for walker in range(first, first + len(block.weights))]
        copies = [(copy,) for copy in range(n_copies)]
        keys = {"site": (SITES, copies), "partner": (PARTNERS, copies), "swap": (SWAPS, copies)}
        keys |= {"noise": (NOISE, walkers), "move": (MOVES, walkers)}
        return coordinates.Coordinates(
            block,
            precision=precision,
            step_size=_of_rungs(_first_step(precision) if tuned else self.step_size, beta.size),
            tuned=tuned,
            order=self.order,
            n_copies=n_copies,
            first=first,
            instance=instance,
            beta=beta,
            exchange_every=exchange_every,
            burn_in=burn_in,
            measure_every=measure_every,
            **{
                f"{name}_keys": np.array([stream_key(seed, purpose, instance, *of) for of in owners], dtype=np.uint64)
                for name, (purpose, owners) in keys.items()
            },
        )


def _of_rungs(step_size: ArrayLike, n_rungs: int) -> np.ndarray:
    """A number, or one for each rung: float64 (n_rungs,)."""
    steps = np.asarray(step_size, dtype=np.float64)
    return np.full(n_rungs, steps) if steps.ndim == 0 else steps


def _first_step(precision: float | None) -> float:
    """Where tuning starts: the width of the prior, a radian on the sphere."""
    return 1.0 if precision is None else min(1.0 / math.sqrt(precision), coordinates.LARGEST_STEP)
