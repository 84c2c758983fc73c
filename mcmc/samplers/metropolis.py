"""Metropolis (et al., J. Chem. Phys. 21 (1953) 1087): a flip is accepted with probability min(1, exp(-beta dE)).

At beta = 0 that accepts every flip and never leaves the states of one parity: the heat bath takes its place there.
"""

from __future__ import annotations

from mcmc.samplers.flips import FlipSampler


class Metropolis(FlipSampler):
    """Single-flip Metropolis."""

    name = "metropolis"
    rule = "metropolis"
    flips_pairs = True
