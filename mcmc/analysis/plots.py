"""The pictures of a run: observables against beta, exchange along the ladder, traces. One style for all of them."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mcmc.analysis.results import Results
from mcmc.analysis.summary import ALIGNED, Rung, Summary
from mcmc.errors import ConfigError

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
    "savefig.dpi": 150,
    "figure.constrained_layout.use": True,
}
BETA = r"inverse temperature $\beta$ (1/energy)"
TRACE_POINTS = 1500  # per line; more than a picture can show
TRACE_RUNGS = 4
FORMATS = ("png", "pdf")


def plot(results: Results, directory: str | PathLike[str] | None = None, format: str = "png") -> list[Path]:
    """Write overview, traces and, where they exist, exchange and two-time correlations; the paths written.

    format: "png" or "pdf".

    `directory` is made if need be; default: `plots` in the run's own. Raises ConfigError without samples after the
    burn-in, for another format, and for results in memory without `directory`.
    """
    if format not in FORMATS:
        raise ConfigError(f"format: got {format!r}, expected one of {', '.join(FORMATS)}")
    if directory is None:
        if results.path is None:
            raise ConfigError("directory: missing, expected a directory for the pictures of results in memory")
        directory = results.path / "plots"
    pictures: dict[str, Callable[[Results], Figure]] = {"overview": overview, "traces": traces}
    if len(results.summary().rungs) > 1:
        pictures["exchange"] = exchange
    if "correlation" in results.dataset:
        pictures["two_time"] = two_time
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, draw in pictures.items():
        path = directory / f"{name}.{format}"
        with mpl.rc_context(STYLE):
            draw(results).savefig(path)
        paths.append(path)
    return paths


def overview(results: Results) -> Figure:
    """Energy per pattern, overlaps (of aligned units if they have symmetries), generalisation error, heat capacity."""
    summary = results.summary()
    overlaps = [("overlap", "$q$, two copies", BLUE, "o"), ("teacher_overlap", "$R$, teacher", ORANGE, "s")]
    if any(name in summary.rungs[0].estimates for name in ALIGNED.values()):  # the order of the units means nothing
        overlaps = [(ALIGNED[name], f"{legend}, units aligned", *style) for name, legend, *style in overlaps]
        overlaps.append(("specialisation", "specialisation", GREEN, "^"))
    panels: list[tuple[str, list[tuple[str, str, str, str]]]] = [
        ("energy per pattern $E/P$", [("energy_per_pattern", "$E/P$", BLUE, "o")]),
        ("overlap", overlaps),
        (r"generalisation error $\epsilon_g$", [("generalisation_error", r"$\epsilon_g$", GREEN, "o")]),
        (r"heat capacity $\beta^2\,\mathrm{Var}(E)/N$", [("heat_capacity", "$C$", PURPLE, "o")]),
    ]
    with mpl.rc_context(STYLE):
        drawn = [
            (label, lines)
            for label, curves in panels
            if (lines := [curve for curve in curves if curve[0] in summary.rungs[0].estimates])
        ]
        n_rows, n_columns = (1, 3) if len(drawn) == 3 else (len(drawn) // 2, 2)
        figure = Figure(figsize=(1.0 + 4.0 * n_columns, 0.6 + 3.4 * n_rows))
        for ax, (label, lines) in zip(figure.subplots(n_rows, n_columns).ravel(), drawn, strict=True):
            for name, legend, colour, marker in lines:
                _errorbars(ax, summary, name, legend, colour, marker)
            _beta_axis(ax, summary.rungs)
            ax.set_ylabel(label)
            if label == "overlap":
                ax.legend()
        bars = "thermal, this one instance" if summary.n_instances == 1 else "sample to sample, thermal noise included"
        doubt = "; open symbols: stuck or too short" if not all(map(_is_good, summary.rungs)) else ""
        figure.suptitle(f"{_title(results, summary)}\none-sigma error bars: {bars}{doubt}", fontsize=10)
    return figure


def exchange(results: Results) -> Figure:
    """Exchange rate of neighbouring rungs, acceptance of the moves and round trips along the ladder."""
    summary, data = results.summary(), results.equilibrium()
    beta = data["beta"].to_numpy()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 3.6))
        rates, moves, trips = figure.subplots(1, 3)
        if any(rung.exchange_rate is not None for rung in summary.rungs):
            proposed = data["exchange_proposed"].transpose("instance", "copy", "swap").to_numpy()
            accepted = data["exchange_accepted"].transpose("instance", "copy", "swap").to_numpy()
            each = (accepted / np.maximum(proposed, 1)).reshape(-1, len(beta) - 1)
            _spread(rates, (beta[1:] + beta[:-1]) / 2, each, BLUE)
        else:
            _nothing(rates, "no exchange")
        rates.set_ylabel("exchanges accepted / proposed")
        acceptance = data["acceptance"].transpose("instance", "copy", "rung", "sample").to_numpy()
        if np.isnan(acceptance).all():
            _nothing(moves, "no accept step")
        else:
            _spread(moves, beta, np.nanmean(acceptance, axis=-1).reshape(-1, len(beta)), ORANGE)
        moves.set_ylabel("moves accepted / proposed")
        counted = [(rung.beta, rung.round_trips) for rung in summary.rungs if rung.round_trips is not None]
        trips.plot(*zip(*counted, strict=True), "o-", color=GREEN)
        trips.set_ylabel("round trips to the hottest rung")
        trips.set_ylim(bottom=0)
        trips.yaxis.set_major_locator(MaxNLocator(integer=True))
        for ax in (rates, moves, trips):
            _beta_axis(ax, summary.rungs)
        for ax in (rates, moves):
            ax.set_ylim(0, 1.02)
        figure.suptitle(f"{_title(results, summary)}\nbands: range over instances and copies", fontsize=10)
    return figure


def traces(results: Results) -> Figure:
    """Energy per pattern of a few rungs and the way of a few walkers, copy 0 of instance 0, burn-in shaded."""
    summary, data = results.summary(), results.dataset.isel(instance=0, copy=0)
    n_rungs = len(summary.rungs)
    sweep, burn_in = data["sweep"].to_numpy(), int(data.attrs["burn_in"])
    step = -(-len(sweep) // TRACE_POINTS)
    with mpl.rc_context(STYLE):
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
        figure.suptitle(f"{_title(results, summary)}\ninstance 0, copy 0", fontsize=10)
    return figure


def two_time(results: Results) -> Figure:
    """Two-time correlations against the lag, a curve for each waiting time, at a few rungs; means over copies."""
    data = results.dataset
    rungs = np.unique(np.linspace(0, data.sizes["rung"] - 1, min(data.sizes["rung"], 3)).astype(int))
    lag, waiting = data["lag_time"].to_numpy(), data["waiting_time"].to_numpy()
    with mpl.rc_context(STYLE):
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
            ax.set_title(rf"$\beta = {data['beta'].values[rung]:.4g}$", fontsize=10)
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


def _errorbars(ax: Axes, summary: Summary, name: str, legend: str, colour: str, marker: str) -> None:
    """Means with error bars; rungs that are not to be believed have open symbols."""
    beta = np.array([rung.beta for rung in summary.rungs])
    mean = np.array([rung.estimates[name].mean for rung in summary.rungs])
    error = np.nan_to_num([rung.estimates[name].error for rung in summary.rungs])
    good = np.array([_is_good(rung) for rung in summary.rungs])
    ax.plot(beta, mean, color=colour, lw=0.8, alpha=0.6)
    for which, face in ((good, colour), (~good, "white")):
        label = legend if which[0] else None
        ax.errorbar(beta[which], mean[which], error[which], fmt=marker, color=colour, mfc=face, label=label)


def _is_good(rung: Rung) -> bool:
    """Whether nothing speaks against the rung, and its series are long enough to have shown it."""
    return rung.verdict != "stuck" and not any(reason.startswith("too short") for reason in rung.reasons)


def _spread(ax: Axes, beta: np.ndarray, values: np.ndarray, colour: str) -> None:
    """Mean of `values` (series, points) as a line, their range as a band."""
    ax.fill_between(beta, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.25, lw=0)
    ax.plot(beta, values.mean(axis=0), "o-", color=colour)


def _nothing(ax: Axes, why: str) -> None:
    ax.text(0.5, 0.5, why, transform=ax.transAxes, ha="center", va="center", color=GREY)


def _beta_axis(ax: Axes, rungs: list[Rung]) -> None:
    ax.set_xlabel(BETA)
    betas = [rung.beta for rung in rungs]
    if min(betas) > 0 and max(betas) > 20 * min(betas):
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:g}")


def _title(results: Results, summary: Summary) -> str:
    model = results.config["model"]
    architecture, weights = model.get("architecture", "perceptron"), model.get("weights", "ising").capitalize()
    units = f", K = {model['n_hidden']}" if "n_hidden" in model else ""
    return (
        f"{architecture}{units}, {weights} weights, {model['loss']['name']}: "
        f"N = {summary.n_weights} weights, P = {summary.n_patterns}, instances: {summary.n_instances}, "
        f"copies: {summary.n_copies}, samples: {summary.n_samples}"
    )
