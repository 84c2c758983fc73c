"""Metropolis (et al., J. Chem. Phys. 21 (1953) 1087): a flip is accepted with probability min(1, exp(-beta dE))."""

from __future__ import annotations

from mcmc.samplers.flips import FlipSampler


class Metropolis(FlipSampler):
    """Single-flip Metropolis."""

    rule = "metropolis"
