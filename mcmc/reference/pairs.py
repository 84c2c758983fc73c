"""Pair flips that keep the overlap with a reference. Twin of ext/include/pairs.h.

Proposal k of a sweep is slot k of that sweep's row in two streams of the walker: the places of its two sites, and
acceptance. The streams are those of a seed of their own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mcmc.reference import philox
from mcmc.reference.flips import Rule, Trajectory, drive
from mcmc.reference.machines import Energy

Choice = Callable[[int, int, int], tuple[int, int]]
_ONE = 1 << 64


def places(uniform: int, n_agree: int, n_differ: int) -> tuple[int, int]:
    """Places of the two sites among those that agree and those that differ, from 64 bits."""
    first, left = divmod(uniform * n_agree, _ONE)
    return first, left * n_differ // _ONE


def arrangement(weights: NDArray[np.int8], reference: NDArray[np.int8]) -> NDArray[np.intp]:
    """Sites that agree in order, then the others, last first."""
    agrees = weights == reference
    return np.concatenate([np.flatnonzero(agrees), np.flatnonzero(~agrees)[::-1]])


def run(
    energy: Energy,
    weights: NDArray[np.int8],
    *,
    reference: NDArray[np.int8],
    seed: int,
    beta: NDArray[np.float64],
    sweeps: int,
    rule: Rule,
    n_copies: int = 1,
    instance: int = 0,
    exchange_every: int = 1,
    burn_in: int = 0,
    measure_every: int = 1,
    choice: Choice = places,
) -> Trajectory:
    """As `flips.run`; the weights differ from the reference, int8 (n_sites,), in one number of sites."""
    seed = philox.stream_key(seed, "constrained")
    n_walkers, n_sites = weights.shape
    walkers = [divmod(walker, len(beta)) for walker in range(n_walkers)]
    site_keys = np.array([philox.stream_key(seed, "sites", instance, *walker) for walker in walkers], dtype=np.uint64)
    move_keys = np.array([philox.stream_key(seed, "moves", instance, *walker) for walker in walkers], dtype=np.uint64)
    slots, n_agree = np.arange(n_sites), int((weights[0] == reference).sum())

    def sweep_once(
        sweep: int, w: NDArray[np.int8], e: NDArray[np.float64], rungs: NDArray[np.intp]
    ) -> NDArray[np.int64]:
        drawn = philox.uniforms64(site_keys[:, None], sweep, slots).tolist()
        uniforms = philox.move_uniforms(move_keys[:, None], sweep, slots)
        sites = np.stack([arrangement(row, reference) for row in w])
        accepted, every = np.zeros(n_walkers, dtype=np.int64), np.arange(n_walkers)
        for slot in slots:
            chosen = np.array([choice(row[slot], n_agree, n_sites - n_agree) for row in drawn])
            chosen[:, 1] += n_agree
            pair = np.take_along_axis(sites, chosen, axis=1)
            proposed = w.copy()
            proposed[every[:, None], pair] *= -1
            proposed_e = energy(proposed)
            probability = np.where(beta[rungs] == 0, 0.5, rule(beta[rungs] * (proposed_e - e)))
            flips = uniforms[:, slot] < probability
            w[flips], e[flips] = proposed[flips], proposed_e[flips]
            sites[every[flips, None], chosen[flips]] = pair[flips, ::-1]
            accepted += flips
        return accepted

    around = {"exchange_every": exchange_every, "burn_in": burn_in, "measure_every": measure_every}
    return drive(sweep_once, energy, weights, seed, instance, beta, n_copies, sweeps, **around)
