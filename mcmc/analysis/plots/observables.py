"""Observables against beta."""

from __future__ import annotations

import matplotlib as mpl
from matplotlib.figure import Figure

from mcmc.analysis.plots.style import (
    BLUE,
    GREEN,
    OPEN_SYMBOLS,
    ORANGE,
    PURPLE,
    STYLE,
    are_trusted,
    beta_axis,
    errorbars_of,
    panels,
    title,
)
from mcmc.analysis.results import Results
from mcmc.analysis.summary import ALIGNED


@mpl.rc_context(STYLE)
def overview(results: Results) -> Figure:
    """Energy per pattern, overlaps (of aligned units if they have symmetries), generalisation error, heat capacity."""
    summary = results.summary()
    overlaps = [("overlap", "$q$, two copies", BLUE, "o"), ("teacher_overlap", "$R$, teacher", ORANGE, "s")]
    if any(name in summary.rungs[0].estimates for name in ALIGNED.values()):  # the order of the units means nothing
        overlaps = [(ALIGNED[name], f"{legend}, units aligned", *style) for name, legend, *style in overlaps]
        overlaps.append(("specialisation", "specialisation", GREEN, "^"))
    wanted: list[tuple[str, list[tuple[str, str, str, str]]]] = [
        ("energy per pattern $E/P$", [("energy_per_pattern", "$E/P$", BLUE, "o")]),
        ("overlap", overlaps),
        (r"generalisation error $\epsilon_g$", [("generalisation_error", r"$\epsilon_g$", GREEN, "o")]),
        (r"heat capacity $\beta^2\,\mathrm{Var}(E)/N$", [("heat_capacity", "$C$", PURPLE, "o")]),
    ]
    drawn = [
        (label, lines)
        for label, curves in wanted
        if (lines := [curve for curve in curves if curve[0] in summary.rungs[0].estimates])
    ]
    n_rows, n_columns = (1, 3) if len(drawn) == 3 else (len(drawn) // 2, 2)
    figure, axes = panels(n_rows, n_columns)
    for ax, (label, lines) in zip(axes.ravel(), drawn, strict=True):
        for name, legend, colour, marker in lines:
            errorbars_of(ax, summary, name, legend, colour, marker)
        beta_axis(ax, [rung.beta for rung in summary.rungs])
        ax.set_ylabel(label)
        if label == "overlap":
            ax.legend()
    bars = "thermal, this one instance" if summary.n_instances == 1 else "sample to sample, thermal noise included"
    doubt = "" if are_trusted(summary).all() else f"; {OPEN_SYMBOLS}"
    figure.suptitle(f"{title(results, summary)}\none-sigma error bars: {bars}{doubt}", fontsize=10)
    return figure
