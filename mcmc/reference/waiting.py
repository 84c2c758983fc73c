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

from mcmc.reference import exchange, philox
from mcmc.reference.flips import Trajectory, metropolis
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
    n_rungs = len(beta)
    walkers = [divmod(walker, n_rungs) for walker in range(n_copies * n_rungs)]
    keys = [philox.stream_key(seed, "waiting", instance, *walker) for walker in walkers]
    swap_keys = [philox.stream_key(seed, "swaps", instance, copy) for copy in range(n_copies)]
    w, e = weights.copy(), energy(weights)
    walker_at = np.tile(np.arange(n_rungs, dtype=np.int32), (n_copies, 1))
    accepted = np.zeros((n_copies, n_rungs), dtype=np.int64)
    exchange_accepted = np.zeros((n_copies, n_rungs - 1), dtype=np.int64)
    exchange_proposed = np.zeros((n_copies, n_rungs - 1), dtype=np.int64)
    rows = []
    for sweep in range(1, sweeps + 1):
        rungs = np.argsort(walker_at, axis=1)
        for walker, (copy, birth) in enumerate(walkers):
            rung = rungs[copy, birth]
            accepted[copy, rung] += _sweep(
                energy, w[walker], beta[rung], keys[walker], sweep, by_energy, choose or choose_site, keep_overshoot
            )
        e = energy(w)
        if exchange_every and sweep % exchange_every == 0:
            number = sweep // exchange_every
            for copy, at in enumerate(walker_at):
                here = slice(copy * n_rungs, (copy + 1) * n_rungs)
                at[:], swapped = exchange.exchange_round(beta, e[here], swap_keys[copy], number, at)
                if sweep > burn_in:
                    exchange_accepted[copy] += swapped
                    exchange_proposed[copy, number % 2 :: 2] += 1
        if sweep % measure_every == 0:
            rows.append((e.copy(), w.copy(), walker_at.copy(), accepted.copy()))
            accepted[:] = 0
    return Trajectory(*(np.array(column) for column in zip(*rows, strict=True)), exchange_accepted, exchange_proposed)


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
