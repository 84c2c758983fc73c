"""A run that is stopped, killed or extended, and continued, leaves the results of one that was not."""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import launchers
from launchers import Launcher
from mcmc import engine
from mcmc.cli import run_command
from mcmc.kernels import cpu
from running import (
    CASES,
    DRIVE,
    LONG_RUN,
    MCMC,
    SLOW_MCMC,
    assert_same_results,
    contents,
    status,
    wait_for,
    write_cases,
    write_run_file,
)


@pytest.fixture
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the seconds of a stretch, so that a run of a few milliseconds stops where it is wanted."""
    return lambda seconds: monkeypatch.setattr(engine, "_STRETCH", seconds)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {path.stem: path for path in write_cases(tmp_path_factory.mktemp("cases"))}


@pytest.fixture(scope="module")
def case_results(cases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with the uninterrupted runs of all cases."""
    out = tmp_path_factory.mktemp("cases-out")
    for name, file in cases.items():
        assert run_command(["run", str(file), "-o", str(out / name), "--quiet"]) == 0
    return out


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run_file(tmp_path_factory.mktemp("long") / "long.toml", LONG_RUN)


@pytest.fixture(scope="module")
def long_results(long_file: Path) -> Path:
    """The uninterrupted long run."""
    out = long_file.parent / "out"
    assert run_command(["run", str(long_file), "-o", str(out), "--quiet"]) == 0
    return out


# --- stopped anywhere ---


@pytest.mark.parametrize("case", CASES)
def test_stopped_again_and_again(
    case: str,
    cases: dict[str, Path],
    case_results: Path,
    tmp_path: Path,
    short_stretches: Callable[[float], None],
) -> None:
    """Cut at arbitrary sweeps, in different sessions of different SIMD levels."""
    rng = random.Random(case)
    command = ["run", str(cases[case]), "-o", str(tmp_path / "out"), "--quiet"]
    stopped_at = []
    for session, level in enumerate(itertools.cycle(cpu.available())):
        cpu.use(level)
        short_stretches(1e-4)
        walltime = 1e-3 * rng.random() * 1.5**session  # a few sweeps at first, more later
        code = run_command([*command, "--walltime", f"{walltime:.9f}"])
        if code == 0:
            break
        assert (code, status(tmp_path / "out")["state"]) == (75, "stopped")
        stopped_at.append(status(tmp_path / "out")["sweep"])
    assert len(stopped_at) >= 2
    assert stopped_at == sorted(set(stopped_at))
    assert_same_results(tmp_path / "out", case_results / case)


@pytest.fixture(autouse=True)
def _level_restored() -> Iterator[None]:
    level = cpu.level()
    yield
    cpu.use(level)


def test_resumed_with_other_rank_counts(
    launcher: Launcher, cases: dict[str, Path], case_results: Path, tmp_path: Path
) -> None:
    """All cases: begun by 3 ranks, continued by 1, by 5, and finished by 2."""
    files = [str(file) for file in cases.values()]
    for n_ranks, stop in ((3, ["--stop"]), (1, ["--stop"]), (5, ["--stop"]), (2, [])):
        seconds = "1e-4" if stop else "10"
        with_mpi = launcher if n_ranks > 1 else None
        done = launchers.run(with_mpi, n_ranks, [*DRIVE, *stop, seconds, *files, str(tmp_path)], timeout=400)
        assert done.returncode == 0, done.stdout + done.stderr
    for case in CASES:
        assert_same_results(tmp_path / case, case_results / case)


def test_checkpoints_between_rows(tmp_path: Path, short_stretches: Callable[[float], None]) -> None:
    """Acceptances counted since the last row survive a stop, and so do sums that start after burn-in."""
    schedule = {"sweeps": 97, "burn_in": 33, "measure_every": 31}
    file = write_run_file(tmp_path / "run.toml", {"schedule": schedule, "data.n_instances": 2})
    assert run_command(["run", str(file), "-o", str(tmp_path / "whole"), "--quiet"]) == 0
    short_stretches(1e-9)  # one sweep each
    command = ["run", str(file), "-o", str(tmp_path / "cut"), "--quiet", "--walltime", "0.000001"]
    codes = list(itertools.takewhile(bool, (run_command(command) for _ in range(100))))
    assert len(codes) == 48
    assert_same_results(tmp_path / "whole", tmp_path / "cut")


def test_long_results_are_left_to_the_next_job(
    tmp_path: Path, short_stretches: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_run_file(tmp_path / "run.toml")
    assert run_command(["run", str(file), "-o", str(tmp_path / "whole"), "--quiet"]) == 0
    monkeypatch.setattr(engine, "_RESULTS_RATE", 1.0)
    command = ["run", str(file), "-o", str(tmp_path / "cut"), "--quiet"]
    assert run_command([*command, "--walltime", "100"]) == 75
    now = status(tmp_path / "cut")
    assert (now["state"], now["sweep"]) == ("stopped", now["sweeps"])
    assert now["message"].endswith("the same command makes the results: all sweeps are done")
    assert not (tmp_path / "cut" / "results.h5").exists()
    assert run_command([*command, "--walltime", "100"]) == 0  # nothing but the results is left to do
    assert_same_results(tmp_path / "whole", tmp_path / "cut")


# --- signals ---


@contextmanager
def running(file: Path, out: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`mcmc run` in a process of its own, already at work."""
    before = status(out).get("started")
    with launchers.started(None, 1, [*SLOW_MCMC, "run", str(file), "-o", str(out), "--quiet", *options]) as process:
        wait_for(lambda: process.poll() is not None or status(out).get("started", before) != before)
        yield process


@pytest.mark.parametrize(
    ("number", "delay"), [(signal.SIGTERM, 0.02), (signal.SIGINT, 0.2), (signal.SIGUSR1, 0.4), (signal.SIGTERM, 0.6)]
)
def test_signals(number: signal.Signals, delay: float, long_file: Path, long_results: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with running(long_file, out) as process:
        time.sleep(delay)
        for _ in range(3):  # Slurm sends them several times
            process.send_signal(number)
        assert process.wait(20) == 75
        assert process.communicate()[1] == ""
    assert status(out)["state"] == "stopped"
    assert number.name in status(out)["message"]
    assert 0 < status(out)["sweep"] < 4000
    assert not (out / "results.h5").exists()
    assert run_command(["run", str(long_file), "-o", str(out), "--quiet"]) == 0
    assert_same_results(out, long_results)


def test_walltime(long_file: Path, long_results: Path, tmp_path: Path) -> None:
    """Twice interrupted; the time counts from the start of each process."""
    command = ["run", str(long_file), "-o", str(tmp_path)]
    for _ in range(2):
        began = time.monotonic()
        done = launchers.run(None, 1, [*SLOW_MCMC, *command, "--walltime", "0.5"])
        assert time.monotonic() - began < 10
        assert done.returncode == 75, done.stderr
        assert "stopped by walltime" in done.stdout
    assert run_command(command) == 0
    assert_same_results(tmp_path, long_results)


@pytest.mark.parametrize("whom", ["launcher", "rank"])
def test_signal_under_mpi(whom: str, launcher: Launcher, long_file: Path, long_results: Path, tmp_path: Path) -> None:
    """USR1 is what both launchers pass on; a signal to one rank stops all of them."""
    command = ["run", str(long_file), "-o", str(tmp_path / "out")]
    with launchers.started(launcher, 2, [*SLOW_MCMC, *command]) as process:
        wait_for(lambda: status(tmp_path / "out").get("state") == "running")
        time.sleep(0.2)
        if whom == "launcher":
            process.send_signal(signal.SIGUSR1)
        else:
            os.kill(status(tmp_path / "out")["pid"], signal.SIGTERM)
        process.communicate(timeout=30)
    found = status(tmp_path / "out")
    assert (found["state"], found["ranks"]) == ("stopped", 2)
    assert found["sweep"] < 4000
    done = launchers.run(launcher, 3, [*MCMC, *command])
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same_results(tmp_path / "out", long_results)


def test_signal_to_an_idle_rank(launcher: Launcher, tmp_path: Path) -> None:
    """A batch system may tell one process alone."""
    few = {"ladder": {"beta": [0.5, 1.0], "n_copies": 1}, "schedule.sweeps": 10**8}
    command = ["run", str(write_run_file(tmp_path / "run.toml", few)), "-o", str(tmp_path / "out")]
    with launchers.started(launcher, 3, [*MCMC, *command]) as process:
        wait_for(lambda: status(tmp_path / "out").get("sweep", 0) > 0)
        os.kill(launchers.ranks(process)[2], signal.SIGUSR1)
        process.communicate(timeout=30)
    found = status(tmp_path / "out")
    assert (found["state"], found["message"].split()[:3]) == ("stopped", ["stopped", "by", "SIGUSR1"])


def test_summary_while_the_run_goes_on(long_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of what the checkpoints have committed; it says how far that is, and disturbs nothing."""
    out, said = tmp_path / "out", []
    with running(long_file, out) as process:
        while process.poll() is None:
            code = run_command(["summary", str(out)])
            told = capsys.readouterr()
            if process.poll() is None:
                said.append((code, told.out, told.err))
        assert process.returncode == 0
    assert run_command(["summary", str(out)]) == 0
    assert "sweeps 1510 to 4000\n" in capsys.readouterr().out
    assert {code for code, *_ in said} <= {0, 2, 3}
    form = re.compile(r"sweeps 1510 to (\d+) of 4000 \(the run is not complete\)")  # a process outlives its run a while
    reached = [int(found[1]) for code, text, _ in said if code == 0 and (found := form.search(text))]
    assert reached == sorted(reached)
    assert reached
    early = [err for code, _, err in said if code == 2]
    assert all("no samples yet beyond the burn-in of 1500 sweeps" in err for err in early)
    assert all("holds neither results nor a checkpoint (yet)" in err for code, _, err in said if code == 3)


# --- killed ---


def test_killed_at_random_moments(long_file: Path, long_results: Path, tmp_path: Path) -> None:
    rng = random.Random(7)
    out = tmp_path / "out"
    for _ in range(10):
        with running(long_file, out) as process:
            time.sleep(rng.uniform(0, 0.25))
            process.kill()
            process.wait()
    assert run_command(["run", str(long_file), "-o", str(out), "--quiet"]) == 0
    assert_same_results(out, long_results)
    assert not [path for path in out.rglob("*") if path.name.endswith(".tmp")]


def test_killed_under_mpi(launcher: Launcher, long_file: Path, long_results: Path, tmp_path: Path) -> None:
    command = ["run", str(long_file), "-o", str(tmp_path / "out")]
    for n_ranks, delay in ((2, 0.15), (3, 0.4)):
        with launchers.started(launcher, n_ranks, [*SLOW_MCMC, *command]):
            wait_for(lambda: status(tmp_path / "out").get("state") == "running")
            time.sleep(delay)  # leaving the block kills every process
    assert status(tmp_path / "out")["state"] == "running"
    assert launchers.run(launcher, 2, [*MCMC, *command]).returncode == 0
    assert_same_results(tmp_path / "out", long_results)


# --- extended, repeated, changed ---


@pytest.mark.parametrize("first", [53, 60, 119])
def test_a_larger_total_continues_the_run(first: int, tmp_path: Path) -> None:
    short = write_run_file(tmp_path / "short.toml", {"schedule.sweeps": first})
    long = write_run_file(tmp_path / "long.toml", {"schedule.sweeps": 240})
    for file, out in ((short, "grown"), (long, "grown"), (long, "whole")):
        assert run_command(["run", str(file), "-o", str(tmp_path / out), "--quiet"]) == 0
        assert contents(tmp_path / out / "results.h5")["/@complete"] == 1
    assert_same_results(tmp_path / "grown", tmp_path / "whole")
    assert (tmp_path / "grown" / "run.toml").read_text() == long.read_text()


def test_a_larger_total_continues_a_stopped_run(tmp_path: Path, short_stretches: Callable[[float], None]) -> None:
    short = write_run_file(tmp_path / "short.toml", {"schedule.sweeps": 100})
    long = write_run_file(tmp_path / "long.toml", {"schedule.sweeps": 150, "checkpoint.every": "2 min"})
    assert run_command(["run", str(long), "-o", str(tmp_path / "whole"), "--quiet"]) == 0
    short_stretches(1e-7)
    grown = ["-o", str(tmp_path / "grown"), "--quiet"]
    assert run_command(["run", str(short), *grown, "--walltime", "0.000001"]) == 75
    assert run_command(["run", str(long), *grown]) == 0
    assert_same_results(tmp_path / "grown", tmp_path / "whole")


def test_a_finished_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_run_file(tmp_path / "run.toml")
    command = ["run", str(file), "-o", str(tmp_path / "out")]
    assert run_command(command) == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    capsys.readouterr()
    assert run_command(command) == 0
    assert "complete" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_results_that_were_removed_are_made_again(tmp_path: Path) -> None:
    file = write_run_file(tmp_path / "run.toml")
    for out in ("whole", "lost", "lost"):
        assert run_command(["run", str(file), "-o", str(tmp_path / out), "--quiet"]) == 0
        (tmp_path / "lost" / "results.h5").unlink(missing_ok=out == "whole")
    assert run_command(["run", str(file), "-o", str(tmp_path / "lost"), "--quiet"]) == 0
    assert_same_results(tmp_path / "lost", tmp_path / "whole")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", 12),
        ("model.n_inputs", 35),
        ("model.loss.margin", 0.1),
        ("data.alpha", 0.9),
        ("data.n_instances", 2),
        ("sampler.method", "heat-bath"),
        ("sampler.order", "sequential"),
        ("ladder.beta", [0.3, 0.7, 1.1, 1.6]),
        ("ladder.n_copies", 3),
        ("ladder.exchange_every", 2),
        ("schedule.sweeps", 110),
        ("schedule.burn_in", 50),
        ("schedule.measure_every", 5),
        ("schedule.start", "teacher"),
        ("output.store_data", False),
    ],
)
def test_a_changed_configuration_is_refused(
    key: str, value: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_command(["run", str(write_run_file(tmp_path / "run.toml")), "-o", str(out), "--quiet"]) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    file = write_run_file(tmp_path / "run.toml", {key: value})
    capsys.readouterr()
    assert run_command(["run", str(file), "-o", str(out), "--quiet"]) == 3
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert key in said.err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_the_checkpoint_table_may_change(tmp_path: Path) -> None:
    file = write_run_file(tmp_path / "run.toml")
    command = ["run", str(file), "-o", str(tmp_path / "out"), "--quiet"]
    assert run_command(command) == 0
    assert run_command([*command, "--set", "checkpoint.every=7", "--set", "checkpoint.walltime=1 h"]) == 0


def test_changed_data_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs, labels = np.random.default_rng(1).normal(size=(12, 9)), np.ones(12)
    data = {"source": "file", "path": "task.npz"}
    file = write_run_file(tmp_path / "run.toml", {"data": data, "model.n_inputs": None})
    command = ["run", str(file), "-o", str(tmp_path / "out"), "--quiet"]
    np.savez(tmp_path / "task.npz", inputs=inputs, labels=labels)
    assert run_command(command) == 0
    inputs[3, 4] += 1e-9
    np.savez(tmp_path / "task.npz", inputs=inputs, labels=labels)
    capsys.readouterr()
    assert run_command(command) == 3
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "task.npz" in said.err


def test_a_run_that_lost_its_checkpoint_before_the_first_one_starts_anew(tmp_path: Path) -> None:
    """Killed before the first checkpoint: run.toml is there and nothing else."""
    file = write_run_file(tmp_path / "run.toml")
    assert run_command(["run", str(file), "-o", str(tmp_path / "whole"), "--quiet"]) == 0
    (tmp_path / "young" / "segments").mkdir(parents=True)
    (tmp_path / "young" / "run.toml").write_bytes(file.read_bytes())
    (tmp_path / "young" / "segments" / "000000.h5").write_bytes(b"not listed by any checkpoint")
    assert run_command(["run", str(file), "-o", str(tmp_path / "young"), "--quiet"]) == 0
    assert_same_results(tmp_path / "young", tmp_path / "whole")
