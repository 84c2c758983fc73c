"""What the samplers of real weights that move all weights of a walker at once have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike

from mcmc.kernels import moves, tuning
from mcmc.kernels.random import MOVES, NOISE, SITES, SWAPS, stream_key
from mcmc.samplers.base import Sampler

if TYPE_CHECKING:
    from mcmc.kernels.gradients import Block
    from mcmc.priors import Gaussian, Spherical

AUTO: Literal["auto"] = "auto"


class MoveSampler(Sampler):
    """A sampler of real weights; a subclass names its method.

    Keyword arguments are the `parameters` of the class. step_size: a number, one for each rung, or "auto" where there
    is a target of acceptance: tuned by instance and rung in the burn-in. ValueError for a parameter that is not taken,
    is missing, or cannot be.
    """

    name: ClassVar[str]
    laws = ("gaussian", "spherical")
    least_burn_in = tuning.LEAST_BURN_IN

    def __init__(self, **given: object) -> None:
        unknown = given.keys() - self.parameters.keys()
        if unknown:
            raise ValueError(f"{min(unknown)}: not a parameter of {self.name}")
        for key, parameter in self.parameters.items():
            value = given.get(key, parameter.default)
            if value is None:
                raise ValueError(f"{key}: missing, {self.name} needs it")
            setattr(self, key, value)
        step_size = getattr(self, "step_size", None)
        if isinstance(step_size, str) and (step_size != AUTO or self.target is None):
            allowed = "numbers > 0" if self.target is None else f"numbers > 0 or {AUTO!r}"
            raise ValueError(f"step_size: got {step_size!r}, expected {allowed} for {self.name}")

    def chain(
        self,
        block: Block,
        *,
        seed: int,
        beta: ArrayLike,
        prior: Gaussian | Spherical,
        instance: int = 0,
        n_copies: int = 1,
        first: int = 0,
        exchange_every: int = 1,
        burn_in: int = 0,
        measure_every: int = 1,
    ) -> moves.Moves:
        """The walkers of a block under this sampler and exchange.

        block: walkers first, first + 1, ... of the flattened (copy, rung of birth) of the instance
        beta: (n_rungs,) inverse temperatures; walker (copy, rung) is born at beta[rung]
        """
        if prior.name not in self.laws:
            raise ValueError(f"weights: got {prior.name}, expected {' or '.join(self.laws)} for {self.name}")
        beta = np.ascontiguousarray(beta, dtype=np.float64)
        walkers = [divmod(walker, beta.size) for walker in range(first, first + len(block.energy))]
        keys = {
            f"{name}_keys": np.array([stream_key(seed, purpose, instance, *walker) for walker in walkers], np.uint64)
            for name, purpose in (("noise", NOISE), ("move", MOVES))
        }
        swap_keys = np.array([stream_key(seed, SWAPS, instance, copy) for copy in range(n_copies)], dtype=np.uint64)
        precision = getattr(prior, "precision", 1.0)
        return moves.Moves(
            block,
            method=self.name,
            prior=prior.name,
            precision=precision,
            instance=instance,
            n_copies=n_copies,
            first=first,
            beta=beta,
            swap_keys=swap_keys,
            length_key=stream_key(seed, SITES, instance),  # what all walkers of an instance share
            exchange_every=exchange_every,
            burn_in=burn_in,
            measure_every=measure_every,
            **keys,
            **self._steps(beta.size, block.weights.shape[1], prior.name, precision),
            **{key: getattr(self, key) for key in self.parameters if key != "step_size"},
        )

    def _steps(self, n_rungs: int, n_weights: int, prior: str, precision: float) -> dict[str, object]:
        """Step sizes of the rungs, and the target they are tuned to."""
        step_size = getattr(self, "step_size", None)
        if step_size is None:
            return {"step_size": None}
        if isinstance(step_size, str):
            start = self.first_step(n_weights, precision if prior == "gaussian" else 1.0)
            return {"step_size": np.full(n_rungs, start), "target": self.target}
        steps = np.asarray(step_size, dtype=np.float64)
        if steps.shape not in ((), (n_rungs,)):
            raise ValueError(f"step_size: got {steps.size} numbers, expected one, or one for each of {n_rungs} rungs")
        return {"step_size": np.broadcast_to(steps, (n_rungs,))}

    def first_step(self, n_weights: int, precision: float) -> float:
        """Where tuning starts: of the order that samples the prior well."""
        raise NotImplementedError
