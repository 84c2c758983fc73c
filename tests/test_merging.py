"""`mcmc merge`: a scan as one file against the results of its tasks, and the segments of a run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import xarray

import mcmc
from mcmc import lock, storage
from mcmc.cli import run_command
from running import COMMITTEE, contents, tables


def command(*arguments: object) -> int:
    return run_command(list(map(str, arguments)))


def run_scan(path: Path, scan: Mapping[str, Any], changes: Mapping[str, Any] | None = None, code: int = 0) -> Path:
    """The directory of a scan that has run."""
    (path / "scan.toml").write_text(tomli_w.dumps(tables(changes) | {"scan": scan}))
    assert command("scan", path / "scan.toml", "-o", path / "out", "--quiet") == code
    return path / "out"


def merged(directory: Path) -> xarray.Dataset:
    assert command("merge", directory) == 0
    with xarray.open_dataset(directory / "scan.h5", engine="h5netcdf") as dataset:
        return dataset.load()


def single(directory: Path) -> xarray.Dataset:
    with xarray.open_dataset(directory / "results.h5", engine="h5netcdf") as dataset:
        return dataset.load()


def assert_holds(dataset: xarray.Dataset, task: xarray.Dataset) -> None:
    """A task's place in the merged file has its results at the corner, and padding elsewhere."""
    for name, variable in task.variables.items():
        values, expected = dataset[name].to_numpy(), variable.to_numpy()
        corner = tuple(map(slice, expected.shape))
        np.testing.assert_array_equal(values[corner], expected, err_msg=name)
        beside = np.ones(values.shape, dtype=bool)
        beside[corner] = False
        padding = values[beside]
        if values.dtype.kind == "f":
            assert np.isnan(padding).all(), name
        else:
            assert (padding == (-1 if values.dtype.kind == "i" else "")).all(), name
    for name in dataset.data_vars.keys() - task.variables.keys() - {"n_patterns", "n_weights", "burn_in", "complete"}:
        assert (dataset[name].isnull() | (dataset[name] == -1) | (dataset[name] == "")).all(), name


def test_a_grid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run_scan(tmp_path, {"data.alpha": [0.5, 1, 1.5], "seed": "3..4"})
    dataset = merged(out)
    assert capsys.readouterr().out.splitlines() == [str(out / "scan.h5")]
    assert dataset["energy"].dims == ("alpha", "seed", "instance", "sample", "copy", "rung")
    assert dataset["alpha"].to_numpy().tolist() == [0.5, 1.0, 1.5]
    assert dataset["seed"].to_numpy().tolist() == [3, 4]
    assert dataset["seed"].dtype == np.int64
    assert dataset["n_patterns"].to_numpy().tolist() == [[17, 17], [33, 33], [50, 50]]
    assert dataset["complete"].to_numpy().all()
    assert {"beta", "sweep", "task"} <= dataset.coords.keys()
    assert dataset["energy"].attrs == {"units": "energy", "long_name": "energy E, extensive"}
    assert dataset.attrs["complete"] == 1
    assert dataset.attrs["scan_toml"] == (tmp_path / "scan.toml").read_text()
    for alpha, name in ((0.5, "0.5"), (1.0, "1"), (1.5, "1.5")):
        for seed in (3, 4):
            at = dataset.sel(alpha=alpha, seed=seed)
            assert at["task"] == f"alpha={name},seed={seed}"
            assert_holds(at, single(out / f"alpha={name},seed={seed}"))


def test_a_pair_of_copies_is_the_same_in_every_task(tmp_path: Path) -> None:
    """Pairs of 2, 3 and 4 copies: (0, 1), (0, 2), (0, 3), (1, 2), ... of the most; of trees, too."""
    out = run_scan(tmp_path, {"ladder.n_copies": [1, 2, 3, 4]}, COMMITTEE)
    dataset = merged(out)
    names = {"overlap", "hidden_overlap"}
    for n_copies in (2, 3, 4):
        task, at = single(out / f"n_copies={n_copies}"), dataset.sel(n_copies=n_copies)
        there = [number for number, (_, b) in enumerate(combinations(range(4), 2)) if b < n_copies]
        for name in names:
            np.testing.assert_array_equal(at[name].isel(pair=there, missing_dims="raise"), task[name])
            assert np.isnan(at[name].drop_isel(pair=there)).all()
        assert_holds(at.drop_vars(names), task.drop_vars(names))
    assert all(np.isnan(dataset[name].sel(n_copies=1)).all() for name in names)


def test_padding(tmp_path: Path) -> None:
    """Of tasks that differ in the number of everything."""
    runs = [
        {},
        {"schedule.sweeps": 240, "data.n_instances": 3},
        {"ladder.beta": [0.5, 0.6, 0.7, 0.8, 0.9], "ladder.n_copies": 1},
        {"ladder.beta": [0.5], "ladder.n_copies": 3, "model.n_inputs": 21, "schedule.start": "both"},
        {"sampler.method": "auto", "data.source": "random"},
        {"model.architecture": "committee", "model.n_hidden": 3, "model.n_inputs": 11},
        {"model.architecture": "tree-committee", "model.n_hidden": 5, "model.n_inputs": 35},
    ]
    out = run_scan(tmp_path, {"runs": runs})
    dataset = merged(out)
    names = dataset["task"].to_numpy().tolist()
    assert len(set(names)) == 7
    assert dataset["energy"].shape == (7, 3, 24, 3, 5)
    assert dataset["hidden_overlap"].dims[-2:] == ("hidden", "hidden_b")
    for index, name in enumerate(names[:6]):
        assert_holds(dataset.isel(run=index), single(out / name))
    tree = single(out / names[6])
    found = dataset["hidden_self_overlap"].isel(run=6).to_numpy()
    diagonal = np.diagonal(found, axis1=-2, axis2=-1)
    np.testing.assert_array_equal(diagonal[:1, :12, :2, :4], tree["hidden_self_overlap"].to_numpy())
    assert np.isnan(found[..., ~np.eye(5, dtype=bool)]).all()
    # what a run does not set is as in the file, or missing
    assert dataset["n_inputs"].to_numpy().tolist() == [33, 33, 33, 21, 33, 11, 35]
    assert dataset["sweeps"].to_numpy().tolist() == [120, 240, 120, 120, 120, 120, 120]
    assert dataset["n_hidden"].to_numpy()[5:].tolist() == [3, 5]
    assert np.isnan(dataset["n_hidden"].to_numpy()[:5]).all()
    assert dataset["ladder.beta"].to_numpy()[3] == "[ 0.5, ]"
    assert dataset["sampler.method"].to_numpy().tolist() == ["", "", "", "", "auto", "", ""]


def test_names_that_results_have_too(tmp_path: Path) -> None:
    scan = {"schedule.start": ["random", "teacher"], "zip": {"data.n_patterns": [5, 6], "ladder.n_copies": [1, 2]}}
    dataset = merged(run_scan(tmp_path, scan))
    assert dataset["energy"].dims[:2] == ("schedule.start", "zip")
    assert dataset["schedule.start"].to_numpy().tolist() == ["random", "teacher"]
    assert dataset["data.n_patterns"].dims == ("zip",)
    assert dataset["n_patterns"].to_numpy().tolist() == [[5, 6]] * 2
    assert dataset["n_copies"].to_numpy().tolist() == [1, 2]
    assert {"data.n_patterns", "n_copies"} <= dataset.coords.keys()
    assert dataset["start"].sel({"schedule.start": "teacher"}).isel(zip=0).to_numpy().tolist() == ["teacher", ""]


def test_a_key_that_another_replaces(tmp_path: Path) -> None:
    dataset = merged(run_scan(tmp_path, {"runs": [{"data.alpha": 0.5}, {"data.n_patterns": 5}]}))
    np.testing.assert_array_equal(dataset["alpha"], [0.5, np.nan])
    assert dataset["n_patterns"].to_numpy().tolist() == [17, 5]


@pytest.mark.parametrize("changes", [{}, {"model.architecture": "tree-committee", "model.n_hidden": 3}])
def test_a_scan_of_one_task(changes: dict[str, Any], tmp_path: Path) -> None:
    out = run_scan(tmp_path, {}, changes)
    dataset = merged(out)
    assert dataset["energy"].dims == ("instance", "sample", "copy", "rung")
    assert_holds(dataset, single(out / "run"))


def test_incomplete_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Missing values, and a warning."""
    out = run_scan(tmp_path, {"data.alpha": [0.5, -0.0 + 1]})
    file = tmp_path / "more.toml"
    file.write_text((tmp_path / "scan.toml").read_text() + 'seed = "0..2"\n')
    (out / "scan.toml").write_text(file.read_text())
    command("scan", file, "-o", out, "--task", "4", "--quiet")
    capsys.readouterr()
    dataset = merged(out)
    assert "warning: 5 of 6 tasks are not complete: alpha=0.5,seed=0, alpha=0.5,seed=1, " in capsys.readouterr().err
    assert dataset.attrs["complete"] == 0
    assert dataset["complete"].to_numpy().tolist() == [[0, 0, 0], [0, 1, 0]]
    assert dataset["n_patterns"].to_numpy().tolist() == [[-1, -1, -1], [-1, 33, -1]]
    assert dataset["task"].to_numpy()[0, 2] == "alpha=0.5,seed=2"
    assert np.isnan(dataset["energy"].to_numpy()).all(axis=(2, 3, 4, 5)).tolist() == [[True] * 3, [True, False, True]]
    assert_holds(dataset.isel(alpha=1, seed=1), single(out / "alpha=1,seed=1"))


def test_damaged_results_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run_scan(tmp_path, {"seed": [0, 1]})
    path = out / "seed=0" / "results.h5"
    path.write_bytes(path.read_bytes()[:-1000])
    dataset = merged(out)
    assert "seed=0/results.h5: damaged" in capsys.readouterr().err
    assert dataset["complete"].to_numpy().tolist() == [0, 1]
    path.unlink()
    assert command("scan", tmp_path / "scan.toml", "-o", out, "--quiet") == 0
    assert merged(out)["complete"].to_numpy().tolist() == [1, 1]


def test_the_file_is_the_same_whoever_ran_what_first(tmp_path: Path) -> None:
    out = run_scan(tmp_path, {"seed": "0..2"})
    assert command("merge", out, "-o", tmp_path / "a.h5") == 0
    for index in (2, 0, 1):
        options = ["-o", tmp_path / "other", "--task", index, "--quiet"]
        assert command("scan", tmp_path / "scan.toml", *options) == 0
    assert command("merge", tmp_path / "other", "-o", tmp_path / "b.h5") == 0
    assert contents(tmp_path / "a.h5") == contents(tmp_path / "b.h5")


@pytest.mark.parametrize(
    ("arguments", "code", "fragment"),
    [
        ([], 2, "DIR"),
        (["none"], 2, "no such directory"),
        (["empty"], 2, "no run has started"),
        (["new"], 3, "no task is complete yet"),
        (["out", "out", "-o", "x.h5"], 2, "expected one directory"),
        (["out/seed=0", "-o", "x.h5"], 2, "expected none for a run"),
        (["out", "-o", "none/x.h5"], 3, "cannot write"),
    ],
)
def test_wrong_commands(
    arguments: list[str],
    code: int,
    fragment: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run_scan(tmp_path, {"seed": [0]})
    (tmp_path / "new").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "new" / "scan.toml").write_text((tmp_path / "scan.toml").read_text())
    assert command("merge", *arguments) == code
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert fragment in said


# --- one run ---


def stopped(path: Path) -> Path:
    """The directory of a run that has stopped early, after some segments."""
    (path / "run.toml").write_text(
        tomli_w.dumps(tables({"schedule.sweeps": 10**6, "checkpoint.every": 0.02} | COMMITTEE))
    )
    assert command("run", path / "run.toml", "-o", path / "out", "--quiet", "--walltime", "0.8") == 75
    return path / "out"


def test_segments_of_a_stopped_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """results.h5 has what mcmc.load finds in the segments; the run goes on as before."""
    out = stopped(tmp_path)
    assert len(list((out / "segments").iterdir())) > 1
    loaded = mcmc.load(out).dataset
    assert command("merge", out) == 0
    assert capsys.readouterr().out.splitlines() == [str(out / "results.h5")]
    found = single(out)
    assert found.attrs["complete"] == 0
    xarray.testing.assert_identical(found.drop_attrs(), loaded.drop_attrs())
    assert not (out / "lock").exists()
    command("run", tmp_path / "run.toml", "-o", out, "--quiet", "--walltime", "0.2")
    assert mcmc.load(out).dataset.sizes["sample"] > loaded.sizes["sample"]


def test_a_run_that_goes_on_is_not_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = stopped(tmp_path)
    held = lock.take(out / "lock")
    assert command("merge", out) == 3
    assert "is running here" in capsys.readouterr().err
    held.release()


def test_a_complete_run_is_merged_already(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mcmc.run(tables(), tmp_path / "out", quiet=True)
    path = tmp_path / "out" / "results.h5"
    before = path.read_bytes()
    with closing(lock.take(tmp_path / "out" / "lock")):  # of a killed process on another host, say
        assert command("merge", tmp_path / "out") == 0
    assert path.read_bytes() == before
    path.write_bytes(before[:-500])
    assert command("merge", tmp_path / "out") == 3
    assert "missing or damaged; mcmc run makes it anew" in capsys.readouterr().err


def test_no_checkpoint_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage.RunDirectory(tmp_path / "out").create("seed = 1\n")
    assert command("merge", tmp_path / "out") == 3
    assert "no checkpoint (yet)" in capsys.readouterr().err
