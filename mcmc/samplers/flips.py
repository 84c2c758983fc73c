"""What the single-flip samplers share: the order of visits, and the streams of a block of walkers under exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from mcmc.kernels import flips
from mcmc.kernels.random import MOVES, SITES, SWAPS, WAITING, stream_key
from mcmc.priors import FixedOverlap, constrained
from mcmc.samplers.base import Parameter, Parameters, Sampler

if TYPE_CHECKING:
    from mcmc.models.base import Block

Chain = flips.Flips


class FlipSampler(Sampler):
    """A single-flip sampler; a subclass names its acceptance rule.

    order: "random" (each visit uniform over the sites) or "sequential" (0, 1, ..., stationary but not reversible).
    """

    rule: ClassVar[str]
    laws = ("ising",)
    parameters: ClassVar[Parameters] = {"order": Parameter("random", "of the visits: random or sequential")}
    orders = tuple(flips.ORDERS)
    waiting_below: ClassVar[float | None] = None
    """Which rungs are sampled by waiting times, see `flips.Flips`; None: no rung ever is."""

    def __init__(self, order: str = "random") -> None:
        if order not in self.orders:
            raise ValueError(f"order: got {order!r}, expected one of {', '.join(self.orders)}")
        self.order = order

    def chain(
        self,
        block: Block,
        *,
        seed: int,
        beta: ArrayLike,
        instance: int = 0,
        n_copies: int = 1,
        first: int = 0,
        exchange_every: int = 1,
        burn_in: int = 0,
        measure_every: int = 1,
        constraint: FixedOverlap | None = None,
    ) -> Chain:
        """The walkers of a block under this sampler and exchange.

        block: walkers first, first + 1, ... of the flattened (copy, rung of birth) of the instance
        beta: (n_rungs,) inverse temperatures; walker (copy, rung) is born at beta[rung]
        constraint: moves are pair flips that keep it, and every walker must satisfy it from the start. A walker has its
            own sites then, and all streams differ from those of the seed without a constraint
        """
        beta = np.ascontiguousarray(beta, dtype=np.float64)
        walkers = [divmod(walker, beta.size) for walker in range(first, first + len(block.weights))]
        sites = [(copy,) for copy in range(n_copies)]
        fixed = {}
        if constraint is not None:
            seed, sites = constrained(seed), walkers
            fixed = {"reference": constraint.reference, "n_differ": constraint.n_differ}
        waiting = {}
        if self.waiting_below is not None:
            keys = _keys(stream_key(seed, WAITING, instance, *walker) for walker in walkers)
            waiting = {"waiting_keys": keys, "waiting_below": self.waiting_below}
        return flips.Flips(
            block,
            rule=self.rule,
            order=self.order,
            n_copies=n_copies,
            first=first,
            instance=instance,
            beta=beta,
            site_keys=_keys(stream_key(seed, SITES, instance, *owner) for owner in sites),
            move_keys=_keys(stream_key(seed, MOVES, instance, *walker) for walker in walkers),
            swap_keys=_keys(stream_key(seed, SWAPS, instance, copy) for copy in range(n_copies)),
            exchange_every=exchange_every,
            burn_in=burn_in,
            measure_every=measure_every,
            **fixed,
            **waiting,
        )


def _keys(keys: object) -> np.ndarray:
    return np.array(list(keys), dtype=np.uint64)
