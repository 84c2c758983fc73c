"""How long the commands of a scan take that only look at its tasks; all are complete, in a temporary directory.

    python benchmarks/scans.py [TASKS]

Seconds of a whole command, interpreter included, median and extremes of five, for TASKS (default 1000).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tomli_w

from mcmc.scan import Scan

MCMC = [sys.executable, "-c", "from mcmc.cli import main; main()"]
ASKED = {
    "seed": 1,
    "model": {"n_inputs": 501, "loss": {"name": "error-count"}},
    "data": {"source": "teacher", "alpha": 1.2},
    "ladder": {"beta": {"min": 0.2, "max": 2.0, "n": 16}},
    "schedule": {"sweeps": 20000, "burn_in": 4000},
}
REPEATS = 5


def prepare(directory: Path, n_tasks: int) -> Path:
    """The files at which these commands look; the scan file, which is beside the directory."""
    file = directory.with_suffix(".toml")
    file.write_text(tomli_w.dumps(ASKED | {"scan": {"seed": f"0..{n_tasks - 1}"}}))
    scan = Scan(file.read_text(), directory=str(directory.parent))
    directory.mkdir()
    (directory / "scan.toml").write_text(scan.text)
    status = {"state": "complete", "sweep": 20000, "sweeps": 20000, "heartbeat": 1.0, "elapsed_seconds": 1.0}
    for task in scan.tasks:
        path = directory / task.name
        (path / "segments").mkdir(parents=True)
        (path / "run.toml").write_text(scan.config(task).text)
        (path / "status.json").write_text(json.dumps(status))
        (path / "results.h5").touch()
    return file


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run([*MCMC, *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    n_tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        file = prepare(out, n_tasks)
        commands = {
            "mcmc info": ["info"],
            "mcmc status DIR": ["status", str(out)],
            "mcmc scan --list": ["scan", str(file), "-o", str(out), "--list"],
            "mcmc scan, nothing left": ["scan", str(file), "-o", str(out)],
        }
        print(f"{n_tasks} complete tasks; seconds of a command: median (least, most) of {REPEATS}")
        for name, command in commands.items():
            taken = [seconds(command) for _ in range(REPEATS)]
            print(f"{name:<24} {statistics.median(taken):.2f} ({min(taken):.2f}, {max(taken):.2f})", flush=True)


if __name__ == "__main__":
    main()
