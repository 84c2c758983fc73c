"""One style for all pictures, and what several of them draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcmc.analysis.results import Results
from mcmc.analysis.summary import Summary

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
VERDICTS = {"equilibrated": (BLUE, "o"), "not contradicted": (ORANGE, "^"), "stuck": (RED, "X")}
"""Colours and markers, from best to worst."""
BETA = r"inverse temperature $\beta$ (1/energy)"


OPEN_SYMBOLS = "open symbols: stuck or too short"
"""What `errorbars` means by them."""


def errorbars(
    ax: Axes,
    x: np.ndarray,
    mean: np.ndarray,
    error: np.ndarray,
    is_trusted: np.ndarray,
    colour: Any,
    marker: str = "o",
    label: str | None = None,
    joined: bool = False,
    size: float | None = None,
) -> None:
    """Points with error bars where there are some, (points,) each; open symbols where they are not to be believed.

    joined: by a line; size: of the symbols, in points
    """
    if joined:
        ax.plot(x, mean, color=colour, lw=0.8, alpha=0.6)
    error = np.nan_to_num(error)
    style = {"fmt": marker, "color": colour, "ms": size}
    for which, face in ((is_trusted, colour), (~is_trusted, "white")):
        told = label if which[0] else None
        ax.errorbar(x[which], mean[which], error[which], mfc=face, label=told, **style)


def errorbars_of(
    ax: Axes, summary: Summary, name: str, legend: str, colour: str, marker: str, joined: bool = True
) -> None:
    """`errorbars` of an estimate of the summary, against beta."""
    rungs = [(rung.beta, *rung.estimates[name][:2]) for rung in summary.rungs]
    errorbars(ax, *np.array(rungs).T, are_trusted(summary), colour, marker, legend, joined)


def are_trusted(summary: Summary) -> np.ndarray:
    """Which rungs are to be believed: bool (rungs,)."""
    return np.array([rung.is_trusted for rung in summary.rungs])


def spread(ax: Axes, beta: np.ndarray, values: np.ndarray, colour: str) -> None:
    """Mean of `values` (series, points) as a line, their range as a band."""
    ax.fill_between(beta, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.25, lw=0)
    ax.plot(beta, values.mean(axis=0), "o-", color=colour)


def nothing(ax: Axes, why: str) -> None:
    ax.text(0.5, 0.5, why, transform=ax.transAxes, ha="center", va="center", color=GREY)


def band(ax: Axes, x: np.ndarray, mean: np.ndarray, error: np.ndarray, **style: Any) -> None:
    """A curve with a band of one standard error, where there is one."""
    (line,) = ax.plot(x, mean, **style)
    error = np.nan_to_num(error)
    ax.fill_between(x, mean - error, mean + error, color=line.get_color(), alpha=0.25, lw=0)


def some_rungs(n_rungs: int, n_shown: int) -> list[int]:
    """Rungs to show, the ends among them (of one the last): at most so many."""
    first = n_rungs - 1 if n_shown == 1 else 0
    return np.unique(np.linspace(first, n_rungs - 1, min(n_rungs, n_shown)).round().astype(int)).tolist()


def rung_colours(n: int) -> np.ndarray:
    """From the hottest to the coldest: float64 (n, 4)."""
    return mpl.colormaps["viridis"](np.linspace(0.0, 0.88, n))


def beta_label(beta: float) -> str:
    return rf"$\beta$ = {beta:.4g}"


def beta_axis(ax: Axes, beta: Sequence[float] | np.ndarray) -> None:
    ax.set_xlabel(BETA)
    if is_logarithmic(beta):
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:g}")


def edges(values: np.ndarray) -> np.ndarray:
    """Of cells around increasing values, halfway between them on the axis they have: (n,), n > 1, -> (n + 1,)."""
    x = np.log(values) if is_logarithmic(values) else values
    middles = (x[1:] + x[:-1]) / 2
    found = np.concatenate([[2 * x[0] - middles[0]], middles, [2 * x[-1] - middles[-1]]])
    return np.exp(found) if is_logarithmic(values) else found


def is_logarithmic(values: Sequence[float] | np.ndarray) -> bool:
    """Whether an axis of these is: they are positive and wide apart."""
    return min(values) > 0 and max(values) > 20 * min(values)


def panels(n_rows: int, n_columns: int) -> tuple[Figure, np.ndarray]:
    """A figure of equal panels, and these: (n_rows, n_columns)."""
    figure = Figure(figsize=(1.0 + 4.0 * n_columns, 0.6 + 3.4 * n_rows))
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def burn_in_in_words(results: Results) -> str:
    """What is shaded, and that a burn-in which changes the rungs was at other betas than those in the legend."""
    config = results.config
    if "annealing" in config["schedule"]:
        return "shaded: burn-in, annealed: at other betas"
    if config["ladder"].get("tune", "none") != "none":
        return "shaded: burn-in, in which the ladder was tuned: at other betas"
    return "shaded: burn-in"


def title(results: Results, summary: Summary, short: bool = False) -> str:
    """What was run, in a line; `short`: in half of it."""
    model = results.config["model"]
    architecture, weights = model.get("architecture", "perceptron"), model.get("weights", "ising").capitalize()
    units = f", K = {model['n_hidden']}" if "n_hidden" in model else ""
    machine = f"{architecture}{units}, {weights} weights, {model['loss']['name']}"
    if short:
        return f"{machine}\nN = {summary.n_weights} weights, P = {summary.n_patterns}"
    return (
        f"{machine}: N = {summary.n_weights} weights, P = {summary.n_patterns}, instances: {summary.n_instances}, "
        f"copies: {summary.n_copies}, samples: {summary.n_samples}"
    )
