"""Walkers with real weights under a sampler, many independent ones on one rung, and how far their averages are off."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcmc.priors import Gaussian, Spherical
from mcmc.samplers import CONTINUOUS
from mcmc.samplers.hmc import Hmc
from problems import Problem

Floats = NDArray[np.float64]


class Leapfrog(Hmc):
    """Trajectories that are all accepted, which no run can ask for."""

    name = "leapfrog"


METHODS = CONTINUOUS | {Leapfrog.name: Leapfrog}


def prior(precision: float | None) -> Gaussian | Spherical:
    """Gaussian of that precision; None: spherical."""
    return Spherical() if precision is None else Gaussian(precision)


class Rows(NamedTuple):
    """What was recorded: weights (rows, walkers, n_weights), energy (rows, walkers), and all rows by name."""

    weights: Floats
    energy: Floats
    rows: dict[str, NDArray[Any]]


def run(
    task: Problem,
    method: str,
    parameters: dict[str, Any],
    start: Floats,
    *,
    beta: float,
    precision: float | None,
    sweeps: int,
    burn_in: int = 0,
    every: int = 1,
    seed: int = 1,
) -> Rows:
    """Rows at every `every`-th sweep after the burn-in of walkers that start at weights (n, n_weights).

    precision: of the Gaussian prior; None: spherical weights
    """
    block = task.model.gradient_block(task.instance, start)
    chain = METHODS[method](**parameters).chain(
        block,
        prior=prior(precision),
        seed=seed,
        beta=[beta],
        n_copies=len(start),
        exchange_every=0,
        burn_in=0,
        measure_every=every,
    )
    chain.advance(1, burn_in + sweeps)
    rows = {name: values[burn_in // every :] for name, values in chain.take().items()}
    return Rows(rows["weights"].reshape(-1, *start.shape), rows["energy"], rows)


def deviations(values: ArrayLike, expected: ArrayLike) -> Floats:
    """How many standard errors means of (rows, walkers, ...) are off, (...). Walkers are independent, rows not."""
    means = np.asarray(values).mean(0)
    error = means.std(0, ddof=1) / np.sqrt(len(means))
    return (means.mean(0) - expected) / error
