"""Time series: traces, and correlations of two times."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mcmc.analysis.plots.style import BLUE, GREEN, ORANGE, PURPLE, STYLE, title
from mcmc.analysis.results import Results

TRACE_POINTS = 1500  # per line; more than a picture can show
TRACE_RUNGS = 4


@mpl.rc_context(STYLE)
def traces(results: Results) -> Figure:
    """Energy per pattern of a few rungs and the way of a few walkers, copy 0 of instance 0, burn-in shaded."""
    summary, data = results.summary(), results.dataset.isel(instance=0, copy=0)
    n_rungs = len(summary.rungs)
    sweep, burn_in = data["sweep"].to_numpy(), int(data.attrs["burn_in"])
    step = -(-len(sweep) // TRACE_POINTS)
    n_panels = 2 if n_rungs > 1 else 1
    figure = Figure(figsize=(9.0, 0.8 + 2.8 * n_panels))
    axes = figure.subplots(n_panels, 1, sharex=True, squeeze=False)[:, 0]
    shown = np.unique(np.linspace(0, n_rungs - 1, min(n_rungs, TRACE_RUNGS)).round().astype(int))
    energy = data["energy"].transpose("rung", "sample").to_numpy() / summary.n_patterns
    for rung, colour in zip(shown, (ORANGE, GREEN, PURPLE, BLUE), strict=False):
        label = rf"$\beta$ = {summary.rungs[rung].beta:.4g}"
        axes[0].plot(sweep[::step], energy[rung, ::step], color=colour, lw=0.8, label=label)
    axes[0].set_ylabel("energy per pattern $E/P$")
    axes[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    if n_rungs > 1:
        _walkers(axes[1], sweep[::step], data["walker"].transpose("rung", "sample").to_numpy()[:, ::step])
    for ax in axes:
        if burn_in > 0:
            ax.axvspan(0, burn_in, color="#bbbbbb", alpha=0.35, lw=0)
        ax.set_xlim(0, sweep[-1])
    axes[-1].set_xlabel("time (sweeps)" + ("; shaded: burn-in" if burn_in > 0 else ""))
    figure.suptitle(f"{title(results, summary)}\ninstance 0, copy 0", fontsize=10)
    return figure


@mpl.rc_context(STYLE)
def two_time(results: Results) -> Figure | None:
    """Two-time correlations against the lag, a curve for each waiting time, at a few rungs; means over copies."""
    data = results.dataset
    if "correlation" not in data:
        return None
    rungs = np.unique(np.linspace(0, data.sizes["rung"] - 1, min(data.sizes["rung"], 3)).astype(int))
    lag, waiting = data["lag_time"].to_numpy(), data["waiting_time"].to_numpy()
    figure = Figure(figsize=(1.0 + 4.0 * len(rungs), 4.0))
    axes = figure.subplots(1, len(rungs), sharey=True, squeeze=False)[0]
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.85, len(waiting)))
    for ax, rung in zip(axes, rungs, strict=True):
        correlation = data["correlation"].isel(rung=rung).mean(["instance", "copy"])
        curves = correlation.transpose("waiting", "lag").to_numpy()
        for time, curve, colour in zip(waiting, curves, colours, strict=True):
            ax.plot(lag[lag > 0], curve[lag > 0], ".-", color=colour, label=f"$t_w = {time}$")
        ax.set_xscale("log")
        ax.set_xlabel("lag $t$ (sweeps)")
        ax.settitle(rf"$\beta = {data['beta'].values[rung]:.4g}$", fontsize=10)
    axes[0].set_ylabel("$C(t_w, t_w + t)$")
    axes[0].legend()
    figure.suptitle("two-time correlations, means over instances and copies", fontsize=10)
    return figure


def _walkers(ax: Axes, sweep: np.ndarray, walker: np.ndarray) -> None:
    """Which rung the walkers born at both ends sit on; `walker` is (rung, sample)."""
    rung_of = np.argsort(walker, axis=0)  # each column is a permutation
    for birth, colour, end in ((0, ORANGE, "hottest"), (len(walker) - 1, BLUE, "coldest")):
        ax.step(sweep, rung_of[birth], where="post", color=colour, lw=0.8, label=f"born {end}")
    ax.set_ylabel("rung of the walker")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
