"""What samplers of real weights have in common: the prior they keep, and step sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from mcmc.kernels import tuning
from mcmc.priors import Prior
from mcmc.samplers.base import Sampler

AUTO: Literal["auto"] = "auto"


class RealSampler(Sampler):
    """A sampler of real weights.

    step_size: a number, one for each rung, or "auto" where there is a target of acceptance: tuned by instance and rung
    in the burn-in.
    """

    laws = ("gaussian", "spherical")
    least_burn_in = tuning.LEAST_BURN_IN
    first_step: Callable[[int, float], float]
    """Where tuning starts, given n_weights and the precision of the prior (1 on the sphere): of the order that samples
    the prior well. Only with a target."""

    def __init__(self, **given: object) -> None:
        super().__init__(**given)
        step_size = getattr(self, "step_size", None)
        if isinstance(step_size, str) and (step_size != AUTO or self.target is None):
            allowed = "numbers > 0" if self.target is None else f"numbers > 0 or {AUTO!r}"
            raise ValueError(f"step_size: got {step_size!r}, expected {allowed} for {self.name}")

    def _prior_and_steps(self, n_rungs: int, n_weights: int, prior: Prior) -> dict[str, Any]:
        """Arguments of a kernels.chain.RealChain: precision, step_size, and the target it is tuned to."""
        precision = prior.precision if prior.name == "gaussian" else None
        step_size, target = getattr(self, "step_size", None), None
        if isinstance(step_size, str):
            step_size, target = self.first_step(n_weights, 1.0 if precision is None else precision), self.target
        if step_size is not None:
            steps = np.asarray(step_size, dtype=np.float64)
            if steps.shape not in ((), (n_rungs,)):
                allowed = f"one, or one for each of {n_rungs} rungs"
                raise ValueError(f"step_size: got {steps.size} numbers, expected {allowed}")
            step_size = np.broadcast_to(steps, (n_rungs,))
        return {"precision": precision, "step_size": step_size, "target": target}
