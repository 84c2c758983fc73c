"""Scans: from the file to tasks, their names, what is wrong with them; running, continuing and counting them."""

from __future__ import annotations

import gc
import json
import signal
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

import launchers
from launchers import Launcher
from mcmc import config, engine, farm, lock
from mcmc.cli import run_command
from mcmc.parallel import Serial
from mcmc.part import Part
from mcmc.problem import Problem
from mcmc.scan import Scan
from mcmc.stop import REASONS, Stop
from running import MCMC, assert_same_results, contents, status, tables, wait_for

RUNS = Path(__file__).parent.parent / "runs"
SETTINGS = [{"sampler.method": "heat-bath"}, {"ladder.beta": [0.5, 1.0]}, {"data.n_instances": 3, "seed": 5}, {}]
GRID = {"data.alpha": [0.5, 1.0], "seed": "0..2"}
LONG = {"model.n_inputs": 101, "schedule.sweeps": 10000, "checkpoint.every": 0.05}
"""A task of half a second."""


def text(scan: Mapping[str, Any] | None, changes: Mapping[str, Any] | None = None) -> str:
    """A scan file: the tables of running.py, with the table [scan]."""
    return tomli_w.dumps(tables(changes) | ({} if scan is None else {"scan": scan}))


def write(path: Path, scan: Mapping[str, Any] | None, changes: Mapping[str, Any] | None = None) -> Path:
    path.write_text(text(scan, changes))
    return path


def names(scan: Mapping[str, Any] | None) -> list[str]:
    return [task.name for task in Scan(text(scan)).tasks]


def command(*arguments: object) -> int:
    return run_command(list(map(str, arguments)))


def run_singly(scan_directory: Path, out: Path) -> None:
    """Every task of a scan once more, by hand."""
    for file in sorted(scan_directory.glob("*/run.toml")):
        assert command("run", file, "-o", out / file.parent.name, "--quiet") == 0


def assert_same_scans(left: Path, right: Path, n_tasks: int) -> None:
    found = sorted(path.name for path in left.iterdir() if path.is_dir())
    assert found == sorted(path.name for path in right.iterdir() if path.is_dir())
    assert len(found) == n_tasks
    for name in found:
        assert_same_results(left / name, right / name)
        assert not (left / name / "lock").exists()


# --- tasks ---


@pytest.mark.parametrize("path", sorted(RUNS.glob("scan-*.toml")), ids=lambda path: path.stem)
def test_the_scan_files_of_the_repository_are_right(path: Path) -> None:
    scan = Scan(path.read_text(), directory=str(path.parent))
    scan.check()
    assert len(scan.tasks) == np.prod(scan.shape) > 1


def test_a_grid_varies_the_first_axis_slowest() -> None:
    scan = Scan(text({"data.alpha": [0.5, 1.5], "seed": "3..5"}))
    assert scan.shape == (2, 3)
    assert [task.settings for task in scan.tasks[:4]] == [
        {"data.alpha": 0.5, "seed": 3},
        {"data.alpha": 0.5, "seed": 4},
        {"data.alpha": 0.5, "seed": 5},
        {"data.alpha": 1.5, "seed": 3},
    ]
    assert [task.position for task in scan.tasks] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert scan.tasks[3].name == "alpha=1.5,seed=3"
    asked = scan.config(scan.tasks[4])
    assert (asked.data.alpha, asked.seed, asked.model.n_inputs) == (1.5, 4, 33)


def test_zip_and_runs_are_axes_too() -> None:
    scan = Scan(
        text({"seed": [1, 2], "zip": {"data": {"alpha": [1, 2]}, "model.n_inputs": [11, 13]}, "runs": SETTINGS[:2]})
    )
    assert [axis.name for axis in scan.axes] == ["seed", "zip", "runs"]
    assert scan.shape == (2, 2, 2)
    assert [task.name for task in scan.tasks[:4]] == [
        "alpha=1,n_inputs=11,method=heat-bath,seed=1",
        f"alpha=1,beta={scan.tasks[1].name.partition('beta=')[2][:8]},n_inputs=11,seed=1",
        "alpha=2,n_inputs=13,method=heat-bath,seed=1",
        f"alpha=2,beta={scan.tasks[1].name.partition('beta=')[2][:8]},n_inputs=13,seed=1",
    ]
    asked = scan.config(scan.tasks[5])
    assert (asked.seed, asked.data.alpha, asked.model.n_inputs, asked.ladder.beta) == (2, 1, 11, [0.5, 1.0])


def test_without_axes_there_is_one_task() -> None:
    for scan in (None, {}):
        [task] = Scan(text(scan)).tasks
        assert (task.name, task.settings, task.position) == ("run", {}, ())
    assert Scan(text(None)).config(task).ladder.n_copies == 2


@pytest.mark.parametrize(
    ("key", "value", "name"),
    [
        ("data.alpha", 0.25, "alpha=0.25"),
        ("data.alpha", 2, "alpha=2"),
        ("data.alpha", 2.0, "alpha=2"),
        ("data.alpha", 1e-05, "alpha=1e-05"),
        ("data.alpha", 1e16, "alpha=10000000000000000"),
        ("data.alpha", 10**16, "alpha=10000000000000000"),
        ("seed", 2**62, "seed=4611686018427387904"),
        ("schedule.start", "both", "start=both"),
        ("output.store_data", True, "store_data=true"),
        ("model.loss.margin", -0.5, "margin=-0.5"),
        ("ladder.beta.n", 7, "n=7"),
        ("data.path", "a/../b c.npz", "path=713def09"),
        ("data.path", "x" * 33, "path=997d53cf"),
        ("ladder.beta", [1, 2], "beta=3a316d6d"),
        ("ladder.beta", [1.0, 2.0], "beta=3a316d6d"),
        ("ladder.beta", {"min": 1.0, "max": 2, "n": 3}, None),
    ],
)
def test_names(key: str, value: Any, name: str | None) -> None:
    """They are for good: another name would run a task again."""
    [found] = names({key: [value]})
    if name is None:
        assert found in names({key: [{"n": 3, "max": 2.0, "min": 1}]})
    else:
        assert found == name


def test_names_depend_on_the_settings_alone() -> None:
    few = set(names({"seed": "3..4", "data.alpha": [0.5]}))
    assert few < set(names({"data.alpha": [2, 0.5, 1], "seed": "0..9"}))
    assert few == set(names({"zip": {"seed": [4, 3], "data.alpha": [0.5, 0.5]}}))
    assert few == set(names({"runs": [{"data.alpha": 0.5, "seed": seed} for seed in (3, 4)]}))


def test_names_of_keys_with_one_last_part() -> None:
    assert names({"model.weights": ["ising"], "data.teacher.weights": ["ising"], "seed": [1]}) == [
        "data.teacher.weights=ising,model.weights=ising,seed=1"
    ]


def test_long_names_are_cut() -> None:
    runs = [{f"data.{'x' * 60}{i}": seed for i in range(6)} for seed in range(2)]
    found = names({"runs": runs})
    assert len(set(found)) == 2
    assert all(len(name) == 200 for name in found)


def test_relative_paths_start_at_the_scan_file(tmp_path: Path) -> None:
    changes = {"data": {"source": "file", "path": "sub/task.npz"}, "model.n_inputs": None}
    changes |= {"constraint": {"reference": "file", "path": "reference.npz", "overlap": 0.5}}
    scan = Scan(text({"seed": [1], "data.path": ["a.npz", "/b.npz"]}, changes), directory=str(tmp_path / "x" / ".."))
    first, second = (scan.config(task) for task in scan.tasks)
    assert first.data_path == tmp_path / "a.npz"
    assert second.data_path == Path("/b.npz")
    assert first.constraint_path == tmp_path / "reference.npz"
    assert config.loads(first.text, directory="/elsewhere").data_path == tmp_path / "a.npz"


def test_overrides() -> None:
    scan = Scan(text({"data.n_patterns": [5, 6]}), ["ladder.n_copies=3", "scan.seed='7..8'"])
    assert [task.name for task in scan.tasks][-1] == "n_patterns=6,seed=8"
    asked = scan.config(scan.tasks[-1])
    assert (asked.ladder.n_copies, asked.data.alpha, asked.n_patterns, asked.seed) == (3, None, 6, 8)
    assert Scan(scan.text).config(scan.tasks[-1]).text == asked.text


def test_a_thousand_tasks_are_checked_quickly() -> None:
    began = time.perf_counter()
    scan = Scan(text({"data.alpha": [0.1 * i for i in range(1, 11)], "seed": "0..99"}))
    scan.check()
    print(f"{len(scan.tasks)} tasks checked in {time.perf_counter() - began:.2f} s")
    assert len(scan.tasks) == 1000


# --- what is wrong ---

WRONG: list[tuple[str, list[str]]] = [
    ("[scan", ["scan.toml", "not TOML", "line"]),
    ("scan = 1", ["scan: got 1", "a table [scan]"]),
    ('scan = "0..9"', ["scan: got '0..9'"]),
    ("[[scan]]\nseed = [1]", ["scan: got", "a table [scan]"]),
    ("[scan]\nseed = 1", ["scan.seed: got 1", "a list, or a range"]),
    ("[scan]\nseed = []", ["scan.seed: got []", "at least one value"]),
    ('[scan]\nseed = "5"', ["scan.seed: got '5'", '"0..99"']),
    ('[scan]\nseed = ""', ["scan.seed: got ''"]),
    ('[scan]\nseed = "a..b"', ["scan.seed: got 'a..b'"]),
    ('[scan]\nseed = "0...9"', ["scan.seed: got '0...9'"]),
    ('[scan]\nseed = "0..9..2"', ["scan.seed: got '0..9..2'"]),
    ('[scan]\nseed = "0.5..9"', ["scan.seed: got '0.5..9'"]),
    ('[scan]\nseed = "9..0"', ["scan.seed: got '9..0'", "does not go down"]),
    ('[scan]\nseed = "0..1000000000000"', ["scan.seed", "at most 100000"]),
    ('[scan]\nseed = "0..99999999999999999999999"', ["scan.seed: got"]),
    ('[scan]\nseed = "-1..1"', ["task seed=-1", "seed: got -1", "an integer from 0"]),
    ("[scan]\nseed = [1, 1]", ["two tasks seed=1"]),
    ('[scan]\n"data.alpha" = [1e16, 10000000000000000]', ["two tasks alpha=10000000000000000"]),
    ('[scan]\n"data.alpha" = [1, 1.0]', ["two tasks alpha=1"]),
    ('[scan]\n"data.alpha" = 0.5', ["scan.data.alpha: got 0.5"]),
    ('[scan]\n"data.alpha" = [0.5, -1.0]', ["task alpha=-1", "data.alpha: got -1.0", "> 0"]),
    ('[scan]\n"data.alpha" = [0.5, "x"]', ["task alpha=x", "data.alpha: got 'x'"]),
    ('[scan]\n"data.alpha" = [nan]', ["data.alpha: got nan"]),
    ('[scan]\n"data.alhpa" = [0.5]', ["data.alhpa: unknown key", "did you mean 'alpha'"]),
    ("[scan]\nalpha = [0.5]", ["alpha: unknown key", "did you mean 'data.alpha'"]),
    ('[scan]\n"" = [0.5]', ["unknown key"]),
    ('[scan]\n"a\\nb" = [0.5]', ["unknown key"]),
    ('[scan]\n"seed.x" = [1]', ["got 'seed.x=1'", "which seed is not"]),
    ("[scan]\nmodel = [1]", ["model: got 1", "a table [model]"]),
    ("[scan.data]\nalpha = 3", ["scan.data.alpha: got 3"]),
    ("[scan.data]", ["scan.data: got {}"]),
    ('[scan]\n"data.alpha" = [1]\ndata.alpha = [2]', ["data.alpha on two axes"]),
    ("[scan]\nseed = [1]\n[scan.zip]\nseed = [2]", ["seed on two axes"]),
    ("[scan]\nseed = [1]\n[[scan.runs]]\nseed = 2", ["seed on two axes"]),
    ('[scan]\n"ladder.beta" = [[1.0]]\n"ladder.beta.n" = [3]', ["ladder.beta.n and ladder.beta"]),
    ("[scan]\nzip = 3", ["scan.zip: got 3"]),
    ("[scan]\nzip = [1]", ["scan.zip: got [1]"]),
    ("[scan.zip]", ["scan.zip: got {}"]),
    ('[scan.zip]\nseed = "1..3"\n"data.alpha" = [1, 2]', ["scan.zip", "seed 3, data.alpha 2", "one length"]),
    ("[scan.zip]\nseed = 3", ["scan.zip.seed: got 3"]),
    ("[scan]\nruns = 1", ["scan.runs: got 1", "[[scan.runs]]"]),
    ("[scan]\nruns = []", ["scan.runs: got []"]),
    ("[scan]\nruns = [1]", ["scan.runs: got [1]"]),
    ("[scan.runs]\nseed = 1", ["scan.runs: got", "[[scan.runs]]"]),
    ("[[scan.runs]]\nseed = [1]", ["seed: got [1]", "an integer"]),
    ("[[scan.runs]]\nseed = 1\n[[scan.runs]]\nseed = 1", ["two tasks seed=1"]),
    ('[[scan.runs]]\n"schedule.sweeps" = 10', ["task sweeps=10", "schedule.burn_in"]),
    ("[[scan.runs]]\nladder.beta = { min = 1.0 }", ["ladder.beta.max: missing"]),
    ('[scan]\n"sampler.method" = ["metropolis", "hmc"]', ["task method=hmc", "sampler.method: got 'hmc'"]),
    ('[scan]\n"ladder.n_copies" = "0..2"', ["task n_copies=0", "ladder.n_copies: got 0"]),
    ('[scan]\n"ladder.beta" = [0.5, 1.0]', ["ladder.beta: got 0.5"]),
    ('[scan]\nseed = "0..999"\n"ladder.n_copies" = "1..999"', ["got 999000 tasks", "at most 100000"]),
    ('[scan]\n"scan.seed" = [1]', ["scan: unknown key"]),
    ("[scna]\nseed = [1]", ["scna: unknown key"]),
]


@pytest.mark.parametrize(("added", "fragments"), WRONG, ids=[added.replace("\n", " ") for added, _ in WRONG])
def test_wrong_scan_files(added: str, fragments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "scan.toml"
    file.write_text(f"{added}\n{text(None)}" if added.startswith("scan =") else f"{text(None)}\n{added}\n")
    for options in (["--list"], ["--dry-run"], ["-o", tmp_path / "out"], ["-o", tmp_path / "out", "--task", "0"]):
        assert command("scan", file, *options) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert said.err.startswith("mcmc: error: ")
        for fragment in fragments:
            assert fragment in said.err
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ([], "-o DIR: missing"),
        (["-o", "out", "--task", "2"], "--task: got 2, expected a number from 0 to 1"),
        (["-o", "out", "--task", "-1"], "--task"),
        (["-o", "out", "--ranks-per-task", "0"], "--ranks-per-task"),
        (["-o", "out", "--ranks-per-task", "1", "--task", "0"], "--ranks-per-task"),
        (["-o", "out", "--ranks-per-task", "2"], "--ranks-per-task: got 2, expected at most 1"),
        (["-o", "out", "--set", "seed=3"], "--set: got seed=3, expected another key: the scan varies seed"),
        (["-o", "out", "--set", "ladder.n_copies=0"], "ladder.n_copies: got 0"),
        (["-o", "out", "--set", "nonsense"], "--set: got 'nonsense'"),
        (["-o", "out", "--walltime", "soon"], "--walltime: got 'soon'"),
        (["-o", "scan.toml"], "which is a file"),
        (["-o", "in-use"], "in-use is not empty and holds no scan"),
        (["-o", "scan.toml/x"], "cannot create scan.toml/x"),
    ],
)
def test_wrong_commands(
    arguments: list[str],
    fragment: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "scan.toml", {"seed": [0, 1]})
    (tmp_path / "in-use").mkdir()
    (tmp_path / "in-use" / "thesis.tex").touch()
    assert command("scan", "scan.toml", *arguments) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert fragment in said.err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in-use", "scan.toml", "thesis.tex"]


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("scan", tmp_path / "none.toml", "--list") == 2
    assert "cannot read" in capsys.readouterr().err


# --- running ---


def test_results_are_those_of_single_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "scan.toml", {"runs": SETTINGS})
    assert command("scan", file, "-o", tmp_path / "out") == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[2].partition(",")[0] for line in said[:-1]] == ["complete"] * 4
    assert said[-1] == f"{tmp_path / 'out'}: 4 of 4 tasks complete"
    run_singly(tmp_path / "out", tmp_path / "single")
    for path in (tmp_path / "out").glob("*/"):  # by hand in its own directory
        assert command("run", path / "run.toml", "-o", path) == 0
    assert capsys.readouterr().out.count("complete already") == 4
    assert_same_scans(tmp_path / "out", tmp_path / "single", 4)
    other = (contents(tmp_path / "out" / name / "results.h5")["energy"] for name in ("run", "method=heat-bath"))
    assert next(other) != next(other)


def test_complete_tasks_are_skipped_and_a_scan_can_grow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert command("scan", write(tmp_path / "scan.toml", {"seed": "0..1"}), "-o", out) == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert command("scan", tmp_path / "scan.toml", "-o", out) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before
    capsys.readouterr()
    assert command("scan", write(tmp_path / "scan.toml", {"seed": "0..3"}), "-o", out) == 0
    assert capsys.readouterr().out.count("complete,") == 2
    del before[out / "scan.toml"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(farm.load(out).tasks) == 4


def test_more_sweeps_continue_every_task(tmp_path: Path) -> None:
    for name, sweeps in (("a", 120), ("a", 240), ("b", 240)):
        file = write(tmp_path / "scan.toml", {"seed": "0..1"}, {"schedule.sweeps": sweeps})
        assert command("scan", file, "-o", tmp_path / name, "--quiet") == 0
    assert_same_scans(tmp_path / "a", tmp_path / "b", 2)


@pytest.mark.parametrize("changes", [{"ladder.n_copies": 3}, {"schedule.sweeps": 100}, {"data.alpha": 0.9}])
def test_another_scan_in_the_directory_is_refused(
    changes: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert command("scan", write(tmp_path / "scan.toml", {"seed": "0..1"}), "-o", out) == 0
    kept = (out / "scan.toml").read_text()
    capsys.readouterr()
    for options in ([], ["--task", "0"]):
        assert command("scan", write(tmp_path / "scan.toml", {"seed": "0..2"}, changes), "-o", out, *options) == 3
        said = capsys.readouterr().err
        assert "holds a scan with another configuration: " + next(iter(changes)) in said
    assert (out / "scan.toml").read_text() == kept
    assert len(list(out.iterdir())) == 3


def test_a_scan_by_another_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Data are the same if their contents are, whatever the way to them."""
    here, link, out = tmp_path / "here", tmp_path / "link", tmp_path / "out"
    here.mkdir()
    link.symlink_to(here)
    rng = np.random.default_rng(1)
    np.savez(here / "task.npz", inputs=rng.normal(size=(9, 5)), labels=np.ones(9))
    changes = {"data": {"source": "file", "path": "task.npz"}, "model.n_inputs": None}
    file = write(here / "scan.toml", {"seed": "0..1"}, changes)
    assert command("scan", file, "-o", out, "--quiet") == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert command("scan", link / "scan.toml", "-o", out) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before
    here.rename(tmp_path / "there")
    write(tmp_path / "there" / "scan.toml", {"seed": "0..1"}, changes | {"schedule.sweeps": 240})
    assert command("scan", tmp_path / "there" / "scan.toml", "-o", out) == 0
    np.savez(tmp_path / "there" / "task.npz", inputs=rng.normal(size=(9, 5)), labels=np.ones(9))
    write(tmp_path / "there" / "scan.toml", {"seed": "0..1"}, changes | {"schedule.sweeps": 360})
    capsys.readouterr()
    assert command("scan", tmp_path / "there" / "scan.toml", "-o", out) == 1
    assert capsys.readouterr().err.count("there/task.npz: has changed since the run in") == 2


def test_broken_tasks_are_named_and_the_rest_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "good.npz", inputs=rng.normal(size=(9, 5)), labels=np.ones(9))
    changes = {"data": {"source": "file", "path": "good.npz"}, "model.n_inputs": None}
    file = write(tmp_path / "scan.toml", {"data.path": ["bad.npz", "good.npz"], "seed": "0..2"}, changes)
    out = tmp_path / "out"
    assert command("scan", file, "-o", out) == 1
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert [line.partition(": data")[0] for line in lines] == [
        f"mcmc: error: task path=bad.npz,seed={seed}" for seed in range(3)
    ]
    assert "3 of 6 tasks complete, 3 broken" in said.out
    np.savez(tmp_path / "bad.npz", inputs=rng.normal(size=(9, 5)), labels=np.ones(9))
    assert command("scan", file, "-o", out) == 0


def test_a_task_without_memory_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody expects ends the command, at whatever point; the next one does what else there is first."""
    file, out = write(tmp_path / "scan.toml", {"seed": [1, 2, 3]}), tmp_path / "out"
    problem = engine.Problem

    def without_memory(config: Any, *args: Any) -> Any:
        if config.seed == 1:
            raise MemoryError("no memory")
        return problem(config, *args)

    monkeypatch.setattr(engine, "Problem", without_memory)
    for _ in range(2):
        with pytest.raises(MemoryError):
            command("scan", file, "-o", out)
    assert [status(out / f"seed={seed}").get("state") for seed in (1, 2, 3)] == ["failed", "complete", "complete"]
    monkeypatch.undo()
    assert command("scan", file, "-o", out) == 0
    assert not list(out.rglob("lock*"))


def test_a_diverging_task_and_a_damaged_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = {
        "model.weights": "gaussian",
        "model.loss.name": "square",
        "data.labels": "real",
        "sampler.method": "langevin",
    }
    file = write(tmp_path / "scan.toml", {"sampler.step_size": [0.01, 50.0, 0.02, 0.03]}, real)
    out = tmp_path / "out"
    (out / "step_size=0.02" / "segments").mkdir(parents=True)
    (out / "step_size=0.02" / "run.toml").write_text("seed = 1")
    (out / "step_size=0.02" / "checkpoint.h5").write_text("damaged")
    (out / "scan.toml").write_text(file.read_text())
    assert command("scan", file, "-o", out) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].startswith("mcmc: error: task step_size=50: ")
    assert "step_size=0.02/checkpoint.h5: damaged" in said[1]
    assert status(out / "step_size=50")["state"] == "failed"
    assert command("status", out) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("4: 2 complete, 1 failed, 1 new")
    assert lines[-1].startswith("failed     step_size=50: diverged")


def test_tasks_that_others_hold_are_left_to_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a holder elsewhere that stays silent the task is taken over, at the end."""
    monkeypatch.setattr(lock, "_BEAT", 0.05)
    monkeypatch.setattr(lock, "_SILENT", 0.3)
    file, out = write(tmp_path / "scan.toml", {"seed": "0..3"}), tmp_path / "out"
    for seed in (0, 2):
        (out / f"seed={seed}").mkdir(parents=True)
    (out / "scan.toml").write_text(file.read_text())
    ours = lock.take(out / "seed=0" / "lock")
    said = json.loads(lock._signature()) | {"machine": "another", "host": "node7"}
    (out / "seed=2" / "lock").write_text(json.dumps(said))
    assert command("scan", file, "-o", out) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in lines if ": complete, " in line] == [
        f"seed={seed}: complete" for seed in (1, 3, 2)
    ]
    assert lines[-1].endswith("3 of 4 tasks complete, 1 with others")
    assert command("scan", file, "-o", out, "--task", "0", "--quiet") == 3
    assert "is running here" in capsys.readouterr().err
    ours.release()
    assert command("scan", file, "-o", out, "--task", "0", "--quiet") == 0


def test_a_stop_ends_the_waiting_for_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = write(tmp_path / "scan.toml", {"seed": "0..1"}), tmp_path / "out"
    (out / "seed=0").mkdir(parents=True)
    (out / "scan.toml").write_text(file.read_text())
    said = json.loads(lock._signature()) | {"machine": "another", "host": "node7"}
    (out / "seed=0" / "lock").write_text(json.dumps(said))
    clear = lock.clear

    def late_signal(*args: Any) -> bool:
        signal.raise_signal(signal.SIGUSR1)
        return clear(*args)

    began = time.monotonic()
    with monkeypatch.context() as patched:
        patched.setattr(lock, "clear", late_signal)
        assert command("scan", file, "-o", out) == 75
    assert command("scan", file, "-o", out, "--walltime", "1") == 75
    assert time.monotonic() - began < lock._SILENT
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith("1 of 2 tasks complete, 1 left; the same command continues")
    assert (out / "seed=0" / "lock").exists()


def test_a_task_that_ends_the_job_does_so_after_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it has once; and it is tried again."""
    file, out = write(tmp_path / "scan.toml", {"seed": "0..3"}), tmp_path / "out"
    advance = Part.advance

    def breaks(part: Part, *args: Any) -> None:
        if part.problem.config.seed in (0, 2):
            raise ZeroDivisionError
        advance(part, *args)

    with monkeypatch.context() as broken:
        broken.setattr(Part, "advance", breaks)
        for n_complete in (0, 1, 2, 2):
            with pytest.raises(ZeroDivisionError):
                farm.run(Scan(file.read_text()), out, Serial(), quiet=True)
            found = [status(path)["state"] for path in sorted(out.glob("*/"))]
            assert found.count("complete") == n_complete
    assert command("scan", file, "-o", out, "--quiet") == 0


def test_stopping_at_the_walltime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The task at work, a long one, stops at a checkpoint, no other is begun; the same command goes on."""
    file, advance = write(tmp_path / "scan.toml", {"schedule.sweeps": [6000, 1000, 2000]}, LONG), Part.advance

    def slowly(self: Part, first: int, last: int) -> None:
        advance(self, first, last)
        time.sleep(4e-4 * (last - first + 1))

    with monkeypatch.context() as slow:
        slow.setattr(Part, "advance", slowly)
        codes = [command("scan", file, "-o", tmp_path / "out", "--walltime", "1")]
    assert "0 of 3 tasks complete, 3 left; the same command continues" in capsys.readouterr().out
    assert [status(path)["state"] for path in (tmp_path / "out").glob("*/")] == ["stopped"]
    while codes[-1] == 75 and len(codes) < 50:
        codes.append(command("scan", file, "-o", tmp_path / "out", "--quiet", "--walltime", "1"))
    assert codes[-1] == 0
    run_singly(tmp_path / "out", tmp_path / "single")
    assert_same_scans(tmp_path / "out", tmp_path / "single", 3)


def test_a_signal_between_two_tasks_counts() -> None:
    """Whoever watches when it comes, all know: the scan, the task at work and the next one."""
    with Stop(None) as outer:
        with Stop(None) as task:
            assert (outer.reason(0), task.reason(0)) == (0, 0)
            signal.raise_signal(signal.SIGUSR1)
            assert REASONS[outer.reason(0)] == REASONS[task.reason(0)] == "SIGUSR1"
        with Stop(None) as late:
            assert REASONS[late.reason(0)] == "SIGUSR1"
    with Stop(None) as other:
        assert other.reason(0) == 0


def test_the_walltime_of_the_file_is_that_of_the_scan(tmp_path: Path) -> None:
    file = write(tmp_path / "scan.toml", {"seed": "0..5"}, LONG | {"checkpoint.walltime": 0.3})
    assert command("scan", file, "-o", tmp_path / "out", "--quiet") == 75


def test_a_directory_of_a_scan_is_not_one_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = write(tmp_path / "scan.toml", {"seed": [1]}), tmp_path / "out"
    assert command("scan", file, "-o", out, "--quiet") == 0
    assert command("run", out / "seed=1" / "run.toml", "-o", out) == 2
    assert command("scan", file, "-o", out / "seed=1") == 2
    assert command("summary", out) == 2
    said = capsys.readouterr().err.splitlines()
    assert ["holds no run" in said[0], "holds no scan" in said[1], "holds a scan" in said[2]] == [True] * 3


@pytest.mark.parametrize("content", [b"seed = ", b"\xff", b"[scan]\nseed = 1"])
def test_a_damaged_scan_toml(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = write(tmp_path / "scan.toml", {"seed": [1]}), tmp_path / "out"
    out.mkdir()
    (out / "scan.toml").write_bytes(content)
    for arguments in (("status", out), ("merge", out), ("scan", file, "-o", out)):
        assert command(*arguments) == 3
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "scan.toml: damaged" in said


# --- groups ---


@pytest.mark.parametrize(
    ("arguments", "sizes"),
    [
        ((1, 10, 8), [1]),
        ((4, 10, 8), [1, 1, 1, 1]),
        ((4, 4, 8), [1, 1, 1, 1]),
        ((8, 3, 8), [2, 3, 3]),
        ((8, 1, 8), [8]),
        ((8, 1, 5), [5]),
        ((8, 2, 3), [3, 3]),
        ((8, 10, 8, 2), [2, 2, 2, 2]),
        ((9, 10, 8, 2), [2, 2, 2, 2]),
        ((8, 2, 8, 2), [2, 2]),
        ((3, 10, 8, 3), [3]),
    ],
)
def test_groups(arguments: tuple[int, ...], sizes: list[int]) -> None:
    groups = farm.cut(*arguments)
    assert [len(group) for group in groups] == sizes
    ranks = [rank for group in groups for rank in group]
    assert ranks == sorted(set(ranks))
    assert set(ranks) <= set(range(arguments[0]))


# --- status, list, dry run ---


def test_what_was_complete_with_fewer_sweeps_is_not(tmp_path: Path) -> None:
    file = write(tmp_path / "scan.toml", {"seed": [1, 2]})
    assert command("scan", file, "-o", tmp_path / "out", "--quiet") == 0
    sweeps = config.load(tmp_path / "out" / "seed=1" / "run.toml").schedule.sweeps
    states = {}
    for asked in (sweeps, 2 * sweeps):
        scan = Scan(text({"seed": [1, 2]}, {"schedule.sweeps": asked}))
        states[asked] = [status["state"] for status in farm.statuses(scan, tmp_path / "out")]
    assert states == {sweeps: ["complete"] * 2, 2 * sweeps: ["stopped"] * 2}


def test_status_of_a_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = time.time()
    found: list[dict[str, Any]] = [
        {"state": "complete", "sweep": 120, "elapsed_seconds": 60.0, "heartbeat": now - 1e6},
        {"state": "running", "sweep": 60, "sweeps": 120, "seconds_left": 30.0, "elapsed_seconds": 30.0}
        | {"heartbeat": now - 1, "hosts": ["node1"]},
        {"state": "running", "sweep": 60, "sweeps": 120, "heartbeat": now - 1000},
        {"state": "stopped", "sweep": 30},
        {"state": "failed", "sweep": 0, "message": "no space"},
    ]
    (tmp_path / "scan.toml").write_text(text({"seed": "0..5"}))
    for seed, said in enumerate(found):
        (tmp_path / f"seed={seed}").mkdir()
        (tmp_path / f"seed={seed}" / "status.json").write_text(json.dumps(said))
    assert command("status", tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == [
        "tasks      6: 1 complete, 1 running, 1 stopped, 1 failed, 1 lost, 1 new",
        "sweeps     270 of 720 (37.5 %)",
        "left       about 3 min 30 s at the present rate",
        "lost       seed=2: 16 min 40 s silent",
        "failed     seed=4: no space",
        "running    seed=1: 50.0 %, node1",
    ]


def test_a_status_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As if it were not there."""
    found = [
        '{"state": null}',
        '{"state": ["x"]}',
        '{"state": "running", "heartbeat": "now"}',
        '{"state": "failed"}',
        "\xff",
    ]
    found += ['{"state": "stopped", "sweep": "many"}', '{"state": "complete", "elapsed_seconds": {}, "sweep": 120}']
    (tmp_path / "scan.toml").write_text(text({"seed": f"0..{len(found) - 1}"}))
    for seed, said in enumerate(found):
        (tmp_path / f"seed={seed}").mkdir()
        (tmp_path / f"seed={seed}" / "status.json").write_text(said, encoding="latin-1")
    assert command("status", tmp_path) == 0
    assert capsys.readouterr().out.splitlines()[0] == "tasks      7: 1 failed, 6 new"


def test_status_of_a_thousand_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The time is printed for the reader (pytest -rP)."""
    (tmp_path / "scan.toml").write_text(text({"seed": "0..999"}))
    said = json.dumps({"state": "complete", "sweep": 120, "sweeps": 120, "heartbeat": 1.0, "elapsed_seconds": 1.0})
    for seed in range(1000):
        (tmp_path / f"seed={seed}").mkdir()
        (tmp_path / f"seed={seed}" / "status.json").write_text(said)
    began = time.perf_counter()
    done = launchers.run(None, 1, [*MCMC, "status", str(tmp_path)])
    print(f"status of 1000 tasks: {time.perf_counter() - began:.2f} s, interpreter included")
    assert done.stdout.splitlines()[0] == "tasks      1000: 1000 complete"


def test_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = write(tmp_path / "scan.toml", GRID), tmp_path / "out"
    assert command("scan", file, "-o", out, "--task", "4", "--quiet") == 0
    assert command("scan", file, "-o", out, "--list") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == list("012345")
    assert [line[1] for line in lines] == ["new"] * 4 + ["complete", "new"]
    assert lines[4][2] == "alpha=1,seed=1"
    assert sorted(path.name for path in out.iterdir()) == ["alpha=1,seed=1", "scan.toml"]


def test_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "scan.toml", GRID | {"schedule.sweeps": [120, 1200]})
    assert command("scan", file, "-o", tmp_path / "out", "--dry-run") == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["tasks"] == "12 (data.alpha 2 x seed 3 x schedule.sweeps 2)"
    row = 8 * (3 * 8 + 4) + 4 * 8  # energy, teacher_overlap, acceptance; overlap; walker
    assert lines["files"].startswith(f"{6 * (12 + 120) * row / 1000:.3g} kB")
    assert lines["files"].endswith(f"{120 * row / 1000:.3g} kB")
    assert {"memory", "time", "ranks"} <= lines.keys()
    assert list(tmp_path.iterdir()) == [file]


def test_one_problem_at_a_time_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its data may be large."""
    from mcmc import forecast

    alive: weakref.WeakSet[Problem] = weakref.WeakSet()
    most = []

    def counted(asked: config.Config) -> Problem:
        problem = Problem(asked)
        alive.add(problem)
        gc.collect()
        most.append(len(alive))
        return problem

    monkeypatch.setattr(forecast, "Problem", counted)
    monkeypatch.setattr(forecast, "_BUDGET", 0.01)
    forecast.of_scan(Scan(text({"data.alpha": [0.1 * i for i in range(1, 21)]})), 1)
    assert len(most) > 20
    assert max(most) <= 2  # the one before goes when the next one is there


def test_predicted_time_is_that_of_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Within a factor that leaves room for a busy machine; printed for the reader."""
    from mcmc import forecast

    scan = Scan(text({"seed": "0..1", "data.alpha": [0.5, 1.0]}, {"schedule.sweeps": 20000, "model.n_inputs": 201}))
    predicted = sum(task.seconds for task in forecast._needs(scan))
    began = time.perf_counter()
    assert farm.run(scan, tmp_path / "out", Serial(), quiet=True) == 0
    taken = time.perf_counter() - began
    print(f"predicted {predicted:.2f} s, taken {taken:.2f} s")
    assert 0.02 * taken < predicted < 50 * taken


# --- many ranks ---


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan in one process, and its tasks by hand."""
    path = tmp_path_factory.mktemp("reference")
    file = write(path / "scan.toml", {"runs": SETTINGS, "data.alpha": [0.5, 1.0]})
    assert command("scan", file, "-o", path / "out", "--quiet") == 0
    run_singly(path / "out", path / "single")
    assert_same_scans(path / "out", path / "single", 8)
    return path


@pytest.mark.parametrize(("n_ranks", "options"), [(1, []), (2, []), (3, []), (5, []), (5, ["--ranks-per-task", "2"])])
def test_ranks(n_ranks: int, options: list[str], launcher: Launcher, reference: Path, tmp_path: Path) -> None:
    program = [*MCMC, "scan", str(reference / "scan.toml"), "-o", str(tmp_path / "out"), *options]
    done = launchers.run(launcher, n_ranks, program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": complete, ") == 8  # MPICH may put two lines on one
    assert done.stdout.count("8 of 8 tasks complete") == 1
    assert_same_scans(tmp_path / "out", reference / "single", 8)


def test_few_tasks_on_many_ranks(launcher: Launcher, tmp_path: Path) -> None:
    """Groups of several ranks; a rank too many is named once."""
    file = write(tmp_path / "scan.toml", {"seed": "0..1"}, {"ladder": {"beta": [0.5, 1.0], "n_copies": 1}})
    done = launchers.run(launcher, 5, [*MCMC, "scan", str(file), "-o", str(tmp_path / "out")])
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("mcmc:")] == [
        "mcmc: warning: 1 of 5 ranks are idle: 2 tasks, 2 walkers at most"
    ]
    assert [status(path)["ranks"] for path in (tmp_path / "out").glob("*/")] == [2, 2]
    run_singly(tmp_path / "out", tmp_path / "single")
    assert_same_scans(tmp_path / "out", tmp_path / "single", 2)


def test_tasks_one_by_one(any_launcher: Launcher, reference: Path, tmp_path: Path) -> None:
    """As a job array does."""
    for index in range(8):
        program = [*MCMC, "scan", str(reference / "scan.toml"), "-o", str(tmp_path / "out"), "--task", str(index)]
        done = launchers.run(any_launcher, 1 + index % 2, [*program, "--quiet"])
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert_same_scans(tmp_path / "out", reference / "single", 8)


def test_two_jobs_at_one_scan(launcher: Launcher, tmp_path: Path) -> None:
    """Every task is run by one of them."""
    file = write(tmp_path / "scan.toml", {"seed": "0..9"}, LONG)
    program = [*MCMC, "scan", str(file), "-o", str(tmp_path / "out")]
    with launchers.started(launcher, 2, program) as first, launchers.started(launcher, 2, program) as second:
        said = [process.communicate(timeout=120) for process in (first, second)]
        assert [first.returncode, second.returncode] == [0, 0], said
    began = [line.partition(": sweep ")[2] for path in (tmp_path / "out").glob("*/run.log") for line in path.open()]
    assert len([line for line in began if line]) == 10
    assert all(line.startswith("0 to") for line in began if line)
    assert [status(path)["state"] for path in (tmp_path / "out").glob("*/")] == ["complete"] * 10
    single = write(tmp_path / "one.toml", {"seed": "0..9"}, LONG)
    assert command("scan", single, "-o", tmp_path / "single", "--quiet") == 0
    assert_same_scans(tmp_path / "out", tmp_path / "single", 10)


def test_killed_in_the_middle(launcher: Launcher, tmp_path: Path) -> None:
    """Killed twice, whatever was under way: the same command goes on, on other ranks, with the same results."""
    file = write(tmp_path / "scan.toml", {"seed": "0..7"}, LONG)
    out = tmp_path / "out"
    program = [*MCMC, "scan", str(file), "-o", str(out)]
    for n_complete in (1, 4):
        with launchers.started(launcher, 3, program):
            wait_for(lambda n=n_complete: sum(status(path).get("state") == "complete" for path in out.glob("*/")) >= n)
    assert any(status(path).get("state") == "running" for path in out.glob("*/"))
    done = launchers.run(launcher, 2, program)
    assert done.returncode == 0, done.stderr
    assert command("scan", file, "-o", tmp_path / "single", "--quiet") == 0
    assert_same_scans(out, tmp_path / "single", 8)


def test_a_signal_stops_all_groups(launcher: Launcher, tmp_path: Path) -> None:
    file = write(tmp_path / "scan.toml", {"seed": "0..7"}, LONG | {"schedule.sweeps": 10**6})
    out = tmp_path / "out"
    with launchers.started(launcher, 2, [*MCMC, "scan", str(file), "-o", str(out)]) as process:
        wait_for(lambda: sum((path / "checkpoint.h5").exists() for path in out.glob("*/")) == 2)
        process.send_signal(signal.SIGUSR1)
        said, _ = process.communicate(timeout=60)
    assert [status(path)["state"] for path in out.glob("*/")] == ["stopped"] * 2
    assert "0 of 8 tasks complete, 8 left; the same command continues" in said


def test_an_unexpected_error_ends_all(launcher: Launcher, tmp_path: Path) -> None:
    file = write(tmp_path / "scan.toml", {"seed": "0..7"}, LONG)
    code = """
import sys
import mcmc.part
from mpi4py import MPI
works = mcmc.part.Part.advance
def breaks(self, *args):
    if MPI.COMM_WORLD.rank == 1:
        raise ZeroDivisionError("broken for a test")
    return works(self, *args)
mcmc.part.Part.advance = breaks
from mcmc.cli import main
main()
"""
    program = [MCMC[0], "-c", code, "scan", str(file), "-o", str(tmp_path / "out")]
    done = launchers.run(launcher, 3, program, timeout=60)
    assert done.returncode != 0
    assert done.stderr.count("ZeroDivisionError: broken for a test") == 1


def test_a_diverging_task_on_several_ranks(launcher: Launcher, tmp_path: Path) -> None:
    """The group goes on with the next task, an idle rank of it too."""
    real = {
        "model": {"n_inputs": 8, "weights": "gaussian", "loss": {"name": "square"}},
        "data": {"source": "teacher", "labels": "real", "n_patterns": 40},
        "sampler.method": "langevin",
        "ladder": {"beta": [0.01, 1.0], "n_copies": 1},
    }
    file = write(tmp_path / "scan.toml", {"sampler.step_size": [0.01, 0.6, 0.02]}, real | {"schedule.sweeps": 2000})
    program = [*MCMC, "scan", str(file), "-o", str(tmp_path / "out"), "--ranks-per-task", "3"]
    done = launchers.run(launcher, 3, program)
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if line.startswith("mcmc: error")]
    assert line.startswith("mcmc: error: task step_size=0.6: instance 0, walker ")
    assert "2 of 3 tasks complete, 1 broken" in done.stdout
    assert status(tmp_path / "out" / "step_size=0.6")["state"] == "failed"


def test_wrong_input_is_said_once(any_launcher: Launcher, tmp_path: Path) -> None:
    file = write(tmp_path / "scan.toml", {"data.alpha": [1.0, -1.0]})
    done = launchers.run(any_launcher, 3, [*MCMC, "scan", str(file), "-o", str(tmp_path / "out")])
    assert done.returncode == 2
    [line] = [line for line in done.stderr.splitlines() if line.startswith("mcmc:")]
    assert "task alpha=-1: data.alpha: got -1.0" in line
    assert list(tmp_path.iterdir()) == [file]


def test_steps_of_annealing_are_not_sweeps() -> None:
    """A burn-in that is 111 times as long has no more than 1000 steps either, which are what a short one takes."""
    from mcmc import forecast

    annealed = {"schedule": {"sweeps": 1000, "burn_in": 900, "measure_every": 100, "annealing": {"beta": 0.1}}}
    lengths = {"zip": {"schedule.sweeps": [1000, 100000], "schedule.burn_in": [900, 99900]}}
    short, long = (task.seconds for task in forecast._needs(Scan(text(lengths, annealed))))
    assert short < long < 50 * short
    speed = forecast._Speed(burn_in=2.0, after=1.0, step=10.0)
    config_of = [config.load(tables(annealed | {"schedule.burn_in": n})) for n in (900, 990)]
    assert [speed.seconds(asked) for asked in config_of] == [900 * 12 + 100, 990 * 12 + 10]
    longer = config.load(tables(annealed | {"schedule.sweeps": 3000, "schedule.burn_in": 2000}))
    assert speed.seconds(longer) == 2000 * 2 + 1000 * 10 + 1000
