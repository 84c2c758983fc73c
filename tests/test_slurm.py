"""Job scripts, and jobs under a real Slurm: they stop at the time limit or a signal, wait in the queue, and finish."""

from __future__ import annotations

import importlib
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
from mcmc.cli import run_command
from running import assert_same_results, status, tables, wait_for, write_run_file

MODULE = importlib.import_module("mcmc.cli.slurm")  # mcmc.cli has the command under this name

SCAN = {"scan": {"seed": [3, 4]}}

# The run and the directory of results are named in a way that needs quotes everywhere.
RUN, OUT = "my run.toml", "my out"


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """`mcmc slurm` with these arguments, in a directory with run.toml and scan.toml; exit code, outputs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MODULE, "_program", lambda: "mcmc")
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
    always = ["time=48:00:00", "requeue", "open-mode=append", "signal=USR1@60"]
    assert options(script) == [*always, "job-name=run", "output=run-%j.log", "ntasks=64", "nodes=2", "partition=long"]
    assert "\nsrun --mpi=pmi2 --kill-on-bad-exit=0 --wait=60 mcmc run run.toml -o out/run --quiet\n" in script


def test_script_of_a_scan(command) -> None:
    _, script, _ = command("scan.toml", "--mpi", "pmix", "--ntasks", "4", "-o", "a b", "--set", "data.alpha=2")
    run = "srun --mpi=pmix --kill-on-bad-exit=0 --wait=60 mcmc scan scan.toml -o 'a b' --set data.alpha=2 --quiet"
    assert run in script.splitlines()
    _, script, _ = command("scan.toml", "--array", "10", "--sbatch", "account=abc", "--sbatch", "--exclusive")
    asked = {"array=0-1%10", "account=abc", "exclusive", "output=scan-%A_%a.log", "ntasks=1"}
    assert asked < set(options(script))
    assert script.count(' mcmc scan scan.toml -o out/scan --quiet --task "$SLURM_ARRAY_TASK_ID"\n') == 1


@pytest.mark.parametrize("how", ["pmi2", "mpirun"])
@pytest.mark.parametrize(
    ("limit", "written"),
    [
        ("9", "00:09:00"),
        ("8:01", "00:09:00"),
        ("90", "01:30:00"),
        ("01:30:00", "01:30:00"),
        ("1-12", "36:00:00"),
        ("1-12:30", "36:30:00"),
        ("1-02:03:04", "26:04:00"),
        ("10 s", "00:01:00"),
        ("1.5 h", "01:30:00"),
        ("UNLIMITED", "UNLIMITED"),
        ("infinite", "UNLIMITED"),
        ("0", "UNLIMITED"),
    ],
)
def test_time_limits(limit: str, written: str, how: str, command) -> None:
    """Slurm's notations and ours; short jobs get no signal."""
    _, script, _ = command("run.toml", "--time", limit, "--mpi", how)
    assert f"time={written}" in options(script)
    signals = [line.removeprefix("signal=") for line in options(script) if "signal=" in line]
    short = ("00:01:00", "00:09:00")
    assert signals == ([] if written in short else ["B:USR1@60" if how == "mpirun" else "USR1@60"])
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_words_are_quoted(command, tmp_path: Path) -> None:
    """For bash and for sbatch; what looks like a variable is none."""
    odd = Path('it\'s 5%j #"1".toml')
    odd.write_text(Path("scan.toml").read_text())
    _, script, _ = command(str(odd), "-o", '"$(touch told)"', "--array", "2", "--sbatch", r"comment=a\b")
    assert r'job-name="it\'s 5%j #\"1\""'.replace(r"\'", "'") in options(script)
    assert r'output="it\'s 5%%j #\"1\"-%A_%a.log"'.replace(r"\'", "'") in options(script)
    assert r'comment="a\\b"' in options(script)
    write_program(tmp_path / "srun", '#!/bin/sh\nprintf "%s\\n" "$@" > words\n')
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": "7"}
    subprocess.run(["bash"], input=script, text=True, env=environment, check=True)
    words = ["mcmc", "scan", str(odd), "-o", '"$(touch told)"', "--quiet", "--task", "7"]
    assert Path("words").read_text().splitlines()[-len(words) :] == words
    assert not Path("told").exists()


def test_options_of_the_user_win(command) -> None:
    extra = ["signal=USR1@300", "no-requeue", "--open-mode=truncate", "output=x.log"]
    _, script, _ = command("run.toml", *(word for option in extra for word in ("--sbatch", option)))
    asked = ["time=24:00:00", "requeue", "open-mode=truncate", "signal=USR1@300", "job-name=run", "output=x.log"]
    assert options(script) == [*asked, "ntasks=1", "no-requeue"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.toml"], "none.toml"),
        (["run.toml", "--array", "2"], "--array: got 2 for one run"),
        (["run.toml", "--mpi", "none", "--ntasks", "2"], "--mpi: got none for 2 ranks"),
        (["run.toml", "--time", "long"], "--time: got 'long', expected a time limit"),
        (["run.toml", "--time", "1-"], "--time: got '1-'"),
        (["run.toml", "--sbatch", ""], "--sbatch: got ''"),
        (["run.toml", "--sbatch", "A abc"], "--sbatch: got 'A abc'"),
        (["run.toml", "--sbatch", "a\nrm=x"], r"--sbatch: got 'a\nrm=x'"),
        (["run.toml", "--sbatch", "comment=a\nrm x"], r"comment: got 'a\nrm x'"),
        (["run.toml", "--partition", "a\nrm x"], r"partition: got 'a\nrm x'"),
        (["a\nb.toml"], r"job-name: got 'a\nb'"),
        (["scan.toml", "--set", "data.alpha=-1"], "task seed=3: data.alpha"),
    ],
)
def test_wrong_scripts_are_refused(arguments: list[str], message: str, command) -> None:
    Path("a\nb.toml").write_text(Path("run.toml").read_text())
    code, script, error = command(*arguments)
    assert (code, script, error.count("\n")) == (2, "", 1)
    assert message in error


# --- jobs ---

RUNS = Path(__file__).resolve().parent.parent / "runs"

GARBLED = "value not properly terminated in client request"
"""What Slurm's own plug-in for pmi2 (22.05) says now and then at the start; MPI_Init fails then."""

# In its first life a job would go on for minutes. Rank 0 of srun's exits long after the others.
PROGRAM = """#!/bin/sh
exec {python} -c '
import atexit, os, sys, time
def linger():
    if "mpi4py.MPI" in sys.modules and os.environ.get("SLURM_PROCID") == "0":
        sys.modules["mpi4py.MPI"].Finalize()  # until then the others wait
        time.sleep(3)
atexit.register(linger)
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
    monkeypatch.setattr(MODULE, "_program", lambda: str(program))

    def submit(mpi: str, *arguments: str) -> str:
        code, script, error = command(*arguments)
        assert code == 0, error
        Path("job.sh").write_text(script)
        launcher = launchers_of[mpi]
        path = {"PATH": f"{Path(launcher.mpirun).parent}:{cluster['PATH']}"}
        environment = cluster | ENVIRONMENT | dict(launcher.env) | path
        return slurm_cluster.ask(environment, "sbatch", "--parsable", "job.sh")

    Path("run.toml").rename(RUN)
    for _ in range(3):
        limited = submit("mpich", RUN, "-o", OUT, "--time", "1", "--ntasks", "3", "--nodes", "2")
        log = Path(f"my run-{limited}.log")
        wait_for(
            lambda log=log: status(Path(OUT)).get("sweep", 0) > 0 or (log.exists() and GARBLED in log.read_text()), 90
        )
        if GARBLED not in log.read_text():
            break
    array = submit("mpich", "scan.toml", "-o", "array", "--array", "2")
    launched = {
        Path(mpi): submit(mpi, RUN, "-o", mpi, "--mpi", "mpirun", "--ntasks", "2", "--nodes", "1")
        for mpi in launchers_of
    }
    left_alone, signalled = Path("array/seed=3"), Path("array/seed=4")
    for out in [*launched, left_alone, signalled]:
        wait_for(lambda path=out: status(path).get("sweep", 0) > 0, 90)  # nine processes, perhaps on two cores
    # the last task of an array has its number as job id
    slurm_cluster.ask(cluster, "scancel", "--signal=USR1", f"{array}_1")
    for job in launched.values():
        slurm_cluster.ask(cluster, "scancel", "--signal=USR1", "--batch", job)
    assert run_command(["run", RUN, "-o", "whole", "--quiet"]) == 0
    assert run_command(["scan", "scan.toml", "-o", "tasks", "--quiet", "--task", "1"]) == 0
    everything = [Path(OUT), *launched, signalled]
    wait_for(lambda: all(status(path).get("state") == "complete" for path in everything), 120)
    for out in everything:
        log = (out / "run.log").read_text()
        assert ("end of the job" if out.name == OUT else "SIGUSR1") in log
        assert_same_results(out, Path("tasks") / out.name if out == signalled else Path("whole"))
    assert [status(path)["ranks"] for path in everything] == [3, *(2 for _ in launched), 1]
    logs = [*(f"my run-{job}.log" for job in (limited, *launched.values())), f"scan-{array}_1.log"]
    for out, log in zip(everything, logs, strict=True):
        stops = (out / "run.log").read_text().count("stopped by")
        assert stops == Path(log).read_text().count("goes back into the queue")
        assert stops == 1 or out.name == OUT  # a minute may be short
    assert status(left_alone)["state"] == "running"
    assert Path(f"scan-{array}_0.log").read_text() == ""


def write_job(folder: Path, name: str, *changes: tuple[str, str]) -> Path:
    """A script of a template in runs/ that runs RUN into OUT; the directory of the script is on its PATH."""
    text = (RUNS / name).read_text()
    for old, new in [('"RUN.toml"', f'"{RUN}"'), ('"DIR"', f'"{OUT}"'), *changes]:
        assert text.count(old) == 1
        text = text.replace(old, new)
    return write_program(folder / name, text)


@pytest.fixture
def template(command, tmp_path: Path, any_launcher: Launcher, monkeypatch):
    """`write_job` on two ranks of a launcher."""
    Path("run.toml").rename(RUN)
    write_program(tmp_path / "mcmc", PROGRAM.format(python=sys.executable))
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path(any_launcher.mpirun).parent}", prepend=":")
    monkeypatch.setenv("PBS_O_WORKDIR", str(tmp_path))
    for name, value in any_launcher.env.items():
        monkeypatch.setenv(name, value)
    return lambda name, *changes: write_job(tmp_path, name, *changes)


def assert_complete() -> None:
    assert status(Path(OUT))["state"] == "complete"
    assert run_command(["run", RUN, "-o", "whole", "--quiet"]) == 0
    assert_same_results(Path(OUT), Path("whole"))


@pytest.mark.mpi
def test_job_of_pbs(template, tmp_path: Path) -> None:
    """It is submitted again only while there is something to do, and if the run has got as far as to begin."""
    write_program(tmp_path / "qsub", '#!/bin/sh\necho "$@" >> submitted\n')
    two_ranks = ("mpirun mcmc", "mpirun -n 2 mcmc")
    job = template("job-pbs.sh", two_ranks, ("--walltime 23:50:00", "--walltime 3"))
    launchers.run(None, 1, [str(job)])
    assert status(Path(OUT))["state"] == "stopped"
    assert Path("submitted").read_text() == "job-pbs.sh\n"
    good = Path(RUN).read_text()
    Path(RUN).write_text("nonsense")
    done = launchers.run(None, 1, [str(job)])
    assert "mcmc: error" in done.stderr
    assert status(Path(OUT))["state"] == "stopped"
    assert Path("submitted").read_text() == "job-pbs.sh\n"
    Path(RUN).write_text(good)
    Path("fast").touch()
    launchers.run(None, 1, [str(template("job-pbs.sh", two_ranks))])
    assert Path("submitted").read_text() == "job-pbs.sh\n"
    assert_complete()


@pytest.mark.mpi
def test_job_without_a_queue(template) -> None:
    """A signal stops it; a rank that is killed after a checkpoint does not."""
    write_run_file(Path(RUN), {"schedule.sweeps": 4000, "checkpoint.every": 0.1})
    job = str(template("job-mpirun.sh", ("mpirun -n 8", "mpirun -n 2")))

    def checkpoint() -> int | None:
        """The number of the file; None for the moment in which one replaces another."""
        return next((entry.inode() for entry in os.scandir(OUT) if entry.name == "checkpoint.h5"), None)

    with launchers.started(None, 1, [job]) as process:
        wait_for(lambda: status(Path(OUT)).get("sweep", 0) > 0)
        process.send_signal(signal.SIGUSR1)
        process.communicate(timeout=30)
    assert (process.returncode, status(Path(OUT))["state"]) == (75, "stopped")
    before = checkpoint()
    with launchers.started(None, 1, [job]) as process:
        wait_for(lambda: checkpoint() not in (None, before))
        Path("fast").touch()
        os.kill(launchers.ranks(process)[1], signal.SIGKILL)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert_complete()


@pytest.mark.mpi
def test_job_with_wrong_input_ends(template) -> None:
    job = str(template("job-mpirun.sh", ("mpirun -n 8", "mpirun -n 2")))
    Path(RUN).write_text("nonsense")
    done = launchers.run(None, 1, [job])
    assert done.returncode == 1
    assert done.stderr.count("mcmc: error") == 1


@pytest.fixture
def job(command, tmp_path: Path, monkeypatch) -> str:
    """The template without a queue, in a directory whose programs come first."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    Path(OUT).mkdir()
    return str(write_job(tmp_path, "job-mpirun.sh"))


def test_job_that_crashes_again_and_again_ends(job: str, tmp_path: Path) -> None:
    """Wherever the sweeps after the last checkpoint have come to."""
    crash = """#!/bin/sh
    echo run >> lives
    n=$(wc -l < lives)
    echo '{"state": "running", "sweep": '$n'}' > "my out/status.json"
    [ $n -gt 3 ] || echo $n > "my out/checkpoint.h5"
    kill -KILL $$
    """
    write_program(tmp_path / "mpirun", crash)
    assert launchers.run(None, 1, [job], timeout=30).returncode == 1
    assert Path("lives").read_text() == 4 * "run\n"


def test_signal_before_the_ranks_are_started(job: str, tmp_path: Path) -> None:
    write_program(tmp_path / "cksum", "#!/bin/sh\ntouch asked\nsleep 0.5\n")
    write_program(tmp_path / "mpirun", "#!/bin/sh\nexec sleep 60\n")
    with launchers.started(None, 1, [job]) as process:
        wait_for(Path("asked").exists)
        process.send_signal(signal.SIGUSR1)
        process.communicate(timeout=30)
    assert process.returncode == 75
