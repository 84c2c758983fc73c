"""Entropy of the storage of random labels by the binary perceptron, beside replica theory.

    python runs/entropy.py out/entropy

Reads the tasks of runs/scan-entropy.toml in DIR, prints ln Z and the entropy at some beta, and the entropy of the
solutions (E = 0), and draws DIR/entropy.png. Theory is replica-symmetric, N -> infinity (replica.py).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import replica
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import mcmc
from mcmc.analysis import Results, plots
from mcmc.analysis.reweighting import DensityOfStates, curves, densities_of_states
from mcmc.analysis.statistics import Estimate, average_over_instances

ALPHAS = (0.3, 0.6, 1.0)
"""Whose curves are drawn."""
CAPACITY = 0.833079
NOWHERE = Estimate(np.nan, np.nan, np.nan, np.nan)


def read(directory: Path) -> dict[float, Results]:
    """By alpha."""
    found = [mcmc.load(path.parent) for path in directory.glob("*/results.h5")]
    return {results.config["data"]["alpha"]: results for results in sorted(found, key=load)}


def load(results: Results) -> float:
    """P/N, which alpha asks for."""
    return results.dataset.attrs["n_patterns"] / results.dataset.attrs["n_weights"]


def at_energy(energy: int, densities: list[DensityOfStates]) -> tuple[Estimate, int]:
    """Microcanonical entropy per weight, mean over instances (none unless all were there), and how many were there."""
    found = [each for each in densities if energy in each.energy]
    if len(found) < len(densities):
        return NOWHERE, len(found)
    here = [list(each.energy).index(energy) for each in found]
    values = np.array([(each.entropy[i], each.entropy_error[i]) for each, i in zip(found, here, strict=True)])
    return average_over_instances(*values.T), len(found)


def draw(axes: Axes, x: np.ndarray, estimates: list[Estimate], is_open: np.ndarray, **style: Any) -> None:
    """Symbols with error bars, some of them open."""
    means, errors = np.array([(each.mean, each.error) for each in estimates]).T
    style |= {"fmt": "o", "ms": 3.5, "lw": 0.8}
    axes.errorbar(x[~is_open], means[~is_open], errors[~is_open], **style)
    axes.errorbar(x[is_open], means[is_open], errors[is_open], **style | {"mfc": "white", "label": None})


def picture(found: dict[float, Results], densities: dict[float, list[DensityOfStates]]) -> Figure:
    """Entropy against beta and against energy, and of the solutions against alpha.

    Symbols: rungs, open where the verdict is not `equilibrated`; bands between them: reweighted; thin lines: ln g(E)/n;
    dashed: theory.
    """
    with mpl.rc_context(plots.STYLE):
        figure = Figure(figsize=(9.6, 3.4))
        of_beta, of_energy, of_solutions = figure.subplots(1, 3, sharey=True)
        for alpha, colour in zip(ALPHAS, (plots.BLUE, plots.ORANGE, plots.GREEN), strict=True):
            results, style = found[alpha], {"color": colour, "label": rf"$\alpha = {alpha:g}$"}
            band, rungs, entropy = curves(results), results.summary().rungs, results.free_energy().entropy
            saddles = [replica.storage(load(results), beta) for beta in band.beta[1:]]
            theory = np.array([(each.energy, each.entropy) for each in saddles if each.entropy >= 0]).T
            is_open = np.array([rung.verdict != "equilibrated" for rung in rungs])

            of_beta.plot(band.beta[1 : 1 + theory.shape[1]], theory[1], "--", color=colour)
            limits = (band.entropy.mean + sign * band.entropy.error for sign in (-1, 1))
            of_beta.fill_between(band.beta, *limits, color=colour, alpha=0.3, lw=0)
            draw(of_beta, np.array([rung.beta for rung in rungs]), entropy, is_open, **style)

            n_patterns = int(results.dataset.attrs["n_patterns"])
            energies = np.arange(n_patterns // 2 + 1)
            counted = [at_energy(energy, densities[alpha])[0].mean for energy in energies]
            of_energy.plot(*theory, "--", color=colour)
            of_energy.plot(energies / n_patterns, counted, "-", color=colour, lw=0.8)
            per_pattern = np.array([rung.estimates["energy_per_pattern"].mean for rung in rungs])
            draw(of_energy, per_pattern, entropy, is_open, **style)

        loads = np.array([load(results) for results in found.values()])
        solutions = [at_energy(0, each)[0] for each in densities.values()]
        draw(of_solutions, loads, solutions, np.zeros(len(loads), dtype=bool), color=plots.PURPLE)
        loads = np.linspace(0.01, CAPACITY, 60)
        of_solutions.plot(loads, [replica.storage(each, np.inf).entropy for each in loads], "--", color=plots.PURPLE)
        of_solutions.axvline(CAPACITY, color=plots.GREY, ls=":", lw=0.8)
        of_beta.set(xlabel=plots.BETA, ylabel="entropy per weight", ylim=(0, None))
        of_beta.legend()
        of_energy.set(xlabel="errors per pattern $E/P$")
        of_solutions.set(xlabel=r"patterns per weight $\alpha$ (solutions, $E = 0$)")
    return figure


def text(estimate: Estimate) -> str:
    return f"{estimate.mean:8.4f} {estimate.error:7.4f}"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python runs/entropy.py DIR")
    directory = Path(sys.argv[1])
    found = read(directory)
    densities = {alpha: densities_of_states(results) for alpha, results in found.items()}
    print("ln Z per weight and entropy per weight: measured, standard error, theory")
    print(f"{'alpha':>6} {'beta':>6} {'ln Z/n':>8} {'':7} {'theory':>8} {'s':>8} {'':7} {'theory':>8}  verdict")
    for alpha, results in found.items():
        n = int(results.dataset.attrs["n_weights"])
        free, rungs = results.free_energy(), results.summary().rungs
        for rung in range(len(rungs) // 4, len(rungs), len(rungs) // 4):
            saddle = replica.storage(load(results), free.beta[rung])
            log_z, entropy = free.log_z[rung], free.entropy[rung]
            phi = text(Estimate(*(each / n for each in log_z)))
            theory = f"{saddle.phi:8.4f}", f"{saddle.entropy:8.4f}"
            verdict = rungs[rung].verdict
            print(f"{alpha:6g} {free.beta[rung]:6g} {phi} {theory[0]} {text(entropy)} {theory[1]}  {verdict}")
    print("solutions: instances in which E = 0 was seen; their entropy per weight if all are")
    for alpha, each in densities.items():
        solutions, n_found = at_energy(0, each)
        theory = replica.storage(at, np.inf).entropy if (at := load(found[alpha])) < CAPACITY else np.nan
        print(f"{alpha:6g} {n_found:3d} of {len(each)}: {text(solutions)} {theory:8.4f}")
    path = directory / "entropy.png"
    picture(found, densities).savefig(path)
    print(path)


if __name__ == "__main__":
    main()
