"""Damaged files of a run, through the commands: HDF5 never opens one, and what is printed or continued is right."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

import mcmc
from mcmc.cli import run_command
from mutations import mutated
from running import assert_same_results, write_run_file

FILES = ("results.h5", "checkpoint.h5", "checkpoint.prev.h5", "segments/*")
CHANGES = {"checkpoint.every": 1e-3, "schedule.sweeps": 2000, "output.weights_every": 500}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`complete`: with results; `stopped`: the same without, to be continued; and the run file."""
    path = tmp_path_factory.mktemp("runs")
    file = write_run_file(path / "run.toml", CHANGES)
    assert run_command(["run", str(file), "-o", str(path / "complete"), "--quiet"]) == 0
    shutil.copytree(path / "complete", path / "stopped")
    (path / "stopped" / "results.h5").unlink()
    (path / "stopped" / "status.json").write_text('{"state": "stopped"}')  # complete without results is damage
    return path


CASES = [
    *((command, kind) for command in ("summary", "verify", "merge", "run") for kind in FILES),
    ("plot", "results.h5"),  # reads as summary does, and takes long
]


@pytest.mark.parametrize("n_each", [2, pytest.param(100, marks=pytest.mark.faults)])
@pytest.mark.parametrize(("command", "kind"), CASES)
def test_commands(
    command: str,
    kind: str,
    n_each: int,
    runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 3 and one line that names the file, or what the undamaged files give."""
    more = {"run": [str(runs / "run.toml"), "--quiet", "-o"], "verify": ["--quiet"]}.get(command, [])
    out, source = tmp_path / "out", runs / ("complete" if kind == "results.h5" else "stopped")
    watched: list[tuple[Path, bytes]] = []

    class Watching(h5py.File):
        def __init__(self, name: object, mode: str = "r", **options: object) -> None:
            if mode == "r":
                file = Path(name if isinstance(name, str | Path) else name.name)
                assert (file, file.read_bytes()) not in watched, f"HDF5 opens {file}"
            super().__init__(name, mode, **options)

    monkeypatch.setattr(h5py, "File", Watching)
    for seed in range(n_each):
        shutil.copytree(source, out)
        rng = np.random.default_rng(seed)
        path = rng.choice(sorted(out.glob(kind)))
        path.write_bytes(mutated(path.read_bytes(), rng))
        watched[:] = [(path, path.read_bytes())]
        code = run_command([command, *more, str(out)])
        said = capsys.readouterr()
        assert code in (0, 3), said.err
        assert said.err.count("\n") <= 1
        if code == 3:
            assert path.name in said.err
        elif command == "run":
            assert_same_results(out, runs / "complete")
        elif command != "verify":
            assert_beginning(out, runs / "complete")
        if kind == "results.h5" and command in ("summary", "plot", "verify"):
            assert code == 3
        shutil.rmtree(out)


def assert_beginning(left: Path, right: Path) -> None:
    """What is read from `left` are the first rows of `right`."""
    part, whole = mcmc.load(left).dataset, mcmc.load(right).dataset
    for name in ("energy", "walker", "acceptance"):
        values = part[name].to_numpy()
        np.testing.assert_array_equal(values, whole[name].to_numpy()[:, : values.shape[1]])
