"""Single flips by waiting times, with exchange and rows. Twin of ext/include/waiting.h.

Weight i flips at rate a_i per sweep, its acceptance probability; the time to the next flip is exponential with rate
A = sum_i a_i, and the flip that would come after the end of a sweep is discarded. Slots 2k and 2k + 1 of the sweep's
row in the walker's stream decide on time and site of flip k. Sites are sought in the order of dE (integer energies:
then of their numbers) or of their numbers (real energies).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mcmc.reference import philox
from mcmc.reference.flips import Trajectory, drive, metropolis
from mcmc.reference.machines import Energy

Choice = Callable[[NDArray[np.float64], float], int]


def rates(dE: NDArray[np.float64], beta: float) -> NDArray[np.float64]:
    """Flips per sweep of each weight: Metropolis' probability, and the heat bath's at beta = 0."""
    return metropolis(beta * dE) if beta else np.full(len(dE), 0.5)


def differences(energy: Energy, weights: NDArray[np.int8]) -> NDArray[np.float64]:
    """Energy change of the flip of each weight: (n_sites,)."""
    flipped = np.where(np.eye(len(weights), dtype=bool), -weights, weights)
    return energy(flipped) - energy(weights[None])[0]


def run(
    energy: Energy,
    weights: NDArray[np.int8],
    *,
    seed: int,
    beta: NDArray[np.float64],
    sweeps: int,
    by_energy: bool,
    n_copies: int = 1,
    instance: int = 0,
    exchange_every: int = 1,
    burn_in: int = 0,
    measure_every: int = 1,
    choose: Choice | None = None,
    keep_overshoot: bool = False,
) -> Trajectory:
    """Sweeps 1 .. sweeps from weights (n_copies * n_rungs, n_sites), walkers ordered by copy, then rung of birth.

    by_energy: whether sites are sought in the order of dE
    choose, keep_overshoot: faults for tests: another law of the site for (rates, uniform); no event is discarded
    """
    walkers = [divmod(walker, len(beta)) for walker in range(len(weights))]
    keys = [philox.stream_key(seed, "waiting", instance, *walker) for walker in walkers]

    def sweep_once(
        sweep: int, w: NDArray[np.int8], e: NDArray[np.float64], rungs: NDArray[np.intp]
    ) -> NDArray[np.int64]:
        fault = choose or choose_site, keep_overshoot
        flips = [_sweep(energy, *of, sweep, by_energy, *fault) for of in zip(w, beta[rungs], keys, strict=True)]
        e[:] = energy(w)
        return np.array(flips)

    around = {"exchange_every": exchange_every, "burn_in": burn_in, "measure_every": measure_every}
    return drive(sweep_once, energy, weights, seed, instance, beta, n_copies, sweeps, **around)


def choose_site(rates: NDArray[np.float64], u: float) -> int:
    """The first index at which the rates add up to more than u times their sum."""
    cumulative = np.cumsum(rates)
    return int(min(np.searchsorted(cumulative, u * cumulative[-1], side="right"), len(rates) - 1))


def _sweep(
    energy: Energy,
    w: NDArray[np.int8],
    beta: float,
    key: int,
    sweep: int,
    by_energy: bool,
    choose: Choice,
    keep_overshoot: bool,
) -> int:
    """One sweep of one walker in place; returns the number of flips."""
    left, flips = 1.0, 0
    while left > 0:
        dE = differences(energy, w)
        a = rates(dE, beta)
        time, site = philox.uniforms(key, sweep, [2 * flips, 2 * flips + 1])
        left += np.log(time) / a.sum()
        if left > 0 or keep_overshoot:
            order = np.argsort(dE, kind="stable") if by_energy else np.arange(len(dE))
            w[order[choose(a[order], site)]] *= -1
            flips += 1
    return flips
