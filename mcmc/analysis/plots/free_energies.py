"""log Z, entropy and heat capacity between the rungs, and the microcanonical entropy."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcmc.analysis import reweighting, statistics
from mcmc.analysis.free_energy import FreeEnergy
from mcmc.analysis.plots.style import BLUE, GREY, ORANGE, PURPLE, RED, STYLE, band, beta_axis, errorbars, panels, title
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
    _branches(of_z, of_s, found, n)
    band(of_z, curves.beta, curves.log_z.mean / n, curves.log_z.error / n, color=BLUE, lw=0.8)
    band(of_s, curves.beta, curves.entropy.mean, curves.entropy.error, color=BLUE, lw=0.8)
    band(of_c, curves.beta, curves.heat_capacity.mean, curves.heat_capacity.error, color=PURPLE, lw=0.8)
    errorbars(of_c, summary, "heat_capacity", "", PURPLE, "o", joined=False)
    of_z.set_ylabel(r"$\ln Z / N$")
    of_s.set_ylabel("entropy $s$ per weight (nats)")
    of_c.set_ylabel(r"heat capacity $\beta^2\,\mathrm{Var}(E)/N$")
    for ax in (of_z, of_s, of_c):
        beta_axis(ax, found.beta)
    for ax in (of_z, of_s):
        ax.legend()
    words = "curves: reweighted from all rungs; bars and bands: one-sigma errors; open symbols: stuck or too short"
    figure.suptitle(f"{title(results, summary)}\n{words}", fontsize=10)
    return figure


@mpl.rc_context(STYLE)
def density_of_states(results: Results) -> Figure | None:
    """Microcanonical entropy s(e) of some instances, the lowest energy seen, and s = 0, below which no state is.

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
    if results.config["model"].get("weights", "ising") == "ising":
        ax.axhline(0, color=GREY, ls="--", lw=1, label="$s = 0$: one state")
    ax.set(xlabel="energy per pattern $e = E/P$", ylabel="microcanonical entropy $s(e)$ per weight (nats)")
    ax.legend()
    lines = "one instance" if len(shown) == 1 else f"{len(shown)} of {len(found)} instances, a line each"
    words = f"{lines}; bands: one-sigma thermal errors,\nunknown where dotted: too few samples"
    figure.suptitle(f"{title(results, summary, short=True)}\n{words}", fontsize=10)
    return figure


def _branches(of_z: Axes, of_s: Axes, found: FreeEnergy, n: int) -> None:
    """Points on the rungs, averages over instances, and what log Z and entropy cannot be below."""
    for branch in found.branches:
        label, colour, marker = BRANCHES[branch.name]
        style = {"fmt": marker, "color": colour, "ms": 4, "label": label}
        _points(of_z, found.beta, branch.log_z / n, branch.log_z_error / n, **style)
        _points(of_s, found.beta, branch.entropy, branch.entropy_error, **style)
        if branch.name == "teacher":
            style |= {"fmt": "--", "label": "lower bound: at teacher, from the cold end"}
            _points(of_z, found.beta, branch.from_cold / n, branch.from_cold_error / n, **style)
    bound = found.branches[0].bound.mean(axis=0) / n
    if np.isfinite(bound).all():  # Ising weights, whose states are counted
        of_z.plot(found.beta, bound, color=GREY, ls=":", label=r"bound: $-\beta E$ of the lowest state")
        of_s.axhline(0, color=GREY, ls="--", lw=1, label="$s = 0$: one state")


def _points(ax: Axes, beta: np.ndarray, values: np.ndarray, errors: np.ndarray, fmt: str, **style: Any) -> None:
    """Averages over instances of values with thermal errors, (instances, rungs) each."""
    points = [statistics.average_over_instances(*pair) for pair in zip(values.T, errors.T, strict=True)]
    mean, error = np.array([(point.mean, point.error) for point in points]).T
    ax.errorbar(beta, mean, np.nan_to_num(error), fmt=fmt, **style)
