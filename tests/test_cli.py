"""The commands: what they print, what they hand on, and their exit codes. Wrong input is in test_bad_input.py."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import mcmc
from mcmc import config, engine, parallel, progress
from mcmc.cli import run_command
from mcmc.errors import ConfigError, StorageError


class _World:
    """One rank of a pretended communicator: every rank reads what rank 0 would."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def broadcast(self, produce: Any) -> str:
        return produce()


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(config.template())
    return path


@pytest.fixture
def engine_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Replaces the engine's loop; holds the arguments of each call."""
    calls: list[tuple[Any, ...]] = []

    def record(*args: Any) -> int:
        calls.append(args)
        return 75

    monkeypatch.setattr(engine, "run", record)
    return calls


def test_run_hands_on_what_was_asked(run_file: Path, tmp_path: Path, engine_calls: list[tuple[Any, ...]]) -> None:
    out = tmp_path / "out"
    assert run_command(["run", str(run_file), "-o", str(out), "--set", "seed=5", "--walltime", "1 h", "--quiet"]) == 75
    [(asked, directory, world, walltime, quiet)] = engine_calls
    assert (asked.seed, asked.directory, directory) == (5, str(tmp_path), out)
    assert (world.rank, walltime, quiet) == (0, 3600.0, True)


def test_walltime_of_the_run_file_holds_without_the_option(
    run_file: Path, tmp_path: Path, engine_calls: list[tuple[Any, ...]]
) -> None:
    command = ["run", str(run_file), "-o", str(tmp_path / "out")]
    run_command([*command, "--set", "checkpoint.walltime=2 min"])
    run_command(command)
    assert [(call[3], call[4]) for call in engine_calls] == [(120.0, False), (None, False)]


def test_dry_run_creates_nothing(run_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", str(run_file), "-o", str(tmp_path / "out"), "--dry-run"]) == 0
    assert capsys.readouterr().out.strip()
    assert list(tmp_path.iterdir()) == [run_file]


@pytest.mark.parametrize(("error", "code"), [(ConfigError("a\nb"), 2), (StorageError("a\nb"), 3)])
@pytest.mark.parametrize("rank", [0, 1])
def test_errors_are_one_line_of_rank_0(
    error: Exception,
    code: int,
    rank: int,
    run_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any) -> int:
        raise error

    monkeypatch.setattr(parallel, "world", lambda: _World(rank, 2))
    monkeypatch.setattr(engine, "run", fail)
    monkeypatch.setenv("PMI_RANK", str(rank))  # as MPICH's launcher tells its ranks
    monkeypatch.setenv("PMI_SIZE", "2")
    assert run_command(["run", str(run_file), "-o", str(tmp_path / "out")]) == code
    assert capsys.readouterr() == ("", "mcmc: error: a b\n" if rank == 0 else "")


def test_the_template_runs_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_file, out = tmp_path / "new.toml", tmp_path / "out"
    assert run_command(["new", str(run_file)]) == 0
    short = ["--set", "schedule.sweeps=40", "--set", "schedule.burn_in=10", "--set", "model.n_inputs=15"]
    assert run_command(["run", str(run_file), "-o", str(out), "--quiet", *short]) == 0
    assert run_command(["run", str(run_file), "-o", str(out), "--quiet", *short]) == 0
    capsys.readouterr()
    assert run_command(["status", str(out)]) == 0
    assert "complete" in capsys.readouterr().out
    assert run_command(["summary", str(out), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rungs"]) == 8


def test_new_prints_the_template(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["new"]) == 0
    assert capsys.readouterr().out == config.template()


NOW = 1.7e9
STATUS = {
    "state": "running",
    "sweep": 500,
    "sweeps": 2000,
    "rate_proposals_per_s": 1.234e7,
    "seconds_left": 3725.0,
    "heartbeat": NOW - 20,
    "started": NOW - 1000,
    "hosts": ["node1", "node2"],
    "ranks": 4,
    "pid": 17,
    "message": "",
}


def _run_directory(path: Path, status: str) -> Path:
    """`path` as the directory of a run that has just started."""
    (path / "run.toml").write_text(config.template())
    (path / "segments").mkdir()
    (path / "status.json").write_text(status)
    return path


@pytest.mark.parametrize(
    ("changes", "present", "absent"),
    [
        (
            {},
            ["running", "500 of 2000 (25.0 %)", "1.23e+07 proposals/s", "1 h 2 min", "20 s ago", "node2"],
            ["lost"],
        ),
        ({"heartbeat": NOW - 400}, ["lost", "6 min 40 s"], ["ago", "1 h 2 min"]),
        ({"state": "complete", "heartbeat": NOW - 4000, "sweep": 2000}, ["complete", "100.0 %"], ["lost", "ago"]),
        ({"state": "stopped", "message": "walltime"}, ["stopped", "walltime"], ["1 h 2 min"]),
        ({"state": "failed", "message": "rank 1: no space"}, ["failed", "rank 1: no space"], []),
        ({"rate_proposals_per_s": None, "seconds_left": None, "sweep": 0}, ["0 of 2000"], ["proposals", "left"]),
    ],
)
def test_status(
    changes: dict[str, Any],
    present: list[str],
    absent: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    directory = _run_directory(tmp_path, json.dumps(STATUS | changes))
    assert run_command(["status", str(directory)]) == 0
    said = capsys.readouterr().out
    assert all(words in said for words in present)
    assert not any(words in said for words in absent)


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "{}", "\x00", '{"state": 1}', '{"state": "running", "sweep": "7"}'),
        *('{"state": "running", "heartbeat": NaN}', '{"state": "running", "hosts": [1]}'),
    ],
)
def test_damaged_status(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["status", str(_run_directory(tmp_path, content))]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "status.json: missing or damaged" in said.err


def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _run_directory(tmp_path, "")
    for module in [name for name in sys.modules if name.startswith("mcmc.analysis")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delattr(mcmc, "analysis", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "xarray" else name)
    assert run_command(["summary", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "mcmc: error: xarray is not installed; pip install 'mcmc[analysis]' brings it\n"


def test_info_prints_whatever_is_broken(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> str:
        raise RuntimeError("cannot load MPI\nlibrary")

    monkeypatch.setattr(parallel, "describe", fail)
    assert run_command(["info"]) == 0
    said = capsys.readouterr().out
    assert "not available: cannot load MPI library" in said
    assert all(word in said for word in ("simd", "hdf5", "perceptron", "squared-hinge", "heat-bath"))


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--version"]) == 0
    assert run_command(["--help"]) == 0
    assert run_command(["run", "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("mcmc 0.")
    assert "--dry-run" in said


def test_run_imports_nothing_heavy() -> None:
    code = "import sys, mcmc.cli, mcmc.config, mcmc.engine, mcmc.parallel; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"matplotlib", "xarray", "scipy", "rich", "mpi4py.MPI"} & set(loaded)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_progress_in_a_log_file(clock: list[float]) -> None:
    stream = io.StringIO()
    shown = progress.Progress(1000, 200, 50, stream=stream)
    for sweep in range(201, 1001):
        clock[0] += 1.0
        shown.update(sweep)
    shown.close()
    shown.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 16
    assert lines[0] == "sweep 250 of 1000 (25.0 %), 50 proposals/s, 12 min 30 s left"
    assert lines[-1] == "sweep 1000 of 1000 (100.0 %), 50 proposals/s, 0 s left"


def test_a_fast_run_prints_one_line(clock: list[float]) -> None:
    stream = io.StringIO()
    shown = progress.Progress(100, 0, 1, stream=stream)
    for sweep in range(1, 101):
        clock[0] += 0.01
        shown.update(sweep)
    shown.close()
    assert stream.getvalue().count("\n") == 1


def test_quiet_progress_is_silent(clock: list[float]) -> None:
    stream = io.StringIO()
    shown = progress.Progress(10, 0, 1, quiet=True, stream=stream)
    clock[0] += 1000
    shown.update(10)
    shown.close()
    assert stream.getvalue() == ""


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = _Terminal()
    shown = progress.Progress(1000, 0, 50, stream=stream)
    time.sleep(0.02)
    shown.update(500)
    shown.close()
    shown.close()
    assert "sweep 500 of 1000" in stream.getvalue()
    assert "proposals/s" in stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "0 s"), (59.6, "1 min 0 s"), (3725, "1 h 2 min"), (180000, "2 d 2 h")]
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert progress.duration(seconds) == words
