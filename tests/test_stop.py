"""When a run stops by itself: walltime, the end of a Slurm job as a fake squeue tells it, and which of them wins."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest

import launchers
from launchers import Launcher
from mcmc import slurm, stop
from mcmc.cli import run_command
from mcmc.stop import REASONS, Stop
from running import MCMC, status, wait_for, write_run_file

ENDLESS = {"schedule.sweeps": 10**8}


@pytest.fixture(autouse=True)
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_JOB_END_TIME", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The script that is squeue in this job; it notes how it was called in `asked`."""
    path = tmp_path / "bin" / "squeue"
    path.parent.mkdir()
    monkeypatch.setenv("PATH", str(path.parent), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    answer(path, "exit 1")
    return path


def answer(path: Path, script: str) -> None:
    path.write_text(f'#!/bin/sh\necho "$SLURM_TIME_FORMAT $*" >> {path.parent}/asked\n{script}\n')
    path.chmod(0o755)


def in_seconds(seconds: float) -> str:
    return f"echo {int(time.time() + seconds)}"


def test_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time())))
    assert slurm.seconds_left() is None


def test_squeue_is_asked(squeue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows better than the environment."""
    answer(squeue, in_seconds(1000))
    assert slurm.seconds_left() == pytest.approx(1000, abs=5)
    assert (squeue.parent / "asked").read_text() == "%s --noheader --jobs 77 --format %e\n"
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time() + 500)))
    assert slurm.seconds_left() == pytest.approx(1000, abs=5)


def test_of_an_array_one_task_is_asked_for(squeue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job id of one of the tasks is that of the array: squeue would tell of all of them."""
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "77")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    slurm.seconds_left()
    assert (squeue.parent / "asked").read_text() == "%s --noheader --jobs 77_3 --format %e\n"


def test_the_first_end_counts(squeue: Path) -> None:
    """A job of several components has a line for each of them."""
    answer(squeue, f"echo NONE; {in_seconds(1000)}; {in_seconds(500)}; {in_seconds(800)}")
    assert slurm.seconds_left() == pytest.approx(500, abs=5)


@pytest.mark.parametrize("script", ["exit 1", "echo N/A", "echo Unknown", "true", "kill $$", "exec sleep 60"])
def test_squeue_that_tells_nothing(script: str, squeue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "_PATIENCE", 0.2)
    answer(squeue, script)
    assert slurm.seconds_left() is None
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time() + 500)))
    assert slurm.seconds_left() == pytest.approx(500, abs=5)
    monkeypatch.setenv("SLURM_JOB_END_TIME", "soon")
    assert slurm.seconds_left() is None


def test_no_squeue(squeue: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(squeue.parent))
    squeue.unlink()
    assert slurm.seconds_left() is None


def test_the_earlier_limit_wins() -> None:
    for walltime, job, reason in [
        (None, None, ""),
        (100.0, 1000.0, "walltime"),
        (1000.0, 100.0, "end of the job"),
        (None, 100.0, "end of the job"),
    ]:
        with Stop(walltime, lambda seconds=job: seconds) as watched:
            if job is not None:
                wait_for(lambda w=watched: w._job)
            assert watched.reason(0) == 0
            assert watched.reason(60) == 0
            assert REASONS[watched.reason(100)] == reason
            if job == 100.0:
                assert REASONS[watched.reason(100 - stop._BEFORE_JOB_END)] == reason


def test_it_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits are extended; an answer that fails leaves the one before; a stop inside knows it without asking."""
    monkeypatch.setattr(stop, "_ASK_EVERY", 0.01)
    answers = [10.0, None, 1000.0]
    with Stop(None, lambda: answers.pop(0) if answers else None) as outer:
        wait_for(lambda: outer._job)
        with Stop(None, lambda: pytest.fail("asked")) as inner:
            wait_for(lambda: not answers and outer.reason(0) == 0)
            assert inner.reason(0) == 0
            assert inner.reason(990) == outer.reason(990) == stop._JOB_END
    wait_for(lambda: "end of the job" not in [thread.name for thread in threading.enumerate()])


def test_a_signal_comes_first() -> None:
    with Stop(None) as watched:
        watched.end_job_in(0.0)
        signal.raise_signal(signal.SIGUSR1)
        assert REASONS[watched.reason(0)] == "SIGUSR1"


@pytest.mark.parametrize("command", ["run", "scan"])
def test_a_run_stops_before_the_job_ends(command: str, squeue: Path, tmp_path: Path) -> None:
    file, out = write_run_file(tmp_path / "run.toml", ENDLESS), tmp_path / "out"
    answer(squeue, in_seconds(stop._BEFORE_JOB_END + 2))
    assert run_command([command, str(file), "-o", str(out), "--quiet"]) == 75
    [found] = filter(None, [status(out), *map(status, out.glob("*/"))])
    assert found["message"].startswith("stopped by end of the job at sweep")


def test_on_several_ranks_one_asks(any_launcher: Launcher, squeue: Path, tmp_path: Path) -> None:
    file, out = write_run_file(tmp_path / "run.toml", ENDLESS), tmp_path / "out"
    answer(squeue, in_seconds(stop._BEFORE_JOB_END + 1))
    # no step of srun's
    done = launchers.run(any_launcher, 3, [*MCMC, "run", str(file), "-o", str(out)], timeout=60)
    assert "stopped by end of the job" in done.stdout
    assert len((squeue.parent / "asked").read_text().splitlines()) == 1
