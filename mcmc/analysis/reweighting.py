"""Between the rungs and beyond them: curves in beta, the density of states, the microcanonical entropy.

All rungs together, weighted as in mbar.py, are one sample of every beta within the ladder (Ferrenberg, Swendsen,
Phys. Rev. Lett. 63, 1195, 1989). Error bands are a jackknife over blocks of time. Where too few effective samples are
left a value is NaN; past the coldest rung, and past a gap in the ladder, there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mcmc.analysis import energies, mbar, statistics
from mcmc.analysis.energies import Ladder
from mcmc.analysis.free_energy import log_n_states, solution_of
from mcmc.analysis.mbar import Mbar
from mcmc.analysis.results import Results

MIN_ESS = 50
"""Effective samples that a value at a beta needs."""
MIN_VISITS = 10
"""Effective samples of an energy, or of a bin, whose density has an error bar."""
POINTS_PER_STEP = 8
"""Of the default grid, between neighbouring rungs."""
N_BINS = 100

_CURVES = ("log_z", "entropy", "energy", "heat_capacity")


class Band(NamedTuple):
    """A mean over instances and its errors as in statistics.Estimate, each (points of the grid,)."""

    mean: np.ndarray
    error: np.ndarray
    thermal_error: np.ndarray
    sample_error: np.ndarray


@dataclass(frozen=True)
class Curves:
    """Averages as functions of beta, over instances. NaN where an instance has too few effective samples."""

    beta: np.ndarray
    """(points,), 1/energy."""
    energy: Band
    """<E>, extensive."""
    heat_capacity: Band
    """beta^2 Var E / n_weights."""
    log_z: Band
    """Extensive; counting measure for Ising weights. NaN without a way to beta = 0."""
    entropy: Band
    """(log Z + beta <E>) / n_weights."""


@dataclass(frozen=True)
class DensityOfStates:
    """ln g(E) of one instance; arrays (energies,). NaN without a way to beta = 0."""

    energy: np.ndarray
    """Those that were seen: whole numbers, or the middles of bins."""
    log_g: np.ndarray
    """ln of the number of Ising states of this energy, or of the density of states per unit of energy; with other
    priors of their density of probability."""
    error: np.ndarray
    """NaN where too few effective samples were at this energy."""
    entropy: np.ndarray
    """Microcanonical, per weight: ln g / n_weights."""
    entropy_error: np.ndarray


def curves(results: Results, beta: np.ndarray | None = None) -> Curves:
    """Of the rows after the burn-in, on a fine grid from 0, or the first rung, to the coldest rung.

    Of the copies of the first branch of `free_energy`: those that started at random, where the others disagree.

    beta: (points,), the grid. Raises ValueError for a negative or infinite beta.
    """
    data = results.equilibrium()
    log_states = log_n_states(results.config, int(data.attrs["n_weights"]))
    copies = _copies(results)
    grid = None if beta is None else np.atleast_1d(np.asarray(beta, dtype=float))
    if grid is not None and not (np.isfinite(grid) & (grid >= 0)).all():
        raise ValueError(f"beta: got {beta}, expected finite numbers, 0 or more")
    found = []
    for (ladder,) in energies.ladders(data, results.config, [copies]):
        if grid is None:
            grid = default_grid(ladder)
        found.append(_curves_of_instance(ladder, grid, log_states, int(data.attrs["n_weights"])))
    values, errors = (np.array(part) for part in zip(*found, strict=True))  # (instances, curves, points)
    bands = {}
    for number, name in enumerate(_CURVES):
        bands[name] = Band(*np.array(statistics.averages(values[:, number], errors[:, number])).T)
    return Curves(beta=grid, **bands)


def _copies(results: Results) -> np.ndarray:
    """Of the first branch of the free energies, which need not be worked out where all copies start alike."""
    start = results.dataset["start"].to_numpy()
    return np.arange(len(start)) if (start == start[0]).all() else results.free_energy().branches[0].copies


def default_grid(ladder: Ladder) -> np.ndarray:
    """The rungs and some points between neighbours, from beta = 0 on if the first rung reaches there."""
    rungs = ladder.beta if ladder.beta[0] == 0 or not mbar.reaches_zero(ladder) else np.append(0.0, ladder.beta)
    steps = [np.linspace(low, high, POINTS_PER_STEP, endpoint=False) for low, high in pairwise(rungs)]
    return np.concatenate([*steps, rungs[-1:]])


def densities_of_states(results: Results, n_bins: int = N_BINS) -> list[DensityOfStates]:
    """Of each instance, from the rows after the burn-in, of the copies that `curves` takes.

    n_bins: of energies that are no whole numbers
    """
    data = results.equilibrium()
    n_weights = int(data.attrs["n_weights"])
    log_states = log_n_states(results.config, n_weights)
    copies = _copies(results)
    return [
        _density(ladder, log_states, n_weights, n_bins)
        for (ladder,) in energies.ladders(data, results.config, [copies])
    ]


def _curves_of_instance(
    ladder: Ladder, beta: np.ndarray, log_states: float, n_weights: int
) -> tuple[np.ndarray, np.ndarray]:
    """Values and errors of `_CURVES`: twice (curves, points)."""
    solution = solution_of(ladder)
    levels = ladder.levels()
    nearest = np.searchsorted(ladder.beta, beta).clip(0, len(ladder.beta) - 1)  # the rung from which on it is hotter
    values, errors = np.full((2, len(_CURVES), len(beta)), np.nan)
    is_there = (_effective_samples(ladder, solution, beta) >= MIN_ESS) & (beta <= solution.beta[-1])
    is_there &= (beta >= ladder.beta[0]) | mbar.reaches_zero(ladder)
    of_points = levels[nearest]
    for level in np.unique(of_points[is_there]):
        here = is_there & (of_points == level)
        blocks = ladder.merged(int(level))
        found = _jackknifed(blocks, solution.merged(blocks.n_blocks), beta[here], log_states, n_weights)
        values[:, here], errors[:, here] = found
    errors[:, ~ladder.is_moving()[nearest]] = np.nan
    return values, errors


def _effective_samples(ladder: Ladder, solution: Mbar, beta: np.ndarray) -> np.ndarray:
    """How many independent samples the points are worth at each beta: (points of the grid,)."""
    total = solution.points.counts.sum(axis=0)
    weights = _boltzmann(solution, beta)[0]
    rows = (total @ weights) ** 2 / (total @ weights**2)
    tau = np.interp(beta, ladder.beta, np.where(np.isnan(ladder.tau), 1.0, ladder.tau))
    return rows / np.maximum(tau / ladder.stride, 1.0)


def _boltzmann(solution: Mbar, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights exp(-beta E - log mixture - shift) of points at each beta (points, grid), and the shift (grid,)."""
    exponents = -beta * solution.points.energy[:, None] - solution.log_mixture[:, None]
    shift = exponents.max(axis=0)
    return np.exp(exponents - shift), shift


def _jackknifed(
    blocks: Ladder, solution: Mbar, beta: np.ndarray, log_states: float, n_weights: int
) -> tuple[np.ndarray, np.ndarray]:
    """Values and errors of `_CURVES` with the blocks of the ladder: twice (curves, grid)."""
    log_z_0 = log_states if mbar.reaches_zero(blocks) else np.nan
    weights, shift = _boltzmann(solution, beta)
    at_first, shift_of_first = _boltzmann(solution, solution.beta[:1])
    energy = solution.points.energy - solution.points.energy.mean()

    def quantities(counts: np.ndarray, first: np.ndarray) -> np.ndarray:
        """(..., points) -> (..., curves, grid)."""
        norm = counts @ weights
        mean, square = (counts @ (weights * energy[:, None] ** power) / norm for power in (1, 2))
        log_z = np.log(norm) + shift - np.log(counts @ at_first) - shift_of_first + np.asarray(first)[..., None]
        absolute = mean + solution.points.energy.mean()
        rows = (log_z, (log_z + beta * absolute) / n_weights, absolute, beta**2 * (square - mean**2) / n_weights)
        return np.stack(rows, axis=-2)

    first = mbar.log_z_of_first_rung(blocks, blocks.moments.mean(axis=0), log_z_0)
    whole = quantities(solution.points.counts.sum(axis=0), first)
    if blocks.n_blocks < 2:
        return whole, np.full(whole.shape, np.nan)
    firsts = mbar.log_z_of_first_rung(blocks, statistics.left_out(blocks.moments), log_z_0)
    value, error = statistics.jackknife(whole, quantities(solution.weights_left_out(), firsts))
    return value, error


def _density(ladder: Ladder, log_states: float, n_weights: int, n_bins: int) -> DensityOfStates:
    solution = solution_of(ladder)
    level = int(ladder.levels()[: len(solution.beta)].max())
    blocks = ladder.merged(level)
    solution = solution.merged(blocks.n_blocks)
    log_z_0 = log_states if mbar.reaches_zero(ladder) else np.nan
    energy, bins, width = _bins(ladder, solution.points.energy, n_bins)
    if np.isnan(solution.log_z).any():
        return DensityOfStates(energy, *np.full((4, len(energy)), np.nan))
    shift = np.full(len(energy), -np.inf)
    np.maximum.at(shift, bins, -solution.log_mixture)
    weights = np.zeros((len(bins), len(energy)))
    weights[np.arange(len(bins)), bins] = np.exp(-solution.log_mixture - shift[bins])

    def log_density(counts: np.ndarray, first: np.ndarray) -> np.ndarray:
        """(..., points) -> (..., energies)."""
        with np.errstate(divide="ignore"):  # all in the block that was left out: then there is no error bar
            return np.log(counts @ weights / width) + shift + np.asarray(first)[..., None]

    total = solution.points.counts.sum(axis=0)
    log_g = log_density(total, mbar.log_z_of_first_rung(blocks, blocks.moments.mean(axis=0), log_z_0))
    error = np.full(log_g.shape, np.nan)
    if blocks.n_blocks > 1:
        firsts = mbar.log_z_of_first_rung(blocks, statistics.left_out(blocks.moments), log_z_0)
        replicates = log_density(solution.weights_left_out(), firsts)
        is_seen = np.isfinite(replicates).all(axis=0)
        is_seen &= np.bincount(bins, weights=total) >= MIN_VISITS * max(np.nanmax(ladder.tau) / ladder.stride, 1.0)
        log_g[is_seen], error[is_seen] = statistics.jackknife(log_g[is_seen], replicates[:, is_seen])
    return DensityOfStates(energy, log_g, error, log_g / n_weights, error / n_weights)


def _bins(ladder: Ladder, energy: np.ndarray, n_bins: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Energies, or middles of bins that are not empty; the one of each point; their width."""
    if ladder.is_whole:
        return energy, np.arange(len(energy)), 1.0
    width = float(np.ptp(energy)) / n_bins or 1.0
    found, bins = np.unique(((energy - energy.min()) // width).clip(0, n_bins - 1), return_inverse=True)
    return energy.min() + (found + 0.5) * width, bins, width
