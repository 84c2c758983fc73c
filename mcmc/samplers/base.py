"""What a sampler says of itself, which the configuration and the engine read, and how it makes the chain of a block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcmc.kernels.random import SWAPS, stream_key
from mcmc.priors import FixedOverlap, Ising, Prior, constrained

if TYPE_CHECKING:
    from mcmc.kernels.chain import Chain

ISING = Ising()


@dataclass(frozen=True)
class Parameter:
    """What a sampler takes: its default, None for one that must be given, and what it is, for `mcmc info`."""

    default: float | str | None
    meaning: str


Parameters = dict[str, Parameter]


@dataclass(frozen=True)
class Streams:
    """Random streams of the walkers of a block: keys by purpose, see kernels.random."""

    seed: int
    instance: int
    n_copies: int
    walkers: list[tuple[int, int]]
    """Copy and rung of birth of each."""

    def of_walkers(self, purpose: int) -> NDArray[np.uint64]:
        """(n_walkers,)"""
        return self._keys(purpose, self.walkers)

    def of_copies(self, purpose: int) -> NDArray[np.uint64]:
        """(n_copies,): what all walkers of a copy share."""
        return self._keys(purpose, [(copy,) for copy in range(self.n_copies)])

    def of_instance(self, purpose: int) -> int:
        """What all walkers of the instance share."""
        return stream_key(self.seed, purpose, self.instance)

    def _keys(self, purpose: int, owners: list[tuple[int, ...]]) -> NDArray[np.uint64]:
        return np.array([stream_key(self.seed, purpose, self.instance, *owner) for owner in owners], dtype=np.uint64)


class Sampler(ABC):
    """A method.

    Keyword arguments are the `parameters` of the class; ValueError for one that is not taken, is missing, or cannot be.
    """

    name: ClassVar[str]
    laws: ClassVar[tuple[str, ...]]
    """Priors that it samples under."""
    parameters: ClassVar[Parameters] = {}
    """Keyword arguments, which are its keys in the table [sampler] of the run file."""
    needs_gradient: ClassVar[bool] = False
    """Whether loss and activation must have derivatives."""
    by_coordinate: ClassVar[bool] = False
    """Whether it moves one or two real weights at a time, and so is driven by Model.coordinate_block."""
    target: ClassVar[float | None] = None
    """Mean acceptance to which "auto" tunes the step size; None: there is nothing to tune by."""
    least_burn_in: ClassVar[int] = 0
    """Sweeps of burn-in that tuning takes at least."""
    largest_step: ClassVar[float] = float("inf")
    is_exact: ClassVar[bool] = True
    """Whether the stationary law is the Gibbs measure at any step size."""
    tells: ClassVar[tuple[str, ...]] = ()
    """What rows hold of the walkers besides energies and weights, see observables.BY_WALKER."""
    orders: ClassVar[tuple[str, ...]] = ()
    """Orders of visits to the weights that it takes."""
    batch_size: int = 0
    """Patterns of the minibatches that its block must provide for; 0 for none."""
    flips_pairs: ClassVar[bool] = False
    """Whether it can keep an overlap of Ising weights fixed, by pairs of flips."""

    def __init__(self, **given: object) -> None:
        unknown = given.keys() - self.parameters.keys()
        if unknown:
            raise ValueError(f"{min(unknown)}: not a parameter of {self.name}")
        for key, parameter in self.parameters.items():
            value = given.get(key, parameter.default)
            if value is None:
                raise ValueError(f"{key}: missing, {self.name} needs it")
            setattr(self, key, value)
        if "order" in self.parameters and self.order not in self.orders:
            raise ValueError(f"order: got {self.order!r}, expected one of {', '.join(self.orders)}")

    def chain(
        self,
        block: Any,
        *,
        seed: int,
        beta: ArrayLike,
        prior: Prior = ISING,
        constraint: FixedOverlap | None = None,
        instance: int = 0,
        n_copies: int = 1,
        first: int = 0,
        exchange_every: int = 1,
        burn_in: int = 0,
        measure_every: int = 1,
        tuned_until: int = 0,
        notes_passage: bool = False,
    ) -> Chain:
        """The walkers of a block under this sampler and exchange.

        block: walkers first, first + 1, ... of the flattened (copy, rung of birth) of the instance
        beta: (n_rungs,) inverse temperatures; walker (copy, rung) is born at beta[rung]
        constraint: of Ising weights, which every walker must satisfy from the start: moves keep it. All streams differ
            from those of the seed without a constraint
        exchange_every: 0 for none; burn_in: sweeps before exchanges are counted; measure_every: sweeps between rows
        tuned_until: the last sweep at whose end the ladder is tuned; 0 for none
        notes_passage: whether the chain notes when each walker first has no energy
        """
        if prior.name not in self.laws:
            raise ValueError(f"weights: got {prior.name}, expected {' or '.join(self.laws)} for {self.name}")
        if constraint is not None and not self.flips_pairs:
            raise ValueError(f"constraint: got one, expected none for {self.name}")
        beta = np.ascontiguousarray(beta, dtype=np.float64)
        walkers = [divmod(walker, beta.size) for walker in range(first, first + len(block.energy))]
        streams = Streams(seed if constraint is None else constrained(seed), instance, n_copies, walkers)
        around = {
            "beta": beta,
            "swap_keys": streams.of_copies(SWAPS),
            "instance": instance,
            "n_copies": n_copies,
            "first": first,
            "exchange_every": exchange_every,
            "burn_in": burn_in,
            "measure_every": measure_every,
            "tuned_until": tuned_until,
            "notes_passage": notes_passage,
        }
        return self._chain(block, prior, constraint, streams, around)

    @abstractmethod
    def _chain(
        self, block: Any, prior: Prior, constraint: FixedOverlap | None, streams: Streams, around: dict[str, Any]
    ) -> Chain:
        """The same; around: what is the same for all kernels, see kernels.chain.Chain."""
