"""How it is sampled: one method per file."""

from __future__ import annotations

from mcmc.samplers.auto import Auto
from mcmc.samplers.base import Sampler
from mcmc.samplers.coordinates import CoordinateMetropolis
from mcmc.samplers.elliptical_slice import EllipticalSlice
from mcmc.samplers.flips import FlipSampler
from mcmc.samplers.heat_bath import HeatBath
from mcmc.samplers.hmc import Hmc
from mcmc.samplers.langevin import Langevin
from mcmc.samplers.mala import Mala
from mcmc.samplers.metropolis import Metropolis
from mcmc.samplers.pcn import Pcn
from mcmc.samplers.random_walk import RandomWalk
from mcmc.samplers.sgld import Sgld
from mcmc.samplers.underdamped import Underdamped
from mcmc.samplers.waiting_time import WaitingTime

SAMPLERS: dict[str, type[FlipSampler]] = {
    sampler.name: sampler for sampler in (Metropolis, HeatBath, WaitingTime, Auto)
}
"""Methods for Ising weights by name."""

CONTINUOUS: dict[str, type[Sampler]] = {
    sampler.name: sampler
    for sampler in (CoordinateMetropolis, RandomWalk, Pcn, EllipticalSlice, Mala, Hmc, Langevin, Sgld, Underdamped)
}
"""Methods for real weights by name."""
