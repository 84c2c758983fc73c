"""A program for tests: runs several run files one after the other in one process (of each rank).

    python drive.py SECONDS FILE.toml ... OUT

Results go to OUT/FILE; exits with the first code that is not 0. SECONDS is the length of a stretch, so that even a run of
a few milliseconds can have many.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mcmc import engine
from mcmc.cli import run_command

if __name__ == "__main__":
    assert hasattr(engine, "_STRETCH")
    engine._STRETCH = float(sys.argv[1])
    *files, out = map(Path, sys.argv[2:])
    for file in files:
        if code := run_command(["run", str(file), "-o", str(out / file.stem), "--quiet"]):
            sys.exit(code)
