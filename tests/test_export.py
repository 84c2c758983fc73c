"""Results for other tools: strict JSON with all that the table has, a pandas table, and ArviZ's layout."""

from __future__ import annotations

import json
from typing import Any

import arviz_stats
import numpy as np
import pytest

from mcmc.analysis import Results, export
from mcmc.analysis.summary import VERDICTS
from synthetic import synthetic

NUMBER = (int, float, type(None))
ESTIMATE = {"mean": NUMBER, "error": NUMBER, "thermal_error": NUMBER, "sample_error": NUMBER}
REASON = {"verdict": str, "reason": str, "beta": [float]}
RUN = {
    **dict.fromkeys(("n_weights", "n_patterns", "n_instances", "n_copies", "n_samples"), int),
    **dict.fromkeys(("first_sweep", "last_sweep", "n_sweeps"), int),
    "complete": bool,
}
BRANCH = {
    "name": str,
    "copies": [int],
    "log_z": [ESTIMATE],
    "entropy": [ESTIMATE],
    "bound": [NUMBER],
    "ways": {way: [ESTIMATE] for way in ("integration", "up", "down", "mbar")},
    "from_cold": [ESTIMATE],
    "gaps": [bool],
}
FREE_ENERGY = {
    "beta": [float],
    "branches": [BRANCH],
    "lowest_energy": [float],
    "at_zero": [float],
    "metastable": [[str]],
    "inconsistent": [[str]],
}
EXCHANGE = {
    **dict.fromkeys(("barrier", "barrier_error", "rate", "predicted_rate", "highest_rate"), NUMBER),
    "round_trips": int,
    "ladders": [{"instance": int, "copy": int, "round_trips": int, "since_last": NUMBER}],
    "rejection": [NUMBER],
    "histogram_overlap": [NUMBER],
    "local_barrier": [NUMBER],
    "flow": [NUMBER],
    "advice": [str],
}
PLAIN = dict.fromkeys(("tau", "ess", "r_hat", "acceptance", "exchange_rate", "step_size"), NUMBER)
PLAIN |= {"beta": float, "round_trips": int, "verdict": str, "reasons": [str], "trusted": bool}
REQUIRED = {"beta", "energy", "energy_per_pattern", "heat_capacity", "tau", "ess", "r_hat", "verdict", "reasons"}


def check(found: Any, kind: Any, where: str = "") -> None:
    """Whether `found` is of a kind: a type, types, a list of one kind, or a dict of just these keys."""
    if isinstance(kind, dict):
        assert isinstance(found, dict), where
        assert found.keys() == kind.keys(), where
        for key, of in kind.items():
            check(found[key], of, f"{where}.{key}")
    elif isinstance(kind, list):
        assert isinstance(found, list), where
        for each in found:
            check(each, kind[0], f"{where}[]")
    else:
        assert isinstance(found, kind), f"{where}: got {found!r}"
        assert kind is bool or kind == (bool,) or not isinstance(found, bool), where


def with_zero(**parameters: Any) -> Results:
    return Results(synthetic(**{"beta": (0.0, 0.5, 1.0), "n_samples": 400} | parameters))


def planted() -> Results:
    """Two starts that differ in energy."""
    data = synthetic(beta=(0.0, 0.5, 1.0), n_samples=400, n_copies=4, n_instances=2)
    data["energy"][{"copy": slice(2, None)}] += 20.0
    data["start"] = ("copy",), ["random", "random", "teacher", "teacher"]
    return Results(data)


CASES = {
    "usual": lambda: with_zero(n_instances=2),
    "no way to beta = 0": lambda: with_zero(beta=(0.5, 1.0)),
    "one rung, one copy, few samples": lambda: with_zero(beta=(1.0,), n_copies=1, n_samples=5, source="random"),
    "two branches": planted,
}


@pytest.mark.parametrize("case", CASES)
def test_json(case: str) -> None:
    results = CASES[case]()
    summary = results.summary()
    found = json.loads(json.dumps(summary.to_json_dict(), allow_nan=False))
    rungs = found.pop("rungs")
    top = {"verdict": str, "reasons": [REASON], "notes": [str], "run": RUN, "free_energy": FREE_ENERGY}
    check(found, top | ({"exchange": EXCHANGE} if len(rungs) > 1 else {}))
    assert found["verdict"] in VERDICTS
    for rung in rungs:
        assert rung.keys() >= REQUIRED
        check(rung, {name: PLAIN.get(name, ESTIMATE) for name in rung})
    assert len(found["free_energy"]["branches"]) == (2 if case == "two branches" else 1)
    said = {reason.partition(" (R-hat")[0] for rung in rungs for reason in rung["reasons"]}
    assert {line["reason"].partition(" (R-hat")[0] for line in found["reasons"]} == said  # together, with a range


def test_the_schema_is_strict() -> None:
    """The negative control: a number too many, one of another type, and NaN are noticed."""
    found = with_zero().summary().to_json_dict()["free_energy"]
    check(found, FREE_ENERGY)
    for wrong in (found | {"more": 1}, found | {"beta": ["0.5"]}, found | {"at_zero": [True]}):
        with pytest.raises(AssertionError):
            check(wrong, FREE_ENERGY)
    with pytest.raises(ValueError, match="not JSON compliant"):
        json.dumps({"bound": np.nan}, allow_nan=False)


def test_json_has_the_numbers_of_the_objects() -> None:
    results = with_zero(n_instances=3, disorder=1.0)
    found, free, exchange = results.summary().to_json_dict(), results.free_energy(), results.exchange()
    (branch,) = found["free_energy"]["branches"]
    assert [e["mean"] for e in branch["log_z"]] == [e.mean for e in free.log_z]
    assert [rung["log_z"] for rung in found["rungs"]] == branch["log_z"]
    assert [e["thermal_error"] for e in branch["entropy"]] == [e.thermal_error for e in free.entropy]
    mean = [np.mean(free.branches[0].ways["integration"][0][:, r]) for r in range(3)]
    np.testing.assert_allclose([e["mean"] for e in branch["ways"]["integration"]], mean)
    np.testing.assert_allclose(found["exchange"]["rejection"], exchange.rejection)
    ladders = found["exchange"]["ladders"]
    assert [one["round_trips"] for one in ladders] == exchange.round_trips.sum(axis=-1).ravel().tolist()
    assert [one["since_last"] for one in ladders] == np.nanmin(exchange.since_last, axis=-1).ravel().tolist()
    assert sum(one["round_trips"] for one in ladders) == found["exchange"]["round_trips"] > 0


def test_ladders_without_trips() -> None:
    data = synthetic(n_samples=100)
    data["walker"][:] = np.arange(3)
    found = Results(data).summary().to_json_dict()["exchange"]
    assert [(one["round_trips"], one["since_last"]) for one in found["ladders"]] == [(0, None)] * 2


# --- pandas ---


def test_dataframe() -> None:
    results = with_zero(n_instances=2)
    summary = results.summary()
    table = summary.to_dataframe()
    assert table.index.name == "beta"
    assert table.index.tolist() == [0.0, 0.5, 1.0]
    for rung in summary.rungs:
        for name, estimate in rung.estimates.items():
            assert tuple(table.loc[rung.beta, name]) == estimate
    assert table["tau"].tolist() == [rung.tau for rung in summary.rungs]
    assert np.isnan(table["exchange_rate"].iloc[-1])
    assert table["verdict"].tolist() == [rung.verdict for rung in summary.rungs]
    assert "step_size" not in table


def test_errors_of_the_energy_are_not_the_integrators() -> None:
    """The estimate `energy_error` is a column of its own beside ("energy", "error")."""
    data = synthetic(n_samples=100)
    data["energy_error"] = data["energy"].dims, np.full(data["energy"].shape, 0.125)
    data["step_size"] = ("instance", "rung"), [[0.1, 0.2, 0.3]]
    table = Results(data).summary().to_dataframe()
    assert table["energy_error", "mean"].tolist() == [0.125] * 3
    assert (table["energy", "error"] != 0.125).all()
    assert table["step_size"].tolist() == [0.1, 0.2, 0.3]


# --- ArviZ ---


def test_arviz_tells_the_same() -> None:
    """Effective samples and R-hat of every rung, from our tree, by ArviZ's own functions."""
    results = Results(synthetic(n_instances=2, n_copies=3, phi=0.8, disorder=2.0))
    tree, summary = results.to_arviz(), results.summary()
    sizes = arviz_stats.ess(tree, method="mean")["energy"].sum("instance")
    np.testing.assert_allclose(sizes, [rung.ess for rung in summary.rungs])
    assert sizes.dims == ("rung",)
    apart = results.dataset.copy(deep=True)
    apart["energy"][{"copy": 0, "rung": 1}] += 3.0
    worst = [Results(apart).summary().rungs[1].r_hat, summary.rungs[1].r_hat]
    for data, ours in zip((apart, results.dataset), worst, strict=True):
        theirs = arviz_stats.rhat(Results(data).to_arviz(), method="identity")["energy"].max("instance")
        assert theirs[1] == pytest.approx(ours, abs=0.01)
    assert worst[0] > worst[1] + 0.1  # the check above can fail
    table = arviz_stats.summary(tree, var_names=["energy"], round_to="none")
    means = results.equilibrium()["energy"].mean(["sample", "copy"]).to_numpy().ravel()
    np.testing.assert_allclose(table["mean"].astype(float), means)


def test_groups_and_coordinates() -> None:
    data = synthetic(n_samples=50, n_copies=3, architecture="committee", n_hidden=3, n_weights=303)
    data = data.assign_coords(start=data["start"])
    tree = Results(data).to_arviz()
    assert set(tree.children) == {"posterior", "sample_stats", "overlaps"}
    posterior, pairs = tree["posterior"], tree["overlaps"]
    assert set(posterior.data_vars) == {"energy", "teacher_overlap", "hidden_teacher_overlap"}
    assert set(tree["sample_stats"].data_vars) == {"acceptance_rate", "walker"}
    assert set(pairs.data_vars) == {"overlap", "hidden_overlap"}
    assert dict(posterior["energy"].sizes) == {"instance": 1, "draw": 50, "chain": 3, "rung": 3}
    assert posterior["energy"].attrs["units"] == "energy"
    np.testing.assert_array_equal(posterior["sweep"], np.arange(1010, 1510, 10))
    np.testing.assert_array_equal(posterior["beta"], [0.5, 1.0, 1.5])
    assert posterior["start"].dims == ("chain",)
    kept = Results(data).equilibrium()["overlap"]
    np.testing.assert_array_equal(pairs["overlap"].transpose("instance", "draw", "chain", "rung"), kept)
    assert tree.attrs["inference_library"] == "mcmc"


def test_one_copy_has_no_overlaps() -> None:
    assert "overlaps" not in Results(synthetic(n_samples=20, n_copies=1)).to_arviz().children


def test_long_runs_are_not_copied() -> None:
    """The tree is made of what the dataset has, without a copy."""
    results = Results(synthetic(n_samples=20))
    tree = export.datatree(results)
    assert np.shares_memory(tree["posterior"]["energy"].to_numpy(), results.dataset["energy"].to_numpy())
