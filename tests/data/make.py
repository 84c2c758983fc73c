"""Makes the files of the present format version anew: python tests/data/make.py

A directory version-N/NAME for each of RUNS: a run interrupted at a known sweep, as small as can be, and in digests.json
what its results will be. tests/test_formats.py has them continued. To be run, once, when FORMAT_VERSION is raised;
the directories of older versions stay as they are, since only the code of their time could make them. That of
version 1 is a complete run: of those only the results can be read.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

import tomli_w  # noqa: E402

from mcmc import engine  # noqa: E402
from mcmc.cli import run_command  # noqa: E402
from mcmc.schema import FORMAT_VERSION  # noqa: E402
from running import COMMITTEE, GAUSSIAN, SPHERICAL, TANH, contents, status, tables  # noqa: E402

TINY = {"ladder.beta": [0.5, 1.0], "schedule": {"sweeps": 72, "burn_in": 40, "measure_every": 24}, "data.alpha": 1.0}
RUNS = {
    "ising-metropolis": ({"model.n_inputs": 13, "output.weights_every": 24}, 48),
    "ising-waiting-time": ({"model.n_inputs": 13, "model.loss.name": "hinge", "sampler.method": "waiting-time"}, 48),
    "ising-auto": ({"model.n_inputs": 13, "ladder.beta": [0.5, 6.0], "sampler.method": "auto"}, 26),
    "gaussian-mala": (GAUSSIAN | {"model.n_inputs": 9, "sampler.method": "mala"}, 26),
    "gaussian-second-layer": (
        GAUSSIAN | TANH | {"model.n_inputs": 5, "model.second_layer": "sampled", "sampler.method": "hmc"},
        48,
    ),
    "spherical-langevin": (
        SPHERICAL | TANH | {"model.n_inputs": 5, "sampler": {"method": "langevin", "step_size": 0.1}},
        48,
    ),
    "spherical-hmc": (
        SPHERICAL | COMMITTEE | {"model.n_inputs": 5, "model.activation": "erf", "sampler.method": "hmc"},
        26,
    ),
    "spherical-metropolis": (SPHERICAL | COMMITTEE | {"model.n_inputs": 5, "model.loss.name": "error-count"}, 48),
}
"""Changes to running.BASE and TINY, and about where to stop: inside the burn-in, or after it."""


def digests(results: Path) -> dict[str, str]:
    """sha256 of every dataset of a results.h5, with its type and shape."""
    return {
        name: f"{values[0]} {list(values[1])} {hashlib.sha256(values[2]).hexdigest()}"
        for name, values in contents(results).items()
        if isinstance(values, tuple)
    }


def make(directory: Path, changes: dict, stop: int) -> None:
    directory.mkdir(parents=True)
    asked = TINY | {"checkpoint.every": 3600} | changes
    with tempfile.TemporaryDirectory() as temporary:
        file, out = Path(temporary, "asked.toml"), Path(temporary, "out")
        file.write_text(tomli_w.dumps(tables(asked)))
        command = ["run", str(file), "-o", str(out), "--quiet"]
        engine._STRETCH = 1e-9  # a sweep: this stops after the same two sweeps wherever it is made
        while status(out).get("sweep", 0) < stop:
            assert run_command([*command, "--walltime", "0.000001"]) == engine.STOPPED
        for name in ("run.toml", "checkpoint.h5"):
            shutil.copy(out / name, directory)
        shutil.copytree(out / "segments", directory / "segments")
        assert run_command(command) == engine.DONE
        (directory / "digests.json").write_text(json.dumps(digests(out / "results.h5"), indent=1) + "\n")


if __name__ == "__main__":
    for name, (changes, stop) in RUNS.items():
        target = HERE / f"version-{FORMAT_VERSION}" / name
        shutil.rmtree(target, ignore_errors=True)
        make(target, changes, stop)
