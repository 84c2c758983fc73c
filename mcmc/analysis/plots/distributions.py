"""Laws on each rung: of overlaps, of energies, of stabilities."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from mcmc.analysis import distributions
from mcmc.analysis.distributions import Distribution
from mcmc.analysis.plots.style import (
    BLUE,
    GREY,
    ORANGE,
    STYLE,
    band,
    beta_axis,
    beta_label,
    edges,
    panels,
    rung_colours,
    some_rungs,
    title,
)
from mcmc.analysis.results import Results
from mcmc.errors import ConfigError

CURVES = 5
TICKS = 9
SYMBOLS = {
    "overlap": ("q", "overlap of two copies"),
    "aligned_overlap": ("q", "overlap of two copies, units aligned"),
    "teacher_overlap": ("R", "overlap with the teacher"),
    "aligned_teacher_overlap": ("R", "overlap with the teacher, units aligned"),
}


@mpl.rc_context(STYLE)
def overlaps(results: Results) -> Figure | None:
    """P(q) and P(R) on a few rungs, with one-sigma bands, and on all rungs as maps, below each other."""
    laws = {name: laws for name, laws in results.distributions().items() if name in SYMBOLS}
    if not laws:
        return None
    n_rungs = results.dataset.sizes["rung"]
    figure, axes = panels(2 if n_rungs > 1 else 1, len(laws))
    for column, (name, by_rung) in zip(axes.T, laws.items(), strict=True):
        symbol, words = SYMBOLS[name]
        _curves(column[0], by_rung)
        column[0].set(xlabel=f"{words} ${symbol}$", ylabel=f"density $P({symbol})$")
        if n_rungs > 1:
            _map(figure, column[1], by_rung, f"$P({symbol})$ / largest of the rung")
            column[1].set_ylabel(f"{words} ${symbol}$")
    axes[0, 0].legend()
    what = title(results, results.summary(), short=len(laws) == 1)
    figure.suptitle(f"{what}\nbands: one-sigma errors", fontsize=10)
    return figure


@mpl.rc_context(STYLE)
def energies(results: Results) -> Figure | None:
    """Histograms of the energy of one instance on all rungs, and the common area of neighbours, mean of instances."""
    by_rung = results.distributions()["energy"]
    found = results.exchange()
    beta = found.beta
    figure, axes = panels(1, 2 if len(beta) > 1 else 1)
    colours = rung_colours(len(by_rung))
    for law, colour in zip(by_rung, colours, strict=True):
        seen = np.flatnonzero(law.by_instance[0]) if law.value.size else np.empty(0, int)
        if seen.size:
            some = slice(seen[0], seen[-1] + 1)
            density = law.by_instance[0, some] / law.width[some]
            axes[0, 0].fill_between(law.value[some], density, step="mid", color=colour, alpha=0.18, lw=0)
            axes[0, 0].step(law.value[some], density, where="mid", color=colour, lw=0.9)
    axes[0, 0].set(xlabel="energy $E$ of instance 0", ylabel="probability per unit of energy")
    axes[0, 0].set_ylim(bottom=0)
    if len(beta) > 1:
        _bar_of_rungs(figure, axes[0, 0], [law.beta for law in by_rung])
        middles = (beta[1:] + beta[:-1]) / 2
        axes[0, 1].plot(middles, found.overlap, "o-", color=BLUE, label="common area of the histograms")
        if np.isfinite(found.acceptance).any():
            axes[0, 1].plot(middles, found.acceptance, "s--", color=ORANGE, label="exchanges accepted / proposed")
        axes[0, 1].set(ylabel="neighbouring rungs", ylim=(0, 1.02))
        axes[0, 1].legend()
        beta_axis(axes[0, 1], beta)
    figure.suptitle(title(results, results.summary(), short=len(beta) == 1), fontsize=10)
    return figure


@mpl.rc_context(STYLE)
def stabilities(results: Results) -> Figure | None:
    """Law of the stabilities of the patterns on a few rungs, with the margin of the loss. None without snapshots."""
    try:
        by_rung = distributions.stabilities(results)
    except ConfigError:
        return None
    figure, axes = panels(1, 1)
    ax, loss = axes[0, 0], results.config["model"]["loss"]
    _curves(ax, by_rung)
    margin = loss.get("margin", 0.0)
    is_symmetric = loss["name"] == "symmetric"
    sides = {"symmetric": (-margin, margin), "square": ()}  # the square loss has no margin
    for line in sides.get(loss["name"], (margin,)):
        ax.axvline(line, color=GREY, ls="--", lw=1, label=rf"margin $\kappa$ = {margin:g}" if line == margin else None)
    ax.set(xlabel="output $f$" if is_symmetric else r"stability $\Delta = y f$ of the patterns", ylabel="density")
    ax.legend()
    figure.suptitle(f"{title(results, results.summary(), short=True)}\nbands: one-sigma errors", fontsize=10)
    return figure


def _bar_of_rungs(figure: Figure, ax: Axes, beta: list[float]) -> None:
    """A colour bar with a field for each rung, however far apart they are, and the betas of some."""
    n = len(beta)
    scale = ScalarMappable(BoundaryNorm(np.arange(n + 1) - 0.5, n), ListedColormap(rung_colours(n)))
    bar = figure.colorbar(scale, ax=ax, label=r"$\beta$ (1/energy) of the rung")
    ticks = some_rungs(n, TICKS)
    bar.set_ticks(ticks, labels=[f"{beta[rung]:.4g}" for rung in ticks])
    bar.ax.yaxis.minorticks_off()


def _curves(ax: Axes, by_rung: list[Distribution]) -> None:
    """The density on a few rungs; of few values, points."""
    shown = some_rungs(len(by_rung), CURVES)
    for rung, colour in zip(shown, rung_colours(len(shown)), strict=True):
        law = by_rung[rung]
        marker = "." if law.value.size <= 50 else None
        band(
            ax, law.value, law.density.mean, law.density.error, color=colour, marker=marker, label=beta_label(law.beta)
        )
    ax.set_ylim(bottom=0)


def _map(figure: Figure, ax: Axes, by_rung: list[Distribution], label: str) -> None:
    """Densities against beta, each over its largest value."""
    beta = np.array([law.beta for law in by_rung])
    sides = edges(beta)
    for left, right, law in zip(sides, sides[1:], by_rung, strict=False):
        if law.value.size:
            density = law.density.mean / law.density.mean.max()
            ends = np.append(law.value - law.width / 2, law.value[-1] + law.width[-1] / 2)
            image = ax.pcolormesh(
                [left, right], ends, density[:, None], vmin=0, vmax=1, cmap="cividis", rasterized=True
            )
    ax.set_facecolor(mpl.colormaps["cividis"](0.0))
    ax.grid(False)
    beta_axis(ax, beta)
    ax.set_xlim(sides[0], sides[-1])
    if any(law.value.size for law in by_rung):
        figure.colorbar(image, ax=ax, label=label)
