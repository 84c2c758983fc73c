"""Many processes: failing together, mismatched launchers, idle ranks, and running without any MPI."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import launchers
import mcmc
from launchers import Launcher
from mcmc.cli import run_command
from running import MCMC, assert_same_results, status, tables, wait_for, write_run_file

LONG = {"model.n_inputs": 101, "data.n_instances": 4, "schedule.sweeps": 10**6}
"""Minutes of a run, to be ended by what is tested."""


def python(*lines: str) -> list[str]:
    """A program of a few lines, with `mcmc` as its last one."""
    return [sys.executable, "-c", "\n".join([*lines, "from mcmc.cli import main; main()"])]


def files_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*"))


def errors(text: str) -> list[str]:
    """The lines that are ours; launchers add their own."""
    return [line for line in text.splitlines() if line.startswith("mcmc:")]


# --- failing together ---

BREAK = {
    "in the loop": "advance",
    "at the beginning": "__init__",
    "at a checkpoint": "walker_state",
}


@pytest.mark.parametrize("n_ranks", [2, 4])
@pytest.mark.parametrize("method", BREAK.values(), ids=BREAK)
def test_an_error_on_one_rank_ends_all(method: str, n_ranks: int, launcher: Launcher, tmp_path: Path) -> None:
    broken = python(
        "import mcmc.part",
        "from mpi4py import MPI",
        f"works = mcmc.part.Part.{method}",
        "def breaks(self, *args):",
        "    if MPI.COMM_WORLD.rank == 1:",
        "        raise ZeroDivisionError('broken for a test')",
        "    return works(self, *args)",
        f"mcmc.part.Part.{method} = breaks",
    )
    file = write_run_file(tmp_path / "run.toml", LONG | {"checkpoint.every": 0.2})
    began = time.monotonic()
    done = launchers.run(launcher, n_ranks, [*broken, "run", str(file), "-o", str(tmp_path / "out")], timeout=60)
    assert time.monotonic() - began < 20
    assert done.returncode != 0
    assert errors(done.stderr) == [f"mcmc: rank 1 of {n_ranks} failed, ending all ranks:"]
    assert done.stderr.count("ZeroDivisionError: broken for a test") == 1
    assert status(tmp_path / "out")["state"] == "failed"
    assert "rank 1" in status(tmp_path / "out")["message"]
    assert "ZeroDivisionError: broken for a test" in status(tmp_path / "out")["message"]


@pytest.mark.parametrize("where", ["write_checkpoint", "write_segment", "write_results", "create"])
def test_a_storage_error_ends_all(where: str, launcher: Launcher, tmp_path: Path) -> None:
    """One line, exit code 3, and status.json says why."""
    broken = python(
        "import mcmc.storage",
        "def breaks(self, *args):",
        "    raise mcmc.storage.StorageError('cannot write x: no space left on device')",
        f"mcmc.storage.RunDirectory.{where} = breaks",
    )
    file = write_run_file(tmp_path / "run.toml")
    done = launchers.run(launcher, 3, [*broken, "run", str(file), "-o", str(tmp_path / "out")], timeout=60)
    assert errors(done.stderr) == ["mcmc: error: cannot write x: no space left on device"]
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    if where != "create":
        assert status(tmp_path / "out")["state"] == "failed"
        assert "no space left" in status(tmp_path / "out")["message"]
        assert not (tmp_path / "out" / "results.h5").exists()


def test_an_error_with_idle_ranks(any_launcher: Launcher, tmp_path: Path) -> None:
    """Idle ranks leave with the others."""
    (tmp_path / "file").touch()
    file = write_run_file(tmp_path / "run.toml", {"ladder": {"beta": [1.0], "n_copies": 2}})
    broken = python(
        "import mcmc.storage",
        "def breaks(self, *args):",
        "    raise mcmc.storage.StorageError('disk full')",
        "mcmc.storage.RunDirectory.write_checkpoint = breaks",
    )
    done = launchers.run(any_launcher, 4, [*broken, "run", str(file), "-o", str(tmp_path / "out")], timeout=60)
    assert [line for line in errors(done.stderr) if "idle" not in line] == ["mcmc: error: disk full"]
    assert done.returncode == 3


@pytest.mark.parametrize("inputs", ["binary", "real"])
def test_rank_0_alone_reads(inputs: str, launcher: Launcher, tmp_path: Path) -> None:
    """Data and reference reach the other ranks by MPI: there the files need not even be."""
    values = np.random.default_rng(1).normal(size=(1100, 15))
    values = np.where(values > 0, 1, -1) if inputs == "binary" else values
    with h5py.File(tmp_path / "task.h5", "w") as h5:
        h5["inputs"], h5["labels"] = values, np.where(values.sum(axis=1) > 0, 1, -1)
        h5["teacher"] = np.ones(45)
    np.savez(tmp_path / "reference.npz", weights=np.resize([1, 1, -1], 45))
    changes = {"data": {"source": "file", "path": "task.h5"}, "model.n_inputs": None}
    changes |= {"model.architecture": "committee", "model.n_hidden": 3, "schedule.sweeps": 60}
    changes |= {"constraint": {"reference": "file", "path": "reference.npz", "overlap": 0.2}}
    file = write_run_file(tmp_path / "run.toml", changes)
    elsewhere = python(
        "import mcmc.config",
        "from mcmc import parallel",
        "if parallel.launcher_rank() > 0:",
        "    mcmc.config.Config.data_path = mcmc.config.Config.constraint_path = 'not/here'",
    )
    done = launchers.run(launcher, 3, [*elsewhere, "run", str(file), "-o", str(tmp_path / "out")], timeout=60)
    assert (done.returncode, errors(done.stderr)) == (0, []), done.stderr
    assert run_command(["run", str(file), "-o", str(tmp_path / "serial")]) == 0
    assert_same_results(tmp_path / "out", tmp_path / "serial")


# --- wrong input ---


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "run.toml", "-o", "out", "--set", "ladder.n_copies=0"], "ladder.n_copies: got 0"),
        (["run", "none.toml", "-o", "out"], "none.toml"),
        (["run", "run.toml"], "-o DIR"),
        (["run", "run.toml", "-o", "run.toml"], "which is a file"),
        (["run", "run.toml", "-o", "in-use"], "in-use is not empty"),
        (["run", "file.toml", "-o", "out"], "task.npz"),
    ],
)
def test_wrong_input_is_said_once(arguments: list[str], words: str, any_launcher: Launcher, tmp_path: Path) -> None:
    write_run_file(tmp_path / "run.toml")
    write_run_file(tmp_path / "file.toml", {"data": {"source": "file", "path": "task.npz"}})
    (tmp_path / "in-use").mkdir()
    (tmp_path / "in-use" / "thesis.tex").touch()
    before = files_in(tmp_path)
    done = launchers.run(any_launcher, 3, [*MCMC, *arguments], cwd=tmp_path)
    [line] = errors(done.stderr)
    assert words in line
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert files_in(tmp_path) == before


# --- launchers and libraries ---


def test_a_launcher_of_another_mpi(launcher: Launcher, tmp_path: Path) -> None:
    """N processes that do not see each other would all write the same files."""
    others = [other for other in launchers.available() if other.name != launcher.name and other.env]
    if not others:
        pytest.skip("needs a second MPI")
    file = write_run_file(tmp_path / "run.toml")
    command = [*MCMC, "run", str(file), "-o", str(tmp_path / "out")]
    done = launchers.run(launcher, 3, command, env=others[0].env)
    assert done.returncode != 0
    assert not (tmp_path / "out").exists()
    if "Fatal error in internal_Init" not in done.stderr:  # MPICH gives up by itself under PMIx
        assert done.returncode == 2
        [line] = errors(done.stderr)
        assert "started 3 processes" in line
        assert "sees 1" in line


def test_no_library_under_a_launcher(launcher: Launcher, tmp_path: Path) -> None:
    file = write_run_file(tmp_path / "run.toml")
    command = [*MCMC, "run", str(file), "-o", str(tmp_path / "out")]
    done = launchers.run(launcher, 2, command, env={"MPI4PY_LIBMPI": "/nonexistent/libmpi.so"})
    [line] = errors(done.stderr)
    assert "finds no MPI library" in line
    assert done.returncode == 2
    assert not (tmp_path / "out").exists()


def test_no_launcher_no_mpi(tmp_path: Path) -> None:
    """A serial run needs no MPI library and imports none, nor anything else that is heavy."""
    file = write_run_file(tmp_path / "run.toml")
    code = "import sys; from mcmc.cli import run_command; code = run_command(sys.argv[1:]); print(code, *sys.modules)"
    program = [sys.executable, "-c", code, "run", str(file), "-o", str(tmp_path / "out"), "--quiet"]
    done = launchers.run(None, 1, program, env={"MPI4PY_LIBMPI": "/nonexistent/libmpi.so"})
    code, *modules = done.stdout.split()
    assert code == "0", done.stderr
    loaded = {name.partition(".")[0] for name in modules}
    assert not loaded & {"mpi4py", "matplotlib", "xarray", "scipy", "pandas", "arviz_stats", "rich", "h5netcdf"}


def test_batch_script_of_slurm_is_serial(tmp_path: Path) -> None:
    """Inside sbatch, outside srun: Slurm's variables are there, but nobody started several processes."""
    file = write_run_file(tmp_path / "run.toml")
    slurm = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}
    command = [*MCMC, "run", str(file), "-o", str(tmp_path / "out")]
    done = launchers.run(None, 1, command, env=slurm | {"MPI4PY_LIBMPI": "/nonexistent/libmpi.so"})
    assert done.returncode == 0, done.stderr


# --- ordinary runs ---


def test_idle_ranks_are_named_once(launcher: Launcher, tmp_path: Path) -> None:
    file = write_run_file(tmp_path / "run.toml", {"ladder": {"beta": [0.5, 1.0], "n_copies": 1}})
    command = [*MCMC, "run", str(file), "-o", str(tmp_path / "out")]
    done = launchers.run(launcher, 5, command)
    assert done.returncode == 0
    [warning] = errors(done.stdout + done.stderr)
    assert "idle ranks 2, 3, 4" in warning
    assert status(tmp_path / "out")["ranks"] == 2


def test_dry_run(any_launcher: Launcher, tmp_path: Path) -> None:
    file = write_run_file(tmp_path / "run.toml", {"data.n_instances": 3})
    done = launchers.run(any_launcher, 2, [*MCMC, "run", str(file), "-o", str(tmp_path / "out"), "--dry-run"])
    assert done.returncode == 0
    assert done.stdout.count("3 instances x 2 copies x 4 rungs") == 1
    assert "12 walkers on the busiest" in done.stdout
    assert files_in(tmp_path) == ["run.toml"]


def test_status_while_it_runs(any_launcher: Launcher, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_run_file(tmp_path / "run.toml", LONG | {"checkpoint.every": 0.3})
    out = tmp_path / "out"
    with launchers.started(any_launcher, 2, [*MCMC, "run", str(file), "-o", str(out)]) as process:
        wait_for(lambda: status(out).get("sweep", 0) > 0)
        found = status(out)
        assert run_command(["status", str(out)]) == 0
        wait_for(lambda: (out / "checkpoint.h5").exists())
        rows = mcmc.load(out).dataset.sizes["sample"]
        assert process.poll() is None
    assert (found["state"], found["ranks"], found["sweeps"]) == ("running", 2, 10**6)
    assert found["hosts"] == [os.uname().nodename]
    assert abs(found["heartbeat"] - time.time()) < 30
    assert found["rate_proposals_per_s"] > 0
    said = capsys.readouterr().out
    assert "running" in said
    assert "heartbeat" in said
    assert rows > 0


# --- from Python ---

API = """
import sys
from pathlib import Path
from mpi4py import MPI
import mcmc
from running import tables
out = Path(sys.argv[1])
comm = MPI.COMM_WORLD.Split(MPI.COMM_WORLD.rank % 2, 0) if sys.argv[2:] == ["split"] else MPI.COMM_WORLD
where = out / str(MPI.COMM_WORLD.rank % 2 if sys.argv[2:] else 0)
try:
    mcmc.run(tables({"ladder.n_copies": "two"}), where, comm=comm, quiet=True)
except mcmc.ConfigError as error:
    assert "ladder.n_copies" in str(error)
assert not where.exists()
comm.Barrier()
results = mcmc.run(tables(), where, comm=comm, quiet=True)
assert results.dataset.attrs["complete"] == 1
try:
    mcmc.run(tables({"seed": 5}), where, comm=comm, quiet=True)
except mcmc.StorageError as error:
    assert "seed" in str(error)
(out / f"done-{MPI.COMM_WORLD.rank}").write_text(f"{comm.size} {results.dataset.sizes['sample']}")
"""


@pytest.mark.parametrize("split", [False, True])
def test_python_api(split: bool, launcher: Launcher, tmp_path: Path) -> None:
    """Errors are raised on every rank, and can be caught; communicators of several jobs in one work side by side."""
    program = [sys.executable, "-c", API, str(tmp_path / "out"), *(["split"] if split else [])]
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = launchers.run(launcher, 4, program, env={"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    size = 2 if split else 4
    assert [(tmp_path / "out" / f"done-{rank}").read_text() for rank in range(4)] == [f"{size} 12"] * 4
    mcmc.run(tables(), tmp_path / "serial", quiet=True)
    for number in range(1 + split):
        assert_same_results(tmp_path / "out" / str(number), tmp_path / "serial")


def test_python_api_asks_rank_0_alone(any_launcher: Launcher, tmp_path: Path) -> None:
    """What the other ranks pass does not matter: nobody waits for a rank that failed on its own."""
    code = """
import sys, mcmc
from mpi4py import MPI
from running import tables
source = tables() if MPI.COMM_WORLD.rank == 0 else {"seed": "wrong"}
mcmc.run(source, sys.argv[1], comm=MPI.COMM_WORLD, quiet=True)
"""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    program = [sys.executable, "-c", code, str(tmp_path / "out")]
    done = launchers.run(any_launcher, 2, program, env={"PYTHONPATH": path}, timeout=30)
    assert done.returncode == 0, done.stderr
