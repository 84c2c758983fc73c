"""How it is sampled: one method per file."""

from __future__ import annotations

from mcmc.samplers.flips import FlipSampler
from mcmc.samplers.heat_bath import HeatBath
from mcmc.samplers.metropolis import Metropolis

SAMPLERS: dict[str, type[FlipSampler]] = {"metropolis": Metropolis, "heat-bath": HeatBath}
"""Methods by name."""
