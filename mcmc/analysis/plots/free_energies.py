"""log Z, entropy and heat capacity between the rungs, and the microcanonical entropy."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcmc.analysis import reweighting, statistics
from mcmc.analysis.energies import COUNTING_LOSSES
from mcmc.analysis.free_energy import FreeEnergy
from mcmc.analysis.plots.style import (
    BLUE,
    GREY,
    OPEN_SYMBOLS,
    ORANGE,
    PURPLE,
    RED,
    STYLE,
    are_trusted,
    band,
    beta_axis,
    errorbars,
    errorbars_of,
    panels,
    title,
)
from mcmc.analysis.results import Results

BRANCHES = {
    "": ("all copies", BLUE, "o"),
    "random": ("random start", BLUE, "o"),
    "teacher": ("at teacher", ORANGE, "s"),
}
SHOWN_INSTANCES = 8


@mpl.rc_context(STYLE)
def free_energy(results: Results) -> Figure | None:
    """ln Z and entropy per weight, of each branch and with their bounds, and heat capacity; curves by reweighting."""
    found, summary = results.free_energy(), results.summary()
    if not found.is_known:
        return None
    curves, n = reweighting.curves(results), summary.n_weights
    figure, axes = panels(1, 3)
    of_z, of_s, of_c = axes[0]
    order = np.argsort([rung.beta for rung in summary.rungs], kind="stable")
    _branches(of_z, of_s, found, n, are_trusted(summary)[order])
    band(of_z, curves.beta, curves.log_z.mean / n, curves.log_z.error / n, color=BLUE, lw=0.8)
    band(of_s, curves.beta, curves.entropy.mean, curves.entropy.error, color=BLUE, lw=0.8)
    band(of_c, curves.beta, curves.heat_capacity.mean, curves.heat_capacity.error, color=PURPLE, lw=0.8)
    if len(found.branches) == 1:  # the energy of all copies would vary by the distance of the branches, too
        errorbars_of(of_c, summary, "heat_capacity", "", PURPLE, "o", joined=False)
    else:
        of_c.set_title(f"{BRANCHES[found.branches[0].name][0]} alone", fontsize=10)
    of_z.set_ylabel(r"$\ln Z / N$")
    of_s.set_ylabel("entropy $s$ per weight (nats)")
    of_c.set_ylabel(r"heat capacity $\beta^2\,\mathrm{Var}(E)/N$")
    for ax in (of_z, of_s, of_c):
        beta_axis(ax, found.beta)
    for ax in (of_z, of_s):
        ax.legend()
    words = f"curves: reweighted from all rungs; bars and bands: one-sigma errors; {OPEN_SYMBOLS}"
    figure.suptitle(f"{title(results, summary)}\n{words}", fontsize=10)
    return figure


@mpl.rc_context(STYLE)
def density_of_states(results: Results) -> Figure | None:
    """Microcanonical entropy s(e) of some instances, the lowest energy seen, and where states are counted s = 0.

    None without a way to beta = 0.
    """
    summary, free = results.summary(), results.free_energy()
    if not free.is_known:
        return None
    found = reweighting.densities_of_states(results)
    shown = [density for density in found if np.isfinite(density.log_g).any()][:SHOWN_INSTANCES]
    if not shown:
        return None
    figure, axes = panels(1, 1)
    ax = axes[0, 0]
    colours = mpl.colormaps["cividis"](np.linspace(0.0, 0.85, len(shown)))
    for number, (density, colour) in enumerate(zip(shown, colours, strict=True)):
        e = density.energy / summary.n_patterns
        known = np.isfinite(density.error)
        ax.plot(e, density.entropy, color=colour, ls=":", lw=1)
        band(ax, e[known], density.entropy[known], density.entropy_error[known], color=colour, lw=1)
        label = "lowest energy seen" if number == 0 else None
        ax.plot(e[0], density.entropy[0], "v", color=RED, mec="black", mew=0.5, label=label, zorder=3)
    model = results.config["model"]
    if model.get("weights", "ising") == "ising" and model["loss"]["name"] in COUNTING_LOSSES:  # else g is a density
        ax.axhline(0, color=GREY, ls="--", lw=1, label="$s = 0$: one state")
    ax.set(xlabel="energy per pattern $e = E/P$", ylabel="microcanonical entropy $s(e)$ per weight (nats)")
    ax.legend()
    lines = "one instance" if len(shown) == 1 else f"{len(shown)} of {len(found)} instances, a line each"
    words = f"{lines}; bands: one-sigma thermal errors,\nunknown where dotted: too few samples"
    figure.suptitle(f"{title(results, summary, short=True)}\n{words}", fontsize=10)
    return figure


def _branches(of_z: Axes, of_s: Axes, found: FreeEnergy, n: int, is_trusted: np.ndarray) -> None:
    """Points on the rungs, averages over instances, and what log Z and entropy cannot be below."""
    beta = found.beta
    for branch in found.branches:
        label, colour, marker = BRANCHES[branch.name]
        points = is_trusted, colour, marker, label
        errorbars(of_z, beta, *_averages(branch.log_z / n, branch.log_z_error / n), *points, size=4)
        errorbars(of_s, beta, *_averages(branch.entropy, branch.entropy_error), *points, size=4)
        if branch.name == "teacher":
            mean, error = _averages(branch.from_cold / n, branch.from_cold_error / n)
            label = "lower bound: at teacher, from the cold end"
            of_z.errorbar(beta, mean, np.nan_to_num(error), fmt="--", color=colour, label=label)
    bound = found.branches[0].bound.mean(axis=0) / n
    if np.isfinite(bound).all():  # Ising weights, whose states are counted
        of_z.plot(beta, bound, color=GREY, ls=":", label=r"bound: $-\beta E$ of the lowest state")
        of_s.axhline(0, color=GREY, ls="--", lw=1, label="$s = 0$: one state")


def _averages(values: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Means over instances and errors of values with thermal errors, (instances, rungs) each: (2, rungs)."""
    return np.array([estimate[:2] for estimate in statistics.averages(values, errors)]).T
