"""What a sampler says of itself: the configuration and the engine read it, and nothing else decides who takes what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Parameter:
    """A number that a sampler takes: its default, None for one that must be given, and what it is, for `mcmc info`."""

    default: float | str | None
    meaning: str


Parameters = dict[str, Parameter]


class Sampler:
    """A method; a subclass makes the chains."""

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
    adjusted: ClassVar[bool] = True
    """Whether the stationary law is the Gibbs measure at any step size."""
    tells: ClassVar[tuple[str, ...]] = ()
    """What rows hold of the walkers besides energies and weights, see observables.BY_WALKER."""
    orders: ClassVar[tuple[str, ...]] = ()
    """Orders of visits to the weights that it takes."""
    flips_pairs: ClassVar[bool] = False
    """Whether it can keep an overlap of Ising weights fixed, by pairs of flips."""
