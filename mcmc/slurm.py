"""When Slurm will end the job that this process belongs to."""

from __future__ import annotations

import os
import subprocess
import time
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
