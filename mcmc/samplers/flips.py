"""What the single-flip samplers share: the order of visits, pair flips under a constraint, and waiting times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from mcmc.kernels import flips, visits
from mcmc.kernels.random import MOVES, SITES, WAITING
from mcmc.priors import FixedOverlap, Ising, Prior
from mcmc.samplers.base import Parameter, Parameters, Sampler, Streams

if TYPE_CHECKING:
    from mcmc.models.base import Block


class FlipSampler(Sampler):
    """A single-flip sampler; a subclass names its acceptance rule.

    order: "random" (each visit uniform over the sites) or "sequential" (0, 1, ..., stationary but not reversible).
    Under a constraint, moves are pair flips, and a walker has its own sites.
    """

    rule: ClassVar[str]
    laws = (Ising.name,)
    parameters: ClassVar[Parameters] = {"order": Parameter("random", "of the visits: random or sequential")}
    orders = tuple(visits.ORDERS)
    waiting_below: ClassVar[float | None] = None
    """Which rungs are sampled by waiting times, see `flips.Flips`; None: no rung ever is."""

    def _chain(
        self, block: Block, prior: Prior, constraint: FixedOverlap | None, streams: Streams, around: dict[str, Any]
    ) -> flips.Flips:
        fixed: dict[str, Any] = {"site_keys": streams.of_copies(SITES)}
        if constraint is not None:
            fixed = {"reference": constraint.reference, "n_differ": constraint.n_differ}
            fixed["site_keys"] = streams.of_walkers(SITES)
        waiting: dict[str, Any] = {}
        if self.waiting_below is not None:
            waiting = {"waiting_keys": streams.of_walkers(WAITING), "waiting_below": self.waiting_below}
        move_keys = streams.of_walkers(MOVES)
        return flips.Flips(block, rule=self.rule, order=self.order, move_keys=move_keys, **fixed, **waiting, **around)
