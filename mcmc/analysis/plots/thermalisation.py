"""Whether the run has thermalised: logarithmic binning of what is measured, and the verdict on every rung."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mcmc.analysis import statistics
from mcmc.analysis.permutations import SOURCES, aligned_series
from mcmc.analysis.plots.style import (
    GREEN,
    GREY,
    STYLE,
    VERDICTS,
    beta_axis,
    beta_label,
    burn_in_in_words,
    panels,
    rung_colours,
    some_rungs,
    title,
)
from mcmc.analysis.results import Results
from mcmc.analysis.summary import ALIGNED, Summary, by_rung
from mcmc.analysis.thermalisation import MIN_ESS

SHOWN_RUNGS = 3
MIN_ROWS = 4
"""Of a bin."""
STARTS = {"random": ("o-", "full"), "teacher": ("s--", "none")}
LABELS = {
    "energy": "energy per pattern $E/P$",
    "overlap": "overlap $q$ of two copies",
    "teacher_overlap": "overlap $R$ with the teacher",
}


@mpl.rc_context(STYLE)
def thermalisation(results: Results) -> Figure:
    """Means of E, q and R over doubling times, of both starts, on a few rungs; samples, round trips and verdicts."""
    summary = results.summary()
    names = [name for name in LABELS if name in results.dataset]
    figure, axes = panels(2 if len(names) > 1 else 1, 2)
    of_series = dict(zip(names, axes.ravel(), strict=False))
    shown = some_rungs(len(summary.rungs), SHOWN_RUNGS)
    burn_in = int(results.dataset.attrs["burn_in"])
    first = min(results.dataset["start"].to_numpy().astype(str))
    for rung, colour in zip(shown, rung_colours(len(shown)), strict=True):
        for name, start, sweeps, means, errors in _binned(results, rung, names):
            scale = summary.n_patterns if name == "energy" else 1
            style, fill = STARTS[start]
            label = beta_label(summary.rungs[rung].beta) if name == "energy" and start == first else None
            of_series[name].errorbar(
                sweeps, means / scale, errors / scale, fmt=style, fillstyle=fill, color=colour, lw=0.8, label=label
            )
    for name, ax in of_series.items():
        aligned = ", units aligned" if ALIGNED.get(name) in summary.rungs[0].estimates else ""
        ax.set(xscale="log", xlabel="time (sweeps)", ylabel=LABELS[name] + aligned)
        if burn_in > 0:
            ax.axvspan(ax.get_xlim()[0], burn_in, color="#bbbbbb", alpha=0.35, lw=0)
    verdicts = axes.ravel()[len(names)]
    _verdicts(verdicts, summary)
    for ax in axes.ravel()[len(names) + 1 :]:
        ax.set_axis_off()
    axes[0, 0].legend()
    words = "means over the time since half as many sweeps, thermal errors"
    if burn_in > 0:
        words += f"; {burn_in_in_words(results)}"
    if "teacher" in results.dataset["start"]:
        words += "; open symbols: started at the teacher"
    figure.suptitle(f"{title(results, summary)}\n{words}", fontsize=10)
    return figure


def _verdicts(ax: Axes, summary: Summary) -> None:
    """Effective samples and round trips by rung, marked by the verdict."""
    rungs = summary.rungs
    ax.set_yscale("symlog", linthresh=1, linscale=0.3)  # which has a place for none
    for verdict, (colour, marker) in VERDICTS.items():
        some = [rung for rung in rungs if rung.verdict == verdict]
        if some:
            points = [rung.beta for rung in some], [rung.ess for rung in some]
            ax.plot(*points, marker, color=colour, ms=7, label=f"samples, {verdict}")
    trips = [(rung.beta, rung.round_trips) for rung in rungs if rung.round_trips is not None]
    if trips:
        ax.plot(*zip(*trips, strict=True), "d-", color=GREEN, lw=0.8, ms=4, label="round trips to the hottest rung")
    ax.axhline(MIN_ESS, color=GREY, ls=":", label=f"{MIN_ESS} samples")
    ax.set(ylim=(-0.2, None), ylabel="effective samples, round trips")
    beta_axis(ax, [rung.beta for rung in rungs])
    ax.legend()


def _binned(
    results: Results, rung: int, names: list[str]
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray, np.ndarray]]:
    """Name, start, and times, means and thermal errors of the bins (n,).

    Overlaps are those of pairs from the same start, or else of all pairs, called random.
    """
    wanted = [name for name in ("energy", *ALIGNED, *SOURCES) if name in results.dataset]
    data = results.dataset[wanted].isel(rung=[rung]).load()
    series = {name: data[name] for name in names}
    aligned = aligned_series(data, results.config)
    series |= {name: aligned[ALIGNED[name]] for name in names if ALIGNED.get(name) in aligned}
    sweeps = data["sweep"].to_numpy()
    of_copies = results.dataset["start"].to_numpy().astype(str)
    of_pairs = np.array([a if a == b else "apart" for a, b in combinations(of_copies, 2)])
    if (of_pairs == "apart").all():  # one copy from each start
        of_pairs = np.array(["random"] * len(of_pairs))
    for name, values in series.items():
        chains = by_rung(values)[0]
        is_pair = "pair" in values.dims
        start = of_pairs if is_pair else of_copies
        for side in sorted(set(start) - {"apart"}):
            some = chains[:, start == side]
            # pairs share copies, so they are no independent chains: their mean is one
            yield name, side, *_logarithmic_bins(sweeps, some.mean(axis=1, keepdims=True) if is_pair else some)


def _logarithmic_bins(sweeps: np.ndarray, chains: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of (instances, chains, rows) the means over t/2 < sweep <= t for t = the last sweep, half of it, ...

    Returns the t, increasing, the means over instances, and thermal errors: (bins,) each.
    """
    found = []
    last = float(sweeps[-1])
    while True:
        rows = (sweeps > last / 2) & (sweeps <= last)
        if rows.sum() < MIN_ROWS:
            break
        means, errors, _ = statistics.time_average(chains[..., rows])
        found.append((last, means.mean(), np.sqrt(np.nansum(errors**2)) / len(means)))
        last /= 2
    return tuple(np.array(found[::-1]).reshape(-1, 3).T)
