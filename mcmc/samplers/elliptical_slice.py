"""Elliptical slice sampling (Murray, Adams, MacKay, JMLR W&CP 9 (2010) 541): nothing to tune, nothing rejected."""

from __future__ import annotations

from mcmc.samplers.moves import MoveSampler


class EllipticalSlice(MoveSampler):
    """A point of the ellipse through the state and a prior draw, uniform among those above a random level."""

    name = "elliptical-slice"
