"""Rejection-free sampling in continuous time, the n-fold way (Bortz, Kalos, Lebowitz, J. Comput. Phys. 17 (1975) 10).

Each weight is attempted at rate 1 per sweep and flips with Metropolis' probability: time between flips is drawn, not
spent on rejections. Rows and exchanges at whole sweeps are plain snapshots of the process, averaged without weights.
A flip costs the energy differences of all weights, a sweep without one next to nothing.
"""

from __future__ import annotations

import math

from mcmc.samplers.flips import FlipSampler


class WaitingTime(FlipSampler):
    """Single flips by waiting times."""

    name = "waiting-time"
    rule = "metropolis"
    orders = ("random",)
    waiting_below = math.inf
