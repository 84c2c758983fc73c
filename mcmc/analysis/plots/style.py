"""One style for all pictures, and what several of them draw."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from mcmc.analysis.results import Results
from mcmc.analysis.summary import Rung, Summary

# Okabe and Ito's palette: told apart with every kind of colour vision.
BLUE, ORANGE, GREEN, PURPLE, SKY, RED = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
GREY = "#777777"
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.2,
    "lines.markersize": 5,
    "errorbar.capsize": 2.5,
    "figure.dpi": 150,
    "savefig.dpi": "figure",
    "svg.hashsalt": "mcmc",  # the same file again
    "figure.constrained_layout.use": True,
}
BETA = r"inverse temperature $\beta$ (1/energy)"


def errorbars(ax: Axes, summary: Summary, name: str, legend: str, colour: str, marker: str) -> None:
    """Means with error bars; rungs that are not to be believed have open symbols."""
    beta = np.array([rung.beta for rung in summary.rungs])
    mean = np.array([rung.estimates[name].mean for rung in summary.rungs])
    error = np.nan_to_num([rung.estimates[name].error for rung in summary.rungs])
    good = np.array([rung.is_trusted for rung in summary.rungs])
    ax.plot(beta, mean, color=colour, lw=0.8, alpha=0.6)
    for which, face in ((good, colour), (~good, "white")):
        label = legend if which[0] else None
        ax.errorbar(beta[which], mean[which], error[which], fmt=marker, color=colour, mfc=face, label=label)


def spread(ax: Axes, beta: np.ndarray, values: np.ndarray, colour: str) -> None:
    """Mean of `values` (series, points) as a line, their range as a band."""
    ax.fill_between(beta, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.25, lw=0)
    ax.plot(beta, values.mean(axis=0), "o-", color=colour)


def nothing(ax: Axes, why: str) -> None:
    ax.text(0.5, 0.5, why, transform=ax.transAxes, ha="center", va="center", color=GREY)


def beta_axis(ax: Axes, rungs: list[Rung]) -> None:
    ax.set_xlabel(BETA)
    betas = [rung.beta for rung in rungs]
    if min(betas) > 0 and max(betas) > 20 * min(betas):
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:g}")


def title(results: Results, summary: Summary) -> str:
    model = results.config["model"]
    architecture, weights = model.get("architecture", "perceptron"), model.get("weights", "ising").capitalize()
    units = f", K = {model['n_hidden']}" if "n_hidden" in model else ""
    return (
        f"{architecture}{units}, {weights} weights, {model['loss']['name']}: "
        f"N = {summary.n_weights} weights, P = {summary.n_patterns}, instances: {summary.n_instances}, "
        f"copies: {summary.n_copies}, samples: {summary.n_samples}"
    )
