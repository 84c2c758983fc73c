"""Slurm: when it will end the job that this process belongs to, and job scripts that go on where it did."""

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
    """The end time in seconds since 1970, by squeue."""
    # of an array, the job id in the environment is that of this task alone
    command = ["squeue", "--noheader", "--jobs", os.environ["SLURM_JOB_ID"], "--format", "%e"]
    environment = {**os.environ, "SLURM_TIME_FORMAT": "%s"}
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        done = subprocess.run(command, env=environment, capture_output=True, timeout=_PATIENCE, check=True, text=True)
        return int(done.stdout)  # without a limit it is a word
    return None
