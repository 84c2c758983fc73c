"""Many runs as one table: the summaries of a scan along its axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from mcmc.analysis.statistics import mean_of_known, student_factor
from mcmc.analysis.summary import COLUMNS, Summary
from mcmc.analysis.thermalisation import VERDICTS

SEED = "seed"
"""The axis whose points are draws of the disorder, like instances."""


def table(
    axes: Sequence[str],
    coordinates: Mapping[str, tuple[str, np.ndarray]],
    summaries: Mapping[tuple[int, ...], Summary],
) -> xr.Dataset:
    """Estimates of all runs, dims (*axes, rung), float64: NaN where a run, a rung or an estimate is missing.

    axes: their names; coordinates: by name the axis and the value at each of its points; summaries: by position on the
    axes, at least one

    Of each estimate NAME of summary.COLUMNS that a run has there are NAME and NAME_error; besides them `beta`,
    `verdict`, int8, which counts VERDICTS from best to worst, -1 where a run is missing, and `is_trusted`.
    """
    sizes = {axis: len(values) for axis, values in coordinates.values()}
    shape = (*(sizes[axis] for axis in axes), max(len(summary.rungs) for summary in summaries.values()))
    names = [name for name in COLUMNS if any(name in one.rungs[0].estimates for one in summaries.values())]
    found = {name: np.full(shape, np.nan) for name in ("beta", *names, *(f"{name}_error" for name in names))}
    verdicts, trusted = np.full(shape, -1, dtype=np.int8), np.zeros(shape, dtype=bool)
    for position, summary in summaries.items():
        for number, rung in enumerate(summary.rungs):
            at = (*position, number)
            found["beta"][at] = rung.beta
            for name in names:
                if name in rung.estimates:
                    found[name][at], found[f"{name}_error"][at] = rung.estimates[name][:2]
            verdicts[at], trusted[at] = VERDICTS.index(rung.verdict), rung.is_trusted
    dims = (*axes, "rung")
    variables = {name: (dims, values) for name, values in found.items()}
    variables |= {"verdict": (dims, verdicts), "is_trusted": (dims, trusted)}
    return xr.Dataset(variables, dict(coordinates)).set_coords("beta")


def over_seeds(table: xr.Dataset) -> xr.Dataset:
    """The same without the axis of seeds: means over the seeds that are there, their errors from the spread.

    Student's factor is in them. Of a single seed its own errors. The verdict is the worst one. A rung which has not the
    same beta in all seeds of a point is left out there, as if it were missing: see `has_common_ladders`, and `ends`.
    """
    if SEED not in table.dims:
        return table
    dims = table["beta"].dims
    axis = dims.index(SEED)
    rest = table.isel({SEED: 0}, drop=True)
    common = _is_common(table).transpose(*rest["beta"].dims).to_numpy()
    for name in (*table.data_vars, "beta"):
        values, left_out = table[name].transpose(*dims).to_numpy(), np.nan
        if name == "verdict":
            merged, left_out = values.max(axis=axis), -1
        elif name == "is_trusted":
            missing = table["verdict"].transpose(*dims).to_numpy() < 0
            merged, left_out = (values | missing).all(axis=axis) & ~missing.all(axis=axis), False
        elif (of := name.removesuffix("_error")) != name and of in table:
            merged = _errors(table[of].transpose(*dims).to_numpy(), values, axis)
        else:
            merged = mean_of_known(values, axis)
        rest[name] = (rest["beta"].dims, np.where(common, merged, left_out))
    return rest.set_coords("beta")


def has_common_ladders(table: xr.Dataset) -> bool:
    """Whether the ladders of all seeds of a point are the same; those that were tuned are not (`ladder.tune`)."""
    return SEED not in table.dims or bool(_is_common(table).all())


def coldest(table: xr.Dataset) -> xr.Dataset:
    """Of each run the coldest rung: without the dimension rung."""
    return table.isel(rung=_last(table))


def ends(table: xr.Dataset) -> xr.Dataset:
    """Of each run the hottest and the coldest rung, which tuned ladders have in common: with a coordinate `rung`."""
    found = table.isel(rung=_last(table) * xr.DataArray([0, 1], dims="rung"))
    return found.assign_coords(rung=["hottest", "coldest"])


def _last(table: xr.Dataset) -> xr.DataArray:
    return (table["beta"].notnull().sum("rung") - 1).clip(min=0)


def _is_common(table: xr.Dataset) -> xr.DataArray:
    """Whether a rung is there, with one beta, in all seeds that have a run; also if none has: without the seeds."""
    beta = table["beta"]
    known = beta.notnull()
    runs = known.any("rung") if "rung" in beta.dims else known
    is_close = xr.apply_ufunc(np.isclose, beta.min(SEED), beta.max(SEED))
    return ~known.any(SEED) | ((known == runs).all(SEED) & is_close)


def _errors(means: np.ndarray, errors: np.ndarray, axis: int) -> np.ndarray:
    n = (~np.isnan(means)).sum(axis=axis)
    squares = np.nansum((means - np.expand_dims(mean_of_known(means, axis), axis)) ** 2, axis=axis)
    factors = np.array([student_factor(k) for k in range(int(n.max(initial=0)) + 1)])
    with np.errstate(divide="ignore", invalid="ignore"):
        of_spread = np.sqrt(squares / (n - 1) / n) * factors[n]
    return np.where(n == 1, mean_of_known(np.where(np.isnan(means), np.nan, errors), axis), of_spread)
