"""The pictures of a scan: maps over two of its axes, or of one and beta, and curves along one axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mcmc.analysis import scans
from mcmc.analysis.plots.style import (
    BETA,
    OPEN_SYMBOLS,
    STYLE,
    VERDICTS,
    beta_label,
    edges,
    errorbars,
    is_logarithmic,
    panels,
    rung_colours,
    some_rungs,
)
from mcmc.errors import ConfigError

QUANTITIES = {
    "energy_per_pattern": "energy per pattern $E/P$",
    "overlap": "overlap of two copies $q$",
    "aligned_overlap": "overlap of two copies $q$, units aligned",
    "teacher_overlap": "overlap with the teacher $R$",
    "aligned_teacher_overlap": "overlap with the teacher $R$, units aligned",
    "generalisation_error": r"generalisation error $\epsilon_g$",
    "heat_capacity": r"heat capacity $\beta^2\,\mathrm{Var}(E)/N$",
}
OVERLAPS = [name for name in QUANTITIES if "overlap" in name]
LABELS = {"alpha": r"patterns per weight $\alpha$", "n_inputs": "inputs $N$", "rung": BETA}
CURVES = 5


def figures(table: xr.Dataset) -> dict[str, tuple[Figure, str]]:
    """Pictures of `scans.table`: name -> figure and a caption of one sentence; means over seeds.

    Maps if there are two axes with several points, beta being the last of them; of more the others stay at their first
    point with a run, and beta at the coldest one. Curves if beta is the second axis, or there is one. Where seeds have
    ladders of their own there is no map over beta: curves at the ends of the ladders, or in beta for some seeds. Raises
    ConfigError where no axis but that of seeds has several points.
    """
    found, apart = _over_seeds(table)
    axes = [dim for dim in found["beta"].dims if found.sizes[dim] > 1]
    if not axes:
        raise ConfigError("scan: got a single point, seeds apart, and one rung, expected an axis with several points")
    pictures: dict[str, tuple[Callable[..., Figure], str]] = {}
    if len(axes) > 1 and not apart:
        pictures["scan_maps"] = maps, f"Observables and verdicts over {_word(axes[0])} and {_word(axes[1])}."
    if len(axes) == 1 or "rung" in axes:
        pictures["scan_curves"] = curves, f"Observables against {_word(axes[0])}, with one-sigma error bars."
    kept, where = _cut(found, axes)
    words = [where] if where else []
    words += ["coldest rung"] if "rung" not in found.dims and table.sizes["rung"] > 1 else []
    words += [apart] if apart else []
    return {name: (draw(kept, axes, ", ".join(words)), caption) for name, (draw, caption) in pictures.items()}


def _over_seeds(table: xr.Dataset) -> tuple[xr.Dataset, str]:
    """Means over seeds at rungs that they share, and why these are not all: one axis and rungs, or axes alone.

    Of seeds with ladders of their own and no other axis there are no means: (rung, seed, ...).
    """
    points = [dim for dim in table["beta"].dims if dim not in (scans.SEED, "rung") and table.sizes[dim] > 1]
    if len(points) > 1 or table.sizes["rung"] == 1:
        return scans.over_seeds(scans.coldest(table)), ""
    if scans.has_common_ladders(table):
        return scans.over_seeds(table), ""
    if points:
        return scans.over_seeds(scans.ends(table)), "each seed has a ladder of its own: means at the ends alone"
    has_run = (table["verdict"] >= 0).any([dim for dim in table["beta"].dims if dim != scans.SEED])
    by_seed = table.isel({scans.SEED: has_run.to_numpy()}).transpose("rung", scans.SEED, ...)
    return by_seed, "each seed has a ladder of its own: no means"


def _cut(table: xr.Dataset, axes: list[str]) -> tuple[xr.Dataset, str]:
    """The table along two axes and rungs at most, the others at the first point with a run, and where that is."""
    fixed = [dim for dim in table["beta"].dims if dim not in (*axes[:2], "rung")]
    has_run = (table["verdict"] >= 0).any([dim for dim in table["beta"].dims if dim not in fixed])
    has_run = has_run.transpose(*fixed).to_numpy()
    point = dict(zip(fixed, np.unravel_index(has_run.argmax(), has_run.shape), strict=True))
    words = [f"{dim} = {_points(table, dim)[1][at]}" for dim, at in point.items() if dim in axes]
    return table.isel(point), ", ".join(words)


@mpl.rc_context(STYLE)
def maps(table: xr.Dataset, axes: list[str], where: str) -> Figure:
    """A map of each quantity and of the verdict over the first two axes."""
    x, y = axes[:2]
    names = [*_quantities(table), "verdict"]
    figure, drawn = _layout(len(names))
    for ax, name in zip(drawn, names, strict=True):
        values = table[name].transpose(x, y).to_numpy().astype(float)
        lowest = np.nanmin(values, initial=0)  # also of a quantity that none of these runs has
        style: dict[str, Any] = {"cmap": "viridis", "vmin": lowest, "vmax": np.nanmax(values, initial=lowest)}
        if name in OVERLAPS:
            style["vmax"] = 1.0
        if name == "verdict":
            values[values < 0] = np.nan
            style = {"cmap": ListedColormap([colour for colour, _ in VERDICTS.values()]), "vmin": 0, "vmax": 2}
        image = _cells(ax, table, x, y, values, style)
        if name == "verdict":
            patches = [Patch(color=colour, label=verdict) for verdict, (colour, _) in VERDICTS.items()]
            ax.legend(handles=patches, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(patches))
        else:
            figure.colorbar(image, ax=ax, label=QUANTITIES[name])
    figure.suptitle(where, fontsize=10)
    return figure


@mpl.rc_context(STYLE)
def curves(table: xr.Dataset, axes: list[str], where: str) -> Figure:
    """Each quantity with error bars against the first axis, at some betas or of some seeds.

    Open symbols: stuck or too short.
    """
    x = axes[0]
    names = _quantities(table)
    figure, drawn = _layout(len(names))
    for ax, name in zip(drawn, names, strict=True):
        for line, label, colour in _lines(table, axes):
            at = line["beta"].to_numpy() if x == "rung" else _points(table, x)[0]
            mean, error, trusted = (line[each].to_numpy() for each in (name, f"{name}_error", "is_trusted"))
            errorbars(ax, at, mean, error, trusted, colour, joined=True)
            ax.plot([], [], "o-", color=colour, label=label)
        _axis(ax.xaxis, table, x)
        ax.set_ylabel(QUANTITIES[name])
    if len(axes) > 1:
        figure.legend(*drawn[0].get_legend_handles_labels(), loc="outside right upper")
    figure.suptitle("; ".join(part for part in (where, OPEN_SYMBOLS) if part), fontsize=10)
    return figure


def _lines(table: xr.Dataset, axes: list[str]) -> Iterator[tuple[xr.Dataset, str | None, Any]]:
    """The table along the first axis, for some rungs or seeds, if that is the second one: with a label and a colour."""
    if len(axes) == 1:
        yield table, None, rung_colours(1)[0]
        return
    shown = some_rungs(table.sizes[axes[1]], CURVES)
    for number, colour in zip(shown, rung_colours(len(shown)), strict=True):
        line = table.isel({axes[1]: number})
        yield line, _label(table, line, axes[1], number), colour


def _label(table: xr.Dataset, line: xr.Dataset, axis: str, number: int) -> str:
    """What sets `line`, the point `number` of an axis, apart from the others: of a rung its beta, if it has one."""
    beta = line["beta"]
    if axis != "rung":
        return f"{axis} = {_points(table, axis)[1][number]}"
    if np.isclose(beta.min(), beta.max()):
        return beta_label(float(beta.min()))
    return f"{line['rung'].item()} rung" if "rung" in line.coords else f"rung {number}"


def _quantities(table: xr.Dataset) -> list[str]:
    return [name for name in QUANTITIES if name in table and f"aligned_{name}" not in table]


def _layout(n: int) -> tuple[Figure, np.ndarray]:
    n_columns = min(n, 3)
    figure, axes = panels(-(-n // n_columns), n_columns)
    for ax in axes.ravel()[n:]:
        ax.set_axis_off()
    return figure, axes.ravel()[:n]


def _cells(ax: Axes, table: xr.Dataset, x: str, y: str, values: np.ndarray, style: dict[str, Any]) -> Any:
    """values: (x, y). Every column has its own betas."""
    at_x = edges(_points(table, x)[0])
    for number, column in enumerate(values):
        points = table["beta"].isel({x: number}).to_numpy() if y == "rung" else _points(table, y)[0]
        known = np.isfinite(points)
        if known.sum() > 1:
            at_y = edges(points[known])
            image = ax.pcolormesh(at_x[number : number + 2], at_y, column[known, None], rasterized=True, **style)
    _axis(ax.xaxis, table, x)
    _axis(ax.yaxis, table, y)
    ax.grid(False)
    return image


def _points(table: xr.Dataset, axis: str) -> tuple[np.ndarray, list[str]]:
    """Where the points of an axis are, increasing, and their names."""
    number = np.arange(table.sizes[axis], dtype=float)
    if axis not in table.coords:
        return number, [f"{at:g}" for at in number]
    values = table[axis].to_numpy()
    if values.dtype.kind in "iuf" and (np.diff(values) > 0).all():
        return values.astype(float), [f"{value:g}" for value in values]
    return number, [str(value) for value in values]


def _axis(axis: Any, table: xr.Dataset, name: str) -> None:
    """Label and ticks: names where points are no increasing numbers, a logarithmic scale for wide ranges."""
    axis.set_label_text(LABELS.get(name, name))
    if name == "rung":
        points = table["beta"].to_numpy()
        points = points[np.isfinite(points)]
    else:
        points, words = _points(table, name)
        if name not in table.coords or not np.array_equal(points, table[name].to_numpy()):
            axis.set_ticks(points, words)
    if is_logarithmic(points):
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_formatter("{x:g}")


def _word(axis: str) -> str:
    return "inverse temperature" if axis == "rung" else axis
