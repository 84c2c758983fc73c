"""`output.weights_every`: snapshots of all weights, against the observables of the same sweeps and the last state."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

import mcmc
from mcmc import engine
from mcmc.cli import run_command
from mcmc.errors import ConfigError
from mcmc.priors import unpack
from mcmc.storage import RunDirectory
from running import CASES, status, write_run_file

NAMES = tuple(name for name in CASES if name.startswith("snapshots"))


def run(path: Path, case: str, *options: str) -> Path:
    file = write_run_file(path / f"{case}.toml", CASES[case])
    assert run_command(["run", str(file), "-o", str(path / "out"), "--quiet", *options]) in (0, 75)
    return path / "out"


@pytest.mark.parametrize("case", NAMES)
def test_they_are_the_weights_of_their_sweeps(case: str, tmp_path: Path) -> None:
    results = mcmc.load(run(tmp_path, case))
    every = CASES[case]["output.weights_every"]
    weights, dataset = results.weights(), results.dataset.swap_dims(sample="sweep")
    assert weights.dims == ("instance", "snapshot", "copy", "rung", "weight")
    assert weights["sweep"].to_numpy().tolist() == list(range(every, 121, every))
    np.testing.assert_array_equal(weights["beta"], dataset["beta"])
    assert weights.dtype == (np.float64 if case == "snapshots-real" else np.int8)
    values, n = weights.to_numpy().astype(float), weights.sizes["weight"]
    assert n == dataset.attrs["n_weights"]
    rows = dataset.sel(sweep=weights["sweep"].to_numpy())
    pairs = list(combinations(range(weights.sizes["copy"]), 2))
    overlap = np.stack([(values[:, :, a] * values[:, :, b]).sum(-1) / n for a, b in pairs], axis=2)
    np.testing.assert_allclose(overlap, rows["overlap"], rtol=1e-13, atol=1e-13)
    if "norm" in rows:
        np.testing.assert_allclose((values**2).sum(-1) / n, rows["norm"], rtol=1e-13)
    else:
        assert (np.abs(values) == 1).all()
    if "hidden_self_overlap" in rows:
        units = values.reshape(*values.shape[:-1], 3, -1)
        found = np.einsum("...kn,...ln->...kl", units, units) / units.shape[-1]
        np.testing.assert_allclose(found, rows["hidden_self_overlap"], atol=1e-13)


def test_the_last_one_is_the_last_state(tmp_path: Path) -> None:
    out = run(tmp_path, "snapshots")
    arrays = RunDirectory(out).read_checkpoint().arrays
    state = unpack(arrays["weights"], 71).reshape(3, 2, 4, 71)
    by_rung = np.take_along_axis(state, arrays["walker_at"][..., None], axis=2)
    np.testing.assert_array_equal(mcmc.load(out).weights()[:, -1], by_rung)


def test_the_file(tmp_path: Path) -> None:
    """The group opens in xarray and says how bits are packed; numpy alone unpacks them."""
    out = run(tmp_path, "snapshots")
    with xarray.open_dataset(out / "results.h5", engine="h5netcdf", group="weights") as group:
        assert group["weights"].dims == ("instance", "snapshot", "copy", "rung", "word")
        assert group["weights"].shape == (3, 4, 2, 4, 2)
        assert group["weights"].dtype == np.uint64
        assert group["sweep"].to_numpy().tolist() == [30, 60, 90, 120]
        assert "bit i of word j is weight 64 j + i" in group["weights"].attrs["long_name"]
        words = np.ascontiguousarray(group["weights"].to_numpy())
    bits = np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little")[..., :71]
    np.testing.assert_array_equal(2 * bits.astype(int) - 1, mcmc.load(out).weights())


@pytest.mark.parametrize("case", NAMES)
def test_while_the_run_goes_on(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From segments, some of them without a snapshot, and from the results of a merge."""
    whole = mcmc.load(run(tmp_path, case)).weights()
    (tmp_path / "cut").mkdir()
    monkeypatch.setattr(engine, "_STRETCH", 1e-9)
    every = CASES[case]["output.weights_every"]
    for session in range(40):
        out = run(tmp_path / "cut", case, "--walltime", "0.000001")
        n = status(out)["sweep"] // every
        if status(out)["sweep"] < CASES[case].get("schedule.measure_every", 10):
            with pytest.raises(ConfigError, match="no snapshots of the weights yet"):
                mcmc.load(out).weights()
            continue
        if session % 5 == 4:
            found = mcmc.load(out).weights()
            assert found.sizes["snapshot"] == n
            np.testing.assert_array_equal(found, whole[:, :n])
    assert run_command(["merge", str(out)]) == 0
    with h5py.File(out / "results.h5") as file:
        assert file["weights/weights"].shape[1] == n > 0
    np.testing.assert_array_equal(mcmc.load(out).weights(), whole[:, :n])


def test_none(tmp_path: Path) -> None:
    file = write_run_file(tmp_path / "run.toml")
    results = mcmc.run(file, tmp_path / "out", quiet=True)
    with pytest.raises(ConfigError, match="were asked for"):
        results.weights()
    with h5py.File(tmp_path / "out" / "results.h5") as h5:
        assert "weights" not in h5


def test_they_come_with_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_run_file(tmp_path / "run.toml", {"output.weights_every": 15})
    assert run_command(["run", str(file), "-o", str(tmp_path / "out")]) == 2
    assert "output.weights_every: got 15, expected a multiple of schedule.measure_every = 10" in capsys.readouterr().err


def test_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """1000 snapshots x 3 instances x 8 walkers x 2 words."""
    file = write_run_file(tmp_path / "run.toml", CASES["snapshots"] | {"schedule.sweeps": 30000})
    sizes = []
    for options in ([], ["--set", "output.weights_every=0"]):
        assert run_command(["run", str(file), "--dry-run", *options]) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("files")]
        number, unit = line.split()[1:3]
        sizes.append(float(number) * {"kB": 1e3, "MB": 1e6}[unit])
        assert ("1000 snapshots of the weights" in line) == (not options)
    assert sizes[0] - sizes[1] == pytest.approx(1000 * 3 * 8 * 16, rel=0.05)
