"""Single-flip sampling of the walkers of an instance, with exchange and rows. Twin of ext/include/flips.h.

The walkers of a copy go through the sites in one common order; each has its own uniforms. Proposal k of a sweep is slot
k of that sweep's row in the walker's stream. At beta = 0 every rule is the heat bath, which flips half of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcmc.reference import exchange, philox
from mcmc.reference.machines import Energy

Rule = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def metropolis(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of a flip with beta dE = x."""
    return np.exp(-np.maximum(x, 0.0))


def heat_bath(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of a flip with beta dE = x."""
    return 1.0 / (1.0 + np.exp(x))


RULES: dict[str, Rule] = {"metropolis": metropolis, "heat-bath": heat_bath}
"""Acceptance rules by name of the sampler."""


@dataclass
class Trajectory:
    """The rows of a run."""

    energy: NDArray[np.float64]  # (rows, n_walkers)
    weights: NDArray[np.int8]  # (rows, n_walkers, n_sites)
    walker_at: NDArray[np.int32]  # (rows, n_copies, n_rungs)
    accepted: NDArray[np.int64]  # (rows, n_copies, n_rungs), since the row before
    exchange_accepted: NDArray[np.int64]  # (n_copies, n_rungs - 1), after burn-in
    exchange_proposed: NDArray[np.int64]  # (n_copies, n_rungs - 1)


def run(
    energy: Energy,
    weights: NDArray[np.int8],
    *,
    seed: int,
    beta: NDArray[np.float64],
    sweeps: int,
    rule: Rule,
    order: str,
    n_copies: int = 1,
    instance: int = 0,
    exchange_every: int = 1,
    burn_in: int = 0,
    measure_every: int = 1,
    swap_probability: Callable[[float, float, float, float], float] = exchange.swap_probability,
) -> Trajectory:
    """Sweeps 1 .. sweeps from weights (n_copies * n_rungs, n_sites), walkers ordered by copy, then rung of birth."""
    n_rungs, n_sites = len(beta), weights.shape[1]
    copies, births = np.divmod(np.arange(n_copies * n_rungs), n_rungs)
    site_keys = [philox.stream_key(seed, "sites", instance, copy) for copy in range(n_copies)]
    site_keys = np.array(site_keys, dtype=np.uint64)
    move_keys = [philox.stream_key(seed, "moves", instance, c, b) for c, b in zip(copies, births, strict=True)]
    move_keys = np.array(move_keys, dtype=np.uint64)
    swap_keys = [philox.stream_key(seed, "swaps", instance, copy) for copy in range(n_copies)]

    every_sweep, slots = np.arange(1, sweeps + 1), np.arange(n_sites)
    sites = np.broadcast_to(slots, (n_copies, sweeps, n_sites))
    if order == "random":
        sites = philox.visits(site_keys[:, None, None], every_sweep[:, None], n_sites)
    uniforms = philox.move_uniforms(
        move_keys[:, None], every_sweep[:, None, None], slots
    )  # (sweeps, n_walkers, n_sites)

    w, e = weights.copy(), energy(weights)
    walker_at = np.tile(np.arange(n_rungs, dtype=np.int32), (n_copies, 1))
    accepted = np.zeros((n_copies, n_rungs), dtype=np.int64)
    exchange_accepted = np.zeros((n_copies, n_rungs - 1), dtype=np.int64)
    exchange_proposed = np.zeros((n_copies, n_rungs - 1), dtype=np.int64)
    rows = []
    for sweep in every_sweep:
        rungs = np.argsort(walker_at, axis=1).reshape(-1)  # (n_walkers,): where each walker is
        for slot in slots:
            proposed = w.copy()
            proposed[np.arange(len(w)), sites[copies, sweep - 1, slot]] *= -1
            proposed_e = energy(proposed)
            probability = np.where(beta[rungs] == 0, 0.5, rule(beta[rungs] * (proposed_e - e)))
            flips = uniforms[sweep - 1, :, slot] < probability
            w[flips], e[flips] = proposed[flips], proposed_e[flips]
            accepted[copies, rungs] += flips
        if exchange_every and sweep % exchange_every == 0:
            number = sweep // exchange_every
            for copy, at in enumerate(walker_at):
                e_of_copy = e[copies == copy]
                at[:], swapped = exchange.exchange_round(beta, e_of_copy, swap_keys[copy], number, at, swap_probability)
                if sweep > burn_in:
                    exchange_accepted[copy] += swapped
                    exchange_proposed[copy, number % 2 :: 2] += 1
        if sweep % measure_every == 0:
            rows.append((e.copy(), w.copy(), walker_at.copy(), accepted.copy()))
            accepted[:] = 0
    return Trajectory(*(np.array(column) for column in zip(*rows, strict=True)), exchange_accepted, exchange_proposed)
