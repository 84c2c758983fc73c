"""The summary on synthetic runs: numbers, verdicts, the table and what scripts get."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from mcmc.analysis import Results, load
from mcmc.analysis.exchange import of_rungs, round_trips
from mcmc.analysis.generalisation import binary_disagreement
from mcmc.analysis.summary import VERDICTS, Summary, compact
from mcmc.errors import ConfigError, StorageError
from mcmc.storage import RunDirectory
from synthetic import ar1, synthetic

ESTIMATES = {"energy", "energy_per_pattern", "heat_capacity", "overlap", "teacher_overlap", "generalisation_error"}
ESTIMATES |= {"binder"}
PLAIN = {"beta", "tau", "ess", "r_hat", "acceptance", "exchange_rate", "round_trips", "verdict", "reasons", "trusted"}


def summary(**parameters: object) -> Summary:
    return Results(synthetic(**parameters)).summary()


def test_numbers_of_a_good_run() -> None:
    found = summary(seed=1, n_samples=5000, n_copies=3, phi=0.8)
    assert found.verdict == "not contradicted"
    for rung in found.rungs:
        exact = {"energy": 30 - 10 * rung.beta, "heat_capacity": rung.beta**2 * 9 / 101, "overlap": 0.2}
        exact |= {"energy_per_pattern": exact["energy"] / 101, "teacher_overlap": 0.3}
        for name, value in exact.items():
            estimate = rung.estimates[name]
            assert estimate.error == estimate.thermal_error > 0
            assert estimate.mean == pytest.approx(value, abs=4.5 * estimate.error), name
        assert rung.tau == pytest.approx(90, rel=0.2)  # (1 + phi) / (1 - phi) rows of ten sweeps
        assert rung.ess == pytest.approx(15000 * 10 / rung.tau)
        assert rung.acceptance == 0.25
    assert [rung.exchange_rate is None for rung in found.rungs] == [False, False, True]
    assert found.rungs[0].exchange_rate == pytest.approx(0.4, abs=0.05)


def test_generalisation_error_is_averaged_over_samples() -> None:
    data = synthetic(n_samples=50, n_copies=1)
    after = data["teacher_overlap"].to_numpy()[:, -50:]
    expected = binary_disagreement(after, 101).mean(axis=(0, 1, 2))
    found = [rung.estimates["generalisation_error"].mean for rung in Results(data).summary().rungs]
    np.testing.assert_allclose(found, expected)


def test_overlap_error_knows_that_pairs_share_copies() -> None:
    data = synthetic(n_samples=4000, n_copies=4)
    data["overlap"][:] = data["overlap"].isel(pair=[0]).to_numpy()
    one = Results(data.isel(pair=[0])).summary().rungs[0].estimates["overlap"]
    six = Results(data).summary().rungs[0].estimates["overlap"]
    assert six.error == pytest.approx(one.error)


def test_errors_of_several_instances() -> None:
    found = summary(n_instances=4, disorder=5.0).rungs[0].estimates["energy"]
    assert found.error == found.sample_error > 5 * found.thermal_error > 0


def test_burn_in_is_skipped() -> None:
    data = synthetic()
    found = Results(data).summary()
    assert (found.first_sweep, found.n_samples) == (1010, 1000)
    later = data.isel(sample=slice(100, None))
    assert Results(later).summary().to_json_dict() == found.to_json_dict()


def test_proposals_that_went_anywhere_do_not_drown_the_energy_error() -> None:
    data = synthetic()
    errors = np.full(data["energy"].shape, 0.5)
    errors[0, -4:, 0, 0] = [np.nan, np.inf, 1e110, -1e110]
    data["energy_error"] = data["energy"].dims, errors
    found = [rung.estimates["energy_error"].mean for rung in Results(data).summary().rungs]
    np.testing.assert_allclose(found, [0.5 + (3000 - 1000 - 4 * 0.5) / 2000, 0.5, 0.5])


def test_no_samples_yet() -> None:
    data = synthetic().isel(sample=slice(50))
    with pytest.raises(ConfigError, match="no samples yet beyond the burn-in of 1000 sweeps"):
        Results(data).summary()


def test_few_samples_give_no_error() -> None:
    found = summary(n_samples=5)
    assert found.verdict == "not contradicted"
    assert found.rungs[0].reasons == ("too short: fewer than 8 samples",)
    assert np.isnan(found.rungs[0].estimates["energy"].error)
    assert "(?)" in found.table()


def at(data: xr.Dataset, name: str, values: np.ndarray, **where: int | slice) -> xr.Dataset:
    """A copy of the data set with some values of a variable replaced."""
    data = data.copy(deep=True)
    data[name][where] = values
    return data


def test_verdict_drift() -> None:
    data = synthetic()
    ramp = data["energy"].isel(rung=2) + np.linspace(-6, 6, 1100)[:, None]
    found = Results(at(data, "energy", ramp.transpose("instance", "sample", "copy"), rung=2)).summary()
    assert [rung.verdict for rung in found.rungs] == ["not contradicted", "not contradicted", "stuck"]
    assert found.verdict == "stuck"
    assert "the energy drifts: its last half differs from what was before" in found.table()


@pytest.mark.parametrize("name", ["energy", "teacher_overlap"])
def test_verdict_copies_disagree(name: str) -> None:
    data = synthetic()
    shifted = data[name].isel(copy=1, rung=1) + 2 * data[name].std().item()
    found = Results(at(data, name, shifted, copy=1, rung=1)).summary()
    assert [rung.verdict for rung in found.rungs] == ["not contradicted", "stuck", "not contradicted"]
    assert f"copies differ in {name}" in found.table()


def test_verdict_frozen() -> None:
    data = synthetic(n_instances=3)
    apart = at(at(data, "energy", 4.0, instance=1, rung=2), "overlap", 0.5, instance=1, rung=2)
    found = Results(apart).summary()
    assert found.rungs[2].verdict == "stuck"
    assert "copies frozen in different states" in found.table()
    together = at(at(data, "energy", 0.0, rung=2), "overlap", 1.0, rung=2)
    last = Results(together).summary().rungs[2]
    assert last.verdict == "not contradicted"
    assert last.reasons == ("too short: the energy never changes",)
    assert last.ess == 0
    assert np.isnan(last.tau)
    assert np.isnan(last.estimates["energy"].thermal_error)


def test_verdict_too_short() -> None:
    found = summary(n_copies=1, n_samples=600, phi=0.98, beta=(1.0,))
    assert found.rungs[0].ess < 50
    assert found.verdict == "stuck" or found.rungs[0].reasons == ("too short: fewer than 50 effective samples",)


def test_good_runs_are_rarely_called_stuck() -> None:
    verdicts = [summary(seed=seed, n_instances=2, n_samples=1000, phi=0.9).verdict for seed in range(20)]
    assert verdicts.count("not contradicted") >= 18


def trips(data: xr.Dataset) -> list[int | None]:
    """`round_trips`, from the series as the summary takes it."""
    return round_trips(of_rungs(data), data["beta"].to_numpy())


def test_round_trips() -> None:
    # One copy, three rungs; walker 0 goes up and down twice: rung of walker 0 is 0 1 2 1 0 1 2 1 0.
    way = [0, 1, 2, 1, 0, 1, 2, 1, 0]
    walker = np.empty((len(way), 3), dtype=np.int32)
    now = [0, 1, 2]
    for row, rung in enumerate(way):
        here = now.index(0)
        now[here], now[rung] = now[rung], now[here]
        walker[row] = now
    data = xr.Dataset(
        {"walker": (("instance", "sample", "copy", "rung"), walker[None, :, None])}, {"beta": ("rung", [0.1, 0.2, 0.3])}
    )
    # Walker 0 is at the cold end twice, with one visit of the hot end between; walker 1 (born in the middle) sits at
    # the hot end while walker 0 is away and never at the cold one; walker 2 goes cold, middle, cold.
    assert trips(data) == [None, brute_trips(walker, 0, 1), brute_trips(walker, 0, 2)]
    assert trips(data)[2] == 1
    assert trips(data.assign_coords(beta=("rung", [0.3, 0.2, 0.1])))[0] == brute_trips(walker, 2, 0)


def brute_trips(walker: np.ndarray, hot: int, cold: int) -> int:
    trips, state = 0, {}
    for row in walker:
        state[row[hot]] = "hot" if row[hot] in state else None
        if state.get(row[cold]) == "hot":
            trips += 1
        state[row[cold]] = "cold"
        if state[row[hot]] is None:
            del state[row[hot]]
    return trips


def test_round_trips_of_a_long_history() -> None:
    data = synthetic(beta=(0.1, 0.2, 0.3, 0.4), n_instances=2)
    walker = data["walker"].to_numpy()
    expected = [sum(brute_trips(walker[i, :, c], 0, r) for i in range(2) for c in range(2)) for r in range(1, 4)]
    assert trips(data) == [None, *expected]
    assert expected[-1] > 10


def test_json() -> None:
    found = json.loads(json.dumps(summary(n_instances=2).to_json_dict(), allow_nan=False))
    assert found["verdict"] in VERDICTS
    assert set(found) == {"verdict", "reasons", "rungs", "notes", "run", "free_energy", "exchange"}
    middle = found["rungs"][1]
    assert set(middle) == ESTIMATES | PLAIN
    assert all(set(middle[name]) == {"mean", "error", "thermal_error", "sample_error"} for name in ESTIMATES)
    assert set(found["rungs"][0]) == set(middle) - {"round_trips"}
    assert set(found["rungs"][2]) == set(middle) - {"exchange_rate"}


def test_json_has_the_reasons_and_the_notes() -> None:
    """As the table does."""
    drifting = synthetic(beta=(5.0, 6.0, 7.0))  # too cold to tell lnZ
    drifting["energy"][:, :, :, 1] += np.linspace(0, 20, 1100)[:, None]
    found = Results(drifting).summary()
    told = json.loads(json.dumps(found.to_json_dict(), allow_nan=False))
    reasons = [rung["reasons"] for rung in told["rungs"]]
    assert reasons == [list(rung.reasons) for rung in found.rungs]
    assert "the energy drifts" in reasons[1][0]
    assert all(reasons)
    assert told["notes"] == list(found.notes)
    assert told["notes"][0].startswith("no lnZ and s")
    table = " ".join(found.table().split())
    assert all(line in table for line in (*told["notes"], *(reason for some in reasons for reason in some)))


def test_json_of_the_smallest_run() -> None:
    found = json.loads(json.dumps(summary(n_copies=1, source="random", beta=(1.0,)).to_json_dict(), allow_nan=False))
    (rung,) = found["rungs"]
    assert set(rung) == {
        "beta",
        "energy",
        "energy_per_pattern",
        "heat_capacity",
        "tau",
        "ess",
        "r_hat",
        "acceptance",
        "verdict",
        "reasons",
        "trusted",
    }
    assert rung["energy"]["sample_error"] is None


def test_json_without_accept_step() -> None:
    data = synthetic()
    data["acceptance"] = data["acceptance"] * np.nan
    found = Results(data).summary()
    assert found.rungs[0].acceptance is None
    assert "acceptance" not in found.to_json_dict()["rungs"][0]


@pytest.mark.parametrize(
    ("mean", "error", "text"),
    [
        (0.21652, 0.0012, "0.2165(12)"),
        (0.21652, 0.00996, "0.217(10)"),
        (123.456, 1.23, "123.5(1.2)"),
        (123.456, 12.3, "123(12)"),
        (-0.5, 0.25, "-0.50(25)"),
        (1.0, 0.0, "1(0)"),
        (0.25, np.nan, "0.25(?)"),
        (np.nan, np.nan, "?"),
        (0.1234567, 1e-9, "0.123457(1)"),
        (0.0035274, 6.3e-6, "0.003527(7)"),
    ],
)
def test_compact(mean: float, error: float, text: str) -> None:
    assert compact(mean, error) == text


def test_table_fits_and_says_what_it_shows() -> None:
    found = summary(n_instances=4, n_copies=2, disorder=2.0, beta=tuple(np.linspace(0.25, 4, 16)))
    lines = found.table().splitlines()
    assert max(map(len, lines)) <= 120
    assert lines[0] == "N = 101 weights, P = 101 patterns; 4 instances, 2 copies, 16 rungs"
    assert "1000 samples after burn-in, sweeps 1010 to 11000" in lines[1]
    headings = [line.split() for line in lines if line.split()[:1] == ["beta"]]
    assert ["beta", "E/P", "C", "q", "R", "Binder", "eps_g", "lnZ", "s"] in headings
    assert ["beta", "tau", "ess", "acc", "exch", "trips", "verdict"] in headings
    assert any("thermal" in line and "sample to sample" in line for line in lines)
    assert f"Verdict: {found.verdict}" in lines
    assert str(found) == found.table()


def test_one_instance_has_no_second_table() -> None:
    assert "sample to sample" not in summary().table()


@pytest.mark.parametrize("architecture", ["committee", "parity"])
def test_fully_connected_machines_are_aligned(architecture: str) -> None:
    """Unit k is near unit k + 1 of the teacher (0.5, others 0.1)."""
    found = summary(architecture=architecture, n_hidden=3, n_weights=3003, n_samples=3000)
    for rung in found.rungs:
        exact = {"aligned_overlap": 0.5, "aligned_teacher_overlap": 0.5, "specialisation": 0.4}
        for name, value in exact.items():
            estimate = rung.estimates[name]
            assert estimate.mean == pytest.approx(value, abs=max(4.5 * estimate.error, 0.01)), name
            assert 0 < estimate.error < 0.01
    assert found.verdict == "not contradicted"
    (written,) = {frozenset(rung) for rung in found.to_json_dict()["rungs"][1:2]}
    assert {"aligned_overlap", "aligned_teacher_overlap", "specialisation", "overlap", "teacher_overlap"} <= written
    assert "generalisation_error" not in written  # there is no law and no test set
    assert "binder" not in written  # aligned overlaps are far from 0 whatever the law
    table = found.table()
    headings = [line.split() for line in table.splitlines() if line.split()[:1] == ["beta"]]
    assert headings[0][:8] == ["beta", "E/P", "C", "q_al", "R_al", "spec", "lnZ", "s"]
    assert "q_al, R_al:" in table
    assert "q_al" not in summary().table()


def test_the_widest_table_fits() -> None:
    data = synthetic(
        architecture="committee", n_hidden=3, n_weights=303, n_instances=4, disorder=2.0, n_samples=1000, phi=0.5
    )
    data["test_error"] = 0.4 - 0.1 * data["teacher_overlap"]
    lines = Results(data).summary().table().splitlines()
    assert max(map(len, lines)) <= 120
    assert any("eps_g" in line and "spec" in line for line in lines)


def test_copies_that_differ_by_a_permutation_are_no_reason_to_doubt() -> None:
    """R between the units taken one by one differs, R of the aligned units does not."""
    data = synthetic(architecture="committee", n_hidden=3, n_weights=303)
    shifted = data["teacher_overlap"].isel(copy=1, rung=1) + 2 * data["teacher_overlap"].std().item()
    data = at(data, "teacher_overlap", shifted, copy=1, rung=1)
    assert Results(data).summary().verdict == "not contradicted"
    matrix = data["hidden_teacher_overlap"]
    worse = matrix.isel(copy=1, rung=1) - 4 * matrix.isel(hidden=0, teacher_hidden=1).std().item()
    found = Results(at(data, "hidden_teacher_overlap", worse, copy=1, rung=1)).summary()
    assert [rung.verdict for rung in found.rungs] == ["not contradicted", "stuck", "not contradicted"]
    assert "copies differ in aligned_teacher_overlap" in found.table()


def test_incomplete_run_says_so() -> None:
    data = synthetic()
    data.attrs["complete"] = 0
    assert "to 11000 of 1000 (the run is not complete)" in Results(data).summary().table()


def test_results_in_memory() -> None:
    results = Results(synthetic())
    assert results.path is None
    assert results.config["model"]["n_inputs"] == 101
    assert "in memory" in repr(results)
    assert results.summary() is results.summary()


def test_load_from_results_and_from_a_run_that_goes_on(tmp_path: Path) -> None:
    data = synthetic(n_samples=200)
    directory, series, constants, attributes = written(tmp_path / "run", data)
    segments = [directory.write_segment(0, 0, series, {})]
    directory.write_checkpoint(constants, attributes, segments)
    running = load(tmp_path / "run")
    assert not running.summary().complete
    directory.write_results(constants, None, attributes, segments)
    finished = load(str(tmp_path / "run"))
    assert finished.path == tmp_path / "run"
    assert finished.summary().complete
    for found in (running, finished):
        assert found.summary().to_json_dict()["rungs"] == Results(data).summary().to_json_dict()["rungs"]


def test_memory_is_that_of_one_rung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the walkers of all rungs, as uint16 and joined once; the negative control takes all rungs together."""
    data = synthetic(n_samples=8000, n_copies=4, beta=tuple(np.linspace(0.2, 1.6, 8)), burn_in=100)
    directory, series, constants, attributes = written(tmp_path / "run", data)
    directory.write_results(constants, None, attributes, [directory.write_segment(0, 0, series, {})])
    monkeypatch.setattr("mcmc.reading._SMALL", -1)
    load(directory.path).summary()  # what is imported on the way counts for neither
    of_rung = sum(values.nbytes for values in series.values()) / data.sizes["rung"]
    bound = 2 * series["walker"].size * 2 + 4 * of_rung
    assert summary_peak(directory.path) > 2 * bound
    monkeypatch.setattr("mcmc.analysis.results.BYTES_AT_A_TIME", 1 << 16)
    assert summary_peak(directory.path) < bound


def summary_peak(path: Path) -> int:
    """Bytes, beside those of the free energy, whose sums do not grow with the run (see test_free_energy.py)."""
    results = load(path)
    results.free_energy()
    tracemalloc.start()
    try:
        results.summary()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def written(path: Path, data: xr.Dataset) -> tuple[RunDirectory, dict, dict, dict]:
    """A directory made for the run, and the data set as time series, constants and attributes to write there."""
    directory = RunDirectory(path)
    directory.create(data.attrs["run_toml"])
    series = {name: data[name].to_numpy() for name in data.variables if "sample" in data[name].dims}
    constants = {name: data[name].to_numpy() for name in data.variables if name not in series}
    attributes = {name: value for name, value in data.attrs.items() if name != "format_version"}
    return directory, series, constants, attributes


def test_load_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        load(tmp_path)


def test_series_helper_is_stationary() -> None:
    x = ar1(np.random.default_rng(1), 0.9, (2000, 50))
    assert x[:, 0].std() == pytest.approx(x[:, -1].std(), rel=0.1)
