"""Entropy of the storage of random labels by the binary perceptron, beside replica theory.

    python runs/entropy.py out/entropy

Reads the tasks of runs/scan-entropy.toml in DIR, prints ln Z and the entropy at some beta, and the entropy of the
solutions (E = 0), and draws DIR/entropy.png. Theory is replica-symmetric, N -> infinity (replica.py).
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import replica
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import mcmc
from mcmc.analysis import Results, plots
from mcmc.analysis.reweighting import Curves, DensityOfStates, curves, densities_of_states
from mcmc.analysis.statistics import Estimate, average_over_instances

ALPHAS = (0.3, 0.6, 1.0)
"""Whose curves are drawn."""
CAPACITY = 0.833079
NOWHERE = Estimate(np.nan, np.nan, np.nan, np.nan)


def read(directory: Path) -> dict[float, Results]:
    """By alpha."""
    found = [mcmc.load(path.parent) for path in directory.glob("*/results.h5")]
    return dict(sorted((results.config["data"]["alpha"], results) for results in found))


def at_energy(energy: int, densities: list[DensityOfStates]) -> tuple[Estimate, int]:
    """Microcanonical entropy per weight, mean over instances (none unless all were there), and how many were there."""
    found = [each for each in densities if energy in each.energy]
    if len(found) < len(densities):
        return NOWHERE, len(found)
    here = [list(each.energy).index(energy) for each in found]
    values = np.array([(each.entropy[i], each.entropy_error[i]) for each, i in zip(found, here, strict=True)])
    return average_over_instances(*values.T), len(found)


def draw(axes: Axes, x: np.ndarray, estimates: list[Estimate], colour: str, label: str | None = None) -> None:
    means, errors = np.array([(each.mean, each.error) for each in estimates]).T
    axes.errorbar(x, means, errors, fmt="o", color=colour, ms=3.5, lw=0.8, label=label)


def picture(found: dict[float, Results], bands: dict[float, Curves]) -> Figure:
    """Entropy against beta, against energy, and of the solutions against alpha."""
    with mpl.rc_context(plots.STYLE):
        figure = Figure(figsize=(9.6, 3.4))
        of_beta, of_energy, of_solutions = figure.subplots(1, 3, sharey=True)
        for alpha, colour in zip(ALPHAS, (plots.BLUE, plots.ORANGE, plots.GREEN), strict=True):
            results, band = found[alpha], bands[alpha]
            n_weights, n_patterns = (int(results.dataset.attrs[name]) for name in ("n_weights", "n_patterns"))
            saddles = [replica.storage(alpha, beta) for beta in band.beta[1:]]
            theory = np.array([(each.energy, each.entropy) for each in saddles if each.entropy >= 0]).T
            of_beta.plot(band.beta[1 : 1 + theory.shape[1]], theory[1], "--", color=colour)
            of_beta.fill_between(
                band.beta, *(band.entropy.mean + sign * band.entropy.error for sign in (-1, 1)), color=colour, alpha=0.3
            )
            rungs = results.summary().rungs
            entropy = results.free_energy().entropy
            draw(of_beta, np.array([rung.beta for rung in rungs]), entropy, colour, rf"$\alpha = {alpha:g}$")
            of_energy.plot(*theory, "--", color=colour)
            draw(of_energy, np.array([rung.estimates["energy_per_pattern"].mean for rung in rungs]), entropy, colour)
            densities = densities_of_states(results)
            energies = range(n_patterns // 2 + 1)
            counted = np.array([at_energy(energy, densities)[0].mean for energy in energies])
            of_energy.plot(np.array(energies) / n_patterns, counted, "-", color=colour, lw=0.8)
            assert n_weights == found[ALPHAS[0]].dataset.attrs["n_weights"]
        of_beta.set(xlabel=plots.BETA, ylabel="entropy per weight", ylim=(0, None))
        of_beta.legend()
        of_energy.set(xlabel="errors per pattern $E/P$")
        solutions = [at_energy(0, densities_of_states(results))[0] for results in found.values()]
        draw(of_solutions, np.array(list(found)), solutions, plots.PURPLE)
        loads = np.linspace(0.01, CAPACITY, 60)
        of_solutions.plot(loads, [replica.storage(load, np.inf).entropy for load in loads], "--", color=plots.PURPLE)
        of_solutions.axvline(CAPACITY, color=plots.GREY, ls=":", lw=0.8)
        of_solutions.set(xlabel=r"patterns per weight $\alpha$", title="solutions, $E = 0$")
    return figure
