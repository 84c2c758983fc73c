"""One run in one directory: who is refused, what is stale, and that of many takers one gets the lock."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import launchers
import mcmc
from launchers import Launcher
from mcmc import lock
from mcmc.cli import run_command
from mcmc.errors import ConfigError, HeldError, StorageError
from mcmc.storage import RunDirectory
from running import MCMC, status, tables, wait_for, write_run_file

LONG = {"model.n_inputs": 101, "schedule.sweeps": 10**6}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute of silence in 0.4 s."""
    for name, seconds in (("_BEAT", 0.05), ("_SILENT", 0.4)):
        monkeypatch.setattr(lock, name, seconds)


def elsewhere(path: Path, **changes: Any) -> None:
    """Leaves a lock of a process on another host."""
    said = json.loads(lock._signature()) | {"host": "node7", "machine": "another boot", "pid": 4711, "job": "12"}
    path.write_text(json.dumps(said | changes))


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def test_one_holder(path: Path) -> None:
    with closing(lock.take(path)) as held:
        assert held.is_ours()
        with pytest.raises(HeldError, match=rf"process {os.getpid()} on .* is running here; stop it first"):
            lock.take(path)
        assert names(path.parent) == ["lock"]
    assert names(path.parent) == []
    lock.take(path).release()


def test_other_processes_of_this_host(path: Path) -> None:
    """A living one is named; one that is gone, or another of the same number, has left a stale lock."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    said = json.loads(lock._signature()) | {"pid": child.pid, "start": lock._start(child.pid), "job": "99"}
    path.write_text(json.dumps(said))
    with pytest.raises(HeldError, match=rf"process {child.pid} on .*, job 99, \(since .*\) is running here"):
        lock.take(path)
    path.write_text(json.dumps(said | {"start": said["start"] - 1}))
    lock.take(path).release()
    child.kill()
    wait_for(lambda: lock._start(child.pid) is None)
    path.write_text(json.dumps(said))  # a zombie now
    lock.take(path).release()
    child.wait()
    path.write_text(json.dumps(said))
    lock.take(path).release()
    child.stdin.close()
    assert names(path.parent) == []


def test_a_holder_elsewhere_is_not_waited_for_unasked(path: Path) -> None:
    elsewhere(path)
    os.utime(path, (1.0, 1.0))
    with pytest.raises(HeldError, match="process 4711 on node7, job 12,"):
        lock.take(path)


@pytest.mark.parametrize("touched", [None, 1.0, 4e9], ids=["now", "long ago", "in the future"])
def test_a_silent_holder_elsewhere(path: Path, quick: None, touched: float | None) -> None:
    """Is watched, whenever the clock says that it was touched last."""
    elsewhere(path)
    if touched is not None:
        os.utime(path, (touched, touched))
    said: list[str] = []
    began = time.monotonic()
    assert lock.clear([path], said.append)
    assert time.monotonic() - began >= lock._SILENT
    assert len(said) == 1
    assert "process 4711 on node7" in said[0]
    assert names(path.parent) == []


def test_living_and_silent_holders_elsewhere(
    path: Path, quick: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All are watched at once; who touches its lock keeps it."""
    paths = [path, *(tmp_path / f"lock-{number}" for number in range(20))]
    for other in paths[1:]:
        elsewhere(other)
    with closing(lock.take(path)):
        monkeypatch.setattr(lock, "_machine", lambda: "one more boot")
        naps, sleep = [], time.sleep
        monkeypatch.setattr(lock.time, "sleep", lambda seconds: naps.append(seconds) or sleep(seconds))
        lock.clear(paths, lambda line: None)
        assert sum(naps) < 1.5 * lock._SILENT  # not one after the other
        assert names(tmp_path) == ["lock"]
        with pytest.raises(HeldError):
            lock.take(path)


def test_a_living_holder_elsewhere_is_not_announced(path: Path, monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    with closing(lock.take(path)):
        monkeypatch.setattr(lock, "_machine", lambda: "one more boot")
        assert lock.clear([path], pytest.fail)
        assert names(path.parent) == ["lock"]


def test_the_waiting_can_be_ended(path: Path, quick: None) -> None:
    """At its beginning, in the middle, and where nobody has to be waited for not at all."""
    assert lock.clear([path], pytest.fail, lambda: True)
    elsewhere(path)
    for n_answers in (0, 30):
        answers = [*n_answers * [False], True]
        assert not lock.clear([path], lambda line: None, lambda answers=answers: answers.pop(0))
        assert not answers
        assert names(path.parent) == ["lock"]


def test_a_lock_that_somebody_else_removes_is_left_to_them(path: Path, quick: None, tmp_path: Path) -> None:
    """The others are removed."""
    other = tmp_path / "other"
    for silent in (path, other):
        elsewhere(silent)
    with closing(lock.take(lock._guard(path, path.read_bytes()))):
        assert lock.clear([path, other], lambda line: None)
        assert not other.exists()
        assert path.exists()
    assert lock.clear([path], lambda line: None)
    assert not path.exists()


def test_only_a_stale_lock_is_removed_unasked(path: Path) -> None:
    lock.remove_stale(path)
    elsewhere(path)
    lock.remove_stale(path)
    assert names(path.parent) == ["lock"]
    path.write_text(json.dumps(json.loads(lock._signature()) | {"start": 1}))
    lock.remove_stale(path)
    assert names(path.parent) == []
    with closing(lock.take(path)) as held:
        lock.remove_stale(path)
        assert held.is_ours()


def test_a_link_whose_answer_was_lost(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system asks again, and is told that there is a link: it is ours."""
    link = os.link

    def twice(*args: Any) -> None:
        link(*args)
        link(*args)

    monkeypatch.setattr(os, "link", twice)
    lock.take(path).release()
    with closing(lock.take(path)), pytest.raises(HeldError):
        lock.take(path)


def test_who_cannot_touch_its_lock_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = RunDirectory(path.parent / "out")
    directory.lock()
    directory.create("seed = 1\n")

    def no(*args: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as broken:
        broken.setattr(os, "utime", no)
        with pytest.raises(StorageError, match="lock: cannot touch: Read-only file system"):
            directory.write_status({})
    directory.write_status({})
    directory.unlock()


def test_a_silent_holder_of_the_right_to_remove(path: Path, quick: None) -> None:
    elsewhere(path)
    elsewhere(lock._guard(path, path.read_bytes()))
    lock.clear([path], lambda line: None)
    assert names(path.parent) == []


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b'{"host": 1, "machine": 2, "pid": "x", "start": {}}'])
def test_a_lock_that_says_nothing(path: Path, quick: None, text: bytes) -> None:
    path.write_bytes(text)
    with pytest.raises(HeldError, match="somebody unknown"):
        lock.take(path)
    lock.clear([path], lambda line: None)
    assert names(path.parent) == []


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("stale", [None, 0, 1], ids=["free", "stale", "removing it is stale, too"])
def test_of_many_takers_one_gets_it(path: Path, links: bool, stale: int | None) -> None:
    """Rounds of eight processes that start at once; each that gets the lock holds it alone, and all get it in turn."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    text = (json.dumps(json.loads(lock._signature()) | {"pid": dead.pid, "start": 1})).encode()
    code = f"""
import errno, os, sys, time
from pathlib import Path
from mcmc import lock
from mcmc.errors import HeldError
def no_link(*args):
    raise OSError({errno.EPERM}, "no links here")
if not {links}:
    os.link = no_link
path = Path(sys.argv[1])
sys.stdin.read(1)
while True:
    try:
        held = lock.take(path)
        break
    except HeldError:
        time.sleep(0.0003)
inside = path.with_name("inside")
os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails if somebody else is here
time.sleep(0.002)
assert held.is_ours()
inside.unlink()
held.release()
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for _ in range(4):
        if stale is not None:
            path.write_bytes(text)
        if stale == 1:
            lock._guard(path, text).write_bytes(text)
        program = [sys.executable, "-c", code, str(path)]
        takers = [subprocess.Popen(program, stdin=subprocess.PIPE, env=environment) for _ in range(8)]
        for taker in takers:
            taker.stdin.write(b"x")
            taker.stdin.close()
        assert [taker.wait(timeout=60) for taker in takers] == [0] * 8
        assert names(path.parent) == []


def test_killed_while_removing_a_stale_lock(path: Path) -> None:
    """What a taker leaves that was killed at any system call that matters does not keep the next one out."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    text = json.dumps(json.loads(lock._signature()) | {"pid": dead.pid, "start": 1})
    code = """
import os, signal, sys
from pathlib import Path
from mcmc import lock
count = [int(sys.argv[2])]
def counted(function):
    def call(*args, **kwargs):
        count[0] -= 1
        if count[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call
os.link = counted(os.link)
Path.unlink = counted(Path.unlink)
Path.write_bytes = counted(Path.write_bytes)
lock.take(Path(sys.argv[1]))
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    codes = []
    for n_calls in range(20):
        path.write_text(text)
        program = [sys.executable, "-c", code, str(path), str(n_calls)]
        codes.append(subprocess.run(program, env=environment, check=False).returncode)
        lock.take(path).release()
        for left in path.parent.glob(".*.tmp"):  # RunDirectory.clean removes them
            left.unlink()
        assert names(path.parent) == []
    assert codes[0] == -signal.SIGKILL
    assert codes[-1] == 0
    assert codes.count(-signal.SIGKILL) >= 6


@pytest.mark.parametrize("call", ["link", "write"])
def test_an_error_of_the_disk_is_no_holder(call: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        if call == "write":
            args[0].touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((os, "link") if call == "link" else (Path, "write_bytes")), full)
    with pytest.raises(OSError, match="No space left"):
        lock.take(path)
    assert names(path.parent) == []
    with pytest.raises(ConfigError, match=r"cannot create .*: No space left"):
        RunDirectory(path.parent / "new" / "run").lock()
    assert names(path.parent) == []
    RunDirectory(path.parent / "run").create("seed = 1\n")
    with pytest.raises(StorageError, match="lock: cannot write: No space left"):
        RunDirectory(path.parent / "run").lock()


# --- the directory of a run ---


def test_a_new_directory_goes_if_nothing_came_of_it(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "a" / "b")
    directory.lock()
    assert names(tmp_path / "a" / "b") == ["lock"]
    directory.unlock()
    directory.unlock()
    assert names(tmp_path) == []


def test_who_has_lost_the_lock_writes_no_more(tmp_path: Path) -> None:
    """A process that was suspended for so long that another has taken over."""
    directory = RunDirectory(tmp_path / "out")
    directory.lock()
    directory.create("seed = 1\n")
    directory.write_checkpoint({}, {"sweep": 1}, [])
    elsewhere(tmp_path / "out" / "lock")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in names(tmp_path / "out") if name != "segments"}
    for write in (
        lambda: directory.write_checkpoint({}, {"sweep": 2}, []),
        lambda: directory.write_segment(0, 0, {"sweep": [1]}, {}),
        lambda: directory.write_results({}, None, {}, []),
        lambda: directory.write_status({}),
        lambda: directory.replace_run_toml(""),
    ):
        with pytest.raises(StorageError, match="has taken over this run"):
            write()
    directory.unlock()
    left = names(tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in left if name != "segments"} == before


def test_a_run_in_use_is_refused(tmp_path: Path) -> None:
    whole = mcmc.run(tables(), tmp_path / "out", quiet=True)
    before = (tmp_path / "out" / "results.h5").read_bytes()
    with closing(lock.take(tmp_path / "out" / "lock")):
        again = mcmc.run(tables(), tmp_path / "out", quiet=True)  # complete: nothing is written
        assert again.dataset.identical(whole.dataset)
        with pytest.raises(HeldError, match="is running here; stop it first"):
            mcmc.run(tables({"schedule.sweeps": 240}), tmp_path / "out", quiet=True)
    assert (tmp_path / "out" / "results.h5").read_bytes() == before
    assert mcmc.run(tables({"schedule.sweeps": 240}), tmp_path / "out", quiet=True).dataset.sizes["sample"] == 24
    assert "lock" not in names(tmp_path / "out")


def test_killed_right_after_the_last_word(tmp_path: Path) -> None:
    """The run is complete, and the lock of the dead is removed; one that is held stays."""
    mcmc.run(tables(), tmp_path, quiet=True)
    dead = subprocess.Popen(["true"])
    dead.wait()
    held = json.loads(lock._signature())
    for holder, is_left in ((held | {"pid": dead.pid, "start": 1}, False), (held, True)):
        (tmp_path / "lock").write_text(json.dumps(holder))
        mcmc.run(tables(), tmp_path, quiet=True)
        assert (tmp_path / "lock").exists() == is_left


def test_a_silent_run_elsewhere_is_continued(tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    mcmc.run(tables(), tmp_path, quiet=True)
    elsewhere(tmp_path / "lock")
    assert mcmc.run(tables({"schedule.sweeps": 240}), tmp_path, quiet=True).dataset.sizes["sample"] == 24
    assert "waiting for a sign of life" in capsys.readouterr().err


@pytest.mark.parametrize("reason", ["walltime", "signal"])
def test_waiting_for_a_silent_run_ends_with_a_stop(
    reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before the minute is over, and nothing has changed."""
    file = write_run_file(tmp_path / "run.toml", {})
    mcmc.run(file, tmp_path / "out", quiet=True)
    elsewhere(tmp_path / "out" / "lock")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    command = ["run", str(file), "-o", str(tmp_path / "out"), "--set", "schedule.sweeps=240"]
    read, looks = lock._read, []

    def look(path: Path) -> Any:
        looks.append(path)
        if reason == "signal" and len(looks) == 3:
            signal.raise_signal(signal.SIGUSR1)
        return read(path)

    monkeypatch.setattr(lock, "_read", look)
    began = time.monotonic()
    assert run_command(command + (["--walltime", "0.7"] if reason == "walltime" else [])) == 75
    assert time.monotonic() - began < lock._SILENT / 2
    assert "stopped while another process held it; the same command continues" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


@pytest.fixture
def running(any_launcher: Launcher, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run on two ranks in tmp_path / "out"."""
    file = write_run_file(tmp_path / "run.toml", LONG | {"checkpoint.every": 0.2})
    command = [*MCMC, "run", str(file), "-o", str(tmp_path / "out"), "--quiet"]
    with launchers.started(any_launcher, 2, command) as process:
        wait_for(lambda: (tmp_path / "out" / "checkpoint.h5").exists())
        yield process


@pytest.mark.mpi
def test_two_jobs_in_one_directory(running: subprocess.Popen[str], any_launcher: Launcher, tmp_path: Path) -> None:
    """The second is told who is there, on one line and with exit code 3; the first does not notice."""
    command = [*MCMC, "run", str(tmp_path / "run.toml"), "-o", str(tmp_path / "out")]
    second = launchers.run(any_launcher, 2, command)
    assert second.returncode == 3
    [line] = [line for line in second.stderr.splitlines() if line.startswith("mcmc:")]
    assert f"process {status(tmp_path / 'out')['pid']} on {os.uname().nodename} (since" in line
    assert running.poll() is None
    assert status(tmp_path / "out")["state"] == "running"


@pytest.mark.mpi
def test_a_killed_job_leaves_no_obstacle(running: subprocess.Popen[str], tmp_path: Path) -> None:
    environment = Path(f"/proc/{running.pid}/environ").read_bytes().split(b"\0")
    launchers._kill(next(line.decode() for line in environment if b"TEST_MARK" in line))
    assert "lock" in names(tmp_path / "out")
    command = [*MCMC, "run", str(tmp_path / "run.toml"), "-o", str(tmp_path / "out"), "--quiet", "--walltime", "0.1 s"]
    done = launchers.run(None, 1, command)
    assert done.returncode == 75, done.stderr
    assert "lock" not in names(tmp_path / "out")


def test_files_of_others_stay(tmp_path: Path) -> None:
    (tmp_path / "lock.txt").write_text("mine")
    lock.take(tmp_path / "lock").release()
    assert [path.name for path in tmp_path.iterdir()] == ["lock.txt"]
