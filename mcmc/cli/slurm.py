"""`mcmc slurm`: job scripts that go on where the last job stopped."""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from mcmc.errors import ConfigError

_LAUNCHERS = ("pmi2", "pmix", "mpirun", "none")
"""How a script starts the ranks: srun with this plug-in, the mpirun of the MPI library, or one process without MPI."""

_SIGNAL_LEAD = 60
"""Seconds before the end at which Slurm is asked for SIGUSR1, if squeue should fail; it comes up to a minute early."""


@click.command()
@click.argument("file", metavar="FILE.toml", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", metavar="DIR", type=click.Path(path_type=Path), help="Where the results go; default: out/FILE."
)
@click.option(
    "--time",
    "time_limit",
    metavar="TIME",
    default="24:00:00",
    show_default=True,
    help='Limit of the job, as Slurm takes it (90 are minutes, 1-12 a day and a half, UNLIMITED) or as in "2 days".',
)
@click.option("--nodes", metavar="N", type=click.IntRange(min=1), help="Hosts; default: as many as the ranks need.")
@click.option("--ntasks", metavar="N", type=click.IntRange(min=1), default=1, show_default=True, help="MPI ranks.")
@click.option("--partition", metavar="NAME", help="Default: that of the cluster.")
@click.option(
    "--mpi",
    "launcher",
    type=click.Choice(_LAUNCHERS),
    help="How ranks are started: by srun with pmi2 (MPICH, Intel) or pmix (Open MPI), by mpirun, or no MPI at all. "
    "Default: pmi2, or none for one rank.",
)
@click.option(
    "--array", metavar="N", type=click.IntRange(min=1), help="Of a scan: a job for each task, at most N at a time."
)
@click.option(
    "--sbatch", "extra", metavar="NAME=VALUE", multiple=True, help="Another option, such as account=abc; repeatable."
)
@click.option("--set", "overrides", metavar="KEY=VALUE", multiple=True, help="Override a key of the file; repeatable.")
def slurm(
    file: Path,
    output: Path | None,
    time_limit: str,
    nodes: int | None,
    ntasks: int,
    partition: str | None,
    launcher: str | None,
    array: int | None,
    extra: tuple[str, ...],
    overrides: tuple[str, ...],
) -> None:
    """Print a Slurm job script for a run or a scan.

    Submit it in this directory: mcmc slurm RUN.toml --ntasks 64 > job.sh && sbatch job.sh. Before its time limit the
    run stops at a checkpoint, and the job goes back into the queue, until the run is complete.

    A scan is one job, whose ranks share the tasks, or a job for each task, here at most 50 at a time: mcmc slurm
    SCAN.toml --array 50 > job.sh && sbatch job.sh.
    """
    from mcmc import config
    from mcmc.scan import Scan

    asked = Scan(config.read(file), overrides, name=str(file), directory=str(file.parent))
    asked.check()
    if array is not None and not asked.axes:
        raise ConfigError(f"--array: got {array} for one run, expected it with a scan")
    if launcher is None:
        launcher = "none" if ntasks == 1 else "pmi2"
    if launcher == "none" and ntasks > 1:
        raise ConfigError(f"--mpi: got none for {ntasks} ranks, expected one of {', '.join(_LAUNCHERS[:-1])}")
    log = file.stem.replace("%", "%%") + ("-%j.log" if array is None else "-%A_%a.log")
    options: dict[str, object] = {"job-name": file.stem, "output": log, "ntasks": ntasks}
    options |= {} if nodes is None else {"nodes": nodes}
    options |= {} if partition is None else {"partition": partition}
    options |= {} if array is None else {"array": f"0-{len(asked.tasks) - 1}%{array}"}
    options |= dict(_option(text) for text in extra)
    command = [_program(), "scan" if asked.axes else "run", str(file), "-o", str(output or Path("out") / file.stem)]
    command += [word for override in overrides for word in ("--set", override)]
    command += ["--quiet"] if array is None else ["--quiet", "--task"]
    seconds = _limit(time_limit)
    click.echo(_script(command, options, launcher=launcher, seconds=seconds, is_array=array is not None), nl=False)


def _option(text: str) -> tuple[str, str | None]:
    """An option of sbatch: its name without dashes, and its value if there is one."""
    name, given, value = text.removeprefix("--").partition("=")
    if not re.fullmatch(r"[a-z][a-z0-9-]+", name):
        raise ConfigError(f"--sbatch: got {text!r}, expected NAME=VALUE or NAME, such as account=abc or exclusive")
    return name, value if given else None


def _limit(text: str) -> float:
    """Seconds of a time limit: Slurm's own notations mean what they mean there, others what they mean in run files."""
    from mcmc import config

    words = text.strip()
    if words.upper() in ("UNLIMITED", "INFINITE", "0"):
        return math.inf
    if re.fullmatch(r"[\d.]+", words):
        words += " min"
    elif re.fullmatch(r"\d+-\d+(:\d+)?", words):  # days and hours, without seconds
        words += ":00" * (2 - words.count(":"))
    try:
        return config.duration(words, "--time")
    except ConfigError:
        expected = '90 (minutes), "30:00", "23:50:00", "1-12" (days and hours), "2 days" or UNLIMITED'
        raise ConfigError(f"--time: got {text!r}, expected a time limit such as {expected}") from None


def _program() -> str:
    """The command `mcmc` of the environment that this one comes from; jobs may have another PATH."""
    return shutil.which("mcmc", path=os.path.dirname(sys.executable)) or "mcmc"


def _script(
    command: Sequence[str],
    options: Mapping[str, object],
    *,
    launcher: str = "pmi2",
    seconds: float = 86400,
    is_array: bool = False,
) -> str:
    """A job script that runs `command` and puts its job back into the queue as long as that stops early.

    options: of sbatch, without dashes; they replace those that are always there. seconds: the time limit, or inf.
    is_array: the number of the job in its array is the last word of the command.
    Raises ConfigError for an option that does not fit into its line.
    """
    always = {"time": _time(seconds), "requeue": None, "open-mode": "append"}
    if seconds >= 10 * _SIGNAL_LEAD:  # a shorter job could hardly begin before the signal comes
        always["signal"] = f"{'B:' if launcher == 'mpirun' else ''}USR1@{_SIGNAL_LEAD}"
    words = shlex.join(command) + (' "$SLURM_ARRAY_TASK_ID"' if is_array else "")
    run = _MPIRUN if launcher == "mpirun" else _SRUN
    return _SCRIPT.format(
        options="\n".join(_line(name, value) for name, value in (always | options).items()),
        run=run.format(launcher=launcher, command=words),
    )


def _line(name: str, value: object) -> str:
    """The line of an option, with quotes as sbatch reads them: a backslash escapes within them, too."""
    if value is None:
        return f"#SBATCH --{name}"
    text = str(value)
    if not text.isprintable():
        raise ConfigError(f"{name}: got {text!r}, expected characters that can be printed in one line")
    if not re.fullmatch(r"[\w.,:;=@%+*/-]*", text, re.ASCII):
        text = '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
    return f"#SBATCH --{name}={text}"


def _time(seconds: float) -> str:
    """As Slurm writes it; it counts minutes and rounds up."""
    if seconds == math.inf:
        return "UNLIMITED"
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours:02}:{minutes:02}:00"


_SCRIPT = """#!/bin/bash
{options}
# What the program needs, such as "module load", goes here.

{run}

# 75: stopped at a checkpoint, before the time limit or by a signal. The job waits for its next turn under the same
# number. A host that fails makes Slurm do the same.
if [ $code -eq 75 ]; then
    job=$SLURM_JOB_ID
    # The job id of one task of an array stands for all of them.
    [ -z "$SLURM_ARRAY_TASK_ID" ] || job="$SLURM_ARRAY_JOB_ID"_"$SLURM_ARRAY_TASK_ID"
    echo "$(date '+%F %T') job $job goes back into the queue"
    scontrol requeue "$job"
fi
exit $code
"""

_SRUN = """# The first rank that exits with 75 must not end the others; none may hang for ever when others have failed.
srun --mpi={launcher} --kill-on-bad-exit=0 --wait=60 {command}
code=$?"""

_MPIRUN = """trap 'asked=1; kill -USR1 $pid 2>/dev/null' USR1  # Slurm tells this shell alone
mpirun {command} &
pid=$!
[ -z "$asked" ] || {{ sleep 1; kill -USR1 $pid; }}  # it came too early to be passed on
while kill -0 $pid 2>/dev/null; do wait $pid; done
wait $pid
code=$?"""
