"""Metropolis moves of one or two real weights of the walkers of an instance, with exchange and rows.

Twin of ext/include/coordinates.h; nothing is kept from proposal to proposal but the energy, so nothing drifts. Proposal
k of a sweep has slot k of that sweep's row: its sites in the streams of the copy, its normal number and the uniform of
its decision in those of the walker.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mcmc.reference import philox
from mcmc.reference.flips import Trajectory, drive
from mcmc.reference.machines import Energy

Floats = NDArray[np.float64]
Sites = NDArray[np.int64]
Move = Callable[[Floats, Sites, Sites, Floats], Floats]
"""Proposed weights (n_walkers, n_sites) from the weights, the sites i and j of each walker and step xi (n_walkers,)."""
LogLaw = Callable[[Floats, Floats, Floats], Floats]
"""Logarithm of the measure, up to a constant, of weights of given energy at beta: (n_walkers,)."""


def walk(weights: Floats, i: Sites, j: Sites, step: Floats) -> Floats:
    """w_i + step."""
    every, proposed = np.arange(len(weights)), weights.copy()
    proposed[every, i] += step
    return proposed


def rotate(weights: Floats, i: Sites, j: Sites, angle: Floats) -> Floats:
    """(w_i, w_j) rotated by an angle."""
    every, proposed = np.arange(len(weights)), weights.copy()
    a, b = weights[every, i], weights[every, j]
    proposed[every, i] = np.cos(angle) * a - np.sin(angle) * b
    proposed[every, j] = np.sin(angle) * a + np.cos(angle) * b
    return proposed


def gaussian(precision: float) -> LogLaw:
    """exp(-beta E - precision |w|^2 / 2)."""
    return lambda beta, energy, weights: -beta * energy - precision * (weights**2).sum(axis=1) / 2


def spherical(beta: Floats, energy: Floats, weights: Floats) -> Floats:
    """exp(-beta E) on the sphere."""
    return -beta * energy


def run(
    energy: Energy,
    weights: Floats,
    *,
    seed: int,
    beta: Floats,
    step: Floats,
    sweeps: int,
    precision: float | None,
    n_units: int = 1,
    order: str = "random",
    n_copies: int = 1,
    instance: int = 0,
    exchange_every: int = 1,
    burn_in: int = 0,
    measure_every: int = 1,
    move: Move | None = None,
    log_law: LogLaw | None = None,
) -> Trajectory:
    """Sweeps 1 .. sweeps from weights (n_copies * n_rungs, n_sites), walkers ordered by copy, then rung of birth.

    precision: of the gaussian prior; None on the sphere. step: (n_rungs,)
    move, log_law: faults for tests
    """
    n_rungs, n_sites = len(beta), weights.shape[1]
    copies, births = np.divmod(np.arange(n_copies * n_rungs), n_rungs)
    move = move or (rotate if precision is None else walk)
    log_law = log_law or (spherical if precision is None else gaussian(precision))
    noise_keys, move_keys = (
        np.array(
            [philox.stream_key(seed, purpose, instance, c, b) for c, b in zip(copies, births, strict=True)],
            dtype=np.uint64,
        )
        for purpose in ("noise", "moves")
    )
    site_keys, partner_keys = (
        np.array([philox.stream_key(seed, purpose, instance, c) for c in range(n_copies)], dtype=np.uint64)
        for purpose in ("sites", "partners")
    )

    def sweep_once(sweep: int, w: Floats, e: Floats, rungs: NDArray[np.intp]) -> NDArray[np.int64]:
        i = np.broadcast_to(np.arange(n_sites), (n_copies, n_sites))
        if order == "random":
            i = philox.visits(site_keys[:, None], sweep, n_sites)
        j = partners(partner_keys, sweep, i, n_sites // n_units)
        noise = philox.noise(noise_keys, sweep, n_sites)
        uniforms = philox.move_uniforms(move_keys, sweep, np.arange(n_sites)[:, None])
        accepted = np.zeros(len(w), dtype=np.int64)
        for slot in range(n_sites):
            proposed = move(w, i[copies, slot], j[copies, slot], step[rungs] * noise[slot])
            proposed_e = energy(proposed)
            log_ratio = log_law(beta[rungs], proposed_e, proposed) - log_law(beta[rungs], e, w)
            moves = np.log(uniforms[slot]) < log_ratio
            w[moves], e[moves] = proposed[moves], proposed_e[moves]
            accepted += moves
        return accepted

    around = {"exchange_every": exchange_every, "burn_in": burn_in, "measure_every": measure_every}
    return drive(sweep_once, energy, weights, seed, instance, beta, n_copies, sweeps, **around)


def partners(keys: NDArray[np.uint64], sweep: int, sites: Sites, fan_in: int) -> Sites:
    """Of each site (n_copies, n), another of its unit, uniform among them; the site itself where there is none."""
    if fan_in == 1:
        return sites
    n = sites.shape[1]
    drawn = (philox.words(keys[:, None], sweep, np.arange(n)) * np.uint64(fan_in - 1) >> np.uint64(32)).astype(np.int64)
    place = sites % fan_in
    return sites - place + drawn + (drawn >= place)
