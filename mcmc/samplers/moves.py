"""What the samplers of real weights that move all weights of a walker at once have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from mcmc.kernels import moves
from mcmc.kernels.random import BATCHES, LENGTHS, MOVES, NOISE
from mcmc.priors import Prior
from mcmc.samplers import preconditioners
from mcmc.samplers.base import Streams
from mcmc.samplers.real import RealSampler

if TYPE_CHECKING:
    from mcmc.kernels.gradients import Block


class MoveSampler(RealSampler):
    """A subclass names its method; what is true of it is said by the table in ext/include/moves_methods.h.

    preconditioner: one of PRECONDITIONERS, for gaussian weights.
    """

    name: ClassVar[str]
    preconditioner: str = preconditioners.NONE

    def __init_subclass__(cls) -> None:
        facts = moves.METHODS[cls.name]
        cls.laws = ("gaussian",) if facts["keeps_prior"] else RealSampler.laws
        cls.needs_gradient = facts["follows_gradient"]
        cls.is_exact = facts["is_exact"]
        cls.largest_step = facts["largest_step"]
        recorded = {"energy_error": facts["integrates"], "kinetic": facts["keeps_momenta"]}
        cls.tells = tuple(name for name, is_recorded in recorded.items() if is_recorded)

    def __init__(self, **given: object) -> None:
        super().__init__(**given)
        if self.preconditioner not in preconditioners.PRECONDITIONERS:
            allowed = ", ".join(preconditioners.PRECONDITIONERS)
            raise ValueError(f"preconditioner: got {self.preconditioner!r}, expected one of {allowed}")

    def _chain(
        self, block: Block, prior: Prior, constraint: None, streams: Streams, around: dict[str, Any]
    ) -> moves.Moves:
        if prior.name != "gaussian" and self.preconditioner != preconditioners.NONE:
            raise ValueError(f"preconditioner: got {self.preconditioner!r}, expected none for {prior.name} weights")
        if prior.name != "gaussian" and block.second_layer:
            raise ValueError(f"weights: got {prior.name}, expected gaussian with a second layer")
        beta, law = around["beta"], self._prior_and_steps(around["beta"].size, block.weights.shape[1], prior)
        return moves.Moves(
            block,
            method=self.name,
            root=preconditioners.root(self.preconditioner, block, float(beta.max()), law["precision"]),
            noise_keys=streams.of_walkers(NOISE),
            move_keys=streams.of_walkers(MOVES),
            batch_keys=streams.of_copies(BATCHES),
            length_key=streams.of_instance(LENGTHS),
            **{key: getattr(self, key) for key in self.parameters if key not in ("step_size", "preconditioner")},
            **law,
            **around,
        )
