"""Job scripts, and jobs under a real Slurm: they stop at the time limit or a signal, wait in the queue, and finish."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w

import launchers
import slurm_cluster
from launchers import ENVIRONMENT, RANK_VARIABLES, Launcher, available
from mcmc.cli import jobs, run_command
from running import assert_same_results, status, tables, wait_for, write_run_file

SCAN = {"scan": {"seed": [3, 4]}}


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """`mcmc slurm` with these arguments, in a directory with run.toml and scan.toml; exit code, outputs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs, "_program", lambda: "mcmc")
    write_run_file(Path("run.toml"), {"schedule.sweeps": 4000})
    Path("scan.toml").write_text(tomli_w.dumps(tables({"schedule.sweeps": 4000}) | SCAN))

    def print_script(*arguments: str) -> tuple[int, str, str]:
        code = run_command(["slurm", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return print_script


# --- scripts ---


def options(script: str) -> list[str]:
    return [line.removeprefix("#SBATCH --") for line in script.splitlines() if line.startswith("#SBATCH")]


def test_script_of_a_run(command) -> None:
    code, script, _ = command("run.toml", "--ntasks", "64", "--nodes", "2", "--partition", "long", "--time", "2 days")
    assert code == 0
    asked = ["time=48:00:00", "job-name=run", "output=run-%j.log", "ntasks=64", "nodes=2", "partition=long"]
    assert options(script) == [*asked, "requeue", "open-mode=append", "signal=USR1@120"]
    assert "\nsrun --mpi=pmi2 mcmc run run.toml -o out/run --quiet\n" in script
    assert 'scontrol requeue "$SLURM_JOB_ID"' in script


def test_script_of_a_scan(command) -> None:
    _, script, _ = command("scan.toml", "--mpi", "pmix", "--ntasks", "4", "-o", "a b", "--set", "data.alpha=2")
    assert "\nsrun --mpi=pmix mcmc scan scan.toml -o 'a b' --set data.alpha=2 --quiet\n" in script
    _, script, _ = command("scan.toml", "--array", "10", "--sbatch", "account=abc", "--sbatch", "--exclusive")
    asked = {"array=0-1%10", "account=abc", "exclusive", "output=scan-%A_%a.log", "ntasks=1"}
    assert asked < set(options(script))
    assert '\nsrun --mpi=none mcmc scan scan.toml -o out/scan --quiet --task "$SLURM_ARRAY_TASK_ID"\n' in script


@pytest.mark.parametrize("how", ["pmi2", "mpirun"])
@pytest.mark.parametrize(
    ("limit", "written"), [("9 min", "00:09:00"), ("10 s", "00:01:00"), ("1-02:03:04", "26:03:00")]
)
def test_script_is_bash(limit: str, written: str, how: str, command) -> None:
    _, script, _ = command("run.toml", "--time", limit, "--mpi", how)
    assert f"time={written}" in options(script)
    assert any("signal=" in line for line in options(script)) == (written == "26:03:00")
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.toml"], "none.toml"),
        (["run.toml", "--array", "2"], "--array: got 2 for one run"),
        (["run.toml", "--mpi", "none", "--ntasks", "2"], "--mpi: got none for 2 ranks"),
        (["run.toml", "--time", "long"], "--time: got"),
        (["scan.toml", "--set", "data.alpha=-1"], "task seed=3: data.alpha"),
    ],
)
def test_wrong_scripts_are_refused(arguments: list[str], message: str, command) -> None:
    code, script, error = command(*arguments)
    assert (code, script, error.count("\n")) == (2, "", 1)
    assert message in error


# --- jobs ---

RUNS = Path(__file__).resolve().parent.parent / "runs"

# In its first life a job would go on for minutes.
PROGRAM = """#!/bin/sh
exec {python} -c '
import os, sys, time
from mcmc import engine, part
engine._STRETCH = 0.01
if "SLURM_RESTART_COUNT" not in os.environ and not os.path.exists("fast"):
    advance = part.Part.advance
    part.Part.advance = lambda *args: (time.sleep(0.2), advance(*args))
sys.argv[0] = "mcmc"
from mcmc.cli import main
main()' "$@"
"""


def write_program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory):
    """The environment of a cluster."""
    if reason := slurm_cluster.missing():
        pytest.skip(reason)
    with slurm_cluster.cluster(tmp_path_factory.mktemp("slurm")) as environment:
        yield {name: value for name, value in environment.items() if not name.startswith(RANK_VARIABLES)}


@pytest.mark.slow
@pytest.mark.mpi
def test_jobs_are_stopped_and_finish(command, cluster: dict[str, str], tmp_path: Path, monkeypatch) -> None:
    """At the time limit, by a signal to the ranks, and by a signal to the batch script: results as if never stopped."""
    launchers_of = {launcher.name: launcher for launcher in available() if launcher.name in ("mpich", "openmpi")}
    if "mpich" not in launchers_of:
        pytest.skip("no MPICH: make test")
    program = write_program(tmp_path / "mcmc", PROGRAM.format(python=sys.executable))
    monkeypatch.setattr(jobs, "_program", lambda: str(program))

    def submit(mpi: str, *arguments: str) -> str:
        code, script, error = command(*arguments)
        assert code == 0, error
        Path("job.sh").write_text(script)
        launcher = launchers_of[mpi]
        path = {"PATH": f"{Path(launcher.mpirun).parent}:{cluster['PATH']}"}
        environment = cluster | ENVIRONMENT | dict(launcher.env) | path
        return slurm_cluster.ask(environment, "sbatch", "--parsable", "job.sh")

    limited = submit("mpich", "run.toml", "-o", "limited", "--time", "1 min", "--ntasks", "3", "--nodes", "2")
    array = submit("mpich", "scan.toml", "-o", "array", "--array", "2")
    launched = {
        Path(mpi): submit(mpi, "run.toml", "-o", mpi, "--mpi", "mpirun", "--ntasks", "2", "--nodes", "1")
        for mpi in launchers_of
    }
    tasks = [Path("array/seed=3"), Path("array/seed=4")]
    for out in [*launched, *tasks]:
        wait_for(lambda path=out: status(path).get("sweep", 0) > 0)
    slurm_cluster.ask(cluster, "scancel", "--signal=USR1", array)
    for job in launched.values():
        slurm_cluster.ask(cluster, "scancel", "--signal=USR1", "--batch", job)
    assert run_command(["run", "run.toml", "-o", "whole", "--quiet"]) == 0
    assert run_command(["scan", "scan.toml", "-o", "tasks", "--quiet"]) == 0
    everything = [Path("limited"), *launched, *tasks]
    wait_for(lambda: all(status(path).get("state") == "complete" for path in everything), 120)
    for out in everything:
        log = (out / "run.log").read_text()
        assert log.count("stopped by") == 1
        assert ("end of the job" if out.name == "limited" else "SIGUSR1") in log
        same = Path("tasks") / out.name if out in tasks else Path("whole")
        assert_same_results(out, same)
    assert [status(path)["ranks"] for path in everything] == [3, *(2 for _ in launched), 1, 1]
    of_runs = [f"run-{job}.log" for job in (limited, *launched.values())]
    for log in [*of_runs, f"scan-{array}_0.log", f"scan-{array}_1.log"]:
        assert Path(log).read_text().count("goes back into the queue") == 1


@pytest.fixture
def template(command, tmp_path: Path, any_launcher: Launcher, monkeypatch):
    """Makes a script of a template in runs/ that runs run.toml into `out` on two ranks; its path."""
    write_program(tmp_path / "mcmc", PROGRAM.format(python=sys.executable))
    path = f"{tmp_path}:{Path(any_launcher.mpirun).parent}:{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("PBS_O_WORKDIR", str(tmp_path))
    for name, value in any_launcher.env.items():
        monkeypatch.setenv(name, value)

    def made(name: str, *changes: tuple[str, str]) -> Path:
        text = (RUNS / name).read_text()
        for old, new in [("RUN.toml", "run.toml"), ("DIR", "out"), ("mpirun -n 8", "mpirun -n 2"), *changes]:
            assert old in text or old == "mpirun -n 8"
            text = text.replace(old, new)
        return write_program(tmp_path / name, text)

    return made


def assert_complete() -> None:
    assert status(Path("out"))["state"] == "complete"
    assert run_command(["run", "run.toml", "-o", "whole", "--quiet"]) == 0
    assert_same_results(Path("out"), Path("whole"))


@pytest.mark.mpi
def test_job_of_pbs(template, tmp_path: Path) -> None:
    """It is submitted again only while there is something to do."""
    write_program(tmp_path / "qsub", '#!/bin/sh\necho "$@" >> submitted\n')
    job = template("job-pbs.sh", ("--walltime 23:50:00", "--walltime 3"))
    launchers.run(None, 1, [str(job)])
    assert status(Path("out"))["state"] == "stopped"
    assert Path("submitted").read_text() == "job-pbs.sh\n"
    Path("fast").touch()
    launchers.run(None, 1, [str(job)])
    assert Path("submitted").read_text() == "job-pbs.sh\n"
    assert_complete()


@pytest.mark.mpi
def test_job_without_a_queue(template) -> None:
    """A signal stops it; a rank that is killed does not."""
    job = str(template("job-mpirun.sh"))
    with launchers.started(None, 1, [job]) as process:
        wait_for(lambda: status(Path("out")).get("sweep", 0) > 0)
        process.send_signal(signal.SIGUSR1)
        process.communicate(timeout=30)
    assert (process.returncode, status(Path("out"))["state"]) == (75, "stopped")
    before = status(Path("out"))["sweep"]
    with launchers.started(None, 1, [job]) as process:
        wait_for(lambda: status(Path("out"))["sweep"] > before)
        Path("fast").touch()
        os.kill(launchers.ranks(process)[1], signal.SIGKILL)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert_complete()


@pytest.mark.mpi
def test_job_with_wrong_input_ends(template) -> None:
    job = str(template("job-mpirun.sh"))
    Path("run.toml").write_text("nonsense")
    done = launchers.run(None, 1, [job])
    assert done.returncode == 1
    assert done.stderr.count("mcmc: error") == 1
