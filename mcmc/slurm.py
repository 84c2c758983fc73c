"""Slurm: when it will end the job that this process belongs to, and job scripts that go on where it did."""

from __future__ import annotations

import math
import os
import re
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from mcmc.errors import ConfigError

_PATIENCE = 10.0
"""Seconds that squeue may take."""


def seconds_left() -> float | None:
    """Seconds until Slurm ends the job of this process; None if there is no job, or no limit, or nobody knows.

    Slurm is asked first: the environment tells of the limit that the job had when it was started.
    """
    if "SLURM_JOB_ID" not in os.environ:
        return None
    end = _asked()
    if end is None:
        with suppress(KeyError, ValueError):
            end = int(os.environ["SLURM_JOB_END_TIME"])
    return None if end is None else end - time.time()


def _asked() -> int | None:
    """The end time in seconds since 1970, by squeue; the first one if the job has several components."""
    job = os.environ["SLURM_JOB_ID"]
    with suppress(KeyError):  # one task of an array has the number of the whole array as its job id
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    command = ["squeue", "--noheader", "--jobs", job, "--format", "%e"]
    environment = {**os.environ, "SLURM_TIME_FORMAT": "%s"}
    with suppress(OSError, subprocess.SubprocessError, UnicodeError):
        done = subprocess.run(command, env=environment, capture_output=True, timeout=_PATIENCE, check=True, text=True)
        # without a limit it is a word
        return min((int(end) for end in done.stdout.split() if end.isdecimal()), default=None)
    return None


# --- job scripts ---

LAUNCHERS = ("pmi2", "pmix", "mpirun", "none")
"""How a script starts the ranks: srun with this plug-in, the mpirun of the MPI library, or one process without MPI."""

_SIGNAL_LEAD = 60
"""Seconds before the end at which Slurm is asked for SIGUSR1, if squeue should fail; it comes up to a minute early."""


def script(
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
    asked = {"time": _time(seconds), "requeue": None, "open-mode": "append"}
    if seconds >= 10 * _SIGNAL_LEAD:  # a shorter job could hardly begin before the signal comes
        asked["signal"] = f"{'B:' if launcher == 'mpirun' else ''}USR1@{_SIGNAL_LEAD}"
    words = shlex.join(command) + (' "$SLURM_ARRAY_TASK_ID"' if is_array else "")
    run = _MPIRUN if launcher == "mpirun" else _SRUN
    return _SCRIPT.format(
        options="\n".join(_option(name, value) for name, value in (asked | options).items()),
        run=run.format(launcher=launcher, command=words),
    )


def _option(name: str, value: object) -> str:
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
