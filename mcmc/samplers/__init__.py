"""How it is sampled: one method per file."""

from __future__ import annotations

from mcmc.samplers.auto import Auto
from mcmc.samplers.base import Sampler
from mcmc.samplers.flips import FlipSampler
from mcmc.samplers.heat_bath import HeatBath
from mcmc.samplers.metropolis import Metropolis
from mcmc.samplers.waiting_time import WaitingTime

SAMPLERS: dict[str, type[FlipSampler]] = {
    "metropolis": Metropolis,
    "heat-bath": HeatBath,
    "waiting-time": WaitingTime,
    "auto": Auto,
}
"""Methods for Ising weights by name."""

CONTINUOUS: dict[str, type[Sampler]] = {}
"""Methods for real weights by name."""
