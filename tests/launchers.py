"""The MPI launchers of this machine, and how tests start programs under them.

One build of the package serves every MPI, because mpi4py loads the library at run time; MPI4PY_LIBMPI says which.
`make test` puts Open MPI and MPICH from the registry into .mpi/; a launcher on PATH that works is used as well.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

WHEELS = Path(__file__).resolve().parent.parent / ".mpi"

# As root, with more ranks than cores, not bound to cores (tests share them), without a second's sleep in MPI_Init.
# Open MPI 5 reads the PRTE names, Open MPI 4 the OMPI ones, MPICH none.
ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_btl": "^ofi",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}

# What a launcher tells its ranks; if pytest itself runs under one, its children must not believe it.
RANK_VARIABLES = ("PMI_", "PMIX_", "OMPI_COMM_WORLD_", "SLURM_STEP_", "SLURM_PROCID", "SLURM_NTASKS")


@dataclass(frozen=True)
class Launcher:
    """An `mpirun` together with the environment that makes mpi4py load the library of the same MPI."""

    name: str
    mpirun: str
    env: Mapping[str, str] = field(default_factory=dict)

    def command(self, n_ranks: int, args: Sequence[str]) -> list[str]:
        return [self.mpirun, "-n", str(n_ranks), *args]

    def __str__(self) -> str:
        return self.name


@cache
def available() -> tuple[Launcher, ...]:
    """The launchers in .mpi/, by name, then the machine's own (named "site") if it and mpi4py agree."""
    wheels = [
        Launcher(path.parent.parent.name, str(path), {"MPI4PY_LIBMPI": str(path.parent.parent / "lib")})
        for path in sorted(WHEELS.glob("*/bin/mpirun"))
    ]
    return (*wheels, *_site())


def run(
    launcher: Launcher | None,
    n_ranks: int,
    args: Sequence[str],
    *,
    timeout: float = 120,
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `args` on `n_ranks` ranks, or without a launcher, and wait; returns the exit code and both outputs as text.

    Raises subprocess.TimeoutExpired, with the output so far as its note, after `timeout` seconds. No process is left.
    """
    with started(launcher, n_ranks, args, cwd=cwd, env=env) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as late:
            late.add_note(b"\n".join(part for part in (late.stdout, late.stderr) if part).decode(errors="replace"))
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@contextmanager
def started(
    launcher: Launcher | None,
    n_ranks: int,
    args: Sequence[str],
    *,
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """The running launcher (or program), for tests that signal it; what still runs when the block ends is killed."""
    if launcher is None and n_ranks != 1:
        raise ValueError(f"n_ranks: got {n_ranks}, expected 1 without a launcher")
    mark = f"MCMC_TEST_MARK={uuid.uuid4().hex}"
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(RANK_VARIABLES)}
    # What a killed Open MPI leaves there keeps one of the same process number, a day later, from starting.
    scratch = tempfile.TemporaryDirectory(prefix="mpi-", ignore_cleanup_errors=True)
    process = subprocess.Popen(
        list(args) if launcher is None else launcher.command(n_ranks, args),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=inherited
        | ENVIRONMENT
        | dict(launcher.env if launcher else {})
        | dict(env or {})
        | dict([mark.split("=")])
        | dict.fromkeys(("PRTE_MCA_prte_tmpdir_base", "OMPI_MCA_orte_tmpdir_base"), scratch.name),
    )
    process.mark = mark.encode()
    try:
        yield process
    finally:
        _kill(mark)
        process.wait()
        process.stdout.close()
        process.stderr.close()
        scratch.cleanup()


def ranks(process: subprocess.Popen[str]) -> dict[int, int]:
    """Process ids by rank of the Python programs that a `started` launcher runs, on whichever host they are."""
    found = {}
    for pid in _marked(process.mark):
        with suppress(OSError):
            environment = dict(entry.split(b"=", 1) for entry in _entries(pid, "environ") if b"=" in entry)
            rank = environment.get(b"PMI_RANK", environment.get(b"OMPI_COMM_WORLD_RANK"))
            if rank is not None and b"python" in _entries(pid, "cmdline")[0]:
                found[int(rank)] = pid
    return found


def _entries(pid: int, name: str) -> list[bytes]:
    return Path(f"/proc/{pid}/{name}").read_bytes().split(b"\0")


def _kill(mark: str) -> None:
    """Kill every process with `mark` in its environment.

    Not by process group: MPICH starts its ranks in new sessions and Open MPI in new groups.
    """
    deadline = time.monotonic() + 10
    while (found := _marked(mark.encode())) and time.monotonic() < deadline:
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _marked(mark: bytes) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # gone meanwhile, or somebody else's
            if mark in entry.read_bytes():
                found.append(int(entry.parent.name))
    return found


def _site() -> tuple[Launcher, ...]:
    """The launcher on PATH, unless it comes from a wheel or starts ranks that do not see each other."""
    mpirun = shutil.which("mpirun") or shutil.which("mpiexec")
    if mpirun is None or Path(mpirun).is_relative_to(sys.prefix):
        return ()
    # a wheel's library in the virtual environment would win over the site's: "" is the system's own search
    env = {"MPI4PY_LIBMPI": ""} if list(Path(sys.prefix, "lib").glob("libmpi.so*")) else {}
    site = Launcher("site", mpirun, env)
    probe = "from mpi4py import MPI; print(MPI.COMM_WORLD.size)"
    return (site,) if run(site, 2, [sys.executable, "-c", probe]).stdout.split() == ["2", "2"] else ()
