"""results.h5 is the same, bit for bit, for any number of ranks, any cut into stretches, and every SIMD level."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import launchers
import numpy as np
import pytest
from launchers import Launcher
from running import assert_same_results, contents, write_run_file

from mcmc.kernels import cpu

REAL = {"data.inputs": "gaussian", "model.n_inputs": 14}
LONG = {"schedule.sweeps": 1060, "schedule.burn_in": 1000, "ladder.exchange_every": 53}  # beyond the refresh at 1024
# Together: every kernel family, one and several of everything, walkers cut within copies and within instances.
CASES: dict[str, dict[str, Any]] = {
    "error-count": {"data.n_instances": 3, "data.label_noise": 0.1, "data.n_test": 50},
    "error-count-one-rung": {
        "ladder.beta": [0.8],
        "data.n_instances": 2,
        "ladder.n_copies": 1,
        "data.source": "random",
    },
    "error-count-margin": {"model.loss.margin": 0.3, "ladder.exchange_every": 3, "schedule.measure_every": 1},
    "symmetric": {
        "model.loss": {"name": "symmetric", "margin": 1.0},
        "data.source": "random",
        "data.n_instances": 7,
        "sampler.order": "sequential",
    },
    "hinge": {"model.loss": {"name": "hinge", "margin": 1.0}, "schedule.start": "both", "data.n_instances": 2},
    "square": {"model.loss.name": "square", "sampler.method": "heat-bath", "ladder.n_copies": 1},
    "square-no-exchange": {"model.loss.name": "square", "ladder.exchange_every": 0, "schedule.start": "teacher"},
    "logistic-real": {"model.loss.name": "logistic", "data.n_instances": 2, "data.labels": "logistic"} | REAL | LONG,
    "square-real": {"model.loss.name": "square", "data.labels": "real", "data.output_noise": 0.2} | REAL | LONG,
    "hinge-real": {"model.loss.name": "hinge", "schedule.measure_every": 7, "data.n_test": 20} | REAL,
    "one-walker": {"ladder.beta": [1.0], "ladder.n_copies": 1},
    "three-walkers": {"ladder.beta": [0.5, 1.0, 1.5], "ladder.n_copies": 1, "schedule.measure_every": 1},
    "data-not-stored": {"output.store_data": False, "model.loss.name": "logistic", "data.n_instances": 2},
    "file": {"data": {"source": "file", "path": "task.npz"}, "model.n_inputs": None, "model.loss.name": "hinge"},
}
WHOLE, TINY = "10", "1e-4"
"""Seconds of a stretch: a run in one piece, or in many with checkpoints in between."""


class Runs:
    """All cases as run files in `directory`, and their results by how they were run; each way runs once."""

    def __init__(self, directory: Path) -> None:
        rng = np.random.default_rng(5)
        np.savez(directory / "task.npz", inputs=rng.normal(size=(20, 9)), labels=rng.choice([-1, 1], 20))
        self.directory = directory
        self.files = [
            write_run_file(directory / f"{name}.toml", {"checkpoint.every": 0.004} | case)
            for name, case in CASES.items()
        ]
        self.results = cache(self._results)

    def _results(self, launcher: Launcher | None, n_ranks: int, level: str, stretch: str) -> Path:
        """Directory with the output directories of all cases."""
        out = self.directory / f"{launcher}-{n_ranks}-{level}-{stretch}"
        program = [sys.executable, str(Path(__file__).with_name("drive.py")), stretch, *map(str, self.files), str(out)]
        done = launchers.run(launcher, n_ranks, program, env={"MCMC_ISA": level})
        assert done.returncode == 0, done.stdout + done.stderr
        return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("invariance"))


@pytest.fixture(scope="module")
def reference(runs: Runs) -> Path:
    """One process, each run in one stretch."""
    return runs.results(None, 1, "portable", WHOLE)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("level", cpu.available())
def test_levels_and_stretches(case: str, level: str, runs: Runs, reference: Path) -> None:
    assert_same_results(runs.results(None, 1, level, TINY) / case, reference / case)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("n_ranks", [1, 2, 3, 5])
def test_ranks(case: str, n_ranks: int, launcher: Launcher, runs: Runs, reference: Path) -> None:
    assert_same_results(runs.results(launcher, n_ranks, "", TINY) / case, reference / case)


def test_there_was_something_to_compare(reference: Path) -> None:
    found = contents(reference / "error-count" / "results.h5")
    assert {"energy", "overlap", "teacher_overlap", "test_error", "walker", "acceptance", "magnetisation"} <= set(found)
    assert {"exchange_accepted", "data/inputs", "data/teacher", "/@run_toml", "/@complete"} <= set(found)
    assert found["energy"][:2] == ("float64", (3, 24, 2, 4))
    assert found["/@complete"] == 1


def test_other_seeds_give_other_results(runs: Runs, reference: Path, tmp_path: Path) -> None:
    """The negative control: the comparison sees differences."""
    file = write_run_file(tmp_path / "other.toml", {"seed": 12})
    drive = str(Path(__file__).with_name("drive.py"))
    launchers.run(None, 1, [sys.executable, drive, WHOLE, str(file), str(tmp_path)])
    same, other = (contents(path / "results.h5") for path in (reference / "error-count", tmp_path / "other"))
    assert same["energy"] != other["energy"]
