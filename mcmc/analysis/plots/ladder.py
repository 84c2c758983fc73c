"""Exchange along the ladder."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mcmc.analysis.plots.style import BLUE, GREEN, ORANGE, STYLE, beta_axis, nothing, spread, title
from mcmc.analysis.results import Results


@mpl.rc_context(STYLE)
def exchange(results: Results) -> Figure | None:
    """Exchange rate of neighbouring rungs, acceptance of the moves and round trips along the ladder."""
    summary, data = results.summary(), results.equilibrium()
    if len(summary.rungs) == 1:
        return None
    beta = data["beta"].to_numpy()
    figure = Figure(figsize=(11.0, 3.6))
    rates, moves, trips = figure.subplots(1, 3)
    if any(rung.exchange_rate is not None for rung in summary.rungs):
        proposed = data["exchange_proposed"].transpose("instance", "copy", "swap").to_numpy()
        accepted = data["exchange_accepted"].transpose("instance", "copy", "swap").to_numpy()
        each = (accepted / np.maximum(proposed, 1)).reshape(-1, len(beta) - 1)
        spread(rates, (beta[1:] + beta[:-1]) / 2, each, BLUE)
    else:
        nothing(rates, "no exchange")
    rates.set_ylabel("exchanges accepted / proposed")
    acceptance = data["acceptance"].transpose("instance", "copy", "rung", "sample").to_numpy()
    if np.isnan(acceptance).all():
        nothing(moves, "no accept step")
    else:
        spread(moves, beta, np.nanmean(acceptance, axis=-1).reshape(-1, len(beta)), ORANGE)
    moves.set_ylabel("moves accepted / proposed")
    counted = [(rung.beta, rung.round_trips) for rung in summary.rungs if rung.round_trips is not None]
    trips.plot(*zip(*counted, strict=True), "o-", color=GREEN)
    trips.set_ylabel("round trips to the hottest rung")
    trips.set_ylim(bottom=0)
    trips.yaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in (rates, moves, trips):
        beta_axis(ax, summary.rungs)
    for ax in (rates, moves):
        ax.set_ylim(0, 1.02)
    figure.suptitle(f"{title(results, summary)}\nbands: range over instances and copies", fontsize=10)
    return figure
