"""Metropolis through the burn-in, then waiting times on the rungs where flips are rare.

A sweep by waiting times costs about one set of energy differences per flip, a sweep of Metropolis one proposal per
weight, whatever is accepted. So the number of flips per sweep decides, counted in the second half of the burn-in over
all copies of an instance at a rung, never a timing: the same run makes the same choice everywhere.
"""

from __future__ import annotations

from mcmc.samplers.flips import FlipSampler

FLIPS_PER_SWEEP = 1.0
"""Flips per sweep and walker (acceptance times number of weights) below which waiting times are chosen.

With bit slices both take the same time at one to two flips (docs/speed.md, by `make bench`), at any size, because a
flip by waiting times and a sweep of Metropolis both cost N P.
"""


class Auto(FlipSampler):
    """Metropolis or waiting times, chosen by instance and rung."""

    name = "auto"
    rule = "metropolis"
    waiting_below = FLIPS_PER_SWEEP
