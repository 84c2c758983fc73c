"""Exchange along the ladder: rejections, barrier, flow, round trips, and the way of the walkers in time."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from mcmc.analysis import statistics
from mcmc.analysis.exchange import Exchange
from mcmc.analysis.plots.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    STYLE,
    beta_axis,
    nothing,
    spread,
    title,
)
from mcmc.analysis.results import Results
from mcmc.analysis.summary import Summary, by_rung

COLUMNS = 1500
"""Of the replica-time diagram; more than a picture can show."""
SHOWN_TRIPS = 10
"""Round trips of a walker that the diagram is to hold, or the whole run."""


@mpl.rc_context(STYLE)
def ladder(results: Results) -> Figure | None:
    """Rejections against equal shares, local barrier, flow, moves, round trips; rungs of all walkers against time."""
    summary = results.summary()
    if len(summary.rungs) == 1:
        return None
    found = results.exchange()
    figure = Figure(figsize=(13.0, 10.0))
    grid = figure.add_gridspec(3, 3)
    rejections, barrier, flow, moves, trips = (figure.add_subplot(grid[at // 3, at % 3]) for at in range(5))
    _rejections(rejections, results, found)
    _barrier(barrier, found)
    _flow(flow, found)
    _moves(moves, results)
    _trips(trips, summary)
    for ax in (rejections, barrier, flow, moves, trips):
        beta_axis(ax, found.beta)
    _mixing(figure, figure.add_subplot(grid[1, 2]), found)
    _walkers(figure.add_subplot(grid[2, :]), results, found)
    figure.suptitle(f"{title(results, summary)}\nbands: range over instances and copies", fontsize=10)
    return figure


def _rejections(ax: Axes, results: Results, found: Exchange) -> None:
    ax.set(ylabel="exchanges rejected / proposed", ylim=(0, 1.02))
    if np.isnan(found.rejection).all():
        nothing(ax, "no exchange")
        return
    data = results.dataset
    proposed, accepted = (
        data[name].transpose("instance", "copy", "swap").to_numpy().reshape(-1, len(found.rejection))
        for name in ("exchange_proposed", "exchange_accepted")
    )
    each = 1 - accepted / np.maximum(proposed, 1)
    spread(ax, (found.beta[1:] + found.beta[:-1]) / 2, each, BLUE)
    ax.axhline(found.rejection.mean(), color=GREY, ls="--", label=f"equal shares of the barrier {found.barrier:.3g}")
    ax.legend()


def _barrier(ax: Axes, found: Exchange) -> None:
    ax.set_ylabel(r"local barrier $\lambda(\beta) = d\Lambda/d\beta$ (energy)")
    if np.isnan(found.local_barrier).all():
        nothing(ax, "no exchange")
        return
    ax.plot(found.beta, found.local_barrier, "o-", color=PURPLE)
    ax.set_ylim(bottom=0)


def _flow(ax: Axes, found: Exchange) -> None:
    """Linear in the number of the rung where exchange alone counts."""
    ax.set(ylabel=r"flow $f(\beta)$: part from the hot end", ylim=(-0.02, 1.02))
    if np.isnan(found.flow).all():
        nothing(ax, "no walker has been at an end")
        return
    ax.plot(found.beta, np.linspace(1, 0, len(found.beta)), color=GREY, ls="--", label="as many on every rung")
    ax.plot(found.beta, found.flow, "o-", color=GREEN, label="walkers")
    ax.legend()


def _moves(ax: Axes, results: Results) -> None:
    ax.set(ylabel="moves accepted / proposed", ylim=(0, 1.02))
    means = []
    for some in results.by_rungs(["acceptance"]):
        means.append(statistics.mean_of_known(by_rung(some["acceptance"]), axis=-1))
    each = np.concatenate(means).reshape(results.dataset.sizes["rung"], -1).T
    if np.isnan(each).all():
        nothing(ax, "no accept step")
        return
    spread(ax, results.dataset["beta"].to_numpy(), each, ORANGE)


def _trips(ax: Axes, summary: Summary) -> None:
    counted = [(rung.beta, rung.round_trips) for rung in summary.rungs if rung.round_trips is not None]
    ax.plot(*zip(*counted, strict=True), "o-", color=GREEN)
    ax.set(ylabel="round trips to the hottest rung", ylim=(0, 1.05 * max(1, *(trips for _, trips in counted))))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))


def _mixing(figure: Figure, ax: Axes, found: Exchange) -> None:
    image = ax.imshow(found.mixing, origin="lower", cmap="cividis", vmin=0, aspect="auto", rasterized=True)
    figure.colorbar(image, ax=ax, label="mixing matrix: probability")
    ax.set(xlabel=f"rung {found.lag} sweeps later", ylabel="rung of a walker")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(False)


# --- replica-time diagram ---

_ENDS = {"at neither end yet": "#dddddd", "last at the hot end": ORANGE, "last at the cold end": BLUE}
"""Where a walker was last."""


def _walkers(ax: Axes, results: Results, found: Exchange) -> None:
    """Of one ladder, every rung against time, coloured by the end at which its walker was last; the way of one."""
    data = results.equilibrium()[["walker"]].isel(instance=0, copy=0)
    n_rows = data.sizes["sample"]
    trip = 1 / (found.rate * found.lag) if found.rate and found.lag else np.inf
    n_shown = int(min(n_rows, max(COLUMNS, SHOWN_TRIPS * trip)))
    step = -(-n_shown // COLUMNS)
    rows = np.arange(n_rows - n_shown, n_rows, step)
    some = data.isel(sample=slice(n_rows - n_shown, None, step))
    sweeps, walker = some["sweep"].to_numpy(), some["walker"].transpose("rung", "sample").to_numpy()
    ax.set(xlabel="time (sweeps)", ylabel="rung (instance 0, copy 0)")
    if len(rows) == 1:
        nothing(ax, "a single row")
        return
    at_hot, at_cold = (data["walker"].isel(rung=end).to_numpy() for end in (0, -1))
    middles = (sweeps[1:] + sweeps[:-1]) / 2
    edges = np.concatenate([sweeps[:1], middles, sweeps[-1:]])
    n_rungs = len(walker)
    ax.pcolormesh(
        edges,
        np.arange(n_rungs + 1) - 0.5,
        last_ends(walker, rows, at_hot, at_cold),
        cmap=ListedColormap(list(_ENDS.values())),
        vmin=0,
        vmax=len(_ENDS) - 1,
        alpha=0.75,
        rasterized=True,
    )
    rung_of = np.argsort(walker, axis=0)  # each column is a permutation
    ax.step(sweeps, rung_of[walker[-1, -1]], where="mid", color="black", lw=0.9)
    ax.grid(False)
    ax.set_xlim(edges[0], edges[-1])
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    patches = [Patch(color=colour, alpha=0.75, label=end) for end, colour in _ENDS.items()]
    ax.legend(handles=patches, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(patches))


def last_ends(walker: np.ndarray, rows: np.ndarray, at_hot: np.ndarray, at_cold: np.ndarray) -> np.ndarray:
    """At which end the walker on a rung was last: 1 hot, 2 cold, 0 at neither yet; int (rungs, samples).

    walker: which one sits on the rung at some rows, (rungs, samples); rows: which ones these are, (samples,)
    at_hot, at_cold: which one sits at the ends of the ladder, at every row of the run, (rows,)
    """
    hot, cold = (_last_visits(walker, rows, at_end) for at_end in (at_hot, at_cold))
    return np.where(hot > cold, 1, np.where(cold > hot, 2, 0))


def _last_visits(walker: np.ndarray, rows: np.ndarray, at_end: np.ndarray) -> np.ndarray:
    """The last row, up to that of the sample, at which the walker was at the end; -1 if there is none."""
    n_rows = len(at_end)
    visits = np.sort(at_end.astype(np.int64) * n_rows + np.arange(n_rows))  # by walker, then by time
    now = walker.astype(np.int64) * n_rows + rows
    found = visits[np.searchsorted(visits, now, side="right") - 1]  # before the first of all: the last, later than now
    return np.where((found <= now) & (found // n_rows == walker), found % n_rows, -1)
