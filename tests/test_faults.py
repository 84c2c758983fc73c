"""Whole runs that meet a fault: killed at every call that changes a file, full and read-only disks, jumping clocks.

In each: no hang, one line that says what happened, and the same command, once there is nothing in its way, leaves the
results of an undisturbed run. The short forms try a part of the calls, the long ones (make test-faults) all.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import launchers
from faulty import Commands, Ended, build
from launchers import Launcher
from mcmc.cli import run_command
from mcmc.errors import StorageError
from mcmc.storage import RunDirectory
from running import LONG_RUN, SLOW_MCMC, assert_same_results, contents, status, wait_for, write_run_file

SMALL = {
    "model.n_inputs": 9,
    "ladder.beta": [0.5, 1.0],
    "schedule": {"sweeps": 6, "burn_in": 1, "measure_every": 2},
    "output.weights_every": 4,
    "checkpoint.every": 1e-9,
}
"""Three segments, one with a snapshot, and five checkpoints."""
SCAN = SMALL | {
    "schedule": {"sweeps": 2, "burn_in": 1, "measure_every": 1},
    "output.weights_every": 0,
    "scan.seed": [1, 2],
}

PASSED_OVER = re.compile(r"\.?(status\.json|lock)\b")
"""Files that are written again, or removed at the end."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return build(tmp_path_factory.mktemp("library"))
    except FileNotFoundError:
        pytest.skip("no gcc")


@pytest.fixture(scope="module")
def commands(library: Path) -> Iterator[Commands]:
    made = Commands(library)
    yield made
    made.close()


@pytest.fixture(scope="module")
def whole(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """run.toml and scan.toml, and what they give undisturbed, in the directories run and scan."""
    directory = tmp_path_factory.mktemp("whole")
    for kind, changes in (("run", SMALL), ("scan", SCAN)):
        file = write_run_file(directory / f"{kind}.toml", changes)
        assert commands.run(kind, file, "-o", directory / kind, "--quiet").code == 0
    return directory


def command(kind: str, whole: Path, out: Path) -> list[str | Path]:
    return [kind, whole / f"{kind}.toml", "-o", out, "--quiet"]


def n_calls(kind: str, whole: Path, commands: Commands, out: Path) -> int:
    ended = commands.run(*command(kind, whole, out), below=out)
    assert ended.code == 0, ended.err
    shutil.rmtree(out)
    return ended.calls


def check_continues(kind: str, whole: Path, commands: Commands, out: Path) -> None:
    """By the same command, undisturbed, to the same results; nothing temporary is left, nor a lock."""
    found = commands.run(*command(kind, whole, out))
    assert (found.code, found.lines) == (0, [])
    undisturbed, here = files(whole / kind), files(out)
    assert here.keys() == undisturbed.keys()
    for name, path in here.items():
        if path.name == "results.h5":
            assert contents(path) == contents(undisturbed[name])


def files(top: Path) -> dict[str, Path]:
    """By name; a segment's has a token of its writer, which is left out."""
    found = [path for path in top.rglob("*") if path.is_file()]
    return {re.sub(r"(segments/\d{6})-[0-9a-f]+", r"\1", str(path.relative_to(top))): path for path in found}


def check_told(ended: Ended, out: Path, cause: str, n_lines: int = 1) -> None:
    """One line (for each task of a scan), with a file or directory, the cause and what to do."""
    assert ended.code in (1, 2, 3), (ended.code, ended.err)
    assert 1 <= len(ended.lines) <= n_lines, ended.err
    for line in ended.lines:
        assert line.startswith("mcmc: error: "), ended.err
        assert str(out) in line
        assert cause in line


def check_readable(commands: Commands, out: Path) -> None:
    """Whatever the state of the directory: status and summary tell something, on one line if it is an error."""
    for name in ("status", "summary"):
        found = commands.run(name, out)
        assert (found.code, len(found.lines)) in ((0, 0), (2, 1), (3, 1)), (name, found.code, found.err)


def parts(short: int) -> list[object]:
    """Of all calls, in the form (first, step): one in `short`, and, for the long form, all in four parts."""
    return [pytest.param(3, short, id="some")] + [
        pytest.param(first, 4, id=f"part {first}", marks=pytest.mark.faults) for first in range(4)
    ]


# --- every call that changes a file ---


@pytest.mark.parametrize("kind", ["run", "scan"])
@pytest.mark.parametrize("fault", ["kill", "kill inside"])
@pytest.mark.parametrize(("first", "step"), parts(157))
def test_killed_at_every_call(
    kind: str, fault: str, first: int, step: int, commands: Commands, whole: Path, tmp_path: Path
) -> None:
    """Before the call, or half-way through a write."""
    out, n_tried, reached = tmp_path / "out", 0, 0
    for at in range(first, n_calls(kind, whole, commands, out), step):
        ended = commands.run(*command(kind, whole, out), fault=fault, at=at, below=out)
        assert ended.code == -signal.SIGKILL
        if kind == "run":
            if at % 5 == 0:
                check_readable(commands, out)
            found = RunDirectory(out).read_checkpoint() if (out / "run.toml").exists() else None
            sweep = 0 if found is None else found.attrs["sweep"]
            assert sweep >= reached
            reached = max(0, sweep - 1)  # the next kill may come one call earlier in the cycle of a checkpoint
        check_continues(kind, whole, commands, out)
        shutil.rmtree(out)
        n_tried += 1
    assert n_tried > 3


@pytest.mark.parametrize("kind", ["run", "scan"])
@pytest.mark.parametrize(
    ("fault", "cause"), [("full", "No space left on device (make room"), ("fail once", "Input/output error")]
)
@pytest.mark.parametrize(("first", "step"), parts(163))
def test_disk_error_at_every_call(
    kind: str, fault: str, cause: str, first: int, step: int, commands: Commands, whole: Path, tmp_path: Path
) -> None:
    """Full: from that call on; else one error that comes once. PASSED_OVER and the last call may go untold."""
    out, n_tried = tmp_path / "out", 0
    for at in range(first, n_calls(kind, whole, commands, out), step):
        ended = commands.run(*command(kind, whole, out), fault=fault, at=at, below=out)
        if ended.code == 0:
            assert PASSED_OVER.match(Path(ended.hit).name) or at == ended.calls - 1, ended.hit
        else:
            check_told(ended, out, cause, 2 if kind == "scan" else 1)
        assert not list(out.rglob("*.tmp")) or fault == "fail once"
        check_continues(kind, whole, commands, out)
        shutil.rmtree(out)
        n_tried += 1
    assert n_tried > 2


# --- real limits ---


@pytest.mark.parametrize("limit", [0, 100, 250, 1000, 5000, 16_000, 40_000])
def test_file_size_limit(limit: int, commands: Commands, whole: Path, tmp_path: Path) -> None:
    """Of the log and the lock, of status, segments, checkpoint and results."""
    out = tmp_path / "out"
    ended = commands.run(*command("run", whole, out), limit=limit)
    check_told(ended, out, "File too large (raise the limit")
    check_continues("run", whole, commands, out)


@pytest.mark.parametrize("pages", [2, 8, 14, 22, 40])
def test_a_full_disk(pages: int, commands: Commands, whole: Path, tmp_path: Path) -> None:
    """A file system of a few pages; it continues after it has grown."""
    disk, out = tmp_path / "disk", tmp_path / "disk" / "out"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={4 * pages}k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("cannot mount a tmpfs")
    try:
        check_told(commands.run(*command("run", whole, out)), out, "No space left on device (make room")
        subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
        check_continues("run", whole, commands, out)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("begun", [False, True])
def test_a_directory_that_cannot_be_written(begun: bool, commands: Commands, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if begun:
        assert commands.run(*command("run", whole, out), "--walltime", "0.000001").code == 75
    else:
        out.mkdir()
    out.chmod(0o555)
    ended = commands.run(*command("run", whole, out), as_nobody=True)
    check_told(ended, out, "Permission denied")
    out.chmod(0o755)
    check_continues("run", whole, commands, out)
    out.chmod(0o555)  # a complete one is read as ever
    assert commands.run(*command("run", whole, out), as_nobody=True).code == 0
    assert commands.run("summary", out, as_nobody=True).code == 0
    assert commands.run("verify", out, as_nobody=True).code == 0
    out.chmod(0o755)


@pytest.mark.parametrize("n_ranks", [1, 2])
def test_a_directory_that_is_removed(n_ranks: int, any_launcher: Launcher, tmp_path: Path) -> None:
    """All ranks end, with one line."""
    file, out = write_run_file(tmp_path / "run.toml", LONG_RUN | {"schedule.sweeps": 10**6}), tmp_path / "out"
    program = [*SLOW_MCMC, "run", str(file), "-o", str(out), "--quiet"]
    with launchers.started(any_launcher if n_ranks > 1 else None, n_ranks, program) as process:
        wait_for((out / "checkpoint.h5").exists)
        while out.exists():
            shutil.rmtree(out, ignore_errors=True)
        told = process.communicate(timeout=40)[1]
    [line] = [line for line in told.splitlines() if line.startswith("mcmc: ")]
    assert re.match(rf"mcmc: error: {out}", line)
    assert not out.exists()


# --- clocks ---


def test_a_clock_that_jumps(commands: Commands, whole: Path, tmp_path: Path) -> None:
    """By years, at every look: nothing depends on it."""
    out = tmp_path / "out"
    stopped = commands.run(*command("run", whole, out), "--walltime", "0.000001", clock=True)
    assert stopped.code == 75
    began = time.monotonic()
    for name in ("status", "summary", "verify"):
        assert commands.run(name, out, clock=True).code in (0, 2)
    left = commands.run(*command("run", whole, out), "--walltime", "1 h", clock=True)
    assert (left.code, left.err) == (0, "")
    assert time.monotonic() - began < 60
    check_continues("run", whole, commands, out)
    assert status(out)["elapsed_seconds"] >= 0
    scan = commands.run(*command("scan", whole, tmp_path / "scan"), clock=True)
    assert (scan.code, scan.err) == (0, "")
    assert commands.run("status", tmp_path / "scan", clock=True).code == 0


def test_a_clock_that_jumps_under_mpi(any_launcher: Launcher, library: Path, tmp_path: Path) -> None:
    """Checkpoints come in time, the watchdog keeps quiet, and the walltime is that of a steady clock."""
    file, out = write_run_file(tmp_path / "run.toml", LONG_RUN | {"schedule.sweeps": 10**6}), tmp_path / "out"
    preloaded = ["env", f"LD_PRELOAD={library}", "FAULTS_CLOCK=1", *SLOW_MCMC]
    began = time.monotonic()
    done = launchers.run(any_launcher, 2, [*preloaded, "run", str(file), "-o", str(out), "--walltime", "2 s"])
    assert time.monotonic() - began >= 2, done.stderr
    found = status(out)
    assert (found["state"], found["message"].split()[:3]) == ("stopped", ["stopped", "by", "walltime"])
    n_segments = len(list((out / "segments").iterdir()))
    assert 1 < n_segments <= 21  # every 0.1 s: more would be for jumps, and a busy machine makes fewer
    assert 0 <= found["elapsed_seconds"] < 120  # jumps are of hours and years


# --- killed at random moments ---


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """run.toml, and in the directory run what it gives undisturbed."""
    directory = tmp_path_factory.mktemp("long")
    file = write_run_file(directory / "run.toml", LONG_RUN)
    assert run_command(["run", str(file), "-o", str(directory / "run"), "--quiet"]) == 0
    return directory


def checkpointed(out: Path) -> int:
    """The sweep of the newest checkpoint."""
    if RunDirectory(out).run_toml() is None:
        return 0
    found = RunDirectory(out).read_checkpoint()
    return 0 if found is None else int(found.attrs["sweep"])


@pytest.mark.parametrize("n_kills", [2, pytest.param(60, marks=pytest.mark.faults)])
def test_killed_again_and_again(
    n_kills: int,
    launcher: Launcher,
    long_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In turn one rank and all of them, from before the start to the end; what a checkpoint has is never lost."""
    rng = random.Random(f"{n_kills} {launcher}")
    out, reached, n_complete, slowest = tmp_path / "out", 0, 0, 0.0
    program = [*SLOW_MCMC, "run", str(long_run / "run.toml"), "-o", str(out), "--quiet"]
    for number in range(n_kills):
        n_ranks = rng.choice([2, 3])
        with launchers.started(launcher, n_ranks, program) as process:
            if rng.random() < 0.75:  # at work
                before = status(out).get("started")
                wait_for(lambda p=process, b=before: p.poll() is not None or status(out).get("started") != b, 120)
            time.sleep(rng.uniform(0, 0.7))
            if number % 2 == 0:
                victims = launchers.ranks(process)
                if victims:
                    os.kill(victims[rng.choice(sorted(victims))], signal.SIGKILL)
                began = time.monotonic()
                process.communicate(timeout=60)  # until the launcher and every rank have ended
                slowest = max(slowest, time.monotonic() - began)
        for name in ("status", "summary"):
            code = run_command([name, str(out)])
            assert code in (0, 2, 3)
            assert capsys.readouterr().err.count("\n") == (code != 0)
        assert checkpointed(out) >= reached
        reached = checkpointed(out)
        if status(out).get("state") == "complete":
            assert_same_results(out, long_run / "run")
            shutil.rmtree(out)
            reached, n_complete = 0, n_complete + 1
    done = launchers.run(launcher, 2, program)
    assert done.returncode == 0, done.stderr
    assert_same_results(out, long_run / "run")
    listed = {segment.name for segment in RunDirectory(out).read_checkpoint().segments}
    assert {path.name for path in (out / "segments").iterdir()} >= listed
    assert not [path for path in out.rglob("*") if path.name.endswith(".tmp") or path.name.startswith("lock")]
    with capsys.disabled():
        print(
            f" [{n_kills} kills, {n_complete} runs complete meanwhile, all processes gone within {slowest:.1f} s]",
            end="",
        )


def test_a_checkpoint_that_is_lost_is_noticed(long_run: Path, tmp_path: Path) -> None:
    """Negative control of `checkpointed`."""
    out = Path(shutil.copytree(long_run / "run", tmp_path / "out"))
    assert checkpointed(out) == 4000
    for path in out.glob("checkpoint*"):
        path.write_bytes(b"")
    with pytest.raises(StorageError):
        checkpointed(out)


@pytest.mark.parametrize(
    ("fault", "n_calls"),
    [("full", 2), *(pytest.param(fault, 20, marks=pytest.mark.faults) for fault in ("full", "kill"))],
)
def test_calls_of_rank_0_under_mpi(
    n_calls: int, fault: str, launcher: Launcher, library: Path, long_run: Path, tmp_path: Path
) -> None:
    """A kill, or a full disk, at some calls of rank 0 that change a file: every rank ends, and the run continues."""
    out, number = tmp_path / "out", {"kill": 1, "full": 3}[fault]
    program = [*SLOW_MCMC, "run", str(long_run / "run.toml"), "-o", str(out), "--quiet"]
    rng = random.Random(f"{fault} {n_calls} {launcher}")
    for at in [rng.randrange(12 * 5 ** (number % 3)) for number in range(n_calls)]:  # early ones above all
        if status(out).get("state") == "complete":
            shutil.rmtree(out)
        preloaded = ["env", f"LD_PRELOAD={library}", f"FAULTS={number}:{at}:{out}", *program]
        done = launchers.run(launcher, 2, preloaded, timeout=60)
        if status(out).get("state") == "complete":  # with fewer calls than that
            continue
        assert done.returncode != 0
        if fault == "full":
            lines = [line for line in done.stderr.splitlines() if line.startswith("mcmc: error")]
            assert len(lines) == 1, done.stderr
            assert "No space left on device (make room" in lines[0]
    done = launchers.run(launcher, 2, program)
    assert done.returncode == 0, done.stderr
    assert_same_results(out, long_run / "run")
