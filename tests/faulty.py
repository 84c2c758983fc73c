"""Commands that meet a fault: tests start one process that has all imported and forks one for each command.

`Commands` is for tests. As a program it reads requests, a line of JSON each, and answers likewise; faults.c, which is
preloaded, counts calls that change files, kills at the n-th one, or lets it fail.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
FAULTS = ("count", "kill", "kill inside", "full", "fail once")
"""By their numbers in faults.c. Full: from the n-th call on, whatever needs space fails."""
_SECONDS = 60
"""After which a command hangs."""


def build(directory: Path) -> Path:
    """The library of faults.c; raises FileNotFoundError without a compiler."""
    library = directory / "libfaults.so"
    command = ["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(HERE / "faults.c"), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library


class Ended(NamedTuple):
    """A command that has ended: its exit code (of a signal: negative), both outputs, its counted calls, and the file of
    the one that met the fault (a killed command tells neither)."""

    code: int
    out: str
    err: str
    calls: int = 0
    hit: str = ""

    @property
    def lines(self) -> list[str]:
        """What was said on stderr, without warnings."""
        return [line for line in self.err.splitlines() if not line.startswith("mcmc: warning: ")]


class Commands:
    """The process that forks commands; every sweep of theirs is a stretch of its own, with a status written."""

    def __init__(self, library: Path) -> None:
        environment = os.environ | {
            "LD_PRELOAD": " ".join([*os.environ.get("LD_PRELOAD", "").split(), str(library)]),  # sanitizers come first
            "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), *sys.path])),
        }
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "faulty.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(
        self,
        *command: str | Path,
        fault: str = "count",
        at: int = -1,
        below: Path | str = "",
        limit: int | None = None,
        as_nobody: bool = False,
        clock: bool = False,
    ) -> Ended:
        """`mcmc COMMAND`, with `fault` at the call number `at` of those that change files `below`.

        limit: of the size of files; as_nobody: without root's right to write everywhere; clock: jumps by years.
        """
        request = {"command": list(map(str, command)), "fault": FAULTS.index(fault), "at": at, "below": str(below)}
        request |= {"limit": limit, "as_nobody": as_nobody, "clock": clock}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return Ended(*json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def _drop_rights() -> None:
    """Root stays root, but the permissions of files hold for it as for anybody."""

    class Header(ctypes.Structure):
        _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))

    class Sets(ctypes.Structure):
        _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))

    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = Header(0x20080522, 0), (Sets * 2)()
    if libc.capset(ctypes.byref(header), sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _serve(request: dict[str, Any]) -> None:
    """In the child: never returns."""
    from mcmc.cli import run_command

    library = ctypes.CDLL(None)
    library.faults_arm(request["below"].encode(), request["fault"], ctypes.c_long(request["at"]))
    library.faults_jump(int(request["clock"]))
    if request["as_nobody"]:
        _drop_rights()
    if request["limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["limit"], resource.RLIM_INFINITY))
    code = 1
    try:
        code = run_command(request["command"])
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    library.faults_count.restype, library.faults_hit.restype = ctypes.c_long, ctypes.c_char_p
    calls, hit = library.faults_count(), os.fsdecode(library.faults_hit())
    os.write(_ANSWER, json.dumps([calls, hit]).encode())
    os._exit(code)


def _answer(request: dict[str, Any]) -> Sequence[Any]:
    pipes = [os.pipe() for _ in range(3)]  # no files: a limit of their size would hold for them, too
    child = os.fork()
    if child == 0:
        for (_, descriptor), number in zip(pipes, (1, 2, _ANSWER), strict=True):
            os.dup2(descriptor, number)
        _serve(request)
    for _, descriptor in pipes:
        os.close(descriptor)
    deadline = time.monotonic() + _SECONDS
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return [-errno.ETIME, "", "hangs", 0]
        time.sleep(0.001)
    texts = []
    for descriptor, _ in pipes:
        with open(descriptor, errors="replace") as file:
            texts.append(file.read())
    return [os.waitstatus_to_exitcode(ended[1]), texts[0], texts[1], *json.loads(texts[2] or "[]")]


_ANSWER = 99

if __name__ == "__main__":
    for _name in ("h5netcdf", "mcmc.analysis.summary", "mcmc.forecast", "mcmc.merging", "mcmc.verify"):
        importlib.import_module(_name)
    from mcmc import engine

    engine._STRETCH, engine._STATUS_EVERY = 1e-9, 0.0
    for _line in sys.stdin:
        print(json.dumps(_answer(json.loads(_line))), flush=True)
