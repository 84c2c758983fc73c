"""Time series: traces, and correlations of two times."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib.figure import Figure

from mcmc.analysis.plots.style import STYLE, beta_label, burn_in_in_words, rung_colours, some_rungs, title
from mcmc.analysis.results import Results

TRACE_POINTS = 1500  # per line; more than a picture can show
TRACE_RUNGS = 4


@mpl.rc_context(STYLE)
def traces(results: Results) -> Figure:
    """Energy per pattern and overlap of a few rungs, copy 0 (and 1) of instance 0, burn-in shaded."""
    summary = results.summary()
    data = results.dataset.isel(instance=0)
    sweep, burn_in = data["sweep"].to_numpy(), int(data.attrs["burn_in"])
    shown = some_rungs(len(summary.rungs), TRACE_RUNGS)
    some = data.isel(rung=shown, sample=slice(None, None, -(-len(sweep) // TRACE_POINTS)))
    panels = {"energy per pattern $E/P$, copy 0": some["energy"].isel(copy=0) / summary.n_patterns}
    if "teacher_overlap" in some:
        panels["overlap $R$ with the teacher, copy 0"] = some["teacher_overlap"].isel(copy=0)
    elif "overlap" in some:
        panels["overlap $q$ of copies 0 and 1"] = some["overlap"].isel(pair=0)
    figure = Figure(figsize=(9.0, 0.8 + 2.8 * len(panels)))
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (label, values) in zip(axes, panels.items(), strict=True):
        lines = values.transpose("rung", "sample").to_numpy()
        for line, rung, colour in zip(lines, shown, rung_colours(len(shown)), strict=True):
            ax.plot(some["sweep"], line, color=colour, lw=0.8, label=beta_label(summary.rungs[rung].beta))
        if burn_in > 0:
            ax.axvspan(0, burn_in, color="#bbbbbb", alpha=0.35, lw=0)
        ax.set(ylabel=label, xlim=(0, sweep[-1]))
    axes[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes[-1].set_xlabel("time (sweeps)" + (f"; {burn_in_in_words(results)}" if burn_in > 0 else ""))
    figure.suptitle(f"{title(results, summary)}\ninstance 0", fontsize=10)
    return figure


@mpl.rc_context(STYLE)
def two_time(results: Results) -> Figure | None:
    """Two-time correlations against the lag, a curve for each waiting time, at a few rungs; means over copies."""
    data = results.dataset
    if "correlation" not in data:
        return None
    rungs = some_rungs(data.sizes["rung"], 3)
    lag, waiting = data["lag_time"].to_numpy(), data["waiting_time"].to_numpy()
    figure = Figure(figsize=(1.0 + 4.0 * len(rungs), 4.0))
    axes = figure.subplots(1, len(rungs), sharey=True, squeeze=False)[0]
    colours = rung_colours(len(waiting))
    for ax, rung in zip(axes, rungs, strict=True):
        correlation = data["correlation"].isel(rung=rung).mean(["instance", "copy"])
        curves = correlation.transpose("waiting", "lag").to_numpy()
        for time, curve, colour in zip(waiting, curves, colours, strict=True):
            ax.plot(lag[lag > 0], curve[lag > 0], ".-", color=colour, label=f"$t_w = {time}$")
        ax.set_xscale("log")
        ax.set_xlabel("lag $t$ (sweeps)")
        ax.set_title(beta_label(float(data["beta"][rung])), fontsize=10)
    axes[0].set_ylabel("$C(t_w, t_w + t)$")
    axes[0].legend()
    figure.suptitle("two-time correlations, means over instances and copies", fontsize=10)
    return figure
