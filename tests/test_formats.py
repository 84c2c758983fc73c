"""Files of every format version that there was are read, and runs of the present one continued to the recorded bits.

A change of a trajectory fails here: then FORMAT_VERSION must be raised, see tests/data/make.py and CONTRIBUTING.md.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from mcmc.cli import run_command
from mcmc.schema import FORMAT_VERSION, OLDEST_VERSIONS
from mcmc.storage import RunDirectory

DATA = Path(__file__).parent / "data"
_spec = importlib.util.spec_from_file_location("make", DATA / "make.py")
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)


def test_every_version_is_here() -> None:
    found = {int(path.name.removeprefix("version-")) for path in DATA.glob("version-*")}
    assert found == set(range(OLDEST_VERSIONS["results"], FORMAT_VERSION + 1))
    assert {path.name for path in (DATA / f"version-{FORMAT_VERSION}").iterdir()} == make.RUNS.keys()


@pytest.mark.parametrize("name", make.RUNS)
def test_a_run_is_continued(name: str, tmp_path: Path) -> None:
    """Bit for bit as when the files were made."""
    shutil.copytree(DATA / f"version-{FORMAT_VERSION}" / name, tmp_path / "out")
    started = RunDirectory(tmp_path / "out").read_checkpoint().attrs["sweep"]
    assert 0 < started < 72
    assert run_command(["run", str(tmp_path / "out" / "run.toml"), "-o", str(tmp_path / "out"), "--quiet"]) == 0
    expected = json.loads((tmp_path / "out" / "digests.json").read_text())
    assert make.digests(tmp_path / "out" / "results.h5") == expected


@pytest.mark.parametrize("name", ["ising-metropolis", "spherical-hmc"])
def test_a_run_is_made_anew(name: str, tmp_path: Path) -> None:
    """From the first sweep: the disorder and the initial weights, too, are those of then."""
    directory = DATA / f"version-{FORMAT_VERSION}" / name
    assert run_command(["run", str(directory / "run.toml"), "-o", str(tmp_path / "out"), "--quiet"]) == 0
    assert make.digests(tmp_path / "out" / "results.h5") == json.loads((directory / "digests.json").read_text())


def test_another_trajectory_is_noticed(tmp_path: Path) -> None:
    """Negative control."""
    shutil.copytree(DATA / f"version-{FORMAT_VERSION}" / "ising-metropolis", tmp_path / "out")
    run = RunDirectory(tmp_path / "out")
    found = run.read_checkpoint()
    weights = found.arrays["weights"].copy()
    weights[0] ^= 1
    run.write_checkpoint(found.arrays | {"weights": weights}, found.attrs, found.segments)
    assert run_command(["run", str(tmp_path / "out" / "run.toml"), "-o", str(tmp_path / "out"), "--quiet"]) == 0
    assert make.digests(tmp_path / "out" / "results.h5") != json.loads((tmp_path / "out" / "digests.json").read_text())


# --- version 1 ---


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "version-1", tmp_path / "out"))


def test_results_of_version_1_are_read(version_1: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the numbers that the summary of that time told, but for heat capacities: their blocks are longer now."""
    assert make.digests(version_1 / "results.h5") == json.loads((version_1 / "digests.json").read_text())
    assert run_command(["summary", str(version_1), "--json"]) == 0
    rungs = json.loads(capsys.readouterr().out)["rungs"]
    told = json.loads((version_1 / "summary.json").read_text())
    assert told.pop("heat_capacity")
    for name, means in told.items():
        np.testing.assert_allclose([rung[name]["mean"] for rung in rungs], means, rtol=1e-14)
    assert run_command(["status", str(version_1)]) == 0


@pytest.mark.parametrize("command", ["run", "continue", "verify"])
def test_runs_of_version_1_are_not_continued(command: str, version_1: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in version_1.rglob("*") if path.is_file()}
    arguments = ["run", str(version_1 / "run.toml"), "-o", str(version_1)]
    arguments += ["--set", "schedule.sweeps=90"] if command == "continue" else []
    assert run_command(["verify", str(version_1)] if command == "verify" else arguments) == 3
    said = capsys.readouterr().err
    assert re.search(r"checkpoint\.h5: has format version 1, .* run again into another directory\n$", said)
    assert said.count("\n") == 1
    assert {path: path.read_bytes() for path in version_1.rglob("*") if path.is_file()} == before
