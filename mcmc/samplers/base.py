"""What a sampler says of itself: the configuration and the engine read it, and nothing else decides who takes what."""

from __future__ import annotations

from typing import ClassVar


class Sampler:
    """A method; a subclass makes the chains. Its keys of the run file are arguments of its constructor."""

    weights: ClassVar[tuple[str, ...]]
    """Laws of the weights that it samples, names of priors.PRIORS."""
    parameters: ClassVar[tuple[str, ...]] = ()
    """Keys of the table [sampler] that it takes besides the method."""
    uses_gradient: ClassVar[bool] = False
    by_coordinate: ClassVar[bool] = False
    """Whether it moves one or two real weights at a time and is driven by Model.coordinate_block."""
    tunes: ClassVar[bool] = False
    """Whether the step size may be "auto", which it then is by default."""
    largest_step: ClassVar[float] = float("inf")
    least_burn_in: ClassVar[int] = 0
    """Sweeps that the tuning of a step size takes at the least."""
    tells: ClassVar[tuple[str, ...]] = ()
    """What its rows hold of the walkers besides energies and weights: names of observables.BY_WALKER."""
    flips_pairs: ClassVar[bool] = False
    """Whether it can keep an overlap of Ising weights fixed, by pairs of flips."""
