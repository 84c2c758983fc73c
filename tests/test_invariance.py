"""results.h5 is the same, bit for bit, for any number of ranks, any cut into stretches, and every SIMD level."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import launchers
from launchers import Launcher
from mcmc.kernels import cpu
from running import CASES, DRIVE, assert_same_results, contents, write_cases, write_run_file

SEVERAL = ("error-count", "waiting-time", "committee-even", "snapshots", "gaussian-mala", "spherical-metropolis")
"""For more ranks than a test machine has cores, whose waiting takes time, and other short forms."""
WHOLE, TINY = "10", "5e-3"
"""Seconds of a stretch: a run in one piece, or in many with checkpoints in between."""


class Runs:
    """All cases as run files in `directory`, and their results by how they were run; each way runs once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.files = write_cases(directory)

    def results(
        self, launcher: Launcher | None, n_ranks: int, level: str, stretch: str, cases: Sequence[str] = tuple(CASES)
    ) -> Path:
        """Directory with the output directories of the cases."""
        out = self.directory / f"{launcher}-{n_ranks}-{level}-{stretch}"
        if out.exists():
            return out
        program = [*DRIVE, stretch, *(str(file) for file in self.files if file.stem in cases), str(out)]
        done = launchers.run(launcher, n_ranks, program, timeout=600, env={"MCMC_ISA": level})  # all cases in turn
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
@pytest.mark.parametrize("n_ranks", [2, 3])
def test_ranks(case: str, n_ranks: int, launcher: Launcher, runs: Runs, reference: Path) -> None:
    assert_same_results(runs.results(launcher, n_ranks, "", TINY) / case, reference / case)


@pytest.mark.parametrize("case", SEVERAL)
@pytest.mark.parametrize("n_ranks", [1, 5, 16])
def test_other_numbers_of_ranks(case: str, n_ranks: int, launcher: Launcher, runs: Runs, reference: Path) -> None:
    """All on one, pieces of unequal length, and one or two walkers on each rank, or none: the committee has 8."""
    assert_same_results(runs.results(launcher, n_ranks, "", "5e-2", SEVERAL) / case, reference / case)


@pytest.mark.faults
@pytest.mark.parametrize("n_ranks", [1, 5, 8, 16])
def test_all_cases_on_other_numbers_of_ranks(n_ranks: int, launcher: Launcher, runs: Runs, reference: Path) -> None:
    for case in CASES:
        assert_same_results(runs.results(launcher, n_ranks, "", "2e-2") / case, reference / case)


def test_there_was_something_to_compare(reference: Path) -> None:
    found = contents(reference / "error-count" / "results.h5")
    assert {"energy", "overlap", "teacher_overlap", "test_error", "walker", "acceptance", "magnetisation"} <= set(found)
    assert {"exchange_accepted", "data/inputs", "data/teacher", "/@run_toml", "/@complete"} <= set(found)
    assert found["energy"][:2] == ("float64", (3, 12, 2, 4))
    assert found["/@complete"] == 1


def test_other_seeds_give_other_results(runs: Runs, reference: Path, tmp_path: Path) -> None:
    """The negative control: the comparison sees differences."""
    file = write_run_file(tmp_path / "other.toml", {"seed": 12})
    launchers.run(None, 1, [*DRIVE, WHOLE, str(file), str(tmp_path)])
    same, other = (contents(path / "results.h5") for path in (reference / "error-count", tmp_path / "other"))
    assert same["energy"] != other["energy"]
