"""Results in the forms of other tools: JSON for scripts, a pandas table, and a tree of ArviZ's layout."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mcmc.analysis import statistics
from mcmc.analysis.statistics import Estimate

if TYPE_CHECKING:
    import pandas as pd

    from mcmc.analysis.exchange import Exchange
    from mcmc.analysis.free_energy import Branch, FreeEnergy
    from mcmc.analysis.results import Results
    from mcmc.analysis.summary import Rung, Summary

PLAIN = ("tau", "ess", "r_hat", "step_size", "acceptance", "exchange_rate", "round_trips")
"""Numbers of a rung that have no error bar."""
_OF_RUN = (
    *("n_weights", "n_patterns", "n_instances", "n_copies", "n_samples"),
    *("first_sweep", "last_sweep", "n_sweeps", "complete"),
)
_SAMPLER = {"acceptance": "acceptance_rate", "energy_error": "energy_error", "walker": "walker"}
_SAMPLER |= {"kinetic_temperature": "kinetic_temperature"}
"""Series that tell of the sampler, and what ArviZ calls them."""


# --- JSON ---


def json_dict(summary: Summary) -> dict[str, Any]:
    """All that the table has, and more, of dicts, lists, strings, numbers and None alone; see the README.

    What does not exist in this run is left out; what the data cannot tell is None, so that no NaN is in it.
    """
    found = {
        "verdict": summary.verdict,
        "reasons": [
            {"verdict": verdict, "reason": reason, "beta": betas} for verdict, reason, betas in summary.reasons
        ],
        "notes": list(summary.notes),
        "run": {name: getattr(summary, name) for name in _OF_RUN},
        "rungs": [_rung(rung) for rung in summary.rungs],
        "free_energy": _free_energy(summary.free_energy),
    }
    return found | ({"exchange": _exchange(summary.exchange)} if len(summary.rungs) > 1 else {})


def _rung(rung: Rung) -> dict[str, Any]:
    plain = {name: getattr(rung, name) for name in PLAIN}
    return {
        "beta": rung.beta,
        **{name: _estimate(estimate) for name, estimate in rung.estimates.items()},
        **{name: _number(value) for name, value in plain.items() if value is not None},
        "verdict": rung.verdict,
        "reasons": list(rung.reasons),
        "trusted": rung.is_trusted,
    }


def _exchange(found: Exchange) -> dict[str, Any]:
    names = ("barrier", "barrier_error", "rate", "predicted_rate", "highest_rate")
    return {
        **{name: _number(getattr(found, name)) for name in names},
        "round_trips": int(found.round_trips.sum()),
        "ladders": [
            {
                "instance": instance,
                "copy": copy,
                "round_trips": int(trips.sum()),
                "since_last": _number(np.min(found.since_last[instance, copy][trips > 0], initial=np.inf)),
            }
            for (instance, copy), trips in _ladders(found.round_trips)
        ],
        "rejection": _numbers(found.rejection),
        "histogram_overlap": _numbers(found.overlap),
        "local_barrier": _numbers(found.local_barrier),
        "flow": _numbers(found.flow),
        "advice": list(found.advice),
    }


def _ladders(trips: np.ndarray) -> Iterable[tuple[tuple[int, int], np.ndarray]]:
    """(instance, copy) and the trips of its walkers."""
    return ((index, trips[index]) for index in np.ndindex(trips.shape[:2]))


def _free_energy(found: FreeEnergy) -> dict[str, Any]:
    return {
        "beta": _numbers(found.beta),
        "branches": [_branch(branch) for branch in found.branches],
        "lowest_energy": _numbers(found.lowest_energy),
        "at_zero": _numbers(found.at_zero.mean(axis=0)),
        "metastable": [list(told) for told in found.metastable],
        "inconsistent": [list(told) for told in found.inconsistent],
    }


def _branch(branch: Branch) -> dict[str, Any]:
    return {
        "name": branch.name,
        "copies": branch.copies.tolist(),
        "log_z": _estimates(branch.log_z, branch.log_z_error),
        "entropy": _estimates(branch.entropy, branch.entropy_error),
        "ways": {way: _estimates(*pair) for way, pair in branch.ways.items()},
        "bound": _numbers(branch.bound.mean(axis=0)),
        "from_cold": _estimates(branch.from_cold, branch.from_cold_error),
        "gaps": branch.gaps.tolist(),
    }


def _estimates(values: np.ndarray, errors: np.ndarray) -> list[dict[str, float | None]]:
    """Averages over instances, by rung, of (instances, rungs)."""
    return [_estimate(each) for each in statistics.averages(values, errors)]


def _estimate(found: Estimate) -> dict[str, float | None]:
    return {name: _number(value) for name, value in found._asdict().items()}


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def _number(value: float) -> float | int | None:
    """As a number of Python's; None for what is not finite."""
    if isinstance(value, int):
        return value
    return float(value) if np.isfinite(value) else None


# --- pandas ---


def dataframe(summary: Summary) -> pd.DataFrame:
    """One row for each rung, by beta; columns (estimate, part): part is mean, error, thermal_error or sample_error.

    The numbers without error bars, `PLAIN`, and verdict and reasons (joined by "; ") have the part "". NaN: the data
    cannot tell, or there is none at this rung.
    """
    import pandas as pd

    rows = []
    for rung in summary.rungs:
        row: dict[tuple[str, str], Any] = {
            (name, part): value for name, of in rung.estimates.items() for part, value in of._asdict().items()
        }
        plain = {name: getattr(rung, name) for name in PLAIN}
        row |= {(name, ""): np.nan if value is None else value for name, value in plain.items()}
        row |= {("verdict", ""): rung.verdict, ("reasons", ""): "; ".join(rung.reasons)}
        rows.append(row)
    columns = [name for name in rows[0] if name != ("step_size", "") or summary.rungs[0].step_size is not None]
    beta = pd.Index([rung.beta for rung in summary.rungs], name="beta")
    return pd.DataFrame(rows, index=beta, columns=pd.MultiIndex.from_tuples(columns))


# --- ArviZ ---


def datatree(results: Results) -> xr.DataTree:
    """The rows after the burn-in as ArviZ takes them: chain = copy, draw = row; further dimensions instance and rung.

    Groups: `posterior`, energies and overlaps with the teacher, and other series by copy; `sample_stats`, what tells
    of the sampler; `overlaps`, those of two copies, where a chain is a pair. Pairs share copies: beyond two copies
    these chains are not independent.

    The Gibbs measure of one inverse temperature and one instance is one posterior: a diagnostic over instances or rungs
    together means nothing. `beta` and `sweep` are coordinates of rung and draw. Raises ConfigError without rows.
    """
    kept = results.equilibrium()
    series = [name for name, values in kept.data_vars.items() if {"sample", "rung"} <= set(values.dims)]
    groups = {
        "posterior": [name for name in series if "copy" in kept[name].dims and name not in _SAMPLER],
        "sample_stats": [name for name in series if name in _SAMPLER],
        "overlaps": [name for name in series if "pair" in kept[name].dims],
    }
    tree = {name: _as_chains(kept[of], "pair" if name == "overlaps" else "copy") for name, of in groups.items() if of}
    found = xr.DataTree.from_dict(tree)
    version = kept.attrs.get("mcmc_version", "")
    found.attrs = kept.attrs | {"inference_library": "mcmc", "inference_library_version": version}
    return found


def _as_chains(data: xr.Dataset, chain: str) -> xr.Dataset:
    """`chain` and sample renamed; every dimension counted from 0. Not transposed: it costs memory, and names tell."""
    named = data.rename({chain: "chain", "sample": "draw", **{k: v for k, v in _SAMPLER.items() if k in data}})
    counted = {dim: np.arange(size) for dim, size in named.sizes.items()}
    named.attrs = {}
    return named.assign_coords(counted)
