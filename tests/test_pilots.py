"""Pilot runs, which find the number of rungs: what they find, that nothing interrupts it for good, and what is told of
a directory that has nothing else yet."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

import launchers
import mcmc
from launchers import Launcher
from mcmc import config, engine, ladder, pilot
from mcmc.cli import run_command
from mcmc.errors import StorageError
from mcmc.problem import Problem
from mcmc.storage import RunDirectory
from running import CASES, DRIVE, MCMC, assert_same_results, status, tables, write_run_file

SOUGHT: dict[str, Any] = {
    "model.n_inputs": 101,
    "data": {"source": "random", "alpha": 0.5, "n_instances": 2},
    "ladder": {"n_copies": 4, "tune": "barrier"},
    "ladder.beta": {"min": 0.05, "max": 6.0, "n": "auto", "spacing": "geometric"},
    "schedule": {"sweeps": 1500, "burn_in": 1000, "measure_every": 2},
}
SHORT = SOUGHT | {"model.n_inputs": 41, "schedule": {"sweeps": 600, "burn_in": 300, "measure_every": 2}}
"""Pilots of 128 and 256 sweeps."""


def run(file: Path, out: Path, *options: str) -> int:
    return run_command(["run", str(file), "-o", str(out), "--quiet", *options])


def log(out: Path) -> list[str]:
    """What the log says of pilot runs, without the times."""
    found = (line.partition(" ")[2] for line in (out / "run.log").read_text().splitlines())
    return [line for line in found if line.startswith("pilot run")]


@pytest.fixture(scope="module")
def sought(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory of a run whose number of rungs was sought."""
    directory = tmp_path_factory.mktemp("sought")
    file = write_run_file(directory / "run.toml", SOUGHT)
    assert run(file, directory / "out") == 0
    return directory / "out"


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of a shorter one."""
    directory = tmp_path_factory.mktemp("short")
    file = write_run_file(directory / "run.toml", SHORT)
    assert run(file, directory / "out") == 0
    assert len(log(directory / "out")) == 2
    return directory / "out"


@pytest.fixture
def stop_at_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Path], None]:
    """Runs a file, and stops it in the first pilot after two stretches of a sweep."""

    def stop(file: Path, out: Path) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(engine, "_STRETCH", 1e-9)
            assert run(file, out, "--walltime", "0.000001") == 75

    return stop


# --- what they find ---


@given(st.integers(64, 10**6), st.integers(1, 50))
def test_pilots_are_short(burn_in: int, every: int) -> None:
    sweeps = ladder.pilot_sweeps(burn_in, every)
    assert sweeps == [128 * every << k for k in range(len(sweeps))]
    assert 1 <= len(sweeps) <= 6
    assert len(sweeps) == 1 or sweeps[-1] <= burn_in


def test_a_verdict() -> None:
    """Barrier 3.5 of rejections 1/2: 8 rungs are right, which the first run cannot know; 3 is the least for tuning."""
    beta, tried = ladder.spaced("linear", 0.0, 1.0, 8), np.full(7, 10**6)
    first, second = (pilot.judge(number, beta, tried // 2, tried) for number in (1, 2))
    assert (len(first.beta), first.settled) == (8, False)
    assert (len(second.beta), second.settled) == (8, True)
    np.testing.assert_allclose(first.beta, beta, atol=1e-6)
    assert len(pilot.judge(2, beta, tried, tried).beta) == ladder.LEAST_TUNED == 3
    assert not pilot.judge(2, beta, tried // 4, tried).settled
    assert first.line == "barrier 3.5, lowest acceptance 0.5; next 8 rungs"


def test_the_number_of_rungs_is_found(sought: Path) -> None:
    """2 Lambda + 1 within a fifth: a pilot run of some hundred sweeps tells Lambda to a few percent."""
    found = mcmc.load(sought).exchange()
    assert found.beta.size == pytest.approx(2 * found.barrier + 1, rel=0.2)
    assert 0.35 < found.rejection.mean() < 0.6
    assert found.beta[[0, -1]].tolist() == [0.05, 6.0]
    lines = log(sought)
    assert lines[0].startswith("pilot run 1: 128 sweeps, 8 rungs, barrier ")
    assert lines[1].startswith("pilot run 2: 256 sweeps, ")
    assert lines[-1].endswith(f"next {found.beta.size} rungs")
    assert 'n = "auto"' in (sought / "run.toml").read_text()


def test_pilots_have_walkers_of_their_own() -> None:
    problem = Problem(config.load(tables(SOUGHT)))
    trial = problem.trial(problem.beta, 128)
    weights = [one.initial_weights(0, problem.instance(0), range(4)) for one in (problem, trial)]
    assert (weights[0] != weights[1]).any()
    np.testing.assert_array_equal(problem.instance(0).labels, trial.instance(0).labels)


@pytest.mark.parametrize("option", [[], ["--from-checkpoint"]])
def test_verify_of_a_number_that_was_found(option: list[str], sought: Path) -> None:
    assert run_command(["verify", str(sought), *option, "--quiet"]) == 0


def test_another_run_is_refused(short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the same directory, that has rungs of its own."""
    out = tmp_path / "out"
    assert run(write_run_file(tmp_path / "plain.toml"), out) == 0
    assert run(short.parent / "run.toml", out) == 3
    assert "holds a run with another configuration" in capsys.readouterr().err


def test_dry_run_of_unknown_rungs(short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", str(short.parent / "run.toml"), "-o", str(tmp_path / "out"), "--dry-run"]) == 0
    assert "found by pilot runs before sweep 0" in capsys.readouterr().out


def test_dry_run_of_a_scan_of_unknown_rungs(short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Says so if one task has them, and nothing if none has."""
    file, told = tmp_path / "scan.toml", []
    for n_rungs in (["auto", 9], [8, 9]):
        axes = tomli_w.dumps({"scan": {"ladder.beta.n": n_rungs}})
        file.write_text((short.parent / "run.toml").read_text() + axes)
        assert run_command(["scan", str(file), "-o", str(tmp_path / "out"), "--dry-run"]) == 0
        told.append("found by pilot runs before sweep 0" in capsys.readouterr().out)
    assert told == [True, False]


def test_a_pilot_that_diverges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = CASES["gaussian-underdamped"] | SOUGHT | {"model.weights": "gaussian", "model.loss.name": "square"}
    changes |= {"sampler": {"method": "underdamped", "step_size": 50.0}, "schedule.start": None}
    file = write_run_file(tmp_path / "run.toml", {key: value for key, value in changes.items() if value is not None})
    for _ in range(2):  # the second time there is a directory
        assert run(file, tmp_path / "out") == 1
        assert re.match(r"mcmc: error: pilot run 1: instance 0, walker \d+ .*\n\Z", capsys.readouterr().err)
    found = status(tmp_path / "out")
    assert (found["state"], found["sweep"]) == ("failed", 0)
    assert found["message"].startswith("diverged: pilot run 1: instance 0, walker ")
    assert log(tmp_path / "out") == []


# --- interruptions ---


def test_stopped_again_and_again(short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every pilot and in the run itself; status tells where."""
    monkeypatch.setattr(engine, "_STRETCH", 1e-4)
    file, out, stops = short.parent / "run.toml", tmp_path / "out", []
    for session in itertools.count():
        code = run(file, out, "--walltime", f"{2e-3 * 1.15**session:.9f}")
        if code == 0:
            break
        found = status(out)
        assert (code, found["state"], found["sweeps"]) == (75, "stopped", 600)
        number, sweep = re.match(r"(?:pilot run (\d): )?stopped by walltime at sweep (\d+);", found["message"]).groups()
        assert found["sweep"] == (0 if number else int(sweep))
        assert (out / "pilots").exists() == (number is not None)
        stops.append((int(number or 9), int(sweep)))
    assert stops == sorted(set(stops))  # none was in vain
    assert {number for number, _ in stops} == {1, 2, 9}
    assert [line for line in log(out) if "barrier" in line] == log(short)
    assert_same_results(out, short)


def test_pilots_on_ranks(short: Path, any_launcher: Launcher, tmp_path: Path) -> None:
    """Stopped in the first pilot by one rank, and by three: there are two instances. Then finished by two."""
    file = short.parent / "run.toml"
    at = []
    for n_ranks, options in ((1, ["--stop", "1e-9"]), (3, ["--stop", "1e-9"]), (2, ["10"])):
        command = [*DRIVE, *options, str(file), str(tmp_path)]
        done = launchers.run(any_launcher if n_ranks > 1 else None, n_ranks, command)
        assert done.returncode == 0, done.stdout + done.stderr
        at.append(status(tmp_path / "run")["message"])
    assert all(message.startswith("pilot run 1: stopped by walltime at sweep ") for message in at[:2])
    assert_same_results(tmp_path / "run", short)


def test_pilots_on_more_ranks_than_walkers(any_launcher: Launcher, tmp_path: Path) -> None:
    """One of nine is idle: stopped in the first pilot, then finished by as many, and by one process from the start."""
    ladder_of_8 = {"data.n_instances": 1, "ladder.n_copies": 1, "schedule": {"sweeps": 300, "burn_in": 200}}
    for directory, ways in (("alone", [(1, ["10"])]), ("idle", [(9, ["--stop", "1e-9"]), (9, ["10"])])):
        (tmp_path / directory).mkdir()
        file = write_run_file(tmp_path / directory / "run.toml", SHORT | ladder_of_8)
        for n_ranks, options in ways:
            command = [*DRIVE, *options, str(file), str(tmp_path / directory)]
            done = launchers.run(any_launcher if n_ranks > 1 else None, n_ranks, command)
            assert done.returncode == 0, done.stdout + done.stderr
            if "--stop" in options:
                message = status(tmp_path / directory / "run")["message"]
                assert message.startswith("pilot run 1: stopped by walltime at sweep ")
    assert_same_results(tmp_path / "idle" / "run", tmp_path / "alone" / "run")


KILLED = f"""
import os, signal
from mcmc import engine, pilot
judge = pilot.judge
def judged(number, *of):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return judge(number, *of)
pilot.judge = judged
{MCMC[2]}
"""
"""`mcmc`, killed as soon as the second pilot run has ended."""


def test_killed_between_pilots(short: Path, tmp_path: Path) -> None:
    """What they have found is found once."""
    file, out = short.parent / "run.toml", tmp_path / "out"
    command = ["run", str(file), "-o", str(out), "--quiet"]
    killed = subprocess.run([MCMC[0], "-c", KILLED, *command], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (status(out)["state"], len(log(out))) == ("running", 1)
    half_written = out / "pilots" / ".checkpoint.h5.01234567.1@elsewhere.tmp"
    half_written.write_bytes(b"half")
    os.utime(half_written, (0, 0))
    assert run(file, out) == 0
    first, second = log(short)
    assert log(out) == [first, "pilot run 2: continues at sweep 256", second]
    assert not (out / "pilots").exists()
    assert_same_results(out, short)


def test_a_run_whose_ladder_is_known_does_not_look_again(
    short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checkpoint at sweep 0 has it."""
    file, out = short.parent / "run.toml", tmp_path / "out"
    advance = engine._Run._advance

    def killed(self: Any, last: int) -> None:
        if not self.name:
            raise KeyboardInterrupt
        advance(self, last)

    with monkeypatch.context() as patch:
        patch.setattr(engine._Run, "_advance", killed)
        assert run(file, out) == 130
    assert RunDirectory(out).read_checkpoint().attrs["sweep"] == 0
    assert not (out / "pilots").exists()
    monkeypatch.setattr(engine, "_Pilot", None)
    assert run(file, out) == 0
    assert_same_results(out, short)


def test_a_damaged_checkpoint_of_a_pilot(
    short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one before it is used; without one nothing is done, and nothing is lost."""
    file, out = short.parent / "run.toml", tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_STRETCH", 1e-9)
        for _ in range(2):
            assert run(file, out, "--walltime", "0.000001") == 75
    newest = out / "pilots" / "checkpoint.h5"
    damaged = bytearray(newest.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    newest.write_bytes(damaged)
    shutil.copytree(out, tmp_path / "alone")
    (tmp_path / "alone" / "pilots" / "checkpoint.prev.h5").unlink()
    assert run(file, tmp_path / "alone") == 3
    assert re.match(r"mcmc: error: .*pilots/checkpoint.h5: damaged: .*\n\Z", capsys.readouterr().err)
    assert run(file, out) == 0
    assert "pilots/checkpoint.h5: damaged" in capsys.readouterr().err
    assert_same_results(out, short)


def test_who_has_lost_the_directory_writes_no_checkpoint(tmp_path: Path) -> None:
    """Its lock is that of the pilots in it."""
    files = RunDirectory(tmp_path / "out")
    files.lock()
    files.create("seed = 1")
    files.pilots.make()
    files.pilots.write_checkpoint({}, {"pilot": 1}, [])
    (tmp_path / "out" / "lock").write_text("somebody else")
    with pytest.raises(StorageError, match="another process has taken over this run"):
        files.pilots.write_checkpoint({}, {"pilot": 2}, [])
    assert files.pilots.read_checkpoint().attrs == {"pilot": 1}


# --- a directory with pilots alone ---


@pytest.fixture
def stopped(short: Path, tmp_path: Path, stop_at_once: Callable[[Path, Path], None]) -> Path:
    """Output directory of a run that is stopped in its first pilot; its run file is beside it."""
    shutil.copy(short.parent / "run.toml", tmp_path)
    stop_at_once(tmp_path / "run.toml", tmp_path / "out")
    return tmp_path / "out"


def test_status_tells_of_pilots(
    stopped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    monkeypatch.setattr(engine, "_STATUS_EVERY", 0.0)
    update = engine.Progress.update

    def look(self: Any, sweep: int) -> None:
        update(self, sweep)
        assert run_command(["status", str(stopped)]) == 0
        said.append(dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()))

    with monkeypatch.context() as patch:
        patch.setattr(engine.Progress, "update", look)
        assert run(stopped.parent / "run.toml", stopped, "--walltime", "0.05") in (0, 75)
    assert said[1]["state"] == "running"
    assert said[1]["sweep"] == "0 of 600 (0.0 %)"
    assert re.fullmatch(r"pilot run 1: sweep \d+ of 128, 8 rungs", said[1]["message"])
    assert {"rate", "heartbeat", "hosts"} <= said[1].keys()


@pytest.mark.parametrize("name", ["summary", "plot", "verify", "merge"])
def test_other_commands_say_what_is_there(name: str, stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(stopped.rglob("*"))
    assert run_command([name, str(stopped)]) == 3
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert "checkpoint (yet: pilot runs seek its number of rungs)" in told.err
    assert sorted(stopped.rglob("*")) == before


def test_a_changed_run_file_is_refused(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """But for what may change: a longer run."""
    file = stopped.parent / "run.toml"
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    assert run(file, stopped, "--set", "data.alpha=0.6") == 3
    assert "holds a run with another configuration: data.alpha was 0.5, is 0.6" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()} == before
    assert run(file, stopped, "--set", "schedule.sweeps=700", "--walltime", "0.000001") == 75
    assert status(stopped)["sweeps"] == 700


def test_a_run_in_its_pilots_is_not_disturbed(
    short: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command beside it is refused, before it does anything."""
    file, out, codes = short.parent / "run.toml", tmp_path / "out", []
    judge = pilot.judge

    def beside(*of: Any) -> pilot.Finding:
        codes.append(run(file, out))
        return judge(*of)

    monkeypatch.setattr(pilot, "judge", beside)
    assert run(file, out) == 0
    assert codes == [3, 3]
    assert capsys.readouterr().err.count("is running here") == 2
    assert_same_results(out, short)


def test_a_scan_tells_of_pilots(
    short: Path, tmp_path: Path, stop_at_once: Callable[[Path, Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Which are stopped, and go on."""
    file, out = tmp_path / "scan.toml", tmp_path / "scan"
    file.write_text((short.parent / "run.toml").read_text() + "\n[scan]\nseed = [11]\n")
    command = ["scan", str(file), "-o", str(out), "--quiet"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_STRETCH", 1e-9)
        assert run_command([*command, "--walltime", "0.01"]) == 75
    found = status(out / "seed=11")
    assert found["message"].startswith("pilot run 1: stopped by walltime")
    assert run_command(["status", str(out)]) == 0
    assert "1 stopped" in capsys.readouterr().out
    going_on = {"state": "running", "heartbeat": time.time(), "message": "pilot run 1: sweep 2 of 128, 8 rungs"}
    RunDirectory(out / "seed=11").write_status(found | going_on)
    assert run_command(["status", str(out)]) == 0
    assert f"seed=11: 0.0 %, {found['hosts'][0]}, pilot run 1: sweep 2 of 128, 8 rungs\n" in capsys.readouterr().out
    for name in ("merge", "verify"):
        assert run_command([name, str(out)]) == 3
        assert capsys.readouterr().err.startswith(f"mcmc: error: {out}: no task is complete yet")
    assert run_command(command) == 0
    assert_same_results(out / "seed=11", short)


def test_a_sample_of_another_run_is_kept(tmp_path: Path, stop_at_once: Callable[[Path, Path], None]) -> None:
    """From the first pilot on: the other run may go on, or go."""
    source = write_run_file(tmp_path / "source.toml", SHORT | {"ladder": {}, "ladder.beta": [1.0]})
    assert run(source, tmp_path / "source") == 0
    file = write_run_file(
        tmp_path / "run.toml", SHORT | {"constraint": {"reference": "run", "path": "source", "overlap": 0.5}}
    )
    assert run(file, tmp_path / "whole") == 0
    stop_at_once(file, tmp_path / "out")
    shutil.rmtree(tmp_path / "source")
    assert run(file, tmp_path / "out") == 0
    assert_same_results(tmp_path / "out", tmp_path / "whole")
