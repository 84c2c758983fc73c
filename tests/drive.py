"""A program for tests: runs several run files one after the other in one process (of each rank).

    python drive.py [--stop] SECONDS FILE.toml ... OUT

Results go to OUT/FILE. SECONDS is the length of a stretch, so that even a run of a few milliseconds can have many. With
--stop every run is stopped as soon as it can be. Exits with the first code that is neither 0 nor 75.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mcmc import engine
from mcmc.cli import run_command

if __name__ == "__main__":
    arguments = sys.argv[1:]
    options = ["--quiet"]
    if arguments[0] == "--stop":
        options += ["--walltime", "0.000001"]
        del arguments[0]
    assert hasattr(engine, "_STRETCH")
    engine._STRETCH = float(arguments[0])
    *files, out = map(Path, arguments[1:])
    for file in files:
        code = run_command(["run", str(file), "-o", str(out / file.stem), *options])
        if code not in (0, 75):
            sys.exit(code)
