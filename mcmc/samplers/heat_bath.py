"""Heat bath: the visited weight is drawn from its law given the others (Glauber, J. Math. Phys. 4 (1963) 294).

A flip happens with probability 1 / (1 + exp(beta dE)).
"""

from __future__ import annotations

from mcmc.samplers.flips import FlipSampler


class HeatBath(FlipSampler):
    """Single-flip heat bath."""

    name = "heat-bath"
    rule = "heat-bath"
    flips_pairs = True
