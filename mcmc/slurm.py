"""Slurm: when it will end the job that this process belongs to, and job scripts that go on where it did."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

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
    """The end time in seconds since 1970, by squeue."""
    # of an array, the job id in the environment is that of this task alone
    command = ["squeue", "--noheader", "--jobs", os.environ["SLURM_JOB_ID"], "--format", "%e"]
    environment = {**os.environ, "SLURM_TIME_FORMAT": "%s"}
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        done = subprocess.run(command, env=environment, capture_output=True, timeout=_PATIENCE, check=True, text=True)
        return int(done.stdout)  # without a limit it is a word
    return None


# --- job scripts ---

LAUNCHERS = ("pmi2", "pmix", "mpirun", "none")
"""How a script starts the ranks: srun with this plug-in, the mpirun of the MPI library, or one process without MPI."""

_SIGNAL = 120
"""Seconds before the end at which Slurm is asked for SIGUSR1, if squeue should fail; it may come a minute early."""


def script(
    command: Sequence[str], options: Mapping[str, object], *, launcher: str = "pmi2", seconds: float = 86400
) -> str:
    """A job script that runs `command` and puts its job back into the queue as long as that stops early.

    options: of sbatch, without dashes and beside those that are always there. seconds: the time limit.
    """
    asked = {"time": _time(seconds), **options, "requeue": None, "open-mode": "append"}
    if seconds >= 5 * _SIGNAL:  # a shorter job could hardly begin before the signal comes
        asked["signal"] = f"{'B:' if launcher == 'mpirun' else ''}USR1@{_SIGNAL}"
    lines = [f"#SBATCH --{name}" + ("" if value is None else f"={value}") for name, value in asked.items()]
    words = " ".join(word if word.startswith('"$') else shlex.quote(word) for word in command)
    run = _MPIRUN if launcher == "mpirun" else _SRUN.format(launcher=launcher)
    return _SCRIPT.format(options="\n".join(lines), run=run.replace("COMMAND", words))


def _time(seconds: float) -> str:
    """As Slurm writes it; it counts minutes."""
    hours, minutes = divmod(max(1, int(seconds // 60)), 60)
    return f"{hours:02}:{minutes:02}:00"


_SCRIPT = """#!/bin/bash
{options}
# What the program needs, such as "module load", goes here.

{run}

# 75: stopped at a checkpoint, before the time limit or by a signal. The job waits for its next turn under the same
# number. A host that fails makes Slurm do the same.
if [ $code -eq 75 ]; then
    echo "$(date '+%F %T') job $SLURM_JOB_ID goes back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
"""

_SRUN = """srun --mpi={launcher} COMMAND
code=$?"""

_MPIRUN = """mpirun COMMAND &
pid=$!
trap 'kill -USR1 $pid' USR1  # Slurm tells this shell alone
while kill -0 $pid 2>/dev/null; do wait $pid; done
wait $pid
code=$?"""
